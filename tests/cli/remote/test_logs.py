"""`herd logs`: what it asks of a router, and what it shows."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cli.command_line import CommandLine
from tests.cli.stub_router import Reply, StubRouter

LATEST, ALL, EVENTS = "/herd/v1/logs?limit=100", "/herd/v1/logs?limit=1000", "/herd/v1/events?topics=log"
TIME = "2026-11-29T10:00:00.123Z"
LOCAL = f"{datetime(2026, 11, 29, 10, tzinfo=UTC).astimezone():%m-%d %H:%M:%S}"  # where the person is


def line(number: int, message: str, level: str = "info") -> dict[str, Any]:
    return {"number": number, "time": TIME, "level": level, "logger": "herd", "message": message, "request_id": None}


LINES = [line(1, "up"), line(2, "den is silent", "warning"), line(3, "served"), line(4, "it burns", "error")]


def event(*lines: dict[str, Any]) -> bytes:
    return b"event: log\ndata: " + json.dumps({"lines": lines}).encode() + b"\n\n"


def test_the_latest_lines_with_local_times(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(LATEST, {"lines": LINES})
    ended = run(f"herd logs --router-url {stub.url}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        f"{LOCAL} info     up",
        f"{LOCAL} warning  den is silent",
        f"{LOCAL} info     served",
        f"{LOCAL} error    it burns",
    ]


def test_a_level_leaves_out_what_is_less_grave_before_the_limit_counts(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(ALL, {"lines": [*LINES, line(5, "odd", "louder")]})
    ended = run(f"herd logs --level warning --limit 2 --json --router-url {stub.url}")
    assert [each["number"] for each in json.loads(ended.out)["lines"]] == [4, 5]  # what is not known is not lost


def test_following_shows_each_line_once_until_the_router_stops(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(LATEST, {"lines": LINES[:2]})
    stub.replies[EVENTS] = Reply(event(*LINES[:3]) + b": here\n\n" + event(LINES[3]))
    ended = run(f"herd logs --follow --router-url {stub.url}")
    assert (ended.code, ended.err) == (1, "error: the router has stopped\n")
    assert [each.rpartition("  ")[2] for each in ended.out.splitlines()] == [
        f"{LOCAL} info     up".rpartition("  ")[2],
        "den is silent",
        "served",
        "it burns",
    ]


def test_following_as_json_is_an_object_a_line(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(ALL, {"lines": LINES[:1]})
    stub.replies[EVENTS] = Reply(event(*LINES[1:]))
    ended = run(f"herd logs -f --json --level error --router-url {stub.url}")
    assert [json.loads(each) for each in ended.out.splitlines()] == LINES[3:]


def test_a_stream_that_breaks_is_said_to(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(LATEST, {"lines": []})
    stub.replies[EVENTS] = Reply(event(*LINES[:1]), broken=True)
    ended = run(f"herd logs -f --router-url {stub.url}")
    assert ended.code == 1
    assert "is the router running? --router-url names another" in ended.err
    stub.tells(EVENTS, {"error": "64 are watching already"}, 503)
    assert run(f"herd logs -f --router-url {stub.url}").err == "error: 64 are watching already\n"


def test_what_strangers_had_logged_is_shown_and_not_obeyed(run: CommandLine, stub: StubRouter) -> None:
    stub.tells(LATEST, {"lines": [line(1, "a [red]node[/red] \x1b[2J")]})
    assert run(f"herd logs --router-url {stub.url}").out == f"{LOCAL} info     a [red]node[/red] \\x1b[2J\n"


@pytest.mark.parametrize("document", [{}, {"lines": [5]}, {"lines": [{**LINES[0], "time": "noon"}]}])
def test_a_document_of_another_kind_is_said_to_be_one(run: CommandLine, stub: StubRouter, document: Any) -> None:
    stub.tells(LATEST, document)
    ended = run(f"herd logs --router-url {stub.url}")
    assert ended.code == 1
    assert ended.err == "error: the router describes its log in another way: is it of another version?\n"


@pytest.mark.parametrize("words", ["--limit 0", "--limit 1001", "--level loud", "--limit x"])
def test_wrong_usage_asks_nobody(run: CommandLine, stub: StubRouter, words: str) -> None:
    ended = run(f"herd logs {words} --router-url {stub.url}")
    assert (ended.code, ended.out, stub.asked) == (2, "", [])
