"""A sensor that hangs or fails says nothing, and delays nobody."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from herd.net.owner.watched import ABSENT_S, Watched
from herd.net.sensing import SensorAbsent, SensorFailed
from herd.types import Seconds
from tests.net.owner.test_network import Hand

MOMENT = Seconds(0.02)
LONG = Seconds(30.0)


class Sensor:
    """It answers what it is made to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[], int] = lambda: 7
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def sample(self) -> int:
        self.asked += 1
        await self.may_answer.wait()
        return self.answer()


def fails_with(error: Exception) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


async def test_it_says_what_it_says() -> None:
    assert await Watched("It", Sensor().sample, Hand(), LONG).ask() == 7


async def test_one_that_hangs_is_not_asked_again_until_it_has_answered() -> None:
    sensor = Sensor()
    watched = Watched("It", sensor.sample, Hand(), MOMENT)
    sensor.may_answer.clear()
    for _ in range(50):
        assert await watched.ask() is None
    assert sensor.asked == 1
    sensor.may_answer.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await watched.ask() == 7
    assert sensor.asked == 2


async def test_while_one_hangs_asking_it_takes_no_time() -> None:
    sensor = Sensor()
    watched = Watched("It", sensor.sample, Hand(), LONG)
    sensor.may_answer.clear()
    first = asyncio.create_task(watched.ask())
    await asyncio.sleep(0)
    assert await watched.ask() is None
    sensor.may_answer.set()
    assert await first == 7


async def test_one_that_fails_says_nothing_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sensor = Sensor()
    watched = Watched("The heat", sensor.sample, Hand(), LONG)
    sensor.answer = fails_with(SensorFailed("it says nonsense"))
    assert [await watched.ask() for _ in range(3)] == [None] * 3
    sensor.answer = lambda: 8
    assert [await watched.ask() for _ in range(2)] == [8, 8]
    assert caplog.messages == ["The heat cannot be read: it says nonsense", "The heat can be read again."]


async def test_an_error_that_is_not_ours_is_not_told_in_its_words(caplog: pytest.LogCaptureFixture) -> None:
    sensor = Sensor()
    sensor.answer = fails_with(RuntimeError("process `diary` is secret"))
    assert await Watched("The load", sensor.sample, Hand(), LONG).ask() is None
    assert caplog.messages == ["The load cannot be read: RuntimeError"]


async def test_one_that_is_absent_is_asked_again_after_a_while() -> None:
    clock, sensor = Hand(), Sensor()
    watched = Watched("It", sensor.sample, clock, LONG)
    sensor.answer = fails_with(SensorAbsent("there is none"))
    assert await watched.ask() is None
    assert watched.absent
    sensor.answer = lambda: 8
    clock.now = ABSENT_S - 1
    assert await watched.ask() is None
    assert sensor.asked == 1
    clock.now = ABSENT_S
    assert await watched.ask() == 8
    assert not watched.absent


async def test_who_asks_may_go_and_takes_the_question_along() -> None:
    ended = asyncio.Event()

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    asking = asyncio.create_task(Watched("It", hangs, Hand(), LONG).ask())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        await ended.wait()
