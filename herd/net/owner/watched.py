"""Asking a sensor that may hang: nobody waits for it for long, nor asks it again before it answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec, TypeVar

from herd.actors.ports import Clock
from herd.errors import HerdError
from herd.net.sensing import SensorAbsent
from herd.types import Seconds

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# A meeting has to be known within 5 s, so a sample may not wait for a sensor that hangs, nor for two in a row that do.
WAIT_S = Seconds(2.0)
# What is not there now may be later: a driver may be loaded after the agent starts.
ABSENT_S = 60.0


class Watched(Generic[P, T]):
    """A sensor, asked one question at a time.

    Args:
        name: of what it measures, for people.
        sample: asks it.
        clock: when it was found absent.
        wait: how long one waits for an answer.
    """

    def __init__(self, name: str, sample: Callable[P, Awaitable[T]], clock: Clock, wait: Seconds = WAIT_S) -> None:
        self._name = name
        self._sample = sample
        self._clock = clock
        self._wait = wait
        self._asking: asyncio.Task[T | None] | None = None
        self._ask_at = float("-inf")
        self._failing = False
        self.absent = False  # it has said that there is no such thing on this machine

    async def ask(self, *arguments: P.args, **keywords: P.kwargs) -> T | None:
        """What it says; None where it says nothing, has not yet answered, or does not answer soon. Never raises."""
        if self._clock.monotonic() < self._ask_at or not (self._asking is None or self._asking.done()):
            return None
        self._asking = asking = asyncio.create_task(self._answer(*arguments, **keywords))
        try:
            await asyncio.wait([asking], timeout=self._wait)
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if asking.done():
            return asking.result()
        self._fails(f"no answer within {self._wait:g} s")
        return None

    async def _answer(self, *arguments: P.args, **keywords: P.kwargs) -> T | None:
        try:
            answer = await self._sample(*arguments, **keywords)
        except SensorAbsent as error:
            log.debug("%s: %s", self._name, error)
            self.absent = True
            self._ask_at = self._clock.monotonic() + ABSENT_S
            return None
        except Exception as error:  # noqa: BLE001 - a sensor that fails is one that does not know
            # The text of an error that is not ours may name what runs here.
            self._fails(str(error) if isinstance(error, HerdError) else type(error).__name__)
            return None
        if self._failing:
            log.info("%s can be read again.", self._name)
        self._failing = self.absent = False
        return answer

    def _fails(self, why: str) -> None:
        if not self._failing:
            log.warning("%s cannot be read: %s", self._name, why)
        self._failing = True
