"""How a router, its nodes, its queues and its actors stand: read when somebody asks, not kept up to date."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import SummaryMetricFamily

from herd.actors.figures import Figures
from herd.net.link_traffic import LinkTraffic
from herd.net.metric_series import OTHER, Labels, Series, counter, gauge
from herd.protocols.herd_api import NodeEntry
from herd.types import NodeState

Values = list[tuple[Labels, float]]

_CIRCUITS = ("closed", "half-open", "open")
_OF_A_NODE = ("node",)
_OF_A_PAIR = ("node", "model")


@dataclass(frozen=True, slots=True, eq=False)  # a registry wants its collectors hashable
class State:
    """One moment of a router; a collector of the library's.

    Attributes:
        figures: what its actors say.
        links: what its links say.
        series: which nodes and models have series of their own.
    """

    figures: Figures
    links: tuple[LinkTraffic, ...]
    series: Series

    def collect(self) -> Iterator[Metric]:
        """All of it, as the library writes it."""
        nodes = {entry.id: self.series.node(entry.name) for entry in self.figures.status.nodes}
        yield from self._nodes(nodes)
        yield from self._queues()
        yield from self._links(nodes)
        yield from self._actors()

    def _nodes(self, names: Mapping[str, str]) -> Iterator[Metric]:
        nodes = self.figures.status.nodes
        states: Values = [((state.value,), 0) for state in NodeState]
        yield gauge("herd_nodes", "Nodes, by state.", ("state",), [*states, *(((node.state,), 1) for node in nodes)])
        yield gauge(
            "herd_node_state",
            "1 for the state that a node is in, 0 for the others.",
            ("node", "state"),
            [
                ((names[node.id], state.value), float(node.state == state.value))
                for node in nodes
                for state in NodeState
            ],
        )

        def each(name: str, about: str, values: Iterable[tuple[NodeEntry, float | None]]) -> Metric:
            known: Values = [((names[node.id],), value) for node, value in values if value is not None]
            if name.endswith("_ratio"):  # which do not add up
                known = [(label, value) for label, value in known if label != (OTHER,)]
            return gauge(f"herd_node_{name}", about, _OF_A_NODE, known)

        yield each("cpu_ratio", "Share of a node's cores in use.", ((node, node.cpu) for node in nodes))
        owners = ((node, node.owner_load) for node in nodes)
        yield each("owner_load_ratio", "Share of a node that its owner takes, where that is known.", owners)
        left_over = ((node, node.availability) for node in nodes)
        yield each("availability_ratio", "Share of a node that its owner is expected to leave for requests.", left_over)
        yield each("memory_bytes", "Memory of a node.", ((node, node.memory_total) for node in nodes))
        free = ((node, node.memory_free) for node in nodes)
        yield each("memory_free_bytes", "Memory of a node that a new process could get.", free)
        gpus = [(node, gpu) for node in nodes for gpu in node.gpus]
        total = ((node, gpu.memory_total) for node, gpu in gpus)
        yield each("gpu_memory_bytes", "Memory of a node's GPUs that models could have, all together.", total)
        left = ((node, gpu.memory_free) for node, gpu in gpus)
        yield each("gpu_memory_free_bytes", "Memory of a node's GPUs that a new model could get, all together.", left)
        yield each("models", "Models that a node has.", ((node, len(node.models)) for node in nodes))
        resident = ((node, sum(model.resident for model in node.models)) for node in nodes)
        yield each("resident_models", "Models in a node's memory.", resident)
        breakers: Values = [((names[node.id], state), 0) for node in nodes for state in _CIRCUITS]
        for node in nodes:
            found = [node.breaker, *(model.breaker for model in node.models)]
            breakers += [((names[node.id], one.state), 1) for one in found if one is not None]
        yield gauge(
            "herd_node_breakers",
            "Breakers of a node that count failures or are open, those of its link and of its models.",
            ("node", "state"),
            breakers,
        )

    def _queues(self) -> Iterator[Metric]:
        status, leases = self.figures.status, self.figures.leases
        used = {(one.node, one.model) for one in leases if one.granted}
        queues = [one for one in status.queues if one.waiting or one.running or (one.node, one.model) in used]
        pairs = [self.series.pair(queue.node, queue.model) for queue in queues]
        for name, about, values in (
            ("running", "Requests that run, which are the leases that are out.", [queue.running for queue in queues]),
            ("waiting", "Requests that wait in a queue.", [queue.waiting for queue in queues]),
            ("limit", "Requests that may run at once.", [queue.limit for queue in queues]),
        ):
            yield gauge(f"herd_queue_{name}", about, _OF_A_PAIR, [*zip(pairs, values, strict=True)])
        given = [(self.series.pair(one.node, one.model), one) for one in leases if one.granted]
        granted: Values = [(pair, one.granted) for pair, one in given]
        returned: Values = [(pair, one.returned) for pair, one in given]
        yield counter("herd_leases_granted", "Leases that a queue gave out.", _OF_A_PAIR, granted)
        yield counter("herd_leases_returned", "Leases that a queue got back.", _OF_A_PAIR, returned)
        held: Values = [((), status.totals.held)]
        yield gauge("herd_requests_held", "Requests that no node qualifies for, and that wait for one.", (), held)

    def _links(self, names: Mapping[str, str]) -> Iterator[Metric]:
        known = [((names[link.node],), link) for link in self.links if link.node in names]
        received: Values = [(name, link.received) for name, link in known]
        yield counter("herd_link_received_bytes", "Bytes that came from a node.", _OF_A_NODE, received)
        sent: Values = [(name, link.sent) for name, link in known]
        yield counter("herd_link_sent_bytes", "Bytes that went to a node.", _OF_A_NODE, sent)
        joins: Values = [(name, link.joins) for name, link in known]
        yield counter("herd_link_joins", "Times that a node has connected.", _OF_A_NODE, joins)
        streams: Values = [(name, link.streams) for name, link in known]
        yield gauge("herd_link_streams", "Streams that are open to a node.", _OF_A_NODE, streams)

    def _actors(self) -> Iterator[Metric]:
        classes = [((one.class_name,), one) for one in self.figures.actors]
        handled = SummaryMetricFamily(
            "herd_actor_handler_seconds", "Seconds for which handlers of a class held the event loop.", labels=["class"]
        )
        for name, one in classes:
            handled.add_metric(name, count_value=one.processed, sum_value=one.seconds)
        yield handled
        gauges: tuple[tuple[str, str, Values], ...] = (
            ("herd_actors", "Actors of a class that live.", [(name, one.living) for name, one in classes]),
            (
                "herd_actor_mailbox_messages",
                "Messages that wait in the mailboxes of a class.",
                [(name, one.queued) for name, one in classes],
            ),
            (
                "herd_actor_mailbox_oldest_seconds",
                "Age of the message that waits for longest in a mailbox of a class.",
                [(name, one.oldest) for name, one in classes],
            ),
            (
                "herd_actor_handlers_running",
                "Handlers of a class that have begun and wait for something.",
                [(name, one.in_flight) for name, one in classes],
            ),
            (
                "herd_actor_handler_longest_seconds",
                "The longest stretch for which a handler of a class held the event loop.",
                [(name, one.longest) for name, one in classes],
            ),
        )
        for metric, about, values in gauges:
            yield gauge(metric, about, ("class",), values)
        failures: Values = [(name, one.failed) for name, one in classes]
        yield counter("herd_actor_handler_failures", "Handlers that ended by an exception.", ("class",), failures)
        restarts: Values = [(name, one.restarts) for name, one in classes]
        yield counter("herd_actor_restarts", "Crashes of actors that were started again.", ("class",), restarts)
        letters: Values = [((reason,), count) for reason, count in self.figures.dead_letters.items()]
        yield counter("herd_dead_letters", "Messages that no actor handled.", ("reason",), letters)
