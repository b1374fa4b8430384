"""How far predictions come true: one answer after the other, whatever was predicted and whatever came."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.calibration import (
    FURTHEST,
    HALF_LIFE_S,
    MOST_WEIGHT,
    Calibration,
    aged,
    calibrated,
    predicted,
    together,
)
from herd.policy.values import SIGNALS, Candidate
from herd.types import BackendId, ModelName, NodeId, NodeName, Seconds

NOW = Seconds(1000.0)

ANYTHING = st.floats(allow_nan=True, allow_infinity=True)
ANSWERS = st.tuples(ANYTHING, ANYTHING, st.floats(0, 1e9))  # predicted, took, seconds since the one before


def taught(*ratios: float, before: Calibration | None = None, now: Seconds = NOW) -> Calibration:
    """What is known after answers that took so many times as long as predicted."""
    known = before
    for ratio in ratios:
        known = calibrated(known, 2.0, 2.0 * ratio, now)
    assert known is not None
    return known


def candidate(wait: float, work: float) -> Candidate:
    nothing = (0.0,) * len(SIGNALS)
    return Candidate(NodeId("a"), NodeName("a"), ModelName("m"), BackendId("b"), nothing, 0.0, wait=wait, work=work)


@pytest.mark.parametrize(
    ("wait", "work", "seconds"),
    [
        (1.5, 2.0, 3.5),
        (0.0, 2.0, 2.0),
        (0.0, 0.0, None),  # a ranking that works nothing out
        (math.inf, 2.0, None),
        (0.0, math.nan, None),
        (-3.0, 2.0, None),
    ],
)
def test_what_a_candidate_predicts_is_its_wait_and_its_work(wait: float, work: float, seconds: float | None) -> None:
    assert predicted(candidate(wait, work)) == seconds


def test_ratios_are_averaged_as_ratios_are() -> None:
    known = taught(2.0, 0.5)

    assert (known.ratio, known.weight) == pytest.approx((1.0, 2.0))
    assert known.spread == pytest.approx(math.log(2.0))


def test_where_nothing_was_predicted_nothing_is_learned() -> None:
    known = taught(1.5)

    for wrong in (0.0, -1.0, math.inf, math.nan):
        assert calibrated(known, wrong, 1.0, NOW) is known
        assert calibrated(known, 1.0, wrong, NOW) is known
        assert calibrated(None, wrong, 1.0, NOW) is None


def test_what_was_seen_a_day_ago_counts_half() -> None:
    known = taught(4.0, 4.0)
    later = taught(1.0, before=known, now=Seconds(NOW + HALF_LIFE_S))

    assert aged(known, Seconds(NOW + HALF_LIFE_S)).weight == pytest.approx(1.0)
    assert (later.weight, later.ratio) == pytest.approx((2.0, 2.0))
    assert aged(known, Seconds(NOW - 5.0)).weight == known.weight


def test_a_busy_machine_that_changes_is_known_anew_after_some_hundred_answers() -> None:
    known = taught(*[3.0] * 10_000)
    changed = taught(*[1.0] * 300, before=known)

    assert (known.ratio, known.weight) == pytest.approx((3.0, MOST_WEIGHT))
    assert changed.ratio == pytest.approx(1.0, abs=0.06)


def test_models_together_are_as_if_all_answers_were_of_one() -> None:
    first, second = [1.2, 0.9, 1.1], [2.0, 3.0]
    whole = together([taught(*first), taught(*second)], NOW)

    assert whole is not None
    assert (whole.log, whole.variance, whole.weight) == pytest.approx(
        (taught(*first, *second).log, taught(*first, *second).variance, 5.0)
    )
    assert together([], NOW) is None
    assert together([taught(2.0)], Seconds(NOW + 1e9)) is None  # of which nothing counts any more


def test_models_together_count_as_old_as_they_are() -> None:
    old, new = taught(4.0, 4.0), taught(1.0, now=Seconds(NOW + HALF_LIFE_S))
    whole = together([old, new], Seconds(NOW + HALF_LIFE_S))

    assert whole is not None
    assert (whole.ratio, whole.weight) == pytest.approx((2.0, 2.0))


@given(st.lists(ANSWERS, max_size=30))
def test_whatever_comes_all_figures_are_finite_and_within_their_bounds(
    answers: list[tuple[float, float, float]],
) -> None:
    known, now = None, 0.0
    for expected, took, later in answers:
        now += later
        known = calibrated(known, expected, took, Seconds(now))
    whole = together([known] * 3 if known is not None else [], Seconds(now))

    for one in (known, whole):
        if one is not None:
            assert abs(one.log) <= FURTHEST * (1 + 1e-9)  # together they are rounded once more
            assert 0.0 <= one.spread <= FURTHEST * (1 + 1e-9)
            assert math.isfinite(one.ratio)
    assert known is None or (1.0 <= known.weight <= MOST_WEIGHT and abs(known.log) <= FURTHEST)
    assert known is None or known.variance <= FURTHEST**2


@given(st.floats(1 / 30, 30.0), st.floats(1e-3, 1e5), st.lists(st.floats(1 / 100, 100.0), max_size=5))
def test_it_comes_to_a_ratio_that_stays_the_same(ratio: float, seconds: float, before: list[float]) -> None:
    known = taught(*before) if before else None
    for _ in range(1500):
        known = calibrated(known, seconds, seconds * ratio, NOW)

    assert known is not None
    assert known.ratio == pytest.approx(ratio, rel=1e-3)
    assert known.spread == pytest.approx(0.0, abs=1e-2)


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=40), st.floats(0, exclude_min=True, allow_infinity=False))
def test_one_answer_moves_it_by_no_more_than_its_share(ratios: list[float], took: float) -> None:
    known = taught(*ratios)
    after = calibrated(known, 1.0, took, NOW)

    assert after is not None
    assert abs(after.log - known.log) <= (FURTHEST + abs(known.log)) / after.weight + 1e-9
    assert after.variance <= known.variance + (2 * FURTHEST) ** 2 / after.weight + 1e-9
