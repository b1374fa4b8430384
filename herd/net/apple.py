"""The GPU of an Apple chip, which runs models in the machine's own memory, but not in all of it."""

from collections.abc import Callable

from herd.net.sensing import SensorFailed, Tool
from herd.protocols.messages import Gpu
from herd.types import Bytes, GiB, MiB

Memory = Callable[[], tuple[Bytes, Bytes]]  # the machine's own: total and available

VENDOR = "apple"
SYSCTL = "/usr/sbin/sysctl"
LIMIT, SIZE, CHIP, CORES = "iogpu.wired_limit_mb", "hw.memsize", "machdep.cpu.brand_string", "hw.physicalcpu"
# The limit may be raised while the machine runs, but it is not worth a process every 5 s.
SAMPLES_A_READING = 12

# What Metal recommends to use at most, and model servers keep to. Measured: two thirds of 16 GB (llama-cpp-python issue
# 687) and of 32 GB (ollama issue 434), three quarters of 64 GB (llama.cpp pull request 1870); newer systems allow more.
_SMALL = 36 * GiB

# GB/s by the maker. Where a chip is sold with a narrower memory too, fewer cores tell it; where they do not, the
# narrower counts.
_GB_A_SECOND = {
    "M1": 68.25, "M1 Pro": 200, "M1 Max": 400, "M1 Ultra": 800,
    "M2": 100, "M2 Pro": 200, "M2 Max": 400, "M2 Ultra": 800,
    "M3": 100, "M3 Pro": 150, "M3 Max": 400, "M3 Ultra": 819,
    "M4": 120, "M4 Pro": 273, "M4 Max": 546,
    "M5": 153, "M5 Pro": 307, "M5 Max": 460,
}  # fmt: skip
_NARROWER = {("M3 Max", 14): 300, ("M4 Max", 14): 410}  # by chip and cores of its processor


class Apple:
    """The one GPU of the machine.

    Args:
        memory: the machine's own.
        tool: sysctl.
    """

    name = "the GPU"

    def __init__(self, memory: Memory, tool: Tool) -> None:
        self._memory = memory
        self._tool = tool
        self._said = ""
        self._samples = 0

    async def sample(self) -> tuple[Gpu, ...]:
        """The GPU. Raises SensorFailed when the system does not say what it has."""
        if self._samples % SAMPLES_A_READING == 0:
            _, self._said = await self._tool.run(
                LIMIT, SIZE, CHIP, CORES
            )  # fails for one it does not know, and goes on
        gpu = read_sysctl(self._said, self._memory)
        self._samples += 1
        return (gpu,)


def read_sysctl(said: str, memory: Memory) -> Gpu:
    """The GPU, by what sysctl says: `name: value`, a line each.

    Args:
        said: its output; names may be missing.
        memory: the machine's own. What is available to programs is available to models, up to the limit.

    Raises:
        SensorFailed: it does not say how much memory the machine has.
    """
    values = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    size = _number(values, SIZE)
    if not size:
        raise SensorFailed(f"sysctl does not say how much memory there is: {said[:100]!r}")
    limit = _number(values, LIMIT) * MiB or (size * 2 // 3 if size <= _SMALL else size * 3 // 4)
    total = Bytes(min(limit, size))
    chip = values.get(CHIP, "").strip()
    return Gpu(
        VENDOR,
        chip or "Apple GPU",
        VENDOR,
        total,
        Bytes(min(total, memory()[1])),
        unified=True,
        bandwidth=memory_bandwidth(chip, _number(values, CORES)),
    )


def memory_bandwidth(chip: str, cores: int) -> int:
    """Bytes/s of the memory of `Apple M4 Max` with so many processor cores; 0 for a chip that is not known."""
    name = chip.removeprefix("Apple ").strip()
    return int(_NARROWER.get((name, cores), _GB_A_SECOND.get(name, 0)) * 1_000_000_000)


def _number(values: dict[str, str], name: str) -> int:
    value = values.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0
