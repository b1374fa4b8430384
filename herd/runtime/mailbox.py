"""An actor's mailbox, and how its messages reach their handlers.

A message is one wake-up of the loop away from its handler, and a burst of messages shares one wake-up; an idle actor
is an object and nothing else. `def` handlers run to their end inside the wake-up, `async def` handlers in a task each.
All of it runs on the actor's loop; only `put` may be called from other threads.
"""

import asyncio
import contextvars
import functools
import inspect
import logging
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Protocol

from herd.runtime._pykka import ProxyCall, ProxyGetAttr, ProxySetAttr
from herd.runtime.errors import ActorDiedError, PendingCallsLimitExceeded, TaskCancelledError
from herd.runtime.object_ref import ObjectRef, new_ref
from herd.runtime.timers import Timer
from herd.runtime.values import ActorOptions, ActorStatus, Identity

log = logging.getLogger("herd.runtime")

# Messages handled in one wake-up before the loop gets its turn. A wake-up costs about as much as one small message, so
# with 64 it is lost in the noise, and even handlers of 50 us each hold up a socket for no more than 3 ms.
BURST = 64

# From 3.12 on a task can take its first step where it is made; before, it takes it after what the loop has ready.
EAGER = sys.version_info >= (3, 12)


class Home(Protocol):
    """The registry of the actor's loop, as a mailbox needs it."""

    wire: Callable[[Any], Any] | None  # when set, every argument and reply goes through it

    def dead_letter(self, actor: str, message: str) -> None: ...


class Stop:
    """The message of an ordered stop; `stopped` gives True once the actor is dead, False if it was dead before."""

    __slots__ = ("stopped",)

    def __init__(self, stopped: ObjectRef[bool]) -> None:
        self.stopped = stopped


class Mailbox(ABC):
    """Takes messages, starts their handlers and answers the callers. `Cell` adds the actor's life."""

    __slots__ = (
        *("__weakref__", "_awake", "_open", "_stops", "_thread", "actor", "async_methods", "context", "home"),
        *("identity", "loop", "mailbox", "options", "pending", "running", "status", "waiting"),
    )

    identity: Identity
    loop: asyncio.AbstractEventLoop
    context: contextvars.Context  # in which all the actor's code runs
    options: ActorOptions
    home: Home

    def __init__(self) -> None:
        self.actor: Any = None  # the instance, as long as it lives
        self.async_methods: frozenset[str] = frozenset()
        self.status = ActorStatus.PENDING_CREATION
        # Calls are bounded by max_pending_calls. Tells are not, on purpose: what is told (a release, a report) must not
        # be lost in a burst, and as its sender does not wait, a bound could not slow it down either.
        self.mailbox: deque[Any] = deque()
        self.waiting: deque[tuple[ObjectRef[Any], bool]] = deque()  # calls over max_concurrency; and: is it asked?
        self.running: dict[ObjectRef[Any], None] = {}  # async handlers; at most max_concurrency
        self.pending = 0  # calls that take room, so a cancelled one counts until its place in the mailbox is free
        self._thread = get_ident()
        self._open = True  # messages are taken
        self._awake = True  # a wake-up is under way; the first is that of `start`
        self._stops: list[ObjectRef[bool]] = []  # callers that wait for the end

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """The actor dies of `error`, which nobody asked for."""

    @abstractmethod
    def die(self, cause: BaseException | None) -> None:
        """The actor is dead at once."""

    @abstractmethod
    def begin_stop(self, message: Stop) -> None:
        """The turn of a Stop has come."""

    @abstractmethod
    def note_idle(self) -> None:
        """Perhaps the last async handler has ended."""

    # --- Taking messages --------------------------------------------------------------------------------------------

    def put(self, item: Any, /) -> None:
        """Take a message: an ObjectRef (a call), a Stop, a Timer, or anything else, which is told."""
        if get_ident() != self._thread:
            self.loop.call_soon_threadsafe(self.put, item)
            return
        if not self._open:
            self._refuse(item, None)
            return
        if type(item) is ObjectRef:
            if self.pending >= self.options.max_pending_calls != -1:
                item.fail(PendingCallsLimitExceeded(f"{self.label} has {self.pending} unanswered calls already"))
                return
            self.pending += 1
        self.mailbox.append(item)
        if not self._awake:
            self._wake()

    def new_call(self, message: Any) -> ObjectRef[Any]:
        """An envelope for `message`, to be `put`."""
        return new_ref(self.loop, self, message)

    def new_stop(self) -> tuple[Stop, ObjectRef[bool]]:
        """A Stop, to be `put`, and what it ends with."""
        stopped = new_ref(self.loop, self, "stop")
        return Stop(stopped), stopped

    def cancel_work(self, ref: ObjectRef[Any]) -> None:
        """`ref` has ended: nobody needs its work any more."""
        if ref.task is not None:
            ref.task.cancel()

    def _refuse(self, item: Any, cause: BaseException | None) -> None:
        if type(item) is ObjectRef:
            item.fail(self.dead_error(cause))
        elif type(item) is Stop:
            if self.status is ActorStatus.DEAD:
                item.stopped.reply(False)
            else:
                self._stops.append(item.stopped)
        elif type(item) is not Timer:
            self.home.dead_letter(self.label, self.describe(item))

    # --- Handling messages ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._awake = True
        self.loop.call_soon(self._drain, context=self.context)

    def _drain(self) -> None:
        """One wake-up: handle a burst of messages."""
        mailbox = self.mailbox
        # Has a task been made that has not taken its first step? Then no `def` handler may overtake it: handlers start
        # in the order of their messages.
        fresh = self._start_waiting()
        for _ in range(BURST):
            if not mailbox:
                self._awake = False
                return
            item = mailbox.popleft()
            ref = None
            message = item
            if type(item) is ObjectRef:
                if item.done():  # cancelled, or too late
                    self.pending -= 1
                    continue
                ref = item
                message = item.message
            if type(message) is Stop:
                self.begin_stop(message)
            elif self._is_async(message):
                fresh = self._start_or_wait(ref, message) or fresh
            elif fresh:
                mailbox.appendleft(item)
                break
            else:
                self._run_inline(ref, message)
        self._wake()

    def _is_async(self, message: Any) -> bool:
        kind = type(message)
        if kind is ProxyCall:
            path = message.attr_path
            if len(path) == 1:
                return path[0] in self.async_methods
            return inspect.iscoroutinefunction(functools.reduce(_attribute, path, self.actor))
        if kind is Timer:
            return bool(message.is_async)
        return kind is not ProxyGetAttr and kind is not ProxySetAttr and "on_receive" in self.async_methods

    def _invoke(self, message: Any) -> Any:
        kind = type(message)
        if kind is ProxyCall:
            path, args, kwargs = message
            method = getattr(self.actor, path[0]) if len(path) == 1 else functools.reduce(getattr, path, self.actor)
            return method(*args, **kwargs)
        if kind is Timer:
            return message.method(*message.args)
        if kind is ProxyGetAttr:
            return functools.reduce(getattr, message.attr_path, self.actor)
        if kind is ProxySetAttr:
            *path, name = message.attr_path
            return setattr(functools.reduce(getattr, path, self.actor), name, message.value)
        return self.actor.on_receive(message)

    def _run_inline(self, ref: ObjectRef[Any] | None, message: Any) -> None:
        try:
            value = self._invoke(message) if not _cancelled_tick(message) else None
            if ref is not None:
                self._answer(ref, value)
        except Exception as error:  # noqa: BLE001 - handed to the caller, or the actor's end
            if ref is not None:
                ref.fail(error)
            else:
                self.fail(error)
        except asyncio.CancelledError:  # out of a future that the handler looked into
            if ref is not None:
                ref.fail(TaskCancelledError(f"{self.describe(message)} was cancelled"))
        except BaseException as error:  # the process is to end
            self.die(error)
            raise
        if ref is not None:
            self.pending -= 1
        elif type(message) is Timer:
            message.handled()

    def _start_or_wait(self, ref: ObjectRef[Any] | None, message: Any) -> bool:
        """Start an async handler, or let it wait for room; True if its first step is still to come."""
        if ref is not None:
            asked = True
        else:
            ref, asked = new_ref(self.loop, self, message), False
        if len(self.running) >= self.options.max_concurrency:
            self.waiting.append((ref, asked))
            return False
        return self._start_task(ref, asked)

    def _start_waiting(self) -> bool:
        fresh = False
        while self.waiting and len(self.running) < self.options.max_concurrency:
            ref, asked = self.waiting.popleft()
            if ref.done():
                self.pending -= asked
            else:
                fresh = self._start_task(ref, asked) or fresh
        self.note_idle()
        return fresh

    def _start_task(self, ref: ObjectRef[Any], asked: bool) -> bool:
        self.running[ref] = None
        # Only the loop holds the task until its first step puts it into the ref, and that is enough.
        if sys.version_info >= (3, 12):
            asyncio.Task(self._run(ref, asked), loop=self.loop, eager_start=True)
        else:
            self.loop.create_task(self._run(ref, asked))
        return not EAGER

    async def _run(self, ref: ObjectRef[Any], asked: bool) -> None:
        failure = None
        # It may have been cancelled, or the actor may have died, before this first step.
        if not (ref.done() or _cancelled_tick(ref.message)):
            ref.task = asyncio.current_task()
            try:
                value = await self._invoke(ref.message)
                if asked:
                    self._answer(ref, value)
            except asyncio.CancelledError:
                ref.fail(TaskCancelledError(f"{self.describe(ref.message)} was cancelled"))
            except Exception as error:  # handed to the caller, or the actor's end
                if not asked:
                    failure = error
                elif ref.done():
                    log.warning("%s failed after its call had ended", self.describe(ref.message), exc_info=error)
                else:
                    ref.fail(error)
            except BaseException as error:  # the process is to end
                self.die(error)
                raise
        self._ran(ref, asked)
        if failure is not None:
            self.fail(failure)

    def _ran(self, ref: ObjectRef[Any], asked: bool) -> None:
        ref.task = None
        self.running.pop(ref, None)
        self.pending -= asked
        if type(ref.message) is Timer:
            ref.message.handled()
        if self.waiting and not self._awake:
            self._wake()
        self.note_idle()

    def _answer(self, ref: ObjectRef[Any], value: Any) -> None:
        if self.status is ActorStatus.DEAD:  # the handler killed its own actor
            ref.fail(self.dead_error(None))
            return
        if self.home.wire is not None:
            value = self.home.wire(value)
        ref.reply(value)

    # --- What is said -----------------------------------------------------------------------------------------------

    @property
    def label(self) -> str:
        return str(self.identity)

    def describe(self, message: Any) -> str:
        """For a person: the actor and what it is asked to do."""
        if type(message) is ProxyCall:
            message = ".".join(message.attr_path)
        return f"{self.label}: {message}"

    @abstractmethod
    def dead_error(self, cause: BaseException | None) -> ActorDiedError:
        """Why a message cannot be handled any more."""


def _attribute(target: Any, name: str) -> Any:
    # A name that is not there is the handler's error, raised where the caller is told of it.
    return getattr(target, name, None)


def _cancelled_tick(message: Any) -> bool:
    return type(message) is Timer and message.cancelled
