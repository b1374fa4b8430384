"""Stage 2: how well a node suits a request, as named signals that add up to points."""

from herd.policy.values import Ask, Load, ModelView, NodeView, Signal
from herd.types import NodeState

# The product's promises ("up to"): docs/routing.md explains each.
THERMAL_RESIDENT = 50.0
THERMAL_ON_DISK = 10.0
QUEUE_DEPTH_MAX = 30.0
# More than residency is worth: a model loads elsewhere within seconds, while a node that has been silent for 15 s keeps
# a request for 15 more if it is gone.
DEGRADED_PENALTY = 45.0


def score(ask: Ask, node: NodeView, model: ModelView, load: Load) -> tuple[Signal, ...]:
    """Every signal of `node` for `ask`, in the order in which they are shown."""
    signals = [
        Signal("thermal", _thermal(ask, model)),
        Signal("queue_depth", _queue_depth(model, load)),
    ]
    if node.state is NodeState.DEGRADED:
        signals.append(Signal("degraded", -DEGRADED_PENALTY))
    return tuple(signals)


def _thermal(ask: Ask, model: ModelView) -> float:
    """Resident with enough context beats on disk. A larger context than the resident one is a load."""
    enough = not (ask.num_ctx and model.context and ask.num_ctx > model.context)
    return THERMAL_RESIDENT if model.resident and enough else THERMAL_ON_DISK


def _queue_depth(model: ModelView, load: Load) -> float:
    """All that waits or runs on the node, whatever the model, against what it can run at once.

    x / (1 + x) with x = outstanding / limit: rises smoothly, so that two busy nodes still differ, and never
    passes the cap.
    """
    pressure = load.node / max(1, model.limit)
    return -QUEUE_DEPTH_MAX * pressure / (1.0 + pressure)
