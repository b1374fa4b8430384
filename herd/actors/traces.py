"""Traces: what became of the latest requests, and where those stand that are under way."""

from collections import OrderedDict
from dataclasses import dataclass

from herd.actors import news
from herd.actors.ports import Clock
from herd.actors.throughput import Throughput
from herd.actors.trace_rows import entry_of, events_of, row_of
from herd.protocols.stories import KEPT, Event, RequestEntry, encode_events
from herd.runtime import ActorHandle
from herd.store.records import KnownTrace
from herd.types import Seconds, TicketId

# Requests under way that are shown: 1,024 are held at most, and a fleet that runs a thousand more is a large one.
MAX_UNDER_WAY = 2048
# Events after which a request waits until the next one.
WAITS = ("held", "queued", "moved")


@dataclass(frozen=True, slots=True)
class Told:
    """A request as it stands, or ended."""

    ticket: TicketId
    began: Seconds  # monotonic, at the router
    request: RequestEntry
    events: tuple[Event, ...]  # at least one
    part: bool = False  # of another request, which tells of it in its own story


@dataclass(frozen=True, slots=True)
class Story:
    """A request, and its events as JSON (`protocols.stories.encode_events`)."""

    request: RequestEntry
    events: bytes
    part: bool = False  # found by its id, and not listed


class Traces:
    """Owns the stories of the latest requests, in memory; of older ones the Store has a row.

    Ids come from clients and may repeat. Each request has its line; of those with one id the latest tells its story.

    Args:
        clock: says for how long a request has been under way.
        store: the Store; None to remember nothing.
    """

    def __init__(self, clock: Clock, store: ActorHandle | None = None) -> None:
        self._clock = clock
        self._store = store
        self._under_way: OrderedDict[TicketId, Told] = OrderedDict()  # in order of arrival
        self._ended: OrderedDict[TicketId, Story] = OrderedDict()  # in order of their ends
        self._latest: dict[str, TicketId] = {}  # id -> its latest among the ended
        self._throughput = Throughput()
        self._watched = False  # somebody wants to know of the next change

    async def on_start(self) -> None:
        """Know the requests of before, each by its row."""
        if self._store is not None:
            for number, row in enumerate(await self._store.traces.remote(KEPT)):
                self._keep(TicketId(f"before-{number}"), _story(row))

    def progressed(self, told: Told) -> None:
        """A request is under way, and stands thus."""
        self._under_way[told.ticket] = told
        if len(self._under_way) > MAX_UNDER_WAY:
            self._under_way.popitem(last=False)
        self._changed()

    def ended(self, told: Told) -> None:
        """A request is over."""
        self._under_way.pop(told.ticket, None)
        node, tokens = told.request["node"], told.request["completion"]
        if node and tokens:
            self._throughput.answered(node, tokens, self._clock.monotonic())
        self._changed()
        self._keep(told.ticket, Story(told.request, encode_events(told.events), told.part))
        if self._store is not None and not told.part:  # there is one row for each request of a client
            self._store.record.tell(row_of(told.request, told.events))

    def _keep(self, ticket: TicketId, story: Story) -> None:
        self._ended[ticket] = story
        self._latest[story.request["id"]] = ticket
        if len(self._ended) > KEPT:
            first, oldest = self._ended.popitem(last=False)
            if self._latest[oldest.request["id"]] == first:
                del self._latest[oldest.request["id"]]

    def recent(self, limit: int) -> tuple[RequestEntry, ...]:
        """At most so many requests: those under way, then those that ended, of each the latest first."""
        under_way = [self._so_far(told) for told in reversed(self._under_way.values()) if not told.part]
        ended = [story.request for story in reversed(self._ended.values()) if not story.part]
        return (*under_way, *ended)[:limit]

    async def story(self, request_id: str) -> Story | None:
        """The story of a request: of the one under way with this id, else of the one that ended last."""
        for told in reversed(self._under_way.values()):
            if told.request["id"] == request_id:
                return Story(self._so_far(told), encode_events(told.events))
        ticket = self._latest.get(request_id)
        if ticket is not None:
            return self._ended[ticket]
        row: KnownTrace | None = await self._store.trace.remote(request_id) if self._store is not None else None
        return None if row is None else _story(row)

    def under_way(self) -> int:
        """Requests that were told of and have not ended."""
        return len(self._under_way)

    def rates(self) -> dict[str, float]:
        """Tokens of answers a second over the last minute, by the names of the nodes that have made any."""
        return self._throughput.rates(self._clock.monotonic())

    def tell_of_next(self) -> None:
        """Tell the Feed of the next change, once: of a hundred requests a second it need not hear one by one."""
        self._watched = True

    def _changed(self) -> None:
        if self._watched:
            self._watched = False
            news.changed()

    def _so_far(self, told: Told) -> RequestEntry:
        total = round(self._clock.monotonic() - told.began, 6)
        waited, latest = told.request["waited_s"], told.events[-1]
        if latest["kind"] in WAITS:
            waited = round(waited + total - latest["at"], 6)
        return {**told.request, "waited_s": waited, "total_s": total}


def _story(row: KnownTrace) -> Story:
    """What is left of a story."""
    return Story(entry_of(row), encode_events(events_of(row)))
