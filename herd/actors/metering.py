"""Where nobody watches: in simulations, and in tests of something else."""

from herd.protocols.stories import RequestEntry


class NoMeter:
    """Measures nothing; implements the port `Meter`."""

    def request_ended(self, request: RequestEntry) -> None:
        """Nobody wants to know."""

    async def exposition(self) -> tuple[str, bytes]:
        """There is nothing to tell."""
        return "text/plain; version=0.0.4; charset=utf-8", b""
