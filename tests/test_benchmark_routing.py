"""The comparison of routers: what its loads are shares of, its statistics, and that it runs."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.routing import ROUTERS, main
from benchmarks.routing_figures import Run, difference, run_of, tables, verdict
from benchmarks.routing_load import available, best_rate, capacity, loaded, works
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.simulation.runs.run import Scenario, ideal
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Priority, Seconds, Tokens
from tests.simulation.fleet.fleets import LLAMA, QWEN, plan

ROUTING = Path(__file__).parent.parent / "benchmarks" / "routing.py"

PATIENCE_S = 50  # the command takes a few seconds; a machine that compiles something else may take many times that

# --- Capacity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("work", "hours", "rate"),
    [
        pytest.param([{0: 2.0}], [1.0], 0.5, id="one machine"),
        pytest.param([{0: 2.0}], [0.5], 0.25, id="one machine, half of whose time its owner takes"),
        pytest.param([{0: 2.0, 1: 2.0}], [1.0, 1.0], 1.0, id="two machines"),
        pytest.param([{0: 1.0, 1: 3.0}], [1.0, 1.0], 4 / 3, id="a fast and a slow one"),
        pytest.param([{0: 1.0}, {0: 1.0}], [1.0], 0.5, id="two models on one machine"),
        pytest.param([{0: 1.0, 1: 4.0}, {0: 1.0}], [1.0, 1.0], 5 / 8 * 1.0, id="who can go elsewhere makes room"),
        pytest.param([{0: 1.0}, {1: 4.0}], [1.0, 1.0], 0.25, id="the slowest part decides"),
    ],
)
def test_the_capacity_of_a_fleet_is_that_of_the_best_split(
    work: list[dict[int, float]], hours: list[float], rate: float
) -> None:
    assert best_rate(work, hours) == pytest.approx(rate)


def request(model: str = LLAMA, at: float = 0.0) -> SimulatedRequest:
    return SimulatedRequest(Seconds(at), "person-1", model, Tokens(500), Tokens(200), Priority.INTERACTIVE)


def test_a_machines_work_for_a_request_is_what_the_simulated_server_takes() -> None:
    nodes, requests = (plan("a", LLAMA, QWEN), plan("b", machine="macbook-air")), [request(), request(QWEN)]

    llama, qwen = works(Scenario(nodes, requests, Seconds(60.0)))

    assert llama[0] == pytest.approx(ideal(nodes[:1], requests[0]) / 2)
    assert qwen[0] == pytest.approx(ideal(nodes[:1], requests[1]) / 2)
    assert (llama[1] > llama[0], sorted(qwen)) == (True, [0])


def test_machines_that_sleep_or_are_in_a_meeting_have_no_capacity() -> None:
    night = Scenario((replace(plan(), habits="office laptop"), plan("b")), [request()], Seconds(3600.0))

    assert [available(night, number) for number in (0, 1)] == [0.0, 1.0]
    assert capacity(night) == pytest.approx(capacity(replace(night, nodes=night.nodes[1:])))


def test_requests_ask_for_the_share_of_the_capacity_that_was_wanted() -> None:
    made = loaded(3, 0.6, 0.2)

    assert made.load == pytest.approx(0.6, abs=0.15)
    assert made.load == len(made.scenario.requests) / made.scenario.duration / capacity(made.scenario)
    assert made == loaded(3, 0.6, 0.2)


# --- Figures ----------------------------------------------------------------------------------------------------------


def test_a_difference_is_paired_and_its_interval_is_students() -> None:
    assert difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == pytest.approx((2.0, 4.303 / math.sqrt(3)), rel=1e-3)
    assert difference([5.0, 50.0], [6.0, 51.0]) == (1.0, 0.0)  # the fleets differ much, the routers always the same
    assert difference([1.0], [2.0]) == (1.0, math.inf)
    assert math.isnan(difference([math.inf], [2.0])[0])


def test_a_difference_within_its_interval_is_open_and_a_loss_is_said_as_plainly_as_a_win() -> None:
    assert [verdict(2.0, 1.0), verdict(-2.0, 1.0), verdict(2.0, 3.0)] == ["better", "**worse**", "open"]
    assert verdict(math.nan, math.nan) == "open"


def sample(
    first: float, outcome: SampleOutcome = SampleOutcome.SERVED, kind: Priority = Priority.INTERACTIVE
) -> Sample:
    served = outcome is SampleOutcome.SERVED
    first = first if served else math.inf
    return Sample(Seconds(0.0), "c", LLAMA, kind, outcome, first, first, Tokens(1), Tokens(1))


def test_jobs_are_apart_from_people_and_who_was_not_served_counts_as_never() -> None:
    samples = [sample(1.0), sample(3.0), sample(0.0, SampleOutcome.TIMED_OUT), sample(100.0, kind=Priority.BATCH)]

    found = run_of(1, 0.3, "round robin", 0.31, samples, loads=2)

    assert (found.mean, found.p50, found.p95, found.batch_mean) == (2.0, 3.0, math.inf, 100.0)
    assert (found.not_served, found.cold_loads) == (0.25, 500.0)


def test_the_tables_show_every_router_and_what_the_others_have_more() -> None:
    runs = [
        Run(seed, 0.3, name, 100, 0.29, loads, 1.0, 1.0, 2.0, 0.0, 5.0)
        for seed in (1, 2, 3)
        for name, loads in (("seven signals", 10.0 + seed), ("round robin", 30.0 + 2 * seed))
    ]

    shown = tables(runs, "seven signals")

    assert "| 30% (29%) | seven signals | 12.0 | 1.00 |" in shown
    assert "| 30% | round robin | 22.0 ± 2.5, better | 0.00 ± 0.00, open |" in shown


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow  # four simulated fleets
def test_the_command_runs_every_router_over_the_same_requests(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    command = [sys.executable, str(ROUTING), "--seeds", "1", "--hours", "0.05", "--only", "30%", "--json", str(path)]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    assert (ended.returncode, ended.stdout.count("| 30%")) == (0, 7), ended.stderr
    runs = json.loads(path.read_bytes())["runs"]
    assert [run["router"] for run in runs] == list(ROUTERS)
    assert len({run["requests"] for run in runs}) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--seeds", "0"], "make no sense"),
        (["--hours", "-1"], "make no sense"),
        (["--only", "fastest"], "invalid choice"),
        (["--json", "/"], "cannot be written"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert sentence in capsys.readouterr().err
