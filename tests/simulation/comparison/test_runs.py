"""All runs of a comparison: the same whoever runs them, and which one failed."""

from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest

from herd.errors import ConfigError, HerdError
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.runs import TRACE, Cell, Plan, Run, cells, measured
from herd.simulation.runs.households import Household
from tests.simulation.comparison.made import LEAST, OURS, ROUND_ROBIN
from tests.simulation.comparison.traces import trace_of

SMALL = Plan((OURS, ROUND_ROBIN), (0.3,), seeds=2, hours=0.02, size=Household(nodes=2, models=2))


def ran(plan: Plan, processes: int) -> dict[Cell, Run]:
    return {one.cell: one for one in measured(plan, processes=processes)}


def test_what_comes_of_it_does_not_depend_on_the_number_of_processes() -> None:
    plan = replace(SMALL, policies=(OURS,))
    alone = ran(plan, 1)
    assert ran(plan, 2) == alone
    assert list(alone) == cells(plan)


def test_every_policy_of_a_seed_gets_the_same_requests(tmp_path: Path) -> None:
    plan = replace(SMALL, trace=trace_of(tmp_path, 200), policies=(OURS, ROUND_ROBIN, LEAST))
    found = ran(plan, 1)

    assert len(found) == 3 * 2 * 2
    for workload in plan.workloads:
        for seed in (0, 1):
            alike = [one.figures for cell, one in found.items() if (cell.workload, cell.seed) == (workload, seed)]
            assert len({(figures.requests, figures.offered) for figures in alike}) == 1


def test_what_takes_longest_comes_first_and_a_seeds_policies_together(tmp_path: Path) -> None:
    order = cells(replace(SMALL, loads=(0.3, 1.1, 0.6), trace=trace_of(tmp_path, 1)))
    assert [cell.load for cell in order] == [1.1] * 8 + [0.6] * 8 + [0.3] * 8
    assert [(one.workload, one.seed) for one in order[::2]] == [(one.workload, one.seed) for one in order[1::2]]


def test_a_run_that_fails_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scenario: object) -> object:
        raise KeyError("studio")

    monkeypatch.setitem(POLICIES, ROUND_ROBIN, replace(POLICIES[ROUND_ROBIN], rival=broken))  # type: ignore[arg-type]
    with pytest.raises(HerdError, match=r"^seed 0, generator at 30 %, round-robin failed: KeyError: 'studio'$"):
        ran(SMALL, 1)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trace_that_is_too_short_says_for_which_run_and_nothing_runs_on(tmp_path: Path, processes: int) -> None:
    plan = replace(SMALL, trace=trace_of(tmp_path, 2))
    with pytest.raises(ConfigError, match=rf"^seed [01], {TRACE} at 30 %, [a-z-]+: the trace has 2 requests, and"):
        ran(plan, processes)
    assert not active_children()


def test_what_is_wrong_with_a_trace_is_said_before_anything_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("when,how much\n")
    with pytest.raises(ConfigError, match=rf"^seed 0, {TRACE} at 30 %, {OURS}: .*, line 1 has no column TIMESTAMP"):
        next(measured(replace(SMALL, trace=trace), processes=1))


@pytest.mark.slow  # processes start, to be killed
def test_a_process_that_is_killed_says_in_which_runs_it_may_have_been() -> None:
    runs = measured(replace(SMALL, seeds=40), processes=2)
    next(runs)
    active_children()[0].kill()
    with pytest.raises(
        HerdError, match=r"a process was killed, .* in one of these runs: seed \d+, generator at 30 %, "
    ):
        list(runs)
    assert not active_children()


@pytest.mark.slow  # processes start, to be ended
def test_whoever_stops_listening_stops_what_runs() -> None:
    runs = measured(replace(SMALL, seeds=40), processes=2)
    next(runs)
    assert active_children()
    runs.close()
    assert not active_children()


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ({"policies": (OURS, "fastest")}, "there is no policy fastest: take all, or some of seven-signals, "),
        ({"policies": ()}, "nothing is compared: take all, or some of seven-signals, "),
        ({"loads": ()}, "a load makes no sense: take 1 to 300, in percent"),
        ({"loads": (0.3, float("nan"))}, "a load makes no sense"),
        ({"loads": (4.0,)}, "a load makes no sense"),
        ({"seeds": 0}, "0 seeds make no sense: take 1 to 1000"),
        ({"hours": float("nan")}, "nan hours make no sense"),
        ({"hours": 169.0}, "169 hours make no sense: take more than none and at most a week's 168"),
        ({"trace": Path("nowhere.csv")}, "nowhere.csv is no file"),
    ],
)
def test_what_makes_no_comparison_is_refused(plan: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(SMALL, **plan)  # type: ignore[arg-type]
    assert str(refused.value).startswith(sentence)
