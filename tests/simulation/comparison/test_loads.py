"""What a fleet can bear, and requests for a share of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from herd.errors import ConfigError
from herd.simulation.comparison.loads import NEAR, START_SLOT, available, best_rate, capacity, loaded, works
from herd.simulation.runs.households import Household
from herd.simulation.runs.run import Scenario, ideal
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Priority, Seconds, Tokens
from tests.simulation.comparison.traces import trace_of
from tests.simulation.fleet.fleets import LLAMA, QWEN, plan

USUAL = Household()


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


@pytest.mark.parametrize("traced", [False, True])
def test_requests_ask_for_the_share_of_the_capacity_that_was_wanted(traced: bool, tmp_path: Path) -> None:
    trace = trace_of(tmp_path, 2000) if traced else None
    made = loaded(3, 0.6, 1.0, USUAL, trace)

    assert made.load == pytest.approx(0.6, rel=2 * NEAR)
    assert made.load == len(made.scenario.requests) / made.scenario.duration / capacity(made.scenario)
    assert (made.scenario.duration, made.scenario.start_slot) == (3600.0, START_SLOT)
    assert 0 <= made.scenario.requests[0].at < made.scenario.requests[-1].at < 3600.0
    loaded.cache_clear()
    assert made == loaded(3, 0.6, 1.0, USUAL, trace)


def test_a_trace_gives_lengths_and_each_seed_another_window_of_it(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, 2000)
    lengths = [[one.completion for one in loaded(seed, 0.3, 0.2, USUAL, trace).scenario.requests] for seed in (1, 2, 3)]

    # The trace's answers are as long as their number: what is taken of it follows without a gap.
    assert all(own == list(range(own[0], own[0] + len(own))) for own in lengths)
    assert len({own[0] for own in lengths}) == 3


def test_the_fleet_of_a_seed_is_the_same_whatever_is_asked_of_it(tmp_path: Path) -> None:
    trace = trace_of(tmp_path, 2000)
    cases = [(0.3, None), (0.6, None), (0.3, trace)]
    assert len({loaded(4, load, 0.5, USUAL, path).scenario.nodes for load, path in cases}) == 1


def test_a_trace_that_is_shorter_than_a_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the trace has 5 requests, and \d+ are needed in 1 hours"):
        loaded(1, 0.6, 1.0, USUAL, trace_of(tmp_path, 5))
