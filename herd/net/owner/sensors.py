"""All sensors for what the owner does, asked side by side."""

import asyncio
import platform
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

from herd.actors.ports import Clock
from herd.actors.sensor_ports import OwnerSample
from herd.net.apple import SYSCTL
from herd.net.owner.gpus import IOREG, AmdUse, AppleUse, Maker, NvidiaUse
from herd.net.owner.heat import HeatProbe, heat_probes, worst
from herd.net.owner.meeting import MeetingProbe
from herd.net.owner.meetings import NoMeetings
from herd.net.owner.network import NetworkMeter
from herd.net.owner.pressure import PressureProbe, pressure_probe
from herd.net.owner.processes import LoadMeter, Processes
from herd.net.owner.watched import WAIT_S, Watched
from herd.net.sensing import Aside, Tool
from herd.types import Seconds

P = ParamSpec("P")
T = TypeVar("T")


class ProcessesProbe(Protocol):
    """The sensor for whose the processes are, and what the owner's take."""

    async def sample(self) -> Processes | None: ...


class NetworkProbe(Protocol):
    """The sensor for what passes through the network's interfaces."""

    async def sample(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Probes:
    """What a machine has of sensors."""

    meetings: MeetingProbe
    processes: ProcessesProbe
    gpus: Sequence[Maker]
    heat: Sequence[HeatProbe]
    pressure: PressureProbe
    network: NetworkProbe


class OwnerSensors:
    """Implements the port `OwnerProbe`. A sensor that hangs leaves its own fields unknown, and no others.

    Args:
        probes: the sensors.
        clock: when something was found absent.
        wait: how long one waits for each.
    """

    def __init__(self, probes: Probes, clock: Clock, wait: Seconds = WAIT_S) -> None:
        def watched(what: str, ask: Callable[P, Awaitable[T]]) -> Watched[P, T]:
            return Watched(what, ask, clock, wait)

        self._meetings = watched("The use of camera and microphone", probes.meetings.sample)
        self._processes = watched("Whose the load of this machine is", probes.processes.sample)
        self._gpus = [watched(f"The load of {maker.name}", maker.shares) for maker in probes.gpus]
        self._heat = [watched(f"{heat.name[:1].upper()}{heat.name[1:]}", heat.sample) for heat in probes.heat]
        self._pressure = watched("The pressure on memory", probes.pressure.sample)
        self._network = watched("The traffic of the network", probes.network.sample)

    async def sample(self) -> OwnerSample:
        """What is true now; None is what is not known. At most some 4 s: processes, then what of the GPUs is theirs."""
        meeting, (processes, gpu), heat, pressure, network = await asyncio.gather(
            self._meetings.ask(),
            self._loads(),
            asyncio.gather(*[heat.ask() for heat in self._heat]),
            self._pressure.ask(),
            self._network.ask(),
        )
        return OwnerSample(
            camera=None if meeting is None else meeting.camera,
            microphone=None if meeting is None else meeting.microphone,
            cpu=None if processes is None else processes.cpu,
            gpu=gpu,
            memory=None if processes is None else processes.memory,
            network=network,
            thermal=worst(heat),
            pressure=pressure,
        )

    async def _loads(self) -> tuple[Processes | None, float | None]:
        """The processes, and the owner's share of the busiest GPU: unknown as soon as one of the GPUs' is."""
        processes = await self._processes.ask()
        if processes is None:
            return None, None
        answers = await asyncio.gather(*[maker.ask(processes) for maker in self._gpus])
        present = [answer for maker, answer in zip(self._gpus, answers, strict=True) if not maker.absent]
        shares = [share for answer in present for share in (answer or [None])]
        known = [share for share in shares if share is not None]
        return processes, max(known) if known and len(known) == len(shares) else None


class _LoadProbe:
    """Looks at the processes in a thread."""

    def __init__(self, meter: LoadMeter) -> None:
        self._meter = meter
        self._aside = Aside("processes")

    async def sample(self) -> Processes:
        return await self._aside.run(self._meter.sample)


class _NotLookedAt:
    """In the place of a sensor for what an owner does, where there is none."""

    async def sample(self) -> None:
        """Unknown."""


def owner_probe_of_this_machine(
    backend_urls: Collection[str], clock: Clock, meetings: MeetingProbe | None
) -> OwnerSensors:
    """The sensors that a machine of this kind has.

    Args:
        backend_urls: of the model servers beside the agent, whose load is not the owner's.
        clock: how old something is.
        meetings: the sensors of camera and microphone; None: the machine has no owner, and is asked for what it bears
            only.
    """
    system = platform.system()
    makers: dict[str, list[Maker]] = {"Darwin": [AppleUse(Tool(IOREG))], "Linux": [NvidiaUse(), AmdUse()]}
    nobody = _NotLookedAt()
    return OwnerSensors(
        Probes(
            meetings=meetings or NoMeetings(),
            processes=_LoadProbe(LoadMeter(backend_urls, clock)) if meetings else nobody,
            gpus=makers.get(system, [NvidiaUse()]),  # of which nothing is asked where the processes are not known
            heat=heat_probes(),
            pressure=pressure_probe(Tool(SYSCTL)),
            network=NetworkMeter(clock) if meetings else nobody,
        ),
        clock,
    )
