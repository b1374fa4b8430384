"""The Scorer's table of homes: pins, what was served, and who was told to keep what."""

import asyncio
from dataclasses import replace
from typing import Any

from herd.actors.homes import MAX_PINS, Homes, PinEnd
from herd.policy.edits import FOR_EVER
from herd.policy.homes import FORGOTTEN_S, HALF_LIFE_S
from herd.policy.prewarming import KEEP_ALIVE_S
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.values import Eliminated, ModelView, NodeView
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.store.records import KnownKeep, KnownService, Pin
from herd.types import NodeId, NodeState, Seconds
from tests.actors.doubles import Witness
from tests.policy.views import card, model, node

A, B = NodeId("a"), NodeId("b")
KEY = "llama3.2:3b"
START = Seconds(0.0)


class Fleet:
    """Nodes as the homes see them; each has a GPU of 16 GiB."""

    def __init__(self, **nodes: tuple[ModelView, ...]) -> None:
        self.views: dict[NodeId, NodeView] = {}
        for name, models in nodes.items():
            self.views[NodeId(name)] = node(name, *models, **card(16, 16))

    def look(self, key: str) -> list[Prospect | Eliminated]:
        return [prospect(key, view, Facts()) for view in self.views.values()]

    def orders(self, homes: Homes, now: float = 0.0, *avoid: tuple[str, NodeId]) -> list[tuple[str, str, int]]:
        homes.settle(self.views, self.look, Seconds(now))
        return [(order.key, order.node, order.keep_alive) for order in homes.orders(self.look, {}, avoid)]


COLD, WARM = model(gib=4), model(gib=4, resident=True, context=4096)


def served(*nodes: NodeId) -> Homes:
    """A model that these nodes have served, in this order."""
    homes = Homes(LoopClock())
    for name in nodes:
        homes.served(KEY, name, START)
    return homes


def test_a_model_is_loaded_where_it_is_served_and_asked_for_once() -> None:
    fleet, homes = Fleet(a=(COLD,), b=(COLD,)), served(A, A, B)
    assert fleet.orders(homes) == [(KEY, "a", FOR_EVER)]
    homes.told(KEY, A, FOR_EVER)
    warm = Fleet(a=(WARM,), b=(COLD,))
    homes.seen(warm.views[A])
    assert warm.orders(homes) == []
    homes.seen(fleet.views[A])  # somebody unloaded it
    assert fleet.orders(homes) == [(KEY, "a", FOR_EVER)]


def test_a_home_that_moves_is_let_go() -> None:
    homes = served(A)
    fleet = Fleet(a=(WARM,), b=(WARM,))
    fleet.orders(homes)
    homes.told(KEY, A, FOR_EVER)
    for _ in range(3):
        homes.served(KEY, B, START)
    assert sorted(fleet.orders(homes)) == [(KEY, "a", KEEP_ALIVE_S), (KEY, "b", FOR_EVER)]
    homes.told(KEY, A, KEEP_ALIVE_S)
    homes.told(KEY, B, FOR_EVER)
    assert fleet.orders(homes) == []


def test_what_nobody_asks_for_is_let_go_after_a_day() -> None:
    homes, fleet = served(A), Fleet(a=(WARM,))
    fleet.orders(homes)
    homes.told(KEY, A, FOR_EVER)
    assert fleet.orders(homes, FORGOTTEN_S + 1) == [(KEY, "a", KEEP_ALIVE_S)]


def test_of_each_node_one_thing_is_asked_at_a_time() -> None:
    homes, fleet = served(A), Fleet(a=(COLD, model("other", gib=4)))
    homes.served("other", A, START)
    assert len(fleet.orders(homes)) == 1
    assert fleet.orders(homes, 0.0, ("", A)) == []  # it is busy
    assert fleet.orders(homes, 0.0, (KEY, A)) == [("other", "a", FOR_EVER)]  # it has failed with the one


def test_a_pin_gives_a_model_that_nobody_asks_for_a_home() -> None:
    homes, fleet = Homes(LoopClock()), Fleet(a=(COLD,))
    assert homes.pin(KEY) is PinEnd.DONE
    assert homes.pins == {KEY: ""}
    assert fleet.orders(homes) == [(KEY, "a", FOR_EVER)]
    assert (homes.pins, homes.pinned_at(A), homes.pinned_at(B)) == ({KEY: A}, (KEY,), ())
    homes.told(KEY, A, FOR_EVER)
    assert homes.unpin(KEY) is PinEnd.DONE
    assert homes.unpin(KEY) is PinEnd.UNKNOWN
    assert Fleet(a=(WARM,)).orders(homes) == [(KEY, "a", KEEP_ALIVE_S)]


def test_a_pin_is_remembered_with_its_home() -> None:
    homes, fleet = served(A, A, A), Fleet(a=(COLD,), b=(COLD,))
    homes.recalled([Pin(KEY, B)], (), ())
    fleet.orders(homes)
    assert homes.of(KEY) == B


def test_pins_have_a_bound() -> None:
    homes = Homes(LoopClock())
    assert all(homes.pin(f"m{number}") is PinEnd.DONE for number in range(MAX_PINS))
    assert homes.pin("one-more") is PinEnd.FULL
    assert homes.pin("m0") is PinEnd.DONE  # it is there already


# --- over a restart ---------------------------------------------------------------------------------------------------


@virtual_time
async def test_who_served_and_keeps_what_is_told_to_the_store_and_recalled() -> None:
    store: Any = remote(Witness).remote()
    homes, fleet = Homes(LoopClock(), store), Fleet(a=(WARM,), b=(WARM,))
    for name in (A, B, B):
        homes.served(KEY, name, Seconds(0.0))
    homes.told(KEY, A, FOR_EVER)
    homes.told(KEY, B, FOR_EVER)
    homes.told(KEY, A, KEEP_ALIVE_S)
    await asyncio.sleep(HALF_LIFE_S)
    told = [one for _, args in await store.heard.remote() for one in args]
    services = {(one.node, one.model): one for one in told if isinstance(one, KnownService)}
    keeps = {(one.node, one.model): one for one in told if isinstance(one, KnownKeep)}

    again = Homes(LoopClock())
    again.recalled((), services.values(), keeps.values())
    assert fleet.orders(again, HALF_LIFE_S) == []  # b is its home, and keeps it
    for _ in range(2):
        again.served(KEY, A, Seconds(HALF_LIFE_S))  # as often as b, whose services count half by now
    assert sorted(fleet.orders(again, HALF_LIFE_S)) == [(KEY, "a", FOR_EVER), (KEY, "b", KEEP_ALIVE_S)]
    await stop(store)


@virtual_time
async def test_what_is_kept_has_its_home_there_still_though_another_has_served_a_little_more_since() -> None:
    services = [KnownService(A, KEY, 4.0, Seconds(EPOCH)), KnownService(B, KEY, 5.0, Seconds(EPOCH))]
    keeps = [KnownKeep(B, KEY, True, Seconds(EPOCH - 60)), KnownKeep(A, KEY, True, Seconds(EPOCH))]
    homes, fleet = Homes(LoopClock()), Fleet(a=(WARM,), b=(WARM,))
    homes.recalled((), services, keeps)
    assert fleet.orders(homes) == [(KEY, "b", KEEP_ALIVE_S)]
    homes.recalled([Pin(KEY, B)], services, keeps)
    assert fleet.orders(homes) == [(KEY, "a", KEEP_ALIVE_S)]  # a person said so


def test_a_node_that_is_away_says_nothing_of_what_it_keeps() -> None:
    fleet, homes = Fleet(a=(WARM,)), served(A)
    fleet.orders(homes)
    homes.told(KEY, A, FOR_EVER)
    for state in (NodeState.OFFLINE, NodeState.JOINING):
        homes.seen(replace(fleet.views[A], state=state, models={}))
    assert fleet.orders(homes) == []
