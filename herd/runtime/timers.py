"""Timers put their ticks into their actor's mailbox, so that a tick is a message like any other."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, Protocol


class TimerOwner(Protocol):
    """The actor's side of a timer."""

    loop: asyncio.AbstractEventLoop

    def put(self, item: Any, /) -> None: ...

    def forget_timer(self, timer: "Timer") -> None: ...


class Timer:
    """One `after`, or one `every` (then `period` is its seconds); `cancel()` ends it. Times are loop time.

    Ticks of an `every` fall due at start + n * period, however long handlers take, and never pile up: while one tick
    waits or its handler runs, those that fall due are skipped.
    """

    __slots__ = ("_count", "_handle", "_origin", "_owner", "args", "busy", "cancelled", "is_async", "method", "period")

    def __init__(
        self,
        owner: TimerOwner,
        seconds: float,
        period: float | None,
        method: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        if period is not None and period <= 0:
            raise ValueError(f"a period must be more than 0 seconds, not {period!r}")
        self.period = period
        self.method = method
        self.args = args
        self.is_async = inspect.iscoroutinefunction(method)
        self.busy = False
        self.cancelled = False
        self._owner = owner
        self._origin = owner.loop.time()
        self._count = 1  # of the tick that falls due next
        self._handle = owner.loop.call_at(self._origin + seconds, self._due)

    def _due(self) -> None:
        if not self.busy:
            self.busy = True
            self._owner.put(self)
        if self.period is not None:
            loop = self._owner.loop
            # From the origin and a count, not from now: rounding and lateness do not add up. A loop that was held
            # for several periods goes on with the first tick that is still to come.
            self._count = max(self._count, int((loop.time() - self._origin) / self.period)) + 1
            self._handle = loop.call_at(self._origin + self._count * self.period, self._due)

    def cancel(self) -> None:
        """No further tick is handled, not even one that waits in the mailbox. Idempotent."""
        self.cancelled = True
        self._handle.cancel()
        self._owner.forget_timer(self)

    def handled(self) -> None:
        """The handler of a tick has ended: the next may come."""
        self.busy = False
        if self.period is None:
            self._owner.forget_timer(self)

    def __repr__(self) -> str:
        name = getattr(self.method, "__name__", repr(self.method))
        what = "after" if self.period is None else f"every {self.period:g} s"
        return f"<Timer {what} {name}{' cancelled' if self.cancelled else ''}>"
