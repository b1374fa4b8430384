"""Arrivals follow the hours of the week, and swing within them."""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.workload_fit import dispersion, variation
from herd.simulation.workload.arrivals import (
    EVEN_WEEK,
    HOUR,
    HOUSEHOLD_WEEK,
    NIGHTLY_WEEK,
    SLOTS,
    Span,
    Swing,
    arrivals,
)
from herd.types import Seconds

STILL = Swing(depth=0.0)


def times(expected: float, span: Span, week: tuple[float, ...] = EVEN_WEEK, swing: Swing = STILL) -> list[Seconds]:
    return list(arrivals(random.Random(1), expected, span, week, swing))


@given(
    hours=st.floats(0.1, 400.0),
    start_slot=st.integers(0, SLOTS - 1),
    lead=st.floats(0.0, 9000.0),
    week=st.sampled_from([EVEN_WEEK, HOUSEHOLD_WEEK, NIGHTLY_WEEK]),
)
def test_as_many_as_expected_come_in_the_run_whatever_its_hours(
    hours: float, start_slot: int, lead: float, week: tuple[float, ...]
) -> None:
    found = times(2000, Span(Seconds(hours * HOUR), start_slot, Seconds(lead)), week)
    assert found == sorted(found)
    assert found[0] >= -lead
    assert found[-1] < hours * HOUR
    assert sum(at >= 0 for at in found) == pytest.approx(2000, abs=6 * 2000**0.5)


def test_an_hour_has_its_weight() -> None:
    found = times(100_000, Span(Seconds(SLOTS * HOUR)), HOUSEHOLD_WEEK)
    for slot in (3, 10, 20, 5 * 24 + 3, 6 * 24 + 20):
        share = sum(slot * HOUR <= at < (slot + 1) * HOUR for at in found) / len(found)
        assert share == pytest.approx(HOUSEHOLD_WEEK[slot] / sum(HOUSEHOLD_WEEK), rel=0.25)


def test_a_run_begins_in_the_hour_that_it_is_told() -> None:
    only_noon = tuple(float(slot == 12) for slot in range(SLOTS))
    found = times(100, Span(Seconds(24 * HOUR), start_slot=10), only_noon)
    assert {int(at // HOUR) for at in found} == {2}


def test_the_lead_goes_on_at_the_rate_of_its_hours() -> None:
    found = times(10_000, Span(Seconds(10 * HOUR), lead=Seconds(2 * HOUR)))
    assert sum(at < 0 for at in found) == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize(("expected", "week"), [(0.0, EVEN_WEEK), (100.0, (0.0,) * SLOTS)])
def test_nothing_comes_where_nothing_is_expected(expected: float, week: tuple[float, ...]) -> None:
    assert times(expected, Span(Seconds(HOUR)), week) == []


def test_without_a_swing_it_is_a_poisson_process_and_with_one_it_is_uneven_over_minutes() -> None:
    span = Span(Seconds(20 * HOUR))
    still, swinging = times(20_000, span), times(20_000, span, swing=Swing(0.4, Seconds(500.0)))
    assert variation(still) == pytest.approx(1.0, abs=0.05)
    assert dispersion(still, 100) == pytest.approx(1.0, abs=0.2)
    assert dispersion(swinging, 1) == pytest.approx(1.0, abs=0.2)
    # n x depth^2 more than a Poisson process, in windows shorter than a state.
    assert dispersion(swinging, 100) == pytest.approx(1 + 100 * 20_000 / (20 * HOUR) * 0.4**2, rel=0.3)


def test_a_run_begins_in_a_calm_or_a_busy_state_by_chance() -> None:
    swing = Swing(0.9, Seconds(1e9))  # the first state lasts
    counts = [
        len(list(arrivals(random.Random(seed), 100, Span(Seconds(HOUR)), EVEN_WEEK, swing))) for seed in range(40)
    ]
    calm = sum(count < 50 for count in counts)
    assert 10 < calm < 30
    assert all(count < 50 or count > 130 for count in counts)


def test_a_household_is_quiet_at_night_and_asks_most_in_the_evening() -> None:
    days = [HOUSEHOLD_WEEK[24 * day : 24 * day + 24] for day in range(7)]
    for day in days:
        assert max(day[2:6]) < 0.2 * mean(day)
        assert max(day) == max(day[18:23])
    office, weekend = (mean([*day[9:12], *day[13:17]]) for day in (days[0], days[6]))
    assert office > 1
    assert weekend > 1
