"""Owners of machines: what they do keeps inference away from them, or slows it down, and nothing else does."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

from herd.actors.sensor_ports import OwnerSample
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.memory import CEILINGS
from herd.policy.owner import RULES, Sign
from herd.protocols.messages import Report
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import House
from herd.types import GiB, NodeState, Pressure, Seconds, Thermal, Workload
from tests.actors.owners import CALL, REST, FakeOwner
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    QWEN,
    begun,
    chat,
    now,
    queue_of,
    scenario,
    served_by,
    until_held,
    until_waiting,
)

SLOW = Seconds(0.5)
LARGE = "llama3.3:70b"  # some 40 GiB: more than a quarter of a mac-studio's 128, and less than nine tenths
WITHIN_S = 5.0  # the product's promise
CALM_S = 200.0  # all that an owner does has an end by then


async def node_of(home: House, name: str) -> dict[str, Any]:
    """A node in the status."""
    nodes = (await home.ask("/herd/v1/status", method="GET")).json["nodes"]
    return next(node for node in nodes if node["name"] == name)


@virtual_time(serialize_messages=True)
async def test_a_meeting_pauses_its_node_within_5_seconds_and_what_waits_there_moves() -> None:
    async with scenario() as home:
        owner = FakeOwner()
        await home.node("a", [LLAMA], resident=[LLAMA], progress=SLOW, owner=owner)
        running, *waiting = (home.send(CHAT, chat(tokens=2000)) for _ in range(3))
        await until_waiting(home, "a", 2)
        await begun(running.sink)
        await home.node("b", [LLAMA], progress=SLOW)  # cold, so that nobody is moved there for the wait alone
        assert await queue_of(home, "a") == (1, 2)
        began, wall = now(), home.clock.wall()
        owner.sample_now = CALL
        await home.until_node("a", NodeState.PAUSED)
        assert now() - began <= WITHIN_S
        (reason,) = (await node_of(home, "a"))["reasons"]
        assert (reason["kind"], reason["text"]) == ("meeting", "is in a meeting: its camera is in use")
        assert wall <= reason["since"] <= wall + WITHIN_S
        assert reason["until"] is None
        assert await queue_of(home, "a") == (1, 0)
        await asyncio.gather(running.task, *(one.task for one in waiting))
        assert [served_by(one.sink) for one in (running, *waiting)] == ["a", "b", "b"]
        owner.sample_now = REST
        ended = now()
        await home.until_node("a", NodeState.READY)
        assert now() - ended <= 2 * WITHIN_S
        assert (await node_of(home, "a"))["reasons"] == []


@virtual_time
async def test_who_waits_for_a_node_in_a_meeting_is_served_when_it_ends() -> None:
    async with scenario() as home:
        owner = FakeOwner(CALL)
        await home.node("b", [QWEN])
        a = asyncio.create_task(home.node("a", [LLAMA], resident=[LLAMA], owner=owner))
        await home.until_node("a", NodeState.PAUSED)
        sent = home.send(CHAT, chat(tokens=1))
        await until_held(home, 1)
        owner.sample_now = REST
        await sent.task
        assert served_by(sent.sink) == "a"
        await a


@virtual_time
async def test_what_no_sensor_can_say_is_not_in_use() -> None:
    async with scenario() as home:
        owner = FakeOwner(OwnerSample())
        await home.node("a", [LLAMA], resident=[LLAMA], owner=owner)
        await asyncio.sleep(CALM_S)
        node = await node_of(home, "a")
        assert (node["state"], node["reasons"]) == ("ready", [])
        assert (node["workload"], node["owner_load"], node["thermal"]) == (None, None, None)
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"


@virtual_time
async def test_a_dedicated_machine_serves_whatever_its_sensors_take_for_an_owner() -> None:
    everything = OwnerSample(camera=True, microphone=True, cpu=1.0, gpu=1.0)
    async with scenario() as home:
        await home.node("a", [LARGE], owner=FakeOwner(everything), dedicated=True)
        await asyncio.sleep(CALM_S)
        node = await node_of(home, "a")
        assert (node["state"], node["dedicated"], node["workload"]) == ("ready", True, None)
        assert served_by(await home.ask(CHAT, chat(LARGE, tokens=1))) == "a"  # under no ceiling
        sick = replace(everything, thermal=Thermal.CRITICAL)
        owner = FakeOwner(sick)
        hot = asyncio.create_task(home.node("b", [LARGE], owner=owner, dedicated=True))
        await home.until_node("b", NodeState.PAUSED)
        owner.sample_now = everything
        await hot


@virtual_time
async def test_under_critical_memory_pressure_what_is_loaded_is_served_and_nothing_is_loaded() -> None:
    short, relaxed = replace(REST, pressure=Pressure.CRITICAL), replace(REST, pressure=Pressure.NORMAL)
    async with scenario(hold_timeout=60.0) as home:
        owner = FakeOwner(relaxed)
        a = await home.node("a", [LLAMA, QWEN], owner=owner)
        await home.ask(CHAT, chat(LLAMA, tokens=1, options={"num_ctx": 4096}))
        owner.sample_now = short
        await home.until(lambda fleet: any(status.reasons for status in fleet))
        node = await node_of(home, "a")
        assert (node["state"], [reason["kind"] for reason in node["reasons"]]) == ("ready", ["memory-pressure"])
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
        cold = home.send(CHAT, chat(QWEN, tokens=1))
        larger = home.send(CHAT, chat(LLAMA, tokens=1, options={"num_ctx": 8192}))  # would be loaded anew
        await until_held(home, 2)
        assert list(a.ollama.resident) == [LLAMA]
        await home.node("b", [QWEN])
        await cold.task
        assert served_by(cold.sink) == "b"  # which has memory for it
        owner.sample_now = relaxed
        await larger.task
        assert served_by(larger.sink) == "a"
        assert (await node_of(home, "a"))["reasons"] == []


@virtual_time
async def test_who_finds_nothing_but_a_node_that_is_short_of_memory_is_told_so() -> None:
    async with scenario(hold_timeout=5.0) as home:
        owner = FakeOwner(replace(REST, pressure=Pressure.CRITICAL))
        await home.node("a", [LLAMA, QWEN], resident=[LLAMA], owner=owner)
        refused = await home.ask(CHAT, chat(QWEN))
        assert refused.status == 503
        assert "a is short of memory: it serves what is loaded, and loads nothing" in refused.json["error"]


@virtual_time
async def test_a_heavy_owner_leaves_less_memory_so_that_loads_go_elsewhere() -> None:
    async with scenario() as home:
        owner = FakeOwner(replace(REST, cpu=0.7))
        await home.node("a", [LARGE, LLAMA], owner=owner)
        assert served_by(await home.ask(CHAT, chat(LARGE, tokens=1))) == "a"  # a moment is no workload
        await home.nodes[0].unload()
        await home.node("b", [LARGE])
        await home.until(lambda fleet: any(status.report.workload == Workload.HEAVY for status in fleet))
        assert (await node_of(home, "a"))["workload"] == "heavy"
        assert served_by(await home.ask(CHAT, chat(LARGE, tokens=1))) == "b"
        assert served_by(await home.ask(CHAT, chat(LLAMA, tokens=1))) == "a"  # small ones still fit there
        await home.nodes[1].stop_agent()
        alone = home.send(CHAT, chat(LARGE, tokens=1))
        await until_held(home, 1)
        owner.sample_now = REST
        await asyncio.sleep(RULES[Sign.HEAVY].ends)
        await alone.task
        refused = alone.sink  # the owner was there for longer than it was held
        assert refused.status == 503
        left = CEILINGS[Workload.HEAVY] * 128 * GiB / GiB
        assert f"a has {left:.1f} GiB of memory for it" in refused.json["error"]
        await home.until(lambda fleet: all(status.report.workload != Workload.HEAVY for status in fleet))
        assert served_by(await home.ask(CHAT, chat(LARGE, tokens=1))) == "a"


@virtual_time
async def test_an_owner_who_takes_the_machine_for_two_minutes_gets_all_of_it() -> None:
    async with scenario() as home:
        owner = FakeOwner(replace(REST, gpu=0.95))
        began = now()
        await home.node("a", [LLAMA], resident=[LLAMA], owner=owner)
        await asyncio.sleep(RULES[Sign.BUSY].begins - 10.0)
        assert (await node_of(home, "a"))["state"] == "ready"
        await home.until_node("a", NodeState.PAUSED)
        assert 120.0 <= now() - began <= 120.0 + 2 * WITHIN_S
        (reason,) = (await node_of(home, "a"))["reasons"]
        assert reason["kind"] == "owner-load"
        owner.sample_now = REST
        await home.until_node("a", NodeState.READY)


@virtual_time
async def test_of_two_machines_the_one_that_is_not_throttled_serves() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA], owner=FakeOwner(replace(REST, thermal=Thermal.THROTTLED)))
        await home.node("b", [LLAMA], resident=[LLAMA], owner=FakeOwner(replace(REST, thermal=Thermal.NOMINAL)))
        await home.until(lambda fleet: any(status.report.thermal == Thermal.THROTTLED for status in fleet))
        assert served_by(await home.ask(CHAT, chat(tokens=50))) == "b"  # of equal ones `a` would be the first


@virtual_time
async def test_sensors_that_hang_delay_no_heartbeat() -> None:
    async with scenario() as home:
        owner, wire, heard = FakeOwner(), Owner(home.links), []

        def note(report: Report) -> Report:
            heard.append(now())
            return report

        wire.tell(note)
        await home.node("a", [LLAMA], owner=owner, dialer=wire)
        owner.hang()
        await asyncio.sleep(20 * HEARTBEAT_S)
        assert max(later - earlier for earlier, later in pairwise(heard)) <= HEARTBEAT_S
        assert now() - heard[-1] <= HEARTBEAT_S
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
        assert 1 < owner.looks < 15  # one at a time
