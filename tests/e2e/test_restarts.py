"""Processes that die, leave and come back. Requests meanwhile wait or go elsewhere; nothing is started by hand."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.house import ONLY, House, running_house

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 20


@pytest_asyncio.fixture(name="shaken", scope="module", loop_scope="module")
async def house_of_this_module(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("shaken")) as house:
        yield house


@asynccontextmanager
async def stream_held_open(house: House, name: str) -> AsyncIterator[Any]:
    """A stream from one node, of which the client has the first line and the rest is still to come."""
    server = house.servers[name]
    server.gate.clear()
    try:
        async with house.chat(ONLY[name], tokens=TOKENS) as answer:
            await answer.content.readline()
            yield answer
    finally:
        server.gate.set()


async def rest_of(answer: Any) -> list[Any]:
    return [json.loads(line) for line in (await answer.read()).splitlines()]


async def answered_by(house: House, **fields: Any) -> str:
    """Who answers a question; waits as long as a router holds a request."""
    async with house.chat(stream=False, **fields) as answer:
        assert answer.status == 200, await answer.text()
        return str(answer.headers["X-Herd-Node"])


async def test_an_agent_that_is_killed_is_replaced_and_comes_back(shaken: House) -> None:
    attic = shaken.agents["attic"]
    async with stream_held_open(shaken, "attic") as answer:
        assert await attic.stop(signal.SIGKILL) == -signal.SIGKILL
        *_, last = await rest_of(answer)
        assert "the link to the node was lost" in last["error"]
    await shaken.servers["attic"].fake.until(lambda fake: not fake.running)
    for _ in range(3):
        assert await answered_by(shaken) == "cellar"
    waiting = asyncio.create_task(answered_by(shaken, model=ONLY["attic"]))
    await shaken.start_agent("attic")
    assert await waiting == "attic"


async def test_a_router_that_is_killed_finds_its_agents_again_on_the_same_ports(shaken: House) -> None:
    info = await shaken.get("/herd/v1/info")
    await shaken.router.stop(signal.SIGKILL)
    await shaken.start_router()
    assert await shaken.get("/herd/v1/info") == info
    await shaken.settled()
    assert await answered_by(shaken) in shaken.agents
    assert all(agent.running for agent in shaken.agents.values())


async def test_an_agent_that_is_told_to_stop_lets_its_answers_end(shaken: House) -> None:
    cellar = shaken.agents["cellar"]
    async with stream_held_open(shaken, "cellar") as answer:
        cellar.tell(signal.SIGTERM)
        await cellar.says("stopping: running requests may end")
        shaken.servers["cellar"].gate.set()
        *_, last = await rest_of(answer)
        assert last["done"]
    assert await cellar.ended() == 0
    waiting = asyncio.create_task(answered_by(shaken, model=ONLY["cellar"]))
    await shaken.start_agent("cellar")
    assert await waiting == "cellar"


async def test_a_router_that_is_told_to_stop_lets_its_answers_end(shaken: House) -> None:
    async with stream_held_open(shaken, "attic") as answer:
        shaken.router.tell(signal.SIGTERM)
        await shaken.router.says("stopping: running requests may end")
        shaken.servers["attic"].gate.set()
        *_, last = await rest_of(answer)
        assert last["done"]
        asked = answer.headers["X-Request-Id"]
    assert await shaken.router.ended() == 0
    await shaken.start_router()
    await shaken.settled()
    assert (await shaken.get(f"/herd/v1/requests/{asked}"))["outcome"] == "served"


async def test_a_second_signal_ends_a_router_that_waits_for_an_answer(shaken: House) -> None:
    async with stream_held_open(shaken, "attic"):
        shaken.router.tell(signal.SIGINT)
        await shaken.router.says("stopping")
        assert await shaken.router.stop(signal.SIGINT) == 130
    await shaken.start_router()
    await shaken.settled()


async def test_a_router_that_starts_after_its_agents_is_found(shaken: House) -> None:
    await shaken.router.stop()
    for name, agent in shaken.agents.items():
        await agent.stop()
        words = ("--router-url", shaken.url, "--backend-url", shaken.servers[name].url, "--no-mdns")
        shaken.agents[name] = await shaken.programs.herd_node(*words, "--name", name, "--data-dir", name, name=name)
        await shaken.agents[name].says("cannot join the router: no answer from")
    await shaken.start_router()
    await shaken.settled()


async def test_a_model_server_that_appears_after_its_agent_is_picked_up(shaken: House) -> None:
    await shaken.servers["cellar"].stop()
    await shaken.agents["cellar"].stop()
    await shaken.start_agent("cellar")
    await shaken.agents["cellar"].says(r"model server at \S+: no answer from")
    assert await answered_by(shaken) == "attic"
    await shaken.servers["cellar"].start()
    assert await answered_by(shaken, model=ONLY["cellar"]) == "cellar"


async def test_a_second_agent_on_the_same_directory_is_refused(shaken: House) -> None:
    second = await shaken.programs.herd_node("--router-url", shaken.url, "--no-mdns", "--data-dir", "attic")
    assert await second.ended() == 2
    assert len(second.lines) == 1
    assert "Another process of Herd is already running on the data directory attic" in second.lines[0]


async def test_a_second_agent_of_the_same_name_gets_a_number(shaken: House) -> None:
    words = ("--router-url", shaken.url, "--no-mdns", "--backend-url", shaken.servers["attic"].url)
    second = await shaken.programs.herd_node(*words, "--data-dir", "third", "--name", "attic", name="third")
    await second.says("joined router [0-9a-f]+ as attic-2")
    assert await second.stop() == 0
