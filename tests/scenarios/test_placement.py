"""Who serves: residency, load, and the states of nodes."""

import asyncio
from collections import Counter

from herd.protocols.messages import Pause
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.types import NodeState, Seconds
from tests.scenarios.helpers import CHAT, LLAMA, begun, chat, queue_of, scenario, served_by, until_waiting

MEETING = Pause("meeting", "is in a meeting", Seconds(0.0))


@virtual_time
async def test_the_node_that_has_the_model_resident_serves() -> None:
    async with scenario() as home:
        await home.node("a-cold", [LLAMA])
        await home.node("b-warm", [LLAMA], resident=[LLAMA])
        answer = await home.ask(CHAT, chat())
        assert served_by(answer) == "b-warm"
        assert answer.header("X-Herd-Model") == LLAMA
        assert answer.header("X-Herd-Attempts") == "1"
        assert answer.header("X-Herd-Queue-Ms") == "0"
        assert 85 <= float(answer.header("X-Herd-Score") or 0) <= 105  # resident, idle, with all the context it needs


@virtual_time
async def test_a_load_counts_from_the_heartbeat_that_shows_it() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        b = await home.node("b", [LLAMA])
        await b.load(LLAMA)
        await home.until(lambda fleet: any(model.resident for status in fleet for model in status.report.models))
        assert served_by(await home.ask(CHAT, chat())) == "b"


@virtual_time
async def test_two_equal_nodes_share_one_request_after_the_other() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA])
        answers = [served_by(await home.ask(CHAT, chat(tokens=1))) for _ in range(10)]
        assert answers == ["a", "b"] * 5


@virtual_time
async def test_a_burst_sees_its_own_effect_and_spreads() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA], parallel=2)
        sent = [home.send(CHAT, chat(tokens=100)) for _ in range(50)]
        await until_waiting(home, "a", 23)
        assert await queue_of(home, "b") == (2, 23)
        await asyncio.gather(*(one.task for one in sent))
        assert Counter(served_by(one.sink) for one in sent) == {"a": 25, "b": 25}


@virtual_time
async def test_who_waited_is_told_how_long() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        clock = asyncio.get_running_loop()
        first, second = home.send(CHAT, chat(tokens=100)), home.send(CHAT, chat())
        began = clock.time()
        await first.task
        waited = clock.time() - began
        await second.task
        assert second.sink.header("X-Herd-Queue-Ms") == str(round(waited * 1000))


@virtual_time
async def test_requests_for_one_model_are_served_in_order_of_arrival() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(tokens=5)) for _ in range(8)]
        ended: list[asyncio.Task[None]] = []
        for one in sent:
            one.task.add_done_callback(ended.append)
        await asyncio.gather(*(one.task for one in sent))
        assert ended == [one.task for one in sent]


@virtual_time
async def test_a_paused_node_gets_nothing_new_and_ends_what_it_has() -> None:
    async with scenario() as home:
        owner = Owner(home.links)
        await home.node("a", [LLAMA], resident=[LLAMA], dialer=owner)
        running, waiting = home.send(CHAT, chat(tokens=500)), home.send(CHAT, chat())
        await begun(running.sink)
        await home.node("b", [LLAMA])
        owner.pause(MEETING)
        await home.until_node("a", NodeState.PAUSED)
        await waiting.task
        assert served_by(waiting.sink) == "b"
        assert not running.task.done()
        assert served_by(await home.ask(CHAT, chat())) == "b"
        await running.task
        assert served_by(running.sink) == "a"
        owner.pause()
        await home.until_node("a", NodeState.READY)
        assert {served_by(await home.ask(CHAT, chat())) for _ in range(4)} == {"a", "b"}


@virtual_time
async def test_a_request_waits_out_the_pause_of_the_only_node() -> None:
    async with scenario() as home:
        owner = Owner(home.links)
        await home.node("a", [LLAMA], dialer=owner)
        owner.pause(MEETING)
        await home.until_node("a", NodeState.PAUSED)
        held = home.send(CHAT, chat())
        await asyncio.sleep(20)
        assert not held.sink.started
        owner.pause()
        await held.task
        assert served_by(held.sink) == "a"


@virtual_time
async def test_a_draining_node_gets_nothing_new_and_ends_what_it_has() -> None:
    async with scenario() as home:
        await home.node("b", [LLAMA])
        a = await home.node("a", [LLAMA], resident=[LLAMA], grace=Seconds(60.0))
        running, waiting = home.send(CHAT, chat(tokens=500)), home.send(CHAT, chat())
        await begun(running.sink)
        leaving = asyncio.create_task(a.stop_agent())
        await home.until_node("a", NodeState.DRAINING)
        await waiting.task
        assert served_by(waiting.sink) == "b"
        assert served_by(await home.ask(CHAT, chat())) == "b"
        assert not running.task.done()
        await running.task
        assert served_by(running.sink) == "a"
        await leaving
        await home.until_node("a", NodeState.OFFLINE)


@virtual_time
async def test_what_outlasts_the_grace_of_a_leaving_agent_ends_with_an_error() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA], grace=Seconds(1.0))
        running = home.send(CHAT, chat(tokens=5000))
        await begun(running.sink)
        await a.stop_agent()
        await running.task
        assert b'"error"' in running.sink.pieces[-1]
        assert a.ollama.cancelled == 1


@virtual_time
async def test_a_silent_node_loses_to_one_that_speaks() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        b = await home.node("b", [LLAMA], resident=[LLAMA])
        home.links.freeze(a.id)
        await home.until_node("a", NodeState.DEGRADED)
        answers = [served_by(await home.ask(CHAT, chat(tokens=1))) for _ in range(4)]
        assert answers == ["b"] * 4
        home.links.thaw(a.id)
        await home.until_node("a", NodeState.READY)
        assert b.ollama.requests[CHAT] == 4
        assert {served_by(await home.ask(CHAT, chat(tokens=1))) for _ in range(4)} == {"a", "b"}


@virtual_time
async def test_a_model_name_means_the_same_in_every_spelling() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        for spelling in ("LLAMA3.2:3B", "library/llama3.2:3b", "registry.ollama.ai/library/llama3.2:3b"):
            assert served_by(await home.ask(CHAT, chat(spelling, tokens=1))) == "a"
