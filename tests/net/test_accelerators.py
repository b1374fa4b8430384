"""What is known of this machine's GPUs, whatever their drivers do."""

import asyncio
import logging
import platform
from dataclasses import replace

import pytest

from herd.net.accelerators import ABSENT_S, STALE_S, Accelerators, gpus_of_this_machine, that_count
from herd.net.sensing import SensorAbsent, SensorFailed
from herd.protocols.messages import Gpu
from herd.types import Bytes, Seconds

CARD = Gpu("GPU-1", "NVIDIA GeForce RTX 4090", "nvidia", Bytes(24), Bytes(20))
INSIDE = Gpu("0000:12:00.0", "AMD GPU 0x164e", "amd", Bytes(16), Bytes(10), unified=True)


class Hands:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> Seconds:
        return Seconds(self.now)

    def wall(self) -> Seconds:
        return Seconds(self.now)


class FakeMaker:
    """A maker whose driver answers so."""

    name = "somebody's GPUs"

    def __init__(self, *answer: Gpu) -> None:
        self.answer: tuple[Gpu, ...] | Exception = answer
        self.asked = 0

    async def sample(self) -> tuple[Gpu, ...]:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def test_the_gpus_of_all_makers_are_there_as_they_are_now() -> None:
    first, second = FakeMaker(CARD), FakeMaker(replace(CARD, id="0000:03:00.0", vendor="amd"))
    gpus = Accelerators([first, second], Hands())
    assert [gpu.vendor for gpu in await gpus.sample()] == ["nvidia", "amd"]
    first.answer = (replace(CARD, memory_free=Bytes(1)),)
    assert [gpu.memory_free for gpu in await gpus.sample()] == [1, 20]


async def test_where_there_is_no_driver_nobody_is_told_and_it_is_looked_for_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    clock, maker = Hands(), FakeMaker()
    maker.answer = SensorAbsent("no driver")
    gpus = Accelerators([maker], clock)
    for _ in range(3):
        assert await gpus.sample() == ()
    assert (maker.asked, caplog.text) == (1, "")
    clock.now += ABSENT_S
    maker.answer = (CARD,)
    assert await gpus.sample() == (CARD,)


@pytest.mark.parametrize("trouble", [SensorFailed("it hangs"), PermissionError("no")])
async def test_a_driver_that_stops_answering_is_complained_of_once_and_its_gpus_are_as_they_were_for_a_while(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock, maker = Hands(), FakeMaker(CARD)
    gpus = Accelerators([maker], clock)
    await gpus.sample()
    maker.answer = trouble
    for _ in range(5):
        assert await gpus.sample() == (CARD,)
    clock.now += STALE_S + 1
    assert await gpus.sample() == ()
    (complaint,) = [record.getMessage() for record in caplog.records]
    assert complaint == f"The memory of somebody's GPUs cannot be read: {trouble}"
    maker.answer = (CARD,)
    assert await gpus.sample() == (CARD,)
    assert caplog.records[-1].getMessage() == "The memory of somebody's GPUs can be read again."
    maker.answer = trouble
    await gpus.sample()
    assert len(caplog.records) == 3


def test_beside_a_card_a_gpu_inside_the_processor_does_not_count() -> None:
    assert that_count([INSIDE, CARD]) == (CARD,)
    assert that_count([INSIDE]) == (INSIDE,)
    assert len(that_count([CARD] * 100)) == 64


async def test_this_machine_is_looked_at_within_a_moment_whatever_it_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    gpus = gpus_of_this_machine(lambda: (Bytes(32), Bytes(16)), Hands())
    async with asyncio.timeout(10):
        found = await gpus.sample()
    for gpu in found:
        assert 0 <= gpu.memory_free <= gpu.memory_total


@pytest.mark.parametrize(
    ("system", "architecture", "makers"),
    [
        ("Linux", "x86_64", ["NVIDIA's GPUs", "AMD's GPUs"]),
        ("Windows", "AMD64", ["NVIDIA's GPUs"]),
        ("Darwin", "arm64", ["the GPU"]),
        ("Darwin", "x86_64", []),
    ],
)
def test_each_system_has_sensors_of_its_own(
    system: str, architecture: str, makers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: architecture)
    gpus = gpus_of_this_machine(lambda: (Bytes(32), Bytes(16)), Hands())
    assert [known.maker.name for known in gpus._known] == makers
