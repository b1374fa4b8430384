"""`herd pin` and `herd unpin`: what they ask of a router, and what they say."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.cli.command_line import CommandLine

NOWHERE = "no machine can keep it loaded now: that takes one with Ollama that has room for it"


class Router(BaseHTTPRequestHandler):
    """Answers as a router does that has one model; keeps what it was asked."""

    asked: list[tuple[str, str]]

    def _answer(self) -> None:
        self.asked.append((self.command, self.path))
        if "llama" in self.path:
            home = "studio" if self.command == "POST" and "llama3.2" in self.path else None
            status, document = 200, {"model": "llama3.2:3b", "pinned": self.command == "POST", "home": home}
        else:
            status, document = 404, {"error": "no node has 'nobody:1b'"}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = _answer  # noqa: N815 - as http.server wants it

    def log_message(self, *_args: object) -> None:
        """Silence."""


@pytest.fixture(name="router")
def running() -> Iterator[str]:
    Router.asked = []
    server = HTTPServer(("127.0.0.1", 0), Router)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_is_pinned_and_let_go(run: CommandLine, router: str) -> None:
    pinned = run(f"herd pin hf.co/x/llama:Q4 --router-url {router}")
    assert (pinned.code, pinned.out) == (0, f"llama3.2:3b is pinned, but {NOWHERE}\n")
    unpinned = run(f"herd unpin llama3.2:3b --router-url {router}")
    assert (unpinned.code, unpinned.out) == (0, "llama3.2:3b is like any other again\n")
    assert Router.asked == [
        ("POST", "/herd/v1/pins/hf.co%2Fx%2Fllama:Q4"),
        ("DELETE", "/herd/v1/pins/llama3.2:3b"),
    ]


def test_where_a_pinned_model_stays_is_said(run: CommandLine, router: str) -> None:
    ended = run(f"herd pin llama3.2:3b --router-url {router}")
    assert ended.out == "llama3.2:3b stays loaded on studio from now on\n"


def test_the_routers_json(run: CommandLine, router: str) -> None:
    ended = run("herd pin llama3.2:3b --json", {"HERD_ROUTER_URL": router})
    assert json.loads(ended.out) == {"model": "llama3.2:3b", "pinned": True, "home": "studio"}


def test_what_the_router_says_is_passed_on(run: CommandLine, router: str) -> None:
    ended = run(f"herd pin nobody:1b --router-url {router}")
    assert (ended.code, ended.out) == (1, "")
    assert "no node has 'nobody:1b'" in ended.err


def test_without_a_router_the_person_is_told_what_to_look_for(run: CommandLine) -> None:
    ended = run("herd pin llama3.2:3b --router-url http://127.0.0.1:9")
    assert ended.code == 1
    assert "Connection refused; is the router running? --router-url names another" in ended.err


def test_a_model_without_a_name_is_wrong_usage(run: CommandLine) -> None:
    assert run('herd pin ""').code == 2
