"""What can be known of a meeting, and how a sensor is asked for it."""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from herd.net.sensing import SensorAbsent, SensorFailed
from herd.types import Seconds

T = TypeVar("T")

log = logging.getLogger(__name__)

# They answer within some milliseconds. A node pauses within 5 s of a meeting's begin: a sensor that hangs must leave
# the others time to be heard.
ANSWER_S = Seconds(1.5)


@dataclass(frozen=True, slots=True)
class Meeting:
    """Whether devices are in use; None is what no sensor can say."""

    camera: bool | None = None
    microphone: bool | None = None


class MeetingProbe(Protocol):
    """The sensors of one machine."""

    async def sample(self) -> Meeting:
        """What is true now. Takes some seconds at most, blocks nobody, and raises nothing."""


async def asked(question: Awaitable[T], what: str, within: Seconds | None = None) -> T | None:
    """What a sensor answers; None where there is none, where it fails, or does not answer soon.

    Args:
        question: may raise SensorAbsent, SensorFailed or OSError.
        what: was asked for, for the log.
        within: how long one waits; None: for `ANSWER_S`.
    """
    wait = ANSWER_S if within is None else within
    try:
        async with asyncio.timeout(wait):
            return await question
    except (SensorAbsent, SensorFailed, OSError) as error:  # a TimeoutError is an OSError
        log.debug("%s: unknown: %s", what, str(error) or f"no answer within {wait:g} s")
        return None
