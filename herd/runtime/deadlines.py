"""Deadlines travel with calls: what a handler asks of others ends no later than what it was asked for itself."""

import asyncio
import contextvars
import math
from collections.abc import Iterator
from contextlib import contextmanager

# In loop time. Set while a handler works on a call that has one, and by `deadline`.
due: contextvars.ContextVar[float | None] = contextvars.ContextVar("herd.runtime.due", default=None)


def as_timeout(seconds: float | None) -> float | None:
    """`seconds`, or None where that is for ever. Raises ValueError for what is not a number."""
    if seconds is not None and math.isnan(seconds):
        raise ValueError("a timeout must be a number of seconds, or None")
    return None if seconds == math.inf else seconds


def earliest(timeout: float | None, time: float) -> float:
    """When a call made at `time` must have ended: by its own timeout, or by what its caller has left."""
    own = math.inf if timeout is None else time + timeout
    inherited = due.get()
    return own if inherited is None else min(own, inherited)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Calls made within the block, and all that they ask of others, end `seconds` from now at the latest.

    It only shrinks: inside a call that must end sooner, that holds. Calls that are late end with GetTimeoutError.
    Raises ValueError for what is not a number.
    """
    token = due.set(earliest(as_timeout(seconds), asyncio.get_running_loop().time()))
    try:
        yield
    finally:
        due.reset(token)
