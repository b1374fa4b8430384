"""What looks at a machine make of its owner."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.orders import Order, Orders
from herd.policy.owner import (
    BUSY,
    BUSY_NO_MORE,
    LEVELS,
    RULES,
    UNKNOWN_S,
    Owner,
    OwnerSample,
    Sign,
    Terms,
    Watched,
    paused_by_hand,
    turns_in,
    watch,
    with_pause,
)
from herd.types import Bytes, GiB, Pressure, Seconds, Thermal, Workload

LOOK = 3.0  # seconds between two looks
WALL = 1_000_000.0  # what the wall clock shows when the monotonic one shows 0
TERMS = Terms(memory=Bytes(16 * GiB))
REST = OwnerSample(camera=False, microphone=False, cpu=0.0, gpu=0.0, thermal=Thermal.NOMINAL, pressure=Pressure.NORMAL)
UNKNOWN = OwnerSample()


class Machine:
    """A machine that is looked at every three seconds."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.terms = terms
        self.watched = Watched()
        self.now = 0.0

    def look(self, sample: OwnerSample) -> Owner:
        self.now += LOOK
        self.watched = watch(self.watched, sample, self.terms, Seconds(self.now), Seconds(WALL + self.now))
        return self.watched.owner

    def looks(self, sample: OwnerSample, seconds: float) -> Owner:
        """Looks for so long."""
        for _ in range(int(seconds / LOOK)):
            self.look(sample)
        return self.watched.owner


def seen(**fields: Any) -> OwnerSample:
    """A machine at rest but for this."""
    return replace(REST, **fields)


def kinds(owner: Owner) -> list[str]:
    return [pause.kind for pause in owner.pauses]


# --- meetings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (seen(camera=True), "is in a meeting: its camera is in use"),
        (seen(microphone=True), "is in a meeting: its microphone is in use"),
        (seen(camera=True, microphone=True), "is in a meeting: its camera and its microphone are in use"),
    ],
)
def test_a_camera_or_a_microphone_in_use_is_a_meeting_at_the_first_look(sample: OwnerSample, text: str) -> None:
    (pause,) = Machine().look(sample).pauses

    assert (pause.kind, pause.text, pause.since, pause.until) == ("meeting", text, WALL + LOOK, None)


def test_a_meeting_ends_when_two_looks_in_a_row_see_neither() -> None:
    machine = Machine()
    machine.look(seen(camera=True))

    assert kinds(machine.look(REST)) == ["meeting"]
    assert kinds(machine.look(seen(camera=True))) == ["meeting"]  # only another camera was chosen
    assert kinds(machine.look(REST)) == ["meeting"]
    assert kinds(machine.look(REST)) == []


def test_a_meeting_is_one_though_its_camera_goes_and_its_microphone_stays() -> None:
    machine = Machine()
    began = machine.look(seen(camera=True)).pauses[0].since
    machine.look(seen(camera=True, microphone=True))
    (pause,) = machine.looks(seen(microphone=True), 60).pauses

    assert (pause.since, pause.text) == (began, "is in a meeting: its microphone is in use")


def test_what_nobody_can_say_is_no_meeting() -> None:
    assert Machine().looks(UNKNOWN, 60) == Owner()


def test_a_sensor_that_cannot_say_for_a_moment_ends_no_meeting_and_one_that_never_says_again_does() -> None:
    machine = Machine()
    machine.look(seen(camera=True))

    assert kinds(machine.looks(UNKNOWN, UNKNOWN_S)) == ["meeting"]
    assert kinds(machine.look(seen(camera=True))) == ["meeting"]
    assert kinds(machine.looks(UNKNOWN, UNKNOWN_S + RULES[Sign.CAMERA].ends + 2 * LOOK)) == []


# --- the owner's own load ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [{"cpu": 0.9}, {"gpu": 0.9}, {"cpu": None, "gpu": 0.9}])
def test_an_owner_who_takes_the_machine_for_two_minutes_has_it_alone(load: dict[str, float]) -> None:
    machine = Machine()

    assert kinds(machine.looks(seen(**load), 120)) == []
    (pause,) = machine.look(seen(**load)).pauses
    assert pause.kind == "owner-load"
    assert pause.text == "is used by its owner, who took over 85% of it for 120 s"


@pytest.mark.parametrize(
    ("cpu", "gpu", "load"),
    [(0.2, 0.4, 0.4), (0.4, 0.2, 0.4), (0.4, None, 0.4), (None, 0.4, None), (1.01, 0.0, 1.0), (-0.01, None, 0.0)],
)
def test_the_owners_load_is_the_greater_one_and_unknown_without_the_processors(
    cpu: float | None, gpu: float | None, load: float | None
) -> None:
    assert Machine().look(seen(cpu=cpu, gpu=gpu)).load == load


@pytest.mark.parametrize("blind", [seen(cpu=None), UNKNOWN])
def test_a_look_that_cannot_tell_the_load_interrupts_nothing(blind: OwnerSample) -> None:
    machine = Machine()
    for _ in range(20):
        machine.looks(seen(cpu=0.95), 9)
        machine.look(blind)

    assert kinds(machine.watched.owner) == ["owner-load"]
    assert machine.watched.owner.workload is Workload.HEAVY


def test_a_load_that_pauses_does_not_pause() -> None:
    machine = Machine()
    lapse = RULES[Sign.BUSY].lapse + 2 * LOOK
    for _ in range(10):
        assert kinds(machine.looks(seen(cpu=0.95), 90)) == []
        assert kinds(machine.looks(seen(cpu=BUSY), lapse)) == []


def test_a_build_that_dips_now_and_then_is_as_much_work_as_one_that_does_not() -> None:
    machine = Machine()
    for _ in range(4):
        machine.looks(seen(cpu=0.95), 30)
        machine.looks(seen(cpu=0.3), 6)

    assert kinds(machine.watched.owner) == ["owner-load"]
    machine.looks(seen(cpu=0.3), 51)
    assert kinds(machine.looks(seen(cpu=0.95), 6)) == ["owner-load"]  # nor does a moment of work bring it back
    assert kinds(machine.looks(seen(cpu=0.3), 6)) == []


def test_the_machine_is_given_back_when_it_was_well_below_for_a_minute() -> None:
    machine = Machine()
    machine.looks(seen(cpu=0.95), 150)

    assert kinds(machine.looks(seen(cpu=BUSY_NO_MORE + 0.1), 600)) == ["owner-load"]
    assert kinds(machine.looks(seen(cpu=BUSY_NO_MORE), 60)) == ["owner-load"]
    assert kinds(machine.look(seen(cpu=BUSY_NO_MORE))) == []


# --- what the machine bears -------------------------------------------------------------------------------------------


def test_only_critical_memory_pressure_counts_at_once_and_for_some_time() -> None:
    machine = Machine()

    assert kinds(machine.looks(seen(pressure=Pressure.WARNING), 60)) == []
    (pause,) = machine.look(seen(pressure=Pressure.CRITICAL)).pauses
    assert pause.kind == "memory-pressure"
    assert kinds(machine.looks(REST, RULES[Sign.SHORT].ends)) == ["memory-pressure"]
    assert kinds(machine.look(REST)) == []


def test_a_machine_at_its_thermal_limit_is_paused_and_cools_down_before_it_serves_again() -> None:
    machine = Machine()
    owner = machine.look(seen(thermal=Thermal.CRITICAL))

    assert (kinds(owner), owner.thermal) == (["thermal"], Thermal.CRITICAL)
    owner = machine.looks(seen(thermal=Thermal.THROTTLED), RULES[Sign.HOT].ends + LOOK)
    assert (kinds(owner), owner.thermal) == ([], Thermal.THROTTLED)
    assert machine.looks(REST, RULES[Sign.SLOWED].ends).thermal is Thermal.THROTTLED
    assert machine.look(REST).thermal is Thermal.NOMINAL


def test_one_look_that_sees_a_machine_throttled_changes_nothing() -> None:
    machine = Machine()
    for _ in range(20):
        assert machine.look(REST).thermal is Thermal.NOMINAL
        assert machine.look(seen(thermal=Thermal.THROTTLED)).thermal is Thermal.NOMINAL


def test_a_machine_without_an_owner_is_paused_by_nothing_but_what_it_bears() -> None:
    everything = OwnerSample(
        camera=True,
        microphone=True,
        cpu=1.0,
        gpu=1.0,
        memory=Bytes(16 * GiB),
        network=1e9,
        thermal=Thermal.CRITICAL,
        pressure=Pressure.CRITICAL,
    )
    owner = Machine(replace(TERMS, dedicated=True)).looks(everything, 300)

    assert kinds(owner) == ["thermal", "memory-pressure"]
    assert (owner.workload, owner.load) == (None, None)
    assert kinds(Machine().looks(everything, 300)) == ["meeting", "owner-load", "thermal", "memory-pressure"]


# --- the class of the workload ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "workload"),
    [
        (REST, Workload.IDLE),
        (seen(cpu=0.08), Workload.LIGHT),
        (seen(gpu=0.15), Workload.LIGHT),
        (seen(network=700_000.0), Workload.LIGHT),
        (seen(network=1e9), Workload.LIGHT),  # traffic is no computation
        (seen(memory=Bytes(9 * GiB)), Workload.LIGHT),
        (seen(memory=Bytes(15 * GiB)), Workload.MODERATE),  # nor is what programs hold
        (seen(cpu=0.3), Workload.MODERATE),
        (seen(cpu=0.1, gpu=0.4), Workload.MODERATE),
        (seen(cpu=0.6), Workload.HEAVY),
        (seen(cpu=None, gpu=0.9), Workload.HEAVY),
        (OwnerSample(cpu=0.01), Workload.IDLE),
        (UNKNOWN, None),
        (OwnerSample(camera=True), None),
        (OwnerSample(gpu=0.0, memory=Bytes(GiB), network=0.0), None),  # most work shows in the processor's load
    ],
)
def test_the_class_is_that_of_the_most_that_the_owner_takes(sample: OwnerSample, workload: Workload | None) -> None:
    assert Machine().looks(sample, 60).workload is workload


def test_memory_of_a_machine_that_does_not_say_how_much_it_has_says_nothing() -> None:
    assert Machine(Terms()).looks(seen(memory=Bytes(64 * GiB)), 60).workload is Workload.IDLE


def test_a_page_that_opens_is_no_workload_and_a_minute_of_reading_does_not_end_one() -> None:
    machine = Machine()

    assert machine.looks(seen(cpu=0.6), 12).workload is Workload.IDLE
    machine.look(REST)
    assert machine.looks(seen(cpu=0.6), 30).workload is Workload.HEAVY
    assert machine.looks(REST, 120).workload is Workload.HEAVY
    assert machine.look(REST).workload is Workload.IDLE


def test_a_workload_that_lessens_falls_class_by_class() -> None:
    machine = Machine()
    machine.looks(seen(cpu=0.9), 30)

    assert machine.looks(seen(cpu=0.3), 150).workload is Workload.MODERATE
    assert machine.looks(seen(cpu=0.1), 150).workload is Workload.LIGHT


def test_a_load_at_the_limit_of_a_class_does_not_change_it_again_and_again() -> None:
    machine, least = Machine(), LEVELS[Sign.MODERATE].cpu
    machine.looks(seen(cpu=least), 30)

    assert machine.looks(seen(cpu=least * 0.85), 600).workload is Workload.MODERATE
    assert machine.looks(seen(cpu=least * 0.75), 150).workload is Workload.LIGHT


def test_a_class_that_nobody_can_tell_any_more_is_forgotten() -> None:
    machine = Machine()
    machine.looks(seen(cpu=0.9), 60)

    assert machine.looks(UNKNOWN, 120).workload is Workload.HEAVY
    assert machine.looks(UNKNOWN, 60) == Owner()


# --- what holds for all -----------------------------------------------------------------------------------------------

SAMPLES = st.builds(
    OwnerSample,
    camera=st.none() | st.booleans(),
    microphone=st.none() | st.booleans(),
    cpu=st.none() | st.floats(0, 1),
    gpu=st.none() | st.floats(0, 1),
    memory=st.none() | st.integers(0, 16 * GiB),
    network=st.none() | st.floats(0, 1e9),
    thermal=st.none() | st.sampled_from(Thermal),
    pressure=st.none() | st.sampled_from(Pressure),
)


@given(st.lists(SAMPLES, max_size=30))
def test_whatever_was_seen_what_is_unknown_for_five_minutes_pauses_nobody(samples: list[OwnerSample]) -> None:
    machine = Machine()
    for sample in samples:
        machine.look(sample)

    assert machine.looks(UNKNOWN, 300) == Owner()


@given(st.lists(SAMPLES, min_size=1, max_size=20))
def test_nothing_turns_before_it_is_foretold_and_then_it_does(samples: list[OwnerSample]) -> None:
    machine = Machine()
    for sample in samples:
        machine.look(sample)
    machine.look(REST)  # all is known, so that nothing ends because it is not
    for _ in range(2 * len(RULES)):
        left = turns_in(machine.watched, Seconds(machine.now))
        if left is None:
            break
        on = {sign: spell.on for sign, spell in machine.watched.spells.items()}
        for moment, turned in ((left / 2, False), (left + 0.001, True)):
            if moment < left or turned:
                now = machine.now + moment
                later = watch(machine.watched, REST, TERMS, Seconds(now), Seconds(WALL + now))
                assert ({sign: spell.on for sign, spell in later.spells.items()} != on) is turned
        machine.watched, machine.now = later, now
    assert turns_in(machine.watched, Seconds(machine.now)) is None
    assert machine.watched.owner == Owner((), Workload.IDLE, 0.0, Thermal.NOMINAL)


@given(st.lists(SAMPLES, max_size=30))
def test_a_pause_keeps_the_moment_at_which_it_began_for_as_long_as_it_lasts(samples: list[OwnerSample]) -> None:
    machine = Machine()
    since: dict[str, Seconds | None] = {}
    for sample in samples:
        pauses = machine.look(sample).pauses
        for pause in pauses:
            assert pause.since == since.get(pause.kind, WALL + machine.now)
        since = {pause.kind: pause.since for pause in pauses}


def test_every_sign_has_its_rule() -> None:
    assert list(RULES) == list(Sign)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_pause_by_hand_on_the_machine_itself_lasts_until_its_time_is_over() -> None:
    orders = Orders().given(Order.PAUSE, Seconds(100.0), Seconds(60.0))
    pause = paused_by_hand(orders, Seconds(159.0))

    assert pause is not None
    assert (pause.kind, pause.text) == ("manual", "is paused by hand on the machine itself")
    assert (pause.since, pause.until) == (100.0, 160.0)
    assert paused_by_hand(orders, Seconds(160.0)) is None
    assert paused_by_hand(orders.given(Order.RESUME, Seconds(120.0)), Seconds(121.0)) is None
    for_ever = paused_by_hand(Orders().given(Order.PAUSE, Seconds(100.0)), Seconds(1e9))
    assert for_ever is not None
    assert for_ever.until is None


def test_a_pause_by_hand_comes_before_what_the_owner_does() -> None:
    meeting = Machine().look(seen(camera=True))
    by_hand = paused_by_hand(Orders(paused=Seconds(1.0)), Seconds(2.0))

    assert kinds(with_pause(meeting, by_hand)) == ["manual", "meeting"]
    assert with_pause(meeting, None) == meeting
