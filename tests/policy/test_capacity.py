"""What is learned of an owner's week, and what routing is told of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.capacity import (
    ABSENT_S,
    ENOUGH,
    FREE_LOAD,
    HALF_LIFE_S,
    HOUR_S,
    SLOTS,
    UNKNOWN,
    Forecast,
    Presence,
    Profile,
    Slot,
    expected,
    forecast,
    load_of,
    observed,
    recalled,
    taught,
)
from herd.policy.values import Reason
from herd.types import Seconds

WEEK_S = 7 * 86_400.0
TUESDAY_8, TUESDAY_9, WEDNESDAY_9, SATURDAY_9 = 32, 33, 57, 129
HALF_HOUR = Seconds(1800.0)


def office(slot: int) -> float:
    """An owner who takes all of the machine on Tuesdays from nine to twelve."""
    return 1.0 if slot in range(TUESDAY_9, TUESDAY_9 + 3) else 0.0


def idle(_slot: int) -> float:
    return 0.0


def lived(hours: int, load: object = office) -> tuple[Profile, Seconds]:
    """A profile after so many hours from Monday 00:00 on, and the time then."""
    profile = Profile()
    assert callable(load)
    for hour in range(hours):
        slot, now = hour % SLOTS, Seconds((hour + 1) * HOUR_S)
        profile = taught(profile, slot, load(slot), Seconds(HOUR_S), now)
    return profile, Seconds(hours * HOUR_S)


def told(weeks: float, presence: Presence, load: object = office) -> Forecast:
    """The forecast after so many weeks."""
    profile, now = lived(int(weeks * SLOTS), load)
    return forecast(profile, presence, now)


# --- an hour ----------------------------------------------------------------------------------------------------------


def test_an_hour_is_the_mean_over_time_however_often_somebody_looked() -> None:
    often: Slot | None = None
    for number in range(720):  # every 5 s
        often = observed(often, 0.9 if number < 360 else 0.1, Seconds(5.0), Seconds(number * 5.0))
    seldom = observed(None, 0.9, HALF_HOUR, HALF_HOUR)
    seldom = observed(seldom, 0.1, HALF_HOUR, Seconds(HOUR_S))
    assert often is not None
    for slot in (often, seldom):
        assert slot.mean == pytest.approx(0.5, abs=0.001)
        assert slot.spread == pytest.approx(0.4, abs=0.001)
        assert slot.weight == pytest.approx(1.0, abs=0.001)


def test_what_was_seen_a_half_life_ago_counts_half() -> None:
    before = observed(None, 1.0, Seconds(HOUR_S), Seconds(0.0))
    after = observed(before, 0.0, Seconds(HOUR_S), Seconds(HALF_LIFE_S))
    assert after.mean == pytest.approx(1 / 3)
    assert after.weight == pytest.approx(1.5)


def test_a_clock_that_is_set_back_makes_nothing_heavier() -> None:
    before = observed(None, 1.0, Seconds(HOUR_S), Seconds(HALF_LIFE_S))
    after = observed(before, 1.0, Seconds(HOUR_S), Seconds(0.0))
    assert (after.weight, after.at) == (2.0, HALF_LIFE_S)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 300), st.floats(0, 1e7)), min_size=1))
def test_whatever_is_observed_an_hour_stays_a_mean_of_loads(seen: list[tuple[float, float, float]]) -> None:
    slot: Slot | None = None
    for load, lasted, now in seen:
        slot = observed(slot, load, Seconds(lasted), Seconds(now))
    assert slot is not None
    assert -1e-9 <= slot.mean <= 1.0 + 1e-9
    assert 0.0 <= slot.spread <= 0.5 + 1e-6
    assert 0.0 < slot.weight <= sum(lasted for _, lasted, _ in seen) / HOUR_S + len(seen)


def test_whoever_is_in_a_meeting_needs_the_whole_machine_and_what_is_no_load_teaches_nothing() -> None:
    assert load_of(0.1, ["meeting"]) == 1.0
    assert load_of(None, ["meeting"]) == 1.0
    assert load_of(0.1, ["manual"]) == 0.1
    assert [load_of(load, []) for load in (None, -0.1, 1.1, math.nan)] == [None] * 4


# --- a week -----------------------------------------------------------------------------------------------------------


def test_it_is_of_use_from_the_first_hour_on_and_better_every_week() -> None:
    profile, now = lived(1, idle)
    assert expected(profile, 1, now).confidence >= 0.2
    confidences = []
    for hours in (0, 1, 24, 48, SLOTS, 4 * SLOTS):
        profile, now = lived(hours, idle)
        confidences.append(expected(profile, WEDNESDAY_9, now).confidence)
    assert confidences == sorted(confidences)
    assert (confidences[0], confidences[2] > 0.25, confidences[-1]) == (0.0, True, 1.0)


def test_hours_that_were_never_seen_are_filled_from_others_and_their_own_past_outweighs_those() -> None:
    profile, now = lived(48)  # Monday and Tuesday
    workday, weekend = expected(profile, WEDNESDAY_9, now), expected(profile, SATURDAY_9, now)
    assert 0.2 < workday.load < 0.8
    assert weekend.load < workday.load
    assert weekend.confidence < workday.confidence < 1.0
    profile, now = lived(4 * SLOTS)
    assert expected(profile, TUESDAY_9, now).load > 0.8
    assert expected(profile, WEDNESDAY_9, now).load < 0.1


def test_all_other_hours_together_count_as_one_week_of_the_hour_itself() -> None:
    profile, now = lived(SLOTS, idle)
    week = list(profile.slots)
    week[TUESDAY_9] = None
    assert expected(recalled(week, now), TUESDAY_9, now).confidence == 0.5
    week[TUESDAY_9] = Slot(1.0, 0.0, 1.0, now)
    assert expected(recalled(week, now), TUESDAY_9, now).load == pytest.approx(0.5, abs=0.01)
    week[TUESDAY_9] = Slot(1.0, 0.0, ENOUGH, now)
    assert expected(recalled(week, now), TUESDAY_9, now).load == 1.0


def test_a_week_that_is_recalled_hour_by_hour_is_the_one_that_was_learned() -> None:
    profile, now = lived(2 * SLOTS)
    again = recalled(profile.slots, now)
    assert again.slots == profile.slots
    assert (again.overall, profile.overall) != (None, None)
    for slot in range(SLOTS):
        assert expected(again, slot, now).load == pytest.approx(expected(profile, slot, now).load)
        assert expected(again, slot, now).confidence == pytest.approx(expected(profile, slot, now).confidence)


@pytest.mark.parametrize("slot", range(0, SLOTS, 7))
def test_of_a_machine_of_which_nothing_is_known_nothing_is_said(slot: int) -> None:
    assert forecast(Profile(), Presence(slot), Seconds(0.0)) == UNKNOWN
    assert (UNKNOWN.availability, UNKNOWN.trend, UNKNOWN.pause) == (1.0, 5.0, None)


# --- the trend --------------------------------------------------------------------------------------------------------


def test_an_always_on_server_gets_all_points_and_so_does_a_machine_without_an_owner() -> None:
    assert told(4, Presence(0, load=0.0), idle) == Forecast(1.0, 10.0)
    assert forecast(Profile(), Presence(0, load=0.9, dedicated=True), Seconds(0.0)) == Forecast(1.0, 10.0)


def test_a_free_machine_whose_owner_is_about_to_come_loses_points_minute_by_minute() -> None:
    points = [told(4, Presence(TUESDAY_8, Seconds(60.0 * minute), 0.0)).trend for minute in (0, 15, 30, 45, 59)]
    assert points == sorted(points, reverse=True)
    assert points[0] >= 9.0
    assert points[-1] <= 1.5


def test_a_busy_machine_whose_owner_is_about_to_leave_gains_points() -> None:
    stays = told(4, Presence(TUESDAY_9, Seconds(1.0), 1.0)).trend
    leaves = told(4, Presence(TUESDAY_9 + 2, Seconds(3500.0), 1.0)).trend
    assert (stays <= 1.0, leaves) == (True, 5.0)


def test_what_the_owner_does_against_all_habits_lasts_for_half_of_the_hour() -> None:
    assert told(4, Presence(0, load=0.8), idle).trend == 6.0


# --- availability -----------------------------------------------------------------------------------------------------


def test_availability_is_no_more_than_now_nor_than_is_usual() -> None:
    assert told(4, Presence(0, load=0.7), idle).availability == 0.3
    assert told(4, Presence(TUESDAY_9, load=0.0)).availability <= 0.1
    assert told(4, Presence(TUESDAY_9)).availability <= 0.1


def test_a_habit_that_is_little_known_takes_little_of_availability() -> None:
    profile = recalled([Slot(1.0, 0.0, 0.4, Seconds(0.0)), *[None] * (SLOTS - 1)], Seconds(0.0))
    assert forecast(profile, Presence(0), Seconds(0.0)).availability == 0.8  # a fifth of what makes it sure


def test_a_machine_is_its_owners_before_the_load_shows_once_the_weeks_have_said_so() -> None:
    pauses = [told(weeks, Presence(TUESDAY_9, load=0.0)).pause for weeks in range(6)]
    assert [pause is not None for pause in pauses] == [False, False, False, True, True, True]
    assert pauses[3] is not None
    assert pauses[3].kind == "availability"


def test_no_load_however_high_takes_a_machine_out_of_service_while_its_week_is_not_known() -> None:
    assert told(1, Presence(TUESDAY_9, load=1.0)).pause is None


def test_an_hour_that_is_sometimes_free_is_not_the_owners_alone() -> None:
    profile, now = lived(8 * SLOTS)
    week = list(profile.slots)

    def pause(slot: Slot) -> Reason | None:
        week[TUESDAY_9] = slot
        return forecast(recalled(week, now), Presence(TUESDAY_9), now).pause

    torn = Slot(0.85, 0.36, 4.0, now)
    sure = Slot(0.99, 0.05, 4.0, now)
    young = Slot(0.99, 0.05, ENOUGH - 0.01, now)
    assert pause(torn) is None
    assert pause(sure) is not None
    assert pause(young) is None


def test_a_pause_ends_with_the_owners_hours() -> None:
    profile, now = lived(4 * SLOTS)
    into = Seconds(600.0)
    pause = forecast(profile, Presence(TUESDAY_9 + 1, into, load=1.0), now).pause
    assert pause is not None
    assert pause.until == now - into + 2 * HOUR_S


def test_an_owner_who_has_not_come_after_twenty_minutes_does_not_come_today() -> None:
    profile, now = lived(4 * SLOTS)
    since_long = Seconds(9 * HOUR_S)
    early = forecast(profile, Presence(TUESDAY_9, Seconds(ABSENT_S - 60), 0.1, since_long), now)
    late = forecast(profile, Presence(TUESDAY_9, Seconds(ABSENT_S), 0.1, since_long), now)
    next_hour = forecast(profile, Presence(TUESDAY_9 + 1, Seconds(0.0), 0.1, since_long), now)
    assert early.pause is not None
    assert early.pause.until == now + 60
    assert (late.pause, late.availability, late.trend > 8.0) == (None, 0.9, True)
    assert (next_hour.pause, next_hour.availability) == (None, 0.9)


def test_an_owner_who_was_there_and_pauses_for_some_minutes_is_still_expected() -> None:
    profile, now = lived(4 * SLOTS)
    presence = Presence(TUESDAY_9 + 1, HALF_HOUR, FREE_LOAD / 2, Seconds(ABSENT_S - 1))
    assert forecast(profile, presence, now).pause is not None


@given(
    st.lists(st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 10))), max_size=SLOTS),
    st.integers(0, SLOTS - 1),
    st.floats(0, HOUR_S),
    st.one_of(st.none(), st.floats(0, 1)),
    st.floats(0, WEEK_S),
)
def test_whatever_is_known_a_forecast_is_within_its_bounds(
    known: list[tuple[float, float, float] | None], slot: int, into: float, load: float | None, free_for: float
) -> None:
    hours = [Slot(*one, Seconds(0.0)) if one is not None else None for one in known]
    profile = recalled([*hours, *[None] * (SLOTS - len(hours))], Seconds(0.0))
    found = forecast(profile, Presence(slot, Seconds(into), load, Seconds(free_for)), Seconds(0.0))
    assert 0.0 <= found.availability <= 1.0
    assert 0.0 <= found.trend <= 10.0
