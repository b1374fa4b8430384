"""When a silent node is degraded and when it is gone."""

from herd.types import NodeState, Seconds

HEARTBEAT_S = Seconds(5.0)  # between two of a node: three missed ones are 15 s, when both ends begin to doubt a link
DEGRADED_AFTER = 3  # heartbeats missed: 15 s
OFFLINE_AFTER = 6  # 30 s


def state_when_silent(silence: Seconds, heartbeat: Seconds = HEARTBEAT_S) -> NodeState:
    """The state of a node whose link last carried a frame `silence` seconds ago; it should each `heartbeat` s."""
    if silence >= OFFLINE_AFTER * heartbeat:
        return NodeState.OFFLINE
    return NodeState.DEGRADED if silence >= DEGRADED_AFTER * heartbeat else NodeState.READY


def next_look(silence: Seconds, heartbeat: Seconds = HEARTBEAT_S) -> Seconds:
    """Seconds until the state of a node that stays silent would change next; 0 when it is offline."""
    if silence < DEGRADED_AFTER * heartbeat:
        return Seconds(DEGRADED_AFTER * heartbeat - silence)
    return Seconds(max(0.0, OFFLINE_AFTER * heartbeat - silence))
