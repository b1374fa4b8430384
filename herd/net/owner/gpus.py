"""What of this machine's GPUs the owner uses: known only where the model servers' use can be told from it."""

import re
from pathlib import Path
from typing import Any, Protocol

from herd.net.drm import DRM, amd_cards
from herd.net.nvidia import Driver, answer_to
from herd.net.owner.processes import Processes
from herd.net.sensing import Aside, SensorFailed, Tool

IOREG = "/usr/sbin/ioreg"
IOREG_QUERY = ("-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
_APPLE_USE = re.compile(r'"Device Utilization %"\s*=\s*(\d{1,3})\b')

# Through these files programs speak to AMD's driver: for drawing, and for computing with ROCm.
_DEVICES = ("/dev/dri/", "/dev/kfd")
_PROC = Path("/proc")


class Maker(Protocol):
    """The GPUs of one maker."""

    name: str

    async def shares(self, processes: Processes) -> list[float | None]:
        """The owner's share of each, 0 to 1; None of one whose load may be a model server's.

        Raises:
            SensorAbsent: there is none.
            SensorFailed: they cannot be asked.
        """


class NvidiaUse:
    """NVIDIA's count of what each process uses. Its driver has none on Windows, nor inside a container."""

    name = "NVIDIA's GPUs"

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or Driver()
        self._aside = Aside("nvml use")

        self._seen = 0  # the latest of the driver's samples, in its microseconds

    async def shares(self, processes: Processes) -> list[float | None]:
        def share(library: Any, handle: Any) -> float | None:
            return self._share(library, handle, processes)

        return await self._aside.run(lambda: self._driver.ask_each(share))

    def _share(self, library: Any, handle: Any, processes: Processes) -> float | None:
        rates = answer_to(library, library.nvmlDeviceGetUtilizationRates, handle)
        if rates is None or rates.gpu == 0:
            return None if rates is None else 0.0
        whole = min(1.0, rates.gpu / 100)
        users = _users(library, handle)
        if processes.hidden or not users or not users <= processes.alive:  # a container's processes have other numbers
            return None
        return whole if users.isdisjoint(processes.ours) else self._split(library, handle, whole, processes)

    def _split(self, library: Any, handle: Any, whole: float, processes: Processes) -> float | None:
        """The owner's part of a load, by the driver's samples of each process that worked since it was last asked."""
        try:
            samples = library.nvmlDeviceGetProcessUtilization(handle, self._seen)
        except library.NVMLError:  # it has none, or has never had any
            return None
        self._seen = max((sample.timeStamp for sample in samples), default=self._seen)
        if not samples or not {sample.pid for sample in samples} <= processes.alive:
            return None
        owners: int = sum(sample.smUtil for sample in samples if sample.pid not in processes.ours)
        return min(whole, owners / 100)


def _users(library: Any, handle: Any) -> frozenset[int] | None:
    """The processes that have something on a GPU; None where the driver does not list them."""
    computing = answer_to(library, library.nvmlDeviceGetComputeRunningProcesses_v3, handle)
    drawing = answer_to(library, library.nvmlDeviceGetGraphicsRunningProcesses_v3, handle)
    if computing is None or drawing is None:
        return None
    return frozenset([user.pid for user in (*computing, *drawing)])


class AmdUse:
    """The kernel's figure of how busy an AMD GPU is: the owner's as long as no model server has opened it.

    Args:
        drm: where the kernel shows graphics cards.
        proc: where it shows what processes have open: those of one's own user, to root all.
    """

    name = "AMD's GPUs"

    def __init__(self, drm: Path = DRM, proc: Path = _PROC) -> None:
        self._drm = drm
        self._proc = proc
        self._aside = Aside("drm use")

    async def shares(self, processes: Processes) -> list[float | None]:
        return await self._aside.run(lambda: self._read(processes))

    def _read(self, processes: Processes) -> list[float | None]:
        return [self._share(device, processes) for device in amd_cards(self._drm)]

    def _share(self, device: Path, processes: Processes) -> float | None:
        try:
            if (device / "power" / "runtime_status").read_text("ascii").strip() == "suspended":
                return 0.0  # a notebook's card that sleeps; some kernels wake it for any question
            busy = int((device / "gpu_busy_percent").read_text("ascii"))
        except (OSError, ValueError):
            return None
        if not 0 <= busy <= 100:
            return None
        mixed = processes.hidden or any(has_opened_a_gpu(self._proc / str(pid)) for pid in processes.computing)
        return busy / 100 if not (busy and mixed) else None


def has_opened_a_gpu(process: Path) -> bool:
    """Whether a process, by its directory below /proc, speaks to a GPU. Who cannot be looked at may."""
    try:
        return any(_target(entry).startswith(_DEVICES) for entry in (process / "fd").iterdir())
    except FileNotFoundError:  # it has ended
        return False
    except OSError:
        return True


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""


class AppleUse:
    """The system's figure of how busy the GPU is: the owner's as long as no model server may use it."""

    name = "the GPU"

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    async def shares(self, processes: Processes) -> list[float | None]:
        code, said = await self._tool.run(*IOREG_QUERY)
        if code != 0:
            raise SensorFailed(f"ioreg ended with {code}")
        mixed = processes.hidden or bool(processes.computing)
        return [share if not (share and mixed) else None for share in read_ioreg(said)]


def read_ioreg(said: str) -> list[float]:
    """How busy each GPU is, 0 to 1, in what `ioreg` says to `IOREG_QUERY`.

    Raises:
        SensorFailed: it does not say so.
    """
    found = [int(percent) for percent in _APPLE_USE.findall(said)]
    if not found or max(found) > 100:
        raise SensorFailed("ioreg does not say how busy the GPU is")
    return [percent / 100 for percent in found]
