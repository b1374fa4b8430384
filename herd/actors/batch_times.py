"""How long a batch took beside what was predicted, seen as it is served."""

from herd.actors.ports import Clock, Headers, Sink
from herd.actors.sinks import PassingSink
from herd.policy.batches import Spread
from herd.protocols.headers import value_of
from herd.protocols.requests import BYTES_PER_TOKEN
from herd.types import NodeId, Seconds

# Bytes of texts: four steps of a model server. What a shorter batch takes says more about everything around it.
LEAST_SEEN = 2048 * BYTES_PER_TOKEN


class TimedSink(PassingSink):
    """Notes how long an answer took until it began, and whose it is: by then the model server has all of it.

    Attributes:
        status: of the answer; 0 until it begins.
        node: the name of the node.
        seconds: from the making of this until the answer began, without the wait in queues.
        attempts: it took.
    """

    def __init__(self, sink: Sink, clock: Clock) -> None:
        super().__init__(sink)
        self._clock = clock
        self._began = clock.monotonic()
        self.status = self.attempts = 0
        self.node, self.seconds = "", Seconds(0.0)

    def ratio(self, found: Spread, share: float, size: int) -> tuple[NodeId, float] | None:
        """Whose answer it is, and how many times as long as predicted it took; None where that says nothing.

        Args:
            found: what was predicted for all of the batch.
            share: of the batch, that was asked for.
            size: bytes of that.
        """
        place = next((place for place in found.places if place.name == self.node), None)
        if place is None or self.status != 200 or self.attempts != 1 or size < LEAST_SEEN or self.seconds <= 0.0:
            return None
        return place.node, self.seconds / (place.work * share)

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head."""
        took = self._clock.monotonic() - self._began
        self.status, self.node = status, value_of(headers, "x-herd-node")
        self.seconds = Seconds(took - number_in(headers, "x-herd-queue-ms") / 1000)
        self.attempts = number_in(headers, "x-herd-attempts")
        await super().start(status, headers)


def number_in(headers: Headers, name: str) -> int:
    """Of a header that holds one; 0 where it does not."""
    value = value_of(headers, name)
    return int(value) if value.isdecimal() else 0
