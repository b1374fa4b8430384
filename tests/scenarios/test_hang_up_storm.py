"""Two hundred clients that hang up over the whole life of their requests, among twenty that stay: many seeds."""

import asyncio
import random
from collections.abc import Callable

import pytest

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.runtime.testing import run_virtual
from herd.simulation.fleet.house import House, Sent, SimulatedNode
from herd.types import Priority
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    OPENAI_CHAT,
    QWEN,
    assert_nothing_is_out,
    chat,
    openai_chat,
    scenario,
    served_by,
)
from tests.sinks import CopyingSink

LEAVE, STAY = 200, 20
COME_S, LEAVE_S = 40.0, 60.0  # virtual; the two machines are busy all the time
MARK = "X-Client"


def copying(handler: Handler, said: dict[str, bytes]) -> Handler:
    """A handler that keeps what it says to whom."""

    async def handle(request: HttpRequest, sink: Sink) -> None:
        copy = CopyingSink(sink, bytearray())
        try:
            await handler(request, copy)
        finally:
            said[next((value for name, value in request.headers if name == MARK), "")] = bytes(copy.copy)

    return handle


def ask(home: House, dice: random.Random, mark: str) -> Sent:
    """A question of one kind or another."""
    model, tokens = dice.choice((LLAMA, LLAMA, QWEN)), dice.randint(1, 60)
    client, priority = f"client {dice.randint(1, 5)}", dice.choice(list(Priority))
    headers = ((MARK, mark), ("X-OpenWebUI-User-Id", client), ("X-Herd-Priority", priority))
    kinds: tuple[Callable[[], Sent], ...] = (
        lambda: home.send(CHAT, chat(model, tokens=tokens), headers),
        lambda: home.send(CHAT, chat(model, tokens=tokens, stream=False), headers),
        lambda: home.send(OPENAI_CHAT, openai_chat(model, tokens=tokens), headers),
    )
    return dice.choice(kinds)()


async def comes_and_goes(home: House, dice: random.Random) -> None:
    come = dice.uniform(0.0, COME_S)
    await asyncio.sleep(come)
    sent = ask(home, dice, "leaves")
    if dice.random() < 0.3:  # within the turns in which it is placed, granted and opened
        for _ in range(dice.randint(0, 30)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(dice.uniform(0.0, LEAVE_S - come))
    await sent.hang_up()


async def stays(home: House, dice: random.Random, mark: str) -> Sent:
    await asyncio.sleep(dice.uniform(0.0, COME_S))
    sent = ask(home, dice, mark)
    await sent.task
    return sent


async def no_lease_is_granted_twice(home: House) -> None:
    while True:
        for status in await home.fleet():
            for queue in status.queues:
                assert queue.running <= queue.limit, queue
        await asyncio.sleep(0.25)


async def trouble(home: House, dice: random.Random) -> None:
    """Links break, servers fail and stop."""
    for _ in range(12):
        await asyncio.sleep(dice.uniform(0.1, 3.0))
        node = dice.choice(home.nodes)
        match dice.randrange(3):
            case 0:
                home.links.cut(node.id)
            case 1:
                node.ollama.fail_next(503, "busy")
            case _:
                node.ollama.die_mid_stream(dice.randint(0, 20))


async def storm(seed: int, *, troubled: bool) -> None:
    dice = random.Random(seed)
    async with scenario(seed=seed, hold_timeout=600.0) as home:
        nodes: list[SimulatedNode] = []
        said: dict[str, bytes] = {}
        for name, parallel in (("a", 1), ("b", 2)):
            node = await home.node(name, [LLAMA, QWEN], resident=[LLAMA], parallel=parallel)
            home.servers.serve(node.base_url, copying(node.ollama.handle, said))
            nodes.append(node)
        watch = asyncio.create_task(no_lease_is_granted_twice(home))
        rough = [asyncio.create_task(trouble(home, random.Random(seed)))] if troubled else []
        async with asyncio.TaskGroup() as group:
            for _ in range(LEAVE):
                group.create_task(comes_and_goes(home, random.Random(dice.random())))
            marks = [f"stays-{number}" for number in range(STAY)]
            staying = [group.create_task(stays(home, random.Random(dice.random()), mark)) for mark in marks]
        for mark, task in zip(marks, staying, strict=True):
            if not troubled:
                assert served_by(task.result().sink) in {"a", "b"}
                assert task.result().sink.body == said[mark]
        await asyncio.gather(*rough)
        assert not watch.done(), watch.exception()
        watch.cancel()
        for node in nodes:
            node.ollama.heal()  # of faults that no request lived to see
        await assert_nothing_is_out(home)
        assert sum(node.ollama.cancelled for node in nodes) > LEAVE / 20, "hardly anybody got as far as a model server"
        for model in (LLAMA, QWEN):
            async with asyncio.timeout(60):
                assert served_by(await home.ask(CHAT, chat(model, tokens=1))) is not None


def seeds(few: int, many: int) -> list[object]:
    """Some for every day, and more for when there is time."""
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(few, many))]


@pytest.mark.parametrize("seed", seeds(2, 30))
def test_two_hundred_hang_up_and_those_that_stay_are_served_byte_for_byte(seed: int) -> None:
    run_virtual(storm(seed, troubled=False))


@pytest.mark.parametrize("seed", seeds(2, 30))
def test_two_hundred_hang_up_while_links_break_and_servers_fail(seed: int) -> None:
    run_virtual(storm(seed, troubled=True))
