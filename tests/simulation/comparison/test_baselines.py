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
from herd.types import NodeId, NodeState
from tests.policy.views import ASK, NOW, OPENAI_ONLY, card, model, node

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
        node("other-api", replace(model(), dialects=("ollama",))),
        node("failed", model()),
    ]
    ask = replace(ASK, excluded=(NodeId("failed"),))
    decision, ours = ranked(ranking, *nodes, ask=ask), ranked(place, *nodes, ask=ask)

    assert [candidate.name for candidate in decision.candidates] == ["ready"]
    assert decision.eliminated == ours.eliminated
    assert ASK.dialect in OPENAI_ONLY


@pytest.mark.parametrize("ranking", SIMPLE)
def test_memory_is_unknown_to_them_and_nothing_is_reserved(ranking: Ranking) -> None:
    small = node("small", model(gib=40.0), **card(8.0, 8.0))

    assert ranked(place, small).chosen is None
    assert winner(ranked(ranking, small)).load is None
