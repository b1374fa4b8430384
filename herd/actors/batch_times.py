"""How long batches took on each node beside what was predicted: seen as they are served, forgotten with the router."""

from collections.abc import Mapping

from herd.actors.ports import Clock, Headers, Sink
from herd.actors.sinks import PassingSink
from herd.actors.tables import keep_latest
from herd.policy.batches import Spread
from herd.policy.pace import Estimate, seen
from herd.protocols.headers import value_of
from herd.protocols.requests import BYTES_PER_TOKEN
from herd.types import NodeId, Seconds

# Bytes of texts: four steps of a model server. What a shorter batch takes says more about everything around it.
LEAST_SEEN = 2048 * BYTES_PER_TOKEN
# Builds on nodes: a thousand nodes with four models for vectors each.
MAX_BUILDS = 4096


class BatchTimes:
    """What predictions for batches were worth, by node and build.

    Args:
        clock: monotonic times.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ratios: dict[tuple[NodeId, str], Estimate] = {}

    def ratios(self, found: Spread) -> Mapping[NodeId, float]:
        """How many times as long as predicted batches took, on those of the nodes where some were seen."""
        pairs = [(place.node, self._ratios.get((place.node, found.digest))) for place in found.places]
        return {node: ratio.value for node, ratio in pairs if ratio is not None}

    def took(self, found: Spread, timed: "TimedSink", share: float, size: int) -> None:
        """A share of a batch, or all of it, was served.

        Args:
            found: what was predicted for all of it.
            timed: where its answer went.
            share: of the batch.
            size: bytes of it.
        """
        place = next((place for place in found.places if place.name == timed.node), None)
        if place is None or timed.status != 200 or timed.attempts != 1 or size < LEAST_SEEN or timed.seconds <= 0.0:
            return
        key, ratio = (place.node, found.digest), timed.seconds / (place.work * share)
        self._ratios[key] = seen(self._ratios.pop(key, None), ratio, self._clock.monotonic())
        keep_latest(self._ratios, MAX_BUILDS)


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
