"""Stage 5: which queues are deep, and where a model is loaded for them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.policy.loads import ModelLoad, NodeLoad, Reservation
from herd.policy.placement import place
from herd.policy.prewarming import DEEP, FAILED_MOST_S, MAX_LOADED, DeepQueue, LoadOrder, again_after, is_deep, pick
from herd.policy.prospects import Facts, prospect
from herd.policy.values import BreakerState, Circuit, Memory, ModelView, NodeView, Reason
from herd.types import Bytes, Dialect, GiB, NodeId, NodeState, Seconds, Tokens
from tests.policy.views import ASK, CHAT_ONLY, NOW, OPENAI_ONLY, card, model, node

KEY = "llama3.2:3b"
HOT = NodeId("hot")
CAUSE = DeepQueue(KEY, HOT)
QUEUE = NodeLoad(4, models={KEY: ModelLoad(4, 1, NOW.now + 60.0, Seconds(180.0))})


def cold(name: str, *others: ModelView, total: float = 16.0, free: float = 10.0, **fields: Any) -> NodeView:
    """A node that has the model on disk."""
    return node(name, model(gib=4), *others, **{**card(total, free), **fields})


def hot(context: int = 0, **fields: Any) -> NodeView:
    """The node whose queue is deep."""
    return node("hot", model(gib=4, resident=True, context=context), **{**card(16, 10), **fields})


def busy(*models: str, **fields: Any) -> NodeLoad:
    """A node with a ticket for each of these models."""
    return NodeLoad(len(models), models={name: ModelLoad(1, 1, 1010.0) for name in models}, **fields)


def reserved(name: str, gib: float = 1.0) -> dict[str, Any]:
    size = Bytes(int(gib * GiB))
    loading = Reservation(size, Tokens(0), Seconds(1005.0), Seconds(1300.0))
    return {"reservations": {name: loading}, "reserved": size}


def picked(
    *nodes: NodeView, loads: dict[str, NodeLoad] | None = None, first: NodeView | None = None, **named: Any
) -> LoadOrder | None:
    """What is loaded for the deep queue of a fleet."""
    fleet = [prospect(KEY, view, Facts()) for view in (first or hot(), *nodes)]
    held = {NodeId(name): load for name, load in {"hot": QUEUE, **(loads or {})}.items()}
    return pick(CAUSE, fleet, held, NOW, **named)


def where(*nodes: NodeView, **named: Any) -> str | None:
    order = picked(*nodes, **named)
    return order.node if order is not None else None


# --- when ------------------------------------------------------------------------------------------------------------


def deep(waiting: int, limit: int = 1, *nodes: NodeView) -> bool:
    """Whether a queue is, in which so many wait."""
    load = ModelLoad(limit + waiting, limit, NOW.now * limit, Seconds(0.1 * waiting))
    loads = {HOT: NodeLoad(limit + waiting, models={KEY: load})}
    fleet = [prospect(KEY, view, Facts()) for view in (hot(), *nodes)]
    decision = place(ASK, fleet, loads, NOW)
    decision = replace(decision, candidates=tuple(sorted(decision.candidates, key=lambda one: one.node != HOT)))
    return is_deep(decision, load, limit)


@pytest.mark.parametrize("limit", [1, 4])
def test_a_queue_is_deep_when_three_wait_in_it(limit: int) -> None:
    assert [deep(waiting, limit) for waiting in range(DEEP + 2)] == [False, False, False, True, True]


def test_a_queue_is_deep_when_its_wait_is_longer_than_a_load_elsewhere() -> None:
    slow = ModelLoad(2, 1, NOW.now + 500.0, Seconds(1.0))
    fleet = [prospect(KEY, view, Facts()) for view in (hot(), cold("other"))]
    decision = place(ASK, fleet, {HOT: NodeLoad(2, models={KEY: slow})}, NOW)
    first = tuple(sorted(decision.candidates, key=lambda one: one.node != HOT))
    assert is_deep(replace(decision, candidates=first), slow, 1)
    assert not is_deep(replace(decision, candidates=first[:1]), slow, 1)  # there is nowhere else


def test_who_waits_for_a_load_of_its_own_waits_in_no_deep_queue() -> None:
    decision = place(ASK, [prospect(KEY, cold("a"), Facts())], {}, NOW)
    assert not is_deep(decision, ModelLoad(9), 1)


# --- where -----------------------------------------------------------------------------------------------------------


def test_the_model_is_loaded_where_it_is_there_soonest() -> None:
    quick = replace(card(16, 10)["hardware"], bandwidth=2e12)
    order = picked(cold("slow"), cold("fast", hardware=quick))
    assert order is not None
    assert (order.node, order.model, order.key, order.num_ctx) == ("fast", KEY, KEY, None)
    assert order.needed.need >= 4 * GiB


@pytest.mark.parametrize(
    "other",
    [
        cold("other", state=NodeState.DEGRADED),
        cold("other", state=NodeState.PAUSED, reasons=(Reason("meeting", "is in a meeting"),)),
        cold("other", state=NodeState.DRAINING),
        cold("other", breaker=BreakerState(Circuit.HALF_OPEN)),
        node("other", model(gib=4, breaker=BreakerState(Circuit.HALF_OPEN)), **card(16, 10)),
        node("other", model(gib=4, resident=True), **card(16, 10)),
        node("other", replace(model(gib=4), dialects=OPENAI_ONLY, apis=CHAT_ONLY), **card(16, 10)),
        node("other", model("another"), **card(16, 10)),
        cold("other", total=3.0, free=3.0),
        cold("other", memory=Memory()),  # who does not know what it has cannot promise any
        node("other", model(), **card(16, 10)),  # nor can one that does not know what it takes
    ],
    ids=[
        "degraded",
        "paused",
        "draining",
        "link",
        "breaker",
        "resident",
        "openai",
        "absent",
        "small",
        "memory",
        "size",
    ],
)
def test_no_node_is_asked_that_is_not_free_for_it(other: NodeView) -> None:
    assert where(other) is None


def test_one_load_per_node_at_a_time() -> None:
    assert where(cold("other"), loads={"other": NodeLoad(**reserved("another"))}) is None


def test_nodes_to_avoid_and_machines_that_their_owners_want_are_not_asked() -> None:
    assert where(cold("other"), avoid=(NodeId("other"),)) is None
    assert where(cold("other", availability=0.59)) is None
    assert where(cold("other", availability=0.6)) == "other"


def test_nothing_goes_for_it() -> None:
    assert where(cold("other", model("idle", gib=2, resident=True))) == "other"
    assert where(cold("other", model("idle", gib=12, resident=True), free=3.0)) is None
    assert where(cold("other"), loads={"other": NodeLoad(reserved=Bytes(8 * GiB))}) is None
    others = [model(f"m{number}", gib=0.1, resident=True) for number in range(MAX_LOADED)]
    assert where(cold("other", *others[1:])) == "other"
    assert where(cold("other", *others)) is None  # Ollama would make one of them go


def test_a_load_that_comes_too_late_is_none() -> None:
    short = NodeLoad(4, models={KEY: ModelLoad(4, 1, NOW.now + 0.1, Seconds(0.3))})
    assert where(cold("other"), loads={"hot": short}) is None
    assert where(cold("other")) == "other"
    slow = cold("other", hardware=replace(card(16, 10)["hardware"], bandwidth=2e9))
    assert where(slow) is None  # there in time, but slower than the queue


def test_the_model_gets_the_context_that_it_has_where_it_is() -> None:
    asked = picked(cold("other"), first=hot(context=8192))
    assert asked is not None
    assert (asked.num_ctx, asked.needed.context) == (8192, 8192)


def test_a_context_that_its_server_chose_is_left_to_the_other_server_to_choose() -> None:
    order = picked(cold("other", context=Tokens(16384)), first=hot(4096))
    assert order is not None
    assert order.num_ctx is None
    assert order.needed.context == 16384


def test_a_load_that_failed_is_asked_for_again_ever_later() -> None:
    pauses = [float(again_after(failures)) for failures in range(1, 12)]
    assert pauses == sorted(pauses)
    assert pauses[:3] == [120, 240, 480]
    assert pauses[-1] == FAILED_MOST_S


NODES = st.builds(
    lambda name, total, free, taken, state: node(
        name,
        model(gib=4),
        *([model("other", gib=taken, resident=True)] if taken else []),
        state=state,
        **card(total, min(free, total - taken) if total > taken else 0.0),
    ),
    st.sampled_from(["a", "b", "c"]),
    st.floats(1, 32),
    st.floats(0, 32),
    st.sampled_from([0.0, 2.0, 6.0]),
    st.sampled_from([NodeState.READY, NodeState.READY, NodeState.DEGRADED, NodeState.PAUSED]),
)
LOADS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([busy("other"), busy(KEY), NodeLoad(**reserved("third", 3.0)), NodeLoad()]),
)


@settings(max_examples=150)
@given(st.lists(NODES, max_size=3, unique_by=lambda view: view.id), LOADS)
def test_whatever_is_ordered_fits_beside_what_is_there(nodes: list[NodeView], loads: dict[str, NodeLoad]) -> None:
    order = picked(*nodes, loads=loads)
    if order is None:
        return
    view = next(view for view in nodes if view.id == order.node)
    held = loads.get(order.node, NodeLoad())
    taken = sum(seen.size_resident for seen in view.models.values() if seen.resident)
    assert view.state is NodeState.READY
    assert not held.reservations
    assert not view.models[KEY].resident
    assert Dialect.OLLAMA in view.models[KEY].dialects
    assert order.needed.need + taken <= view.memory.total
