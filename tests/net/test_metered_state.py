"""How nodes, queues, links and actors stand, as Prometheus reads it."""

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest

from herd.actors.figures import Figures, LeaseCount
from herd.net import metric_series
from herd.net.link_traffic import LinkTraffic
from herd.net.metered_state import State
from herd.net.metric_series import OTHER, Series
from herd.protocols.herd_api import (
    BreakerEntry,
    GpuEntry,
    ModelEntry,
    NodeEntry,
    QueueEntry,
    RouterEntry,
    StatusDocument,
    TotalsEntry,
)
from herd.protocols.messages import Machine
from herd.runtime import ClassState
from herd.types import NodeId
from tests.net.exposition import read, value

OPEN, HALF, CLOSED = (BreakerEntry(state, 3, None, None) for state in ("open", "half-open", "closed"))
MODEL = ModelEntry("m:latest", True, 2, "ollama", 10)
GPU = GpuEntry("g0", "RTX", "nvidia", 24, 20, False)


def node(name: str = "studio", **changes: Any) -> NodeEntry:
    entry = NodeEntry(
        id=f"id-{name}",
        name=name,
        state="ready",
        reasons=(),
        breaker=None,
        models=(),
        running=0,
        waiting=0,
        cpu=0.25,
        memory_total=64,
        memory_free=16,
        machine=Machine(),
        backends=(),
        agent_version="1",
    )
    return replace(entry, **changes)


def status(*nodes: NodeEntry, queues: tuple[QueueEntry, ...] = (), held: int = 0) -> StatusDocument:
    return StatusDocument(RouterEntry("r", "1", 0, (1,), {}), nodes, queues, TotalsEntry(len(nodes), 0, 0, 0, 0, held))


def shown(document: StatusDocument, links: tuple[LinkTraffic, ...] = (), **figures: Any) -> dict[str, Metric]:
    registry = CollectorRegistry()
    nothing: dict[str, Any] = {"leases": (), "actors": (), "dead_letters": {}}
    registry.register(State(Figures(document, **{**nothing, **figures}), links, Series()))
    return read(generate_latest(registry))


def test_nodes_are_counted_by_state_and_each_says_its_own() -> None:
    families = shown(status(node(), node("mini", state="paused"), node("nas", state="paused")))
    assert value(families, "herd_nodes", state="ready") == 1
    assert value(families, "herd_nodes", state="paused") == 2
    assert value(families, "herd_nodes", state="offline") == 0
    assert value(families, "herd_node_state", node="mini", state="paused") == 1
    assert value(families, "herd_node_state", node="mini", state="ready") == 0


def test_a_node_says_what_its_machine_has() -> None:
    families = shown(status(node(gpus=(GPU, replace(GPU, id="g1")), owner_load=0.5), node("mini")))
    assert value(families, "herd_node_memory_bytes", node="studio") == 64
    assert value(families, "herd_node_memory_free_bytes", node="studio") == 16
    assert value(families, "herd_node_cpu_ratio", node="studio") == 0.25
    assert value(families, "herd_node_owner_load_ratio") == 0.5  # nobody says it of the other
    assert value(families, "herd_node_gpu_memory_bytes") == 48
    assert value(families, "herd_node_gpu_memory_free_bytes") == 40


def test_a_node_says_which_of_its_models_are_in_memory_and_what_fails() -> None:
    models = (MODEL, replace(MODEL, resident=False, breaker=OPEN), replace(MODEL, breaker=OPEN))
    families = shown(status(node(models=models, breaker=HALF), node("mini", breaker=CLOSED)))
    assert value(families, "herd_node_models", node="studio") == 3
    assert value(families, "herd_node_resident_models", node="studio") == 2
    assert value(families, "herd_node_breakers", node="studio", state="open") == 2
    assert value(families, "herd_node_breakers", node="studio", state="half-open") == 1
    assert value(families, "herd_node_breakers", node="mini", state="closed") == 1
    assert value(families, "herd_node_breakers", node="mini", state="open") == 0


def test_queues_that_were_used_show_how_they_stand() -> None:
    queues = (
        QueueEntry("studio", "m:latest", running=2, waiting=3, limit=2),
        QueueEntry("studio", "idle:latest", running=0, waiting=0, limit=4),
        QueueEntry("studio", "never:latest", running=0, waiting=0, limit=1),
    )
    leases = (
        LeaseCount("studio", "m:latest", 12, 10),
        LeaseCount("studio", "idle:latest", 5, 5),
        LeaseCount("studio", "never:latest", 0, 0),
    )
    families = shown(status(node(), queues=queues, held=7), leases=leases)
    assert value(families, "herd_queue_running", model="m:latest") == 2
    assert value(families, "herd_queue_waiting", model="m:latest") == 3
    assert value(families, "herd_queue_limit", model="idle:latest") == 4
    assert value(families, "herd_leases_granted", "_total", model="m:latest") == 12
    assert value(families, "herd_leases_returned", "_total", model="m:latest") == 10
    assert value(families, "herd_requests_held") == 7
    assert {sample.labels["model"] for sample in families["herd_queue_limit"].samples} == {"m:latest", "idle:latest"}


def test_links_say_what_they_have_carried_by_the_names_of_their_nodes() -> None:
    links = (LinkTraffic(NodeId("id-studio"), 100, 200, joins=2, streams=3), LinkTraffic(NodeId("gone"), 1, 1, 1, 1))
    families = shown(status(node()), links)
    assert value(families, "herd_link_received_bytes", "_total") == 100
    assert value(families, "herd_link_sent_bytes", "_total") == 200
    assert value(families, "herd_link_joins", "_total") == 2
    assert value(families, "herd_link_streams", node="studio") == 3


def test_actors_say_how_they_stand_class_by_class() -> None:
    scorer = ClassState("Scorer", 1, 5, 2, 0.5, processed=100, failed=3, seconds=0.25, longest=0.02, restarts=4)
    families = shown(status(), actors=(scorer, ClassState("Node")), dead_letters={"dead": 6})
    of = {"class": "Scorer"}
    assert value(families, "herd_actors", **of) == 1
    assert value(families, "herd_actor_mailbox_messages", **of) == 5
    assert value(families, "herd_actor_mailbox_oldest_seconds", **of) == 0.5
    assert value(families, "herd_actor_handlers_running", **of) == 2
    assert value(families, "herd_actor_handler_seconds", "_sum", **of) == 0.25
    assert value(families, "herd_actor_handler_seconds", "_count", **of) == 100
    assert value(families, "herd_actor_handler_longest_seconds", **of) == 0.02
    assert value(families, "herd_actor_handler_failures", "_total", **of) == 3
    assert value(families, "herd_actor_restarts", "_total", **of) == 4
    assert value(families, "herd_dead_letters", "_total", reason="dead") == 6


def test_nodes_and_queues_beyond_the_bound_are_added_up_where_that_makes_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_series, "MAX_NODES", 1)
    monkeypatch.setattr(metric_series, "MAX_PAIRS", 1)
    nodes = [node(f"n{number}") for number in range(4)]
    queues = tuple(QueueEntry(f"n{number}", "m:latest", 1, 0, 2) for number in range(4))
    families = shown(status(*nodes, queues=queues))
    assert value(families, "herd_node_memory_bytes", node=OTHER) == 3 * 64
    assert value(families, "herd_node_state", node=OTHER, state="ready") == 3
    assert [sample.labels["node"] for sample in families["herd_node_cpu_ratio"].samples] == ["n0"]
    assert value(families, "herd_queue_running", node=OTHER, model=OTHER) == 3
    assert value(families, "herd_nodes", state="ready") == 4
