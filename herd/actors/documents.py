"""From what the actors know to what people and clients are shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from herd.actors.capacity_learner import LearnedHour
from herd.actors.figures import LeaseCount
from herd.actors.latency_learner import Lesson
from herd.actors.node import NodeStatus
from herd.actors.node_views import models_of
from herd.names import canonical
from herd.policy.breaker import Breaker
from herd.policy.calibration import Calibration, aged, together
from herd.policy.capacity import SLOTS
from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.pace import CROWDS, Estimate
from herd.policy.values import Reason
from herd.policy.work import USUAL
from herd.protocols.herd_api import (
    BreakerEntry,
    CalibrationEntry,
    GpuEntry,
    HourEntry,
    InfoDocument,
    ModelEntry,
    NodeDocument,
    NodeEntry,
    QueueEntry,
    RateEntry,
    ReasonEntry,
    RouterEntry,
    SpeedEntry,
    StatusDocument,
    TotalsEntry,
    WorkSpeedEntry,
)
from herd.protocols.messages import ModelInfo
from herd.types import BackendKind, ModelName, NodeId, NodeName, NodeState, Seconds, Unit

NO_PINS: Mapping[str, NodeId] = MappingProxyType({})
NO_RATES: Mapping[str, float] = MappingProxyType({})


def served_models(nodes: Iterable[NodeStatus]) -> tuple[tuple[NodeName, ModelInfo], ...]:
    """Every model of every node that is connected, paused and draining ones included: they still have it."""
    return tuple(
        (node.name, model)
        for node in nodes
        if node.state not in {NodeState.OFFLINE, NodeState.JOINING}
        for model in node.report.models
    )


def with_aliases(
    listed: Iterable[tuple[NodeName, ModelInfo]], aliases: Mapping[str, str]
) -> tuple[tuple[NodeName, ModelInfo], ...]:
    """The models, and those that have an alias once more by that name: clients look there for what they ask for.

    A model that an alias hides, since it has the same name, is not in it, for nobody gets it by that name.

    Args:
        listed: every model of every node.
        aliases: canonical names of models, by the alias.
    """
    found = tuple(listed)
    if not aliases:
        return found
    hidden = {canonical(alias) for alias in aliases}
    names: dict[str, list[str]] = {}
    for alias, name in aliases.items():
        names.setdefault(name, []).append(alias)
    shown = [(node, model) for node, model in found if canonical(model.name) not in hidden]
    for node, model in found:
        shown += [(node, replace(model, name=ModelName(alias))) for alias in names.get(canonical(model.name), ())]
    return tuple(shown)


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


@dataclass(frozen=True, slots=True)
class _Listed:
    """An entry, and all that it was made of."""

    node: NodeStatus
    pinned: frozenset[str]
    rate: float
    entry: NodeEntry


class Entries:
    """The nodes as the last status listed them: whoever makes one picture after the other makes few entries anew."""

    def __init__(self) -> None:
        self._listed: dict[NodeId, _Listed] = {}

    def of(
        self, nodes: Iterable[NodeStatus], pins: Mapping[str, NodeId], rates: Mapping[str, float]
    ) -> tuple[NodeEntry, ...]:
        """The entries of these nodes; of others none is kept. `pins` and `rates` as for `status`."""
        before, self._listed = self._listed, {}
        for node in nodes:
            pinned = frozenset(model for model, kept_on in pins.items() if kept_on == node.id)
            rate, known = rates.get(node.name, 0.0), before.get(node.id)
            if known is None or (known.node, known.pinned, known.rate) != (node, pinned, rate):
                known = _Listed(node, pinned, rate, node_entry(node, pins, rates))
            self._listed[node.id] = known
        return tuple(known.entry for known in self._listed.values())


def status(
    info: InfoDocument,
    nodes: tuple[NodeStatus, ...],
    held: int,
    pins: Mapping[str, NodeId] = NO_PINS,
    rates: Mapping[str, float] = NO_RATES,
    *,
    before: Entries | None = None,
) -> StatusDocument:
    """`GET /herd/v1/status`.

    Args:
        info: the router.
        nodes: all of them.
        held: requests that no node qualifies for.
        pins: the nodes that pinned models (by canonical name) are kept on.
        rates: tokens of answers a second, by the nodes' names.
        before: the entries of the status before, if there was one.
    """
    entries = (before or Entries()).of(nodes, pins, rates)
    named: dict[NodeId, str] = {node.id: node.name for node in nodes}
    queues = tuple(
        QueueEntry(queue.node, queue.model, queue.running, queue.waiting, queue.limit)
        for node in nodes
        for queue in node.queues
    )
    return StatusDocument(
        router=RouterEntry(
            id=info.router_id,
            version=info.version,
            link_port=info.link_port,
            protocol_versions=info.protocol_versions,
            pins={model: named.get(node) for model, node in sorted(pins.items())},
        ),
        nodes=entries,
        queues=queues,
        totals=TotalsEntry(
            nodes=len(nodes),
            serving=sum(_serves(node) for node in nodes),
            models=len({canonical(name) for name in dict.fromkeys(m.name for entry in entries for m in entry.models)}),
            running=sum(entry.running for entry in entries),
            waiting=sum(entry.waiting for entry in entries),
            held=held,
        ),
    )


def lease_counts(nodes: Iterable[NodeStatus]) -> tuple[LeaseCount, ...]:
    """What the queues of all nodes have given out, and got back."""
    return tuple(
        LeaseCount(queue.node, queue.model, queue.granted, queue.granted - queue.running)
        for node in nodes
        for queue in node.queues
    )


def node_entry(
    node: NodeStatus, pins: Mapping[str, NodeId] = NO_PINS, rates: Mapping[str, float] = NO_RATES
) -> NodeEntry:
    """A node, as `GET /herd/v1/status` lists it. `pins` and `rates` as for `status`."""
    making = {(info.backend, info.name): (info.step, info.steps) for info in node.report.models if info.steps}
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
                view.capabilities,
                *making.get((view.backend, view.name), (0, 0)),
            )
            for model, view in models_of(node.report).items()
        ),
        running=sum(queue.running for queue in node.queues),
        waiting=sum(queue.waiting for queue in node.queues),
        cpu=node.report.cpu,
        memory_total=node.report.memory_total,
        memory_free=node.report.memory_free,
        machine=node.machine,
        backends=node.report.backends,
        agent_version=node.agent_version,
        gpus=tuple(
            GpuEntry(gpu.id, gpu.name, gpu.vendor, gpu.memory_total, gpu.memory_free, gpu.unified)
            for gpu in node.report.gpus
        ),
        workload=node.report.workload or None,
        owner_load=node.report.owner_load,
        thermal=node.report.thermal or None,
        dedicated=node.report.dedicated,
        availability=node.forecast.availability,
        trend=node.forecast.trend,
        tokens_per_s=rates.get(node.name, 0.0),
    )


def node_document(
    node: NodeStatus, entry: NodeEntry, lessons: Iterable[Lesson], week: Iterable[LearnedHour], now: Seconds
) -> NodeDocument:
    """`GET /herd/v1/nodes/NAME`: the node as in the status, and what was learned of it.

    Args:
        node: the node.
        entry: the same, as in the status.
        lessons: learned speeds, of any node.
        week: what is known of each hour of its owner's week.
        now: monotonic.
    """
    own = [lesson for lesson in lessons if lesson.node == node.id]
    checked = [one.learned.calibration for one in own if one.learned.calibration is not None]
    return NodeDocument(
        **{item.name: getattr(entry, item.name) for item in fields(entry)},
        learned=tuple(_speed(lesson, now) for lesson in own),
        calibration=_calibration(together(checked, now)),
        week_slot=node.report.week_slot % SLOTS,
        week=tuple(_hour(hour) for hour in week),
    )


def _speed(lesson: Lesson, now: Seconds) -> SpeedEntry:
    known = lesson.learned
    rates = [
        RateEntry(streams, _value(prefill), _value(decode))
        for streams, prefill, decode in zip(CROWDS, known.prefill.seen, known.decode.seen, strict=True)
        if prefill is not None or decode is not None
    ]
    amounts, work = dict(lesson.amounts), []
    for unit in (Unit.PIXEL_STEP, Unit.AUDIO_FRAME):
        made = known.of(unit)
        if made.alone:
            work.append(WorkSpeedEntry(unit.value, made.alone, amounts.get(unit, float(USUAL[unit]))))
            pairs = zip(CROWDS, made.seen, strict=True)
            rates += [RateEntry(streams, None, one.value, unit.value) for streams, one in pairs if one is not None]
    return SpeedEntry(
        lesson.model,
        _value(known.load),
        _value(known.first_token),
        known.prefill.alone or None,
        known.decode.alone or None,
        lesson.answer,
        tuple(rates),
        _calibration(aged(known.calibration, now) if known.calibration is not None else None),
        tuple(work),
    )


def _calibration(calibration: Calibration | None) -> CalibrationEntry | None:
    if calibration is None:
        return None
    return CalibrationEntry(round(calibration.ratio, 4), round(calibration.spread, 4), round(calibration.weight, 2))


def _value(estimate: Estimate | None) -> float | None:
    return estimate.value if estimate is not None else None


def _hour(hour: LearnedHour) -> HourEntry:
    load = hour.expected.load if hour.expected.confidence else None
    seen = hour.seen
    if seen is None:
        return HourEntry(load, hour.expected.confidence, None, None, 0.0)
    return HourEntry(load, hour.expected.confidence, seen.mean, seen.spread, seen.weight)


def _breaker(breaker: Breaker | None) -> BreakerEntry | None:
    """None where there is nothing to say of it."""
    if breaker is None or not breaker.failures:
        return None
    state = breaker.state
    return BreakerEntry(state.circuit.value, breaker.failures, state.since, state.until)


def _reason(reason: Reason) -> ReasonEntry:
    return ReasonEntry(reason.kind, reason.text, reason.since, reason.until)
