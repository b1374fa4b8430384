"""Waiting for a state instead of for time."""

import asyncio
from collections.abc import Callable


class Watch:
    """Wakes those who wait for something to become true. The owner says `changed` after every change."""

    def __init__(self) -> None:
        # Bounded by the tasks that wait: each takes its own entry out again.
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._observers: list[Callable[[], None]] = []  # as many as its owner lets in

    def observe(self, observer: Callable[[], None]) -> None:
        """Call `observer` after every change from now on."""
        self._observers.append(observer)

    def changed(self) -> None:
        """Look at every condition now, so that one that holds for a moment only is not missed."""
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)
        for observer in self._observers:
            observer()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true; at once if it is."""
        if condition():
            return
        waiter = (condition, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await waiter[1]
        finally:
            self._waiters.remove(waiter)
