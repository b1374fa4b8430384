"""Whole runs: the same seed is the same run to the letter, and everything in it is told."""

import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import herd
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.comparison.baselines import ranked_by, round_robin
from herd.simulation.fleet.occupancy import Occupancy
from herd.simulation.fleet.station import NodePlan
from herd.simulation.http import call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, week
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import SampleOutcome
from herd.simulation.runs.run import LOOKS, Moment, NodeResult, Result, Scenario, ideal, owner_seed, simulate, simulated
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Priority, Seconds, Tokens
from tests.simulation.fleet.fleets import LLAMA, QWEN, plan

ROOT = Path(herd.__file__).parents[1]
HOUSEHOLD = Household(nodes=4, models=4, clients=4, requests=60, days=1)

OFFICE = replace(plan("air", machine="macbook-air"), habits="office laptop")

IN_A_PROCESS = """
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.run import simulate
print(simulate(household(5, Household(nodes=4, models=4, clients=4, requests=60, days=1))).decisions)
"""


def request(at: float, model: str = LLAMA, *, client: str = "person-1", patience: float = math.inf) -> SimulatedRequest:
    return SimulatedRequest(
        Seconds(at), client, model, Tokens(100), Tokens(20), Priority.INTERACTIVE, patience=patience
    )


def scenario(
    *requests: SimulatedRequest, nodes: tuple[NodePlan, ...] = (plan(),), duration: float = 1000.0
) -> Scenario:
    return Scenario(nodes, requests, Seconds(duration))


@pytest.fixture(name="run", scope="module")
def a_run_of_the_household() -> tuple[Scenario, Result, list[str]]:
    """A scenario, its result and its log."""
    lines: list[str] = []
    made = household(5, HOUSEHOLD)
    return made, simulate(made, write=lines.append), lines


# --- The same seed ----------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_run_and_messages_that_travel_change_nothing(
    run: tuple[Scenario, Result, list[str]],
) -> None:
    made, result, lines = run
    assert simulate(household(5, HOUSEHOLD), watch=lambda _: None) == result
    again: list[str] = []
    travelled = run_virtual(simulated(made, write=again.append), allow_lost=True, serialize_messages=True)
    assert again == lines
    assert travelled == result


@pytest.mark.parametrize("hash_seed", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_the_same_seed_decides_the_same_in_every_process(
    run: tuple[Scenario, Result, list[str]], hash_seed: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-W", "error", "-c", IN_A_PROCESS]
    variables = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=variables, cwd=tmp_path, timeout=50)
    assert (ended.stdout.strip(), ended.stderr) == (run[1].decisions, "")


def test_another_seed_is_another_run(run: tuple[Scenario, Result, list[str]]) -> None:
    made, result, _ = run
    assert simulate(household(6, HOUSEHOLD)).decisions != result.decisions
    assert simulate(replace(made, seed=6)).decisions != result.decisions  # the same requests, other owners and ids


def test_owners_have_seeds_of_their_own() -> None:
    seeds = [owner_seed(replace(scenario(), seed=seed), number) for seed in range(3) for number in range(100)]
    assert len(dict.fromkeys(seeds)) == len(seeds)


def test_an_owner_who_is_named_stays_whatever_stands_beside(run: tuple[Scenario, Result, list[str]]) -> None:
    made, _, _ = run
    named = replace(made, nodes=tuple(replace(plan, owner=number) for number, plan in enumerate(made.nodes)))
    for number in range(len(made.nodes)):
        assert owner_seed(named, number) == owner_seed(made, number)
        assert owner_seed(replace(named, nodes=named.nodes[number:]), 0) == owner_seed(made, number)


# --- What is told -----------------------------------------------------------------------------------------------------


def test_there_is_a_sample_of_every_request_in_order(run: tuple[Scenario, Result, list[str]]) -> None:
    made, result, _ = run
    assert len(result.samples) > 30
    for asked, sample in zip(made.requests, result.samples, strict=True):
        told = (sample.at, sample.client, sample.model, sample.priority, sample.prompt, sample.tokens)
        wanted = (asked.at, asked.client, asked.model, asked.priority, asked.prompt, asked.completion)
        assert told == wanted
        assert sample.ideal == ideal(made.nodes, asked)
        if sample.outcome is SampleOutcome.SERVED:
            assert sample.ideal * 0.999 < sample.completion or asked.blocks  # cached prompts are quicker
            assert sample.queue <= sample.first_token <= sample.completion
    assert result.ended >= max(sample.at + sample.completion for sample in result.samples if sample.node)


def test_every_placement_and_every_end_is_a_line_of_the_log(run: tuple[Scenario, Result, list[str]]) -> None:
    made, result, lines = run
    placed = [line for line in lines if re.match(r"[\d.]+ t\d+ for ", line)]
    served = Counter(
        (match[1], match[2]) for line in lines if (match := re.search(r": (\S+) served by (\S+) in \d+ ms", line))
    )
    samples = [sample for sample in result.samples if sample.outcome is SampleOutcome.SERVED]
    assert served == Counter((sample.model, sample.node) for sample in samples)
    assert len(placed) >= sum(sample.attempts for sample in samples)
    times = [float(line.split(" ", 1)[0]) for line in lines]
    assert times == sorted(times)
    assert times[0] >= made.requests[0].at - 1e-6
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)


def test_machines_tell_of_their_loads_their_work_and_their_owners(run: tuple[Scenario, Result, list[str]]) -> None:
    made, result, _ = run
    assert [node.name for node in result.nodes] == [node.name for node in made.nodes]
    for node in result.nodes:
        assert (node.loads.count > 0) == (node.loads.seconds > 0)
        edges = [edge for span in node.working for edge in span]
        assert edges == sorted(edges)
        assert sum(until - since for since, until in node.working) >= node.loads.seconds - 1e-3
        assert node.owned[0][0] == 0.0
    used = dict.fromkeys(sample.node for sample in result.samples if sample.node)
    assert all(node.loads.count for node in result.nodes if node.name in used)


def test_owners_live_their_weeks_from_the_hour_at_which_the_run_begins() -> None:
    made = replace(scenario(request(5000.0), nodes=(OFFICE, OFFICE), duration=5000.0), seed=3, start_slot=8)
    for number, node in enumerate(simulate(made).nodes):
        seed = owner_seed(made, number)
        told = list(week(HABITS[OFFICE.habits], OFFICE.machine, seed, start_slot=8, duration=made.duration))
        assert [state.asleep for _, state in told[:2]] == [True, False]  # between 8 and half past 9
        assert [state for _, state in node.owned] == [state for _, state in told]
        assert [at for at, _ in node.owned] == pytest.approx([at for at, _ in told])


def test_what_a_machine_does_at_the_end_is_told_up_to_then() -> None:
    result = simulate(scenario(request(1.0), request(50.0, patience=0.1)))
    assert result.samples[1].outcome is SampleOutcome.TIMED_OUT
    assert result.ended == 50.1  # the server, in the middle of a token, has not noticed yet
    assert result.nodes[0].working[1:] == ((50.0, 50.1),)


@virtual_time
async def test_loads_are_told_in_the_seconds_of_a_run_that_passes_faster() -> None:
    fast = FakeOllama(OFFICE.machine.faster(10.0), [CATALOG[LLAMA]])
    await call(fast.handle, "POST", "/api/generate", {"model": LLAMA})
    result = NodeResult.of(OFFICE, fast, Occupancy(fast, OFFICE.machine, iter(())), 10.0)
    assert result.loads.count == 1
    assert result.loads.seconds == pytest.approx(OFFICE.machine.load_s(CATALOG[LLAMA]))


def test_a_run_without_requests_is_over_at_once() -> None:
    result = simulate(scenario())
    assert (result.samples, result.ended) == ((), 0.0)
    assert [(node.loads.count, node.working) for node in result.nodes] == [(0, ())]


def test_requests_may_end_after_the_owners_weeks() -> None:
    [sample] = simulate(scenario(request(9.0), duration=10.0)).samples
    assert sample.outcome is SampleOutcome.SERVED
    assert sample.at + sample.completion > 10.0


def test_who_asks_at_the_same_moment_is_not_mixed_up() -> None:
    asked = [request(1.0, client=f"person-{number}") for number in range(5)]
    result = simulate(scenario(*asked, request(1.0, QWEN)))
    assert [sample.client for sample in result.samples] == [*[one.client for one in asked], "person-1"]
    assert [sample.outcome for sample in result.samples] == [SampleOutcome.SERVED] * 5 + [SampleOutcome.FAILED]


def test_a_client_without_patience_is_counted_and_the_others_are_served() -> None:
    hasty, calm = simulate(scenario(request(1.0, patience=0.2), request(1.1))).samples
    assert (hasty.outcome, calm.outcome) == (SampleOutcome.TIMED_OUT, SampleOutcome.SERVED)


def test_alone_a_request_takes_about_its_ideal_time() -> None:
    first, again = simulate(scenario(request(1.0), request(100.0))).samples
    assert again.completion == pytest.approx(again.ideal, rel=0.1)
    assert first.completion > 2 * first.ideal  # it had to load


def test_the_ideal_is_that_of_the_quickest_machine_that_has_the_model() -> None:
    nodes = (plan("slow", LLAMA, QWEN, machine="mini-pc"), plan("quick", LLAMA))
    quick, slow = (ideal(nodes[number:], request(0.0)) for number in (1, 0))
    assert quick == slow == ideal(nodes[1:], request(0.0))
    assert ideal(nodes, request(0.0, QWEN)) == ideal(nodes[:1], request(0.0, QWEN))
    assert ideal(nodes[1:], request(0.0, QWEN)) == math.inf
    model, machine = CATALOG[LLAMA], PROFILES["mac-studio"]
    assert quick == machine.prefill_s(model, 100) + 20 * machine.decode_step_s(model, context=110)


# --- Watching ---------------------------------------------------------------------------------------------------------


def test_a_watcher_sees_about_a_hundred_moments() -> None:
    moments: list[tuple[float, int, int, tuple[str, ...]]] = []

    def watch(moment: Moment) -> None:
        [node] = moment.nodes
        assert (node.name, moment.scenario.duration) == ("studio", 1000.0)
        moments.append((moment.at, moment.sent, len(moment.samples), node.loaded))

    result = simulate(scenario(request(5.0), request(500.0), request(995.0)), watch=watch)
    assert len(moments) == math.ceil(result.ended / (1000.0 / LOOKS))
    assert [at for at, *_ in moments] == pytest.approx([10.0 * number for number in range(len(moments))])
    assert moments[0] == (0.0, 0, 0, ())
    assert moments[1][1:] == (1, 1, (LLAMA,))
    assert moments[-1][1:3] == (2, 2)


def test_a_watcher_that_fails_does_not_do_so_unseen() -> None:
    def watch(moment: Moment) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(scenario(request(5.0)), watch=watch)


def test_a_run_may_compare_another_ranking_with_the_products_own() -> None:
    both = (plan("studio"), plan("air", machine="macbook-air"))
    made = scenario(*[request(20.0 * number) for number in range(20)], nodes=both)

    ours, turns = simulate(made), simulate(made, ranking=ranked_by(round_robin))

    assert Counter(sample.node for sample in turns.samples) == {"studio": 10, "air": 10}
    assert Counter(sample.node for sample in ours.samples) != Counter(sample.node for sample in turns.samples)
    assert {sample.outcome for sample in turns.samples} == {SampleOutcome.SERVED}
