"""The Collector: samples the machine for the agent."""

import asyncio
from dataclasses import replace

from herd.actors.sensor_ports import GpuProbe, MachineProbe, MachineSample
from herd.protocols.messages import Gpu
from herd.runtime import ActorHandle, context

SAMPLE_S = 5.0  # a heartbeat carries one sample


class Collector:
    """Owns the sensors of this machine.

    Args:
        probe: the sensors that answer at once.
        agent: the Agent, told of each sample.
        gpus: those of GPUs, whose drivers may take seconds: no sample waits for them. None: `probe` says all there is.
    """

    def __init__(self, probe: MachineProbe, agent: ActorHandle, gpus: GpuProbe | None = None) -> None:
        self._probe = probe
        self._agent = agent
        self._gpu_probe = gpus
        self._gpus: tuple[Gpu, ...] = ()  # as last seen
        self._latest: MachineSample | None = None
        self._looking: asyncio.Task[None] | None = None  # at the GPUs; one look at a time
        self._urgent = False  # the Agent waits for a look that began after it asked

    def on_start(self) -> None:
        """A first sample at once, then one a heartbeat."""
        self._agent.sensed_by.tell(context(self).handle)
        self._sample()
        context(self).every(SAMPLE_S, self._sample)

    def introduce(self) -> None:
        """Tell the Agent, which has lost what it knew, who is here and how the machine is."""
        self._agent.sensed_by.tell(context(self).handle)
        self._tell()

    def look(self) -> None:
        """Models came or went: tell the Agent what memory is left, as soon as that is seen."""
        latest = self._latest
        fresh = self._probe.sample()
        # The processor's share since a moment ago says nothing.
        self._latest = fresh if latest is None else replace(fresh, cpu=latest.cpu)
        if self._gpu_probe is None:
            self._tell(urgent=True)
        else:
            self._urgent = True
            self._look_at_gpus(self._gpu_probe)

    def _sample(self) -> None:
        self._latest = self._probe.sample()
        self._tell()
        if self._gpu_probe is not None:
            self._look_at_gpus(self._gpu_probe)

    def _tell(self, *, urgent: bool = False) -> None:
        if self._latest is None:
            return
        sample = self._latest if self._gpu_probe is None else replace(self._latest, gpus=self._gpus)
        self._agent.sampled.tell(sample, urgent)

    def _look_at_gpus(self, probe: GpuProbe) -> None:
        if self._looking is None or self._looking.done():
            self._looking = context(self).spawn(self._see_gpus(probe), name="look at the GPUs")

    async def _see_gpus(self, probe: GpuProbe) -> None:
        """Look, and once more if the Agent asked meanwhile: what it wants to know may have happened after the look."""
        while True:
            urgent, self._urgent = self._urgent, False
            seen = await probe.sample()
            changed, self._gpus = seen != self._gpus, seen
            if changed or urgent:
                self._tell(urgent=urgent)
            if not self._urgent:
                return
