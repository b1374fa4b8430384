"""Sinks that stand between a handler and the sink of its client."""

from herd.actors.ports import Sink
from herd.actors.sinks import PassingSink


class CopyingSink(PassingSink):
    """Keeps what is said before it goes out, so that a client never has more than that."""

    def __init__(self, sink: Sink, copy: bytearray) -> None:
        super().__init__(sink)
        self.copy = copy

    async def write(self, data: bytes) -> None:
        self.copy += data
        await super().write(data)
