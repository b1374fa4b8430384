"""All sensors together: each says its own, and none holds up or spoils the others."""

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from herd.actors.sensor_ports import OwnerProbe, OwnerSample
from herd.net.clock import SystemClock
from herd.net.owner import sensors
from herd.net.owner.gpus import AppleUse
from herd.net.owner.heat import AppleHeat
from herd.net.owner.pressure import ApplePressure
from herd.net.owner.processes import LoadMeter, Processes
from herd.net.owner.sensors import OwnerSensors, Probes, owner_probe_of_this_machine
from herd.net.sensing import SensorAbsent, SensorFailed, Tool
from herd.types import Bytes, Pressure, Seconds, Thermal

PROCESSES = Processes(
    cpu=0.25, memory=Bytes(4), ours=frozenset(), computing=frozenset(), alive=frozenset(), hidden=False
)


@dataclass(frozen=True)
class InMeeting:
    camera: bool | None = True
    microphone: bool | None = False


class Says:
    """A sensor of any kind. An answer that is an error is raised; without one it hangs."""

    name = "a thing"

    def __init__(self, *answer: Any) -> None:
        self.answer = answer
        self.given: list[Any] = []

    async def sample(self) -> Any:
        if not self.answer:
            await asyncio.Event().wait()
        if isinstance(self.answer[0], Exception):
            raise self.answer[0]
        return self.answer[0]

    async def shares(self, processes: Processes) -> Any:
        self.given.append(processes)
        return await self.sample()


ALL = Probes(
    meetings=Says(InMeeting()),
    processes=Says(PROCESSES),
    gpus=[Says([0.5])],
    heat=[Says(Thermal.NOMINAL)],
    pressure=Says(Pressure.WARNING),
    network=Says(1000.0),
)
KNOWN = OwnerSample(
    camera=True,
    microphone=False,
    cpu=0.25,
    gpu=0.5,
    memory=Bytes(4),
    network=1000.0,
    thermal=Thermal.NOMINAL,
    pressure=Pressure.WARNING,
)


SOON = Seconds(0.1)  # one that hangs is waited for so long only


def all_but(**changes: Any) -> OwnerSensors:
    return OwnerSensors(replace(ALL, **changes), SystemClock(), SOON)


async def test_each_sensor_has_its_say() -> None:
    assert await all_but().sample() == KNOWN


UNKNOWN: list[tuple[str, dict[str, None]]] = [
    ("meetings", {"camera": None, "microphone": None}),
    ("processes", {"cpu": None, "memory": None, "gpu": None}),
    ("pressure", {"pressure": None}),
    ("network", {"network": None}),
]


@pytest.mark.parametrize(("sensor", "fields"), UNKNOWN)
@pytest.mark.parametrize("answer", [(), (SensorFailed("no"),), (SensorAbsent("no"),), (ZeroDivisionError(),)])
async def test_one_that_hangs_or_fails_leaves_only_its_own_unknown(
    sensor: str, fields: dict[str, None], answer: Sequence[Exception]
) -> None:
    probe = all_but(**{sensor: Says(*answer)})
    for _ in range(2):
        assert await probe.sample() == replace(KNOWN, **fields)


@pytest.mark.parametrize("answer", [(), (SensorFailed("no"),), (SensorAbsent("no"),)])
async def test_one_way_to_learn_of_heat_that_hangs_leaves_the_others(answer: Sequence[Exception]) -> None:
    heat = [Says(*answer), Says(Thermal.THROTTLED), Says(Thermal.NOMINAL)]
    assert (await all_but(heat=heat).sample()).thermal is Thermal.THROTTLED
    assert (await all_but(heat=[Says(*answer)]).sample()).thermal is None


@pytest.mark.parametrize(
    ("gpus", "share"),
    [
        ([], None),
        ([Says([0.25, 0.75]), Says([0.0])], 0.75),
        ([Says([0.25, None])], None),
        ([Says([0.25]), Says(SensorAbsent("none"))], 0.25),
        ([Says([0.25]), Says(SensorFailed("no"))], None),
        ([Says([0.25]), Says()], None),
        ([Says(SensorAbsent("none"))], None),
    ],
)
async def test_the_busiest_gpu_counts_once_all_are_known(gpus: list[Says], share: float | None) -> None:
    probe = all_but(gpus=gpus)
    assert (await probe.sample()).gpu == share
    assert (await probe.sample()).gpu == share


async def test_a_gpus_sensor_is_told_whose_the_processes_are() -> None:
    maker = Says([0.5])
    await all_but(gpus=[maker]).sample()
    assert maker.given == [PROCESSES]


async def test_sensors_are_asked_side_by_side() -> None:
    everybody = asyncio.Barrier(4)

    class Waits(Says):
        async def sample(self) -> Any:
            await everybody.wait()
            return self.answer[0]

    parts = {name: Waits(*getattr(ALL, name).answer) for name in ("meetings", "processes", "pressure", "network")}
    assert await all_but(**parts).sample() == KNOWN


async def test_when_all_hang_nothing_is_known_soon() -> None:
    hung = Says()
    probe = OwnerSensors(Probes(hung, hung, [hung], [hung], hung, hung), SystemClock(), SOON)
    for _ in range(2):
        async with asyncio.timeout(5):
            assert await probe.sample() == OwnerSample()


@pytest.mark.skipif(os.name != "posix", reason="its programs are shell scripts")
@pytest.mark.parametrize("does", ["exec sleep 60", "exec yes", "echo 3", "exit 1", "kill -9 $$", "printf '\\377'"])
async def test_a_program_that_hangs_babbles_or_dies_leaves_the_rest_known(tmp_path: Path, does: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)

    def tool() -> Tool:
        return Tool(str(program), Seconds(0.5))

    probe = all_but(heat=[AppleHeat(tool(), tool())], pressure=ApplePressure(tool()), gpus=[AppleUse(tool())])
    for _ in range(2):
        assert await probe.sample() == replace(KNOWN, thermal=None, pressure=None, gpu=None)


async def test_a_look_at_the_processes_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    looks: list[str] = []

    def hang() -> list[int]:
        looks.append("looks")
        answer.wait()
        return []

    monkeypatch.setattr("psutil.pids", hang)
    probe = all_but(processes=sensors._LoadProbe(LoadMeter([], SystemClock())))
    for _ in range(3):
        assert await probe.sample() == replace(KNOWN, cpu=None, memory=None, gpu=None)
    assert looks == ["looks"]
    answer.set()
    for thread in threading.enumerate():
        if thread.name == "processes":
            await asyncio.to_thread(thread.join)


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows", "FreeBSD"])
async def test_on_every_system_there_is_a_probe_that_raises_nothing(
    system: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    probe: OwnerProbe = owner_probe_of_this_machine([], SystemClock(), Says(InMeeting()))
    sample = await probe.sample()
    assert (sample.camera, sample.cpu) == (True, None)


async def test_of_a_machine_without_an_owner_nothing_is_looked_at_but_what_it_bears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    def look(*_: Any, **__: Any) -> list[int]:
        looked.append("looks")
        return []

    for what in ("pids", "net_io_counters", "net_connections"):
        monkeypatch.setattr(f"psutil.{what}", look)
    probe = owner_probe_of_this_machine(["http://127.0.0.1:11434"], SystemClock(), None)
    for _ in range(2):
        sample = await probe.sample()
        assert sample == OwnerSample(thermal=sample.thermal, pressure=sample.pressure)
        assert sample.pressure in {*Pressure}
    assert looked == []


async def test_this_machine_is_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    probe = owner_probe_of_this_machine(["http://127.0.0.1:11434"], SystemClock(), Says(InMeeting()))
    first = await probe.sample()
    end = os.times().user + 0.05
    while os.times().user < end:
        pass
    second = await probe.sample()
    assert first.cpu is None
    for sample in (first, second):
        assert sample.cpu is None or 0 <= sample.cpu <= 1
        assert sample.gpu is None or 0 <= sample.gpu <= 1
        assert sample.memory is None or sample.memory >= 0
        assert sample.network is None or sample.network >= 0
        assert sample.pressure in {*Pressure}
    assert not caplog.messages
