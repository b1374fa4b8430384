"""An event loop whose clock jumps to the next timer when nothing is ready, so that hours pass in milliseconds."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, NoReturn

# Tasks named in a Deadlock. More than a person reads says no more.
NAMED_TASKS = 10


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: on this loop nothing can ever happen again."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Deterministic: one thread, no file descriptors, and a clock (`time()`, seconds from 0) that only timers move.

    Raises:
        Deadlock: out of `run_until_complete`, naming tasks that wait.
        RuntimeError: out of what would bring in the world outside: sockets, pipes, executors, other threads.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._thread = threading.get_ident()
        self._jump = _Jump(self)
        super().__init__(self._jump)
        self._jump.sealed = True  # the loop's own self-pipe is registered, and is the only descriptor ever

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock; called when nothing is ready before."""
        self._now += seconds

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a virtual-time loop takes no calls from other threads: their order is chance")
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, *args: Any) -> NoReturn:  # type: ignore[override] # it never returns
        raise RuntimeError(f"no executor in virtual time, where threads would bring chance in: {args!r}")


class _Jump(selectors.BaseSelector):
    """A selector that never waits: it moves the loop's clock by the time it was asked to wait."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self.sealed = False
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock(f"nothing can ever happen again; waiting: {_waiting(self._loop)}")
        if timeout > 0:
            self._loop.advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.sealed:
            raise RuntimeError(f"no sockets or pipes in virtual time: {fileobj!r}")
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, number, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    names = sorted(task.get_name() for task in asyncio.all_tasks(loop))
    more = f" and {len(names) - NAMED_TASKS} more" if len(names) > NAMED_TASKS else ""
    return ", ".join(names[:NAMED_TASKS]) + more
