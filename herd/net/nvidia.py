"""NVIDIA's GPUs: through the driver's library (NVML), else through its program nvidia-smi."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

from herd.net.sensing import Aside, SensorAbsent, SensorFailed, Tool
from herd.protocols.messages import Gpu
from herd.types import Bytes, MiB

log = logging.getLogger(__name__)

T = TypeVar("T")
Memory = Callable[[], tuple[Bytes, Bytes]]  # the machine's own: total and available

VENDOR = "nvidia"
QUERY = ("--query-gpu=uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
# Words for "this GPU has none of its own": https://docs.nvidia.com/dgx/dgx-spark/known-issues.html
_NO_MEMORY = frozenset(("[N/A]", "N/A", "[Not Supported]"))
# These share the machine's memory. The makers' figures; their library knows neither bus nor clock of it.
_UNIFIED = {"GB10": 273_000_000_000, "N1X": 300_000_000_000}


class Driver:
    """The library of the driver. Its calls block: for some milliseconds, or, while it wakes a card, for seconds.

    Args:
        library: what speaks to it.
    """

    def __init__(self, library: Any = pynvml) -> None:
        self._library = library
        self._begun = False

    def ask_each(self, question: Callable[[Any, Any], T]) -> list[T]:
        """What `question` finds of each GPU, given the library and the library's handle of the GPU.

        Raises:
            SensorAbsent: there is no driver.
            SensorFailed: it reports an error.
        """
        library = self._library
        try:
            if not self._begun:
                library.nvmlInit()
                self._begun = True
            handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
            return [question(library, handle) for handle in handles]
        except library.NVMLError as error:
            self._give_up()
            if error.value in {library.NVML_ERROR_LIBRARY_NOT_FOUND, library.NVML_ERROR_DRIVER_NOT_LOADED}:
                raise SensorAbsent(f"there is no NVIDIA driver: {error}") from error
            raise SensorFailed(f"NVIDIA's driver says: {error}") from error
        except (OSError, ValueError) as error:  # a library of another kind, or a name that is no text
            self._give_up()
            raise SensorFailed(f"NVIDIA's library is of no use: {error}") from error

    def _give_up(self) -> None:
        """Begin anew the next time: the driver may have been replaced, or the card have fallen off the bus."""
        if not self._begun:
            return
        self._begun = False
        try:
            self._library.nvmlShutdown()
        except self._library.NVMLError as error:
            log.debug("NVIDIA's library does not let go: %s", error)


def answer_to(library: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """What a call of the library says; None where the card or the driver has no answer to it."""
    try:
        return call(*arguments)
    except library.NVMLError as error:
        if error.value in {library.NVML_ERROR_NOT_SUPPORTED, library.NVML_ERROR_FUNCTION_NOT_FOUND}:
            return None
        raise


class Nvml:
    """The GPUs and their memory, by the library. Its calls block.

    Args:
        memory: the machine's own, for GPUs without one.
        library: what speaks to the driver.
    """

    def __init__(self, memory: Memory, library: Any = pynvml) -> None:
        self._memory = memory
        self._driver = Driver(library)

    def sample(self) -> tuple[Gpu, ...]:
        """All GPUs. Raises SensorAbsent without a driver, SensorFailed when it reports an error."""
        return tuple(self._driver.ask_each(self._gpu))

    def _gpu(self, library: Any, handle: Any) -> Gpu:
        name = _text(library.nvmlDeviceGetName(handle))
        own = answer_to(library, library.nvmlDeviceGetMemoryInfo, handle)
        return nvidia_gpu(
            _text(library.nvmlDeviceGetUUID(handle)),
            name,
            (Bytes(own.total), Bytes(own.free)) if own is not None else None,
            self._memory,
            bandwidth=memory_bandwidth(
                answer_to(library, library.nvmlDeviceGetMemoryBusWidth, handle) or 0,
                answer_to(library, library.nvmlDeviceGetMaxClockInfo, handle, library.NVML_CLOCK_MEM) or 0,
            ),
        )


class Nvidia:
    """All GPUs of this maker, by the better of two ways that works.

    Args:
        memory: the machine's own, for GPUs without one.
        tool: nvidia-smi; None where there is none.
        nvml: the library.
    """

    name = "NVIDIA's GPUs"

    def __init__(self, memory: Memory, tool: Tool | None = None, nvml: Nvml | None = None) -> None:
        self._memory = memory
        self._tool = tool
        self._nvml = nvml or Nvml(memory)
        self._aside = Aside("nvml")

    async def sample(self) -> tuple[Gpu, ...]:
        """All GPUs. Raises SensorAbsent where there is no driver, SensorFailed when it does not answer as it should."""
        try:
            return await self._aside.run(self._nvml.sample)
        except SensorAbsent:
            if self._tool is None:
                raise
        code, said = await self._tool.run(*QUERY)
        if code != 0:
            raise SensorFailed(f"nvidia-smi ended with {code}: {said[:100].strip()!r}")
        return read_nvidia_smi(said, self._memory)


def read_nvidia_smi(said: str, memory: Memory) -> tuple[Gpu, ...]:
    """The GPUs in what nvidia-smi says to `QUERY`: a line each of UUID, name, and MiB of memory, in all and free.

    Args:
        said: its output.
        memory: the machine's own, for GPUs without one.

    Raises:
        SensorFailed: it says something else.
    """
    found = []
    for line in said.splitlines():
        if not line.strip():
            continue
        try:
            uuid, rest = line.split(", ", 1)
            name, total, free = rest.rsplit(", ", 2)
            own = None if {total, free} & _NO_MEMORY else (Bytes(int(total) * MiB), Bytes(int(free) * MiB))
        except ValueError as error:
            raise SensorFailed(f"nvidia-smi says something else than expected: {line[:100]!r}") from error
        found.append(nvidia_gpu(uuid.strip(), name.strip(), own, memory))
    return tuple(found)


def nvidia_gpu(uuid: str, name: str, own: tuple[Bytes, Bytes] | None, memory: Memory, *, bandwidth: int = 0) -> Gpu:
    """A GPU with its own memory (total and free), or with the machine's.

    Raises:
        SensorFailed: it has more free than it has.
    """
    shared = next((rate for chip, rate in _UNIFIED.items() if chip in name.split()), None)
    unified = own is None or shared is not None
    total, free = memory() if own is None or shared is not None else own
    if not 0 <= free <= total:
        raise SensorFailed(f"{name} has {free} of {total} bytes free")
    return Gpu(uuid, name, VENDOR, total, free, unified=unified, bandwidth=bandwidth or shared or 0)


def memory_bandwidth(bus_bits: int, clock_mhz: int) -> int:
    """Bytes/s of a memory that moves two bits a line and clock, as NVML counts clocks: a 4090 has 384 and 10,501."""
    return bus_bits * clock_mhz * 1_000_000 * 2 // 8


def _text(value: str | bytes) -> str:
    """Older versions of the library's Python side return bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
