"""How many retries a fleet can afford."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from herd.policy.retrying import FREE_FOR_S, FREE_RETRIES, REQUESTS_PER_RETRY, RetryBudget, costs
from herd.types import Seconds


def granted(budget: RetryBudget, wanted: int, now: float) -> tuple[int, RetryBudget]:
    """Of so many retries wanted at once, how many there are."""
    for count in range(wanted):
        after = budget.retried(Seconds(now))
        if after is None:
            return count, budget
        budget = after
    return wanted, budget


def after_requests(count: int, now: float) -> RetryBudget:
    budget = RetryBudget()
    for _ in range(count):
        budget = budget.requested(Seconds(now))
    return budget


def test_a_quiet_fleet_has_ten_retries_a_minute() -> None:
    count, budget = granted(RetryBudget(), 20, 100.0)
    assert count == 10
    assert granted(budget, 20, 159.9)[0] == 0
    assert granted(budget, 20, 160.0)[0] == 10


def test_a_free_retry_is_back_a_minute_after_it_was_taken() -> None:
    _, budget = granted(RetryBudget(), 4, 0.0)
    _, budget = granted(budget, 6, 30.0)
    assert granted(budget, 20, 59.0)[0] == 0
    assert granted(budget, 20, 60.0)[0] == 4


def test_traffic_pays_for_a_fifth_of_itself_on_top() -> None:
    assert granted(after_requests(100, now=5.0), 100, 5.0)[0] == 20 + 10


def test_what_traffic_saved_lapses_within_minutes() -> None:
    busy = after_requests(100, now=0.0)
    assert granted(busy, 100, 60.0)[0] == 7 + 10  # 20 / e
    assert granted(busy, 100, 600.0)[0] == 10


def test_a_request_on_which_no_server_has_worked_costs_nothing_when_it_is_sent_elsewhere() -> None:
    assert not any([costs("connect"), costs("no-backend"), costs("status", 404)])
    assert all([costs("link"), costs("reset"), costs("status", 503), costs("status", 500), costs("internal")])


@settings(max_examples=60)
@given(steps=st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(0, 30), st.integers(0, 30)), max_size=30))
@example(steps=[(0.0, 0, 30), (59.0, 0, 30), (1.0, 0, 30)])
def test_over_any_time_there_are_never_more_than_a_fifth_of_the_traffic_and_ten_a_minute(
    steps: list[tuple[float, int, int]],
) -> None:
    budget, now, requests = RetryBudget(), 0.0, 0
    retries: list[float] = []
    for pause, asked, failing in steps:
        now += pause
        for _ in range(asked):
            budget = budget.requested(Seconds(now))
        requests += asked
        count, budget = granted(budget, failing, now)
        retries += [now] * count
        recent = [time for time in retries if now - time < FREE_FOR_S]
        assert len(recent) <= FREE_RETRIES + requests / REQUESTS_PER_RETRY
        assert len(budget.taken) <= FREE_RETRIES


def test_the_first_placement_of_a_request_pays_in_and_only_retries_take_out() -> None:
    budget, now = RetryBudget(), Seconds(100.0)
    assert budget.placed(now, retry=False, first=True) == budget.requested(now)
    assert budget.placed(now, retry=False, first=False) == budget
    assert budget.placed(now, retry=True, first=False) == budget.retried(now)
    assert granted(budget, 20, now)[1].placed(now, retry=True, first=False) is None
