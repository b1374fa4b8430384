"""What there is to say of one model on one node until either changes: worked out once, used by many placements."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from herd.policy.elimination import absent
from herd.policy.memory import Budget, Residency, budget, default_context, need
from herd.policy.pace import Learned, Pace, doubt, pace
from herd.policy.values import Eliminated, Hardware, Memory, ModelView, NodeView
from herd.types import BackendId, Bytes, GiB, ModelName, NodeId, NodeName, NodeState, Seconds, Tokens

ROLE_MAX = 15.0
# More than residency is worth: a model loads elsewhere within seconds, while a node that has been silent for 15 s keeps
# a request for 15 more if it is gone.
DEGRADED_PENALTY = 45.0

# Weight classes run from the smallest model that people run to the largest that fits a house, machine classes from a
# small laptop to a workstation; both on logarithmic scales, so that twice as much is one step wherever it is.
_LIGHTEST, _HEAVIEST = 1 * GiB, 64 * GiB
_LEAST_MEMORY, _MOST_MEMORY = 4 * GiB, 128 * GiB
_SLOWEST, _FASTEST = 50e9, 1000e9


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model beyond a node's report."""

    residency: Residency | None = None  # as it was seen on any node
    learned: Learned | None = None  # of this node
    unloaded: Seconds | None = None  # monotonic; when it left this node's memory
    home: bool = False  # the model lives on this node: it shall stay loaded there
    pinned: tuple[str, ...] = ()  # models that must not go from this node
    reloads: Mapping[str, float] = field(default_factory=dict)  # seconds to expect of a model's next load if it goes


@dataclass(frozen=True, slots=True)
class Prospect:
    """One model on one node that takes requests for it."""

    key: str  # the model's canonical name
    who: tuple[NodeId, NodeName, ModelName, BackendId]  # as a `Candidate` begins
    node: NodeView
    model: ModelView
    facts: Facts
    pace: Pace
    context: Tokens  # of a load when the request names none; 0: unknown
    need: Bytes  # memory that this load takes; 0: unknown
    budget: Budget  # for this load
    role: float  # points while the machine has nothing to do, as are the others
    surplus: float  # of them, those that go as it fills
    trend: float
    doubt: float  # the share of the predicted work that may well not be needed, for little was seen of it yet
    degraded: float


def prospect(key: str, node: NodeView, facts: Facts) -> Prospect | Eliminated:
    """What the model `key` has to expect on this node as it is now, or why it has nothing to expect."""
    reason = absent(key, node)
    if reason is not None:
        return Eliminated(node.id, node.name, reason, node.models.get(key), node.media)
    model = node.models[key]
    context = default_context(node)
    if model.context_max:
        context = min(context, model.context_max)
    needed = need(model, context, facts.residency)
    role, surplus = _role(needed or model.size or model.size_resident, node.memory, node.hardware)
    return Prospect(
        key=key,
        who=(node.id, node.name, model.name, model.backend),
        node=node,
        model=model,
        facts=facts,
        pace=pace(node.hardware, model, facts.learned),
        context=context,
        need=needed,
        budget=budget(key, needed, node, facts.pinned),
        role=role,
        surplus=surplus,
        trend=node.trend,
        doubt=doubt(facts.learned),
        degraded=-DEGRADED_PENALTY if node.state is NodeState.DEGRADED else 0.0,
    )


def _role(size: int, memory: Memory, hardware: Hardware) -> tuple[float, float]:
    """Big models to big machines, small ones to small ones: points, and how many of them go as the machine fills.

    A machine that is too small for a model is so at any time. One that is larger than it needs is kept free for larger
    models only while there is something to keep it free for: idle, it serves a small model as well as any. Half of the
    points where classes are unknown.
    """
    if not (size and memory.total and hardware.bandwidth):
        return ROLE_MAX / 2, 0.0
    weight = _position(size, _LIGHTEST, _HEAVIEST)
    machine = (
        _position(memory.total, _LEAST_MEMORY, _MOST_MEMORY) + _position(hardware.bandwidth, _SLOWEST, _FASTEST)
    ) / 2
    return ROLE_MAX * (1.0 - max(0.0, weight - machine)), ROLE_MAX * max(0.0, machine - weight)


def _position(value: float, least: float, most: float) -> float:
    """Where a value stands between two others on a logarithmic scale, 0 to 1."""
    return min(max(math.log(value / least) / math.log(most / least), 0.0), 1.0)


def needed_for(num_ctx: Tokens, one: Prospect) -> tuple[Tokens, Bytes, Budget]:
    """The context, the memory that it takes, and the memory that it finds, of a load with a context of its own."""
    context = min(num_ctx, one.model.context_max) if one.model.context_max else num_ctx
    size = need(one.model, context, one.facts.residency)
    return context, size, budget(one.key, size, one.node, one.facts.pinned)
