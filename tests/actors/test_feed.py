"""The Feed, through `GET /herd/v1/events` of a house in memory: what is told, how often, and to how many."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herd.actors import names
from herd.actors.feed import EVERY_S, LARGE, NOTHING, Update, every
from herd.actors.watching import MAX_OF_ONE, MAX_WATCHERS, UNREAD_S
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.live import STILL_HERE, STILL_HERE_S, Topic
from herd.protocols.sse import EventReader
from herd.runtime import kill, list_actors
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import InMemoryRequest, RecordingSink

LLAMA = "llama3.2:3b"
LEAVE = "close a dashboard or a page"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}], "stream": False}


class Watcher(RecordingSink):
    """Somebody who watches: `events` are the topics and documents, `at` when each write came."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.at: list[float] = []
        self._reader = EventReader()
        self._came = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await super().write(data)
        self.at.append(asyncio.get_running_loop().time())
        self.events += [(event.name, json.loads(event.data)) for event in self._reader.feed(data)]
        self._came.set()

    async def next(self, count: int = 1) -> list[tuple[str, Any]]:
        """The next events, once there are so many, which then are no more among `events`."""
        async with asyncio.timeout(60.0):
            while len(self.events) < count:
                self._came.clear()
                await self._came.wait()
        found, self.events = self.events[:count], self.events[count:]
        return found


@asynccontextmanager
async def watching(home: House, topics: str = "") -> AsyncIterator[Watcher]:
    watcher = Watcher()
    query = f"?topics={topics}" if topics else ""
    task = home.http.send(InMemoryRequest("GET", f"/herd/v1/events{query}"), watcher)
    yield watcher
    task.cancel()
    await asyncio.wait([task])


def tell(home: House, text: str) -> None:
    happening = Happening(HappeningKind.JOINED, 1.0, "a", "", text)
    home.router.parts.find(names.FEED).happened.tell(happening)


def waiting() -> int:
    """How many questions the Feed has not answered yet."""
    return next(state.in_flight for state in list_actors() if state.identity.name == names.FEED)


def watched_from(home: House, peer: str) -> "asyncio.Task[None]":
    return home.http.send(InMemoryRequest("GET", "/herd/v1/events", peer=peer), Watcher())


async def turned_away(home: House, peer: str) -> str:
    """Why whoever would watch from an address may not."""
    sink = RecordingSink()
    await home.http.send(InMemoryRequest("GET", "/herd/v1/events", peer=peer), sink)
    assert (sink.status, sink.header("Retry-After") is not None) == (503, True)
    return str(sink.json["error"])


@virtual_time
async def test_the_first_event_is_the_status_as_it_stands() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        async with watching(home) as watcher:
            [(topic, document)] = await watcher.next()
            assert topic == "status"
            assert document == (await home.ask("/herd/v1/status", method="GET")).json
            assert watcher.headers[:2] == (("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"))


@virtual_time
async def test_a_change_is_told_soon_and_silence_is_kept_where_there_is_none() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        async with watching(home) as watcher:
            await watcher.next()
            await home.ask("/herd/v1/nodes/a/drain")
            loop = asyncio.get_running_loop()
            asked = loop.time()
            [(_, document)] = await watcher.next()
            assert document["nodes"][0]["state"] == "draining"
            assert loop.time() - asked <= EVERY_S
            before = watcher.pieces.count(STILL_HERE)
            await asyncio.sleep(4 * STILL_HERE_S)
            assert watcher.pieces.count(STILL_HERE) - before in {3, 4}
            assert watcher.events == []  # heartbeats of a machine that is as it was change nothing


@virtual_time
async def test_at_most_four_a_second_are_told_whatever_happens() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        async with watching(home, "status,requests,happenings") as watcher:
            await watcher.next(3)
            begun = len(watcher.at)
            for number in range(100):
                tell(home, str(number))
                await asyncio.sleep(0.02)
            told = watcher.at[begun:]
            assert 7 <= len(told) <= 9
            assert min(later - sooner for sooner, later in itertools.pairwise(told)) >= EVERY_S - 1e-6
            texts = [one["text"] for _, document in watcher.events for one in document["happenings"]]
            assert texts == [str(number) for number in range(len(texts))]  # each once, in order


@pytest.mark.parametrize(("nodes", "every", "times"), [(LARGE, 0.4, {9, 10, 11}), (LARGE + 1, 1.0, {3, 4, 5})])
@virtual_time
async def test_of_a_larger_fleet_less_is_told(nodes: int, every: float, times: set[int]) -> None:
    async with house() as home:
        for number in range(nodes):
            await home.node(f"n{number}", [LLAMA])
        async with watching(home, "status,happenings") as watcher:
            await watcher.next(2)
            begun = len(watcher.at)
            for number in range(40):
                tell(home, str(number))
                await asyncio.sleep(0.1)
            told = watcher.at[begun:]
            assert min(later - sooner for sooner, later in itertools.pairwise(told)) >= every - 1e-6
            assert len(told) in times


def test_the_picture_of_a_very_large_fleet_is_put_together_less_often() -> None:
    assert [every(nodes) for nodes in (0, 10, LARGE, LARGE + 1, 100, 250)] == [EVERY_S, EVERY_S, 0.4, 1.0, 2.0, 5.0]


@virtual_time
async def test_who_comes_is_told_at_once_what_the_others_see() -> None:
    async with house() as home:
        for number in range(LARGE + 1):
            await home.node(f"n{number}", [LLAMA])
        loop = asyncio.get_running_loop()
        async with watching(home) as first:
            await first.next()
            await home.ask("/herd/v1/nodes/n0/drain")
            [(_, seen)] = await first.next()
            await home.ask("/herd/v1/nodes/n0/resume")
            came = loop.time()
            async with watching(home) as second:
                assert await second.next() == [("status", seen)]
                assert loop.time() - came < EVERY_S
                [(_, document)] = await second.next()
                assert document["nodes"][0]["state"] == "ready"
        await home.ask("/herd/v1/nodes/n0/drain")
        await asyncio.sleep(60.0)  # while nobody looks
        async with watching(home) as third:
            [(_, document)] = await third.next()
            assert document["nodes"][0]["state"] == "draining"


@virtual_time
async def test_requests_are_told_as_they_end_and_tokens_a_second_with_the_status() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        async with watching(home, "requests") as requests, watching(home) as status:
            assert (await requests.next())[0][1] == {"requests": []}
            await status.next()
            answer = await home.ask("/api/chat", CHAT)
            while not (ended := [one for one in (await requests.next())[0][1]["requests"] if one["outcome"]]):
                pass
            assert (ended[0]["outcome"], ended[0]["node"]) == ("served", "a")
            while not (rate := (await status.next())[0][1]["nodes"][0]["tokens_per_s"]):
                pass
            assert rate == round(answer.json["eval_count"] / 60, 2)
            await asyncio.sleep(70.0)
            assert (await home.ask("/herd/v1/status", method="GET")).json["nodes"][0]["tokens_per_s"] == 0.0


@virtual_time
async def test_who_comes_late_is_told_what_has_happened_of_late() -> None:
    async with house() as home:
        for number in range(150):
            tell(home, str(number))
        async with watching(home, "happenings") as watcher:
            [(_, document)] = await watcher.next()
            assert [one["number"] for one in document["happenings"]] == list(range(51, 151))
            tell(home, "the next")
            [(_, document)] = await watcher.next()
            assert document["happenings"] == [
                {"number": 151, "kind": "joined", "at": 1.0, "node": "a", "model": "", "text": "the next", "cause": ""}
            ]


@virtual_time
async def test_a_topic_that_there_is_not_is_refused_and_those_there_are_named() -> None:
    async with house() as home:
        refused = await home.ask("/herd/v1/events?topics=status,weather", method="GET")
        assert refused.status == 400
        assert refused.json == {"error": "there is no topic 'weather': topics are status, requests, happenings, log"}


@virtual_time
async def test_a_slow_reader_is_told_no_more_often_and_misses_nothing_that_has_happened() -> None:
    class Slow(Watcher):
        async def write(self, data: bytes) -> None:
            await asyncio.sleep(0.05)
            await super().write(data)

    async with house() as home:
        watcher = Slow()
        task = home.http.send(InMemoryRequest("GET", "/herd/v1/events?topics=happenings"), watcher)
        await watcher.next()
        begun = len(watcher.at)
        for number in range(100):
            tell(home, str(number))
            await asyncio.sleep(0.02)
        assert len(watcher.at) - begun <= 9
        texts = [one["text"] for _, document in watcher.events for one in document["happenings"]]
        assert texts == [str(number) for number in range(len(texts))]
        task.cancel()
        await asyncio.wait([task])


@virtual_time
async def test_so_many_may_watch_and_the_place_of_one_who_leaves_is_free() -> None:
    async with house() as home:
        others = [f"192.168.1.{number % (MAX_WATCHERS // MAX_OF_ONE)}" for number in range(MAX_WATCHERS)]
        tasks = [watched_from(home, peer) for peer in others]
        await asyncio.sleep(0.0)
        assert await turned_away(home, "192.168.1.99") == f"{MAX_WATCHERS} watch this router already: {LEAVE}"
        tasks[0].cancel()
        await asyncio.wait(tasks[:1])
        tasks.append(watched_from(home, "192.168.1.99"))
        await asyncio.sleep(0.0)
        assert not tasks[-1].done()
        async with watching(home) as watcher:  # this machine has places of its own
            assert len(await watcher.next()) == 1
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@virtual_time
async def test_nobody_has_all_places_alone_nor_this_machine_more_than_its_own() -> None:
    async with house() as home:
        for peer in ("192.168.1.9", "127.0.0.1"):
            tasks = [watched_from(home, peer) for _ in range(MAX_OF_ONE)]
            await asyncio.sleep(0.0)
            assert await turned_away(home, peer) == f"{MAX_OF_ONE} watch this router from there already: {LEAVE}"
            other = watched_from(home, "192.168.1.10")
            await asyncio.sleep(0.0)
            assert not other.done()
            for task in (*tasks, other):
                task.cancel()
            await asyncio.wait([*tasks, other])


@virtual_time
async def test_who_reads_no_more_loses_its_place() -> None:
    class Stopped(Watcher):
        async def write(self, data: bytes) -> None:
            await super().write(data)
            if self.events:
                await asyncio.get_running_loop().create_future()

    async with house() as home:
        watcher = Stopped()
        task = home.http.send(InMemoryRequest("GET", "/herd/v1/events"), watcher)
        async with asyncio.timeout(2 * UNREAD_S):
            await asyncio.wait([task])
        assert (watcher.aborted, watcher.finished) == (True, False)


@virtual_time
async def test_when_the_feed_has_crashed_its_watchers_are_let_go_and_come_anew() -> None:
    async with house() as home:
        feed = home.router.parts.find(names.FEED)
        tell(home, "before")
        async with watching(home, "happenings") as watcher:
            await watcher.next()
            await asyncio.sleep(1.0)  # by now it asks
            kill(feed, no_restart=False)
            await asyncio.sleep(5.0)
            assert watcher.finished or watcher.aborted
        tell(home, "between")
        async with watching(home, "happenings") as watcher:
            await watcher.next()
            kill(feed, no_restart=False)  # before it asks again, of a Feed that counts anew
            await asyncio.sleep(5.0)
            assert watcher.finished
        async with watching(home, "happenings") as watcher:
            assert await watcher.next() == [("happenings", {"happenings": []})]


@virtual_time
async def test_the_stream_ends_when_the_router_stops_and_holds_nothing_up() -> None:
    async with house() as home:
        watcher = Watcher()
        home.http.grace = 30.0
        home.http.send(InMemoryRequest("GET", "/herd/v1/events"), watcher)
        await watcher.next()
        begun = asyncio.get_running_loop().time()
        await home.stop_router()
        assert watcher.finished
        assert asyncio.get_running_loop().time() - begun < 1.0


@virtual_time
async def test_who_hangs_up_while_it_waits_is_forgotten() -> None:
    async with house() as home:
        feed = home.router.parts.find(names.FEED)
        seen = {Topic.STATUS: NOTHING}
        first: Update = await feed.after.remote(seen)
        waits = feed.after.remote(first.seen)
        await asyncio.sleep(1.0)
        assert waiting() == 1
        waits.cancel()
        await asyncio.sleep(0.0)
        assert waiting() == 0
        async with watching(home) as watcher:
            assert len(await watcher.next()) == 1
