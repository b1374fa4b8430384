"""`herd drain`, `herd pause`, `herd resume`: what they ask of a router, and what they say."""

import json
import time
from typing import Any

import pytest

from herd.cli.remote import asking
from tests.cli.command_line import CommandLine

NODE = {
    "name": "studio",
    "state": "paused",
    "reasons": [{"kind": "manual", "text": "is paused by hand", "since": 1.0, "until": None}],
    "running": 2,
}


class Router:
    """In place of a router: keeps what it is asked, and answers the same each time."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answer: tuple[int, Any] = (200, NODE)
        patch.setattr(asking, "_fetched", self._fetched)

    async def _fetched(self, url: str, body: Any, headers: Any, method: str) -> tuple[int, Any]:
        self.asked.append((url, body))
        self.headers = headers
        return self.answer


@pytest.fixture(name="router")
def a_router(monkeypatch: pytest.MonkeyPatch) -> Router:
    return Router(monkeypatch)


def test_they_post_to_the_routers_control_endpoints(run: CommandLine, router: Router) -> None:
    for line in ("drain studio", "pause my/node --for 2h", "pause studio", "resume studio"):
        ended = run(f"herd {line}")
        assert (ended.code, ended.err) == (0, "")
    base = "http://127.0.0.1:11435/herd/v1/nodes"
    assert router.asked == [
        (f"{base}/studio/drain", {}),
        (f"{base}/my%2Fnode/pause", {"for": "2h"}),
        (f"{base}/studio/pause", {}),
        (f"{base}/studio/resume", {}),
    ]


def test_they_say_how_the_node_stands(run: CommandLine, router: Router) -> None:
    assert run("herd pause studio").out == "studio is paused by hand; 2 requests run there\n"
    until = {"kind": "manual", "text": "is paused by hand", "since": 1.0, "until": 86_400.0}
    when = time.strftime("%m-%d %H:%M:%S", time.localtime(86_400.0))  # where the person is
    router.answer = (200, {**NODE, "reasons": [until, {"kind": "silent", "text": "has fallen silent"}], "running": 1})
    assert run("herd pause studio --for 1d").out == (
        f"studio is paused by hand until {when}, and has fallen silent; 1 request runs there\n"
    )
    router.answer = (200, {**NODE, "state": "ready", "reasons": [], "running": 0})
    assert run("herd resume studio").out == "studio is ready\n"


def test_with_json_they_print_what_the_router_answers(run: CommandLine, router: Router) -> None:
    ended = run("herd drain studio --json --router-url http://other:1")
    assert json.loads(ended.out) == NODE
    assert router.asked[0][0].startswith("http://other:1/")
    run("herd drain studio", {"HERD_ROUTER_URL": "http://third:2"})
    assert router.asked[1][0].startswith("http://third:2/")


def test_what_the_router_refuses_is_said_in_its_words(run: CommandLine, router: Router) -> None:
    router.answer = (404, {"error": "there is no node 'studio': the nodes are den"})
    ended = run("herd drain studio")
    assert (ended.code, ended.out) == (1, "")
    assert "there is no node 'studio': the nodes are den" in ended.err


@pytest.mark.parametrize("line", ["pause studio --for soon", "pause studio --for 2", 'drain ""', "drain"])
def test_wrong_usage_asks_nobody(run: CommandLine, router: Router, line: str) -> None:
    ended = run(f"herd {line}")
    assert (ended.code, ended.out, router.asked) == (2, "", [])
    assert "Error" in ended.err
