"""Loads ahead, in whole houses: a deep queue brings its model to one more node, and nobody pays for that."""

import asyncio

from herd.actors.node_proxy import COMMAND_S
from herd.protocols.messages import Pause
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import House, SimulatedNode
from herd.simulation.machine.profiles import PROFILES
from herd.types import NodeState, Seconds
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat, scenario, served_by

SMALL = PROFILES["pc-3070"]  # has room for either of the models, not for both
MEETING = Pause("meeting", "is in a meeting", Seconds(0.0))


async def burst(home: House, count: int, tokens: int = 400) -> list[str | None]:
    """So many requests at once; who served them."""
    sent = [home.send(CHAT, chat(tokens=tokens)) for _ in range(count)]
    await asyncio.gather(*(one.task for one in sent))
    return [served_by(one.sink) for one in sent]


async def later(home: House, seconds: float = 20.0) -> None:
    await asyncio.sleep(seconds)


def loads(node: SimulatedNode) -> int:
    """How often the node's server has loaded anything."""
    return sum(node.ollama.loads.values())


@virtual_time
async def test_pre_warm_happens_once() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        others = [await home.node(name, [LLAMA]) for name in ("b", "c", "d")]
        await burst(home, 6)
        await later(home)
        assert sorted(loads(node) for node in others) == [0, 0, 1]


@virtual_time
async def test_a_queue_that_is_not_deep_loads_nothing() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        other = await home.node("b", [LLAMA])
        await burst(home, 3, tokens=5)
        await later(home)
        assert loads(other) == 0


@virtual_time
async def test_never_in_a_cascade() -> None:
    """Both models are wanted, and each other node has room for one: what the one has is not taken for the other."""
    async with scenario() as home:
        hot = await home.node("hot", [LLAMA, QWEN], resident=[LLAMA, QWEN])
        other = await home.node("b", [LLAMA, QWEN], profile=SMALL, resident=[QWEN])
        before = (loads(hot), loads(other))
        sent = [home.send(CHAT, chat(QWEN, tokens=300)) for _ in range(2)]
        await later(home, 0.1)
        sent += [home.send(CHAT, chat(tokens=100)) for _ in range(5)]
        await asyncio.gather(*(one.task for one in sent))
        await later(home)
        assert (loads(hot), loads(other)) == before


@virtual_time
async def test_two_loads_at_once_on_one_node_never_over_commit_its_memory() -> None:
    """Two queues are deep in the same moment, and one other node has room for either model, not for both."""
    async with scenario() as home:
        await home.node("hot", [LLAMA, QWEN], resident=[LLAMA, QWEN])
        other = await home.node("b", [LLAMA, QWEN], profile=SMALL)
        sent = [home.send(CHAT, chat(model, tokens=40)) for _ in range(4) for model in (LLAMA, QWEN)]
        await asyncio.gather(*(one.task for one in sent))
        await later(home)
        assert loads(other) == len(other.ollama.resident) == 1


@virtual_time
async def test_a_machine_whose_owner_is_in_a_meeting_is_not_asked() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        owner = Owner(home.links)
        other = await home.node("b", [LLAMA], dialer=owner)
        owner.pause(MEETING)
        await home.until_node("b", NodeState.PAUSED)
        await burst(home, 6)
        await later(home)
        assert loads(other) == 0


@virtual_time
async def test_the_end_of_the_link_ends_the_load_and_gives_its_memory_back() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        other = await home.node("b", [LLAMA])
        sent = [home.send(CHAT, chat(tokens=400)) for _ in range(6)]
        await later(home, 0.3)
        assert await home.router.parts.scorer.reserved.remote() == {other.id: (LLAMA,)}
        home.links.cut(other.id)
        await asyncio.gather(*(one.task for one in sent))
        await later(home)
        scorer = home.router.parts.scorer
        assert await scorer.reserved.remote() == {}
        assert asyncio.get_running_loop().time() < COMMAND_S
