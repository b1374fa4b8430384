"""An actor of the router, or of an agent, crashes: it starts again, and the house goes on."""

import asyncio

import pytest

from herd.actors import names
from herd.runtime import ActorHandle, get_actor, kill, list_actors
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import OLLAMA, House, Sent, house
from herd.types import NodeId, NodeState
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    QWEN,
    assert_nothing_is_out,
    begun,
    broken,
    chat,
    now,
    scenario,
    served_by,
    turns,
    until_held,
    until_waiting,
)

ROUTER, AGENT = "router-simulated", "agent-a"
NODE = NodeId("a")

# Nobody's answer depends on them while it is under way.
BYSTANDERS = [
    pytest.param(ROUTER, names.STORE, id="the Store"),
    pytest.param(ROUTER, names.HOLDING_PEN, id="the HoldingPen"),
    pytest.param(ROUTER, names.TRACES, id="the Traces"),
    pytest.param(ROUTER, names.SCORER, id="the Scorer"),
    pytest.param(ROUTER, names.GATEWAY, id="the Gateway"),
    pytest.param(AGENT, names.COLLECTOR, id="the Collector"),
    pytest.param(AGENT, names.backend(OLLAMA), id="the Backend"),
]
# They stand for the link, and take it with them.
LINKS = [
    pytest.param(ROUTER, names.FLEET, id="the Fleet"),
    pytest.param(ROUTER, names.node(NODE), id="the Node"),
    pytest.param(ROUTER, names.node_proxy(NODE), id="the NodeProxy"),
    pytest.param(ROUTER, names.model_queue(NODE, LLAMA), id="the ModelQueue"),
    pytest.param(AGENT, names.ROUTER_LINK, id="the RouterLink"),
]
# With it the link goes in order: what runs there has a moment to end.
HEAD = pytest.param(AGENT, names.AGENT, id="the Agent")

# Who starts again with whom; all others do so alone.
NODE_AND_PROXY = (names.node(NODE), names.node_proxy(NODE))
AGENT_AND_LINK = (names.AGENT, names.ROUTER_LINK)
TOGETHER = {
    **dict.fromkeys([*NODE_AND_PROXY, names.model_queue(NODE, LLAMA)], NODE_AND_PROXY),  # the queue is their child
    **dict.fromkeys(AGENT_AND_LINK, AGENT_AND_LINK),
}


def crash(namespace: str, name: str) -> ActorHandle:
    """What an exception in a message that was told does."""
    actor = get_actor(name, namespace)
    kill(actor, no_restart=False)
    return actor


def restarted() -> dict[str | None, int]:
    """Who has started again, and how often."""
    return {state.identity.name: state.restarts for state in list_actors() if state.restarts}


async def crash_amid(home: House, namespace: str, name: str, tokens: int) -> tuple[Sent, Sent]:
    """An actor crashes while one answer of so many tokens has begun and another waits; both, once they are over."""
    await home.node("a", [LLAMA], resident=[LLAMA])
    running, waiting = (home.send(CHAT, chat(tokens=tokens)) for _ in range(2))
    await begun(running.sink)
    await until_waiting(home, "a", 1)
    crash(namespace, name)
    await asyncio.gather(running.task, waiting.task)
    return running, waiting


async def all_is_well(home: House) -> None:
    """The house has its node, serves, and nothing is left over."""
    await home.until_node("a", NodeState.READY)
    assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
    await assert_nothing_is_out(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), [*BYSTANDERS, *LINKS, HEAD])
@pytest.mark.parametrize("pause", [0, 60], ids=["at once", "when nothing is left of the time before"])
async def test_the_next_request_is_served(namespace: str, name: str, pause: float) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        crash(namespace, name)
        await asyncio.sleep(pause)
        await all_is_well(home)
        assert restarted() == dict.fromkeys(TOGETHER.get(name, (name,)), 1)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), [*BYSTANDERS, HEAD])
async def test_requests_under_way_do_not_notice(namespace: str, name: str) -> None:
    async with scenario() as home:
        running, waiting = await crash_amid(home, namespace, name, tokens=50)
        assert served_by(running.sink) == served_by(waiting.sink) == "a"
        await all_is_well(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), LINKS)
async def test_an_answer_that_has_begun_is_broken_and_what_waits_is_served(namespace: str, name: str) -> None:
    async with scenario() as home:
        running, waiting = await crash_amid(home, namespace, name, tokens=500)
        assert broken(running.sink)
        assert served_by(waiting.sink) == "a"
        await all_is_well(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("name", [names.FLEET, names.node(NODE)])
@pytest.mark.parametrize("turn", range(8))
async def test_who_asks_while_an_actor_crashes_is_answered_by_its_next_incarnation(name: str, turn: int) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        asking = asyncio.create_task(home.fleet())
        await turns(turn)
        crash(ROUTER, name)
        await asking
        await home.until_node("a", NodeState.READY)


@virtual_time(allow_lost=True)
async def test_requests_that_are_held_go_on_being_held_when_the_pen_crashes() -> None:
    async with scenario() as home:
        node = await home.node("a", [LLAMA])
        node.stop_server()
        await home.until_node("a", NodeState.DEGRADED, models=False)
        held = home.send(CHAT, chat(tokens=1))
        await until_held(home, 1)
        crash(ROUTER, names.HOLDING_PEN)
        await until_held(home, 1)
        node.start_server()
        await held.task
        assert served_by(held.sink) == "a"


@virtual_time(allow_lost=True)
async def test_the_time_of_a_held_request_runs_on_while_the_pen_starts_again() -> None:
    async with scenario(knows=("attic",)) as home:
        held = home.send(CHAT, chat("attic"))
        await until_held(home, 1)
        await asyncio.sleep(20)
        crash(ROUTER, names.HOLDING_PEN)
        await held.task
        assert (held.sink.status, now()) == (503, 30.0)


@virtual_time(allow_lost=True)
async def test_a_restarted_scorer_sees_the_fleet_that_it_has_not_seen_join() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        crash(ROUTER, names.SCORER)
        answers = await asyncio.gather(*(home.ask(CHAT, chat(tokens=20)) for _ in range(4)))
        assert sorted(str(served_by(answer)) for answer in answers) == ["a", "a", "b", "b"]


@virtual_time
async def test_a_restarted_scorer_waits_for_the_nodes_of_earlier_days_as_before() -> None:
    async with scenario(knows=("attic",)) as home:
        crash(ROUTER, names.SCORER)
        answer = await home.ask(CHAT, chat("attic"))
        assert (answer.status, now()) == (503, 30.0)
        assert "attic has not joined since the router started" in answer.json["error"]


@virtual_time(allow_lost=True)
async def test_a_restarted_scorer_knows_from_the_store_what_the_fleet_has_lost_sight_of() -> None:
    async with scenario() as home:
        node = await home.node("b", [QWEN])
        await node.stop_agent()
        for name in (names.FLEET, names.SCORER):
            crash(ROUTER, name)
            await asyncio.sleep(1)
        answer = await home.ask(CHAT, chat(QWEN))
        assert answer.status == 503
        assert "b has not joined since the router started" in answer.json["error"]


@virtual_time(allow_lost=True)
async def test_a_node_that_does_not_come_back_when_the_fleet_starts_anew_is_offline_until_it_does() -> None:
    async with scenario(hold_timeout=7.0) as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        home.links.freeze(a.id)
        crash(ROUTER, names.FLEET)
        await asyncio.sleep(60)
        answer = await home.ask(CHAT, chat())
        assert answer.status == 503
        assert "a is offline: it has not joined since a part of the router started anew" in answer.json["error"]
        home.links.thaw(a.id)
        await all_is_well(home)


@virtual_time(allow_lost=True)
async def test_an_agent_that_starts_anew_reports_its_model_servers_at_once_although_nothing_of_them_changes() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        await asyncio.sleep(30)  # the Backend has said all that it has to say
        crash(AGENT, names.AGENT)
        await asyncio.sleep(1)
        (status,) = await home.fleet()
        assert (status.state, len(status.report.models)) == (NodeState.READY, 1)


@virtual_time(allow_lost=True)
async def test_a_crash_again_and_again_ends_the_process() -> None:
    async with house() as home:
        assert not home.router.failed.done()
        for _ in range(6):
            crash(ROUTER, names.FLEET)
            await asyncio.sleep(5)
        failure = await home.router.failed
        assert str(failure).startswith('Fleet "fleet" crashed of ActorKilled(')


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("name", [names.AGENT, names.ROUTER_LINK])
async def test_an_agent_that_is_given_up_ends_in_order(name: str) -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        for _ in range(6):
            crash(AGENT, name)
            await asyncio.sleep(5)
        for dead in (names.AGENT, names.ROUTER_LINK):
            with pytest.raises(ValueError, match="no actor"):
                get_actor(dead, AGENT)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("name", [names.COLLECTOR, names.backend(OLLAMA)])
async def test_a_sensor_that_fails_for_ever_costs_the_node_nothing(name: str) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(7):
            crash(AGENT, name)
            await asyncio.sleep(4)
        assert restarted() == {name: 7}
        await all_is_well(home)
