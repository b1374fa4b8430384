"""NVIDIA's GPUs, by the driver's library and by its program."""

import asyncio
from typing import Any

import pynvml
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.net.nvidia import Nvidia, Nvml, memory_bandwidth, read_nvidia_smi
from herd.net.sensing import SensorAbsent, SensorFailed
from herd.protocols.messages import Gpu
from herd.types import Bytes, GiB, MiB

# Lines of `nvidia-smi --format=csv,noheader,nounits` as they stand in public reports: an L40S and an RTX 4090 (their
# totals and what is free of them when idle), and a DGX Spark (unslothai/unsloth pull request 10703).
L40S = "GPU-2dee1e25-b3b5-007e-2b55-79f2d0f2ebe5, NVIDIA L40S, 46068, 45469"
RTX_4090 = "GPU-96de99c9-d68f-84c8-424c-7c75e59cc0a0, NVIDIA GeForce RTX 4090, 24564, 23330"
SPARK = "GPU-2428d171-8684-5b64-830c-435cd972ec4a, NVIDIA GB10, [N/A], [N/A]"

MACHINE = (Bytes(120 * GiB), Bytes(90 * GiB))


def machine() -> tuple[Bytes, Bytes]:
    return MACHINE


# --- What nvidia-smi says ---------------------------------------------------------------------------------------------


def test_each_line_is_a_gpu_with_its_own_memory() -> None:
    assert read_nvidia_smi(f"{L40S}\n{RTX_4090}\n", machine) == (
        Gpu(
            "GPU-2dee1e25-b3b5-007e-2b55-79f2d0f2ebe5", "NVIDIA L40S", "nvidia", Bytes(46068 * MiB), Bytes(45469 * MiB)
        ),
        Gpu(
            "GPU-96de99c9-d68f-84c8-424c-7c75e59cc0a0",
            "NVIDIA GeForce RTX 4090",
            "nvidia",
            Bytes(24564 * MiB),
            Bytes(23330 * MiB),
        ),
    )


def test_a_gpu_without_memory_of_its_own_has_the_machines() -> None:
    (spark,) = read_nvidia_smi(SPARK, machine)
    assert (spark.memory_total, spark.memory_free, spark.unified) == (*MACHINE, True)
    assert spark.bandwidth == 273_000_000_000


def test_a_gpu_that_shares_the_machines_memory_is_not_believed_when_it_names_a_little_of_its_own() -> None:
    (gpu,) = read_nvidia_smi("GPU-1, NVIDIA N1X, 512, 100", machine)
    assert (gpu.memory_total, gpu.memory_free, gpu.unified) == (*MACHINE, True)


@pytest.mark.parametrize("said", ["", "\n", "\r\n\r\n"])
def test_nothing_said_is_no_gpu(said: str) -> None:
    assert read_nvidia_smi(said, machine) == ()


@pytest.mark.parametrize(
    "said",
    [
        "No devices were found",
        "GPU-1, NVIDIA L40S, 46068",
        "GPU-1, NVIDIA L40S, 46068 MiB, 45469 MiB",
        "GPU-1, NVIDIA L40S, 46068, [Unknown Error]",
        "GPU-1, NVIDIA L40S, 100, 200",
        "GPU-1, NVIDIA L40S, -100, -200",
        f"{L40S}\nFailed to initialize NVML: Driver/library version mismatch",
    ],
)
def test_anything_else_is_refused(said: str) -> None:
    with pytest.raises(SensorFailed, match=r"nvidia-smi says something else|bytes free"):
        read_nvidia_smi(said, machine)


@given(st.text(alphabet="GPU-, 0123456789[N/A]\n", max_size=80))
@settings(max_examples=100, derandomize=True, database=None)
def test_whatever_it_says_it_is_read_or_refused(said: str) -> None:
    try:
        found = read_nvidia_smi(said, machine)
    except SensorFailed:
        return
    assert all(0 <= gpu.memory_free <= gpu.memory_total for gpu in found)


# --- What the library says --------------------------------------------------------------------------------------------


class Answers:
    """The library `pynvml` for these GPUs. A value that is an error is raised, as the library does."""

    NVMLError = pynvml.NVMLError
    NVML_ERROR_LIBRARY_NOT_FOUND = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    NVML_ERROR_DRIVER_NOT_LOADED = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
    NVML_ERROR_NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
    NVML_ERROR_FUNCTION_NOT_FOUND = pynvml.NVML_ERROR_FUNCTION_NOT_FOUND
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM

    def __init__(self, *gpus: dict[str, Any]) -> None:
        self.gpus = gpus
        self.init: Any = None
        self.begun = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's names
        self._say(self.init)
        self.begun += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        raise self._error(pynvml.NVML_ERROR_UNINITIALIZED)

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return self.gpus[index]

    def nvmlDeviceGetName(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu["name"])

    def nvmlDeviceGetUUID(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu["uuid"])

    def nvmlDeviceGetMemoryInfo(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu["memory"])

    def nvmlDeviceGetMemoryBusWidth(self, gpu: dict[str, Any]) -> Any:  # noqa: N802
        return self._say(gpu["bus"])

    def nvmlDeviceGetMaxClockInfo(self, gpu: dict[str, Any], kind: int) -> Any:  # noqa: N802
        assert kind == self.NVML_CLOCK_MEM
        return self._say(gpu["clock"])

    @staticmethod
    def _error(code: int) -> Exception:
        error: Exception = pynvml.NVMLError(code)
        return error

    @staticmethod
    def _say(value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value


class Info:
    """As `nvmlDeviceGetMemoryInfo` returns it."""

    def __init__(self, total: int, free: int) -> None:
        self.total, self.free, self.used = total, free, total - free


def card(**changes: Any) -> dict[str, Any]:
    plain = {"uuid": "GPU-1", "name": "NVIDIA GeForce RTX 4090", "memory": Info(24 * GiB, 20 * GiB)}
    return {**plain, "bus": 384, "clock": 10501, **changes}


NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
LOST = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


def test_the_library_names_every_gpu_with_its_memory_and_how_fast_that_is() -> None:
    first, second = Nvml(machine, Answers(card(), card(uuid=b"GPU-2", name=b"NVIDIA L40S"))).sample()
    assert first == Gpu(
        "GPU-1",
        "NVIDIA GeForce RTX 4090",
        "nvidia",
        Bytes(24 * GiB),
        Bytes(20 * GiB),
        bandwidth=1_008_096_000_000,
    )
    assert (second.id, second.name) == ("GPU-2", "NVIDIA L40S")


def test_what_the_library_does_not_know_of_a_card_is_unknown() -> None:
    gpu = card(name="NVIDIA GB10", memory=NOT_SUPPORTED, bus=NOT_SUPPORTED, clock=NOT_SUPPORTED)
    (spark,) = Nvml(machine, Answers(gpu)).sample()
    assert (spark.memory_total, spark.memory_free, spark.unified, spark.bandwidth) == (*MACHINE, True, 273_000_000_000)
    (plain,) = Nvml(machine, Answers(card(bus=NOT_SUPPORTED))).sample()
    assert plain.bandwidth == 0


def test_the_library_is_begun_once_and_again_after_an_error() -> None:
    library = Answers(card())
    nvml = Nvml(machine, library)
    nvml.sample()
    nvml.sample()
    assert library.begun == 1
    library.gpus = (card(memory=LOST),)
    with pytest.raises(SensorFailed, match="NVIDIA's driver says: GPU is lost"):
        nvml.sample()
    library.gpus = (card(),)
    nvml.sample()
    assert library.begun == 2


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_without_a_driver_there_is_no_gpu(code: int) -> None:
    library = Answers()
    library.init = pynvml.NVMLError(code)
    with pytest.raises(SensorAbsent):
        Nvml(machine, library).sample()


@pytest.mark.parametrize("trouble", [OSError("wrong ELF class"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")])
def test_a_library_of_another_kind_is_refused(trouble: Exception) -> None:
    library = Answers()
    library.init = trouble
    with pytest.raises(SensorFailed, match="NVIDIA's library is of no use"):
        Nvml(machine, library).sample()


def test_the_width_of_the_bus_and_the_clock_give_the_bandwidth() -> None:
    assert memory_bandwidth(384, 10501) == pytest.approx(1008e9, rel=0.001)
    assert memory_bandwidth(0, 10501) == 0


# --- Which of the two -------------------------------------------------------------------------------------------------


class FakeTool:
    """nvidia-smi that ends so."""

    def __init__(self, code: int, said: str) -> None:
        self.runs: list[tuple[str, ...]] = []
        self._end = code, said

    async def run(self, *arguments: str) -> tuple[int, str]:
        self.runs.append(arguments)
        return self._end


def no_library() -> Nvml:
    library = Answers()
    library.init = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    return Nvml(machine, library)


def nvidia(nvml: Nvml, tool: FakeTool | None) -> Nvidia:
    return Nvidia(machine, tool, nvml)  # type: ignore[arg-type] # it runs as a Tool does


async def test_the_program_is_asked_only_where_the_library_is_missing() -> None:
    tool = FakeTool(0, L40S)
    (gpu,) = await nvidia(Nvml(machine, Answers(card())), tool).sample()
    assert (gpu.name, tool.runs) == ("NVIDIA GeForce RTX 4090", [])
    (gpu,) = await nvidia(no_library(), tool).sample()
    assert gpu.name == "NVIDIA L40S"
    assert tool.runs == [
        ("--query-gpu=uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits"),
    ]


async def test_without_both_there_is_no_gpu() -> None:
    with pytest.raises(SensorAbsent):
        await nvidia(no_library(), None).sample()


async def test_a_program_that_fails_is_told_with_its_words() -> None:
    with pytest.raises(SensorFailed, match="nvidia-smi ended with 9: 'NVIDIA-SMI has failed"):
        await nvidia(no_library(), FakeTool(9, "NVIDIA-SMI has failed because it could not talk\n")).sample()


async def test_the_real_library_says_within_a_moment_whether_there_is_a_driver() -> None:
    async with asyncio.timeout(10):
        try:
            found = await Nvidia(machine).sample()
        except (SensorAbsent, SensorFailed):
            return
    assert all(gpu.vendor == "nvidia" for gpu in found)
