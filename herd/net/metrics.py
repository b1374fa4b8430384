"""What a router counts and measures, as Prometheus reads it."""

import asyncio
import platform
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

import herd
from herd.actors.figures import Figures
from herd.net.clock import SystemClock
from herd.net.link_traffic import LinkTraffic
from herd.net.loop_lag import LoopLag
from herd.net.metered_happenings import HappeningMetrics
from herd.net.metered_requests import RequestMetrics
from herd.net.metered_state import State
from herd.net.metric_series import Series, gauge, histogram
from herd.protocols.happenings import Happening
from herd.protocols.stories import RequestEntry
from herd.types import Api


def no_links() -> tuple[LinkTraffic, ...]:
    """Of a router without TCP."""
    return ()


class Metrics:
    """Counts and measures; implements the port `Meter`.

    Args:
        links: what the router's links have carried.
    """

    def __init__(self, links: Callable[[], tuple[LinkTraffic, ...]] = no_links) -> None:
        self._links = links
        self._series = Series()
        self._requests = RequestMetrics(self._series)
        self._happenings = HappeningMetrics(self._series)
        self._lag = LoopLag()
        self._began = SystemClock().wall()
        self._registry = CollectorRegistry()
        for collector in (self, self._requests, self._happenings):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)  # empty where there is no /proc

    def request_ended(self, request: RequestEntry, api: Api, *, held_s: float, moves: int) -> None:
        """Count it, and measure what there is to measure of its end."""
        self._requests.ended(request, api, held_s, moves)

    def part_ended(self, request: RequestEntry) -> None:
        """Count it where it ran, and measure it there."""
        self._requests.ended_at_node(request)

    def happened(self, happening: Happening) -> None:
        """Count it."""
        self._happenings.happened(happening)

    async def exposition(self, figures: Figures) -> tuple[str, bytes]:
        """In the text format that every Prometheus reads; written in a thread, for a large fleet's takes a while.

        What a client would rather have is not asked: the library takes such a header at its word, and repeats it.
        """
        self._lag.wanted()
        return CONTENT_TYPE_PLAIN_0_0_4, await asyncio.to_thread(
            self._text, State(figures, self._links(), self._series)
        )

    def _text(self, state: State) -> bytes:
        now = CollectorRegistry()
        now.register(state)
        return generate_latest(self._registry) + generate_latest(now)

    def collect(self) -> Iterator[Metric]:
        """The process itself, as far as the library does not know it; a collector of the library's."""
        build = GaugeMetricFamily("herd_build_info", "1, and what this router is.", labels=["version", "python"])
        build.add_metric([herd.__version__, platform.python_version()], 1)
        yield build
        yield gauge(
            "herd_start_time_seconds", "When this router began to count, since the epoch.", (), [((), self._began)]
        )
        yield histogram(
            "herd_event_loop_lag_seconds",
            "How late the event loop came to a timer, looked at four times a second while somebody reads this.",
            (),
            [((), self._lag.late)],
        )
