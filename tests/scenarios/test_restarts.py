"""The router starts again, and servers answer what is no answer: found by chaos, told in short."""

import asyncio
from collections import Counter

import pytest

from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.ollama.faults import Lie
from herd.types import NodeState
from tests.scenarios.helpers import CHAT, LLAMA, OPENAI_CHAT, begun, chat, openai_chat, scenario, served_by


@virtual_time
async def test_requests_of_the_first_second_after_a_restart_are_held_and_served() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA], parallel=4)
        await home.restart_router(away=10.0)
        sent = [home.send(CHAT, chat(tokens=2)) for _ in range(8)]
        await asyncio.gather(*(one.task for one in sent))
        assert [served_by(one.sink) for one in sent] == ["a"] * 8


@virtual_time
async def test_what_a_node_has_is_not_forgotten_when_the_router_restarts_while_its_server_is_down() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.stop_server()
        await asyncio.sleep(10)
        await home.restart_router()
        await home.until_node("a", NodeState.DEGRADED, models=False)
        await home.restart_router()
        await home.until_node("a", NodeState.DEGRADED, models=False)
        held = home.send(CHAT, chat())
        await asyncio.sleep(1)
        assert not held.sink.started
        a.start_server()
        await held.task
        assert served_by(held.sink) == "a"


@pytest.mark.parametrize("target", [CHAT, OPENAI_CHAT])
@pytest.mark.parametrize("lie", [Lie.EMPTY, Lie.SHORT])
def test_an_answer_in_one_piece_that_is_not_whole_is_no_answer(lie: Lie, target: str) -> None:
    body = chat(stream=False) if target == CHAT else openai_chat(stream=False)

    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], resident=[LLAMA])
            b = await home.node("b", [LLAMA])
            a.ollama.lie_next(lie)
            answer = await home.ask(target, body)
            assert served_by(answer) == "b"
            assert answer.header("X-Herd-Attempts") == "2"
            for node in (a, b):
                node.ollama.lie_next(lie)
            assert served_by(await home.ask(target, body)) == "a"  # both lied, and then the first is asked again
            await b.stop_agent()
            for _ in range(3):
                a.ollama.lie_next(lie)
                answer = await home.ask(target, body)
                assert (answer.status, answer.finished) == (200, True)

    run_virtual(story())


@virtual_time
async def test_the_router_restarts_under_load() -> None:
    """Whoever was being served is cut, whoever comes while it starts is held, and nothing is left over."""
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA], parallel=2)
        before = [home.send(CHAT, chat(tokens=200)) for _ in range(30)]
        await begun(before[0].sink)
        await home.restart_router(away=3.0)
        after = [home.send(CHAT, chat(tokens=20)) for _ in range(30)]
        await asyncio.gather(*(one.task for one in (*before, *after)), return_exceptions=True)
        assert not any(one.sink.finished and b'"done":true' not in one.sink.body for one in before)
        assert Counter(served_by(one.sink) for one in after).keys() == {"a", "b"}
