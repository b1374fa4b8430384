"""The state of a node from what is known of it, worst first."""

from dataclasses import dataclass

from herd.policy.values import Reason
from herd.types import NodeState


@dataclass(frozen=True, slots=True)
class Standing:
    """What bears on a node's state. Times inside the reasons are wall clock."""

    offline: Reason | None = None  # why there is no link
    reported: bool = False  # a first report has come in over this link
    draining: Reason | None = None
    pauses: tuple[Reason, ...] = ()
    silent: Reason | None = None  # the link is there, but says nothing
    unserved: Reason | None = None  # no model server beside the agent answers


def node_state(standing: Standing) -> tuple[NodeState, tuple[Reason, ...]]:
    """The state, and every reason that keeps the node from being ready."""
    if standing.offline is not None:
        return NodeState.OFFLINE, (standing.offline,)
    if not standing.reported:
        return NodeState.JOINING, (Reason("joining", "is joining"),)
    reasons = [*standing.pauses]
    if standing.draining is not None:
        reasons.insert(0, standing.draining)
    troubles = [trouble for trouble in (standing.unserved, standing.silent) if trouble is not None]
    reasons += troubles
    if standing.draining is not None:
        state = NodeState.DRAINING
    elif standing.pauses:
        state = NodeState.PAUSED
    else:
        state = NodeState.DEGRADED if troubles else NodeState.READY
    return state, tuple(reasons)
