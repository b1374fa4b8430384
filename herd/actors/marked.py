"""An answer's sink that adds headers to whatever head goes through it."""

from herd.actors.ports import Headers, Sink


class MarkedSink:
    """A `Sink` in front of another one.

    Args:
        sink: where the answer goes.
        headers: what its head gets in addition.
    """

    def __init__(self, sink: Sink, headers: Headers) -> None:
        self._sink = sink
        self._headers = headers

    @property
    def started(self) -> bool:
        """True once a byte of the answer may have left."""
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        await self._sink.start(status, (*headers, *self._headers))

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._sink.write(data)

    async def finish(self) -> None:
        """End the answer cleanly."""
        await self._sink.finish()

    def abort(self) -> None:
        """Cut the connection."""
        self._sink.abort()
