"""The ledger: what is held against the nodes, whatever is placed, begun, ended and loaded."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.actors.ledger import Ledger
from herd.policy.loads import ABANDONED_S, RESERVED_S, NodeLoad
from herd.policy.values import SIGNALS, Ask, Candidate, ModelView, NeededLoad, NodeView, Ticket
from herd.types import Api, BackendId, Bytes, ModelName, NodeId, NodeName, NodeState, Seconds, TicketId, Tokens

A, B = NodeId("a"), NodeId("b")
ASK = Ask("m", Api.OLLAMA_CHAT)
LOAD = NeededLoad(Tokens(4096), Bytes(100), 5.0)


def candidate(node: NodeId = A, *, work: float = 10.0, load: NeededLoad | None = None) -> Candidate:
    points = (0.0,) * len(SIGNALS)
    return Candidate(node, NodeName(node), ModelName("m"), BackendId("o"), points, 0.0, work=work, load=load)


def seen(*, resident: bool = True, context: int = 4096, node: NodeId = A) -> NodeView:
    """The node's report of the model."""
    model = ModelView(ModelName("m"), BackendId("o"), apis=("/api/chat",), resident=resident, context=Tokens(context))
    return NodeView(node, NodeName(node), NodeState.READY, {"m": model})


def ticket(number: int) -> TicketId:
    return TicketId(f"t{number}")


def whole(number: int) -> Ticket:
    return Ticket(ticket(number), "client", Seconds(0.0))


def placed(ledger: Ledger, number: int, now: float = 0.0, **fields: object) -> None:
    ledger.place(whole(number), ASK, candidate(**fields), Seconds(now))  # type: ignore[arg-type]


def ahead(ledger: Ledger, now: float, limit: int = 1) -> float:
    return ledger.loads[A].models["m"].ahead(limit, Seconds(now))


def test_work_runs_down_once_it_has_begun() -> None:
    ledger = Ledger()
    placed(ledger, 1)
    placed(ledger, 2)
    assert ahead(ledger, 100.0) == 20.0  # nothing has begun
    ledger.start(ticket(1), A, Seconds(100.0))
    assert ahead(ledger, 104.0) == 16.0
    assert ahead(ledger, 500.0) == 10.0  # the first takes longer than expected; the second is still to come
    assert ahead(ledger, 104.0, limit=2) == 8.0
    assert ahead(ledger, 104.0, limit=3) == 0.0


def test_who_has_ended_leaves_nothing_behind() -> None:
    ledger = Ledger()
    placed(ledger, 1)
    ledger.start(ticket(1), A, Seconds(1.0))
    entry = ledger.release(ticket(1), Seconds(2.0))
    assert entry is not None
    assert (entry.node, entry.model) == (A, "m")
    assert ledger.release(ticket(1), Seconds(2.0)) is None
    assert (ledger.loads[A].outstanding, ledger.loads[A].models) == (0, {})
    ledger.start(ticket(1), A, Seconds(3.0))  # told late
    assert ledger.loads[A].models == {}


def test_a_load_is_reserved_once_for_all_who_wait_for_it() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=LOAD)
    placed(ledger, 2)
    assert (ledger.loads[A].reserved, list(ledger.loads[A].reservations)) == (100, ["m"])
    assert ledger.loads[A].reservations["m"].done == 5.0


RUN = LOAD._replace(per_request=True)  # of a program that is run for each request


def run(*, resident: bool) -> NodeView:
    """The node's report, while such a program runs there or not."""
    view = seen(resident=resident)
    return replace(view, models={"m": replace(view.models["m"], kind="mflux", size=Bytes(100))})


def test_what_is_run_for_one_request_holds_no_memory_when_that_has_ended() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=RUN)
    ledger.start(ticket(1), A, Seconds(0.0))
    assert ledger.loads[A].reserved == 100
    ledger.release(ticket(1), Seconds(1.0))  # before any heartbeat has shown it
    assert (ledger.loads[A].reserved, ledger.next_expiry()) == (0, None)


def test_memory_is_held_for_the_next_run_when_one_has_ended() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=RUN)
    placed(ledger, 2)
    ledger.start(ticket(1), A, Seconds(0.0))
    assert ledger.settle(run(resident=True), Seconds(2.0))
    assert ledger.loads[A].reserved == 0  # what the program takes is measured
    ledger.release(ticket(1), Seconds(20.0))
    ledger.settle(run(resident=False), Seconds(20.5))
    assert ledger.loads[A].reserved == 0  # nobody runs it yet
    ledger.start(ticket(2), A, Seconds(21.0))
    ledger.settle(run(resident=False), Seconds(21.5))
    ledger.settle(run(resident=False), Seconds(22.0))
    assert ledger.loads[A].reserved == 100
    ledger.settle(run(resident=True), Seconds(23.0))
    assert ledger.loads[A].reserved == 0
    ledger.settle(run(resident=False), Seconds(40.0))
    ledger.release(ticket(2), Seconds(40.5))
    assert ledger.loads[A].reserved == 0


@pytest.mark.parametrize(
    ("view", "over"),
    [
        (seen(), True),
        (seen(context=8192), True),
        (seen(context=2048), False),  # it is the smaller one that it had before
        (seen(resident=False), False),
        (replace(seen(), models={}), True),  # it is not even on disk any more
    ],
    ids=["resident", "with a larger context", "with a smaller context", "on disk", "deleted"],
)
def test_the_report_that_shows_the_model_ends_its_reservation(view: NodeView, *, over: bool) -> None:
    ledger = Ledger()
    ledger.place(whole(1), replace(ASK, num_ctx=Tokens(4096)), candidate(load=LOAD), Seconds(0.0))
    assert ledger.settle(view, Seconds(1.0)) is over
    assert ledger.loads[A].reserved == (0 if over else 100)


def test_a_load_whose_context_is_up_to_the_server_is_over_when_the_model_is_there_whatever_was_expected() -> None:
    """An older Ollama loads with less than the newest one would, and says so nowhere."""
    ledger = Ledger()
    placed(ledger, 1, load=LOAD)
    assert not ledger.settle(seen(resident=False), Seconds(1.0))
    assert ledger.settle(seen(context=2048), Seconds(2.0))
    assert ledger.loads[A].reserved == 0


def test_a_reservation_ends_by_itself_and_sooner_when_nobody_waits_for_it() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=LOAD)
    assert ledger.next_expiry() == RESERVED_S
    ledger.release(ticket(1), Seconds(3.0))
    assert ledger.next_expiry() == 3.0 + ABANDONED_S
    assert not ledger.settle(seen(resident=False), Seconds(12.9))
    assert ledger.settle(seen(resident=False), Seconds(13.0))
    assert ledger.next_expiry() is None


def test_a_load_that_failed_holds_nothing() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=LOAD)
    placed(ledger, 2)
    ledger.release(ticket(1), Seconds(3.0), failed=True)
    assert ledger.loads[A].reserved == 100  # somebody else still waits
    ledger.release(ticket(2), Seconds(3.0), failed=True)
    assert ledger.loads[A].reserved == 0


def test_what_has_to_make_room_is_leaving_until_the_load_is_there() -> None:
    ledger = Ledger()
    placed(ledger, 1, load=LOAD._replace(evicts_busy=True))
    assert ledger.loads[A].leaving
    ledger.settle(seen(), Seconds(9.0))
    assert not ledger.loads[A].leaving


@dataclass
class Held:
    node: NodeId
    model: str
    work: float
    started: float | None = None


class LedgerMachine(RuleBasedStateMachine):
    """Against the plain list of what has been placed and has not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.held: dict[TicketId, Held] = {}
        self.now = 0.0

    @rule(
        number=st.integers(0, 9),
        node=st.sampled_from((A, B)),
        model=st.sampled_from("mn"),
        work=st.integers(1, 9),
        loads=st.booleans(),
    )
    def place(self, number: int, node: NodeId, model: str, work: int, *, loads: bool) -> None:
        self.release(number, failed=False)
        chosen = candidate(node, work=work, load=LOAD if loads else None)
        self.ledger.place(whole(number), replace(ASK, model=model), chosen, Seconds(self.now))
        self.held[ticket(number)] = Held(node, model, work)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), node=st.sampled_from((A, B)))
    def start(self, data: st.DataObject, node: NodeId) -> None:
        number = data.draw(st.sampled_from(sorted(self.held)))
        self.ledger.start(number, node, Seconds(self.now))
        if self.held[number].started is None:
            self.held[number].started = self.now
            self.held[number].node = node  # whatever was thought of it before

    @precondition(lambda self: any(held.started is None for held in self.held.values()))
    @rule(data=st.data(), node=st.sampled_from((A, B)), work=st.integers(1, 9))
    def move(self, data: st.DataObject, node: NodeId, work: int) -> None:
        waiting = sorted(number for number, held in self.held.items() if held.started is None)
        number = data.draw(st.sampled_from(waiting))
        held = self.held[number]
        left = self.ledger.move(number, candidate(node, work=work), Seconds(self.now))
        assert (left.node, left.model) == (held.node, held.model)
        self.held[number] = Held(node, held.model, work)

    @invariant()
    def who_waits_stands_in_one_queue(self) -> None:
        queues = self.ledger.queues()
        found = {one.ticket.id: key for key, waiting in queues.items() for one in waiting}
        assert found == {number: (held.node, held.model) for number, held in self.held.items() if held.started is None}
        assert sum(len(waiting) for waiting in queues.values()) == len(found)

    @rule(number=st.integers(0, 9), failed=st.booleans())
    def release(self, number: int, *, failed: bool) -> None:
        entry = self.ledger.release(ticket(number), Seconds(self.now), failed=failed)
        held = self.held.pop(ticket(number), None)
        assert (entry is None) == (held is None)

    @rule(seconds=st.integers(1, 400))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        for node in (A, B):
            self.ledger.settle(seen(resident=False, node=node), Seconds(self.now))

    @invariant()
    def the_sums_are_those_of_the_tickets(self) -> None:
        for node in (A, B):
            load = self.ledger.loads.get(node, NodeLoad())
            mine = [held for held in self.held.values() if held.node == node]
            assert load.outstanding == len(mine)
            assert sorted(load.models) == sorted({held.model for held in mine})
            for model, tickets in load.models.items():
                these = [held for held in mine if held.model == model]
                running = [held for held in these if held.started is not None]
                assert (tickets.outstanding, tickets.running) == (len(these), len(running))
                assert tickets.waiting == pytest.approx(sum(held.work for held in these if held.started is None))
                assert tickets.ends == pytest.approx(sum((held.started or 0) + held.work for held in running))

    @invariant()
    def what_is_reserved_is_waited_for_and_not_over(self) -> None:
        for load in self.ledger.loads.values():
            assert load.reserved == sum(held.size for held in load.reservations.values())
            assert all(self.now < held.expires for held in load.reservations.values())


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=25, stateful_step_count=25)


def test_a_node_is_left_out_for_the_model_that_failed_there() -> None:
    ledger = Ledger()
    placed(ledger, 1)
    without = replace(ASK, excluded=(A,))
    assert ledger.left_out(ticket(1), [replace(ASK, model="other"), without])
    assert not ledger.left_out(ticket(1), [ASK, replace(without, model="other")])
    assert not ledger.left_out(ticket(2), [without])
