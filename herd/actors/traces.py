"""Traces: what became of the latest requests, and where those stand that are under way."""

from collections import OrderedDict
from dataclasses import dataclass

from herd.actors.ports import Clock
from herd.protocols.stories import KEPT, Event, RequestEntry, encode_events
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


@dataclass(frozen=True, slots=True)
class Story:
    """A request, and its events as JSON (`protocols.stories.encode_events`)."""

    request: RequestEntry
    events: bytes


class Traces:
    """Owns the stories of the latest requests, in memory alone: a router that starts again begins with none.

    Ids come from clients and may repeat. Each request has its line; of those with one id the latest tells its story.

    Args:
        clock: says for how long a request has been under way.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._under_way: OrderedDict[TicketId, Told] = OrderedDict()  # in order of arrival
        self._ended: OrderedDict[TicketId, Story] = OrderedDict()  # in order of their ends
        self._latest: dict[str, TicketId] = {}  # id -> its latest among the ended

    def progressed(self, told: Told) -> None:
        """A request is under way, and stands thus."""
        self._under_way[told.ticket] = told
        if len(self._under_way) > MAX_UNDER_WAY:
            self._under_way.popitem(last=False)

    def ended(self, told: Told) -> None:
        """A request is over."""
        self._under_way.pop(told.ticket, None)
        self._ended[told.ticket] = Story(told.request, encode_events(told.events))
        self._latest[told.request["id"]] = told.ticket
        if len(self._ended) > KEPT:
            ticket, oldest = self._ended.popitem(last=False)
            if self._latest[oldest.request["id"]] == ticket:
                del self._latest[oldest.request["id"]]

    def recent(self, limit: int) -> tuple[RequestEntry, ...]:
        """At most so many requests: those under way, then those that ended, of each the latest first."""
        under_way = [self._so_far(told) for told in reversed(self._under_way.values())]
        ended = [story.request for story in reversed(self._ended.values())]
        return (*under_way, *ended)[:limit]

    def story(self, request_id: str) -> Story | None:
        """The story of a request: of the one under way with this id, else of the one that ended last."""
        for told in reversed(self._under_way.values()):
            if told.request["id"] == request_id:
                return Story(self._so_far(told), encode_events(told.events))
        ticket = self._latest.get(request_id)
        return self._ended[ticket] if ticket is not None else None

    def under_way(self) -> int:
        """Requests that were told of and have not ended."""
        return len(self._under_way)

    def _so_far(self, told: Told) -> RequestEntry:
        total = round(self._clock.monotonic() - told.began, 6)
        waited, latest = told.request["waited_s"], told.events[-1]
        if latest["kind"] in WAITS:
            waited = round(waited + total - latest["at"], 6)
        return {**told.request, "waited_s": waited, "total_s": total}
