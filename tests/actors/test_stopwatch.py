"""How long a model server takes, by the agent's clock."""

import asyncio
from collections.abc import AsyncIterator

from herd.actors.stopwatch import Stopwatch
from herd.protocols.messages import Usage
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import Seconds

WHOLE = Usage(complete=True)


async def upload(seconds: float) -> AsyncIterator[bytes]:
    for _ in range(4):
        await asyncio.sleep(seconds / 4)
        yield b"piece"


async def exchange(body: AsyncIterator[bytes], works: float) -> bytes:
    """A server that reads the whole body, and then works."""
    async for _ in body:
        pass
    await asyncio.sleep(works)
    return b"answer"


@virtual_time
async def test_neither_the_upload_nor_a_slow_reader_is_the_servers_work() -> None:
    watch = Stopwatch(LoopClock())
    assert await watch.waiting(exchange(watch.sending(upload(60.0)), 5.0)) == b"answer"
    await asyncio.sleep(30.0)  # the client reads
    await watch.waiting(asyncio.sleep(2.0))

    assert watch.measured(WHOLE).decode_s == Seconds(7.0)


@virtual_time
async def test_what_the_answer_says_counts_and_a_load_is_no_work() -> None:
    watch = Stopwatch(LoopClock())
    await watch.waiting(asyncio.sleep(7.0))

    assert watch.measured(Usage(decode_s=Seconds(3.0), complete=True)).decode_s == 3.0
    assert watch.measured(Usage(load_s=Seconds(5.0), complete=True)).decode_s == 2.0
    assert watch.measured(Usage(load_s=Seconds(9.0), complete=True)).decode_s == 0.0
    assert watch.measured(Usage(failed=True)).decode_s == 0.0
