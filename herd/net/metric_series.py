"""What metrics are made of: how many series there may be, and sums that are cheap to add to."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

# Pairs of a node and a model that have series of their own. Each has some ninety, which whoever scrapes them keeps as
# long as it keeps anything: these make 9,000, as many as a large program has. A house of ten nodes uses ten models on
# each at most; what comes later, of a fleet that makes up names say, is counted under one name together.
MAX_PAIRS = 100
# Nodes that have some twenty each: 2,000, and more machines than a house has.
MAX_NODES = 100
OTHER = "other"

Labels = tuple[str, ...]


class Series:
    """Which nodes, and which models on them, have series of their own; all others share one."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}
        self._nodes: dict[str, str] = {}

    def pair(self, node: str, model: str) -> tuple[str, str]:
        """The labels of a model, by canonical name, on a node."""
        found = self._pairs.get((node, model))
        if found is None:
            if len(self._pairs) >= MAX_PAIRS:
                return OTHER, OTHER
            found = self._pairs[node, model] = text(node), text(model)
        return found

    def node(self, name: str) -> str:
        """The label of a node."""
        found = self._nodes.get(name)
        if found is None:
            if len(self._nodes) >= MAX_NODES:
                return OTHER
            found = self._nodes[name] = text(name)
        return found


class Buckets:
    """A histogram: an observation costs a fifth of what one of the library's does, and each request makes several.

    Args:
        bounds: the upper ones, inclusive, in order; one more bucket is for what is over the last.
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def __bool__(self) -> bool:
        """Something was observed."""
        return any(self._counts)

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Bounds with how many are not over them, and the sum, as the library takes them."""
        bounds = [*map(_bound, self._bounds), _bound(inf)]
        return [*zip(bounds, accumulate(self._counts), strict=True)], self._sum


def _bound(value: float) -> str:
    return "+Inf" if value == inf else repr(float(value))


def gauge(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> GaugeMetricFamily:
    """A gauge; what has the same labels is added up."""
    family = GaugeMetricFamily(name, about, labels=labels)
    for key, value in _summed(values):
        family.add_metric(key, value)
    return family


def counter(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> CounterMetricFamily:
    """A counter, whose name gets its `_total`; what has the same labels is added up."""
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in _summed(values):
        family.add_metric(key, value)
    return family


def histogram(name: str, about: str, labels: Labels, values: Iterable[tuple[Labels, Buckets]]) -> HistogramMetricFamily:
    """A histogram, of whom something was observed."""
    family = HistogramMetricFamily(name, about, labels=labels)
    for key, buckets in values:
        if buckets:
            family.add_metric(key, *buckets.cumulated())
    return family


def _summed(values: Iterable[tuple[Labels, float]]) -> Iterable[tuple[Labels, float]]:
    sums: dict[Labels, float] = {}
    for key, value in values:
        sums[key] = sums.get(key, 0) + value
    return sums.items()


def text(name: str) -> str:
    """A stranger's text as UTF-8 can carry it."""
    return name.encode(errors="replace").decode()
