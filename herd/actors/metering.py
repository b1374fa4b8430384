"""Where nobody watches: in simulations, and in tests of something else."""

from herd.actors.figures import Figures
from herd.protocols.stories import RequestEntry
from herd.types import Api


class NoMeter:
    """Measures nothing; implements the port `Meter`."""

    def request_ended(self, request: RequestEntry, api: Api, *, held_s: float, moves: int) -> None:
        """Nobody wants to know."""

    async def exposition(self, figures: Figures) -> tuple[str, bytes]:  # noqa: ARG002 - nobody wants to know
        """There is nothing to tell."""
        return "text/plain; version=0.0.4; charset=utf-8", b""
