"""What people at a node's machine see of its agent, and how often."""

import asyncio
import json
from dataclasses import replace

from herd.actors.agent import Agent
from herd.actors.backend import BackendSettings, BackendState
from herd.actors.desk import (
    AgentStatus,
    ShownRequest,
    ShownWeek,
    ShownWork,
)
from herd.actors.noted import RequestEnd
from herd.actors.router_link import Way
from herd.actors.sensor_ports import MachineSample
from herd.actors.showing import FRAME_S, REWRITE_S, Shown, documents
from herd.protocols.messages import Gpu, Welcome
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.types import BackendId, Bytes, ModelName, NodeName, Outcome, RequestId, RouterId, Seconds, Tokens
from tests.actors.doubles import OLLAMA, Witness, model, settled
from tests.actors.owners import FakeDesk

URL = "http://127.0.0.1:11434"
UP = BackendState(OLLAMA.id, OLLAMA, (model("m", resident=True),))
SERVED = RequestEnd(Outcome.SERVED, Tokens(30))


def sample(cpu: float = 0.5) -> MachineSample:
    return MachineSample(cpu, Bytes(64), Bytes(32), 17, (Gpu("0", "RTX", "nvidia", Bytes(24), Bytes(20)),))


def asked(number: int) -> ShownRequest:
    return ShownRequest(RequestId(f"r{number}"), ModelName("m"), OLLAMA.id, "/api/chat", Seconds(EPOCH))


class Beside:
    """An Agent, and what lies on its desk."""

    def __init__(self) -> None:
        self.desk = FakeDesk()
        self.agent: ActorHandle = remote(Agent).remote(
            lambda _: None, (BackendSettings(OLLAMA.id, URL),), LoopClock(), desk=self.desk
        )

    async def after(self, number: int) -> Shown:
        shown: Shown = await self.agent.status_after.remote(number)
        return shown

    async def end(self) -> None:
        await stop(self.agent)


@virtual_time(serialize_messages=True)
async def test_a_view_sees_everything_that_there_is_to_see() -> None:
    beside = Beside()
    week = ShownWeek((0.5,) * 168, (1.0,) * 168)
    agent = beside.agent
    agent.backend_changed.tell(UP)
    agent.backend_changed.tell(BackendState(BackendId("lm"), trouble="connection refused"))
    agent.sampled.tell(sample())
    agent.link_up.tell(Welcome(1, RouterId("r1"), NodeName("mac"), "0.2"), Way("http://hub:11435", "192.0.2.7"))
    agent.request_began.tell(1, asked(1))
    agent.week_learned.tell(week)
    status = (await beside.after(0)).status
    assert (status.router_url, status.router_peer, status.router_version) == ("http://hub:11435", "192.0.2.7", "0.2")
    assert (status.linked, status.trouble, status.link_since) == (True, "", LoopClock().wall())
    assert [(one.id, one.url, one.kind, one.trouble) for one in status.servers] == [
        ("ollama", URL, "ollama", ""),
        ("lm", "", "", "connection refused"),
    ]
    assert status.work == ShownWork((asked(1),), 1)
    assert status.machine is not None
    assert (status.machine.cpu, [gpu.memory_free for gpu in status.machine.gpus], status.week_slot) == (0.5, [20], 17)
    assert status.week == week
    await beside.end()


@virtual_time
async def test_a_view_is_told_of_a_change_soon_and_of_many_changes_four_times_a_second() -> None:
    beside = Beside()
    seen, loop = await beside.after(0), asyncio.get_running_loop()
    waiting = asyncio.create_task(beside.after(seen.number))
    await asyncio.sleep(10)
    assert not waiting.done()  # nothing has changed
    beside.agent.sampled.tell(sample())
    seen = await waiting
    assert (loop.time(), seen.status.machine is not None) == (10.0, True)
    frames = 0
    while loop.time() < 20.0:
        for number in range(5):
            beside.agent.request_began.tell(number, asked(number))
            beside.agent.request_ended.tell(number, SERVED)
        seen = await beside.after(seen.number)
        frames += 1
    assert frames == 10 / FRAME_S
    assert seen.status.work.served == 5 * frames
    await beside.end()


@virtual_time
async def test_what_changed_while_a_view_was_busy_is_not_missed_nor_sooner_than_a_frame() -> None:
    beside = Beside()
    seen = await beside.after(0)
    for frame, cpu in enumerate((0.1, 0.2, 0.3)):
        beside.agent.sampled.tell(sample(cpu))
        seen = await beside.after(seen.number)
        assert asyncio.get_running_loop().time() == frame * FRAME_S
        assert seen.status.machine is not None
        assert seen.status.machine.cpu == cpu
    await beside.end()


@virtual_time
async def test_views_that_are_gone_are_forgotten_and_several_see_the_same() -> None:
    beside = Beside()
    number = (await beside.after(0)).number
    tasks = [asyncio.create_task(beside.after(number)) for _ in range(3)]
    await settled()
    tasks[0].cancel()
    await settled()
    beside.agent.sampled.tell(sample())
    first, second = await asyncio.gather(*tasks[1:])
    assert first == second
    await beside.end()


@virtual_time
async def test_the_desk_sees_what_runs_once_a_minute_and_what_weighs_more_at_once() -> None:
    beside = Beside()
    beside.agent.backend_changed.tell(UP)
    await settled()
    beside.desk.shown.clear()
    for number in range(3 * int(REWRITE_S)):
        beside.agent.request_began.tell(number, asked(number))
        beside.agent.sampled.tell(sample(number / 1000))
        await asyncio.sleep(0.5)
        beside.agent.request_ended.tell(number, SERVED)
        await asyncio.sleep(0.5)
    assert [status.work.served for status in beside.desk.shown] == [60, 120, 180]
    beside.agent.backend_changed.tell(replace(UP, models=(model("m"),)))
    await settled()
    assert len(beside.desk.shown) == 4
    await asyncio.sleep(10 * REWRITE_S)
    assert beside.desk.shown[-1].work == ShownWork(served=3 * int(REWRITE_S))  # and that it is over
    assert len(beside.desk.shown) == 5
    await beside.end()


@virtual_time
async def test_the_desk_and_the_views_see_how_far_an_image_is() -> None:
    beside = Beside()
    for step in (1, 2):
        beside.agent.backend_changed.tell(replace(UP, models=(replace(UP.models[0], step=step, steps=9),)))
        await settled()
        (shown,) = beside.desk.shown[-1].models
        assert (shown.step, shown.steps) == (step, 9)
    assert (await beside.after(0)).status.models == beside.desk.shown[-1].models
    await beside.end()


@virtual_time
async def test_what_only_moves_never_reaches_the_desk() -> None:
    beside = Beside()
    expiring = UP.models[0]
    for number in range(100):
        beside.agent.backend_changed.tell(replace(UP, models=(replace(expiring, expires_at=str(number)),)))
        beside.agent.sampled.tell(sample(number / 1000))
        await asyncio.sleep(5)
    assert len(beside.desk.shown) == 1
    assert (await beside.after(0)).status.models[0].expires_at == "99"
    await beside.end()


class Speaker(Witness):
    """In place of the Agent."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def status_after(self, number: int) -> Shown:
        assert number == self._count
        self._count += 1
        return Shown(self._count, AgentStatus(linked=self._count > 1))


@virtual_time
async def test_documents_are_lines_of_json_that_are_made_when_they_are_asked_for() -> None:
    agent = remote(Speaker).remote()
    lines = documents(agent, {"id": "n1"})
    for linked in (False, True):
        line = await anext(lines)
        assert line.endswith(b"\n")
        shown = json.loads(line)
        assert (shown["id"], shown["linked"], shown["all_models"], line.count(b"\n")) == ("n1", linked, 0, 1)
    await lines.aclose()
    await stop(agent)
