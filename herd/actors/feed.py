"""The Feed: what is new, for those who watch."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from herd.actors import names
from herd.actors.documents import Entries
from herd.actors.picture import picture
from herd.actors.ports import Clock
from herd.actors.watch_ports import LogBook, Meter
from herd.protocols import herd_api, stories
from herd.protocols.happenings import Happening
from herd.protocols.herd_api import InfoDocument
from herd.protocols.live import REQUESTS, STILL_HERE_S, Topic, encode_happenings, encode_log
from herd.runtime import ActorDiedError, ActorHandle, ActorUnavailableError, Timer, context, get_actor
from herd.types import Seconds

KEPT = 500  # happenings: of a busy day
AT_FIRST = 100  # happenings, and lines of the log, that whoever comes is told

# Nobody reads faster than this, and of a large fleet nobody follows more.
EVERY_S, LARGE, LARGE_EVERY_S = Seconds(0.25), 20, Seconds(1.0)
# To put the picture together takes the router some 0.2 ms a node (benchmarks/dashboard.py): no more than a hundredth of
# a core goes into pictures, and of a router that works that is about a fiftieth of its own.
PER_NODE_S = Seconds(0.02)
AGAIN_S = Seconds(1.0)  # after an actor that is asked was down

_STATES = frozenset({Topic.STATUS, Topic.REQUESTS})
NOTHING = -1  # was seen yet


@dataclass(frozen=True, slots=True)
class Update:
    """News."""

    events: tuple[tuple[Topic, bytes], ...]  # JSON; empty: nothing has happened for a while
    seen: Mapping[Topic, int]  # to be given back for what comes next
    life: int | None = None  # so is this
    closed: bool = False  # nothing comes next


@dataclass(frozen=True, slots=True)
class _Made:
    """A document, and how many there were until it."""

    number: int = 0
    text: bytes = b""


class Feed:
    """Owns what has happened of late, and the documents that are shown: made when something has changed and somebody
    waits for it. A slow watcher misses the states in between, and holds nobody up.

    Args:
        info: of the router, once it listens.
        clock: paces the documents.
        meter: told of all that happens.
        log: the lines of the router's log.
    """

    def __init__(self, info: Callable[[], InfoDocument], clock: Clock, meter: Meter, log: LogBook) -> None:
        self._info = info
        self._clock = clock
        self._meter = meter
        self._log = log
        self._happenings: deque[tuple[int, Happening]] = deque(maxlen=KEPT)
        self._happened = 0
        self._made = {topic: _Made() for topic in _STATES}
        self._entries = Entries()
        self._stale = True  # something has changed since these were made
        self._made_at = -math.inf
        self._every = EVERY_S
        self._looked = Seconds(clock.monotonic() - LARGE_EVERY_S)
        self._timer: Timer | None = None
        self._looking = self._again = False
        self._listening = False  # to the log
        self._waiting: dict[asyncio.Future[None], Mapping[Topic, int]] = {}
        self._closed = False

    # --- what the other actors say ------------------------------------------------------------------------------------

    def happened(self, happening: Happening) -> None:
        """Something has happened."""
        self._meter.happened(happening)
        self._happened += 1
        self._happenings.append((self._happened, happening))
        self._look_soon()

    def changed(self) -> None:
        """The fleet, or a request, is not as it was."""
        self._stale = True
        self._look_soon()

    def noted(self) -> None:
        """The log has a further line."""
        self._listening = False
        self._look_soon()

    # --- what those who watch ask -------------------------------------------------------------------------------------

    async def after(self, seen: Mapping[Topic, int], life: int | None = None) -> Update:
        """What is new in these topics; waits until something is, for `STILL_HERE_S` at most.

        Args:
            seen: by topic what the update before had; `NOTHING` at first, which is told how all of them stand.
            life: as the update before had it: a Feed that has crashed counts anew, so its watchers have to come anew.
        """
        if life not in {None, context(self).restarts}:
            return Update((), seen, life, closed=True)
        # Whoever comes is told at once, unless what the others see is old; whoever comes back, when it is time.
        late = self._stale and not _STATES.isdisjoint(seen) and self._clock.monotonic() >= self._made_at + self._every
        if self._closed or (NOTHING in seen.values() and not late and self._news(seen)):
            return self._update(seen)
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = seen
        if Topic.LOG in seen and not self._listening:
            self._listening = True
            self._log.tell_of_next(partial(_from_any_thread, asyncio.get_running_loop(), context(self).handle))
        self._look_soon()
        try:
            async with asyncio.timeout(STILL_HERE_S):
                await waiting
        except TimeoutError:
            pass
        finally:
            del self._waiting[waiting]
        return self._update(seen)

    def close(self) -> None:
        """The router stops: let everybody go."""
        self._closed = True
        self._wake()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        """See what there is for those who wait, when it is time."""
        if self._looking:
            self._again = True
        elif self._waiting and self._timer is None:
            due = self._looked + self._every
            self._timer = context(self).after(max(0.0, due - self._clock.monotonic()), self._look)

    async def _look(self) -> None:
        self._timer, self._looking, self._again = None, True, False
        wanted = {topic for seen in self._waiting.values() for topic in seen}
        if self._stale and not _STATES.isdisjoint(wanted):
            await self._make()
        self._looked, self._looking = self._clock.monotonic(), False
        self._wake()
        if self._again:
            self._look_soon()

    def _wake(self) -> None:
        for waiting, seen in self._waiting.items():
            if not waiting.done() and (self._closed or self._news(seen)):
                waiting.set_result(None)

    async def _make(self) -> None:
        """Put the documents together. Where an actor that is asked is down, they stay as they were, and stale."""
        self._stale = False
        try:
            traces = get_actor(names.TRACES)
            traces.tell_of_next.tell()
            status = await picture(get_actor, self._info(), self._entries)
            requests = await traces.recent.remote(REQUESTS)
        except (ValueError, ActorDiedError, ActorUnavailableError):
            self._stale = True
            self._timer = context(self).after(AGAIN_S, self._look)
            return
        self._made_at, self._every = self._clock.monotonic(), every(len(status.nodes))
        texts = {Topic.STATUS: herd_api.encode(status), Topic.REQUESTS: stories.encode_requests(requests)}
        for topic, text in texts.items():
            before = self._made[topic]
            if text != before.text:
                self._made[topic] = _Made(before.number + 1, text)

    def _update(self, seen: Mapping[Topic, int]) -> Update:
        news = self._news(seen)
        reached = {**seen, **{topic: number for topic, number, _ in news}}
        events = tuple((topic, text) for topic, _, text in news)
        return Update(events, reached, context(self).restarts, self._closed)

    def _news(self, seen: Mapping[Topic, int]) -> list[tuple[Topic, int, bytes]]:
        """What is newer: the topic, its number from now on, and its document."""
        news = []
        for topic, number in seen.items():
            if topic in _STATES:
                made = self._made[topic]
                if made.number > max(0, number):
                    news.append((topic, made.number, made.text))
                continue
            latest, text = self._told_anew(topic, number)
            if text:
                news.append((topic, latest, text))
        return news

    def _told_anew(self, topic: Topic, number: int) -> tuple[int, bytes]:
        """The latest of the numbered happenings or lines, and those behind `number`; empty where there is none."""
        if topic is Topic.HAPPENINGS:
            first = self._happened - AT_FIRST if number == NOTHING else number
            new = [one for one in self._happenings if one[0] > first]
            return self._happened, encode_happenings(new) if new or number == NOTHING else b""
        lines = self._log.latest(AT_FIRST) if number == NOTHING else self._log.since(number)
        latest = lines[-1].number if lines else max(0, number)
        return latest, encode_log(lines) if lines or number == NOTHING else b""


def every(nodes: int) -> Seconds:
    """How often a fleet of so many nodes is told of."""
    return max(LARGE_EVERY_S if nodes > LARGE else EVERY_S, Seconds(nodes * PER_NODE_S))


def _from_any_thread(loop: asyncio.AbstractEventLoop, feed: ActorHandle) -> None:
    """Tell the Feed of a further line."""
    with suppress(RuntimeError):  # the loop is closed: the process's last lines are for nobody else
        loop.call_soon_threadsafe(feed.noted.tell)
