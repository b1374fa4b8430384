"""The Scorer: its ledger, and whom it wakes."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from herd.actors import moves, names
from herd.actors.scorer import Scorer
from herd.policy.rebalancing import MAX_LOOKED_AT, MAX_MOVES, SETTLED_S
from herd.policy.retrying import FREE_RETRIES
from herd.policy.values import Ask, BreakerState, Circuit, ModelView
from herd.runtime import ActorHandle, get_actor, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.clock import LoopClock
from herd.store.records import KnownNode, KnownUnload
from herd.types import Api, BackendId, ModelName, NodeId, NodeName, NodeState, Seconds, TicketId
from tests.actors.doubles import Witness, settled, ticket, view

ASK = Ask("m:latest", Api.OLLAMA_CHAT)


def has(name: str = "m:latest", *, resident: bool = True) -> dict[str, ModelView]:
    return {
        name: ModelView(
            ModelName(name), BackendId("ollama"), ("ollama", "openai"), resident=resident, limit=2, apis=("/api/chat",)
        )
    }


async def started(*known: KnownNode) -> tuple[Scorer, ActorHandle]:
    """A Scorer, and its pen."""
    pen = remote(Witness).options(name="pen").remote()
    return Scorer(pen, LoopClock(), None, known), pen


@virtual_time
async def test_each_placement_counts_against_its_node_until_it_is_released() -> None:
    scorer, pen = await started()
    for name in ("a", "b"):
        scorer.node_changed(view(name, has()))
    chosen = [scorer.place(ASK, ticket(number)).candidates[0].node for number in range(4)]
    assert chosen == ["a", "b", "a", "b"]
    assert scorer.ledger() == {"a": 2, "b": 2}
    for number in (0, 2):
        scorer.released(ticket(number).id)
    assert scorer.ledger() == {"b": 2}
    assert [scorer.place(ASK, ticket(number)).candidates[0].node for number in (5, 6)] == ["a", "a"]
    await stop(pen)


@virtual_time
async def test_a_ticket_that_is_placed_again_counts_once() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    for _ in range(3):
        scorer.place(ASK, ticket(1))
    assert scorer.ledger() == {"a": 1}
    scorer.released(ticket(1).id)
    scorer.released(ticket(1).id)
    scorer.released(TicketId("never seen"))
    assert scorer.ledger() == {}
    await stop(pen)


@virtual_time
async def test_a_ticket_that_finds_nobody_loses_what_it_had() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    scorer.place(ASK, ticket(1))
    scorer.node_changed(view("a", has(), NodeState.OFFLINE))
    decision = scorer.place(ASK, ticket(1))
    assert (decision.chosen, decision.known, scorer.ledger()) == (None, True, {})
    await stop(pen)


@virtual_time
async def test_the_pen_is_told_of_models_that_are_waited_for_and_can_be_served_now() -> None:
    scorer, pen = await started(KnownNode(NodeId("a"), NodeName("a"), ("m", "n"), Seconds(0.0)))

    async def told(state: NodeState, models: dict[str, ModelView] | None = None) -> list[dict[str, int]]:
        scorer.node_changed(view("a", models, state))
        return [dict(args[0]) for _, args in await pen.heard.remote()]

    m, n = has("m"), has("n")
    assert await told(NodeState.READY, m | n) == []  # nobody waits for anything
    assert await told(NodeState.PAUSED, m | n) == []
    for number, model in enumerate("mmmn"):
        assert scorer.place(Ask(model, Api.OLLAMA_CHAT), ticket(number)).chosen is None
    assert await told(NodeState.JOINING) == []
    assert await told(NodeState.READY, m) == [{"m": 2}]  # so many as it runs at once
    assert await told(NodeState.OFFLINE, m | n) == []
    assert await told(NodeState.DEGRADED, m | n) == [{"m": 2, "n": 2}]
    assert await told(NodeState.PAUSED, m | n) == []
    assert await told(NodeState.READY, m | n) == []  # nobody is left
    await stop(pen)


@virtual_time
async def test_each_request_that_ends_makes_room_for_one_that_waits() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    scorer.place(ASK, ticket(0))
    scorer.node_changed(view("a", has(), NodeState.PAUSED))
    for number in (1, 2, 3):
        assert scorer.place(ASK, ticket(number)).chosen is None
    scorer.node_changed(view("a", has()))
    scorer.released(ticket(0).id)
    scorer.released(ticket(0).id)
    assert [dict(args[0]) for _, args in await pen.heard.remote()] == [{"m:latest": 2}, {"m:latest": 1}]
    await stop(pen)


@virtual_time
async def test_a_request_that_ends_at_a_node_that_takes_nothing_helps_nobody() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    for number in (0, 1, 2):
        scorer.place(ASK, ticket(number))
    scorer.node_changed(view("a", has(), NodeState.DRAINING))
    assert scorer.place(ASK, ticket(1)).chosen is None  # its queue sent it away
    scorer.released(ticket(2).id)
    scorer.released(ticket(0).id)
    assert await pen.heard.remote() == []
    scorer.node_changed(view("a", has()))
    assert [dict(args[0]) for _, args in await pen.heard.remote()] == [{"m:latest": 2}]
    await stop(pen)


@virtual_time
async def test_versions_tell_a_wake_up_from_the_placement_before() -> None:
    """A wake-up that overtakes the request on its way to the pen is not missed there."""
    scorer, pen = await started(KnownNode(NodeId("a"), NodeName("a"), ("m:latest",), Seconds(0.0)))
    before = scorer.place(ASK, ticket(1)).version
    scorer.node_changed(view("a", has()))
    ((_, (_, version)),) = await pen.heard.remote()
    assert version > before
    assert scorer.place(ASK, ticket(1)).version == version
    await stop(pen)


@virtual_time
async def test_a_node_of_earlier_days_is_offline_and_awaited_until_it_reports() -> None:
    attic = KnownNode(NodeId("attic"), NodeName("attic"), ("old:latest",), Seconds(5.0))
    scorer, pen = await started(attic)
    decision = scorer.place(Ask("old:latest", Api.OLLAMA_CHAT), ticket(1))
    assert (decision.chosen, decision.known, decision.complete) == (None, True, False)
    assert decision.eliminated[0].reason.since == 5.0
    scorer.node_changed(view("attic", state=NodeState.JOINING))
    assert not scorer.place(ASK, ticket(1)).complete
    scorer.node_changed(view("attic", has()))
    assert scorer.place(ASK, ticket(1)).complete
    assert scorer.place(Ask("old:latest", Api.OLLAMA_CHAT), ticket(1)).known
    await stop(pen)


@virtual_time
async def test_a_new_node_is_awaited_until_its_first_report() -> None:
    scorer, pen = await started()
    assert scorer.place(ASK, ticket(1)).complete
    scorer.node_changed(view("new", state=NodeState.JOINING))
    assert not scorer.place(ASK, ticket(1)).complete
    scorer.node_changed(view("new", has()))
    assert scorer.place(ASK, ticket(1)).complete
    await stop(pen)


# --- rebalancing ------------------------------------------------------------------------------------------------------


async def one_busy_one_new(tickets: int) -> tuple[Scorer, ActorHandle]:
    """So many tickets at node `a`, which runs two at once; then an idle node `b` joins."""
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    for number in range(tickets):
        scorer.place(ASK, ticket(number, arrived=float(number)))
    for number in (0, 1):
        scorer.started(ticket(number).id, NodeId("a"))
    await asyncio.sleep(SETTLED_S)
    scorer.node_changed(view("b", has()))
    return scorer, pen


@virtual_time
async def test_the_rebalancer_is_told_when_somebody_waits_and_not_of_everyone_who_does() -> None:
    scorer, pen = await started()
    rebalancer = remote(Witness).options(name=names.REBALANCER).remote()

    async def told() -> list[str]:
        return [what for what, _ in await rebalancer.heard.remote() if what == "watch"]

    scorer.node_changed(view("a", has()))  # runs two at once
    for number in (0, 1):
        scorer.place(ASK, ticket(number))
    assert await told() == []
    for number in (2, 3):
        scorer.place(ASK, ticket(number))
    assert await told() == ["watch"]
    assert scorer.rebalance().waiting
    scorer.place(ASK, ticket(4))
    assert await told() == []  # it looks again anyway
    for number in range(5):
        scorer.started(ticket(number).id, NodeId("a"))
    assert not scorer.rebalance().waiting
    scorer.place(ASK, ticket(5))
    assert await told() == ["watch"]
    await stop(rebalancer)
    await stop(pen)


@virtual_time
async def test_a_move_is_in_the_ledger_at_once_so_that_the_next_one_heeds_it() -> None:
    scorer, pen = await one_busy_one_new(10)
    found = scorer.rebalance().moves
    assert 2 <= len(found) <= 4  # until the waits are about the same
    assert scorer.ledger() == {"a": 10 - len(found), "b": len(found)}
    for one in found:
        assert one.queue == names.model_queue(NodeId("a"), "m:latest")
        assert one.moved.queue == names.model_queue(NodeId("b"), "m:latest")
        assert (one.moved.placed.node, one.moved.placed.name) == ("b", "b")
    tickets = [one.ticket for one in found]
    assert tickets == sorted(tickets)  # the oldest for whom it is worth it first
    assert scorer.rebalance().moves == ()
    await stop(pen)


@virtual_time
async def test_the_ledger_believes_the_node_that_granted_the_lease() -> None:
    """The move came too late: the queue that the ticket was to leave had granted its lease."""
    scorer, pen = await one_busy_one_new(10)
    late = scorer.rebalance().moves[0].ticket
    a, b = scorer.ledger().values()
    scorer.started(late, NodeId("a"))
    assert scorer.ledger() == {"a": a + 1, "b": b - 1}
    scorer.started(late, NodeId("b"))  # it runs, and stays
    assert scorer.ledger() == {"a": a + 1, "b": b - 1}
    scorer.released(late)
    assert scorer.ledger() == {"a": a, "b": b - 1}
    await stop(pen)


@virtual_time
async def test_whoever_runs_has_just_come_or_was_moved_twice_is_not_moved() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    tired = replace(ASK, moves=MAX_MOVES)
    for number in range(10):
        scorer.place(tired, ticket(number))
    await asyncio.sleep(SETTLED_S)
    scorer.place(ASK, ticket(11))
    scorer.node_changed(view("b", has()))
    assert scorer.rebalance().moves == ()
    await asyncio.sleep(SETTLED_S)
    assert [one.ticket for one in scorer.rebalance().moves] == [ticket(11).id]
    await stop(pen)


@virtual_time
async def test_of_a_node_that_takes_nothing_nobody_is_moved_for_its_queues_send_them_away_themselves() -> None:
    for state in (NodeState.PAUSED, NodeState.DRAINING, NodeState.OFFLINE):
        scorer, pen = await one_busy_one_new(10)
        scorer.node_changed(view("a", has(), state))
        assert scorer.rebalance().moves == ()
        await stop(pen)


@virtual_time
async def test_a_ticket_that_tries_a_breaker_stays_for_others_wait_for_what_comes_of_it() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    for number in range(8):
        scorer.place(replace(ASK, moves=MAX_MOVES), ticket(number))
    half_open = replace(view("a", has()), breaker=BreakerState(Circuit.HALF_OPEN, 3, Seconds(0.0), Seconds(5.0)))
    scorer.node_changed(half_open)
    scorer.place(ASK, ticket(9))  # the trial
    scorer.node_changed(view("b", has()))
    await asyncio.sleep(SETTLED_S)
    assert scorer.rebalance().moves == ()
    scorer.node_changed(view("a", has()))  # the breaker is closed, so it tries nothing any more
    assert [one.ticket for one in scorer.rebalance().moves] == [ticket(9).id]
    await stop(pen)


@virtual_time
async def test_no_round_looks_at_more_tickets_than_it_may_and_the_next_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[TicketId] = []

    def in_vain(ask: Ask, *_: object, **__: object) -> None:
        looked.append(TicketId(ask.sent))

    monkeypatch.setattr(moves, "better_place", in_vain)
    scorer, pen = await started()
    scorer.node_changed(view("a", has()))
    for number in range(100):
        scorer.place(replace(ASK, sent=f"t{number}"), ticket(number, arrived=float(number)))
    scorer.node_changed(view("b", has()))
    await asyncio.sleep(SETTLED_S)
    scorer.rebalance()
    assert looked == [ticket(number).id for number in range(MAX_LOOKED_AT)]
    scorer.rebalance()
    assert set(looked[MAX_LOOKED_AT:]) >= {ticket(number).id for number in range(MAX_LOOKED_AT, 100)}
    assert len(looked) == 2 * MAX_LOOKED_AT
    await stop(pen)


class LedgerMachine(RuleBasedStateMachine):
    """Whatever is placed, placed again, released and lost: the ledger is the placements that have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, str] = {}
        self.steps: list[tuple[str, int]] = []

    @rule(number=st.integers(0, 5))
    def place(self, number: int) -> None:
        self.steps.append(("place", number))

    @rule(number=st.integers(0, 5))
    def release(self, number: int) -> None:
        self.steps.append(("release", number))

    @rule(number=st.integers(0, 2))
    def toggle(self, number: int) -> None:
        self.steps.append(("toggle", number))

    @invariant()
    def nothing_yet(self) -> None:
        """The steps are played at the end, in one loop."""

    def teardown(self) -> None:
        run_virtual(self._play())

    async def _play(self) -> None:
        scorer, pen = await started()
        up = dict.fromkeys("abc", False)
        for what, number in self.steps:
            if what == "toggle":
                node = "abc"[number]
                up[node] = not up[node]
                scorer.node_changed(view(node, has(), NodeState.READY if up[node] else NodeState.PAUSED))
            else:
                self.open.pop(number, None)
                if what == "release":
                    scorer.released(ticket(number).id)
                else:
                    chosen = scorer.place(ASK, ticket(number)).chosen
                    assert (chosen is not None) == any(up.values())
                    if chosen is not None:
                        assert up[chosen.node]
                        self.open[number] = chosen.node
            nodes = list(self.open.values())
            assert scorer.ledger() == {node: nodes.count(node) for node in nodes}
        await stop(pen)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=30)


@virtual_time
async def test_it_tells_the_store_what_a_node_has_once_and_again_when_that_changes() -> None:
    pen, store = remote(Witness).remote(), remote(Witness).options(name="store").remote()
    scorer = Scorer(pen, LoopClock(), store)
    for models in (has("m"), has("m", resident=False), has("m") | has("n")):
        scorer.node_changed(view("a", models))
    await settled()
    told = [one for _, args in await get_actor("store").heard.remote() for one in args]
    assert [one.models for one in told if isinstance(one, KnownNode)] == [("m",), ("m", "n")]
    assert [(one.node, one.model) for one in told if isinstance(one, KnownUnload)] == [("a", "m")]
    await stop(pen)
    await stop(store)


@virtual_time
async def test_of_several_models_the_first_that_a_node_can_serve_gets_the_ticket_and_nobody_waits_for_the_others() -> (
    None
):
    scorer, pen = await started()
    asks = tuple(Ask(model, Api.OLLAMA_CHAT) for model in ("m", "n", "o"))
    scorer.node_changed(view("a", has("m"), NodeState.PAUSED))
    scorer.node_changed(view("b", has("n") | has("o")))
    decisions = scorer.place_first(asks, ticket(1))
    assert [decision.chosen and decision.chosen.model for decision in decisions] == [None, "n"]
    assert scorer.ledger() == {"b": 1}
    scorer.node_changed(view("a", has("m")))
    assert await pen.heard.remote() == []
    assert [decision.chosen and decision.chosen.model for decision in scorer.place_first(asks, ticket(1))] == ["m"]
    assert scorer.ledger() == {"a": 1}
    await stop(pen)


@virtual_time
async def test_when_no_node_can_serve_any_of_them_each_of_them_is_waited_for() -> None:
    scorer, pen = await started()
    for node, model in (("a", "m"), ("b", "n")):
        scorer.node_changed(view(node, has(model), NodeState.PAUSED))
    asks = tuple(Ask(model, Api.OLLAMA_CHAT) for model in ("m", "nobody-has-it", "n"))
    decisions = scorer.place_first(asks, ticket(1))
    assert [(one.chosen, one.known) for one in decisions] == [(None, True), (None, False), (None, True)]
    assert len({one.version for one in decisions}) == 1
    for node, model in (("a", "m"), ("b", "n")):
        scorer.node_changed(view(node, has(model)))
        assert [dict(args[0]) for _, args in await pen.heard.remote()] == [{model: 2}]
    await stop(pen)


@virtual_time
async def test_a_retry_that_the_fleet_cannot_afford_is_none_with_another_model_either() -> None:
    scorer, pen = await started()
    scorer.node_changed(view("a", has("m") | has("n")))
    asks = tuple(Ask(model, Api.OLLAMA_CHAT, retry=True) for model in ("m", "n"))
    for number in range(FREE_RETRIES):
        assert scorer.place_first(asks, ticket(number))[0].chosen
    assert [one.over_budget for one in scorer.place_first(asks, ticket(99))] == [True]
    await stop(pen)
