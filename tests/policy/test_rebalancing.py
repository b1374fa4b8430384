"""Who is moved from one queue to another, and who stays."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.policy.loads import ModelLoad, NodeLoad, Reservation
from herd.policy.prospects import Prospect
from herd.policy.rebalancing import (
    MARGIN_S,
    MAX_MOVES,
    MAX_TARGETS,
    SETTLED_S,
    Waiter,
    Waits,
    better_place,
    clearly_sooner,
    in_turn,
    targets,
    waits,
    worth_a_look,
)
from herd.policy.scoring import Moment
from herd.policy.values import (
    Ask,
    BreakerState,
    Circuit,
    Eliminated,
    NodeView,
    Reason,
    Ticket,
)
from herd.types import Api, Bytes, NodeId, NodeName, NodeState, Priority, Seconds, TicketId, Tokens
from tests.policy.views import ASK, NOW, looked_at, model, node

KEY = ASK.model
HERE = NodeId("here")
SECONDS = st.floats(0.0, 1000.0)
WAITS = st.builds(Waits, SECONDS, SECONDS)


def having(name: str, *, state: NodeState = NodeState.READY, **fields: object) -> NodeView:
    return node(name, model(resident=True, context=8192, gib=2.0, **fields), state=state)  # type: ignore[arg-type]


def held(*, running: float = 0.0, waiting: float = 0.0, outstanding: int = 1, **fields: object) -> NodeLoad:
    """One runs, for so many seconds more, and others wait, with so many seconds of work."""
    load = ModelLoad(outstanding, 1, NOW.now + running, Seconds(waiting))
    return NodeLoad(outstanding, models={KEY: load}, **fields)  # type: ignore[arg-type]


def waiter(
    number: int, *, work: float = 1.0, since: float = 0.0, moves: int = 0, priority: Priority = Priority.INTERACTIVE
) -> Waiter:
    ticket = Ticket(TicketId(f"t{number}"), "client", Seconds(number), priority)
    return Waiter(ticket, ASK, Seconds(work), Seconds(since), moves)


@given(here=WAITS, there=WAITS)
def test_a_move_is_worth_it_or_it_is_not_made(here: Waits, there: Waits) -> None:
    if clearly_sooner(here, there):
        assert here.wait - there.wait > MARGIN_S
        assert there.wait < here.wait / 2
        assert there.wait + there.work <= here.wait + here.work


@given(here=WAITS, there=WAITS)
def test_nobody_is_moved_to_and_fro(here: Waits, there: Waits) -> None:
    assert not (clearly_sooner(here, there) and clearly_sooner(there, here))


@pytest.mark.parametrize(
    ("here", "there", "moves"),
    [
        (Waits(10.0, 5.0), Waits(0.0, 5.0), True),
        (Waits(1.9, 5.0), Waits(0.0, 5.0), False),  # too little to gain
        (Waits(30.0, 5.0), Waits(20.0, 5.0), False),  # not half as long
        (Waits(10.0, 5.0), Waits(0.0, 60.0), False),  # it would begin sooner, and end later
    ],
)
def test_what_is_clearly_sooner(here: Waits, there: Waits, moves: bool) -> None:
    assert clearly_sooner(here, there) is moves


def test_those_that_wait_start_one_after_another() -> None:
    here = looked_at(having("here"))
    line = [waiter(number, work=2.0) for number in range(3)]
    assert [one.wait for one in waits(held(running=5.0, outstanding=4), here, line, NOW.now)] == [5.0, 7.0, 9.0]


def test_two_at_once_halve_the_wait_and_another_model_doubles_it() -> None:
    two = looked_at(having("here", limit=2))
    line = [waiter(1), waiter(2)]
    assert [one.wait for one in waits(held(running=8.0), two, line, NOW.now)] == [4.0, 4.5]
    load = held(running=8.0)
    shared = replace(load, models={**load.models, "other": ModelLoad(1)})
    assert [one.wait for one in waits(shared, two, line, NOW.now)] == [8.0, 9.0]


def test_a_load_under_way_is_waited_for_too() -> None:
    loading = {KEY: Reservation(Bytes(1), Tokens(0), Seconds(NOW.now + 6.0), Seconds(NOW.now + 300.0))}
    line = [waiter(1)]
    assert waits(held(reservations=loading), looked_at(having("here")), line, NOW.now)[0].wait == 6.0


@given(works=st.lists(st.floats(0.0, 100.0), max_size=8), running=SECONDS, limit=st.integers(1, 4))
@settings(max_examples=50)
def test_the_wait_grows_along_the_line_and_the_last_one_waits_for_all(
    works: list[float], running: float, limit: int
) -> None:
    line = [waiter(number, work=work) for number, work in enumerate([*works, 0.0])]
    load = held(running=running, waiting=sum(works), outstanding=limit + len(works))
    found = [one.wait for one in waits(load, looked_at(having("here", limit=limit)), line, NOW.now)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(load.models[KEY].ahead(limit, NOW.now), abs=1e-6)


def test_interactive_tickets_are_before_batch_and_older_ones_before_newer() -> None:
    line = [waiter(1, priority=Priority.BATCH), waiter(3), waiter(2), waiter(0, priority=Priority.BATCH)]
    assert [one.ticket.id for one in in_turn(line)] == ["t2", "t3", "t0", "t1"]


def test_whoever_has_just_come_or_was_moved_twice_stays() -> None:
    now = Seconds(100.0)
    assert waiter(1, since=now - SETTLED_S).movable(now)
    assert not waiter(1, since=now - SETTLED_S / 2).movable(now)
    assert waiter(1, moves=MAX_MOVES - 1).movable(now)
    assert not waiter(1, moves=MAX_MOVES).movable(now)


def test_only_nodes_without_reserve_that_have_the_model_in_memory_are_moved_to() -> None:
    open_ = BreakerState(Circuit.HALF_OPEN, 3, Seconds(0.0), Seconds(5.0))
    rows: list[Prospect | Eliminated] = [
        Eliminated(NodeId("away"), NodeName("away"), Reason("offline", "is offline")),
        looked_at(having("here")),
        looked_at(having("there")),
        looked_at(node("on-disk", model(gib=2.0))),
        looked_at(having("silent", state=NodeState.DEGRADED)),
        looked_at(having("tried", breaker=open_)),
    ]
    assert [one.node.id for one in targets(HERE, rows, {}, NOW.now)] == ["there"]


def test_of_many_nodes_those_with_the_shortest_waits_are_compared() -> None:
    names = [f"n{number:02}" for number in range(2 * MAX_TARGETS)]
    rows = [looked_at(having(name)) for name in names]
    loads = {NodeId(name): held(running=100.0 - place) for place, name in enumerate(names)}
    found = [one.node.id for one in targets(HERE, rows, loads, NOW.now)]
    assert found == list(reversed(names))[:MAX_TARGETS]


def test_the_better_place_is_the_best_of_those_that_are_clearly_sooner() -> None:
    rows = [looked_at(having(name)) for name in ("a", "b", "c")]
    loads = {NodeId("a"): held(running=1.0), NodeId("c"): held(running=50.0)}
    found = better_place(ASK, Waits(20.0, 500.0), rows, loads, NOW)
    assert found is not None
    assert (found.node, found.load, len(found.points)) == ("b", None, 10)
    assert better_place(ASK, Waits(1.0, 500.0), rows, loads, NOW) is None


@pytest.mark.parametrize(
    "ask",
    [
        Ask(KEY, Api.MESSAGES),
        replace(ASK, num_ctx=Tokens(100_000)),  # a load, for a larger context
        replace(ASK, excluded=(NodeId("there"),)),
    ],
    ids=["dialect", "context", "excluded"],
)
def test_a_node_that_cannot_serve_it_as_it_stands_is_no_better_place(ask: Ask) -> None:
    assert better_place(ASK, Waits(20.0, 500.0), [looked_at(having("there"))], {}, NOW) is not None
    assert better_place(ask, Waits(20.0, 500.0), [looked_at(having("there"))], {}, NOW) is None


def test_a_model_that_is_asked_to_make_room_or_is_loaded_anew_is_not_moved_to() -> None:
    reloading = Reservation(Bytes(1), Tokens(16_384), NOW.now, Seconds(NOW.now + 300.0))
    for load in (NodeLoad(leaving=True), NodeLoad(reservations={KEY: reloading})):
        loads = {NodeId("there"): load}
        assert better_place(ASK, Waits(20.0, 500.0), [looked_at(having("there"))], loads, NOW) is None


@given(
    busy=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=4),
    wait=st.floats(0.0, 60.0),
    answer=st.floats(1.0, 500.0),
)
@settings(max_examples=50)
def test_whatever_the_loads_a_move_never_loads_a_model_and_is_always_worth_it(
    busy: list[float], wait: float, answer: float
) -> None:
    rows = [looked_at(having(f"n{number}")) for number in range(len(busy))]
    loads = {NodeId(f"n{number}"): held(running=seconds) for number, seconds in enumerate(busy)}
    here = Waits(wait, 10.0)
    found = better_place(ASK, here, rows, loads, Moment(NOW.now, answer=answer))
    if found is not None:
        assert found.load is None
        assert clearly_sooner(here, Waits(found.wait, found.work))


def test_it_is_worth_a_look_when_a_node_is_back_or_a_model_has_come_into_its_memory() -> None:
    there, cold = having("a"), node("a", model())
    assert worth_a_look(None, there)
    assert worth_a_look(having("a", state=NodeState.PAUSED), there)
    assert worth_a_look(cold, there)
    assert not worth_a_look(there, there)
    assert not worth_a_look(there, cold)
    assert not worth_a_look(None, cold)
    assert not worth_a_look(cold, having("a", state=NodeState.DRAINING))
