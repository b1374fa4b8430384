"""The one door to Pykka: its names, and an ActorRef and a Future that are safe on an event loop.

Pykka's calls block the calling thread. From other threads they work here as everywhere; on a thread that runs an
event loop they would freeze that loop, so there they raise at once.
"""

import asyncio
import logging
import threading
from collections.abc import Generator
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar, overload

from pykka import Actor, ActorDeadError, ActorRef, ActorRegistry, Future, ThreadingFuture
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

__all__ = [
    "Actor",
    "ActorDeadError",
    "ActorRegistry",
    "Future",
    "LoopActorRef",
    "LoopFuture",
    "ProxyCall",
    "ProxyGetAttr",
    "ProxySetAttr",
    "StoppedFlag",
    "log_collapse",
    "log_returned",
    "log_stopped",
]

log = logging.getLogger("pykka")  # what Pykka itself would log is logged in its name and words

A = TypeVar("A", bound=Actor)
T = TypeVar("T")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


class Inbox(Protocol):
    """What a ref needs of an actor's mailbox. `put` may be called from any thread."""

    @property
    def label(self) -> str: ...

    def put(self, item: Any, /) -> None: ...

    def check_loop(self, *, blocks: bool) -> None: ...

    def new_call(self, message: Any) -> "asyncio.Future[Any]":
        """An envelope around `message`, to be put; done when the message is answered."""

    def new_stop(self) -> "tuple[Any, asyncio.Future[bool]]":
        """An item to put that stops the actor in order, and what is done once the actor is dead."""


class LoopFuture(ThreadingFuture[T]):
    """A Pykka future that refuses to block an event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._settled = False

    def get(self, *, timeout: float | None = None) -> Any:
        """The value, waited for at most `timeout` seconds.

        Raises:
            RuntimeError: there is no value yet, and this thread runs an event loop.
            pykka.Timeout: no value in time.
        """
        if not self._settled:
            forbid_on_loop("Future.get() on an unfinished future")
        return super().get(timeout=timeout)

    def set(self, value: T | None = None) -> None:
        super().set(value)
        self._settled = True

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        super().set_exception(exc_info)
        self._settled = True

    def set_get_hook(self, func: Any) -> None:
        # The hook asks other futures, and they guard themselves.
        super().set_get_hook(func)
        self._settled = True

    def __await__(self) -> Generator[None, None, T]:
        """The value, which must be there: Pykka's futures cannot be waited for without blocking the thread.

        Raises:
            RuntimeError: there is no value yet, and this thread runs an event loop.
        """
        if not self._settled:
            forbid_on_loop("awaiting an unfinished Pykka future")
        return super().__await__()

    def settle(self, source: "asyncio.Future[T]") -> None:
        """Take over the outcome of `source`, which is done."""
        error = source.exception()
        if error is None:
            self.set(source.result())
        else:
            self.set_exception((type(error), error, error.__traceback__))


class StoppedFlag:
    """Pykka's `actor_stopped`, as far as it is used: an event that is made only if somebody waits for it.

    (A threading.Event takes some 1,300 bytes, and an actor without one 3,000.)
    """

    __slots__ = ("_event", "_stopped")

    def __init__(self) -> None:
        self._stopped = False
        self._event: threading.Event | None = None

    def is_set(self) -> bool:
        return self._stopped

    def set(self) -> None:
        with _FLAG_GUARD:
            self._stopped = True
            if self._event is not None:
                self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the actor is dead, or for `timeout` seconds; True if it is dead.

        Raises:
            RuntimeError: this thread runs an event loop.
        """
        forbid_on_loop("actor_stopped.wait()")
        with _FLAG_GUARD:
            if self._stopped:
                return True
            if self._event is None:
                self._event = threading.Event()
        return self._event.wait(timeout)


_FLAG_GUARD = threading.Lock()  # of all flags: it is held for no longer than it takes to set one


class LoopActorRef(ActorRef[A]):
    """A Pykka ref to an actor on an event loop; may be used from any thread. It outlives crashes of its actor."""

    def __init__(self, actor: A, inbox: Inbox) -> None:
        super().__init__(actor)
        self._inbox = inbox

    def point_to(self, actor: A) -> None:
        """`actor` is the new incarnation, with the URN and the inbox of the one before."""
        super().__init__(actor)

    def leave_registry(self) -> None:
        """Pykka is told that the actor is dead."""
        ActorRegistry.unregister(self)
        self.actor_stopped.set()

    def __str__(self) -> str:
        return f"{self._inbox.label or self.actor_class.__name__} ({self.actor_urn})"

    def tell(self, message: Any) -> None:
        """Put `message` into the mailbox. Raises ActorDeadError when the actor is dead."""
        if not self.is_alive():
            raise ActorDeadError(f"{self} not found")
        self._inbox.check_loop(blocks=False)
        self._inbox.put(message)

    @overload
    def ask(self, message: Any, *, block: Literal[False], timeout: float | None = None) -> Future[Any]: ...

    @overload
    def ask(self, message: Any, *, block: Literal[True], timeout: float | None = None) -> Any: ...

    @overload
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any | Future[Any]: ...

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any | Future[Any]:
        """As in Pykka. Raises RuntimeError when it would block a thread that runs an event loop."""
        if block:
            forbid_on_loop("a blocking ask()")
        future: LoopFuture[Any] = LoopFuture()
        if self.is_alive():
            self._inbox.check_loop(blocks=block)
            call = self._inbox.new_call(message)
            call.add_done_callback(future.settle)
            self._inbox.put(call)
        else:
            error = ActorDeadError(f"{self} not found")
            future.set_exception((type(error), error, None))
        return future.get(timeout=timeout) if block else future

    @overload
    def stop(self, *, block: Literal[True], timeout: float | None = None) -> bool: ...

    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> Future[bool]: ...

    @overload
    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]: ...

    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]:
        """As in Pykka: True, or False when the actor was dead already.

        Raises:
            RuntimeError: it would block a thread that runs an event loop.
        """
        if block:
            forbid_on_loop("a blocking stop()")
        future: LoopFuture[bool] = LoopFuture()
        self._inbox.check_loop(blocks=block)
        item, stopped = self._inbox.new_stop()
        stopped.add_done_callback(future.settle)
        self._inbox.put(item)
        return bool(future.get(timeout=timeout)) if block else future


def forbid_on_loop(what: str) -> None:
    """Raise RuntimeError if this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        f"{what} would freeze the event loop of this thread: await handle.method.remote(...) or stop(handle) instead"
    )


def log_returned(actor: str, error: BaseException) -> None:
    """Log that a handler's exception goes to its caller."""
    log.info("Exception returned from %s to caller:", actor, exc_info=error)


def log_stopped(actor: str) -> None:
    """Log that an actor is dead."""
    log.debug("Stopped %s", actor)


def log_collapse(actor: str, error: BaseException) -> None:
    """Log that an exception is to end the process."""
    log.debug("%r in %s. Stopping all actors.", error, actor)
