"""How short of memory this machine is.

Memory that is full is no trouble: a large model may fill it, and files that were read fill what is left. What counts is
whether programs wait for memory, which Linux measures and macOS judges. Where neither is to be had, memory counts as
short only once what it can be swapped to is, too.
"""

import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil

from herd.net.machine import control_groups
from herd.net.sensing import Aside, SensorAbsent, SensorFailed, Tool
from herd.types import Pressure

# Percent of the last 10 s in which some, or all, programs that had work to do waited for memory. GLib's memory monitor
# warns at 5 % of some (gio/gmemorymonitorpsi.c). It takes 5 % of all for critical, but where nothing else runs, to load
# a model into memory full of files is enough for that; systemd-oomd ends programs at 60 % (oomd.conf(5)).
SOME_WARNING = 5.0
FULL_CRITICAL = 20.0
_STALLS = re.compile(r"^(some|full) avg10=(\d{1,3}\.\d\d) avg60=", re.MULTILINE)

# Of memory and of swap: where earlyoom ends programs at the least, and where it no longer asks them to end themselves.
LEFT_WARNING = 0.10
LEFT_CRITICAL = 0.05

# macOS: DISPATCH_MEMORYPRESSURE_NORMAL, _WARN and _CRITICAL.
SYSCTL_LEVEL = ("-n", "kern.memorystatus_vm_pressure_level")
_LEVELS = {"1": Pressure.NORMAL, "2": Pressure.WARNING, "4": Pressure.CRITICAL}

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_ORDER = (Pressure.NORMAL, Pressure.WARNING, Pressure.CRITICAL)


class PressureProbe(Protocol):
    """A way to learn of the pressure."""

    async def sample(self) -> Pressure:
        """The pressure now. Raises SensorAbsent or SensorFailed."""


class LinuxPressure:
    """The stalls of the machine, and those of this process's control group and of the groups around it.

    Args:
        proc: where the kernel shows the machine's.
        cgroups: where it shows those of control groups, version 2.
    """

    def __init__(self, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._aside = Aside("memory pressure")

    async def sample(self) -> Pressure:
        return await self._aside.run(self._read)

    def _read(self) -> Pressure:
        found = [read_stalls(said) for said in self._said()]
        return max(found, key=_ORDER.index) if found else pressure_of_what_is_left()

    def _said(self) -> Iterator[str]:
        groups = control_groups(self._proc, self._cgroups)
        for path in (self._proc / "pressure" / "memory", *[group / "memory.pressure" for group in groups]):
            try:
                yield path.read_text("ascii")
            except (OSError, UnicodeError):  # the kernel was built, or told, not to count
                continue


class ApplePressure:
    """The system's own word, by `sysctl`."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    async def sample(self) -> Pressure:
        _, said = await self._tool.run(*SYSCTL_LEVEL)
        return read_level(said)


class PlainPressure:
    """What is left, on systems that say no more."""

    def __init__(self) -> None:
        self._aside = Aside("memory pressure")

    async def sample(self) -> Pressure:
        return await self._aside.run(pressure_of_what_is_left)


def read_stalls(said: str) -> Pressure:
    """The pressure by a file of the kernel's pressure stall information (https://docs.kernel.org/accounting/psi.html).

    Raises:
        SensorFailed: it says something else.
    """
    stalls = {kind: float(share) for kind, share in _STALLS.findall(said)}
    if "some" not in stalls or max(stalls.values()) > 100:
        raise SensorFailed(f"the kernel's stalls are said otherwise: {said[:100]!r}")
    if stalls.get("full", 0.0) >= FULL_CRITICAL:
        return Pressure.CRITICAL
    return Pressure.WARNING if stalls["some"] >= SOME_WARNING else Pressure.NORMAL


def read_level(said: str) -> Pressure:
    """The pressure by macOS's level of it.

    Raises:
        SensorFailed: it is none of those that are known.
    """
    level = _LEVELS.get(said.strip())
    if level is None:
        raise SensorFailed(f"sysctl names no pressure that is known: {said[:100]!r}")
    return level


def pressure_of_what_is_left() -> Pressure:
    """The pressure by what is left of memory and of what it can be swapped to. Blocking.

    Raises:
        SensorAbsent: the system does not say.
    """
    try:
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    except (psutil.Error, OSError, RuntimeError) as error:
        raise SensorAbsent(f"this system does not say how much memory is left: {error}") from error
    return pressure_by(memory.available / memory.total, swap.free / swap.total if swap.total else 0.0)


def pressure_by(memory_left: float, swap_left: float) -> Pressure:
    """The pressure by the shares of memory and of swap that are left, 0 to 1."""
    left = max(memory_left, swap_left)
    if left < LEFT_CRITICAL:
        return Pressure.CRITICAL
    return Pressure.WARNING if left < LEFT_WARNING else Pressure.NORMAL


def pressure_probe(sysctl: Tool) -> PressureProbe:
    """The way that a machine of this kind has."""
    system = platform.system()
    if system == "Darwin":
        return ApplePressure(sysctl)
    return LinuxPressure() if system == "Linux" else PlainPressure()
