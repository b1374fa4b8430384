"""Sinks that stand between a handler and the sink of its client."""

from herd.actors.ports import Headers, Sink


class PassingSink:
    """Hands on what it is told; what is between is for subclasses to say."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    @property
    def started(self) -> bool:
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        await self._sink.start(status, headers)

    async def write(self, data: bytes) -> None:
        await self._sink.write(data)

    async def finish(self) -> None:
        await self._sink.finish()

    def abort(self) -> None:
        self._sink.abort()


class CopyingSink(PassingSink):
    """Keeps what is said before it goes out, so that a client never has more than that."""

    def __init__(self, sink: Sink, copy: bytearray) -> None:
        super().__init__(sink)
        self.copy = copy

    async def write(self, data: bytes) -> None:
        self.copy += data
        await super().write(data)
