"""The real clock."""

import time

from herd.types import Seconds


class SystemClock:
    """This machine's clock. Implements the port `Clock`."""

    def monotonic(self) -> Seconds:
        return Seconds(time.monotonic())

    def wall(self) -> Seconds:
        return Seconds(time.time())
