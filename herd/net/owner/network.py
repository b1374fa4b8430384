"""What passes through this machine's network interfaces.

No system says without privileges which process it is for. So the fleet's own traffic is among it: requests and answers,
which are little beside what people's programs load, and models that a server downloads, which are not.
"""

import platform
import re
from collections.abc import Collection
from pathlib import Path

import psutil

from herd.actors.ports import Clock
from herd.net.sensing import Aside, SensorAbsent

_NET = Path("/sys/class/net")
# What a tunnel, a bridge or a virtual machine's interface carries passes through a real one, too, or never leaves the
# machine. macOS calls real ones en0, en1...; Windows lets people name them, and names the others itself.
_REAL_ON_MACOS = re.compile(r"en\d+")
_UNREAL_ON_WINDOWS = re.compile(r"(vEthernet|Loopback|Local Area Connection\*|isatap|Teredo).*")


class NetworkMeter:
    """Counts bytes.

    Args:
        clock: when they were last counted.
        net: where Linux shows network interfaces.
    """

    def __init__(self, clock: Clock, net: Path = _NET) -> None:
        self._clock = clock
        self._net = net
        self._aside = Aside("network")
        self._counts: dict[str, int] = {}
        self._counted_at = 0.0

    async def sample(self) -> float | None:
        """Bytes/s, both directions together, since the sample before; None for the first.

        Raises:
            SensorAbsent: there is no real interface.
        """
        return await self._aside.run(self._read)

    def _read(self) -> float | None:
        now, counters = self._clock.monotonic(), psutil.net_io_counters(pernic=True)
        before, elapsed = self._counts, now - self._counted_at
        real = real_interfaces(counters, platform.system(), self._net)
        self._counts = {name: counters[name].bytes_sent + counters[name].bytes_recv for name in real}
        self._counted_at = now
        if not self._counts:
            raise SensorAbsent("this machine shows no network interface that is real")
        # An interface that was plugged in meanwhile, or whose count began anew, has no rate yet.
        passed = [count - before[name] for name, count in self._counts.items() if name in before]
        return sum(max(0, count) for count in passed) / elapsed if passed and elapsed > 0 else None


def real_interfaces(names: Collection[str], system: str, net: Path) -> list[str]:
    """Those of the interfaces that are a device."""
    if system == "Linux":
        return [name for name in names if (net / name / "device").exists()]
    if system == "Darwin":
        return [name for name in names if _REAL_ON_MACOS.fullmatch(name)]
    return [name for name in names if not _UNREAL_ON_WINDOWS.fullmatch(name)]
