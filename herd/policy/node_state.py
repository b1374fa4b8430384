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
    owners: Reason | None = None  # by what was learned, the owner wants the machine at this hour
    silent: Reason | None = None  # the link is there, but says nothing
    drained: Reason | None = None  # by hand, as is the next: over every link of the node
    paused: Reason | None = None
    unserved: Reason | None = None  # no model server beside the agent answers
    pressed: Reason | None = None  # short of memory: it takes requests, and loads nothing for them


def node_state(standing: Standing) -> tuple[NodeState, tuple[Reason, ...]]:
    """The state, and every reason that keeps the node from being ready, or from loading models."""
    by_hand = [reason for reason in (standing.drained, standing.paused) if reason is not None]
    if standing.offline is not None:
        return NodeState.OFFLINE, (standing.offline, *by_hand)
    if not standing.reported:
        return NodeState.JOINING, (Reason("joining", "is joining"), *by_hand)
    draining = [reason for reason in (standing.draining, standing.drained) if reason is not None]
    pauses = [
        *([standing.paused] if standing.paused is not None else []),
        *standing.pauses,
        *([standing.owners] if standing.owners is not None else []),
    ]
    reasons = [*draining, *pauses]
    troubles = [trouble for trouble in (standing.unserved, standing.silent) if trouble is not None]
    reasons += troubles
    if draining:
        state = NodeState.DRAINING
    elif pauses:
        state = NodeState.PAUSED
    else:
        state = NodeState.DEGRADED if troubles else NodeState.READY
    return state, tuple(reasons if standing.pressed is None else [*reasons, standing.pressed])
