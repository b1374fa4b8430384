"""A client may hang up in any turn of the loop: whatever its request held comes back, and the backend hears of it."""

import asyncio

import pytest

from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    assert_nothing_is_out,
    begun,
    chat,
    queue_of,
    scenario,
    served_by,
    turns,
    until_held,
    until_waiting,
)

# More turns than a request needs from its arrival to its work at the backend: all stages lie within.
ALL_STAGES = 40


async def still_works(home: House) -> None:
    """One more request is served: no lease has leaked."""
    async with asyncio.timeout(60):
        assert served_by(await home.ask(CHAT, chat(tokens=1))) is not None


@virtual_time
async def test_in_any_turn_from_arrival_to_the_backend() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        reached = 0
        for turn in range(ALL_STAGES):
            before = a.ollama.requests[CHAT], a.ollama.cancelled
            sent = home.send(CHAT, chat(tokens=1000))
            await turns(turn)
            await sent.hang_up()
            await assert_nothing_is_out(home)
            came, cancelled = a.ollama.requests[CHAT] - before[0], a.ollama.cancelled - before[1]
            assert came == cancelled, f"at turn {turn} the backend was not told"
            reached += came
        assert 0 < reached < ALL_STAGES, "the turns do not cover the whole way"
        await still_works(home)


@virtual_time
async def test_in_any_turn_of_a_retry() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        b = await home.node("b", [LLAMA])
        reached = 0
        for turn in range(2 * ALL_STAGES):
            before = b.ollama.requests[CHAT], b.ollama.cancelled
            a.ollama.fail_next(503, "busy")
            sent = home.send(CHAT, chat(tokens=1000))
            await turns(turn)
            await sent.hang_up()
            await assert_nothing_is_out(home)
            a.ollama.heal()  # one that the request did not live to see
            came, cancelled = b.ollama.requests[CHAT] - before[0], b.ollama.cancelled - before[1]
            assert came == cancelled
            reached += came
        assert reached > 0
        await still_works(home)


@pytest.mark.parametrize("ends", ["ends", "hangs up"])
def test_in_any_turn_around_the_grant(ends: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            await home.node("a", [LLAMA], resident=[LLAMA])
            for turn in range(10):
                first = home.send(CHAT, chat(tokens=1000 if ends == "hangs up" else 100))
                second, third = home.send(CHAT, chat(tokens=1000)), home.send(CHAT, chat(tokens=2))
                await until_waiting(home, "a", 2)
                if ends == "hangs up":
                    await first.hang_up()
                else:
                    await first.task
                await turns(turn)
                await second.hang_up()
                async with asyncio.timeout(60):
                    await third.task
                assert served_by(third.sink) == "a"
                await assert_nothing_is_out(home)

    run_virtual(story())


@virtual_time
async def test_the_whole_queue_hangs_up_while_the_lease_is_handed_on() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        for turn in range(10):
            sent = [home.send(CHAT, chat(tokens=1000)) for _ in range(8)]
            await until_waiting(home, "a", 7)
            for one in sent:
                one.task.cancel()
                await turns(turn % 3)
            await turns(turn)
            await asyncio.wait([one.task for one in sent])
            await assert_nothing_is_out(home)
        await still_works(home)


@virtual_time
async def test_while_it_is_held() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        home.links.freeze(a.id)
        home.links.cut(a.id)
        for turn in range(10):
            sent = home.send(CHAT, chat())
            await turns(turn)
            await sent.hang_up()
            await assert_nothing_is_out(home)
        held = home.send(CHAT, chat())
        await until_held(home, 1)
        await held.hang_up()
        await assert_nothing_is_out(home)
        home.links.thaw(a.id)
        await still_works(home)


@virtual_time
async def test_in_any_turn_around_the_return_of_the_node_that_it_waits_for() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        for turn in range(30):
            home.links.cut(a.id)
            held = home.send(CHAT, chat(tokens=1000))
            await until_held(home, 1)
            await until_held(home, 0)
            await turns(turn)
            await held.hang_up()
            await assert_nothing_is_out(home)
        await still_works(home)


@virtual_time
async def test_while_it_waits_in_a_queue() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        running, waiting = home.send(CHAT, chat(tokens=200)), home.send(CHAT, chat())
        await until_waiting(home, "a", 1)
        await waiting.hang_up()
        await turns(10)
        assert await queue_of(home, "a") == (1, 0)
        await running.task
        assert served_by(running.sink) == "a"


@virtual_time
async def test_while_the_model_loads() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sent = home.send(CHAT, chat())
        await a.ollama.until(lambda ollama: ollama.waiting == 1)
        await sent.hang_up()
        await a.ollama.until(lambda ollama: ollama.cancelled == 1)
        assert a.ollama.waiting == 0


@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_mid_stream_the_backend_is_free_before_its_next_token_is_over(pieces: int) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            sent = home.send(CHAT, chat(tokens=5000))
            await begun(sent.sink, pieces)
            hung_up = asyncio.get_running_loop().time()
            await sent.hang_up()
            await a.ollama.until(lambda ollama: ollama.running == 0)
            assert asyncio.get_running_loop().time() - hung_up < 0.1
            assert a.ollama.cancelled == 1
            assert not sent.sink.finished

    run_virtual(story())
