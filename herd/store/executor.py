"""Where blocking work runs: in a thread, or, where time is virtual, at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Executor(Protocol):
    """Runs blocking calls one after another, in the order in which they were handed in."""

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns, or raises."""

    def close(self) -> None:
        """Let go of the thread, once what was handed in is done."""


class ThreadExecutor:
    """One thread of its own: a SQLite connection stays in it, and its order is the callers' order."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns, or raises."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Let go of the thread, once what was handed in is done."""
        self._pool.shutdown(wait=False)


class InlineExecutor:
    """At once, on the loop: a second thread would make virtual time depend on real time."""

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns, or raises."""
        return call()

    def close(self) -> None:
        """Nothing to let go of."""
