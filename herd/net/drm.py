"""AMD's GPUs, as Linux's graphics subsystem shows them under /sys/class/drm.

Intel's are not here: of their memory the kernel shows, at most, how much there is, not how much of it is in use; the
rest takes an ioctl for each driver (https://docs.kernel.org/gpu/driver-uapi.html). A size without what is free would
have the router fill the card twice. Such machines are taken by their RAM, which their model servers use for all that
the card does not hold.
"""

import re
from collections.abc import Callable
from pathlib import Path

from herd.net.sensing import Aside, SensorAbsent, SensorFailed
from herd.protocols.messages import Gpu
from herd.types import Bytes, GiB

Memory = Callable[[], tuple[Bytes, Bytes]]  # the machine's own: total and available

VENDOR = "amd"
DRM = Path("/sys/class/drm")
_AMD = "0x1002"
_CARD = re.compile(r"card\d+")  # card0-DP-1 is a socket of card0
# `gpu_metrics` begins with its size (2 bytes), its form and its revision; form 1 is that of cards, 2 and 3 are those of
# processors with a GPU in them (drivers/gpu/drm/amd/include/kgd_pp_interface.h).
_FORMS_OF_PROCESSORS = (2, 3)
# Kernels before 5.12 have no such file. What a processor's firmware sets aside is at most this by default, and no card
# that runs models has so little.
_SET_ASIDE = 2 * GiB


class Drm:
    """All GPUs of AMD's. Reads files of which some are answered by the card, so in a thread of its own.

    Args:
        memory: the machine's own.
        root: where the kernel shows graphics cards.
    """

    name = "AMD's GPUs"

    def __init__(self, memory: Memory, root: Path = DRM) -> None:
        self._memory = memory
        self._root = root
        self._inside: dict[str, bool] = {}
        self._aside = Aside("drm")

    async def sample(self) -> tuple[Gpu, ...]:
        """All GPUs. Raises SensorAbsent where there is none, SensorFailed when one cannot be read."""
        return await self._aside.run(lambda: read_drm(self._root, self._memory, self._inside))


def read_drm(root: Path, memory: Memory, inside: dict[str, bool]) -> tuple[Gpu, ...]:
    """The GPUs below `root`. Blocking.

    A card has its own memory. A GPU inside a processor has what the firmware set aside for it (512 MiB to 96 GiB) and
    may map so much of the machine's memory in addition (GTT); both are what models get, and what Ollama counts (pull
    request 13196). What is left of the second part is no more than the machine has available.

    Args:
        root: has a directory for each card.
        memory: the machine's own.
        inside: by card, whether it is inside a processor; grows as cards are seen, for the card itself has to be asked.

    Raises:
        SensorAbsent: there is none.
        SensorFailed: one cannot be read.
    """
    try:
        return tuple([_gpu(device, memory, inside) for device in amd_cards(root)])
    except (OSError, ValueError) as error:
        raise SensorFailed(f"a graphics card cannot be read: {error}") from error


def amd_cards(root: Path = DRM) -> list[Path]:
    """The devices below `root` that AMD's present driver runs. Blocking.

    Raises:
        SensorAbsent: there is none.
        SensorFailed: they cannot be listed.
    """
    try:
        cards = [card / "device" for card in sorted(root.iterdir()) if _CARD.fullmatch(card.name)]
    except FileNotFoundError as error:
        raise SensorAbsent(f"there are no graphics cards: {error}") from error
    except OSError as error:
        raise SensorFailed(f"the graphics cards cannot be listed: {error}") from error
    found = [card for card in cards if _read(card / "vendor") == _AMD and (card / "mem_info_vram_total").exists()]
    if not found:
        raise SensorAbsent("none of the graphics cards is AMD's")
    return found


def _gpu(device: Path, memory: Memory, inside: dict[str, bool]) -> Gpu:
    where = device.resolve().name  # on the bus: 0000:03:00.0
    total, free = _pool(device, "vram")
    if where not in inside:
        inside[where] = _is_inside_a_processor(device, total)
    if inside[where]:
        more, more_free = _pool(device, "gtt")
        total, free = Bytes(total + more), Bytes(free + min(more_free, memory()[1]))
    name = _read(device / "product_name") or f"AMD GPU {_read(device / 'device')}".strip()
    return Gpu(where, name, VENDOR, total, free, unified=inside[where])


def _pool(device: Path, name: str) -> tuple[Bytes, Bytes]:
    total = int((device / f"mem_info_{name}_total").read_text("ascii"))
    used = int((device / f"mem_info_{name}_used").read_text("ascii"))
    if not 0 <= used <= total:
        raise ValueError(f"{device.name} has {used} of {total} bytes in use")
    return Bytes(total), Bytes(total - used)


def _is_inside_a_processor(device: Path, video_memory: Bytes) -> bool:
    try:
        with (device / "gpu_metrics").open("rb", buffering=0) as metrics:
            head = metrics.read(4)
    except OSError:
        head = b""
    return head[2] in _FORMS_OF_PROCESSORS if len(head) == 4 else video_memory <= _SET_ASIDE


def _read(path: Path) -> str:
    """The line in a small file; empty where there is none, or nobody who could answer it."""
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
