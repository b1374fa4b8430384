"""Sinks that stand between who answers and who asked."""

from collections.abc import Callable

from herd.actors.ports import Headers, Sink


class PassingSink:
    """A `Sink` that hands on what it is told; what is between is for subclasses to say."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    @property
    def started(self) -> bool:
        """True once a byte of the answer may have left."""
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        await self._sink.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._sink.write(data)

    async def finish(self) -> None:
        """End the answer cleanly."""
        await self._sink.finish()

    def abort(self) -> None:
        """Cut the connection."""
        self._sink.abort()


class MarkedSink(PassingSink):
    """Adds headers to whatever head goes through it."""

    def __init__(self, sink: Sink, headers: Headers) -> None:
        super().__init__(sink)
        self._headers = headers

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        await super().start(status, (*headers, *self._headers))


class NotedSink:
    """Tells `begins` the status of an answer that begins. To write is the other's own: nothing is added to a token."""

    __slots__ = ("_begins", "_sink", "abort", "finish", "write")

    def __init__(self, sink: Sink, begins: Callable[[int], None]) -> None:
        self._sink = sink
        self._begins = begins
        self.write = sink.write
        self.finish = sink.finish
        self.abort = sink.abort

    @property
    def started(self) -> bool:
        """True once a byte of the answer may have left."""
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        self._begins(status)
        await self._sink.start(status, headers)
