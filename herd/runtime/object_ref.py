"""The answer of a call, before it is there."""

import asyncio
from typing import Any, Protocol, TypeVar

from herd.runtime.errors import GetTimeoutError, TaskCancelledError

T = TypeVar("T")


class CallOwner(Protocol):
    """Where a call was put: the actor it waits for."""

    def describe(self, message: Any) -> str: ...

    def cancel_work(self, ref: "ObjectRef[Any]") -> None: ...

    def name_cycle(self, ref: "ObjectRef[Any]") -> str:
        """Which actors wait for one another because of `ref`, for an error; empty if none do."""


class ObjectRef(asyncio.Future[T]):
    """The awaitable answer of one call; may be awaited several times, by several tasks.

    It is the call's envelope in the mailbox too, so that one ask allocates one object beside its message. Awaiting
    raises the handler's own exception, or an error of `herd.runtime.errors`.

    Cancelling the ref, or a task that awaits it, cancels the work. The cancelled task gets its CancelledError; every
    other awaiter gets TaskCancelledError, for a CancelledError would look as if that task itself had been cancelled.
    (With `asyncio.wait_for` Python 3.11 shows that TaskCancelledError instead of a TimeoutError: for a deadline use
    `.options(timeout=...)`, or `asyncio.timeout`.)
    """

    __slots__ = ("owner", "message", "caller", "task", "timer", "retries")  # noqa: RUF023 - in the order of a call's life

    owner: CallOwner
    message: Any
    caller: Any  # the actor that called; None: none did
    task: "asyncio.Task[Any] | None"  # that runs the async handler, once it has taken its first step
    timer: asyncio.TimerHandle | None  # the call's deadline
    retries: int  # how often a crash of the actor has sent it back to the mailbox; not set before the first time

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ARG002 - asyncio's signature
        """Cancel the call: it never starts, or its handler is cancelled at its next await. Nothing if it has ended.

        Returns:
            False, always: this ref then ends with TaskCancelledError and is not "cancelled" in asyncio's sense,
            so a task that is being cancelled while it awaits the ref still has to be given its CancelledError.
        """
        if not self.done():
            self.fail(TaskCancelledError(f"{self.owner.describe(self.message)} was cancelled"))
            self.owner.cancel_work(self)
        return False

    def expire_at(self, when: float) -> None:
        """Give the call a deadline, in loop time."""
        loop = self.get_loop()
        self.timer = loop.call_at(when, self._expire, when - loop.time())

    def expire_if_late(self) -> bool:
        """End the call if its deadline has passed, whether or not the loop has come to its timer; True if it has."""
        if self.timer is not None and self.get_loop().time() >= self.timer.when() and not self.done():
            self.timer.cancel()
            self._expire(0.0)
            return True
        return False

    def _expire(self, seconds: float) -> None:
        if not self.done():
            when = "came too late for its caller's deadline"
            if seconds > 0:
                when = f"did not end within {round(seconds, 3) or seconds:g} s"
            cycle = self.owner.name_cycle(self)
            self.fail(GetTimeoutError(f"{self.owner.describe(self.message)} {when}{cycle}"))
            self.owner.cancel_work(self)

    def reply(self, value: T) -> None:
        """End with `value`, unless ended already."""
        if not self.done():
            if self.timer is not None:
                self.timer.cancel()
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """End with `error`, unless ended already."""
        if self.done():
            return
        if self.timer is not None:
            self.timer.cancel()
        if isinstance(error, StopIteration):  # it cannot be raised out of an `await`
            replacement = RuntimeError("the handler raised StopIteration")
            replacement.__cause__ = error
            error = replacement
        self.set_exception(error)
        # Reading it marks it as seen: asyncio is not to complain about a failed call that nobody waits for.
        self.exception()

    def __repr__(self) -> str:
        if not self.done():
            state = "pending"
        else:
            error = self.exception()
            state = "done" if error is None else f"failed {type(error).__name__}"
        return f"<ObjectRef {self.owner.describe(self.message)} {state}>"


def new_ref(loop: asyncio.AbstractEventLoop, owner: CallOwner, message: Any, caller: Any = None) -> ObjectRef[Any]:
    """A pending ref. (Not a constructor of its own: the future's own one, written in C, costs half as much.)"""
    ref: ObjectRef[Any] = ObjectRef(loop=loop)
    ref.owner = owner
    ref.message = message
    ref.caller = caller
    ref.task = None
    ref.timer = None
    return ref
