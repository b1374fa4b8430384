"""When a silent node is degraded and when it is gone."""

from herd.types import NodeState, Seconds

DEGRADED_AFTER = Seconds(15.0)  # three heartbeats missed
OFFLINE_AFTER = Seconds(30.0)  # six


def state_when_silent(silence: Seconds) -> NodeState:
    """The state of a node whose link last carried a frame `silence` seconds ago."""
    if silence >= OFFLINE_AFTER:
        return NodeState.OFFLINE
    return NodeState.DEGRADED if silence >= DEGRADED_AFTER else NodeState.READY


def next_look(silence: Seconds) -> Seconds:
    """Seconds until the state of a node that stays silent would change next; 0 when it is offline."""
    if silence < DEGRADED_AFTER:
        return Seconds(DEGRADED_AFTER - silence)
    return Seconds(max(0.0, OFFLINE_AFTER - silence))
