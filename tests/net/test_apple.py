"""The memory that models run in on an Apple chip."""

import pytest

from herd.net.apple import SAMPLES_A_READING, Apple, memory_bandwidth, read_sysctl
from herd.net.sensing import SensorFailed
from herd.types import Bytes, GiB, MiB

# As macOS 26 and 27 say it: public reports of a Mac mini with an M2 Pro and of a Mac Studio with an M3 Ultra.
MINI = "iogpu.wired_limit_mb: 0\nhw.memsize: 34359738368\nmachdep.cpu.brand_string: Apple M2 Pro\nhw.physicalcpu: 10\n"
STUDIO = "iogpu.wired_limit_mb: 0\nhw.memsize: 549755813888\nmachdep.cpu.brand_string: Apple M3 Ultra\n"
RAISED = "iogpu.wired_limit_mb: 86016\nhw.memsize: 103079215104\nmachdep.cpu.brand_string: Apple M3 Max\n"


def has(available: int) -> tuple[Bytes, Bytes]:
    return Bytes(512 * GiB), Bytes(available)


def test_models_get_two_thirds_of_a_small_machine() -> None:
    gpu = read_sysctl(MINI, lambda: has(30 * GiB))
    assert (gpu.id, gpu.name, gpu.vendor, gpu.unified) == ("apple", "Apple M2 Pro", "apple", True)
    assert gpu.memory_total // MiB == 21845  # as Metal says on such a machine
    assert gpu.bandwidth == 200_000_000_000


def test_models_get_three_quarters_of_a_large_one() -> None:
    assert read_sysctl(STUDIO, lambda: has(0)).memory_total == 384 * GiB


def test_a_raised_limit_is_what_they_get() -> None:
    assert read_sysctl(RAISED, lambda: has(0)).memory_total == 84 * GiB


def test_a_limit_beyond_the_memory_is_the_memory() -> None:
    assert read_sysctl(MINI.replace("mb: 0", "mb: 999999"), lambda: has(0)).memory_total == 32 * GiB


def test_what_programs_hold_models_do_not_get() -> None:
    assert read_sysctl(MINI, lambda: has(5 * GiB)).memory_free == 5 * GiB
    gpu = read_sysctl(MINI, lambda: has(30 * GiB))
    assert gpu.memory_free == gpu.memory_total


@pytest.mark.parametrize(
    "said", ["", "hw.memsize: ", "hw.memsize: much\n", "sysctl: unknown oid 'hw.memsize'", "hw.memsize: " + "9" * 5000]
)
def test_a_machine_that_does_not_say_how_large_it_is_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match="how much memory there is"):
        read_sysctl(said, lambda: has(0))


def test_a_virtual_machine_knows_no_limit_and_its_own_name_of_the_chip() -> None:
    gpu = read_sysctl("hw.memsize: 8589934592\nmachdep.cpu.brand_string: Apple processor\n", lambda: has(GiB))
    assert (gpu.memory_total, gpu.bandwidth) == (8 * GiB * 2 // 3, 0)


@pytest.mark.parametrize(
    ("chip", "cores", "gigabytes"),
    [
        ("Apple M1", 8, 68.25),
        ("Apple M4 Max", 14, 410),
        ("Apple M4 Max", 16, 546),
        ("Apple M3 Max", 14, 300),
        ("Apple M3 Max", 16, 400),
        ("Apple M4", 10, 120),
        ("Apple M9 Mega", 99, 0),
        ("Intel(R) Core(TM) i9", 8, 0),
        ("", 0, 0),
    ],
)
def test_the_chip_tells_the_bandwidth_and_its_cores_which_one_it_is(chip: str, cores: int, gigabytes: float) -> None:
    assert memory_bandwidth(chip, cores) == gigabytes * 1e9


class Sysctl:
    """sysctl that says this, and counts."""

    def __init__(self, said: str) -> None:
        self.said = said
        self.runs = 0

    async def run(self, *names: str) -> tuple[int, str]:
        self.runs += 1
        return 1, self.said


async def test_free_memory_is_looked_at_every_time_and_the_limit_once_a_minute() -> None:
    sysctl, available = Sysctl(MINI), [4 * GiB, 3 * GiB]
    apple = Apple(lambda: has(available[0]), sysctl)  # type: ignore[arg-type] # it runs as a Tool does
    assert (await apple.sample())[0].memory_free == 4 * GiB
    available.pop(0)
    assert (await apple.sample())[0].memory_free == 3 * GiB
    assert sysctl.runs == 1
    for _ in range(SAMPLES_A_READING - 1):
        await apple.sample()
    assert sysctl.runs == 2


async def test_what_could_not_be_read_is_read_again_the_next_time() -> None:
    sysctl = Sysctl("")
    apple = Apple(lambda: has(0), sysctl)  # type: ignore[arg-type]
    with pytest.raises(SensorFailed):
        await apple.sample()
    sysctl.said = MINI
    assert await apple.sample()
