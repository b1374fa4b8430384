"""What the dashboard asks of its router beside the stream, and what it makes of the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from herd.cli.fleet.following import Events, Heard, Lost, Opened
from herd.cli.fleet.top import MAX_ORDERS, Router, Top
from herd.cli.live.cells import Look, Size
from herd.cli.live.view import CALM_S, QUICK_S
from herd.errors import StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.live import Topic
from tests.cli.fleets import detail, node

STUDIO = node("studio")


class Servers(AiohttpServers):
    """In place of a router: notes what it is asked, and answers it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Any]] = []
        self.was_asked = asyncio.Event()
        self.answer: Any = (200, STUDIO)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def fetch(self, url: str, body: Any = None, **_: Any) -> tuple[int, Any]:
        self.asked.append((url, body))
        self.was_asked.set()
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        status, document = self.answer
        return status, document


class Dashboard:
    """A Top, and what it shows."""

    def __init__(self) -> None:
        self.servers = Servers()
        self.top = Top(Router("http://house:1"), self.servers, Look(plain=True))
        self.news = asyncio.Event()
        self.top.changed = self.news.set

    @property
    def text(self) -> str:
        rows = self.top.rows(Size(200, 30))
        return "\n".join("".join(segment.text for segment in row) for row in rows)

    def press(self, *keys: str) -> list[bool]:
        return [self.top.pressed(key) for key in keys]

    async def shows(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text not in self.text:
                self.news.clear()
                await self.news.wait()


async def told(*events: Opened | Heard | Lost) -> Events:
    for event in events:
        yield event


def status(*nodes: dict[str, Any]) -> Heard:
    return Heard(Topic.STATUS, {"nodes": list(nodes)})


@pytest.fixture(name="dashboard")
async def a_dashboard() -> AsyncIterator[Dashboard]:
    dashboard = Dashboard()
    await dashboard.top.begin(told(Opened(), status(STUDIO)))
    tasks = [asyncio.create_task(each) for each in (dashboard.top.look_closer(), dashboard.top.give_orders())]
    yield dashboard
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_orders_go_to_the_router_and_their_outcome_is_told(dashboard: Dashboard) -> None:
    dashboard.servers.answer = (200, STUDIO | {"state": "draining", "reasons": [{"text": "is drained by hand"}]})
    dashboard.press("down", "d", "y")
    await dashboard.shows("studio is drained by hand")
    dashboard.press("u", "y")
    dashboard.servers.answer = (200, STUDIO)
    await dashboard.shows("studio is ready")
    assert dashboard.servers.asked == [
        ("http://house:1/herd/v1/nodes/studio/drain", {}),
        ("http://house:1/herd/v1/nodes/studio/resume", {}),
    ]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((403, {"error": "nodes are managed with the admin key"}), "nodes are managed with the admin key"),
        ((401, {"error": "unauthorized"}), "http://house:1 wants a key for this"),
        ((404, {"error": "there is no node 'studio'"}), "there is no node 'studio'"),
        ((500, None), "does not answer this as a router does (500)"),
        (StreamFailed("no answer from http://house:1"), "no answer from http://house:1; is the router running?"),
    ],
    ids=["forbidden", "no key", "gone", "odd", "away"],
)
async def test_a_refusal_is_told_and_nothing_ends(dashboard: Dashboard, answer: Any, sentence: str) -> None:
    dashboard.servers.answer = answer
    dashboard.press("down", "d", "y")
    await dashboard.shows(sentence)
    assert dashboard.press("down") == [True]
    assert sentence not in dashboard.text


async def test_more_orders_than_are_answered_are_not_piled_up(dashboard: Dashboard) -> None:
    dashboard.servers.may_answer.clear()
    dashboard.press("down", "d", "y")
    async with asyncio.timeout(30):
        await dashboard.servers.was_asked.wait()
    for _ in range(MAX_ORDERS):
        dashboard.press("d", "y")
    assert "has not answered" not in dashboard.text
    dashboard.press("d", "y")
    assert "the router has not answered the last orders yet" in dashboard.text
    dashboard.servers.may_answer.set()


async def test_a_node_that_is_shown_whole_is_asked_for(dashboard: Dashboard) -> None:
    slashed = node("my/studio")
    async with aclosing(told(status(slashed))) as events:
        await dashboard.top.follow(events)
    dashboard.servers.answer = (200, detail(slashed))
    dashboard.press("down", "enter")
    await dashboard.shows("predictions: ")
    assert dashboard.servers.asked == [("http://house:1/herd/v1/nodes/my%2Fstudio", None)]


async def test_of_a_router_that_is_away_nothing_is_asked_but_what_was_seen_stays(dashboard: Dashboard) -> None:
    await dashboard.top.follow(told(Lost("no connection\x1b[2J")))
    assert all(text in dashboard.text for text in ("lost", "studio"))
    assert "\x1b" not in dashboard.text
    dashboard.press("down", "enter")
    await dashboard.top.follow(told(Opened(), status(STUDIO)))
    assert "live" in dashboard.text
    assert dashboard.servers.asked == []


async def test_a_document_that_cannot_be_read_is_told_and_what_was_seen_stays(dashboard: Dashboard) -> None:
    await dashboard.top.follow(told(Heard(Topic.STATUS, {"nodes": [{"name": 1}]})))
    assert all(text in dashboard.text for text in ("is it of another version", "studio"))


async def test_a_crowd_is_drawn_once_a_second(dashboard: Dashboard) -> None:
    assert dashboard.top.pause == QUICK_S
    await dashboard.top.follow(told(status(*[node(f"n{number}") for number in range(21)])))
    assert dashboard.top.pause == CALM_S


def test_q_ends_it() -> None:
    async def pressed() -> list[bool]:
        return Dashboard().press("x", "q")

    assert asyncio.run(pressed()) == [True, False]
