"""Clients with chains of models, some of whom hang up, while nodes are drained and servers fail: many seeds."""

import asyncio
import random

import pytest

from herd.names import Names, canonical
from herd.runtime.testing import run_virtual
from herd.simulation.fleet.house import House, Sent
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    OPENAI_CHAT,
    QWEN,
    assert_nothing_is_out,
    chat,
    openai_chat,
    scenario,
    turns,
)
from tests.scenarios.test_hang_up_storm import no_lease_is_granted_twice, seeds

GEMMA = "gemma3:4b"
DISKS = {"a": (QWEN,), "b": (LLAMA,), "c": (GEMMA, LLAMA)}
ASKED = (QWEN, LLAMA, GEMMA, "smart", "quick", "nobody-has-it")
NAMES = Names({"smart": QWEN, "quick": "small", "small": GEMMA}, {QWEN: [LLAMA, GEMMA], "quick": [LLAMA]})

CLIENTS, COME_S = 150, 60.0


async def trouble(home: House, dice: random.Random) -> None:
    """For a while; in the end every node takes requests."""
    for _ in range(40):
        await asyncio.sleep(dice.uniform(0.1, 3.0))
        node = dice.choice(home.nodes)
        match dice.randrange(6):
            case 0 | 1 | 2:
                await home.ask(f"/herd/v1/nodes/{node.id}/{dice.choice(('drain', 'drain', 'resume'))}")
            case 3:
                home.links.cut(node.id)
            case 4:
                node.ollama.fail_next(dice.choice((404, 500, 503)), "out of order")
            case _:
                node.ollama.die_mid_stream(dice.randint(0, 20))
    for node in home.nodes:
        node.ollama.heal()
        await home.ask(f"/herd/v1/nodes/{node.id}/resume")


async def client(home: House, dice: random.Random) -> tuple[Sent, tuple[str, ...]]:
    """A request, and the models that may serve it."""
    await asyncio.sleep(dice.uniform(0.0, COME_S))
    asked = dice.choice(ASKED)
    own = dice.choice((None, None, [], dice.sample(ASKED, dice.randint(1, 4))))
    path = dice.choice((CHAT, OPENAI_CHAT))
    body = chat(asked, tokens=dice.randint(1, 60)) if path == CHAT else openai_chat(asked, tokens=dice.randint(1, 60))
    sent = home.send(path, body | ({} if own is None else {"fallback_models": own}))
    match dice.randrange(4):
        case 0:
            await turns(dice.randint(0, 40))
            await sent.hang_up()
        case 1:
            await asyncio.sleep(dice.uniform(0.0, 30.0))
            await sent.hang_up()
        case _:
            await sent.task
    return sent, NAMES.chain(asked, own)


async def storm(seed: int) -> None:
    dice = random.Random(seed)
    fell_back = 0
    async with scenario(seed=seed, hold_timeout=120.0, names=NAMES) as home:
        for name, models in DISKS.items():
            await home.node(name, models, parallel=dice.randint(1, 2))
        watch = asyncio.create_task(no_lease_is_granted_twice(home))
        async with asyncio.TaskGroup() as group:
            group.create_task(trouble(home, random.Random(dice.random())))
            tasks = [group.create_task(client(home, random.Random(dice.random()))) for _ in range(CLIENTS)]
        for sent, models in (task.result() for task in tasks):
            answer = sent.sink
            if answer.status == 200:
                served = canonical(answer.header("X-Herd-Model") or "")
                assert served in models
                assert served in DISKS[answer.header("X-Herd-Node") or ""]
                fell_back += served != models[0]
            elif answer.status == 404 and answer.header("X-Herd-Node") is None:
                assert models == ("nobody-has-it:latest",)
        assert fell_back > 2, "hardly any request was served by another model than its first"
        assert not watch.done(), watch.exception()
        watch.cancel()
        await assert_nothing_is_out(home)
        for model in ("smart", LLAMA, GEMMA):
            async with asyncio.timeout(120):
                answer = await home.ask(CHAT, chat(model, tokens=1))
                assert (answer.status, answer.header("X-Herd-Model")) == (200, NAMES.resolve(model))


@pytest.mark.parametrize("seed", seeds(3, 25))
def test_whoever_serves_is_in_the_chain_has_the_model_and_nothing_is_left_over(seed: int) -> None:
    run_virtual(storm(seed))
