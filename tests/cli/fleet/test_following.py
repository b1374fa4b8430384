"""A stream that breaks off is opened again, with pauses that grow to a bound."""

import asyncio
import contextlib
from typing import Any

import pytest

from herd.cli.fleet.following import LONGEST_PAUSE_S, Heard, Lost, Opened, Stream, followed
from herd.errors import HerdError, StreamFailed
from herd.protocols.live import Topic


class Router:
    """Each of its streams tells some documents and breaks, or ends."""

    def __init__(self, *streams: list[Any]) -> None:
        self.streams = list(streams)

    async def watch(self) -> Stream:
        for document in self.streams.pop(0):
            if isinstance(document, Exception):
                raise document
            yield Topic.STATUS, document


@pytest.fixture(name="pauses")
def pauses_that_are_noted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("herd.cli.fleet.following.asyncio.sleep", pause)
    return pauses


async def told(router: Router) -> list[Any]:
    """What is told of all its streams, until there is none any more."""
    found: list[Any] = []
    with contextlib.suppress(IndexError):
        async with contextlib.aclosing(followed(router.watch, "http://house:1")) as events:
            async for event in events:
                found.append(event)  # noqa: PERF401 - what came before the error counts
    return found


async def test_what_breaks_or_ends_is_opened_again_and_said(pauses: list[float]) -> None:
    router = Router([{"a": 1}, StreamFailed("it broke")], [], [StreamFailed("away")], [{"a": 2}, {"a": 3}])
    ended = Lost("http://house:1 ended the stream: it stops, or is started anew")
    assert await told(router) == [
        *(Opened(), Heard(Topic.STATUS, {"a": 1}), Lost("it broke")),
        *(ended, Lost("away")),
        *(Opened(), Heard(Topic.STATUS, {"a": 2}), Heard(Topic.STATUS, {"a": 3}), ended),
    ]
    assert pauses == [0.25, 0.5, 1.0, 0.25]


async def test_pauses_grow_to_a_bound(pauses: list[float]) -> None:
    await told(Router([{}], *[[StreamFailed("away")]] * 8))
    assert max(pauses) == pauses[-1] == LONGEST_PAUSE_S
    assert pauses == sorted(pauses)


@pytest.mark.parametrize("first", [[HerdError("you may not")], []])
async def test_a_first_stream_that_does_not_come_about_is_an_error(pauses: list[float], first: list[Any]) -> None:
    with pytest.raises(HerdError, match=r"you may not|ended the stream"):
        await anext(followed(Router(first, [{}]).watch, "http://house:1"))
    assert pauses == []


async def test_the_stream_is_closed_with_whoever_followed_it() -> None:
    closed = asyncio.Event()

    async def watch() -> Stream:
        try:
            yield Topic.STATUS, {}
            await asyncio.Event().wait()
        finally:
            closed.set()

    events = followed(watch, "http://house:1")
    assert await anext(events) == Opened()
    await events.aclose()
    assert closed.is_set()
