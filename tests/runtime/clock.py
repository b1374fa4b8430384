"""The loop's time, for tests that live in virtual time, and its turns."""

import asyncio

from herd.runtime.virtual import VirtualTimeLoop


def now() -> float:
    return asyncio.get_running_loop().time()


def pass_time(seconds: float) -> None:
    """As a handler that keeps the loop so long: timers fall due, and the loop has not come to them."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.advance(seconds)


async def turns(number: int) -> None:
    """Let whatever is ready on the loop have its turn, so many times."""
    for _ in range(number):
        await asyncio.sleep(0)
