"""When a crashed actor is started again, and after how long: nothing but numbers."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.runtime.restarts import RestartHistory, RestartPolicy


def no_chance() -> float:
    return 0.0


def waits(policy: RestartPolicy, crashes: list[float], chance: Callable[[], float] = no_chance) -> list[float | None]:
    history = RestartHistory(policy)
    return [history.crashed(now, chance) for now in crashes]


@pytest.mark.parametrize(
    ("policy", "crashes", "expected"),
    [
        pytest.param(RestartPolicy(), [0, 0, 0, 0, 0, 0], [0, 0.1, 0.2, 0.4, 0.8, None], id="the default"),
        pytest.param(RestartPolicy(max_restarts=0), [0], [None], id="no restart at all"),
        pytest.param(RestartPolicy(max_restarts=1), [0, 1], [0, None], id="one crash more is given up on"),
        pytest.param(
            RestartPolicy(max_restarts=-1, backoff=1, max_backoff=5),
            [0, 1, 2, 3, 4, 5],
            [0, 1, 2, 4, 5, 5],
            id="without a limit the wait grows to its cap and stays there",
        ),
        pytest.param(
            RestartPolicy(max_restarts=1, window=10, reset_after=0),
            [0, 10, 10.1],
            [0, None, 0],
            id="a crash counts for the whole window, its end included",
        ),
        pytest.param(
            RestartPolicy(max_restarts=2, window=10, backoff=1, reset_after=60),
            [0, 9, 18, 27],
            [0, 1, 2, 4],
            id="the wait grows although the window has moved on",
        ),
        pytest.param(
            RestartPolicy(max_restarts=9, backoff=1, reset_after=10),
            [0, 10, 20, 30.1, 31],
            [0, 1, 2, 0, 1],
            id="after a quiet time the next crash waits like a first one",
        ),
        pytest.param(
            RestartPolicy(max_restarts=9, backoff=3, max_backoff=2),
            [0, 0, 0],
            [0, 2, 2],
            id="the cap is below the wait",
        ),
        pytest.param(RestartPolicy(backoff=0), [0, 0, 0], [0, 0, 0], id="no wait"),
        pytest.param(RestartPolicy(max_backoff=0), [0, 0, 0], [0, 0, 0], id="no wait, by the cap"),
        pytest.param(
            RestartPolicy(max_restarts=2, window=0, backoff=1, reset_after=0),
            [1, 1, 1, 2, 2, 2],
            [0, 1, None, 0, 1, None],
            id="a window of no length counts what crashes at once",
        ),
        pytest.param(
            RestartPolicy.lifelong(2), [0, 1e6, 1e9], [0, 0, None], id="restarts over a whole life, as in Ray"
        ),
        pytest.param(RestartPolicy.lifelong(0), [0], [None], id="no restart in a whole life"),
        pytest.param(RestartPolicy.lifelong(-1), [0, 0.0, 1e9], [0, 0.1, 0], id="no limit over a whole life"),
    ],
)
def test_a_crash_is_followed_by_a_wait_or_given_up_on(
    policy: RestartPolicy, crashes: list[float], expected: list[float | None]
) -> None:
    assert waits(policy, crashes) == expected


def test_chance_takes_its_share_off_a_wait_but_not_off_the_first_which_is_none() -> None:
    policy = RestartPolicy(backoff=1, jitter=0.5)
    assert waits(policy, [0, 0, 0], lambda: 1.0) == [0, 0.5, 1.0]
    assert waits(policy, [0, 0, 0], lambda: 0.5) == [0, 0.75, 1.5]
    assert waits(RestartPolicy(backoff=1, jitter=0), [0, 0], lambda: 1.0) == [0, 1]
    assert waits(RestartPolicy(backoff=1, jitter=1), [0, 0], lambda: 1.0) == [0, 0]


def test_chance_takes_its_share_off_the_longest_wait_too() -> None:
    assert waits(RestartPolicy(backoff=8, max_backoff=10, jitter=0.5), [0, 0, 0], lambda: 1.0) == [0, 4, 5]


def test_chance_is_asked_only_where_there_is_a_wait() -> None:
    asked: list[None] = []

    def chance() -> float:
        asked.append(None)
        return 0.0

    waits(RestartPolicy(max_restarts=2), [0, 1, 2, 3], chance)
    assert len(asked) == 1


def test_a_crash_that_is_given_up_on_does_not_count_against_a_later_one() -> None:
    policy = RestartPolicy(max_restarts=1, window=10, backoff=1, reset_after=100)
    assert waits(policy, [0, 9, 10.5]) == [0, None, 1]


def test_a_thousand_crashes_do_not_overflow_the_wait() -> None:
    policy = RestartPolicy(max_restarts=-1, backoff=1e300, max_backoff=math.inf, jitter=0)
    assert waits(policy, [0.0] * 5000)[-1] == math.inf


def test_what_is_remembered_is_bounded_by_max_restarts_and_without_a_limit_it_is_nothing() -> None:
    for limit, remembered in ((3, 3), (-1, 0)):
        history = RestartHistory(RestartPolicy(max_restarts=limit, window=math.inf))
        for _ in range(100):
            history.crashed(0.0, no_chance)
        assert len(history._crashes) == remembered


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_restarts", -2),
        ("window", -1),
        ("backoff", -0.1),
        ("max_backoff", -1),
        ("reset_after", -1),
        ("jitter", -0.1),
        ("jitter", 1.1),
        *((name, math.nan) for name in ("window", "backoff", "max_backoff", "reset_after", "jitter")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        RestartPolicy(**{name: value})  # type: ignore[arg-type]


policies = st.builds(
    RestartPolicy,
    max_restarts=st.integers(-1, 5),
    window=st.floats(0, 100),
    backoff=st.floats(0, 10),
    max_backoff=st.floats(0, 20),
    jitter=st.floats(0, 1),
    reset_after=st.floats(0, 100),
)
gaps = st.lists(st.floats(0, 60), max_size=30)
chances = st.floats(0, 1)


def times(between: list[float]) -> list[float]:
    return [sum(between[: n + 1]) for n in range(len(between))]


@given(policies, gaps, chances)
def test_a_wait_is_never_negative_nor_beyond_its_cap(policy: RestartPolicy, between: list[float], luck: float) -> None:
    for wait in waits(policy, times(between), lambda: luck):
        assert wait is None or 0 <= wait <= policy.max_backoff


@given(policies, gaps)
def test_within_any_window_there_are_at_most_max_restarts(policy: RestartPolicy, between: list[float]) -> None:
    crashes = times(between)
    restarted = [now for now, wait in zip(crashes, waits(policy, crashes), strict=True) if wait is not None]
    if policy.max_restarts == -1:
        assert restarted == crashes
        return
    for start in restarted:
        assert sum(start <= now and now - start <= policy.window for now in restarted) <= policy.max_restarts


@given(policies, gaps)
def test_nothing_is_given_up_on_before_the_window_is_full(policy: RestartPolicy, between: list[float]) -> None:
    restarted: list[float] = []
    crashes = times(between)
    for now, wait in zip(crashes, waits(policy, crashes), strict=True):
        if wait is None:
            assert sum(now - before <= policy.window for before in restarted) >= policy.max_restarts
        else:
            restarted.append(now)


@given(policies, gaps)
def test_of_crashes_in_a_row_each_waits_at_least_as_long_as_the_one_before(
    policy: RestartPolicy, between: list[float]
) -> None:
    crashes = times(between)
    longest = 0.0
    last: float | None = None
    for now, wait in zip(crashes, waits(policy, crashes), strict=True):
        if wait is None:
            continue
        if last is None or now - last > policy.reset_after:
            assert wait == 0
            longest = 0.0
        assert wait >= longest
        longest, last = wait, now
