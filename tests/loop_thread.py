"""An event loop in a thread of its own: a house lives there while clients that block are tried in the test's thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# What hangs is a failure; nothing that works comes near it, on the slowest machine either.
PATIENCE_S = 50.0


class Elsewhere(Generic[T]):
    """What an asynchronous block holds, on the loop of another thread."""

    def __init__(self, value: T, loop: asyncio.AbstractEventLoop) -> None:
        self.value = value
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on that loop; its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    def call(self, function: Callable[[], R]) -> R:
        """Call a function on that loop: what lives there is not to be touched from here. Its result."""

        async def called() -> R:
            return function()

        return self.run(called())


@contextmanager
def elsewhere(block: AbstractAsyncContextManager[T]) -> Iterator[Elsewhere[T]]:
    """Hold an asynchronous block open in a thread of its own."""
    opened: Future[Elsewhere[T]] = Future()

    async def hold() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with block as value:
                opened.set_result(Elsewhere(value, loop))
                ended.add_done_callback(lambda _: loop.call_soon_threadsafe(over.set))
                await over.wait()
        except BaseException as error:
            if opened.done():
                raise
            opened.set_exception(error)

    ended: Future[None] = Future()
    failed: list[BaseException] = []

    def live() -> None:
        try:
            asyncio.run(hold())
        except BaseException as error:  # noqa: BLE001 - raised where the block is left
            failed.append(error)

    thread = threading.Thread(target=live, name="elsewhere", daemon=True)
    thread.start()
    try:
        yield opened.result(PATIENCE_S)
    finally:
        ended.set_result(None)
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if failed:
        raise failed[0]
