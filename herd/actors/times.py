"""Between durations, which are monotonic and of one process, and what is stored, which is wall clock."""

from herd.actors.ports import Clock
from herd.types import Seconds


def stored(clock: Clock, at: Seconds) -> Seconds:
    """The wall clock's time of a monotonic one."""
    return Seconds(clock.wall() - (clock.monotonic() - at))


def recalled(clock: Clock, at: Seconds) -> Seconds:
    """The monotonic time of a stored one. What lies in the future, by a clock that was set back since, is of now."""
    return Seconds(clock.monotonic() - max(0.0, clock.wall() - at))
