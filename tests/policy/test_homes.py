"""Where models live, and what has to be asked of nodes so that they stay there."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.policy.edits import FOR_EVER
from herd.policy.homes import (
    FORGOTTEN_S,
    HALF_LIFE_S,
    HYSTERESIS,
    MOST_HOMES,
    Served,
    Tenant,
    chance,
    keeping,
    letting_go,
    settle,
)
from herd.policy.loads import NO_LOAD, ModelLoad, NodeLoad, Reservation
from herd.policy.prewarming import KEEP_ALIVE_S
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.values import Hardware, Memory, MemoryKind, ModelView, NodeView
from herd.types import Bytes, GiB, NodeId, NodeState, Seconds, Tokens
from tests.policy.views import CHAT_ONLY, OPENAI_ONLY, card, looked_at, model, node

NOW = Seconds(100_000.0)
KEY = "llama3.2:3b"


def machine(name: str, *models: ModelView, total: float = 16.0, free: float = 16.0, **fields: Any) -> NodeView:
    return node(name, *models, **{**card(total, free), **fields})


def tenant(
    key: str, fleet: list[NodeView], counts: dict[str, float], *, home: str | None = None, pinned: bool = False
) -> Tenant:
    """A model of these nodes, so often served by each just now."""
    found = [prospect(key, view, Facts()) for view in fleet if key in view.models]
    served = {NodeId(name): Served(count, NOW) for name, count in counts.items()}
    lives = NodeId(home) if home is not None else None
    return Tenant(key, tuple(one for one in found if isinstance(one, Prospect)), served, lives, pinned)


def homes(fleet: list[NodeView], *tenants: Tenant, now: Seconds = NOW) -> dict[str, NodeId]:
    return settle(tenants, {view.id: view for view in fleet}, now)


# --- which node -------------------------------------------------------------------------------------------------------


def test_the_home_is_the_node_that_serves_the_model_most() -> None:
    fleet = [machine("a", model(gib=4)), machine("b", model(gib=4))]
    assert homes(fleet, tenant(KEY, fleet, {"a": 3, "b": 5})) == {KEY: "b"}


def test_a_service_counts_half_after_three_hours() -> None:
    once = Served().again(Seconds(0.0))
    assert once.weight_at(Seconds(HALF_LIFE_S)) == 0.5
    assert once.again(Seconds(HALF_LIFE_S)).weight == 1.5


def test_a_home_does_not_move_back_and_forth() -> None:
    fleet = [machine("a", model(gib=4)), machine("b", model(gib=4))]
    near, far = {"a": 10, "b": 10 * HYSTERESIS - 0.1}, {"a": 10, "b": 10 * HYSTERESIS + 0.1}
    assert homes(fleet, tenant(KEY, fleet, near, home="a")) == {KEY: "a"}
    assert homes(fleet, tenant(KEY, fleet, far, home="a")) == {KEY: "b"}


def test_a_slow_machine_does_not_stay_a_home_because_it_is_one() -> None:
    slow = machine("slow", model(gib=4, resident=True, context=4096), hardware=Hardware(MemoryKind.VIDEO, 90e9))
    fleet = [slow, machine("fast", model(gib=4))]
    assert homes(fleet, tenant(KEY, fleet, {"slow": 30, "fast": 10}, home="slow")) == {KEY: "fast"}
    assert homes(fleet, tenant(KEY, fleet, {"slow": 30}, home="slow")) == {KEY: "slow"}  # nobody else has served it


def test_models_live_together_only_where_they_fit_together() -> None:
    fleet = [machine("a", model("x", gib=9), model("y", gib=9)), machine("b", model("y", gib=9))]
    x, y = tenant("x", fleet, {"a": 9}), tenant("y", fleet, {"a": 5, "b": 1})
    assert homes(fleet, x, y) == {"x": "a", "y": "b"}
    assert homes(fleet[:1], x, tenant("y", fleet[:1], {"a": 5})) == {"x": "a"}  # who is asked for less has none


def test_a_model_that_needs_the_memory_a_little_more_does_not_take_it() -> None:
    fleet = [machine("a", model("x", gib=9), model("y", gib=9))]
    assert homes(fleet, tenant("x", fleet, {"a": 9}, home="a"), tenant("y", fleet, {"a": 10})) == {"x": "a"}
    assert homes(fleet, tenant("x", fleet, {"a": 9}, home="a"), tenant("y", fleet, {"a": 20})) == {"y": "a"}


def test_the_owners_ceiling_bounds_what_lives_on_a_machine() -> None:
    memory = Memory(Bytes(16 * GiB), Bytes(16 * GiB), Bytes(16 * GiB))
    shared: dict[str, Any] = {"memory": memory, "hardware": Hardware(MemoryKind.UNIFIED, 100e9)}
    fleet = [node("a", model("x", gib=15), **shared)]
    assert homes(fleet, tenant("x", fleet, {"a": 9}, home="a")) == {}  # 90 % of 16 GiB are less than 15
    fleet = [node("a", model("x", gib=14), **shared)]
    assert homes(fleet, tenant("x", fleet, {"a": 9})) == {"x": "a"}


def test_no_more_models_live_on_a_node_than_ollama_keeps_loaded() -> None:
    names = [f"m{number}" for number in range(MOST_HOMES + 1)]
    fleet = [machine("a", *(model(name, gib=1) for name in names))]
    lodgers = [tenant(name, fleet, {"a": 10 - number}) for number, name in enumerate(names)]
    assert list(homes(fleet, *lodgers)) == names[:MOST_HOMES]


def test_what_nobody_has_asked_for_in_a_day_is_let_go() -> None:
    fleet = [machine("a", model(gib=4))]
    lodger = tenant(KEY, fleet, {"a": 100}, home="a")
    assert homes(fleet, lodger, now=Seconds(NOW + FORGOTTEN_S)) == {KEY: "a"}
    assert homes(fleet, lodger, now=Seconds(NOW + FORGOTTEN_S + 1)) == {}


def test_only_ollama_keeps_models() -> None:
    other = ModelView(model(KEY).name, model().backend, OPENAI_ONLY, Bytes(4 * GiB), apis=CHAT_ONLY)
    fleet = [machine("a", other)]
    assert homes(fleet, tenant(KEY, fleet, {"a": 9})) == {}


def test_a_pinned_model_has_a_home_though_nobody_asks_for_it() -> None:
    fleet = [machine("small", model(gib=4), total=3.0), machine("b", model(gib=4))]
    assert homes(fleet, tenant(KEY, fleet, {}, pinned=True)) == {KEY: "b"}
    crowd = [tenant(name, fleet, {"b": 99}) for name in ("x", "y")]
    assert homes(fleet, *crowd, tenant(KEY, fleet, {}, pinned=True))[KEY] == "b"


def test_a_pinned_model_never_leaves_its_home() -> None:
    fleet = [machine("a", model(gib=4)), machine("b", model(gib=4))]
    assert homes(fleet, tenant(KEY, fleet, {"a": 1, "b": 99}, home="a", pinned=True)) == {KEY: "a"}
    away = [machine("a", model(gib=4), state=NodeState.OFFLINE), fleet[1]]
    assert homes(away, tenant(KEY, away, {"b": 99}, home="a", pinned=True)) == {KEY: "a"}
    deleted = [machine("a"), fleet[1]]
    assert homes(deleted, tenant(KEY, deleted, {"b": 99}, home="a", pinned=True)) == {KEY: "b"}


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.floats(4, 32), st.integers(0, 3)), min_size=1, max_size=3),
    st.lists(st.tuples(st.floats(1, 20), st.floats(0.1, 50)), min_size=1, max_size=5),
    st.booleans(),
)
def test_what_lives_on_a_node_fits_it_and_moves_only_for_a_reason(
    nodes: list[tuple[float, int]], models: list[tuple[float, float]], pinned: bool
) -> None:
    names = [f"m{number}" for number in range(len(models))]
    on_disk = [model(name, gib=size) for name, (size, _) in zip(names, models, strict=True)]
    fleet = [machine(f"n{number}", *on_disk, total=total) for number, (total, _) in enumerate(nodes)]
    counts = {f"n{number}": float(served) for number, (_, served) in enumerate(nodes)}

    def lodgers(before: dict[str, NodeId]) -> list[Tenant]:
        return [
            tenant(
                name,
                fleet,
                {node: count * weight for node, count in counts.items()},
                home=before.get(name),
                pinned=pinned and number == 0,
            )
            for number, (name, (_, weight)) in enumerate(zip(names, models, strict=True))
        ]

    first = homes(fleet, *lodgers({}))
    for view in fleet:
        there = sum(view.models[name].size for name, lives in first.items() if lives == view.id)
        assert there <= view.memory.total
    assert homes(fleet, *lodgers(first)) == first  # nothing has changed


# --- what is asked ----------------------------------------------------------------------------------------------------


def test_a_model_is_loaded_at_its_home_when_memory_is_free() -> None:
    order = keeping(looked_at(machine("a", model(gib=4))), NO_LOAD, kept=False)
    assert order is not None
    assert (order.node, order.key, order.num_ctx, order.keep_alive) == ("a", KEY, None, FOR_EVER)
    assert order.needed.need >= 4 * GiB


def test_nobody_has_to_go_for_it() -> None:
    crowded = machine("a", model(gib=4), model("idle", gib=14, resident=True), free=2.0)
    assert keeping(looked_at(crowded), NO_LOAD, kept=False) is None
    size = Bytes(14 * GiB)
    loading = Reservation(size, Tokens(0), Seconds(0.0), Seconds(9.0))
    load = NodeLoad(reservations={"idle": loading}, reserved=size)
    assert keeping(looked_at(machine("a", model(gib=4))), load, kept=False) is None


def test_a_model_that_is_there_is_kept_with_the_context_it_has() -> None:
    there = looked_at(machine("a", model(gib=4, resident=True, context=8192)))
    busy = NodeLoad(1, models={KEY: ModelLoad(1)})
    order = keeping(there, busy, kept=False)
    assert order is not None
    assert (order.num_ctx, order.keep_alive, order.needed.takes) == (8192, FOR_EVER, 0.0)
    assert keeping(there, busy, kept=True) is None
    unknown = looked_at(machine("a", model(gib=4, resident=True)))
    assert keeping(unknown, NO_LOAD, kept=False) is None  # it might be loaded anew


def test_what_has_lost_its_home_stays_for_as_long_as_any_model() -> None:
    there = looked_at(machine("a", model(gib=4, resident=True, context=8192)))
    order = letting_go(there, NO_LOAD)
    assert order is not None
    assert (order.num_ctx, order.keep_alive) == (8192, KEEP_ALIVE_S)
    assert letting_go(looked_at(machine("a", model(gib=4))), NO_LOAD) is None


def test_a_node_that_takes_no_requests_is_asked_nothing() -> None:
    view = machine("a", model(gib=4), state=NodeState.DEGRADED)
    assert keeping(prospect(KEY, view, Facts()), NO_LOAD, kept=False) is None
    assert keeping(None, NO_LOAD, kept=False) is None
    assert letting_go(None, NO_LOAD) is None


def test_the_chance_that_a_model_is_asked_for_again_follows_from_how_often_it_was() -> None:
    def once_in(seconds: float) -> float:
        served = Served()
        for number in range(2000):
            served = served.again(Seconds(number * seconds))
        return chance(served, served.at)

    assert chance(Served(), NOW) == 0.0
    # At a steady rate: one or more of a Poisson process within the time that Ollama keeps a model.
    for seconds in (100.0, 1000.0, 5000.0):
        assert once_in(seconds) == pytest.approx(1.0 - math.exp(-KEEP_ALIVE_S / seconds), abs=0.05)
    assert chance(Served(5.0, NOW), Seconds(NOW + HALF_LIFE_S)) < chance(Served(5.0, NOW), NOW)
