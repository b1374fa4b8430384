"""Placement while a breaker is half open, and within the budget of retries."""

from dataclasses import replace

from herd.actors.scorer import Scorer
from herd.policy.values import CLOSED, Ask, BreakerState, Circuit, ModelView
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import Api, BackendId, ModelName, Seconds
from tests.actors.doubles import Witness, ticket, view

M = ModelView(ModelName("m"), BackendId("ollama"), ("ollama",), resident=True, limit=4, apis=("/api/chat",))
ASK = Ask("m", Api.OLLAMA_CHAT)
HALF_OPEN = BreakerState(Circuit.HALF_OPEN, 3, Seconds(0.0), Seconds(5.0))
OPEN = replace(HALF_OPEN, circuit=Circuit.OPEN)


async def scorer_with(breaker: BreakerState, link: BreakerState = CLOSED) -> tuple[Scorer, ActorHandle]:
    """A Scorer that knows one node."""
    pen = remote(Witness).options(name="pen").remote()
    scorer = Scorer(pen, LoopClock())
    scorer.node_changed(view("a", {"m": M, "n": M}))
    scorer.place(ASK, ticket(0))  # and runs for long
    scorer.node_changed(replace(view("a", {"m": replace(M, breaker=breaker), "n": M}), breaker=link))
    await pen.heard.remote()
    return scorer, pen


@virtual_time
async def test_one_ticket_tries_a_half_open_breaker_and_the_next_one_once_it_is_done() -> None:
    scorer, pen = await scorer_with(HALF_OPEN)
    assert scorer.place(ASK, ticket(1)).chosen is not None
    decision = scorer.place(ASK, ticket(2))
    assert decision.chosen is None
    assert decision.eliminated[0].reason.kind == "breaker"
    assert scorer.place(replace(ASK, model="n"), ticket(3)).chosen is not None
    scorer.released(ticket(1).id)
    ((_, (models, version)),) = await pen.heard.remote()
    assert models == (("m", 1),)
    assert version > decision.version, "whoever is about to be held hears of it, too"
    assert scorer.place(ASK, ticket(2)).chosen is not None
    await stop(pen)


@virtual_time
async def test_a_half_open_link_is_tried_by_one_request_whatever_its_model() -> None:
    scorer, pen = await scorer_with(CLOSED, link=HALF_OPEN)
    assert scorer.place(ASK, ticket(1)).chosen is not None
    for number, model in enumerate("mn", 2):
        assert scorer.place(replace(ASK, model=model), ticket(number)).chosen is None
    await pen.heard.remote()
    scorer.released(ticket(1).id)
    ((_, (models, _version)),) = await pen.heard.remote()
    assert models == (("m", 1), ("n", 1))
    await stop(pen)


@virtual_time
async def test_each_step_towards_closing_wakes_who_is_held() -> None:
    scorer, pen = await scorer_with(OPEN)

    async def woken(breaker: BreakerState) -> list[tuple[tuple[str, int], ...]]:
        scorer.node_changed(view("a", {"m": replace(M, breaker=breaker), "n": M}))
        return [args[0] for _, args in await pen.heard.remote()]

    for number in range(1, 7):
        assert scorer.place(ASK, ticket(number)).chosen is None
    assert await woken(HALF_OPEN) == [(("m", 4),)]
    assert scorer.place(ASK, ticket(1)).chosen is not None
    assert await woken(CLOSED) == [(("m", 4),)]
    assert scorer.place(ASK, ticket(2)).chosen is not None, "a trial that still runs is none any more"
    assert await woken(OPEN) == []
    assert scorer.place(ASK, ticket(3)).chosen is None
    assert await woken(HALF_OPEN) == [(("m", 4),)]
    assert scorer.place(ASK, ticket(3)).chosen is not None, "nor is it one of the next time"
    await stop(pen)


@virtual_time
async def test_a_retry_is_placed_while_the_fleet_can_afford_it() -> None:
    scorer, pen = await scorer_with(CLOSED)
    retry = replace(ASK, retry=True)
    for number in range(10):
        assert scorer.place(retry, ticket(number)).chosen is not None
    decision = scorer.place(retry, ticket(11))
    assert (decision.chosen, decision.over_budget) == (None, True)
    assert scorer.ledger() == {"a": 10}
    for number in range(20, 24):  # with ticket 0, five requests: each counts once, however often it is placed
        for _ in range(3):
            assert scorer.place(ASK, ticket(number)).chosen is not None
    assert not scorer.place(retry, ticket(12)).over_budget
    assert scorer.place(retry, ticket(13)).over_budget
    assert not scorer.place(replace(retry, model="nobody's"), ticket(14)).over_budget, "there is nobody anyway"
    await stop(pen)
