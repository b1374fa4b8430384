"""Calls that an actor makes of its own methods: they come to its mailbox, so each is a message like any other."""

import asyncio
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

from herd.runtime.values import Terminated


def runs_async(method: Any) -> bool:
    """Is it an `async def`, or something wrapped around one?"""
    while isinstance(method, functools.partial):
        method = method.func
    return inspect.iscoroutinefunction(method) or inspect.iscoroutinefunction(inspect.unwrap(method))


class Watched(Protocol):
    """An actor that is watched."""

    def unwatch(self, watch: "Watch", /) -> None: ...


class JobOwner(Protocol):
    """The actor's side of a job."""

    loop: asyncio.AbstractEventLoop

    def put(self, item: Any, /) -> None: ...

    def forget_job(self, job: "Job") -> None: ...


class Job:
    """A method and its arguments, for one incarnation of one actor; `cancel()` ends it."""

    __slots__ = ("args", "cancelled", "is_async", "method", "owner")

    def __init__(self, owner: JobOwner, method: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.owner = owner
        self.method = method
        self.args = args
        self.is_async = runs_async(method)
        self.cancelled = False

    def cancel(self) -> None:
        """Nothing of it is handled any more, not even what waits in the mailbox. Idempotent."""
        self.cancelled = True
        self.owner.forget_job(self)

    def handled(self) -> None:
        """Its handler has ended."""
        self.owner.forget_job(self)

    @property
    def name(self) -> str:
        """Of the method."""
        method: Any = self.method
        while isinstance(method, functools.partial):  # whose repr would show what it hands over
            method = method.func
        return getattr(method, "__name__", None) or type(method).__name__


class Timer(Job):
    """One `after`, or one `every` (then `period` is its seconds). Times are loop time.

    Ticks of an `every` fall due at start + n * period, however long handlers take, and never pile up: while one tick
    waits or its handler runs, those that fall due are skipped.
    """

    __slots__ = ("_busy", "_count", "_handle", "_origin", "period")

    def __init__(
        self,
        owner: JobOwner,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        seconds: float,
        period: float | None,
    ) -> None:
        if period is not None and not period > 0:
            raise ValueError(f"a period must be more than 0 seconds, not {period!r}")
        if math.isnan(seconds):
            raise ValueError("a timer needs a number of seconds")
        super().__init__(owner, method, args)
        self.period = period
        self._busy = False
        self._origin = owner.loop.time()
        self._count = 1  # of the tick that falls due next
        self._handle = owner.loop.call_at(self._origin + seconds, self._due)

    def _due(self) -> None:
        if not self._busy:
            self._busy = True
            self.owner.put(self)
        if self.period is not None:
            loop = self.owner.loop
            # From the origin and a count, not from now: rounding and lateness do not add up. A loop that was held
            # for several periods goes on with the first tick that is still to come.
            self._count = max(self._count, int((loop.time() - self._origin) / self.period)) + 1
            self._handle = loop.call_at(self._origin + self._count * self.period, self._due)

    def cancel(self) -> None:
        """No further tick is handled, not even one that waits in the mailbox. Idempotent."""
        super().cancel()
        self._handle.cancel()

    def handled(self) -> None:
        """The handler of a tick has ended: the next may come."""
        self._busy = False
        if self.period is None:
            super().handled()

    def __repr__(self) -> str:
        what = "after" if self.period is None else f"every {self.period:g} s"
        return f"<Timer {what} {self.name}{' cancelled' if self.cancelled else ''}>"


class Watch(Job):
    """Tells an actor of another one's death, once."""

    __slots__ = ("_watched",)

    def __init__(self, owner: JobOwner, method: Callable[..., Any], args: tuple[Any, ...], watched: Watched) -> None:
        super().__init__(owner, method, args)
        self._watched = watched

    def tell(self, terminated: Terminated) -> None:
        """The actor is dead."""
        self.args = (terminated, *self.args)
        self.owner.put(self)

    def cancel(self) -> None:
        """Watch no more. Idempotent."""
        super().cancel()
        self._watched.unwatch(self)
