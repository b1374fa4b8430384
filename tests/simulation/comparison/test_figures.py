"""The figures of a run: what counts, and as what."""

import math

import pytest

from herd.simulation.comparison.figures import COLUMNS, COUNTED_S, HEADLINE, Figures, counted, figures_of
from herd.simulation.machine.owners import OwnerState
from herd.simulation.runs.measures import Loads, Sample, SampleOutcome
from herd.simulation.runs.run import NodeResult, Result, Scenario
from herd.types import Priority, Seconds, Tokens
from tests.simulation.fleet.fleets import LLAMA, plan


def sample(
    first: float, outcome: SampleOutcome = SampleOutcome.SERVED, kind: Priority = Priority.INTERACTIVE
) -> Sample:
    served = outcome is SampleOutcome.SERVED
    first = first if served else math.inf
    return Sample(
        Seconds(0.0), "c", LLAMA, kind, outcome, first, 2 * first, Tokens(1), Tokens(1), predicted=first, ideal=1.0
    )


def figures(*samples: Sample) -> Figures:
    owned = ((Seconds(0.0), OwnerState()), (Seconds(10.0), OwnerState(meeting=True)))
    node = NodeResult("a", Loads(2, Seconds(9.0)), ((5.0, 12.0),), owned)
    scenario = Scenario((plan("a"),), [], Seconds(60.0))
    return figures_of(scenario, Result(samples, (node,), "", Seconds(60.0)), 0.31)


def test_people_are_apart_from_jobs_and_who_was_not_served_counts_as_300_s() -> None:
    found = figures(sample(1.0), sample(3.0), sample(0.0, SampleOutcome.TIMED_OUT), sample(100.0, kind=Priority.BATCH))

    assert [found.first_token, found.first_token_counted] == pytest.approx([2.0, (1 + 3 + 300) / 3])
    assert [found.answer, found.answer_counted] == pytest.approx([4.0, (2 + 6 + 300) / 3])
    assert (found.first_token_p50, found.first_token_p95) == (3.0, None)
    assert [found.jobs, found.everybody] == pytest.approx([100.0, 104 / 3])
    assert (found.not_served, found.goodput, found.cold_loads) == (0.25, 0.75, 500.0)
    assert (found.requests, found.offered, found.in_the_way, found.prediction) == (4, 0.31, 2.0, 0.5)


def test_whoever_refuses_what_is_slow_gains_nothing_by_the_counted_mean() -> None:
    slow, refused = figures(sample(1.0), sample(250.0)), figures(sample(1.0), sample(0.0, SampleOutcome.REFUSED))

    assert refused.first_token is not None
    assert slow.first_token is not None
    assert refused.first_token < slow.first_token
    assert (HEADLINE.of(refused) or 0) > (HEADLINE.of(slow) or 0)
    assert counted([10 * COUNTED_S]) == counted([math.inf]) == COUNTED_S


def test_who_hung_up_of_its_own_choice_is_left_out() -> None:
    assert figures(sample(1.0), sample(0.0, SampleOutcome.HUNG_UP)).first_token_counted == 1.0


def test_a_run_that_nobody_asked_anything_in_has_no_figures() -> None:
    found = figures()
    assert (found.first_token_counted, found.jobs, found.not_served, found.cold_loads) == (None, None, 0.0, 2000.0)


def test_a_percentile_that_is_never_says_for_how_many_seeds() -> None:
    p95, jobs = (next(one for one in COLUMNS if one.key == key) for key in ("first_token_p95", "jobs"))
    runs = [figures(sample(1.0)), figures(sample(0.0, SampleOutcome.FAILED))]

    assert (p95.over(runs), p95.over(runs[:1])) == ("never (1 of 2)", "1.00")
    assert jobs.over(runs) == "-"
