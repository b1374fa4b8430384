"""Ranking: elimination, score and ties together."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from herd.policy.loads import ModelLoad, NodeLoad, Reservation
from herd.policy.placement import hopeless, in_one_line, why_hopeless, why_none
from herd.policy.scoring import LEAST_PATIENCE_S, Moment
from herd.policy.values import SIGNALS, Hardware, Memory, MemoryKind, NodeView, Reason
from herd.types import Api, Bytes, Capability, GiB, NodeId, NodeName, NodeState, Seconds, Tokens
from tests.policy.views import ASK, CHAT_ONLY, OPENAI_ONLY, card, decide, looked_at, model, node, signals

KEY = ASK.model


def busy(outstanding: int, *, last_chosen: int = 0, ends: float = 1000.0) -> NodeLoad:
    """A node on which so many requests run on the model, to end then."""
    tickets = ModelLoad(outstanding, outstanding, ends * outstanding)
    return NodeLoad(outstanding, last_chosen, {KEY: tickets} if outstanding else {})


def names(decision: object) -> list[str]:
    return [candidate.name for candidate in decision.candidates]  # type: ignore[attr-defined]


def test_a_resident_model_wins_over_one_on_disk() -> None:
    decision = decide(ASK, [node("cold", model()), node("hot", model(resident=True))])

    assert names(decision) == ["hot", "cold"]


def test_all_seven_signals_are_kept_with_every_candidate_and_add_up_to_its_score() -> None:
    decision = decide(ASK, [node("hot", model(resident=True)), node("cold", model())], {NodeId("hot"): busy(1)})

    assert [len(candidate.points) for candidate in decision.candidates] == [len(SIGNALS)] * 2
    for candidate in decision.candidates:
        shown = [signal.name for signal in candidate.signals]
        assert shown[:8] == list(SIGNALS[:8])
        assert sum(signal.points for signal in candidate.signals) == candidate.score


def test_every_node_that_was_eliminated_keeps_its_reason() -> None:
    decision = decide(ASK, [node("mini"), node("studio", model(), state=NodeState.OFFLINE)])

    assert decision.chosen is None
    assert [(out.name, out.reason.kind) for out in decision.eliminated] == [("mini", "no-model"), ("studio", "offline")]
    assert why_none(decision) == "mini does not have llama3.2:3b on disk; studio is offline"
    assert in_one_line(decision) == "not mini, which does not have llama3.2:3b on disk; not studio, which is offline"


def test_a_fleet_without_nodes_says_so() -> None:
    assert why_none(decide(ASK, [])) == "no node has joined"


def test_equal_nodes_share_evenly() -> None:
    nodes = [node(name, model(resident=True)) for name in ("a", "b", "c")]
    loads: dict[NodeId, NodeLoad] = {}
    chosen: Counter[str] = Counter()
    for number in range(1, 31):
        winner = decide(ASK, nodes, loads).chosen
        assert winner is not None
        chosen[winner.name] += 1
        loads[winner.node] = busy(0, last_chosen=number)  # each request ends before the next comes

    assert set(chosen.values()) == {10}


def test_a_busy_node_loses_to_an_equal_one() -> None:
    nodes = [node("a", model(resident=True)), node("b", model(resident=True))]
    loads = {NodeId("a"): busy(1, last_chosen=1), NodeId("b"): busy(0, last_chosen=2)}

    assert names(decide(ASK, nodes, loads)) == ["b", "a"]


def test_nodes_whose_answers_come_at_different_times_are_no_tie() -> None:
    fast = node("fast", model(resident=True, gib=5), **card(24, 10))
    slow = replace(fast, id=NodeId("slow"), name=NodeName("slow"), hardware=replace(fast.hardware, bandwidth=800e9))
    loads = {NodeId("fast"): busy(0, last_chosen=9)}  # in a tie the other would have its turn

    decision = decide(ASK, [slow, fast], loads)
    (one, other) = decision.candidates
    assert 0 < one.score - other.score < 2.0
    assert one.name == "fast"


def test_every_second_by_which_an_answer_is_there_later_costs_a_point_and_the_first_one_none() -> None:
    fast = node("fast", model(resident=True, gib=5), **card(24, 10))
    slow = replace(fast, id=NodeId("slow"), name=NodeName("slow"), hardware=replace(fast.hardware, bandwidth=50e9))
    decision = decide(ASK, [slow, fast])
    (one, other) = decision.candidates
    assert (one.name, signals(decision, "fast")["overflow"]) == ("fast", 0.0)
    assert signals(decision, "slow")["overflow"] == one.completion - other.completion < -30.0
    assert signals(decide(ASK, [slow]), "slow")["overflow"] == 0.0  # there is no other


def test_a_big_machine_is_left_to_big_models_while_it_works_and_a_small_one_always_to_small_ones() -> None:
    big = {"memory": Memory(Bytes(128 * GiB)), "hardware": Hardware(MemoryKind.UNIFIED, 1000e9)}
    little = {"memory": Memory(Bytes(16 * GiB)), "hardware": Hardware(MemoryKind.UNIFIED, 100e9)}

    def fitness(machine: dict[str, Any], gib: float, works: int) -> float:
        decision = decide(ASK, [node("a", model(resident=True, gib=gib), **machine)], {NodeId("a"): busy(works)})
        return signals(decision, "a")["role_affinity"]

    assert fitness(big, 1, 0) == fitness(big, 64, 0) == 15.0
    assert 15.0 == fitness(big, 64, 2) > fitness(big, 1, 1) > fitness(big, 1, 2) > 0.0
    assert fitness(little, 1, 0) == 15.0
    assert fitness(little, 1, 2) > fitness(big, 1, 2)
    assert fitness(little, 12, 0) == fitness(little, 12, 2) < fitness(little, 6, 0) < 15.0


def test_a_load_for_which_nothing_has_to_go_is_better_than_one_for_which_something_has() -> None:
    other = model("other", resident=True, gib=12)
    empty, taken = node("empty", model(gib=6), **card(24, 12)), node("taken", model(gib=6), other, **card(24, 6))
    decision = decide(ASK, [taken, empty])
    assert names(decision) == ["empty", "taken"]
    assert signals(decision, "empty")["memory_fit"] == 20.0
    assert signals(decision, "taken")["memory_fit"] == 0.0


def test_a_silent_node_loses_to_one_that_speaks() -> None:
    hot_but_silent = node("a", model(resident=True), state=NodeState.DEGRADED)

    assert names(decide(ASK, [hot_but_silent, node("b", model(resident=True))], {NodeId("b"): busy(1)})) == ["b", "a"]


def test_a_deep_queue_on_a_hot_node_spills_to_an_idle_cold_one() -> None:
    nodes = [node("hot", model(resident=True, gib=5), **card(24, 17)), node("cold", model(gib=5), **card(24, 22))]

    assert names(decide(ASK, nodes, {NodeId("hot"): busy(1, ends=1002.0)})) == ["hot", "cold"]
    assert names(decide(ASK, nodes, {NodeId("hot"): busy(1, ends=1060.0)})) == ["cold", "hot"]


def test_a_node_that_is_busy_with_another_model_is_no_idle_one() -> None:
    """Failure 3: load seen per node and model only."""
    nodes = [node(name, model(resident=True), model("other", resident=True)) for name in ("a", "b")]
    other = NodeLoad(3, 1, {"other": ModelLoad(3, 1, 1010.0, Seconds(20.0))})

    assert names(decide(ASK, nodes, {NodeId("a"): other, NodeId("b"): busy(0, last_chosen=2)})) == ["b", "a"]


# --- memory -----------------------------------------------------------------------------------------------------------

TAKEN = (model(KEY, gib=10), model("other", gib=16, resident=True))


def in_use(*, ends: float = 1008.0, leaving: bool = False) -> NodeLoad:
    """Another model is in use on the node, for so long; perhaps it has to go already."""
    claims = {"third": Reservation(Bytes(0), Tokens(0), Seconds(1009), Seconds(2000), leaving)} if leaving else {}
    return NodeLoad(1, 1, {"other": ModelLoad(1, 1, ends)}, claims, 0, leaving)


def test_a_load_that_does_not_fit_is_not_asked_for() -> None:
    full = node("a", model(gib=10), memory=card(24, 8)["memory"], hardware=card(24, 8)["hardware"])
    decision = decide(ASK, [full])

    assert decision.chosen is None
    assert why_none(decision) == "a has 8.0 GiB of memory for it, which takes 10.0 GiB"
    assert hopeless(decision) is None  # somebody else's memory may be given back


def test_a_machine_that_is_short_of_memory_serves_what_is_loaded_and_says_why_it_loads_nothing() -> None:
    short = Reason("memory-pressure", "is short of memory")
    there = node("a", model(resident=True, context=4096), reasons=(short,))
    assert names(decide(ASK, [there])) == ["a"]
    decision = decide(replace(ASK, num_ctx=Tokens(8192)), [there])
    assert [out.reason for out in decision.eliminated] == [short]


def test_what_the_machine_could_never_hold_is_not_waited_for() -> None:
    decision = decide(ASK, [node("a", model(gib=30), **card(24, 24))])

    reason = hopeless(decision)
    assert reason is not None
    assert reason.text == "has 24.0 GiB for models, and it takes 30.0 GiB"


def test_a_refusal_counts_the_nodes_that_have_the_model() -> None:
    small, tiny = (node(name, model(gib=30), **card(size, size)) for name, size in (("a", 24), ("c", 16)))
    twin, other = node("b", model(gib=30), **card(24, 24)), node("d")
    lack = "has 24.0 GiB for models, and it takes 30.0 GiB"
    assert why_hopeless(decide(ASK, [small, other])) == f"the one that has it {lack}"
    assert why_hopeless(decide(ASK, [small, twin, other])) == f"each of the 2 that have it {lack}"
    assert why_hopeless(decide(ASK, [small, tiny])) == (
        f"of the 2 that have it, a {lack}; c has 16.0 GiB for models, and it takes 30.0 GiB"
    )


def test_what_is_too_large_for_all_gpus_may_spill_into_ram() -> None:
    assert decide(ASK, [node("a", model(gib=30), **card(24, 24, spill=16))]).chosen is not None
    assert decide(ASK, [node("a", model(gib=23), **card(24, 20, spill=16))]).chosen is None


def test_models_that_nobody_uses_make_room() -> None:
    chosen = decide(ASK, [node("a", *TAKEN, **card(24, 8))]).chosen

    assert chosen is not None
    assert chosen.load is not None
    assert not chosen.load.evicts_busy


def test_models_in_use_make_room_only_for_who_has_waited() -> None:
    nodes, loads = [node("a", *TAKEN, **card(24, 8))], {NodeId("a"): in_use()}

    early = decide(ASK, nodes, loads)
    assert (early.chosen, early.retry_in) == (None, max(LEAST_PATIENCE_S, looked_at(nodes[0]).pace.load))
    assert "until other models have ended" in why_none(early)
    late = decide(ASK, nodes, loads, Moment(Seconds(1000), waited=Seconds(6.0))).chosen
    assert late is not None
    assert late.load is not None
    assert late.load.evicts_busy
    assert late.wait > 8.0  # what runs there ends first


def test_only_one_model_at_a_time_is_made_room_for() -> None:
    nodes, loads = [node("a", *TAKEN, **card(24, 8))], {NodeId("a"): in_use(leaving=True)}

    decision = decide(ASK, nodes, loads, Moment(Seconds(1000), waited=Seconds(60.0)))
    assert decision.chosen is None
    assert why_none(decision) == "a makes room for another model first"


def test_nobody_has_to_make_room_while_another_node_can_serve() -> None:
    nodes = [node("a", *TAKEN, **card(24, 8)), node("b", model(gib=10), **card(24, 24))]

    decision = decide(ASK, nodes, {NodeId("a"): in_use()}, Moment(Seconds(1000), waited=Seconds(60.0)))
    assert names(decision) == ["b"]
    assert [out.name for out in decision.eliminated] == ["a"]


def test_what_other_loads_under_way_have_reserved_is_not_free() -> None:
    held = Reservation(Bytes(10 * GiB), Tokens(0), Seconds(1005), Seconds(1300))
    loading = NodeLoad(1, 1, {"third": ModelLoad(1)}, {"third": held}, 10 * GiB)
    nodes = [node("a", model(gib=10), **card(24, 16))]

    assert decide(ASK, nodes).chosen is not None
    assert decide(ASK, nodes, {NodeId("a"): loading}).chosen is None


def test_who_waits_for_a_load_shares_it() -> None:
    held = Reservation(Bytes(10 * GiB), Tokens(4096), Seconds(1005), Seconds(1300))
    loading = NodeLoad(1, 1, {KEY: ModelLoad(1)}, {KEY: held}, 10 * GiB)
    nodes = [node("a", model(gib=10), **card(24, 12))]

    chosen = decide(ASK, nodes, {NodeId("a"): loading}).chosen
    assert chosen is not None
    assert (chosen.load, chosen.points[0]) == (None, 40.0)
    assert chosen.wait >= 5.0


# --- whatever the fleet -----------------------------------------------------------------------------------------------

NODES = st.lists(
    st.builds(
        lambda name, resident, state, has, free: node(
            name, *([model(resident=resident, gib=4)] if has else []), state=state, **card(24, free)
        ),
        st.sampled_from("abcdefgh"),
        st.booleans(),
        st.sampled_from(NodeState),
        st.booleans(),
        st.sampled_from((1, 6, 20)),
    ),
    max_size=8,
    unique_by=lambda view: view.id,
)
LOADS = st.dictionaries(
    st.sampled_from([NodeId(name) for name in "abcdefgh"]),
    st.builds(busy, st.integers(0, 9), last_chosen=st.integers(0, 99), ends=st.floats(990, 1100)),
)


@given(NODES, LOADS, st.randoms(use_true_random=False))
def test_the_order_in_which_nodes_are_listed_decides_nothing(
    nodes: list[NodeView], loads: dict[NodeId, NodeLoad], dice: random.Random
) -> None:
    shuffled = list(nodes)
    dice.shuffle(shuffled)

    assert decide(ASK, shuffled, loads).candidates == decide(ASK, nodes, loads).candidates


@given(NODES, LOADS)
def test_every_node_is_a_candidate_or_has_a_reason(nodes: list[NodeView], loads: dict[NodeId, NodeLoad]) -> None:
    decision = decide(ASK, nodes, loads)

    seen = [candidate.node for candidate in decision.candidates] + [out.node for out in decision.eliminated]
    assert sorted(seen) == sorted(view.id for view in nodes)


def test_waiting_helps_a_request_unless_all_that_have_the_model_lack_something_for_good() -> None:
    deaf = replace(model(), dialects=OPENAI_ONLY, apis=CHAT_ONLY)
    native = replace(ASK, api=Api.OLLAMA_CHAT)

    assert hopeless(decide(ASK, [])) is None
    assert hopeless(decide(ASK, [node("a")])) is None
    assert hopeless(decide(native, [node("a", deaf), node("b")])) is not None
    assert hopeless(decide(native, [node("a", deaf), node("b", model(), state=NodeState.OFFLINE)])) is None
    assert hopeless(decide(native, [node("a", deaf), node("b", deaf, state=NodeState.OFFLINE)])) is not None
    other = model(name="another:1b")
    assert hopeless(decide(native, [node("a", deaf), node("b", other, state=NodeState.PAUSED)])) is not None
    assert hopeless(decide(native, [node("a", deaf), node("b", state=NodeState.OFFLINE)])) is None, "b may have it"


def test_what_no_build_of_the_model_can_do_is_for_a_model_server_to_refuse() -> None:
    blind = replace(model(), capabilities=(Capability.COMPLETION,))
    seeing = replace(blind, capabilities=(Capability.COMPLETION, Capability.VISION))
    ask = replace(ASK, needs=(Capability.VISION,))

    assert decide(ask, [node("a", blind), node("b")]).chosen is not None
    assert decide(ask, [node("a", blind), node("b", seeing, state=NodeState.OFFLINE)]).chosen is None, "b may come back"
    assert decide(ask, [node("a", blind), node("b", blind, state=NodeState.PAUSED)]).chosen is not None, "b never will"
    assert decide(replace(ask, replaceable=True), [node("a", blind)]).chosen is None, "another model may see"
    chosen = decide(ask, [node("a", blind), node("b", seeing)]).chosen
    assert chosen is not None
    assert chosen.node == "b"


def test_an_upload_is_not_sent_to_a_model_that_cannot_do_anything_with_it() -> None:
    chats = replace(model(), capabilities=(Capability.COMPLETION,))
    ask = replace(ASK, api=Api.TRANSCRIPTIONS, needs=(Capability.AUDIO,))

    decision = decide(ask, [node("a", chats), node("b")])
    reason = hopeless(decision)
    assert decision.chosen is None
    assert reason is not None
    assert reason.text == "has a build of it that hears nothing"


def test_a_fleet_without_anything_for_images_is_told_from_one_without_the_model() -> None:
    ask = replace(ASK, api=Api.IMAGES, needs=(Capability.IMAGE,))
    equipped = node("c", media=(Api.IMAGES,), state=NodeState.OFFLINE)

    assert decide(ask, []).unequipped
    assert decide(ask, [node("a"), node("b", model(), media=(Api.TRANSCRIPTIONS,))]).unequipped
    assert not decide(ask, [node("a"), equipped]).unequipped
    assert not decide(ASK, [node("a")]).unequipped
