"""The observer in a house: what it sees there, and what is left over at the end."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors.model_queue import QueueStatus
from herd.actors.node import NodeStatus
from herd.runtime import Leases
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.invariants import Invariant, Observer, left_over, turns
from herd.simulation.chaos.overhearing import MARK, OverheardLinks, recorded
from herd.simulation.fleet.house import House, house
from herd.simulation.fleet.links import InMemoryLinks
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.types import NodeState, StreamId
from tests.simulation.chaos.observed import LLAMA, A, ask, head, invariants, ready


@virtual_time
async def test_a_ticket_in_two_queues_and_a_lease_too_many_are_seen() -> None:
    observer = Observer()
    async with house() as home:
        one, two = Leases[str](1), Leases[str](1)
        for leases in (one, two):
            await leases.acquire("t1", asked_again="")
        await observer.look(home)
        assert invariants(observer) == [Invariant.OUTCOME]
        two.release("t1", "")
        two.resize(2)
        for ticket in ("t2", "t3"):
            await two.acquire(ticket, asked_again="")
        two.resize(1)
        await observer.look(home)
        assert invariants(observer) == [Invariant.OUTCOME, Invariant.LEASES]
        for leases, tickets in ((one, ("t1",)), (two, ("t2", "t3"))):
            for ticket in tickets:
                leases.release(ticket, "")


@virtual_time
async def test_a_ticket_that_waits_in_one_queue_and_runs_in_another_is_seen() -> None:
    observer = Observer()
    async with house() as home:
        one, two = Leases[str](1), Leases[str](1)
        await one.acquire("t1", asked_again="")
        await two.acquire("t2", asked_again="")
        waits = asyncio.create_task(two.acquire("t1", asked_again=""))
        await turns(1)
        await observer.look(home)
        assert invariants(observer) == [Invariant.OUTCOME]
        for leases, ticket in ((one, "t1"), (two, "t2"), (two, "t1")):
            leases.release(ticket, "")
        await waits


@virtual_time
async def test_what_is_so_for_some_turns_only_is_no_violation() -> None:
    observer = Observer()
    async with house() as home:
        one, two = Leases[str](1), Leases[str](1)
        for leases in (one, two):
            await leases.acquire("t1", asked_again="")
        looking = asyncio.create_task(observer.look(home))
        await turns(10)
        two.release("t1", "")
        await looking
        assert observer.violations == []
        one.release("t1", "")


def seen_as(home: House, monkeypatch: pytest.MonkeyPatch, state: NodeState, running: int, waiting: int) -> None:
    """The router sees the nodes in a state, with so many requests in a queue of theirs."""
    fleet = home.fleet

    async def seen() -> tuple[NodeStatus, ...]:
        return tuple(
            replace(status, state=state, queues=(QueueStatus(status.name, LLAMA, running, waiting, 1),))
            for status in await fleet()
        )

    monkeypatch.setattr(home, "fleet", seen)


@pytest.mark.parametrize("state", NodeState)
def test_nobody_waits_at_a_node_that_takes_nothing(state: NodeState, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        observer = Observer()
        async with house() as home:
            await home.node("a", [LLAMA])
            seen_as(home, monkeypatch, state, running=1, waiting=2)
            await observer.look(home)
            monkeypatch.undo()
        takes = state in {NodeState.READY, NodeState.DEGRADED}
        assert invariants(observer) == ([] if takes else [Invariant.STANDING])

    run_virtual(story())


@virtual_time
async def test_what_is_left_over_is_named() -> None:
    async with house() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        assert await left_over(home) == []
        body = {"model": LLAMA, "prompt": "hello", "options": {"num_predict": 100_000}}
        running = home.send("/api/generate", body)
        held = home.send("/api/generate", {"model": "other"})
        await asyncio.sleep(1)
        assert held.task.done()  # nobody ever had it
        found = await left_over(home)
        assert found[0] == f"1 run and 0 wait for {LLAMA} at a"
        assert found[1] == "the ledger has 1 tickets at a"
        assert found[2] == "1 requests are shown as under way"
        assert found[3].startswith("streams are open")
        assert found[4].startswith("at work")
        await running.hang_up()


@virtual_time
async def test_who_waits_in_a_queue_where_nothing_runs_is_left_over() -> None:
    with pytest.MonkeyPatch.context() as patch:
        async with house() as home:
            await home.node("a", [LLAMA])
            seen_as(home, patch, NodeState.READY, running=0, waiting=1)
            assert await left_over(home) == [f"0 run and 1 wait for {LLAMA} at a"]
            patch.undo()


@virtual_time
async def test_a_request_that_is_held_is_left_over() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA])
        await a.stop_agent()
        held = home.send("/api/chat", {"model": LLAMA})
        await asyncio.sleep(1)
        assert await left_over(home) == ["1 requests are held", "1 requests are shown as under way"]
        await held.hang_up()
        assert await left_over(home) == []


@pytest.mark.parametrize(("router", "agent"), [(1, 0), (0, 1)])
def test_a_stream_that_one_end_still_has_is_left_over(router: int, agent: int) -> None:
    class Uneven(InMemoryLinks):
        router_streams = router
        agent_streams = agent

    async def story() -> None:
        async with house(links=Uneven()) as home:
            assert await left_over(home) == [f"streams are open: {home.links!r}"]

    run_virtual(story())


@virtual_time
async def test_a_stream_that_the_router_never_closed_is_a_lease_that_is_not_back() -> None:
    observer = Observer()
    ready(observer)
    async with house() as home:
        observer.opened(A, StreamId(1), head(ask(observer)))
        await observer.check_nothing_is_out(home)
    assert invariants(observer) == [Invariant.LEASES]
    assert observer.violations[0].endswith("r1 has a stream to a")


@virtual_time
async def test_a_house_is_overheard_from_the_request_to_the_answer() -> None:
    observer = Observer()
    async with house(links=OverheardLinks(observer)) as home:
        await home.node("a", [LLAMA], around=lambda server: recorded(server, A, observer))
        observer.truth.add(A, [LLAMA], 0.0)
        asked = ask(observer)
        body = {"model": LLAMA, "messages": [{"role": "user", "content": "hello"}], "options": {"num_predict": 3}}
        sent = home.send(asked.path, body, ((MARK, asked.mark),), sink=asked.sink)
        await sent.task
        observer.over(asked, sent.task)
        unmarked = RecordingSink()
        await home.nodes[0].handler(InMemoryRequest("GET", "/api/tags"), unmarked)
        assert unmarked.finished
    assert [execution.said for execution in asked.executions] == [asked.sink.body]
    assert (observer.counts["served"], observer.violations) == (1, [])
    lines = [line.partition(" ")[2] for line in observer.log]
    assert lines == ["a router begins", "r1 goes to a", "r1 served, 200 by a after 1 executions"]
