"""A house in memory: its processes stop and start again, its clocks go wrong, its disks and reports change."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors.ports import Handler
from herd.protocols.messages import Pause, Report
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.chaos.shelf import Shelf
from herd.simulation.clock import EPOCH, LoopClock
from herd.simulation.fleet.house import House, SimulatedNode, house
from herd.simulation.http import call
from herd.simulation.machine.catalog import CATALOG
from herd.types import NodeState, Seconds

CHAT, LLAMA, QWEN = "/api/chat", "llama3.2:3b", "qwen3:8b"


def chat(model: str = LLAMA, tokens: int = 5) -> dict[str, object]:
    """A body for /api/chat."""
    messages = [{"role": "user", "content": "hello"}]
    return {"model": model, "messages": messages, "options": {"num_predict": tokens}}


def now() -> float:
    return asyncio.get_running_loop().time()


async def state_of(home: House, name: str) -> NodeState:
    return next(status.state for status in await home.fleet() if status.name == name)


async def models_of(home: House, name: str) -> list[str]:
    return [model.name for status in await home.fleet() if status.name == name for model in status.report.models]


async def report_of(home: House, name: str) -> Report:
    return next(status.report for status in await home.fleet() if status.name == name)


# --- Memory -----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_node_that_is_ready_has_told_what_its_models_take_and_what_memory_they_run_in() -> None:
    async with house() as home:
        node = await home.node("a", [LLAMA, QWEN], resident=[QWEN])
        report = await report_of(home, "a")
        assert [model.kv_per_token for model in report.models] == [CATALOG[name].kv_per_token for name in (LLAMA, QWEN)]
        (gpu,) = report.gpus
        assert gpu.memory_free == gpu.memory_total - node.ollama.taken


@virtual_time
async def test_the_report_of_a_load_says_already_what_memory_is_left() -> None:
    async with house() as home:
        node = await home.node("a", [LLAMA])
        await node.load(LLAMA)
        await home.until(lambda fleet: any(model.resident for model in fleet[0].report.models))
        (gpu,) = (await report_of(home, "a")).gpus
        assert gpu.memory_free == gpu.memory_total - node.ollama.taken < gpu.memory_total


# --- The router -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_router_that_stopped_is_gone_until_it_starts_again() -> None:
    async with house() as home:
        await home.node("a", [LLAMA])
        await home.stop_router()
        assert not home.up
        assert not home.http.listens
        with pytest.raises(RuntimeError, match="not up"):
            await home.fleet()
        with pytest.raises(RuntimeError, match="does not listen"):
            home.send(CHAT, chat())
        await home.stop_router()
        await asyncio.sleep(60)
        await home.start_router()
        began = now()
        await home.until_node("a", NodeState.READY)
        assert now() - began < 4  # agents dial every 3 s at least
        assert (await home.ask(CHAT, chat())).header("X-Herd-Node") == "a"


@virtual_time
async def test_a_router_that_starts_again_knows_what_it_wrote_down_and_gives_ids_of_its_own() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA])
        before = await home.ask(CHAT, chat())
        await a.stop_agent()
        await home.restart_router()
        held = home.send(CHAT, chat())
        await asyncio.sleep(20)
        assert not held.sink.started
        await a.start_agent()
        await held.task
        assert held.sink.header("X-Herd-Node") == "a"
        assert held.sink.header("X-Request-Id") != before.header("X-Request-Id")


@pytest.mark.parametrize("grace", [0.0, 30.0])
def test_what_runs_when_a_router_stops_is_cut_or_given_its_grace(grace: float) -> None:
    @virtual_time
    async def story() -> None:
        async with house() as home:
            await home.node("a", [LLAMA], resident=[LLAMA])
            home.http.grace = grace
            sent = home.send(CHAT, chat(tokens=500))
            await asyncio.sleep(1)
            await home.restart_router(away=1.0)
            assert sent.sink.finished is bool(grace)
            assert sent.task.cancelled() is not bool(grace)

    story()


# --- Nodes ------------------------------------------------------------------------------------------------------------


async def silent_since(home: House, a: SimulatedNode) -> None:
    """Its agent is gone without a word."""
    home.links.freeze(a.id)
    home.links.unplug(a.id)
    await a.stop_agent()
    home.links.thaw(a.id)


@virtual_time
async def test_a_machine_that_is_unplugged_is_missed_only_when_it_has_been_silent() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA])
        await silent_since(home, a)
        assert await state_of(home, "a") is NodeState.READY
        await asyncio.sleep(20)
        assert await state_of(home, "a") is NodeState.DEGRADED
        await asyncio.sleep(10)
        assert await state_of(home, "a") is NodeState.OFFLINE
        await a.start_agent()
        await home.until_node("a", NodeState.READY)


@virtual_time
async def test_a_machine_that_is_back_before_it_was_missed_takes_the_place_of_its_old_link() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        running = home.send(CHAT, chat(tokens=1_000_000))
        await asyncio.sleep(1)
        await silent_since(home, a)
        await a.start_agent()
        await running.task  # it broke with the old link
        assert b'"error"' in running.sink.body
        assert (await home.ask(CHAT, chat())).header("X-Herd-Node") == "a"


@virtual_time
async def test_a_server_forgets_what_it_had_in_memory() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA, QWEN], resident=[LLAMA, QWEN])
        a.stop_server()
        await a.unload()
        a.start_server()
        assert a.ollama.resident == ()
        await home.ask(CHAT, chat())
        assert a.ollama.loads == {LLAMA: 2, QWEN: 1}


@virtual_time
async def test_a_wall_clock_may_go_wrong_and_durations_do_not() -> None:
    clock = LoopClock()
    await asyncio.sleep(5)
    assert [clock.wall(), clock.monotonic()] == [EPOCH + 5, 5.0]
    clock.ahead = -3600.0
    assert [clock.wall(), clock.monotonic()] == [EPOCH + 5 - 3600, 5.0]


@virtual_time
async def test_each_machine_and_the_router_has_a_clock_of_its_own() -> None:
    async with house() as home:
        a = await home.node("a", [LLAMA])
        a.clock.ahead, home.clock.ahead = 86_400.0, -86_400.0
        answer = await home.ask(CHAT, {**chat(), "stream": False})
        assert answer.json["created_at"].startswith("2026-06-02T")
        home.links.cut(a.id)
        await asyncio.sleep(0)
        await home.until_node("a", NodeState.OFFLINE)
        reason = next(status.reasons[0] for status in await home.fleet())
        assert reason.since == pytest.approx(EPOCH - 86_400, abs=60)


# --- Disks and reports ------------------------------------------------------------------------------------------------


@virtual_time
async def test_models_come_onto_a_shelf_and_leave_it() -> None:
    shelves: list[Shelf] = []

    def around(server: Handler) -> Handler:
        shelves.append(Shelf(server, [QWEN]))
        return shelves[0].handle

    async with house() as home:
        a = await home.node("a", [LLAMA, QWEN], resident=[LLAMA], around=around)
        assert await models_of(home, "a") == [LLAMA]
        assert (await call(a.handler, "POST", CHAT, chat(QWEN))).json == {"error": f"model '{QWEN}' not found"}
        body = {"model": QWEN, "messages": []}
        assert (await call(a.handler, "POST", "/v1/chat/completions", body)).json["error"]["type"] == "not_found_error"
        shelves[0].put_back(QWEN)
        shelves[0].take_away(LLAMA)  # in memory still, and nevertheless not to be had
        await asyncio.sleep(10)
        assert await models_of(home, "a") == [QWEN]
        assert (await home.ask(CHAT, chat(QWEN))).header("X-Herd-Node") == "a"
        assert (await call(a.handler, "POST", CHAT, chat(LLAMA))).status == 404
        assert (await call(a.handler, "GET", "/api/version")).status == 200


@virtual_time
async def test_an_owner_pauses_and_reports_may_be_changed() -> None:
    async with house() as home:
        owner = Owner(home.links)
        owner.pause()  # before anything was reported, or any link was up
        await home.node("a", [LLAMA, QWEN], dialer=owner)
        owner.tell(lambda report: replace(report, models=report.models[:1]))
        await asyncio.sleep(0.1)
        assert await models_of(home, "a") == [LLAMA]
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await asyncio.sleep(0.1)
        assert await state_of(home, "a") is NodeState.PAUSED
        assert await models_of(home, "a") == [LLAMA]
        owner.tell(None)
        owner.pause()
        await asyncio.sleep(0.1)
        assert await state_of(home, "a") is NodeState.READY
        assert await models_of(home, "a") == [LLAMA, QWEN]
        owner.report(Report())
        await asyncio.sleep(0.1)
        assert await models_of(home, "a") == []
