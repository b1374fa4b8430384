"""The benchmark of what knowledge is worth: its weeks, its figures, and one seed of it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import learning
from benchmarks.learning import WEEK, Found, Week, difference, knowledge, main, measured_week, table, week_of
from herd.simulation.clock import EPOCH
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.owners import DAY, HABITS, SLOTS, OwnerState, week
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.measures import Loads, Sample, SampleOutcome
from herd.simulation.runs.run import NodeResult, Result
from herd.store.records import KnownSlot
from herd.types import Priority, Seconds, Tokens

LLAMA = "llama3.2:3b"


def sample(completion: float, kind: Priority = Priority.INTERACTIVE, outcome: str = "served") -> Sample:
    return Sample(
        Seconds(0.0),
        "c",
        LLAMA,
        kind,
        SampleOutcome(outcome),
        completion / 2,
        completion,
        Tokens(1),
        Tokens(1),
    )


def test_a_week_is_the_mean_of_what_was_served_to_people_and_counts_the_rest() -> None:
    samples = (sample(2.0), sample(4.0), sample(90.0, Priority.BATCH), sample(math.inf, outcome="timed_out"))
    owned = ((Seconds(0.0), OwnerState()), (Seconds(10.0), OwnerState(meeting=True)))
    nodes = tuple(NodeResult(name, Loads(3, Seconds(1.0)), ((4.0, 12.0),), owned) for name in "ab")
    assert week_of(Result(samples, nodes, "", Seconds(0.0))) == Week(3.0, 32.0, 1.5, 1, 6, 4.0)
    assert week_of(Result((), (), "", Seconds(0.0))) == Week(0.0, 0.0, 0.0, 0, 0, 0.0)


def test_the_table_says_by_how_much_each_seed_is_better_and_how_sure_that_is() -> None:
    without = Week(8.0, 10.0, 2.0, 3, 50, 0.0)
    found = [
        Found(seed, Week(10.0, 20.0, 4.0, 1, 30, 100.0), Week(10.0 - gain, 20.0, 3.0, 2, 40, 75.0), without)
        for seed, gain in ((1, 1.0), (2, 2.0), (3, 3.0))
    ]
    shown = table(found, 30)
    head, rule, row = shown.splitlines()[3:6]
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "| 1 | 10.00 | 9.00 | +10.0% | 8.00 | 1 / 2 / 3 | 30 / 40 / 50 | 100 / 75 |" in shown
    assert "Latency, knowledge of 30 days in place of one: less by 20.0% ± 24.8%" in shown
    assert "Latency, owners who are not there at all: less by 20.0% ± 0.0%" in shown
    assert "Disturbance, knowledge of 30 days in place of one: less by 25.0% ± 0.0%" in shown


def test_the_week_that_is_measured_is_none_of_those_that_were_learned_from() -> None:
    made = measured_week(1, 50)
    assert (made.start_week, made.start_slot, made.duration) == (WEEK, 0, Seconds(7.0 * DAY))
    habits, machine = HABITS["office laptop"], PROFILES["macbook-air"]
    learned, met = (
        [*week(habits, machine, 1, start_week=number, duration=Seconds(7 * DAY))] for number in (WEEK - 1, WEEK)
    )
    assert learned != met  # the hours are the same, but nobody is on time to the minute
    whole = [*week(habits, machine, 1, start_week=WEEK - 1, duration=Seconds(14 * DAY))]
    assert [(at - 7 * DAY, state) for at, state in whole if at > 7 * DAY] == [one for one in met if one[0] > 0]


def test_what_is_learned_in_a_day_is_there_when_the_week_begins() -> None:
    made = replace(measured_week(1, 50), nodes=(NodePlan("studio", PROFILES["mac-studio"], (LLAMA,)),))
    disk = knowledge(made, 1, 50)
    known = disk.all(KnownSlot)
    disk.throw_away()
    assert [slot.slot for slot in known] == list(range(SLOTS - 24, SLOTS))
    assert all(0.9 < slot.weight <= 1.0 for slot in known)
    assert EPOCH + (WEEK * 7 - 1) * DAY < known[0].at < known[-1].at <= EPOCH + WEEK * 7 * DAY


@pytest.mark.slow  # six weeks of a fleet, all in all
@pytest.mark.timeout(300)
def test_one_seed_of_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Single weeks differ by some percent either way (docs/learning.md): one that knowledge spoils is a fault.

    22 days are what it takes to have seen every hour of the week three times, so that owners' hours count.
    """
    path = tmp_path / "found.json"
    assert main(["--seeds", "1", "--first-seed", "2", "--requests", "500", "--days", "22", "--json", str(path)]) == 0
    (found,) = json.loads(path.read_bytes())["seeds"]
    assert 0 < found["day_30"]["mean"] < 1.1 * found["day_1"]["mean"]
    assert found["day_30"]["not_served"] <= found["day_1"]["not_served"] + 5  # of 500
    assert "| 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--days", "36"], ["--requests", "-1"], ["--json", "/"]])
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "measured", lambda *_: pytest.fail("it began"))
    with pytest.raises(SystemExit):
        main(arguments)
    assert "make" in (said := capsys.readouterr().err) or "cannot be written" in said


def test_a_difference_is_paired_and_its_interval_is_students() -> None:
    assert difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx((2.0, 4.303 / math.sqrt(3)), rel=1e-3)
    assert difference([5.0, 50.0], [6.0, 51.0]) == (1.0, 0.0)  # the fleets differ much, the routers always the same
    assert difference([1.0], [2.0]) == (1.0, math.inf)
    assert math.isnan(difference([math.inf], [2.0])[0])
