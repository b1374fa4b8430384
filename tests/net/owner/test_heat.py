"""Whether a machine slows down for heat, by what its system says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.nvidia import Driver
from herd.net.owner import heat
from herd.net.owner.heat import (
    SAMPLES_A_READING,
    AppleHeat,
    LinuxHeat,
    NvidiaHeat,
    WindowsHeat,
    heat_of_chips,
    heat_probes,
    read_notifyutil,
    read_pmset,
    read_zones,
    worst,
)
from herd.net.sensing import SensorAbsent, SensorFailed
from herd.types import Thermal
from tests.net.owner.nvml import NOT_SUPPORTED, Library

# The zone of the kernel's own example (Documentation/driver-api/thermal/sysfs-api.rst).
ZONE = {"temp": 37000, "trip_point_0_temp": 100000, "trip_point_0_type": "critical"}
ZONE |= {"trip_point_1_temp": 80000, "trip_point_1_type": "passive"}
ZONE |= {"trip_point_2_temp": 70000, "trip_point_2_type": "active"}
# A firmware's limit that is none: `acpitz` of some notebooks of HP, as sensors(1) shows it in public reports.
BOGUS = {"temp": 16800, "trip_point_0_temp": 20800, "trip_point_0_type": "critical"}


class Sysfs:
    """The directories /sys/class/thermal and /sys/devices/system/cpu of a machine."""

    def __init__(self, root: Path) -> None:
        self.thermal, self.cpus = root / "thermal", root / "cpu"
        self.thermal.mkdir()
        self.cpus.mkdir()
        self.probe = LinuxHeat(self.thermal, self.cpus)

    def entry(self, name: str, files: dict[str, Any]) -> None:
        (self.thermal / name).mkdir(exist_ok=True)
        for file, content in files.items():
            (self.thermal / name / file).write_text(f"{content}\n")

    def throttled(self, core: int, package: int, cpu: str = "cpu0") -> None:
        directory = self.cpus / cpu / "thermal_throttle"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "core_throttle_total_time_ms").write_text(f"{core}\n")
        (directory / "package_throttle_total_time_ms").write_text(f"{package}\n")
        (directory / "core_throttle_count").write_text("7\n")


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sysfs:
    monkeypatch.setattr(heat, "_chips", dict)
    return Sysfs(tmp_path)


# --- Linux ------------------------------------------------------------------------------------------------------------


async def test_a_machine_without_sensors_knows_nothing(sysfs: Sysfs) -> None:
    with pytest.raises(SensorAbsent):
        await sysfs.probe.sample()


async def test_virtual_machines_have_processors_to_cool_and_no_sensor(sysfs: Sysfs) -> None:
    sysfs.entry("cooling_device0", {"type": "Processor", "max_state": 8, "cur_state": 0})
    with pytest.raises(SensorAbsent):
        await sysfs.probe.sample()


@pytest.mark.parametrize(
    ("temperature", "thermal"),
    [
        (37000, Thermal.NOMINAL),
        (85000, Thermal.NOMINAL),  # beyond its passive point: what is slowed for it, if anything, says so
        (94999, Thermal.NOMINAL),
        (95000, Thermal.CRITICAL),
        (101000, Thermal.CRITICAL),
    ],
)
async def test_a_zone_that_is_about_to_shut_the_machine_down_is_critical(
    sysfs: Sysfs, temperature: int, thermal: Thermal
) -> None:
    sysfs.entry("thermal_zone1", {**ZONE, "temp": temperature})
    assert await sysfs.probe.sample() is thermal


async def test_a_hot_point_is_a_limit_too(sysfs: Sysfs) -> None:
    sysfs.entry("thermal_zone0", {"temp": 96000, "trip_point_0_temp": 100000, "trip_point_0_type": "hot"})
    assert await sysfs.probe.sample() is Thermal.CRITICAL


@pytest.mark.parametrize(
    "changes",
    [
        BOGUS,
        {"temp": "-5000"},
        {"temp": ""},
        {"temp": "N/A"},
        {"trip_point_0_temp": "-274000"},
        {"trip_point_0_temp": "9" * 40},
    ],
)
async def test_what_cannot_be_is_passed_over(sysfs: Sysfs, changes: dict[str, Any]) -> None:
    sysfs.entry("thermal_zone0", {**ZONE, **changes})
    with pytest.raises(SensorAbsent):
        await sysfs.probe.sample()


@pytest.mark.parametrize("kind", ["Processor", "thermal-cpufreq-0", "cpufreq-cpu0"])
async def test_a_processor_that_the_kernel_holds_back_is_throttled(sysfs: Sysfs, kind: str) -> None:
    sysfs.entry("thermal_zone1", ZONE)
    sysfs.entry("cooling_device0", {"type": kind, "max_state": 10, "cur_state": 0})
    assert await sysfs.probe.sample() is Thermal.NOMINAL
    sysfs.entry("cooling_device0", {"cur_state": 3})
    assert await sysfs.probe.sample() is Thermal.THROTTLED


@pytest.mark.parametrize(("kind", "state"), [("Fan", 5), ("intel_powerclamp", -1), ("TCC Offset", 3), ("LCD", 2)])
async def test_other_cooling_is_no_throttling(sysfs: Sysfs, kind: str, state: int) -> None:
    sysfs.entry("thermal_zone1", ZONE)
    sysfs.entry("cooling_device0", {"type": kind, "max_state": 10, "cur_state": state})
    assert await sysfs.probe.sample() is Thermal.NOMINAL


async def test_intels_counters_tell_of_throttling_while_they_grow(sysfs: Sysfs) -> None:
    sysfs.throttled(500, 900)
    sysfs.throttled(0, 900, "cpu1")
    assert await sysfs.probe.sample() is Thermal.NOMINAL  # that was before
    sysfs.throttled(500, 950)
    assert await sysfs.probe.sample() is Thermal.THROTTLED
    assert await sysfs.probe.sample() is Thermal.NOMINAL


async def test_the_worst_that_is_seen_counts(sysfs: Sysfs) -> None:
    sysfs.entry("thermal_zone0", ZONE)
    sysfs.entry("thermal_zone1", {**ZONE, "temp": 99000})
    sysfs.entry("cooling_device0", {"type": "Processor", "cur_state": 1})
    assert await sysfs.probe.sample() is Thermal.CRITICAL


def chips(current: float, critical: float | None, name: str = "coretemp") -> dict[str, list[Any]]:
    return {name: [SimpleNamespace(label="Package id 0", current=current, high=critical, critical=critical)]}


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        ({}, []),
        (chips(52.0, 100.0), [Thermal.NOMINAL]),  # of psutil's documentation
        (chips(99.0, 100.0), [Thermal.NOMINAL]),
        (chips(100.0, 100.0), [Thermal.THROTTLED]),
        (chips(100.0, None), []),
        (chips(47.0, 20.8), []),
        (chips(90.0, 84.8, "nvme"), []),  # a disk that is hot slows no model
    ],
)
def test_a_chip_at_its_limit_slows_itself(seen: dict[str, list[Any]], found: list[Thermal]) -> None:
    assert list(heat_of_chips(seen)) == found


async def test_this_machine_says_how_it_is_or_that_it_does_not_know() -> None:
    for probe in heat_probes():
        try:
            assert await probe.sample() in Thermal
        except (SensorAbsent, SensorFailed):
            continue


@pytest.mark.skipif(not psutil.LINUX, reason="only Linux shows them")
async def test_the_temperatures_of_this_machine_are_read() -> None:
    for sensors in heat._chips().values():
        assert all(-50 < sensor.current < 200 for sensor in sensors)


# --- macOS ------------------------------------------------------------------------------------------------------------

# `pmset -g therm` of an Intel Mac, at rest and held back, and of one with Apple's chip, as in public reports.
AT_REST = " - CPU_Scheduler_Limit = 100\n - CPU_Available_CPUs = 10\n - CPU_Speed_Limit = 100\n"
HELD_BACK = AT_REST.replace("Speed_Limit = 100", "Speed_Limit = 50")
QUIET = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n"


@pytest.mark.parametrize(
    ("level", "thermal"),
    [
        (0, Thermal.NOMINAL),
        (1, Thermal.NOMINAL),
        (2, Thermal.THROTTLED),
        (3, Thermal.CRITICAL),
        (4, Thermal.CRITICAL),
        (9, Thermal.CRITICAL),
    ],
)
def test_macos_names_a_level(level: int, thermal: Thermal) -> None:
    assert read_notifyutil(f"com.apple.system.thermalpressurelevel {level}\n") is thermal


@pytest.mark.parametrize("said", ["", "com.apple.system.thermalpressurelevel", "com.apple.other 2", "level -1"])
def test_a_level_that_is_not_named_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="names no level"):
        read_notifyutil(said)


@pytest.mark.parametrize(
    ("said", "thermal"),
    [(AT_REST, Thermal.NOMINAL), (HELD_BACK, Thermal.THROTTLED), (QUIET, Thermal.NOMINAL), ("", Thermal.NOMINAL)],
)
def test_an_intel_mac_says_to_what_speed_it_is_held(said: str, thermal: Thermal) -> None:
    assert read_pmset(said) is thermal


class Says:
    """A program that says this, and counts."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.runs: list[tuple[str, ...]] = []

    async def run(self, *arguments: str) -> tuple[int, str]:
        self.runs.append(arguments)
        return 0, self.said


async def test_of_what_a_mac_says_the_worst_counts() -> None:
    level, limits = Says("com.apple.system.thermalpressurelevel 0\n"), Says(HELD_BACK)
    assert await AppleHeat(level, limits).sample() is Thermal.THROTTLED  # type: ignore[arg-type] # they run as Tools do
    assert await AppleHeat(level, None).sample() is Thermal.NOMINAL  # type: ignore[arg-type]
    assert level.runs == [("-g", "com.apple.system.thermalpressurelevel")] * 2
    assert limits.runs == [("-g", "therm")]


# --- Windows ----------------------------------------------------------------------------------------------------------

# Lines as the query formats them, by Microsoft's description of the two counters.
UNHELD, BY_HEAT, BY_CURRENT = "100 0\r\n", "62 1\r\n", "62 2\r\n"


@pytest.mark.parametrize(
    ("said", "thermal"),
    [
        (UNHELD, Thermal.NOMINAL),
        (UNHELD + BY_HEAT, Thermal.THROTTLED),
        (BY_CURRENT, Thermal.NOMINAL),
        ("100 1\r\n", Thermal.NOMINAL),
        ("0 3\r\n", Thermal.THROTTLED),
    ],
)
def test_a_zone_of_windows_says_what_it_holds_back_and_why(said: str, thermal: Thermal) -> None:
    assert read_zones(said) is thermal


def test_a_desktop_has_no_zones() -> None:
    with pytest.raises(SensorAbsent):
        read_zones("\r\n")


@pytest.mark.parametrize("said", ["100", "100 0 0", "much 0", " \n-1 0", "Get-CimInstance : Invalid class"])
def test_zones_that_are_said_otherwise_are_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="said otherwise"):
        read_zones(said)


async def test_powershell_is_run_once_a_minute() -> None:
    powershell = Says(BY_HEAT)
    probe = WindowsHeat(powershell)  # type: ignore[arg-type]
    for _ in range(SAMPLES_A_READING):
        assert await probe.sample() is Thermal.THROTTLED
    assert len(powershell.runs) == 1
    powershell.said = UNHELD
    assert await probe.sample() is Thermal.NOMINAL


async def test_a_powershell_that_failed_or_knew_no_zones_is_run_again_the_next_time() -> None:
    class Fails(Says):
        async def run(self, *arguments: str) -> tuple[int, str]:
            said = await super().run(*arguments)
            if len(self.runs) == 1:
                raise SensorFailed("it does not end")
            return said

    powershell = Fails("")
    probe = WindowsHeat(powershell)  # type: ignore[arg-type]
    with pytest.raises(SensorFailed):
        await probe.sample()
    with pytest.raises(SensorAbsent):
        await probe.sample()
    powershell.said = UNHELD
    assert await probe.sample() is Thermal.NOMINAL


@given(st.text(alphabet="com.apple.system.thermalpressurelevel CPU_Speed_Limit=0123456789\n", max_size=100))
@settings(max_examples=100, derandomize=True, database=None)
def test_whatever_is_said_it_is_read_or_refused(said: str) -> None:
    for read in (read_notifyutil, read_pmset, read_zones):
        try:
            assert read(said) in Thermal
        except (SensorAbsent, SensorFailed):
            continue


# --- NVIDIA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasons", "thermal"),
    [
        ([pynvml.nvmlClocksEventReasonGpuIdle], Thermal.NOMINAL),
        ([pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonHwSlowdown], Thermal.NOMINAL),
        ([0, pynvml.nvmlClocksEventReasonSwThermalSlowdown], Thermal.THROTTLED),
        ([pynvml.nvmlClocksEventReasonHwThermalSlowdown | 8], Thermal.THROTTLED),
        ([NOT_SUPPORTED, 0x20], Thermal.THROTTLED),
    ],
)
async def test_a_card_that_is_slowed_for_heat_is_throttled(reasons: list[Any], thermal: Thermal) -> None:
    library = Library(*[{"reasons": reason} for reason in reasons])
    assert await NvidiaHeat(Driver(library)).sample() is thermal


async def test_an_old_driver_is_asked_by_the_old_name() -> None:
    library = Library({"reasons": pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND), "old reasons": 0x40})
    assert await NvidiaHeat(Driver(library)).sample() is Thermal.THROTTLED


async def test_cards_that_give_no_reasons_are_no_sensor() -> None:
    with pytest.raises(SensorAbsent):
        await NvidiaHeat(Driver(Library({"reasons": NOT_SUPPORTED, "old reasons": NOT_SUPPORTED}))).sample()


def test_the_worst_that_is_known_counts() -> None:
    assert worst([None, Thermal.NOMINAL, Thermal.THROTTLED]) is Thermal.THROTTLED
    assert worst([Thermal.CRITICAL, Thermal.THROTTLED]) is Thermal.CRITICAL
    assert worst([None]) is None
