"""What has happened to a fleet, in numbers."""

from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import Metric

from herd.net.metric_series import OTHER, Labels, Series, counter
from herd.protocols.happenings import Happening, HappeningKind

# What agents and the router pause nodes for. Newer agents may know of more: those are counted together.
PAUSES = frozenset(("meeting", "owner-load", "thermal", "manual", "availability"))

_OF_A_PAIR = ("node", "model")
_LOADS = frozenset((HappeningKind.LOADED, HappeningKind.PRE_WARMED))


class HappeningMetrics:
    """Told of what happens on the loop; collected in a thread, which may miss what happens at that very moment.

    Args:
        series: which nodes, and which models on them, have series of their own.
    """

    def __init__(self, series: Series) -> None:
        self._series = series
        # All of them from the start, so that a rate has something to begin with.
        self._kinds = dict.fromkeys(HappeningKind, 0)
        self._loads: dict[Labels, int] = defaultdict(int)
        self._failures: dict[Labels, int] = defaultdict(int)
        self._evictions: dict[Labels, int] = defaultdict(int)
        self._pauses: dict[Labels, int] = defaultdict(int)
        self._openings: dict[Labels, int] = defaultdict(int)

    def happened(self, happening: Happening) -> None:
        """Count it."""
        kind, node, cause = happening.kind, happening.node, happening.cause
        self._kinds[kind] += 1
        if kind in _LOADS:
            self._loads[*self._series.pair(node, happening.model), cause] += 1
        elif kind is HappeningKind.LOAD_FAILED:
            self._failures[self._series.pair(node, happening.model)] += 1
        elif kind is HappeningKind.EVICTED:
            self._evictions[self._series.pair(node, happening.model)] += 1
        elif kind is HappeningKind.PAUSED:
            self._pauses[self._series.node(node), cause if cause in PAUSES else OTHER] += 1
        elif kind is HappeningKind.BREAKER_OPENED:
            self._openings[self._series.node(node), "model" if happening.model else "link"] += 1

    def collect(self) -> Iterator[Metric]:
        """All of it, as the library writes it."""
        kinds = [((kind.value,), count) for kind, count in self._kinds.items()]
        yield counter("herd_happenings", "What has happened to the fleet.", ("kind",), kinds)
        for name, about, labels, counts in (
            (
                "herd_model_loads",
                "Models that came into a node's memory: for a request, before a deep queue, or where they are at home.",
                (*_OF_A_PAIR, "cause"),
                self._loads,
            ),
            ("herd_model_load_failures", "Loads that the router asked for in vain.", _OF_A_PAIR, self._failures),
            ("herd_model_evictions", "Models that left a node's memory.", _OF_A_PAIR, self._evictions),
            (
                "herd_node_pauses",
                "Pauses of a node that began, by the kind of their reason.",
                ("node", "reason"),
                self._pauses,
            ),
            (
                "herd_breaker_openings",
                "Times that a node's link, or a model there, was left alone for failing.",
                ("node", "scope"),
                self._openings,
            ),
        ):
            yield counter(name, about, labels, [*counts.items()])
