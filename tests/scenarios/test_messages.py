"""Every message of a lively house can travel: the actors could live on other machines."""

import asyncio

from herd.names import Names
from herd.policy.rebalancing import SETTLED_S
from herd.runtime.testing import serialize_messages, virtual_time
from herd.simulation.fleet.house import House
from herd.types import NodeState
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat, scenario, served_by, until_held, until_waiting


async def a_busy_hour(home: House) -> None:
    a = await home.node("a", [LLAMA], resident=[LLAMA])
    burst = [home.send(CHAT, chat(tokens=2)) for _ in range(5)]
    await asyncio.gather(*(one.task for one in burst))
    home.links.cut(a.id)
    held = home.send(CHAT, chat())
    await until_held(home, 1)
    await held.task
    a.ollama.die_mid_stream(3)
    await home.ask(CHAT, chat())
    assert [served_by(one.sink) for one in (*burst, held)] == ["a"] * 6
    assert (await home.ask("/herd/v1/status", method="GET")).json["totals"]["nodes"] == 1
    watched = home.send("/herd/v1/events?topics=status,requests,happenings,log", method="GET")
    await asyncio.sleep(1.0)
    watched.task.cancel()
    assert b"event: requests" in watched.sink.body


@virtual_time
async def test_every_message_of_the_request_flow_survives_the_codec() -> None:
    async with scenario() as home:
        with serialize_messages():
            await a_busy_hour(home)


@virtual_time
async def test_so_does_every_message_about_models() -> None:
    async with scenario() as home:
        with serialize_messages():
            await home.node("a", [LLAMA], resident=[LLAMA])
            for path, body in (
                ("/api/pull", {"model": QWEN}),
                ("/api/copy", {"source": QWEN, "destination": "x"}),
                ("/api/generate", {"model": LLAMA, "keep_alive": 0}),
                ("/api/show", {"model": "nobody"}),
            ):
                assert (await home.ask(path, body)).status == (404 if path == "/api/show" else 200)
            assert (await home.ask("/api/delete", {"model": QWEN}, method="DELETE")).status == 200


@virtual_time
async def test_so_does_every_message_of_moves_and_of_what_people_tell_nodes() -> None:
    async with scenario() as home:
        with serialize_messages():
            await home.node("a", [LLAMA], resident=[LLAMA])
            assert (await home.ask("/herd/v1/nodes/a/pause?for=1s")).json["state"] == "paused"
            await home.until_node("a", NodeState.READY)
            sent = [home.send(CHAT, chat(tokens=200)) for _ in range(8)]
            await until_waiting(home, "a", 7)
            await asyncio.sleep(SETTLED_S)
            await home.node("b", [LLAMA], resident=[LLAMA])
            await asyncio.gather(*(one.task for one in sent))
            assert {served_by(one.sink) for one in sent} == {"a", "b"}


@virtual_time
async def test_so_does_every_message_of_a_request_that_several_models_would_do_for() -> None:
    async with scenario(names=Names(fallbacks={QWEN: [LLAMA]})) as home:
        with serialize_messages():
            for name, model in (("big", QWEN), ("small", LLAMA)):
                await home.node(name, [model])
                assert (await home.ask(f"/herd/v1/nodes/{name}/drain")).json["state"] == "draining"
            held = home.send(CHAT, chat(QWEN))
            await until_held(home, 1)
            await home.ask("/herd/v1/nodes/small/resume")
            await held.task
            assert served_by(held.sink) == "small"
