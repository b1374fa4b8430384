"""Rankings of simple routers: they know who is up and has the model, and count requests, and that is all."""

from collections import Counter
from dataclasses import replace

import pytest

from herd.policy.loads import NodeLoad
from herd.policy.placement import Ranking, place
from herd.policy.prospects import Facts, prospect
from herd.policy.values import Candidate, Decision, NodeView
from herd.simulation.comparison import baselines
from herd.simulation.comparison.baselines import ranked_by
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.types import NodeId, NodeState, Priority, Seconds, Tokens
from tests.policy.views import ASK, CHAT_ONLY, NOW, card, model, node

round_robin, least_connections = ranked_by(baselines.round_robin), ranked_by(baselines.least_connections)
SIMPLE = (round_robin, least_connections)


def ranked(ranking: Ranking, *nodes: NodeView, loads: dict[str, NodeLoad] | None = None, ask: object = ASK) -> Decision:
    by_id = {NodeId(name): load for name, load in (loads or {}).items()}
    return ranking(ask, [prospect(ASK.model, view, Facts()) for view in nodes], by_id, NOW)  # type: ignore[arg-type]


def winner(decision: Decision) -> Candidate:
    assert decision.chosen is not None
    return decision.chosen


@pytest.mark.parametrize("ranking", [place, *SIMPLE])
def test_equal_idle_nodes_share_evenly(ranking: Ranking) -> None:
    nodes = [node(name, model(resident=True)) for name in "abc"]
    loads: dict[str, NodeLoad] = {}
    taken: Counter[str] = Counter()
    for number in range(1, 31):
        name = winner(ranked(ranking, *nodes, loads=loads)).name
        taken[name] += 1
        loads[name] = NodeLoad(last_chosen=number)
    assert set(taken.values()) == {10}


def test_round_robin_takes_the_next_node_however_busy_it_is() -> None:
    nodes = [node("busy", model()), node("idle", model(resident=True))]
    loads = {"busy": NodeLoad(outstanding=9, last_chosen=1), "idle": NodeLoad(last_chosen=2)}

    assert winner(ranked(round_robin, *nodes, loads=loads)).name == "busy"
    assert winner(ranked(least_connections, *nodes, loads=loads)).name == "idle"


def test_least_connections_takes_the_node_with_the_fewest_requests_though_it_has_to_load_the_model() -> None:
    nodes = [node("cold", model()), node("hot", model(resident=True))]
    loads = {"cold": NodeLoad(outstanding=1, last_chosen=2), "hot": NodeLoad(outstanding=2, last_chosen=1)}

    assert winner(ranked(least_connections, *nodes, loads=loads)).name == "cold"
    assert winner(ranked(place, *nodes, loads=loads)).name == "hot"


@pytest.mark.parametrize("ranking", SIMPLE)
def test_who_is_down_lacks_the_model_or_has_failed_is_out_with_the_same_reasons(ranking: Ranking) -> None:
    nodes = [
        node("ready", model()),
        node("offline", model(), state=NodeState.OFFLINE),
        node("without"),
        node("other-api", replace(model(), apis=("/api/chat",))),
        node("failed", model()),
    ]
    ask = replace(ASK, excluded=(NodeId("failed"),))
    decision, ours = ranked(ranking, *nodes, ask=ask), ranked(place, *nodes, ask=ask)

    assert [candidate.name for candidate in decision.candidates] == ["ready"]
    assert decision.eliminated == ours.eliminated
    assert ASK.api in CHAT_ONLY


@pytest.mark.parametrize("ranking", SIMPLE)
def test_memory_is_unknown_to_them_and_nothing_is_reserved(ranking: Ranking) -> None:
    small = node("small", model(gib=40.0), **card(8.0, 8.0))

    assert ranked(place, small).chosen is None
    assert winner(ranked(ranking, small)).load is None


def test_warm_first_takes_a_node_that_has_the_model_loaded_while_few_wait_there() -> None:
    nodes = [node("cold", model()), node("hot", model(resident=True))]

    def at(outstanding: int, spill: float) -> str:
        loads = {"hot": NodeLoad(outstanding=outstanding, last_chosen=1)}
        return winner(ranked(ranked_by(baselines.warm_first(spill)), *nodes, loads=loads)).name

    assert [at(outstanding, spill=1) for outstanding in (0, 1, 2)] == ["hot", "hot", "cold"]
    assert at(2, spill=float("inf")) == "hot"


def test_the_power_of_two_is_the_less_loaded_of_two_that_are_drawn() -> None:
    nodes = [node(name, model()) for name in "abcd"]
    loads = {name: NodeLoad(outstanding=number) for number, name in enumerate("abcd")}
    ranking = baselines.power_of_two(seed=1)
    found = Counter(str(winner(ranked(ranking, *nodes, loads=loads)).name) for _ in range(600))

    assert found["d"] == 0  # the other one of any two is less loaded
    assert found["a"] / 600 == pytest.approx(1 / 2, abs=0.07)
    assert found["b"] / 600 == pytest.approx(1 / 3, abs=0.07)
    assert found["c"] / 600 == pytest.approx(1 / 6, abs=0.07)


def test_at_random_every_node_is_as_likely() -> None:
    ranking = ranked_by(baselines.at_random(seed=1))
    found = Counter(winner(ranked(ranking, *[node(name, model()) for name in "abc"])).name for _ in range(600))

    assert all(count / 600 == pytest.approx(1 / 3, abs=0.07) for count in found.values())


def test_the_latency_average_takes_who_answered_soonest_and_tries_everybody() -> None:
    average = baselines.LatencyAverage(600.0, loaded=True)
    nodes = [node(name, model()) for name in ("slow", "quick", "new")]

    def best(**loads: NodeLoad) -> str:
        return winner(ranked(ranked_by(average.order), *nodes, loads=loads)).name

    for name, seconds in (("slow", 9.0), ("quick", 2.0)):
        average.heard(served_by(name, seconds), NOW.now)
    assert best() == "new"  # who was never tried might be quick
    average.heard(served_by("new", 3.0), NOW.now)
    assert best() == "quick"
    assert best(quick=NodeLoad(outstanding=1)) == "new"  # twice 2 s is more than 3 s
    average.heard(replace(served_by("quick", 1.0), outcome=SampleOutcome.FAILED), NOW.now)
    assert best() == "quick"  # what fails says nothing of speed


def served_by(name: str, first_token: float) -> Sample:
    return Sample(
        Seconds(NOW.now - first_token),
        "client",
        ASK.model,
        Priority.INTERACTIVE,
        SampleOutcome.SERVED,
        first_token,
        first_token,
        Tokens(1),
        Tokens(1),
        node=name,
    )
