"""An actor of the router, or of an agent, crashes: it starts again, and the house goes on."""

import asyncio

import pytest

from herd.actors import names
from herd.runtime import ActorHandle, get_actor, kill
from herd.runtime.testing import virtual_time
from herd.simulation.house import OLLAMA, House, house
from herd.types import NodeId, NodeState
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    assert_nothing_is_out,
    begun,
    chat,
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


def crash(namespace: str, name: str) -> ActorHandle:
    """What an exception in a message that was told does."""
    actor = get_actor(name, namespace)
    kill(actor, no_restart=False)
    return actor


async def all_is_well(home: House) -> None:
    """The house has its node, serves, and nothing is left over."""
    await home.until_node("a", NodeState.READY)
    assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
    await assert_nothing_is_out(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), [*BYSTANDERS, *LINKS, HEAD])
async def test_the_next_request_is_served(namespace: str, name: str) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        crash(namespace, name)
        await all_is_well(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), [*BYSTANDERS, HEAD])
async def test_requests_under_way_do_not_notice(namespace: str, name: str) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        running, waiting = (home.send(CHAT, chat(tokens=50)) for _ in range(2))
        await begun(running.sink)
        await until_waiting(home, "a", 1)
        crash(namespace, name)
        await asyncio.gather(running.task, waiting.task)
        assert served_by(running.sink) == served_by(waiting.sink) == "a"
        await all_is_well(home)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize(("namespace", "name"), LINKS)
async def test_an_answer_that_has_begun_is_broken_and_what_waits_is_served(namespace: str, name: str) -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        running, waiting = (home.send(CHAT, chat(tokens=500)) for _ in range(2))
        await begun(running.sink)
        await until_waiting(home, "a", 1)
        crash(namespace, name)
        await asyncio.gather(running.task, waiting.task)
        assert running.sink.aborted or b'"error"' in running.sink.body
        assert served_by(waiting.sink) == "a"
        await all_is_well(home)


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
async def test_a_restarted_scorer_sees_the_fleet_that_it_has_not_seen_join() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        crash(ROUTER, names.SCORER)
        answers = await asyncio.gather(*(home.ask(CHAT, chat(tokens=20)) for _ in range(4)))
        assert sorted(str(served_by(answer)) for answer in answers) == ["a", "a", "b", "b"]


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
async def test_a_sensor_that_fails_for_ever_costs_the_node_nothing() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(20):
            crash(AGENT, names.COLLECTOR)
            await turns(200)
        await all_is_well(home)
