"""The Store: when its file is open."""

from collections.abc import Callable
from typing import TypeVar

from herd.actors.store import Store
from herd.runtime import kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.store.database import Database
from herd.store.executor import InlineExecutor

T = TypeVar("T")


@virtual_time
async def test_a_store_that_crashes_closes_its_file_and_opens_it_again() -> None:
    diary: list[str] = []

    class File(Database):
        def __init__(self) -> None:
            super().__init__(None)
            diary.append("opened")

        def close(self) -> None:
            super().close()
            diary.append("closed")

    class Thread(InlineExecutor):
        async def run(self, call: Callable[[], T]) -> T:
            assert "thread ended" not in diary
            return await super().run(call)

        def close(self) -> None:
            diary.append("thread ended")

    store = remote(Store).options(max_restarts=1).remote(File, Thread(), LoopClock())
    await store.load.remote()
    kill(store, no_restart=False)
    assert await store.load.remote() == ()
    await stop(store)
    assert diary == ["opened", "closed", "opened", "closed", "thread ended"]
