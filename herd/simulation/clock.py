"""Time in a simulation: the loop's, counted from one moment of history."""

import asyncio

from herd.types import Seconds

EPOCH = 1_780_272_000.0  # 2026-06-01 00:00 UTC, a Monday, when every simulation begins


class LoopClock:
    """The loop's time as the port `Clock`.

    Attributes:
        ahead: seconds by which the wall clock goes wrong.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> Seconds:
        return Seconds(asyncio.get_running_loop().time())

    def wall(self) -> Seconds:
        return Seconds(EPOCH + asyncio.get_running_loop().time() + self.ahead)
