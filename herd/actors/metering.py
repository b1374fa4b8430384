"""Where nobody watches: in simulations, and in tests of something else."""

from collections.abc import Callable

from herd.actors.figures import Figures
from herd.protocols.happenings import Happening
from herd.protocols.live import LogLine
from herd.protocols.stories import RequestEntry
from herd.types import Api


class NoMeter:
    """Measures nothing; implements the port `Meter`."""

    def request_ended(self, request: RequestEntry, api: Api, *, held_s: float, moves: int) -> None:
        """Nobody wants to know."""

    def part_ended(self, request: RequestEntry) -> None:
        """Nobody wants to know."""

    def happened(self, happening: Happening) -> None:
        """Nobody wants to know."""

    async def exposition(self, figures: Figures) -> tuple[str, bytes]:  # noqa: ARG002 - the port's
        """There is nothing to tell."""
        return "text/plain; version=0.0.4; charset=utf-8", b""


class NoLog:
    """Has no line; implements the port `LogBook`."""

    def latest(self, limit: int) -> tuple[LogLine, ...]:  # noqa: ARG002 - the port's
        """There is none."""
        return ()

    def since(self, number: int) -> tuple[LogLine, ...]:  # noqa: ARG002 - the port's
        """There is none."""
        return ()

    def tell_of_next(self, heard: Callable[[], object]) -> None:
        """There will be none."""
