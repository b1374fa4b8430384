"""What passes through a machine's network interfaces."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from herd.net.clock import SystemClock
from herd.net.owner.network import NetworkMeter, real_interfaces
from herd.net.sensing import SensorAbsent
from herd.types import Seconds


class Hand:
    """A clock that is moved by hand."""

    now = 0.0

    def monotonic(self) -> Seconds:
        return Seconds(self.now)

    def wall(self) -> Seconds:
        return Seconds(self.now)


class Interfaces:
    """The interfaces of a Linux machine."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.counts: dict[str, int] = {}
        monkeypatch.setattr(psutil, "net_io_counters", self._counters)
        monkeypatch.setattr("platform.system", lambda: "Linux")

    def count(self, name: str, passed: int, *, real: bool = True) -> None:
        self.counts[name] = passed
        (self.root / name / ("device" if real else "queues")).mkdir(parents=True, exist_ok=True)

    def _counters(self, pernic: bool) -> dict[str, SimpleNamespace]:
        return {name: SimpleNamespace(bytes_sent=0, bytes_recv=passed) for name, passed in self.counts.items()}


@pytest.fixture
def interfaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interfaces:
    return Interfaces(tmp_path, monkeypatch)


async def test_the_rate_is_what_passed_since_the_sample_before(interfaces: Interfaces) -> None:
    clock = Hand()
    meter = NetworkMeter(clock, interfaces.root)
    interfaces.count("eth0", 1000)
    interfaces.count("wlan0", 500)
    interfaces.count("lo", 0, real=False)
    interfaces.count("docker0", 0, real=False)
    assert await meter.sample() is None
    clock.now = 5.0
    interfaces.count("eth0", 6000)
    interfaces.count("lo", 10**9, real=False)
    interfaces.count("docker0", 10**9, real=False)
    assert await meter.sample() == 1000.0


async def test_an_interface_that_comes_or_begins_anew_has_no_rate_yet(interfaces: Interfaces) -> None:
    clock = Hand()
    meter = NetworkMeter(clock, interfaces.root)
    interfaces.count("eth0", 10**6)
    await meter.sample()
    clock.now = 1.0
    interfaces.count("eth0", 10)
    interfaces.count("eth1", 10**9)
    assert await meter.sample() == 0.0
    assert await meter.sample() is None, "no time has passed"


async def test_a_machine_without_a_real_interface_knows_nothing(interfaces: Interfaces) -> None:
    interfaces.count("lo", 10, real=False)
    with pytest.raises(SensorAbsent):
        await NetworkMeter(Hand(), interfaces.root).sample()


@pytest.mark.parametrize(
    ("system", "names", "real"),
    [
        ("Darwin", ["lo0", "gif0", "en0", "en12", "awdl0", "llw0", "bridge0", "utun3", "ap1"], ["en0", "en12"]),
        (
            "Windows",
            ["Ethernet", "Wi-Fi", "vEthernet (WSL)", "Loopback Pseudo-Interface 1", "Local Area Connection* 2"],
            ["Ethernet", "Wi-Fi"],
        ),
    ],
)
def test_interfaces_that_are_no_device_are_known_by_name(
    system: str, names: list[str], real: list[str], tmp_path: Path
) -> None:
    assert real_interfaces(names, system, tmp_path) == real


async def test_this_machine_counts_or_has_nothing_to_count() -> None:
    meter = NetworkMeter(SystemClock())
    try:
        await meter.sample()
    except SensorAbsent:
        return
    rate = await meter.sample()
    assert rate is None or rate >= 0
