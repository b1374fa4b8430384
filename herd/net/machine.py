"""The sensors of this machine: processor, memory, and the hour of its week. The only module that knows psutil."""

import logging
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from herd.actors.ports import Clock
from herd.actors.sensor_ports import MachineSample
from herd.protocols.messages import Machine
from herd.types import Bytes

log = logging.getLogger(__name__)

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")

HOURS_A_DAY = 24


def week_slot(local: datetime) -> int:
    """Hours since Monday 00:00 on the wall clock, 0 to 167, of a moment in its own time zone.

    The clock's change of spring skips a slot and that of autumn stays in one for two hours: people's habits follow the
    clock on the wall.
    """
    return local.weekday() * HOURS_A_DAY + local.hour


class PsutilProbe:
    """Implements the port `MachineProbe`.

    Args:
        clock: what time it is.
        proc: where Linux shows its processes and processors.
        cgroups: where Linux shows the limits of containers (control groups, version 2).
    """

    def __init__(self, clock: Clock, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        self._clock = clock
        self._proc = proc
        self._cgroups = cgroups
        psutil.cpu_percent(interval=None)  # the share is counted from here on
        self._latest = (*self.memory(), 0.0)

    def machine(self) -> Machine:
        """What does not change. `cpu` is empty where naming the processor would take a subprocess (macOS, Windows)."""
        return Machine(
            os=platform.system().lower(),
            arch=platform.machine(),
            cpu=cpu_name(self._proc / "cpuinfo"),
            cores=os.cpu_count() or 0,
            memory_total=self.memory()[0],
        )

    def sample(self) -> MachineSample:
        """What changes; `cpu` is the share since the sample before."""
        try:
            self._latest = (*self.memory(), psutil.cpu_percent(interval=None) / 100)
        except OSError as error:  # out of file descriptors, mostly: what was true 5 s ago will do
            log.warning("The state of this machine cannot be read now: %s", error)
        total, free, cpu = self._latest
        return MachineSample(
            cpu=cpu,
            memory_total=total,
            memory_free=free,
            week_slot=week_slot(datetime.fromtimestamp(self._clock.wall(), tz=UTC).astimezone()),
        )

    def memory(self) -> tuple[Bytes, Bytes]:
        """Total and free bytes: the machine's, or what a container may have of them, whichever is less."""
        machine = psutil.virtual_memory()
        total, free = machine.total, machine.available
        for limit, used in memory_limits(self._proc, self._cgroups):
            total = min(total, limit)
            free = min(free, max(0, limit - used))
        return Bytes(total), Bytes(free)


def cpu_name(cpuinfo: Path) -> str:
    """The processor's name from Linux's `/proc/cpuinfo`; empty where it has none (ARM boards, other systems)."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        log.debug("There is no %s on this system.", cpuinfo)
    return ""


def memory_limits(proc: Path, cgroups: Path) -> Iterator[tuple[int, int]]:
    """The limits that this process's control group and those around it set, and what counts against them, in bytes.

    Version 2 only (https://docs.kernel.org/admin-guide/cgroup-v2.html). File pages that nobody used for a while count
    as used by the group, but the kernel takes them back before it refuses memory, so they are free here.
    """
    for directory in control_groups(proc, cgroups):
        limit = _first_number(directory / "memory.max")  # "max": no limit here
        used = _first_number(directory / "memory.current")
        if limit is not None and used is not None:
            yield limit, used - (_first_number(directory / "memory.stat", "inactive_file ") or 0)


def control_groups(proc: Path, cgroups: Path) -> list[Path]:
    """The directories of this process's control group and of those around it, version 2; none on other systems."""
    try:
        membership = (proc / "self" / "cgroup").read_text(encoding="ascii")
        path = next(line.removeprefix("0::/") for line in membership.splitlines() if line.startswith("0::/"))
    except (OSError, UnicodeError, StopIteration):
        return []  # not Linux, or version 1 only
    group = cgroups / path
    return [directory for directory in (group, *group.parents) if directory == cgroups or cgroups in directory.parents]


def _first_number(path: Path, key: str = "") -> int | None:
    """The number after `key` in a small file, or None where there is no such file, key or number."""
    try:
        with path.open(encoding="ascii") as lines:
            value = next(line.removeprefix(key) for line in lines if line.startswith(key))
        return int(value)
    except (OSError, ValueError, StopIteration):
        return None
