"""What the actors need for whoever watches over a router, of the outside world, as `ports` says."""

from collections.abc import Callable
from typing import Protocol

from herd.actors.figures import Figures
from herd.protocols.happenings import Happening
from herd.protocols.live import LogLine
from herd.protocols.stories import RequestEntry
from herd.types import Api


class Meter(Protocol):
    """Counts and measures, for `/metrics`. Told on the router's loop, so whatever it does with it is quickly done."""

    def request_ended(self, request: RequestEntry, api: Api, *, held_s: float, moves: int) -> None:
        """A request is over, whatever its end.

        Args:
            request: its line.
            api: what was asked.
            held_s: seconds of its wait for which it was held; for the others it was queued.
            moves: from one queue to another.
        """

    def part_ended(self, request: RequestEntry) -> None:
        """A part of a request is over; of the request itself, which has no node of its own, `request_ended` is told."""

    def happened(self, happening: Happening) -> None:
        """Something has happened to the fleet."""

    async def exposition(self, figures: Figures) -> tuple[str, bytes]:
        """Everything as of now, the figures included: its content type, and the text."""


class LogBook(Protocol):
    """The latest lines of the process's log, numbered in their order."""

    def latest(self, limit: int) -> tuple[LogLine, ...]:
        """At most so many, the latest last."""

    def since(self, number: int) -> tuple[LogLine, ...]:
        """Those behind `number` that are kept, in their order."""

    def tell_of_next(self, heard: Callable[[], object]) -> None:
        """Call `heard` once, from any thread, when there is a further line; whoever was to be called before is not."""
