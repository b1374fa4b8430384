"""Whether this machine is so hot that it slows down, or is about to protect itself.

What counts is what the system does about heat, not a temperature: processors are built to run near their limit, and
firmware names limits that mean nothing.
"""

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from herd.net.nvidia import Driver, answer_to
from herd.net.sensing import Aside, SensorAbsent, SensorFailed, Tool
from herd.types import Thermal

_ORDER = (Thermal.NOMINAL, Thermal.THROTTLED, Thermal.CRITICAL)

# --- Linux: https://docs.kernel.org/driver-api/thermal/sysfs-api.html, in thousandths of a degree --------------------
_THERMAL = Path("/sys/class/thermal")
_CPUS = Path("/sys/devices/system/cpu")
# At `critical` the kernel shuts the machine down, at `hot` firmware may put it to sleep. At `passive` it slows a
# processor, which its cooling devices tell better: some governors begin to look only there, and on notebooks the zone
# may be the case, of which nobody has told the kernel what to slow.
_LIMITS = ("hot", "critical")
NEAR = 5_000
# Nothing that computes shuts down below this; there are firmwares that say 20.8 degrees.
LEAST_LIMIT, MOST_LIMIT = 60_000, 150_000
# Processors as cooling devices, by ACPI's driver and by cpufreq's. A state above 0 is a processor held back.
_PROCESSORS = re.compile(r"Processor|thermal-cpufreq-\d+|cpufreq-.+")
# Milliseconds of throttling since the start, of a core and of its package
# (https://docs.kernel.org/arch/x86/intel_thermal.html). The kernel leaves short spikes out of them, but not of the
# counts beside them.
_THROTTLED_MS = "thermal_throttle/*_throttle_total_time_ms"
# The drivers of processors and of AMD's cards. What they call critical is where the chip begins to slow itself: the
# maximum junction temperature of Intel's (Documentation/hwmon/coretemp.rst), the limit of hardware thermal control of
# AMD's (k10temp.rst).
_CHIPS = ("coretemp", "k10temp", "zenpower", "amdgpu")

# --- macOS ------------------------------------------------------------------------------------------------------------
NOTIFYUTIL, PMSET = "/usr/bin/notifyutil", "/usr/bin/pmset"
NOTIFYUTIL_LEVEL = ("-g", "com.apple.system.thermalpressurelevel")
PMSET_THERM = ("-g", "therm")
# Of OSThermalPressureLevel, nominal, moderate, heavy, trapping and sleeping. Moderate is what programs know as `fair`:
# the machine is warm, and nothing is slower for it (NSProcessInfoThermalState).
_LEVELS = (Thermal.NOMINAL, Thermal.NOMINAL, Thermal.THROTTLED, Thermal.CRITICAL, Thermal.CRITICAL)

# --- Windows ----------------------------------------------------------------------------------------------------------
POWERSHELL = "powershell.exe"
_ZONES = "Win32_PerfFormattedData_Counters_ThermalZoneInformation"
_SAID_SO = "ForEach-Object { '{0} {1}' -f $_.PercentPassiveLimit, $_.ThrottleReasons }"
POWERSHELL_ZONES = ("-NoProfile", "-NonInteractive", "-Command", f"Get-CimInstance {_ZONES} | {_SAID_SO}")
# It takes a second of a processor to start PowerShell, and heat comes slowly: once a minute, at a sample every 5 s.
SAMPLES_A_READING = 12
# TZ_ACTIVATION_REASON_THERMAL; the other is electrical current
# (https://learn.microsoft.com/windows-hardware/design/device-experiences/thermal-policy).
_BY_HEAT = 1

# --- NVIDIA: two of nvmlClocksEventReason... are of heat; HwSlowdown may be of power, too -----------------------------
_HEAT_REASONS = 0x20 | 0x40  # SwThermalSlowdown, HwThermalSlowdown


class HeatProbe(Protocol):
    """A way to learn how hot something is."""

    name: str

    async def sample(self) -> Thermal:
        """How hot it is now. Raises SensorAbsent or SensorFailed."""


class LinuxHeat:
    """What the kernel shows of zones, of processors held back, and of chips at their limit.

    Args:
        thermal: where it shows zones and cooling devices.
        cpus: where it shows processors.
    """

    name = "the temperature"

    def __init__(self, thermal: Path = _THERMAL, cpus: Path = _CPUS) -> None:
        self._thermal = thermal
        self._cpus = cpus
        self._aside = Aside("heat")
        self._throttled_ms: dict[Path, int] = {}

    async def sample(self) -> Thermal:
        return await self._aside.run(self._read)

    def _read(self) -> Thermal:
        found = [*self._zones(), *self._counters(), *heat_of_chips(_chips())]
        if not found:
            raise SensorAbsent("this machine shows no temperature that has a limit")
        if any(self._held_back()):
            found.append(Thermal.THROTTLED)
        return max(found, key=_ORDER.index)

    def _zones(self) -> Iterator[Thermal]:
        for zone in self._thermal.glob("thermal_zone*"):
            temperature = _number(zone / "temp")
            limits = [
                limit
                for kind in zone.glob("trip_point_*_type")
                if _text(kind) in _LIMITS
                and (limit := _number(kind.with_name(kind.name.replace("_type", "_temp")))) is not None
                and LEAST_LIMIT <= limit <= MOST_LIMIT
            ]
            if temperature is not None and 0 < temperature < MOST_LIMIT and limits:
                yield Thermal.CRITICAL if temperature >= min(limits) - NEAR else Thermal.NOMINAL

    def _held_back(self) -> Iterator[bool]:
        for device in self._thermal.glob("cooling_device*"):
            if _PROCESSORS.fullmatch(_text(device / "type")):
                yield (_number(device / "cur_state") or 0) > 0

    def _counters(self) -> Iterator[Thermal]:
        before = self._throttled_ms
        self._throttled_ms = {
            path: count
            for path in self._cpus.glob(f"cpu[0-9]*/{_THROTTLED_MS}")
            if (count := _number(path)) is not None
        }
        for path, count in self._throttled_ms.items():
            yield Thermal.THROTTLED if count > before.get(path, count) else Thermal.NOMINAL


class AppleHeat:
    """The system's own word.

    Args:
        notifyutil: says how the system is pressed by heat.
        pmset: says to what part of its speed an Intel processor is held; nothing of Apple's chips, so None there.
    """

    name = "the thermal pressure"

    def __init__(self, notifyutil: Tool, pmset: Tool | None) -> None:
        self._notifyutil = notifyutil
        self._pmset = pmset

    async def sample(self) -> Thermal:
        _, level = await self._notifyutil.run(*NOTIFYUTIL_LEVEL)
        found = [read_notifyutil(level)]
        if self._pmset is not None:
            _, limits = await self._pmset.run(*PMSET_THERM)
            found.append(read_pmset(limits))
        return max(found, key=_ORDER.index)


class WindowsHeat:
    """The system's counters of its thermal zones, where firmware has any; most desktops' has none."""

    name = "the thermal zones"

    def __init__(self, powershell: Tool) -> None:
        self._powershell = powershell
        self._said = ""
        self._samples = 0

    async def sample(self) -> Thermal:
        if self._samples % SAMPLES_A_READING == 0:
            _, self._said = await self._powershell.run(*POWERSHELL_ZONES)
        self._samples += 1
        try:
            return read_zones(self._said)
        except SensorAbsent:
            self._samples = 0
            raise


class NvidiaHeat:
    """Whether NVIDIA's driver holds a card back for its heat."""

    name = "the heat of NVIDIA's GPUs"

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or Driver()
        self._aside = Aside("nvml heat")

    async def sample(self) -> Thermal:
        reasons = await self._aside.run(lambda: self._driver.ask_each(_reasons))
        known = [reason for reason in reasons if reason is not None]
        if not known:
            raise SensorAbsent("no card says why it is slowed")
        return Thermal.THROTTLED if any(reason & _HEAT_REASONS for reason in known) else Thermal.NOMINAL


def _reasons(library: Any, handle: Any) -> int | None:
    """Why a card is slowed. Before version 535 drivers know the question by its old name only."""
    reasons = answer_to(library, library.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        reasons = answer_to(library, library.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    return None if reasons is None else int(reasons)


def heat_of_chips(chips: Mapping[str, Sequence[Any]]) -> Iterator[Thermal]:
    """How each chip is that has a limit, by what psutil says of temperatures."""
    for name in _CHIPS:
        for sensor in chips.get(name, ()):
            if sensor.critical is not None and LEAST_LIMIT <= sensor.critical * 1000 <= MOST_LIMIT:
                yield Thermal.THROTTLED if sensor.current >= sensor.critical else Thermal.NOMINAL


def read_notifyutil(said: str) -> Thermal:
    """How hot a Mac is by the level of its thermal pressure: `com.apple.system.thermalpressurelevel 0`.

    Raises:
        SensorFailed: it names none.
    """
    found = re.fullmatch(r"com\.apple\.system\.thermalpressurelevel (\d{1,9})\s*", said)
    if found is None:
        raise SensorFailed(f"notifyutil names no level: {said[:100]!r}")
    return _LEVELS[min(int(found[1]), len(_LEVELS) - 1)]


def read_pmset(said: str) -> Thermal:
    """Whether a Mac's processor is held back, by what `pmset -g therm` says; a system without limits says nothing."""
    limits = re.findall(r"CPU_Speed_Limit\s*=\s*(\d{1,3})\b", said)
    return Thermal.THROTTLED if any(int(limit) < 100 for limit in limits) else Thermal.NOMINAL


def read_zones(said: str) -> Thermal:
    """Whether a thermal zone of Windows holds something back: a line each of its limit in percent, and its reasons.

    Raises:
        SensorAbsent: there are none.
        SensorFailed: it says something else.
    """
    lines = [line.split() for line in said.splitlines() if line.strip()]
    if not lines:
        raise SensorAbsent("this machine has no thermal zones")
    held_back = False
    for line in lines:
        if len(line) != 2 or not all(word.isascii() and word.isdigit() and len(word) < 10 for word in line):
            raise SensorFailed(f"the thermal zones are said otherwise: {' '.join(line)[:100]!r}")
        held_back = held_back or (int(line[0]) < 100 and bool(int(line[1]) & _BY_HEAT))
    return Thermal.THROTTLED if held_back else Thermal.NOMINAL


def worst(found: Sequence[Thermal | None]) -> Thermal | None:
    """The worst that is known."""
    return max([heat for heat in found if heat is not None], key=_ORDER.index, default=None)


def heat_probes() -> list[HeatProbe]:
    """The ways that a machine of this kind has."""
    system = platform.system()
    if system == "Darwin":
        intel = platform.machine() != "arm64"
        return [AppleHeat(Tool(NOTIFYUTIL), Tool(PMSET) if intel else None)]
    own: HeatProbe = LinuxHeat() if system == "Linux" else WindowsHeat(Tool(POWERSHELL))
    return [own, NvidiaHeat()]


def _chips() -> Mapping[str, Sequence[Any]]:
    with suppress(OSError, RuntimeError, ValueError):
        return psutil.sensors_temperatures()
    return {}


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeError):
        return path.read_text("ascii").strip()
    return ""


def _number(path: Path) -> int | None:
    """The number in a small file, or None. Some zones cannot be read while their device sleeps."""
    text = _text(path)
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None
