"""What an agent needs of the sensors of its machine: as protocols, which `herd.net` implements."""

from dataclasses import dataclass
from typing import Protocol

from herd.policy.owner import OwnerSample
from herd.protocols.messages import Gpu, Machine
from herd.types import Bytes

__all__ = ["GpuProbe", "MachineProbe", "MachineSample", "OwnerProbe", "OwnerSample", "ServerProcesses"]


@dataclass(frozen=True, slots=True)
class MachineSample:
    """What changes while an agent runs."""

    cpu: float  # share of all cores, 0 to 1
    memory_total: Bytes
    memory_free: Bytes  # what a new process could get
    week_slot: int
    gpus: tuple[Gpu, ...] = ()


class ServerProcesses(Protocol):
    """The processes behind model servers on this machine."""

    async def variable(self, base_url: str, name: str) -> str | None:
        """An environment variable of the process that listens at `base_url`; None when it cannot be read."""


class MachineProbe(Protocol):
    """The sensors of this machine. Both calls are quick and never block."""

    def machine(self) -> Machine: ...

    def sample(self) -> MachineSample: ...


class GpuProbe(Protocol):
    """The GPUs of this machine whose memory models run in."""

    async def sample(self) -> tuple[Gpu, ...]:
        """Each of them as it is now, or, where a driver does not answer soon, as it was; none where none is known.

        Takes some seconds at most, blocks nobody, and raises nothing.
        """


class OwnerProbe(Protocol):
    """The sensors for what the owner does."""

    async def sample(self) -> OwnerSample:
        """What is true now; what a sensor that does not answer soon would say is None.

        Takes some seconds at most, blocks nobody, and raises nothing.
        """
