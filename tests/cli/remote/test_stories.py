"""`herd requests` and `herd story`: what they ask a router for, and what they make of its answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from tests.cli.command_line import CommandLine
from tests.protocols.test_stories import EVENTS, REQUEST

STORY = {**REQUEST, "events": EVENTS}
LIST = {"requests": [REQUEST]}
UNKNOWN = {"error": "no request 'nope' is known"}


class Router:
    """A listener that answers as a router does, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, bytes]] = {}
        router = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                router.asked.append(self.path)
                status, body = router.answers.get(self.path, (404, b"404 page not found"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def say(self, path: str, document: Any, status: int = 200) -> None:
        self.answers[path] = (status, json.dumps(document).encode())

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(name="router", scope="module")
def router_of_the_file() -> Iterator[Router]:
    with Router() as router:
        router.say("/herd/v1/requests?limit=100", LIST)
        router.say("/herd/v1/requests?limit=7", LIST)
        router.say("/herd/v1/requests/a%2Fb:7", STORY)
        router.say("/herd/v1/requests/nope", UNKNOWN, 404)
        router.say("/herd/v1/requests/odd", {"events": 5})
        yield router


def test_requests_are_listed(run: CommandLine, router: Router) -> None:
    ended = run(f"herd requests --router-url {router.url} --limit 7", {"HERD_ROUTER_URL": "http://127.0.0.1:9"})
    assert (ended.code, ended.err) == (0, "")
    assert "a/b:7" in ended.out
    assert router.asked[-1] == "/herd/v1/requests?limit=7"


def test_a_story_is_told_by_its_id_however_odd(run: CommandLine, router: Router) -> None:
    ended = run("herd story a/b:7", {"HERD_ROUTER_URL": router.url})
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("a/b:7: m for 10.0.0.7")
    assert "attic" in ended.out


def test_json_is_what_the_router_says(run: CommandLine, router: Router) -> None:
    listed = run(f"herd requests --json --router-url {router.url}")
    told = run(f"herd story a/b:7 --json --router-url {router.url}/")
    assert (listed.code, told.code) == (0, 0)
    assert (json.loads(listed.out), json.loads(told.out)) == (
        json.loads(json.dumps(LIST)),
        json.loads(json.dumps(STORY)),
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("story nope", "no request 'nope' is known\n"),
        ("story odd", "this is no story of a request: "),
        ("story older", " does not answer this as a router does (404): is it of another version?\n"),
        ("story older --json", " does not answer this as a router does (404): is it of another version?\n"),
    ],
)
def test_what_a_router_cannot_tell_is_a_sentence(run: CommandLine, router: Router, words: str, sentence: str) -> None:
    ended = run(f"herd {words} --router-url {router.url}")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("error: ")
    assert sentence in ended.err


@pytest.mark.parametrize("words", ["requests", "story some-id"])
def test_a_router_that_is_away_is_named(run: CommandLine, words: str) -> None:
    ended = run(f"herd {words} --router-url http://127.0.0.1:9")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("error: no answer from http://127.0.0.1:9/herd/v1/requests")
    assert ended.err.endswith("; is the router running? --router-url names another\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("requests --limit 0", "--limit"),
        ("requests --limit 1001", "--limit"),
        ("requests --router-url 10.0.0.1:11435", "--router-url '10.0.0.1:11435' must look like http://127.0.0.1:11435"),
        ("story", "Missing argument 'ID'"),
        ('story ""', "a request id is not empty"),
    ],
)
def test_wrong_usage_is_named(run: CommandLine, words: str, sentence: str) -> None:
    ended = run(f"herd {words}")
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err


def test_the_environment_is_held_to_the_same(run: CommandLine) -> None:
    ended = run("herd requests", {"HERD_ROUTER_URL": "nowhere"})
    assert (ended.code, ended.out) == (2, "")
    assert "HERD_ROUTER_URL 'nowhere' must look like http://127.0.0.1:11435" in ended.err
