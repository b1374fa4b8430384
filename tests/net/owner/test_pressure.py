"""How short of memory a machine is, by what its system says."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.owner.pressure import (
    ApplePressure,
    LinuxPressure,
    PlainPressure,
    pressure_by,
    pressure_probe,
    read_level,
    read_stalls,
)
from herd.net.sensing import SensorFailed, Tool
from herd.types import Pressure

# /proc/pressure/memory: of an idle machine (6.18), and lines that stand in public articles on it.
IDLE = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
BUSY = "some avg10=4.67 avg60=2.15 avg300=1.08 total=287263028\nfull avg10=0.30 avg60=0.12 avg300=0.05 total=1839\n"


def stalls(some: float, full: float) -> str:
    return (
        f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=1\nfull avg10={full:.2f} avg60=0.00 avg300=0.00 total=1\n"
    )


def machine(root: Path, said: str | None) -> LinuxPressure:
    (root / "pressure").mkdir()
    if said is not None:
        (root / "pressure" / "memory").write_text(said)
    return LinuxPressure(root, root / "cgroup")


@pytest.mark.parametrize("said", [IDLE, BUSY, stalls(4.99, 0.0), "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"])
def test_programs_that_hardly_wait_are_no_pressure(said: str) -> None:
    assert read_stalls(said) is Pressure.NORMAL


@pytest.mark.parametrize("said", [stalls(5.0, 0.0), stalls(99.0, 19.99)])
def test_programs_that_wait_are_a_warning(said: str) -> None:
    assert read_stalls(said) is Pressure.WARNING


def test_when_for_a_fifth_of_the_time_nobody_gets_on_it_is_critical() -> None:
    assert read_stalls(stalls(25.0, 20.0)) is Pressure.CRITICAL


@pytest.mark.parametrize("said", ["", "some avg10=", "full avg10=1.00 avg60=1.00", stalls(999.0, 0.0), "none\n" * 99])
def test_stalls_that_are_said_otherwise_are_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="said otherwise"):
        read_stalls(said)


@given(st.text(alphabet="some full avg10=.60 1234567890\n", max_size=120))
@settings(max_examples=100, derandomize=True, database=None)
def test_whatever_is_said_is_read_or_refused(said: str) -> None:
    for read in (read_stalls, read_level):
        try:
            assert read(said) in Pressure
        except SensorFailed:
            continue


async def test_a_machine_whose_memory_is_full_but_waits_for_none_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herd.net.owner.pressure.pressure_of_what_is_left", lambda: Pressure.CRITICAL)
    assert await machine(tmp_path, IDLE).sample() is Pressure.NORMAL


async def test_the_stalls_of_a_group_around_the_agent_count(tmp_path: Path) -> None:
    probe = machine(tmp_path, IDLE)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/user.slice/herd.service\n")
    group = tmp_path / "cgroup" / "user.slice"
    group.mkdir(parents=True)
    (group / "memory.pressure").write_text(stalls(40.0, 30.0))
    assert await probe.sample() is Pressure.CRITICAL


async def test_a_kernel_that_does_not_count_stalls_says_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("herd.net.owner.pressure.pressure_of_what_is_left", lambda: Pressure.WARNING)
    assert await machine(tmp_path, None).sample() is Pressure.WARNING


@pytest.mark.parametrize(
    ("memory", "swap", "pressure"),
    [
        (0.5, 0.0, Pressure.NORMAL),
        (0.01, 0.5, Pressure.NORMAL),  # a model fills it, and what else there is may be swapped
        (0.09, 0.09, Pressure.WARNING),
        (0.04, 0.0, Pressure.CRITICAL),
    ],
)
def test_where_stalls_are_not_counted_memory_is_short_once_swap_is_too(
    memory: float, swap: float, pressure: Pressure
) -> None:
    assert pressure_by(memory, swap) is pressure


@pytest.mark.parametrize(
    ("said", "pressure"), [("1\n", Pressure.NORMAL), ("2\n", Pressure.WARNING), ("4\n", Pressure.CRITICAL)]
)
def test_macos_judges_itself(said: str, pressure: Pressure) -> None:
    assert read_level(said) is pressure


@pytest.mark.parametrize("said", ["", "3", "0", "sysctl: unknown oid 'kern.memorystatus_vm_pressure_level'"])
def test_a_level_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="no pressure that is known"):
        read_level(said)


class Sysctl:
    """sysctl that says this."""

    def __init__(self, said: str) -> None:
        self._said = said
        self.asked: tuple[str, ...] = ()

    async def run(self, *arguments: str) -> tuple[int, str]:
        self.asked = arguments
        return 0, self._said


async def test_macos_is_asked_by_sysctl() -> None:
    sysctl = Sysctl("2\n")
    assert await ApplePressure(sysctl).sample() is Pressure.WARNING  # type: ignore[arg-type] # it runs as a Tool does
    assert sysctl.asked == ("-n", "kern.memorystatus_vm_pressure_level")


async def test_this_machine_says_how_it_is() -> None:
    assert await pressure_probe(Tool("/usr/sbin/sysctl")).sample() in Pressure
    assert await PlainPressure().sample() in Pressure
