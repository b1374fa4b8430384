"""What is known of models beyond the reports of the nodes."""

from dataclasses import replace

import pytest

from herd.actors.homes import Homes
from herd.actors.prospectus import Prospectus, Seen
from herd.policy.memory import Residency
from herd.policy.prospects import Prospect
from herd.policy.values import Hardware, Memory, MemoryKind, ModelView, NodeView
from herd.simulation.clock import LoopClock
from herd.types import BackendId, Bytes, GiB, ModelName, NodeId, Seconds, Tokens
from tests.actors.doubles import view

BIG = ModelView(ModelName("big"), BackendId("ollama"), ("ollama",), Bytes(18 * GiB), apis=("/api/chat",))


def node(name: str, kind: MemoryKind, memory: Memory, model: ModelView = BIG) -> NodeView:
    return replace(view(name, {"big": model}), memory=memory, hardware=Hardware(kind))


def taking(size: int) -> ModelView:
    """In memory, of which it takes so many GiB."""
    return replace(BIG, resident=True, size_resident=Bytes(size * GiB), context=Tokens(4096))


def need_on(name: str, *fleet: NodeView) -> float:
    """GiB that a load is taken to need on a node."""
    prospectus = Prospectus(Homes(LoopClock()))
    for one in fleet:
        prospectus.node_changed(one, Seconds(0.0))
    rows = [row for row in prospectus.of("big", kept=True) if isinstance(row, Prospect)]
    return next(row.need for row in rows if row.node.id == NodeId(name)) / GiB


LAPTOP = node("laptop", MemoryKind.UNIFIED, Memory(Bytes(16 * GiB), Bytes(16 * GiB), Bytes(16 * GiB)))
CARD = Memory(Bytes(12 * GiB), Bytes(0), Bytes(64 * GiB), Bytes(40 * GiB))


def test_what_a_model_takes_on_one_node_is_what_it_needs_on_another() -> None:
    whole = node("desk", MemoryKind.UNIFIED, Memory(Bytes(64 * GiB), Bytes(44 * GiB), Bytes(64 * GiB)), taking(20))
    assert need_on("laptop", LAPTOP) == 18.0
    assert need_on("laptop", LAPTOP, whole) == 20.0


def test_what_a_card_holds_of_a_model_that_lies_partly_in_ram_is_not_what_it_needs() -> None:
    """Else a machine would be asked for a load that is nearly twice what it has."""
    partly = node("gamer", MemoryKind.VIDEO, CARD, taking(11))
    assert need_on("laptop", LAPTOP, partly) == 18.0


def test_what_a_model_took_before_the_router_started_it_takes_still() -> None:
    prospectus = Prospectus(Homes(LoopClock()))
    prospectus.recalled([("big", Residency(Bytes(20 * GiB), Tokens(4096), 1))], ())
    prospectus.node_changed(LAPTOP, Seconds(0.0))
    (row,) = prospectus.of("big", kept=True)
    assert isinstance(row, Prospect)
    assert row.need == 20 * GiB


@pytest.mark.parametrize("seen", [(0, 4096, 1), (20 * GiB, 0, 1), (20 * GiB, 4096, 0), (-20 * GiB, 4096, 1)])
def test_what_no_model_can_have_taken_is_taken_for_nothing(seen: tuple[int, int, int]) -> None:
    size, context, slots = seen
    prospectus = Prospectus(Homes(LoopClock()))
    prospectus.recalled([("big", Residency(Bytes(size), Tokens(context), slots))], ())
    prospectus.node_changed(LAPTOP, Seconds(0.0))
    (row,) = prospectus.of("big", kept=True)
    assert isinstance(row, Prospect)
    assert row.need == 18 * GiB


def test_a_model_that_has_left_the_memory_is_in_the_page_cache_over_a_restart_too() -> None:
    prospectus = Prospectus(Homes(LoopClock()))
    prospectus.recalled((), [((NodeId("laptop"), "big"), Seconds(-60.0))])
    prospectus.node_changed(LAPTOP, Seconds(0.0))
    (row,) = prospectus.of("big", kept=True)
    assert isinstance(row, Prospect)
    assert row.facts.unloaded == -60.0


def test_what_a_change_has_shown_is_told_once() -> None:
    prospectus = Prospectus(Homes(LoopClock()))
    warm, cold = node("desk", MemoryKind.UNIFIED, CARD, taking(20)), node("desk", MemoryKind.UNIFIED, CARD)
    assert prospectus.node_changed(cold, Seconds(0.0)) == Seen(None)
    shown = Residency(Bytes(20 * GiB), Tokens(4096), 1)
    assert prospectus.node_changed(warm, Seconds(1.0)) == Seen(cold, [("big", shown)])
    assert prospectus.node_changed(warm, Seconds(2.0)) == Seen(warm)
    assert prospectus.node_changed(cold, Seconds(3.0)) == Seen(warm, [], [(NodeId("desk"), "big")])


def test_a_model_that_goes_is_expected_to_be_loaded_again_by_the_chance_that_somebody_asks() -> None:
    homes = Homes(LoopClock())
    prospectus = Prospectus(homes)

    def reloads(resident: bool) -> float | None:
        model = taking(10) if resident else BIG
        prospectus.node_changed(replace(LAPTOP, models={"big": model}), Seconds(0.0))
        (row,) = prospectus.of("big", kept=True)
        assert isinstance(row, Prospect)
        return row.facts.reloads.get("big")

    assert reloads(resident=True) is None  # nobody ever asked
    for _ in range(20):
        homes.served("big", NodeId("laptop"), Seconds(0.0))
    often = reloads(resident=True)
    (row,) = prospectus.of("big", kept=True)
    assert isinstance(row, Prospect)
    assert often is not None
    assert 0.0 < often < row.pace.load
    assert reloads(resident=False) is None  # it is not there
