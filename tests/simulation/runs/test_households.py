"""Fleets as people have them: what is on whose disk, and that what is asked for can be answered."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import ConfigError
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.households import DAY, MACHINES, ON_DISK, Household, household, machines, playable
from herd.simulation.workload.trace_files import TraceRow
from herd.types import Capability, Seconds, Tokens

SMALL = Household(nodes=3, models=3, clients=2, requests=20, days=0.5)
SIZES = st.builds(
    Household,
    nodes=st.integers(1, 25),
    models=st.integers(1, 29),
    clients=st.integers(1, 5),
    requests=st.just(1),
    days=st.just(0.1),
    parallel=st.sampled_from([1, 2, 4, 16]),
    owners=st.booleans(),
)


def fits(plan: NodePlan, name: str) -> bool:
    """The model can be loaded there, with the context that it gets there."""
    model, machine = CATALOG[name], plan.machine
    context = Tokens(min(machine.default_context, model.context))
    return model.resident(context, plan.parallel) <= machine.model_memory


@settings(max_examples=60)
@given(st.integers(0, 2**32), SIZES)
def test_whatever_its_size_a_household_makes_sense(seed: int, size: Household) -> None:
    nodes = machines(seed, size)
    assert len(nodes) == size.nodes
    assert len(dict.fromkeys(node.name for node in nodes)) == size.nodes
    for node in nodes:
        assert len(dict.fromkeys(node.models)) == len(node.models)
        assert all(fits(node, model) for model in node.models)
        assert node.parallel == size.parallel
        assert size.owners or node.habits == "server"
    awake = [node for node in nodes if not HABITS[node.habits].lid]
    always_there = [model for node in awake for model in node.models]
    for model in dict.fromkeys(model for node in nodes for model in node.models):
        if any(fits(node, model) for node in awake):
            assert model in always_there
    assert machines(seed, size) == nodes


@settings(max_examples=25)
@given(st.integers(0, 1000), SIZES)
def test_nobody_asks_for_a_model_that_no_machine_has_or_for_more_than_there_is(seed: int, size: Household) -> None:
    try:
        made = household(seed, size)
    except ConfigError:  # too many requests at once for any machine
        assert size.parallel > 1
        return
    there = [model for node in made.nodes for model in node.models]
    assert all(request.model in there for request in made.requests)
    times = [request.at for request in made.requests]
    assert times == sorted(times)
    assert all(0 <= time < made.duration for time in times)
    assert len(dict.fromkeys(request.client for request in made.requests)) <= size.clients + max(1, size.clients // 2)


def test_the_same_seed_is_the_same_household_and_another_is_another_one() -> None:
    assert household(1, SMALL) == household(1, SMALL)
    assert household(1, SMALL) != household(2, SMALL)
    assert household(1, SMALL).seed == 1


def test_a_house_has_the_machines_in_their_order_and_then_again() -> None:
    nodes = machines(0, Household(nodes=12))
    assert [node.name for node in nodes[:10]] == [name for name, _, _ in MACHINES]
    assert [node.name for node in nodes[10:]] == ["studio-2", "gaming-pc-2"]
    assert nodes[10].machine == PROFILES["mac-studio"]
    assert [node.habits for node in nodes[:3]] == ["server", "gamer", "office laptop"]


def test_machines_and_habits_are_known() -> None:
    assert all(kind in PROFILES and habits in HABITS for _, kind, habits in MACHINES)


def test_a_larger_house_leaves_the_disks_of_the_smaller_one_as_they_are() -> None:
    small, large = machines(7, Household(nodes=4)), machines(7, Household(nodes=8))
    for one, same in zip(small, large[:4], strict=True):
        assert one.name == same.name
        assert set(same.models) <= set(one.models)  # what was added because nobody else had it may move


def test_a_machine_has_most_of_what_fits_it_and_never_nothing() -> None:
    houses = [machines(seed, Household(nodes=10, models=4)) for seed in range(20)]
    names = [model.name for model in CATALOG.values() if Capability.COMPLETION in model.capabilities][:4]
    had = [name in node.models for house in houses for node in house for name in names if fits(node, name)]
    assert sum(had) / len(had) == pytest.approx(ON_DISK, abs=0.1)
    few = [node for seed in range(20) for node in machines(seed, Household(nodes=10, models=1))]
    assert all(node.models == (names[0],) for node in few if fits(node, names[0]))


def test_what_nobody_has_is_on_the_largest_machine_that_never_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.simulation.runs.households.ON_DISK", 0.0)  # one model each, and no other
    nodes = machines(0, Household(nodes=10, models=6))
    awake = [node for node in nodes if not HABITS[node.habits].lid]
    largest = max(awake, key=lambda node: node.machine.model_memory)
    assert len(largest.models) == 6
    assert [len(node.models) for node in nodes if node is not largest] == [1] * 9


@settings(max_examples=20)
@given(st.integers(0, 1000), SIZES)
def test_what_can_be_played_is_there_whenever_it_is_asked_for(seed: int, size: Household) -> None:
    names = [model.name for model in playable(size)]
    assert names
    rows = [TraceRow(Seconds(at), Tokens(5), Tokens(5), client="c", model=name) for at, name in enumerate(names)]
    made = household(seed, size, rows)
    assert [request.model for request in made.requests] == names
    awake = [node for node in made.nodes if not HABITS[node.habits].lid]
    assert {model for node in awake for model in node.models} == {*names}


def test_models_that_no_machine_has_room_for_are_not_asked_for() -> None:
    made = household(0, Household(nodes=1, models=29, parallel=16, requests=1000))
    assert 1 < len(made.nodes[0].models) < 29
    assert {request.model for request in made.requests} <= {*made.nodes[0].models}


@pytest.mark.parametrize(("start", "evening_first"), [(0, False), (12, True)])
def test_a_run_begins_at_its_hour_of_the_week(start: int, evening_first: bool) -> None:
    made = household(0, Household(requests=1000, start_slot=start))
    first = [request for request in made.requests if request.at < made.duration / 2]
    assert (len(first) > len(made.requests) / 2) is evening_first
    assert made.start_slot == start


def test_as_many_models_are_asked_for_as_is_said() -> None:
    for models in (1, 4):
        made = household(0, Household(models=models, requests=500))
        assert len(dict.fromkeys(request.model for request in made.requests)) == models


def test_requests_and_days_are_about_as_many_as_is_said() -> None:
    made = household(0, Household(requests=2000, days=2))
    assert made.duration == 2 * DAY
    assert 1400 < len(made.requests) < 2600
    assert made.requests[-1].at > DAY


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"nodes": 0}, "no household has 0 nodes: take 1 to 100"),
        ({"nodes": -1}, "no household has -1 nodes: take 1 to 100"),
        ({"nodes": 101}, "no household has 101 nodes: take 1 to 100"),
        ({"models": 0}, "no household has 0 models: take 1 to 29"),
        ({"models": 30}, "no household has 30 models: take 1 to 29"),
        ({"clients": 0}, "no household has 0 clients: take 1 to 100000"),
        ({"requests": 0}, "no household has 0 requests: take 1 to 1000000"),
        ({"days": 0.0}, "no household has 0 days: take more than none and at most a year"),
        ({"days": 367.0}, "no household has 367 days: take more than none and at most a year"),
        ({"days": float("nan")}, "no household has nan days: take more than none and at most a year"),
        ({"days": float("inf")}, "no household has inf days: take more than none and at most a year"),
        ({"parallel": 0}, "no household has 0 requests at once: take 1 to 64"),
        ({"parallel": 65}, "no household has 65 requests at once: take 1 to 64"),
    ],
)
def test_sizes_that_make_no_sense_are_refused_with_advice(fields: dict[str, int], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Household(**fields)  # type: ignore[arg-type] # days are a float
    assert str(refused.value) == sentence


def test_so_many_requests_at_once_that_no_model_fits_anywhere_are_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match="has room for 64 requests at once: take fewer"):
        household(0, Household(nodes=1, parallel=64))


# --- Of a trace -------------------------------------------------------------------------------------------------------

ROWS = [TraceRow(Seconds(at), Tokens(100), Tokens(10)) for at in (0.0, 5.0, 90_000.0)]


def test_a_trace_says_when_and_how_long_and_the_household_who_and_what() -> None:
    made = household(3, SMALL, ROWS)
    assert [(request.at, request.prompt, request.completion) for request in made.requests] == [
        (row.at, row.prompt, row.completion) for row in ROWS
    ]
    assert made.duration == 90_000.0
    assert made.nodes == machines(3, SMALL)
    there = [model for node in made.nodes for model in node.models]
    assert all(request.model in there for request in made.requests)
    assert household(3, SMALL, ROWS) == made


@pytest.mark.parametrize("rows", [[], ROWS[:1]], ids=["none", "one at once"])
def test_a_trace_of_no_length_lasts_a_second(rows: list[TraceRow]) -> None:
    made = household(3, SMALL, rows)
    assert (len(made.requests), made.duration) == (len(rows), 1.0)
