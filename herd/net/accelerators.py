"""The GPUs of this machine: who makes them, and what is known of them while a driver does not answer."""

import asyncio
import logging
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from herd.actors.ports import Clock
from herd.net.apple import SYSCTL, Apple
from herd.net.drm import Drm
from herd.net.nvidia import Nvidia
from herd.net.sensing import SensorAbsent, SensorFailed, Tool
from herd.protocols.messages import Gpu
from herd.protocols.untrusted import MAX_GPUS
from herd.types import Bytes

log = logging.getLogger(__name__)

Memory = Callable[[], tuple[Bytes, Bytes]]  # the machine's own: total and available

# A driver that is not there now may be later: at boot an agent may start before it, and a card may be plugged in.
ABSENT_S = 60.0
# For so long a GPU that does not answer is taken to be as it last was; then it is known no longer.
STALE_S = 60.0


class Maker(Protocol):
    """The GPUs of one maker."""

    name: str

    async def sample(self) -> tuple[Gpu, ...]:
        """All of them. Raises SensorAbsent or SensorFailed, within some seconds."""


@dataclass(slots=True)
class _Known:
    """What is known of one maker's GPUs."""

    maker: Maker
    gpus: tuple[Gpu, ...] = ()
    seen: float = 0.0
    ask_again: float = 0.0
    failing: bool = False


class Accelerators:
    """Implements the port `GpuProbe`.

    Args:
        makers: of GPUs that may be here.
        clock: how old a sample is.
    """

    def __init__(self, makers: Sequence[Maker], clock: Clock) -> None:
        self._known = [_Known(maker) for maker in makers]
        self._clock = clock

    async def sample(self) -> tuple[Gpu, ...]:
        """Every GPU as it is now, or as it was when its driver last answered; those that count."""
        seen = await asyncio.gather(*[self._of(known) for known in self._known])
        return that_count([gpu for gpus in seen for gpu in gpus])

    async def _of(self, known: _Known) -> tuple[Gpu, ...]:
        if self._clock.monotonic() < known.ask_again:
            return ()
        try:
            known.gpus = await known.maker.sample()
        except SensorAbsent as error:
            log.debug("%s: %s", known.maker.name, error)
            known.gpus, known.ask_again = (), self._clock.monotonic() + ABSENT_S
        except (SensorFailed, OSError) as error:
            if not known.failing:
                log.warning("The memory of %s cannot be read: %s", known.maker.name, error)
            known.failing = True
            if self._clock.monotonic() > known.seen + STALE_S:
                known.gpus = ()
        else:
            if known.failing:
                log.info("The memory of %s can be read again.", known.maker.name)
            known.failing, known.seen = False, self._clock.monotonic()
        return known.gpus


def that_count(gpus: Sequence[Gpu]) -> tuple[Gpu, ...]:
    """Those whose memory models run in: beside a card the GPU inside the processor only drives a display."""
    cards = [gpu for gpu in gpus if not gpu.unified]
    return tuple((cards or gpus)[:MAX_GPUS])


def gpus_of_this_machine(memory: Memory, clock: Clock) -> Accelerators:
    """The sensors for what may be in a machine of this kind.

    Args:
        memory: the machine's own, of which some GPUs use a part.
        clock: how old a sample is.
    """
    system = platform.system()
    if system == "Darwin":  # those with an Intel chip run models on the processor
        return Accelerators([Apple(memory, Tool(SYSCTL))] if platform.machine() == "arm64" else [], clock)
    path = shutil.which("nvidia-smi")
    nvidia = Nvidia(memory, Tool(path) if path else None)
    return Accelerators([nvidia, Drm(memory)] if system == "Linux" else [nvidia], clock)
