"""The second scorer: seconds until the answer, and what it costs others."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy import completion
from herd.policy.completion import DEGRADED_S, RELOAD_PRICE
from herd.policy.loads import ModelLoad, NodeLoad
from herd.policy.pace import Learned, rate, seen
from herd.policy.placement import place
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.scoring import Moment
from herd.policy.values import PARTS, Ask, Candidate, Decision, NodeView
from herd.types import NodeId, NodeState, Tokens
from tests.policy.views import ASK, NOW, card, model, node

KEY = ASK.model
LONG = replace(ASK, prompt_tokens=Tokens(2000))


def learned(*, prefill: float = 1000.0, decode: float = 50.0, load: float = 4.0, **more: Any) -> Learned:
    """A model whose speeds on a node are known: tokens/s, and seconds of a load."""

    def alone(value: float) -> Any:
        estimate = seen(None, value, NOW.now)
        for _ in range(5):
            estimate = seen(estimate, value, NOW.now)
        return rate((estimate, None, None, None, None))

    return Learned(seen(None, load, NOW.now), alone(prefill), alone(decode), **more)


def ranked(
    *nodes: tuple[NodeView, Facts], ask: Ask = LONG, loads: Mapping[str, NodeLoad] | None = None, moment: Moment = NOW
) -> Decision:
    held = {NodeId(name): load for name, load in (loads or {}).items()}
    return completion.place(ask, [prospect(ask.model, view, facts) for view, facts in nodes], held, moment)


def known(name: str, *, resident: bool = True, trend: float = 10.0, **speeds: Any) -> tuple[NodeView, Facts]:
    """A node of an owner who is never there, with the model on its disk."""
    return node(name, model(resident=resident), trend=trend), Facts(learned=learned(**speeds))


def names(decision: Decision) -> list[str]:
    return [candidate.name for candidate in decision.candidates]


def of(decision: Decision, name: str) -> Candidate:
    return next(candidate for candidate in decision.candidates if candidate.name == name)


def test_the_node_that_answers_soonest_wins_whatever_its_points() -> None:
    nodes = [known("slow", decode=5.0), known("fast", resident=False, decode=500.0, load=2.0)]
    by_points = place(LONG, [prospect(KEY, view, facts) for view, facts in nodes], {}, replace(NOW, answer=20.0))

    assert names(ranked(*nodes, moment=replace(NOW, answer=20.0)))[0] == "fast"
    assert names(by_points)[0] == "slow"  # 4 s against 2.04 s are fewer points than a model in memory is worth


def test_what_is_predicted_is_the_wait_the_load_and_the_work() -> None:
    cold = of(ranked(known("cold", resident=False), moment=replace(NOW, answer=100.0)), "cold")

    doubt = cold.seconds["doubt"]
    assert cold.seconds == pytest.approx({"wait": 0.0, "load": 4.0, "prefill": 2.0, "decode": 2.0, "doubt": doubt})
    assert cold.completion == pytest.approx(8.0)
    assert cold.score == pytest.approx(-8.0 - doubt)


def test_the_seven_signals_are_those_of_the_first_scorer() -> None:
    nodes = [known("a"), known("b", resident=False), known("c", decode=5.0)]
    loads = {"a": NodeLoad(1, 1, {KEY: ModelLoad(1, 1, 1010.0)})}
    held = {NodeId(name): load for name, load in loads.items()}
    by_points = place(LONG, [prospect(KEY, view, facts) for view, facts in nodes], held, NOW)

    decision = ranked(*nodes, loads=loads)
    for candidate in by_points.candidates:
        assert of(decision, candidate.name).points == candidate.points
        assert candidate.parts == ()


def test_of_a_prompt_only_what_its_prefix_cache_does_not_hold_is_read() -> None:
    nodes = (known("had-it"), known("other"))
    moment = replace(NOW, favourite=NodeId("had-it"), cached=Tokens(1500))
    decision = ranked(*nodes, moment=moment)

    assert of(decision, "had-it").seconds["prefill"] == pytest.approx(0.5)
    assert of(decision, "other").seconds["prefill"] == pytest.approx(2.0)
    # All of it, or more, is no reason to read less than nothing.
    assert 0 < of(ranked(*nodes, moment=replace(moment, cached=Tokens(5000))), "had-it").seconds["prefill"] < 0.01
    # What was unloaded has no cache.
    cold = of(ranked(known("had-it", resident=False), moment=moment), "had-it")
    assert cold.seconds["prefill"] == pytest.approx(2.0)


def test_a_load_pays_for_the_loads_that_it_causes() -> None:
    other = model("other:7b", gib=6.0, resident=True)
    view = node("card", model(gib=6.0), other, trend=10.0, **card(8.0, 1.0))
    facts = Facts(learned=learned(), reloads={"other:7b": 3.0})
    full = of(ranked((view, facts)), "card")
    roomy = of(ranked((replace(view, memory=card(24.0, 17.0)["memory"]), facts)), "card")

    assert full.seconds["eviction"] == pytest.approx(RELOAD_PRICE * 3.0)
    assert "eviction" not in roomy.seconds
    assert full.completion == roomy.completion  # nobody waits for it: it is no part of the prediction


def test_of_many_models_the_one_whose_loss_costs_least_is_taken_to_go() -> None:
    others = [model(f"{name}:7b", gib=2.0, resident=True) for name in ("rare", "dear", "busy")]
    view = node("card", model(gib=2.0), *others, **card(24.0, 18.0))  # room enough, but Ollama keeps three
    facts = Facts(learned=learned(), reloads={"rare:7b": 0.5, "dear:7b": 4.0, "busy:7b": 0.1})
    busy = {"card": NodeLoad(1, 1, {"busy:7b": ModelLoad(1, 1, 1005.0)})}

    assert of(ranked((view, facts), loads=busy), "card").seconds["eviction"] == pytest.approx(RELOAD_PRICE * 0.5)


def test_an_owner_who_is_expected_costs_what_he_is_expected_to_take() -> None:
    nodes = (known("desk", trend=4.0), known("server"))
    decision = ranked(*nodes)

    assert names(decision) == ["server", "desk"]
    desk = of(decision, "desk")
    assert desk.seconds["owner"] == pytest.approx(0.6 * desk.completion)


def test_a_node_of_which_little_was_seen_is_given_the_benefit_of_the_doubt() -> None:
    """Or one that looks a little slower by its data sheet would never be tried."""
    data_sheet = prospect(KEY, node("new", model(resident=True), trend=10.0), Facts())
    assert isinstance(data_sheet, Prospect)
    new = (data_sheet.node, Facts())
    tried = known("tried", decode=1.2 * data_sheet.pace.decode, prefill=1.2 * data_sheet.pace.prefill)
    decision = ranked(tried, new)

    assert of(decision, "new").completion > 1.15 * of(decision, "tried").completion
    assert of(decision, "new").seconds["doubt"] < of(decision, "tried").seconds["doubt"] < 0.0
    assert names(ranked(tried, new, loads={"tried": NodeLoad(last_chosen=1)}))[0] == "new"
    # It is no part of the prediction, and a node that is much slower is not tried.
    assert of(decision, "new").completion == pytest.approx(sum(of(decision, "new").parts[:4]))
    much = known("tried", decode=2 * data_sheet.pace.decode, prefill=2 * data_sheet.pace.prefill)
    assert names(ranked(much, new))[0] == "tried"


def test_a_silent_node_pays_for_the_time_until_it_is_given_up() -> None:
    view, facts = known("silent")
    silent = of(ranked((replace(view, state=NodeState.DEGRADED), facts)), "silent")

    assert silent.seconds["degraded"] == DEGRADED_S


def test_equal_nodes_share_evenly() -> None:
    nodes = [known(name) for name in "abc"]
    loads = {"a": NodeLoad(last_chosen=3), "b": NodeLoad(last_chosen=1), "c": NodeLoad(last_chosen=2)}

    assert names(ranked(*nodes, loads=loads))[0] == "b"
    assert names(ranked(*nodes, known("tenth-slower", decode=48.0, prefill=960.0), loads=loads))[0] == "tenth-slower"
    assert names(ranked(*nodes, known("slower", decode=40.0), loads=loads))[0] == "b"


@given(
    speeds=st.lists(st.floats(1.0, 1e4), min_size=1, max_size=6),
    outstanding=st.integers(0, 9),
    resident=st.booleans(),
    trend=st.floats(0.0, 10.0),
    size=st.floats(0.0, 30.0),
)
def test_scores_are_minus_the_sum_of_their_parts_of_which_only_the_doubt_is_below_zero(
    speeds: list[float], outstanding: int, resident: bool, trend: float, size: float
) -> None:
    found = {
        f"n{number}": (
            node(f"n{number}", model(gib=size, resident=resident and not number % 2), trend=trend, **card(32.0, 2.0)),
            Facts(learned=learned(decode=speed)),
        )
        for number, speed in enumerate(speeds)
    }
    loads = {"n0": NodeLoad(outstanding, 1, {KEY: ModelLoad(outstanding, min(1, outstanding), 1020.0)})}
    decision = ranked(*found.values(), loads=loads if outstanding else None)

    assert len(decision.candidates) + len(decision.eliminated) == len(found)
    for candidate in decision.candidates:
        assert len(candidate.parts) == len(PARTS)
        assert candidate.score == pytest.approx(-sum(candidate.parts))
        assert candidate.seconds.get("doubt", 0.0) <= 0.0
        assert min(part for name, part in zip(PARTS, candidate.parts, strict=True) if name != "doubt") >= 0.0
        assert -candidate.score > 0.0
        assert candidate.completion == pytest.approx(sum(candidate.parts[:4]))
    if decision.candidates:  # none is ahead of the winner by more than a tie
        best = max(candidate.score for candidate in decision.candidates)
        assert decision.candidates[0].score >= best * (1.0 + completion.TIE) - 1e-9
