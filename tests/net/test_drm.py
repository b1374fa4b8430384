"""AMD's GPUs, as the kernel shows them."""

from pathlib import Path

import pytest

from herd.net.drm import Drm, read_drm
from herd.net.sensing import SensorAbsent, SensorFailed
from herd.protocols.messages import Gpu
from herd.types import Bytes, GiB

# Numbers of real machines, as they stand in public reports: an RX 7900 XTX (its total; 15.96 GB in use), a notebook's
# Ryzen with 512 MiB set aside (HP EliteBook 845 G8), and a Ryzen AI Max with 96 GiB set aside.
XTX = {"device": "0x744c", "mem_info_vram_total": 25753026560, "mem_info_vram_used": 15960199168}
XTX |= {"mem_info_gtt_total": 33500000000, "mem_info_gtt_used": 20000000}
ELITEBOOK = {"device": "0x1638", "mem_info_vram_total": 536870912, "mem_info_vram_used": 96468992}
ELITEBOOK |= {"mem_info_gtt_total": 8589934592, "mem_info_gtt_used": 663748608}
AI_MAX = {"device": "0x1586", "mem_info_vram_total": 103079215104, "mem_info_vram_used": 21563965440}
AI_MAX |= {"mem_info_gtt_total": 16363954176, "mem_info_gtt_used": 0}

CARD_FORM, PROCESSOR_FORM = b"\x78\x00\x01\x03rest", b"\x80\x00\x02\x02rest"


def machine() -> tuple[Bytes, Bytes]:
    return Bytes(32 * GiB), Bytes(20 * GiB)


class Sysfs:
    """The directory /sys/class/drm of a machine."""

    def __init__(self, root: Path) -> None:
        self.root = root / "drm"
        self.root.mkdir()
        self._devices = root / "devices"

    def card(self, number: int, files: dict[str, object], metrics: bytes | None = None, vendor: str = "0x1002") -> None:
        """A card with these files, and with its sockets beside it."""
        device = self._devices / f"0000:0{number + 3}:00.0"
        device.mkdir(parents=True)
        for name, content in {"vendor": vendor, **files}.items():
            (device / name).write_text(f"{content}\n")
        if metrics is not None:
            (device / "gpu_metrics").write_bytes(metrics)
        for name in (f"card{number}", f"card{number}-DP-1", f"renderD{128 + number}"):
            (self.root / name).mkdir()
            (self.root / name / "device").symlink_to(device)

    def read(self) -> tuple[Gpu, ...]:
        return read_drm(self.root, machine, {})


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    return Sysfs(tmp_path)


def test_a_card_has_its_own_memory(sysfs: Sysfs) -> None:
    sysfs.card(0, {**XTX, "product_name": "AMD Radeon RX 7900 XTX"}, CARD_FORM)
    assert sysfs.read() == (
        Gpu(
            "0000:03:00.0",
            "AMD Radeon RX 7900 XTX",
            "amd",
            Bytes(25753026560),
            Bytes(25753026560 - 15960199168),
        ),
    )


def test_a_gpu_in_a_processor_has_what_is_set_aside_and_what_it_may_map(sysfs: Sysfs) -> None:
    sysfs.card(0, ELITEBOOK, PROCESSOR_FORM)
    (gpu,) = sysfs.read()
    assert (gpu.name, gpu.unified) == ("AMD GPU 0x1638", True)
    assert gpu.memory_total == 536870912 + 8589934592
    assert gpu.memory_free == (536870912 - 96468992) + (8589934592 - 663748608)


def test_however_much_is_set_aside_the_driver_knows_a_processor(sysfs: Sysfs) -> None:
    sysfs.card(0, AI_MAX, b"\x88\x00\x03\x00")
    (gpu,) = sysfs.read()
    assert (gpu.unified, gpu.memory_total) == (True, 103079215104 + 16363954176)


def test_what_it_may_map_is_there_only_as_far_as_the_machine_has_it_available(sysfs: Sysfs) -> None:
    sysfs.card(0, {**ELITEBOOK, "mem_info_gtt_total": 30 * GiB, "mem_info_gtt_used": 0}, PROCESSOR_FORM)
    (gpu,) = sysfs.read()
    assert gpu.memory_free == (536870912 - 96468992) + 20 * GiB


@pytest.mark.parametrize("metrics", [None, b"", b"\x78\x00"])
def test_a_kernel_that_does_not_tell_them_apart_is_helped_by_the_size(sysfs: Sysfs, metrics: bytes | None) -> None:
    sysfs.card(0, ELITEBOOK, metrics)
    sysfs.card(1, XTX, metrics)
    assert [gpu.unified for gpu in sysfs.read()] == [True, False]


def test_cards_of_others_and_those_without_memory_are_passed_over(sysfs: Sysfs) -> None:
    sysfs.card(0, XTX, CARD_FORM)
    sysfs.card(1, {"device": "0x56a0"}, vendor="0x8086")
    sysfs.card(2, {"device": "0x1638"})
    assert [gpu.id for gpu in sysfs.read()] == ["0000:03:00.0"]


def test_a_machine_without_such_cards_has_none(sysfs: Sysfs) -> None:
    with pytest.raises(SensorAbsent, match="none of the graphics cards is AMD's"):
        sysfs.read()
    with pytest.raises(SensorAbsent, match="there are no graphics cards"):
        read_drm(sysfs.root / "nowhere", machine, {})


@pytest.mark.parametrize("used", ["", "much", "-5", str(2**40)])
def test_a_card_that_says_what_cannot_be_is_refused(sysfs: Sysfs, used: str) -> None:
    sysfs.card(0, {**XTX, "mem_info_vram_used": used}, CARD_FORM)
    with pytest.raises(SensorFailed, match="a graphics card cannot be read"):
        sysfs.read()


async def test_whether_it_is_in_a_processor_is_asked_of_a_card_once(sysfs: Sysfs) -> None:
    sysfs.card(0, ELITEBOOK, PROCESSOR_FORM)
    drm = Drm(machine, sysfs.root)
    first = await drm.sample()
    (sysfs.root / "card0" / "device" / "gpu_metrics").write_bytes(CARD_FORM)
    assert await drm.sample() == first
