"""SIGTERM while much is going on: what runs ends, what waits goes elsewhere, and nothing keeps a process for ever."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.e2e.battered import answered_by, node_until, reciter, status_until
from tests.e2e.house import BOTH, LOOK_EVERY_S, ONLY, House
from tests.e2e.listeners import Ending, Listener, all_whole, listening
from tests.e2e.processes import PATIENCE_S
from tests.e2e.reciters import SLOTS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def held_in_mid_answer(house: House, name: str, count: int) -> AsyncIterator[list[Listener]]:
    """Streams of which the clients have the first event, and the rest comes when the gate of the server is opened."""
    server = reciter(house, name)
    server.gate.clear()
    try:
        async with listening(house, ONLY[name], count, tokens=8) as listeners:
            yield listeners
    finally:
        server.gate.set()


async def refused_connection(house: House) -> None:
    """Wait until the router takes no connection any more; until then every answer is one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await house.get("/healthz")
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientConnectionError:  # a kept connection, closed before the answer
                continue
            await asyncio.sleep(LOOK_EVERY_S)


async def test_an_agent_that_leaves_ends_what_runs_and_hands_back_what_waits(battered: House) -> None:
    attic = reciter(battered, "attic")
    async with held_in_mid_answer(battered, "attic", SLOTS) as streams:
        waiting = asyncio.create_task(answered_by(battered, ONLY["attic"]))
        await status_until(battered, lambda status: status["totals"]["waiting"] == 1)
        battered.agents["attic"].tell(signal.SIGTERM)
        await status_until(battered, lambda status: status["totals"]["held"] == 1)
        await node_until(battered, "attic", "draining")
        assert {await answered_by(battered, BOTH) for _ in range(3)} == {"cellar"}
        assert not any(stream.over for stream in streams)
        attic.gate.set()
        await all_whole(streams, attic)
    assert await battered.agents["attic"].ended() == 0
    await battered.start_agent("attic")
    assert await waiting == "attic"


@pytest.mark.slow
async def test_a_router_that_leaves_ends_what_runs_and_takes_nothing_new(battered: House) -> None:
    async with (
        held_in_mid_answer(battered, "attic", SLOTS) as above,
        held_in_mid_answer(battered, "cellar", SLOTS) as below,
    ):
        waiting = asyncio.create_task(answered_by(battered, ONLY["attic"]))
        await status_until(battered, lambda status: status["totals"]["waiting"] == 1)
        battered.router.tell(signal.SIGTERM)
        await refused_connection(battered)
        assert not any(stream.over for stream in (*above, *below))
        for name, streams in (("attic", above), ("cellar", below)):
            reciter(battered, name).gate.set()
            await all_whole(streams, reciter(battered, name))
        assert await waiting == "attic"
    assert await battered.router.ended() == 0
    await battered.start_router()


async def test_a_router_that_leaves_lets_go_of_requests_that_wait_for_a_node(battered: House) -> None:
    await battered.agents["attic"].stop()
    waiting = asyncio.create_task(refused(battered, ONLY["attic"]))
    await status_until(battered, lambda status: status["totals"]["held"] == 1)
    assert await battered.router.stop() == 0
    assert await waiting == "the router is shutting down"
    await battered.start_router()
    await battered.start_agent("attic")


async def refused(house: House, model: str) -> str:
    """Why a request is not served now."""
    async with house.chat(model, stream=False) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        return str((await answer.json())["error"])


async def test_an_agent_that_never_found_its_router_leaves_at_once(battered: House) -> None:
    lost = await battered.programs.herd_node("--router-url", "http://127.0.0.1:9", "--no-mdns", "--data-dir", "lost")
    await lost.says("cannot join the router")
    assert await lost.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_stream_without_an_end_keeps_an_agent_no_longer_than_its_grace(battered: House) -> None:
    async with held_in_mid_answer(battered, "attic", 2) as streams:
        battered.agents["attic"].tell(signal.SIGTERM)
        for stream in streams:
            assert await stream.ended() is Ending.ERROR
            assert "the agent is shutting down" in stream.error
        assert await battered.agents["attic"].ended() == 0
        await reciter(battered, "attic").fake.until(lambda fake: not fake.running)
    await battered.start_agent("attic")


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_stream_without_an_end_keeps_a_router_no_longer_than_its_grace(battered: House) -> None:
    async with held_in_mid_answer(battered, "attic", 2) as streams:
        battered.router.tell(signal.SIGTERM)
        for stream in streams:
            assert await stream.ended() is Ending.CUT
        await reciter(battered, "attic").fake.until(lambda fake: not fake.running)
        assert await battered.router.ended() == 0
    await battered.start_router()
