import os
import subprocess
import sys
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import correlation, fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.simulation.machine.owners import (
    DAY,
    GAME_VIDEO_MEMORY,
    HABITS,
    HEAVY_USE,
    HOUR,
    LATE_MINUTES,
    LEAST_SPEED,
    LONGER,
    MEETING_MINUTES,
    MOST_MEMORY,
    SLOTS,
    Habits,
    OwnerState,
    Session,
    memory_left,
    speed_left,
    week,
)
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, GiB, Seconds

MACHINE = PROFILES["mac-studio"]
MAC, CARD, PROCESSOR = PROFILES["macbook-air"], PROFILES["gaming-pc"], PROFILES["mini-pc"]
WEEK = Seconds(SLOTS * 3600.0)
PEOPLE = pytest.mark.parametrize("habits", [pytest.param(one, id=name) for name, one in HABITS.items() if one.sessions])
MANY = 12  # owners and weeks of a test that speaks of what is usual


def changes(name: str, seed: int = 1, *, weeks: int = 1, start_slot: int = 0) -> list[tuple[Seconds, OwnerState]]:
    return list(week(HABITS[name], MACHINE, seed, start_slot=start_slot, duration=Seconds(weeks * WEEK)))


def by_hour(habits: Habits, seed: int, weeks: int) -> list[float]:
    """How much the owner's programs take of the machine, for each hour: 1.0 is all, a meeting adds 1.0."""
    hours = [0.0] * (weeks * SLOTS)
    told = week(habits, MACHINE, seed, duration=Seconds(weeks * WEEK))
    for (since, state), (until, _) in pairwise(chain(told, [(weeks * WEEK, OwnerState())])):
        use = max(state.cpu, state.gpu) + state.meeting
        for slot in range(int(since // HOUR), -int(-until // HOUR)):
            hours[slot] += use * (min(until, (slot + 1) * HOUR) - max(since, slot * HOUR)) / HOUR
    return hours


def time_in(told: list[tuple[Seconds, OwnerState]], wanted: str, end: float) -> float:
    """Hours in which a state has this property."""
    spans = pairwise([*told, (Seconds(end), OwnerState())])
    return sum(until - since for (since, state), (until, _) in spans if getattr(state, wanted)) / HOUR


# --- What a week is made of ---


def test_nobody_sits_at_a_server() -> None:
    assert changes("server", weeks=50) == [(0.0, OwnerState())]


@given(st.sampled_from(list(HABITS)), st.integers(), st.integers(0, 167), st.floats(1, WEEK))
def test_changes_begin_at_0_and_go_on_in_time(name: str, seed: int, start_slot: int, duration: float) -> None:
    told = list(week(HABITS[name], MACHINE, seed, start_slot=start_slot, duration=Seconds(duration)))
    assert told[0][0] == 0.0
    assert all(one < other for (one, _), (other, _) in pairwise(told))
    assert all(one != other for (_, one), (_, other) in pairwise(told))
    assert told[-1][0] < duration


@given(st.sampled_from(list(HABITS)), st.sampled_from(list(PROFILES)), st.integers())
def test_states_are_shares_of_a_machine(name: str, profile: str, seed: int) -> None:
    machine = PROFILES[profile]
    for _, state in week(HABITS[name], machine, seed, duration=WEEK):
        assert 0 <= state.cpu <= 1
        assert 0 <= state.gpu <= 1
        assert (state.cpu, state.gpu) == (round(state.cpu, 2), round(state.gpu, 2))  # no sum tells its order
        assert 0 <= state.memory <= machine.memory * MOST_MEMORY
        assert not state.asleep or state == OwnerState(asleep=True)


@given(st.sampled_from(list(HABITS)), st.integers(), st.integers(1, 167))
def test_a_week_that_begins_later_is_the_same_week(name: str, seed: int, start_slot: int) -> None:
    shift = start_slot * HOUR
    later = list(week(HABITS[name], MACHINE, seed, start_slot=start_slot, duration=Seconds(WEEK - shift)))
    whole = list(week(HABITS[name], MACHINE, seed, duration=WEEK))
    at_start = [state for at, state in whole if at <= shift][-1]
    assert later == [(0.0, at_start), *[(at - shift, state) for at, state in whole if at > shift]]


@given(st.sampled_from(list(HABITS)), st.integers(), st.integers(1, 20))
def test_what_changes_at_the_end_is_no_longer_told(name: str, seed: int, kept: int) -> None:
    whole = list(week(HABITS[name], MACHINE, seed, duration=WEEK))
    ends = [at for at, _ in whole[kept : kept + 1]] or [WEEK]
    assert list(week(HABITS[name], MACHINE, seed, duration=ends[0])) == whole[:kept]


def test_a_game_of_sunday_night_is_still_played_on_monday() -> None:
    """Somebody among a few night owls is awake at Monday 00:00, when no session of Monday has begun."""
    first = [changes("night owl", seed)[0][1] for seed in range(MANY)]
    assert any(not state.asleep for state in first)


def test_a_century_begins_at_once() -> None:
    told = week(HABITS["developer workstation"], MACHINE, 1, duration=Seconds(100 * 52 * WEEK))
    assert len(list(islice(told, 1000))) == 1000
    endless = week(HABITS["gamer"], MACHINE, 1, duration=Seconds(float("inf")))
    assert len(list(islice(endless, 1000))) == 1000


@pytest.mark.parametrize(("start_slot", "duration"), [(-1, 1.0), (168, 1.0), (0, 0.0), (0, -1.0)])
def test_what_is_no_time_is_refused_before_it_is_asked_for(start_slot: int, duration: float) -> None:
    with pytest.raises(ValueError, match="a week has the hours 0 to 167"):
        week(HABITS["server"], MACHINE, 1, start_slot=start_slot, duration=Seconds(duration))


# --- Habits ---


@PEOPLE
def test_the_same_hour_of_another_week_is_alike_and_another_hour_is_not(habits: Habits) -> None:
    """What a learner with a slot for each hour of the week can learn."""
    alike, different = [], []
    for seed in range(MANY):
        hours = by_hour(habits, seed, weeks=4)
        weeks = [hours[at : at + SLOTS] for at in range(0, len(hours), SLOTS)]
        alike += [correlation(one, other) for one, other in pairwise(weeks)]
        different += [correlation(weeks[0], weeks[1][by:] + weeks[1][:by]) for by in range(1, SLOTS)]
    assert fmean(alike) > 0.6
    assert abs(fmean(different)) < 0.1


@PEOPLE
def test_every_owner_has_hours_of_their_own(habits: Habits) -> None:
    pairs = pairwise([by_hour(habits, seed, weeks=4) for seed in range(MANY)])
    assert fmean([correlation(one, other) for one, other in pairs]) < 0.6


@PEOPLE
def test_no_two_weeks_are_the_same(habits: Habits) -> None:
    hours = by_hour(habits, 1, weeks=2)
    assert hours[:SLOTS] != hours[SLOTS:]


def test_meetings_begin_at_the_hour_or_the_half_hour_of_working_days() -> None:
    told = changes("office laptop", weeks=MANY)
    begun = [at for (_, before), (at, state) in pairwise(told) if state.meeting and not before.meeting]
    ended = [at for (_, before), (at, state) in pairwise(told) if before.meeting and not state.meeting]
    assert len(begun) > 2 * MANY
    # Who carries a laptop out of a meeting room and back ends a meeting and begins another.
    on_time = [at for at in begun if at % 1800 == 0]
    assert len(on_time) > 0.7 * len(begun)
    assert all(at // DAY % 7 < 5 for at in on_time)
    assert all(9 <= at % DAY / HOUR <= 16.5 for at in on_time)
    assert max(end - begin for begin, end in zip(begun, ended, strict=True)) < 3 * HOUR


def test_meetings_last_as_long_as_calendars_let_them() -> None:
    meets = Habits("meets", (Session(tuple(range(7)), (9, 9), MEETING_MINUTES, meeting=True),))
    for seed in range(MANY):
        told = list(week(meets, MACHINE, seed, duration=Seconds(4 * WEEK)))
        lasted = [until - since for (since, state), (until, _) in pairwise(told) if state.meeting]
        assert len(lasted) > 20
        assert all(MEETING_MINUTES[0] * 60 <= seconds <= MEETING_MINUTES[1] * 60 for seconds in lasted)


def test_a_laptop_sleeps_at_night_and_is_carried_by_day() -> None:
    told = changes("office laptop", weeks=MANY)
    nights = [state for at, state in told if 1 <= at % DAY / HOUR < 5]
    assert all(state.asleep for state in nights)
    naps = [until - since for (since, state), (until, _) in pairwise(told) if state.asleep and until - since < 600]
    assert len(naps) > 3 * MANY  # a few in every week
    assert time_in(told, "asleep", MANY * WEEK) > 0.6 * MANY * SLOTS


def test_a_developer_compiles_in_bursts_of_minutes() -> None:
    told = changes("developer workstation", weeks=MANY)
    bursts = [until - since for (since, state), (until, _) in pairwise(told) if state.cpu >= HEAVY_USE]
    assert 30 * MANY < len(bursts) < 150 * MANY
    assert fmean(bursts) < 10 * 60
    assert not any(state.asleep for _, state in told)


def test_games_are_played_in_the_evening() -> None:
    told = changes("gamer", weeks=MANY)
    games = [(since, until) for (since, state), (until, _) in pairwise(told) if state.gpu >= 0.9]
    assert games
    assert fmean([float(since % DAY / HOUR >= 18) for since, _ in games]) > 0.7
    assert 5 * MANY < time_in(told, "heavy", MANY * WEEK) < 35 * MANY


def test_most_owners_leave_their_machine_alone_most_of_the_time() -> None:
    for name in HABITS:
        assert time_in(changes(name, weeks=MANY), "busy", MANY * WEEK) < 0.2 * MANY * SLOTS


@PEOPLE
def test_a_session_is_over_before_the_next_day_is(habits: Habits) -> None:
    """Two days are looked at, and no more."""
    for session in habits.sessions:
        late = LATE_MINUTES / 60
        assert session.hours[0] - late >= 0
        assert session.hours[1] + late + session.minutes[1] * (1 + LONGER) / 60 <= 48


# --- What a state means ---


@pytest.mark.parametrize(
    ("state", "busy"),
    [
        (OwnerState(), False),
        (OwnerState(cpu=0.3, gpu=0.3), False),
        (OwnerState(cpu=HEAVY_USE), True),
        (OwnerState(gpu=0.9), True),
        (OwnerState(meeting=True), True),
        (OwnerState(meeting=True, asleep=True), False),
    ],
)
def test_busy_is_a_meeting_or_heavy_use(state: OwnerState, busy: bool) -> None:
    assert state.busy is busy


@pytest.mark.parametrize("machine", PROFILES.values(), ids=PROFILES)
def test_an_idle_owner_leaves_everything(machine: MachineProfile) -> None:
    assert speed_left(OwnerState(), machine) == 1.0
    assert memory_left(OwnerState(), machine) == machine.model_memory


@pytest.mark.parametrize(
    ("state", "machine", "left"),
    [
        (OwnerState(cpu=0.4), PROCESSOR, 0.6),
        (OwnerState(cpu=1.0), PROCESSOR, LEAST_SPEED),
        (OwnerState(gpu=0.9), PROCESSOR, 1.0),  # no model runs there
        (OwnerState(cpu=0.9), CARD, 1.0),
        (OwnerState(gpu=0.8), CARD, 0.2),
        (OwnerState(gpu=1.0), CARD, LEAST_SPEED),
        (OwnerState(cpu=0.5), MAC, 0.85),
        (OwnerState(gpu=0.5), MAC, 0.5),
        (OwnerState(cpu=0.5, gpu=0.5), MAC, 0.425),
        (OwnerState(asleep=True), MAC, 0.0),
    ],
)
def test_programs_take_speed_where_the_models_run(state: OwnerState, machine: MachineProfile, left: float) -> None:
    assert speed_left(state, machine) == pytest.approx(left)


@pytest.mark.parametrize(
    ("state", "machine", "left"),
    [
        (OwnerState(memory=Bytes(10 * GiB)), PROCESSOR, 18 * GiB),
        (OwnerState(memory=Bytes(10 * GiB)), MAC, 4 * GiB),
        (OwnerState(memory=Bytes(16 * GiB)), MACHINE, MACHINE.model_memory),  # the Mac has more than its GPU may use
        (OwnerState(memory=Bytes(64 * GiB)), PROCESSOR, 0),
        (OwnerState(memory=Bytes(60 * GiB)), CARD, CARD.model_memory),
        (OwnerState(gpu=1.0), CARD, int(CARD.model_memory * (1 - GAME_VIDEO_MEMORY))),
        (OwnerState(gpu=1.0), MAC, MAC.model_memory),
    ],
)
def test_programs_take_memory_where_the_models_are(state: OwnerState, machine: MachineProfile, left: int) -> None:
    assert memory_left(state, machine) == left


# --- Again, the same ---


def test_the_same_seed_is_the_same_owner_whatever_python_hashes() -> None:
    code = (
        "from herd.simulation.machine.owners import HABITS, week\n"
        "from herd.simulation.machine.profiles import PROFILES\n"
        "for habits in HABITS.values():\n"
        "    for change in week(habits, PROFILES['mac-studio'], 7, duration=604800.0): print(change)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert runs[0].count(b"\n") > 100
