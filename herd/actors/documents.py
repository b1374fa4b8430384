"""From what the actors know to what people and clients are shown."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from types import MappingProxyType

from herd.actors.node import NodeStatus
from herd.actors.node_views import models_of
from herd.policy.breaker import Breaker
from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.values import Reason
from herd.protocols.herd_api import (
    BreakerEntry,
    GpuEntry,
    InfoDocument,
    ModelEntry,
    NodeEntry,
    QueueEntry,
    ReasonEntry,
    StatusDocument,
)
from herd.protocols.messages import ModelInfo
from herd.types import BackendKind, NodeId, NodeName, NodeState


def served_models(nodes: Iterable[NodeStatus]) -> tuple[tuple[NodeName, ModelInfo], ...]:
    """Every model of every node that is connected, paused and draining ones included: they still have it."""
    return tuple(
        (node.name, model)
        for node in nodes
        if node.state not in {NodeState.OFFLINE, NodeState.JOINING}
        for model in node.report.models
    )


def ollama_versions(nodes: Iterable[NodeStatus]) -> tuple[str, ...]:
    """The versions of the Ollama servers that are connected."""
    return tuple(
        backend.version
        for node in nodes
        if node.state is not NodeState.OFFLINE
        for backend in node.report.backends
        if backend.kind == BackendKind.OLLAMA
    )


def can_serve(nodes: Iterable[NodeStatus]) -> bool:
    """True when at least one node takes requests and has a model."""
    return any(_serves(node) for node in nodes)


def _serves(node: NodeStatus) -> bool:
    return node.state in TAKES_REQUESTS and bool(node.report.models)


def status(
    info: InfoDocument, nodes: tuple[NodeStatus, ...], held: int, pins: Mapping[str, NodeId] = MappingProxyType({})
) -> StatusDocument:
    """`GET /herd/v1/status`. `pins`: the nodes that pinned models (by canonical name) are kept on."""
    entries = tuple(node_entry(node, pins) for node in nodes)
    named: dict[NodeId, str] = {node.id: node.name for node in nodes}
    queues = tuple(
        QueueEntry(queue.node, queue.model, queue.running, queue.waiting, queue.limit)
        for node in nodes
        for queue in node.queues
    )
    return StatusDocument(
        router={
            "id": info.router_id,
            "version": info.version,
            "link_port": info.link_port,
            "protocol_versions": info.protocol_versions,
            "pins": {model: named.get(node) for model, node in sorted(pins.items())},
        },
        nodes=entries,
        queues=queues,
        totals={
            "nodes": len(nodes),
            "serving": sum(_serves(node) for node in nodes),
            "models": len({model for node in nodes for model in models_of(node.report)}),
            "running": sum(entry.running for entry in entries),
            "waiting": sum(entry.waiting for entry in entries),
            "held": held,
        },
    )


def node_entry(node: NodeStatus, pins: Mapping[str, NodeId] = MappingProxyType({})) -> NodeEntry:
    """A node, as `GET /herd/v1/status` lists it."""
    return NodeEntry(
        id=node.id,
        name=node.name,
        state=node.state.value,
        reasons=tuple(_reason(reason) for reason in node.reasons),
        breaker=_breaker(node.link),
        models=tuple(
            ModelEntry(
                view.name,
                view.resident,
                view.limit,
                view.backend,
                view.size,
                _breaker(node.breakers.get(model)),
                pins.get(model) == node.id,
            )
            for model, view in models_of(node.report).items()
        ),
        running=sum(queue.running for queue in node.queues),
        waiting=sum(queue.waiting for queue in node.queues),
        cpu=node.report.cpu,
        memory_total=node.report.memory_total,
        memory_free=node.report.memory_free,
        machine=asdict(node.machine),
        backends=tuple(asdict(backend) for backend in node.report.backends),
        agent_version=node.agent_version,
        gpus=tuple(
            GpuEntry(gpu.id, gpu.name, gpu.vendor, gpu.memory_total, gpu.memory_free, gpu.unified)
            for gpu in node.report.gpus
        ),
        workload=node.report.workload or None,
        owner_load=node.report.owner_load,
        thermal=node.report.thermal or None,
        dedicated=node.report.dedicated,
    )


def _breaker(breaker: Breaker | None) -> BreakerEntry | None:
    """None where there is nothing to say of it."""
    if breaker is None or not breaker.failures:
        return None
    state = breaker.state
    return BreakerEntry(state.circuit.value, breaker.failures, state.since, state.until)


def _reason(reason: Reason) -> ReasonEntry:
    return ReasonEntry(reason.kind, reason.text, reason.since, reason.until)
