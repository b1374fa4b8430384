from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from herd.policy.placement import hopeless, place, why_none
from herd.policy.scoring import QUEUE_DEPTH_MAX, score
from herd.policy.values import Load, NodeView
from herd.types import Dialect, NodeId, NodeState, Tokens
from tests.policy.views import ASK, OPENAI_ONLY, model, node


def test_a_resident_model_wins_over_one_on_disk() -> None:
    decision = place(ASK, [node("cold", model()), node("hot", model(resident=True))], {})

    assert decision.chosen is not None
    assert decision.chosen.name == "hot"
    assert [candidate.name for candidate in decision.candidates] == ["hot", "cold"]


def test_every_signal_is_kept_with_the_decision_and_adds_up_to_the_score() -> None:
    decision = place(ASK, [node("hot", model(resident=True))], {NodeId("hot"): Load(node=1)})

    assert decision.chosen is not None
    assert [(signal.name, signal.points) for signal in decision.chosen.signals] == [
        ("thermal", 50.0),
        ("queue_depth", -15.0),
    ]
    assert decision.chosen.score == 35.0


def test_every_node_that_was_eliminated_keeps_its_reason() -> None:
    decision = place(ASK, [node("mini"), node("studio", model(), state=NodeState.OFFLINE)], {})

    assert decision.chosen is None
    assert [(out.name, out.reason.kind) for out in decision.eliminated] == [("mini", "no-model"), ("studio", "offline")]
    assert why_none(decision) == "mini does not have llama3.2:3b on disk; studio is offline"


def test_a_fleet_without_nodes_says_so() -> None:
    assert why_none(place(ASK, [], {})) == "no node has joined"


def test_equal_nodes_share_evenly() -> None:
    nodes = [node(name, model(resident=True)) for name in ("a", "b", "c")]
    loads: dict[NodeId, Load] = {}
    chosen: Counter[str] = Counter()
    for number in range(1, 31):
        winner = place(ASK, nodes, loads).chosen
        assert winner is not None
        chosen[winner.name] += 1
        loads[winner.node] = Load(node=0, last_chosen=number)  # each request ends before the next comes

    assert set(chosen.values()) == {10}


def test_a_busy_node_loses_a_tie() -> None:
    nodes = [node("a", model(resident=True)), node("b", model(resident=True))]

    decision = place(ASK, nodes, {NodeId("a"): Load(node=1, last_chosen=1), NodeId("b"): Load(last_chosen=2)})

    assert decision.chosen is not None
    assert decision.chosen.name == "b"


def test_a_silent_node_loses_to_one_that_speaks() -> None:
    hot_but_silent = node("a", model(resident=True), state=NodeState.DEGRADED)

    decision = place(ASK, [hot_but_silent, node("b", model(resident=True))], {NodeId("b"): Load(node=1)})

    assert decision.chosen is not None
    assert decision.chosen.name == "b"


def test_a_larger_context_than_the_resident_one_is_a_load() -> None:
    view = model(resident=True, context=4096)
    wants_more = replace(ASK, num_ctx=Tokens(8192))

    thermal = score(wants_more, node("a", view), view, Load())[0]

    assert thermal.points == 10.0
    assert score(replace(ASK, num_ctx=Tokens(2048)), node("a", view), view, Load())[0].points == 50.0


@given(st.lists(st.integers(0, 500), min_size=2, max_size=6, unique=True), st.integers(1, 8))
def test_more_load_is_always_worse_and_never_costs_more_than_the_cap(loads: list[int], limit: int) -> None:
    view = model(limit=limit)
    points = [score(ASK, node("a", view), view, Load(node=load))[1].points for load in sorted(loads)]

    assert points == sorted(points, reverse=True)
    assert len(set(points)) == len(points)
    assert min(points) > -QUEUE_DEPTH_MAX


NODES = st.lists(
    st.builds(
        lambda name, resident, state, has: node(name, *([model(resident=resident)] if has else []), state=state),
        st.sampled_from("abcdefgh"),
        st.booleans(),
        st.sampled_from(NodeState),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda view: view.id,
)
LOADS = st.dictionaries(
    st.sampled_from([NodeId(name) for name in "abcdefgh"]),
    st.builds(Load, node=st.integers(0, 9), last_chosen=st.integers(0, 99)),
)


@given(NODES, LOADS, st.randoms(use_true_random=False))
def test_the_order_in_which_nodes_are_listed_decides_nothing(
    nodes: list[NodeView], loads: dict[NodeId, Load], random: object
) -> None:
    shuffled = list(nodes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert place(ASK, shuffled, loads).candidates == place(ASK, nodes, loads).candidates


def test_waiting_helps_a_request_unless_all_that_have_the_model_lack_something_for_good() -> None:
    deaf = replace(model(), dialects=OPENAI_ONLY)
    native = replace(ASK, dialect=Dialect.OLLAMA)

    assert hopeless(place(ASK, [], {})) is None
    assert hopeless(place(ASK, [node("a")], {})) is None
    assert hopeless(place(native, [node("a", deaf), node("b")], {})) is not None
    assert hopeless(place(native, [node("a", deaf), node("b", model(), state=NodeState.OFFLINE)], {})) is None
