"""A process that has a Store remember one thing after another, and says of each when it was told. It ends when killed.

python -m tests.e2e.store_writer FILE FIRST     numbers from FIRST on, 500 a second
python -m tests.e2e.store_writer FILE batch     one batch of `BATCH`, which takes a while
"""

import asyncio
import sys
import time
from functools import partial
from pathlib import Path

from herd.actors.store import Store
from herd.net.clock import SystemClock
from herd.runtime import remote
from herd.store.database import Database
from herd.store.executor import ThreadExecutor
from herd.store.records import KnownUnload
from herd.types import NodeId, Seconds

BATCH = 400_000
PAUSE_S = 0.002


def unload(number: int) -> KnownUnload:
    """The record of this number."""
    return KnownUnload(NodeId("node"), f"{number:08}", Seconds(time.time()))


async def write(path: Path, first: int) -> None:
    """Tell, and say so, for ever."""
    store = remote(Store).remote(partial(Database, path), ThreadExecutor(), SystemClock())
    await store.load.remote()
    for number in range(first, sys.maxsize):
        store.record.tell(unload(number))
        print(number, time.monotonic(), flush=True)  # noqa: T201 - for whoever started it
        await asyncio.sleep(PAUSE_S)


def write_batch(path: Path) -> None:
    """Say that it begins, and write."""
    database = Database(path)
    batch = [unload(number) for number in range(BATCH)]
    print("writing", flush=True)  # noqa: T201 - for whoever started it
    database.save(batch)
    print("written", flush=True)  # noqa: T201 - for whoever started it


if __name__ == "__main__":
    if sys.argv[2] == "batch":
        write_batch(Path(sys.argv[1]))
    else:
        asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
