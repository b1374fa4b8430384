import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.liveness import next_look, state_when_silent
from herd.policy.node_state import Standing, node_state
from herd.policy.values import Reason
from herd.types import NodeState, Seconds

PAUSE = Reason("manual", "is paused")
DRAIN = Reason("draining", "is shutting down")
SILENT = Reason("silent", "has been silent for 15 s")
UNSERVED = Reason("no-backend", "has no model server that answers")
OFFLINE = Reason("offline", "is offline")


@pytest.mark.parametrize(
    ("silence", "state"),
    [(0, "ready"), (14.9, "ready"), (15, "degraded"), (29.9, "degraded"), (30, "offline"), (float("inf"), "offline")],
)
def test_a_silent_node_is_degraded_after_15_seconds_and_offline_after_30(silence: float, state: str) -> None:
    assert state_when_silent(Seconds(silence)) == state


def test_nodes_that_speak_more_rarely_are_doubted_later() -> None:
    assert state_when_silent(Seconds(899), Seconds(300)) == "ready"
    assert state_when_silent(Seconds(900), Seconds(300)) == "degraded"
    assert state_when_silent(Seconds(1800), Seconds(300)) == "offline"


@given(st.floats(0, 100), st.floats(1, 20))
def test_whoever_looks_when_told_misses_no_change(silence: float, heartbeat: float) -> None:
    wait = next_look(Seconds(silence), Seconds(heartbeat))

    def state(silence: float) -> NodeState:
        return state_when_silent(Seconds(silence), Seconds(heartbeat))

    if state(silence) is not NodeState.OFFLINE:
        assert state(silence + wait + 1e-9) is not state(silence)


@pytest.mark.parametrize(
    ("standing", "state", "reasons"),
    [
        (Standing(offline=OFFLINE, reported=True, pauses=(PAUSE,)), NodeState.OFFLINE, (OFFLINE,)),
        (Standing(), NodeState.JOINING, (Reason("joining", "is joining"),)),
        (Standing(reported=True), NodeState.READY, ()),
        (Standing(reported=True, silent=SILENT), NodeState.DEGRADED, (SILENT,)),
        (Standing(reported=True, unserved=UNSERVED, silent=SILENT), NodeState.DEGRADED, (UNSERVED, SILENT)),
        (Standing(reported=True, pauses=(PAUSE,), silent=SILENT), NodeState.PAUSED, (PAUSE, SILENT)),
        (Standing(reported=True, draining=DRAIN, pauses=(PAUSE,)), NodeState.DRAINING, (DRAIN, PAUSE)),
    ],
)
def test_the_worst_that_is_known_makes_the_state_and_every_reason_is_shown(
    standing: Standing, state: NodeState, reasons: tuple[Reason, ...]
) -> None:
    assert node_state(standing) == (state, reasons)
