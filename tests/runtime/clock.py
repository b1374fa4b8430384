"""The loop's time, for tests that live in virtual time."""

import asyncio

from herd.runtime.virtual import VirtualTimeLoop


def now() -> float:
    return asyncio.get_running_loop().time()


def pass_time(seconds: float) -> None:
    """As a handler that keeps the loop so long: timers fall due, and the loop has not come to them."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.advance(seconds)
