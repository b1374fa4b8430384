from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.policy.batches import (
    CLEARLY,
    LEAST_INPUTS,
    LEAST_SAVED_S,
    LEAST_SHARE,
    MOST_PARTS,
    Place,
    Split,
    Spread,
    split,
    spread,
)
from herd.policy.loads import ModelLoad, NodeLoad
from herd.policy.placement import place
from herd.policy.values import Ask, BreakerState, Circuit, Hardware, ModelView, NodeView, PartOf
from herd.types import Api, NodeId, NodeName, NodeState, Tokens
from tests.policy.views import NOW, looked_at, model, node

TEXTS = "nomic-embed-text:latest"
ASK = Ask(TEXTS, Api.OLLAMA_EMBED, prompt_tokens=Tokens(10_000), max_tokens=Tokens(0))


def build(digest: str = "one", **fields: Any) -> ModelView:
    return model(TEXTS, gib=0.25, digest=digest, **{"resident": True, **fields})


def spread_over(*nodes: NodeView) -> Spread | None:
    known = [looked_at(view, TEXTS) for view in nodes]
    return spread(place(ASK, known, {}, NOW), known)


def names(found: Spread | None) -> set[str]:
    return {place.name for place in found.places} if found is not None else set()


def at(*places: tuple[float, float]) -> Spread:
    """Nodes that could begin after so many seconds, and need so many for the whole batch."""
    those = tuple(Place(NodeId(f"n{n}"), NodeName(f"n{n}"), *one) for n, one in enumerate(places))
    return Spread(TEXTS, "one", min(those, key=lambda place: place.wait + place.work), those)


def inputs_of(found: Split | None) -> list[int]:
    assert found is not None
    return [share.last - share.first for share in found.shares]


# --- who could share a batch ------------------------------------------------------------------------------------------


def test_nodes_with_the_same_build_in_memory_can_share() -> None:
    found = spread_over(node("a", build()), node("b", build()))

    assert found is not None
    assert names(found) == {"a", "b"}
    assert found.digest == "one"
    assert found.best == found.places[0]


@pytest.mark.parametrize(
    "other",
    [
        node("b", build("another")),
        node("b", build("")),
        node("b", build(resident=False)),
        node("b", build(), state=NodeState.DEGRADED),
        node("b", build(), availability=0.5),
        node("b", build(), breaker=BreakerState(Circuit.HALF_OPEN)),
        node("b", build(breaker=BreakerState(Circuit.HALF_OPEN))),
    ],
    ids=["other-build", "unknown-build", "on-disk", "silent", "owner", "link-on-trial", "model-on-trial"],
)
def test_a_node_has_no_part_that_it_may_not_have(other: NodeView) -> None:
    assert names(spread_over(node("a", build()), other)) == set()
    assert names(spread_over(node("a", build()), other, node("c", build()))) in ({"a", "c"}, set())


def test_two_builds_of_which_nothing_is_known_are_not_the_same() -> None:
    assert spread_over(node("a", build("")), node("b", build(""))) is None


def test_one_node_or_none_is_nothing_to_share_between() -> None:
    assert spread_over(node("a", build())) is None
    assert spread(place(ASK, [], {}, NOW), []) is None


# --- the shares -------------------------------------------------------------------------------------------------------


def test_equal_nodes_have_equal_shares() -> None:
    found = split(at((0.0, 10.0), (0.0, 10.0)), [100] * 20)

    assert inputs_of(found) == [10, 10]
    assert found is not None
    assert found.seconds == pytest.approx(5.0)
    assert found.digest == "one"


def test_a_node_has_as_much_as_it_is_fast_and_less_if_it_begins_later() -> None:
    assert inputs_of(split(at((0.0, 10.0), (0.0, 20.0)), [100] * 42)) == [28, 14]
    assert inputs_of(split(at((0.0, 10.0), (4.0, 10.0)), [100] * 20)) == [14, 6]
    assert split(at((0.0, 10.0), (11.0, 1.0)), [100] * 20) is None


def test_what_predictions_were_worth_corrects_the_shares() -> None:
    """Of a node that was not seen yet it is taken to be as on the others."""
    three = at((0.0, 10.0), (0.0, 10.0), (0.0, 10.0))
    a, b = NodeId("n0"), NodeId("n1")

    def seen(found: Spread, ratios: dict[NodeId, float]) -> Spread:
        places = tuple(replace(place, ratio=ratios.get(place.node)) for place in found.places)
        return replace(found, best=places[0], places=places)

    def shares(ratios: dict[NodeId, float]) -> dict[str, int]:
        found = split(seen(three, ratios), [100] * 70)
        return {share.place.name: share.last - share.first for share in found.shares} if found is not None else {}

    assert shares({a: 4.0, b: 1.0}) == {"n0": 10, "n1": 40, "n2": 20}
    assert shares({a: 0.1}) == shares({}) == {"n0": 23, "n1": 24, "n2": 23}
    assert split(at((0.0, 0.05), (0.0, 0.05)), [100] * 40) is None
    slow = split(seen(at((0.0, 0.05), (0.0, 0.05)), {a: 20.0}), [100] * 40)
    assert slow is not None
    assert slow.seconds == pytest.approx(0.5)
    assert slow.alone == pytest.approx(1.0)


def test_what_counts_is_the_length_of_the_texts() -> None:
    assert inputs_of(split(at((0.0, 10.0), (0.0, 10.0)), [1000] * 5 + [100] * 50)) == [5, 50]


def test_a_batch_that_is_small_or_hardly_faster_in_parts_stays_whole() -> None:
    assert split(at((0.0, 10.0), (0.0, 10.0)), [100] * (LEAST_INPUTS - 1)) is None
    assert split(at((0.0, 10.0), (0.0, 50.0)), [100] * 40) is None
    assert split(at((0.0, LEAST_SAVED_S), (0.0, LEAST_SAVED_S)), [100] * 40) is None
    assert split(at((0.0, 10.0), (0.0, 10.0)), [0] * 40) is None


def test_a_share_of_a_few_texts_is_not_worth_a_part() -> None:
    found = split(at((0.0, 10.0), (0.0, 10.0), (0.0, 90.0)), [100] * 20)
    assert inputs_of(found) == [10, 10]


def test_there_are_no_more_parts_than_are_worth_it() -> None:
    assert len(inputs_of(split(at(*[(0.0, 10.0)] * 20), [100] * 200))) == MOST_PARTS
    assert len(inputs_of(split(at(*[(0.0, 10.0)] * 20), [100] * (3 * LEAST_SHARE)))) == 3


PLACES = st.lists(st.tuples(st.floats(0.0, 30.0), st.floats(0.01, 30.0)), min_size=2, max_size=12)
SIZES = st.lists(st.integers(2, 5000), min_size=1, max_size=60)


@given(PLACES, SIZES)
def test_whatever_is_split_keeps_its_order_and_is_worth_it(places: list[tuple[float, float]], sizes: list[int]) -> None:
    found = split(at(*places), sizes)

    if found is None:
        return
    edges = [(share.first, share.last) for share in found.shares]
    assert [edges[0][0], *[last for _, last in edges]] == [*[first for first, _ in edges], len(sizes)]
    assert 2 <= len(edges) <= MOST_PARTS
    assert all(last - first >= LEAST_SHARE for first, last in edges)
    assert len({share.place.node for share in found.shares}) == len(edges)
    total = sum(sizes)
    ends = [one.place.wait + one.place.work * sum(sizes[one.first : one.last]) / total for one in found.shares]
    assert found.seconds == pytest.approx(max(ends))
    assert found.seconds < CLEARLY * min(wait + work for wait, work in places)


# --- a part is placed as it was meant ---------------------------------------------------------------------------------


def test_a_part_goes_where_it_was_meant_to_while_it_can() -> None:
    fast, slow = node("fast", build(), hardware=Hardware(bandwidth=500e9)), node("slow", build())
    known = [looked_at(view, TEXTS) for view in (fast, slow)]
    part = Ask(TEXTS, Api.OLLAMA_EMBED, prompt_tokens=Tokens(100), part=PartOf("one", NodeId("slow")))

    assert [one.name for one in place(part, known, {}, NOW).candidates] == ["slow", "fast"]
    busy = {NodeId("slow"): NodeLoad(3, 1, {TEXTS: ModelLoad(3, 1, NOW.now + 60.0)})}
    chosen = place(part, known, busy, NOW).chosen
    assert chosen is not None
    assert chosen.name == "slow", "its share was made for that"
    left = [looked_at(fast, TEXTS), looked_at(node("slow", build(resident=False)), TEXTS)]
    chosen = place(part, left, {}, NOW).chosen
    assert chosen is not None
    assert chosen.name == "fast"


def test_another_build_is_out_and_why_is_said() -> None:
    part = Ask(TEXTS, Api.OLLAMA_EMBED, part=PartOf("one", NodeId("a")))
    known = [looked_at(node("a", build("another")), TEXTS), looked_at(node("b", build("")), TEXTS)]
    decision = place(part, known, {}, NOW)

    assert decision.candidates == ()
    assert [(one.reason.kind, one.reason.text) for one in decision.eliminated] == [
        ("digest", "has another build of it")
    ] * 2
