"""Loads and the memory that they take: whole fleets of real actors in virtual time."""

import asyncio
from collections import Counter
from dataclasses import replace

from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, Sent, SimulatedNode
from herd.simulation.http import call
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, GiB
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, begun, chat, scenario, served_by

GEMMA = "gemma3:12b"
# Room for one of the two larger models at a time, and for the small one beside it.
CARD = replace(PROFILES["gaming-pc"], model_memory=Bytes(12 * GiB))


async def small_node(home: House, name: str, *models: str, resident: tuple[str, ...] = ()) -> SimulatedNode:
    """A machine with 12 GiB of video memory."""
    return await home.node(name, models, resident=resident, profile=CARD)


def loads(*nodes: SimulatedNode) -> Counter[str]:
    """Loads of each model since the beginning, over these nodes."""
    return sum((node.ollama.loads for node in nodes), Counter())


@virtual_time
async def test_a_load_that_does_not_fit_is_never_asked() -> None:
    async with scenario(hold_timeout=20.0) as home:
        a = await small_node(home, "a", LLAMA, QWEN, resident=(LLAMA,))
        asked = a.ollama.requests[CHAT]
        answer = await home.ask(CHAT, chat(QWEN, options={"num_ctx": 1_000_000, "num_predict": 1}))
        assert answer.status == 200  # a model gets no more than it was trained for, and that fits
        tiny = replace(PROFILES["macbook-air"], model_memory=Bytes(4 * GiB))
        b = await home.node("b", ["llama3.1:8b"], profile=tiny)
        answer = await home.ask(CHAT, chat("llama3.1:8b"))
        assert answer.status == 400
        assert "the one that has it has 4.0 GiB for models, and it takes 5.1 GiB" in answer.json["error"]
        assert (b.ollama.requests[CHAT], loads(b)) == (0, Counter())
        assert a.ollama.requests[CHAT] == asked + 1


@virtual_time
async def test_two_loads_at_once_on_one_node_never_over_commit_its_memory() -> None:
    async with scenario() as home:
        a = await small_node(home, "a", QWEN, GEMMA)
        b = await small_node(home, "b", QWEN, GEMMA)
        sent = [home.send(CHAT, chat(model, tokens=50)) for model in (QWEN, GEMMA)]
        await asyncio.gather(*(one.task for one in sent))
        assert {served_by(one.sink) for one in sent} == {"a", "b"}
        assert loads(a, b) == Counter({QWEN: 1, GEMMA: 1})


@virtual_time
async def test_requests_of_a_burst_for_a_cold_model_share_its_load() -> None:
    async with scenario() as home:
        nodes = [await small_node(home, name, LLAMA) for name in ("a", "b")]
        sent = [home.send(CHAT, chat(tokens=5)) for _ in range(6)]
        await asyncio.gather(*(one.task for one in sent))
        assert max(node.ollama.loads[LLAMA] for node in nodes) == 1


@virtual_time
async def test_a_model_that_nobody_uses_makes_room() -> None:
    async with scenario() as home:
        await small_node(home, "a", QWEN, GEMMA, resident=(QWEN,))
        assert served_by(await home.ask(CHAT, chat(GEMMA))) == "a"


@virtual_time
async def test_a_model_in_use_is_let_end_before_another_takes_its_memory() -> None:
    async with scenario() as home:
        a = await small_node(home, "a", QWEN, GEMMA, resident=(QWEN,))
        running = home.send(CHAT, chat(QWEN, tokens=100))  # a second or so
        await begun(running.sink)
        waiting = home.send(CHAT, chat(GEMMA, tokens=5))
        await running.task
        assert not waiting.sink.started
        assert a.ollama.waiting == 0  # it does not stand in Ollama's own queue, where it would hold up others
        await waiting.task
        assert served_by(waiting.sink) == "a"


@virtual_time
async def test_a_stream_of_requests_for_one_model_does_not_starve_another() -> None:
    async with scenario() as home:
        await small_node(home, "a", QWEN, GEMMA, resident=(QWEN,))
        stop = asyncio.Event()

        async def stream() -> None:
            while not stop.is_set():
                answer = await home.ask(CHAT, chat(QWEN, tokens=100))
                assert served_by(answer) == "a"

        busy = [asyncio.create_task(stream()) for _ in range(3)]
        await asyncio.sleep(5)
        answer = await home.ask(CHAT, chat(GEMMA, tokens=5))
        assert served_by(answer) == "a"
        stop.set()
        await asyncio.gather(*busy)


@virtual_time
async def test_a_smaller_context_does_not_reload_the_model_under_all_others() -> None:
    """Failure 13: `num_ctx` of one client reloading the model under all others."""
    async with scenario() as home:
        a = await small_node(home, "a", LLAMA)
        first = await home.ask(CHAT, chat(options={"num_ctx": 8192, "num_predict": 2}))
        assert served_by(first) == "a"
        await home.until(lambda fleet: any(model.resident for status in fleet for model in status.report.models))
        smaller = await home.ask(CHAT, chat(options={"num_ctx": 2048, "num_predict": 2}))
        unnamed = await home.ask(CHAT, chat(tokens=2))
        same = await home.ask(CHAT, chat(options={"num_ctx": 8192, "num_predict": 2}))
        assert [answer.header("X-Herd-Edited") for answer in (smaller, unnamed, same)] == [
            "options.num_ctx",
            "options.num_ctx",
            None,
        ]
        assert a.ollama.loads[LLAMA] == 1
        larger = await home.ask(CHAT, chat(options={"num_ctx": 16_384, "num_predict": 2}))
        assert larger.header("X-Herd-Edited") is None
        assert a.ollama.loads[LLAMA] == 2


@virtual_time
async def test_a_larger_context_among_many_who_wait_reloads_the_model_once() -> None:
    """Failure 13 again: who was placed before the reload is sent after it, and would reload the model once more."""
    async with scenario() as home:
        a = await small_node(home, "a", LLAMA, resident=(LLAMA,))
        before = a.ollama.loads[LLAMA]

        def send(client: str, **options: int) -> Sent:
            body = chat(options={"num_predict": 20, **options})
            return home.send(CHAT, body, (("X-OpenWebUI-User-Id", client),))

        sent = [*(send("x") for _ in range(4)), send("y", num_ctx=60_000), *(send("y") for _ in range(2))]
        await asyncio.gather(*(one.task for one in sent))
        assert a.ollama.loads[LLAMA] - before == 1
        edited = [one.sink.header("X-Herd-Edited") for one in sent]
        assert edited == [None, *["options.num_ctx"] * 3, None, *["options.num_ctx"] * 2]
        for one, fields in zip(sent, edited, strict=True):  # and the stories say the same
            story = await home.ask(f"/herd/v1/requests/{one.sink.header('X-Request-Id')}", method="GET")
            assert story.json["edited"] == ([fields] if fields else [])


@virtual_time
async def test_a_larger_context_prefers_the_node_that_has_it() -> None:
    async with scenario() as home:
        for name, context in (("a", 4096), ("b", 16_384)):
            node = await small_node(home, name, LLAMA)
            await home.until(lambda fleet: all(status.report.models for status in fleet))
            body = {"model": LLAMA, "keep_alive": -1, "options": {"num_ctx": context}}
            await loaded(home, node, body)
        wide = [served_by(await home.ask(CHAT, chat(options={"num_ctx": 12_000, "num_predict": 1}))) for _ in range(4)]
        assert wide == ["b"] * 4


async def loaded(home: House, node: SimulatedNode, body: dict[str, object]) -> None:
    """Have the node's own server load a model, and wait until the router knows."""
    await call(node.ollama.handle, "POST", "/api/generate", body)
    await home.until(
        lambda fleet: any(
            status.id == node.id and any(model.resident for model in status.report.models) for status in fleet
        )
    )
