"""What people tell a node by hand, and how it stands then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.node_state import Standing, node_state
from herd.policy.orders import NO_ORDERS, Order, Orders
from herd.policy.values import Reason
from herd.types import NodeState, Seconds

MEETING = Reason("meeting", "is in a meeting")
NOW = Seconds(100.0)
TIMES = st.floats(0.0, 1e9).map(Seconds)


def standing(orders: Orders, **fields: object) -> Standing:
    drained, paused = orders.reasons()
    return Standing(reported=True, drained=drained, paused=paused, **fields)  # type: ignore[arg-type]


def test_a_drained_node_is_draining_and_says_since_when() -> None:
    orders = NO_ORDERS.given(Order.DRAIN, NOW).given(Order.DRAIN, Seconds(200.0))
    state, (reason,) = node_state(standing(orders))
    assert (state, reason.kind, reason.text, reason.since) == (NodeState.DRAINING, "drained", "is drained by hand", NOW)


def test_a_pause_says_until_when_and_is_over_then() -> None:
    orders = NO_ORDERS.given(Order.PAUSE, NOW, Seconds(60.0))
    state, (reason,) = node_state(standing(orders))
    assert (state, reason.kind, reason.since, reason.until) == (NodeState.PAUSED, "manual", 100.0, 160.0)
    assert orders.left(Seconds(150.0)) == 10.0
    assert orders.pause_over() == NO_ORDERS


def test_the_latest_pause_counts() -> None:
    for_ever = NO_ORDERS.given(Order.PAUSE, NOW, Seconds(60.0)).given(Order.PAUSE, Seconds(130.0))
    assert for_ever == Orders(paused=NOW)
    assert for_ever.left(Seconds(1e9)) is None
    assert for_ever.given(Order.PAUSE, Seconds(140.0), Seconds(5.0)).until == 145.0


def test_a_pause_that_was_told_by_a_clock_ahead_lasts_no_longer_for_that() -> None:
    ahead = NO_ORDERS.given(Order.PAUSE, Seconds(5000.0), Seconds(60.0))
    assert ahead.begun_by(NOW) == NO_ORDERS.given(Order.PAUSE, NOW, Seconds(60.0))
    assert Orders(paused=Seconds(5000.0)).begun_by(NOW) == Orders(paused=NOW)
    drained = Orders(drained=Seconds(5000.0))
    for untouched in (drained, NO_ORDERS.given(Order.PAUSE, NOW, Seconds(60.0)), NO_ORDERS):
        assert untouched.begun_by(NOW) is untouched


def test_to_resume_ends_both_and_nothing_that_the_agent_says() -> None:
    both = NO_ORDERS.given(Order.DRAIN, NOW).given(Order.PAUSE, NOW)
    state, reasons = node_state(standing(both, pauses=(MEETING,)))
    assert (state, [reason.kind for reason in reasons]) == (NodeState.DRAINING, ["drained", "manual", "meeting"])
    assert node_state(standing(both.given(Order.RESUME, NOW), pauses=(MEETING,))) == (NodeState.PAUSED, (MEETING,))
    assert both.pause_over() == Orders(drained=NOW)


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "joining"])
def test_a_node_that_is_not_there_shows_what_awaits_it(offline: bool) -> None:
    drained, _ = Orders(drained=NOW).reasons()
    gone = Reason("offline", "is offline") if offline else None
    state, reasons = node_state(Standing(offline=gone, drained=drained))
    assert state is (NodeState.OFFLINE if offline else NodeState.JOINING)
    assert [reason.kind for reason in reasons] == [state.value, "drained"]


@given(given=TIMES, lasts=TIMES, now=TIMES)
def test_no_clock_makes_a_pause_longer_than_it_was_to_be(given: Seconds, lasts: Seconds, now: Seconds) -> None:
    left = NO_ORDERS.given(Order.PAUSE, given, lasts).left(now)
    assert left is not None
    assert 0.0 <= left <= lasts * (1 + 1e-6) + 1e-6
