"""What a router counts and measures, as Prometheus reads it."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from herd.names import canonical
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.stories import RequestEntry
from herd.types import Outcome

# Pairs of a node and a model that have series of their own. Each has some fifty, which whoever scrapes them keeps as
# long as it keeps anything: these make 5,000, as many as a large program has. A house of ten nodes uses ten models on
# each at most; what comes later, of a fleet that makes up names say, is counted under one name together.
MAX_PAIRS = 100
OTHER = "other"

# From an embedding to the longest answers that clients wait for.
SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
# As far below 1 as above it, as ratios go, and finest where a prediction is as good as true.
RATIOS = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)

_OF_A_PAIR = ("node", "model")


class Metrics:
    """Counts and measures in a registry of its own; implements the port `Meter`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        requests = Counter(
            "herd_requests", "Requests that have ended, by outcome.", ("outcome",), registry=self._registry
        )
        # All of them from the start, so that a rate has something to begin with.
        self._ended = {outcome.value: requests.labels(outcome.value) for outcome in Outcome}
        happenings = Counter("herd_happenings", "What has happened to the fleet.", ("kind",), registry=self._registry)
        self._happened = {kind: happenings.labels(kind.value) for kind in HappeningKind}
        self._predicted = Histogram(
            "herd_request_predicted_seconds",
            "Seconds that a request was predicted to take until its whole answer, when it was placed or moved last.",
            _OF_A_PAIR,
            registry=self._registry,
            buckets=SECONDS,
        )
        self._actual = Histogram(
            "herd_request_actual_seconds",
            "Seconds that the same requests took, from the same moment to the whole answer.",
            _OF_A_PAIR,
            registry=self._registry,
            buckets=SECONDS,
        )
        self._ratio = Histogram(
            "herd_request_actual_predicted_ratio",
            "Actual over predicted seconds of the same requests; over 1: they took longer.",
            _OF_A_PAIR,
            registry=self._registry,
            buckets=RATIOS,
        )
        self._pairs: dict[tuple[str, str], tuple[Histogram, Histogram, Histogram]] = {}

    def happened(self, happening: Happening) -> None:
        """Count it."""
        self._happened[happening.kind].inc()

    def request_ended(self, request: RequestEntry) -> None:
        """Count it, and measure how far its prediction came true, if there was one and it was served whole."""
        ended = self._ended.get(request["outcome"] or "")
        if ended is not None:
            ended.inc()
        predicted, took = request["predicted_s"], request["took_s"]
        if not predicted or took is None:
            return
        of_predicted, of_actual, of_ratio = self._of(
            request["node"] or "", canonical(request["served_model"] or request["model"])
        )
        of_predicted.observe(predicted)
        of_actual.observe(took)
        of_ratio.observe(took / predicted)

    def _of(self, node: str, model: str) -> tuple[Histogram, Histogram, Histogram]:
        """The histograms of a pair; those of all others together, once there are enough."""
        found = self._pairs.get((node, model))
        if found is None:
            known = len(self._pairs) < MAX_PAIRS
            labels = (_text(node), _text(model)) if known else (OTHER, OTHER)
            found = (self._predicted.labels(*labels), self._actual.labels(*labels), self._ratio.labels(*labels))
            if known:
                self._pairs[node, model] = found
        return found

    async def exposition(self) -> tuple[str, bytes]:
        """In the text format that every Prometheus reads; written in a thread, for a large fleet's takes a while.

        What a client would rather have is not asked: the library takes such a header at its word, and repeats it.
        """
        return CONTENT_TYPE_PLAIN_0_0_4, await asyncio.to_thread(generate_latest, self._registry)


def _text(name: str) -> str:
    """A stranger's text as UTF-8 can carry it."""
    return name.encode(errors="replace").decode()
