"""How the messages of a mailbox reach their handlers: `def` at once and undivided, `async def` in a task each.

All of it runs on the actor's loop.
"""

import asyncio
import functools
import inspect
import logging
import sys
from abc import abstractmethod
from collections import deque
from time import perf_counter
from typing import Any

from herd.runtime import deadlines
from herd.runtime._pykka import ProxyCall, ProxyGetAttr, ProxySetAttr
from herd.runtime.crashes import as_crash, cancelled_from_outside, is_exit
from herd.runtime.errors import RuntimeCallError, TaskCancelledError
from herd.runtime.jobs import Job, runs_async
from herd.runtime.mailbox import Mailbox, Stop
from herd.runtime.object_ref import ObjectRef, new_ref
from herd.runtime.tallies import Tally, stepped

log = logging.getLogger("herd.runtime")


class Dispatcher(Mailbox):
    """Starts the handlers, answers the callers, and counts.

    An incarnation is one life of the actor, from start to crash: `actor` and `running` are replaced with it, so a
    handler that still unwinds knows by them that its time is over.
    """

    __slots__ = ()

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """The actor crashes of `error`, which nobody asked for."""

    @abstractmethod
    def collapse(self, error: BaseException) -> None:
        """The actor meets an `error` that is to end the process."""

    @abstractmethod
    def leave(self) -> None:
        """The actor ends itself, by `exit_actor`."""

    @abstractmethod
    def begin_stop(self, message: Stop) -> None:
        """The turn of a Stop has come."""

    @abstractmethod
    def note_idle(self) -> None:
        """Perhaps the last async handler has ended."""

    @abstractmethod
    def broken_off(self, cause: BaseException | None = None) -> RuntimeCallError:
        """Why the work of an incarnation that has ended gives no answer."""

    @abstractmethod
    def returned(self, ref: ObjectRef[Any], error: Exception) -> None:
        """A handler raised `error`, and `ref` is told."""

    # --- One wake-up ------------------------------------------------------------------------------------------------

    def drain(self) -> None:  # noqa: C901, PLR0912 - each message takes this way, so it makes few calls
        """One wake-up: handle a burst of messages."""
        mailbox, tallies, high_water = self.mailbox, self.tallies, self.high_water
        # Has a task been made that has not taken its first step? Then no `def` handler may overtake it: handlers start
        # in the order of their messages.
        fresh = self._start_waiting() if self.waiting else False
        clock = perf_counter()
        for taken in range(self.home.burst):  # noqa: B007 - used after the loop
            depth = len(mailbox)
            if not depth:
                if self.actor is not None:  # else it died, or crashed and will be woken in its next life
                    self._wakeup = self._mark = None
                return
            if depth > high_water:
                high_water = self.high_water = depth
            item = mailbox.popleft()
            if type(item) is ObjectRef:
                if item.done() or (item.timer is not None and item.expire_if_late()):
                    self.pending -= 1
                    self._dropped(item)
                    continue
                ref, message = item, item.message
            else:
                ref, message = None, item
            if type(message) is ProxyCall:  # as nearly every message: its tally is found without a call
                tally = tallies.get(message[0][0]) or self._tally(message)
            elif type(message) is Stop:
                self.begin_stop(message)
                continue
            elif _cancelled(message):
                continue
            else:
                tally = self._tally(message)
            if tally.is_async:
                fresh = self._start_or_wait(ref, message, tally) or fresh
                clock = perf_counter()
                continue
            if fresh:
                mailbox.appendleft(item)
                break
            self._run_inline(ref, message, tally)
            now = perf_counter()
            took = now - clock
            clock = now
            tally.seconds += took
            if took > tally.notable:
                tally.note(took, self.label, self.home.hold_limit)
        else:
            taken = self.home.burst
        if self.actor is not None:
            self._note_backlog(taken)
            self._wake()

    def _note_backlog(self, taken: int) -> None:
        """A burst was not enough for what waited: keep `_since` true of what is left."""
        self._taken += taken
        if self._mark is None:
            self._taken = 0
            self._mark = (len(self.mailbox), self.loop.time())
        elif self._taken >= self._mark[0]:
            self._since = self._mark[1]
            self._mark = None

    def _tally(self, message: Any) -> Tally:
        """The tally of the method that handles `message`."""
        kind = type(message)
        if kind is ProxyCall:
            path = message.attr_path
            key: Any = path[0] if len(path) == 1 else path
        elif isinstance(message, Job):
            key = (message.name, message.is_async)  # it need not be a method of the class
        elif kind is ProxyGetAttr or kind is ProxySetAttr:
            key = kind
        else:
            key = "on_receive"
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = self._new_tally(key, message)
        return tally

    def _new_tally(self, key: Any, message: Any) -> Tally:
        if isinstance(message, Job):
            return Tally(message.name, message.is_async)
        if isinstance(key, str):
            return Tally(key, key in self.async_methods)
        if isinstance(key, tuple):
            return Tally(".".join(key), runs_async(functools.reduce(_attribute, key, self.actor)))
        return Tally("get" if key is ProxyGetAttr else "set", False)

    # --- Handlers ---------------------------------------------------------------------------------------------------

    def _invoke(self, message: Any) -> Any:
        kind = type(message)
        if kind is ProxyCall:
            path, args, kwargs = message
            return functools.reduce(getattr, path, self.actor)(*args, **kwargs)
        if isinstance(message, Job):
            return message.method(*message.args)
        if kind is ProxyGetAttr:
            return functools.reduce(getattr, message.attr_path, self.actor)
        if kind is ProxySetAttr:
            *path, name = message.attr_path
            return setattr(functools.reduce(getattr, path, self.actor), name, message.value)
        return self.actor.on_receive(message)

    def _run_inline(self, ref: ObjectRef[Any] | None, message: Any, tally: Tally) -> None:
        try:
            if ref is not None and ref.timer is not None:
                value = self._invoke_in_time(ref.timer.when(), message)
            elif type(message) is ProxyCall and len(message[0]) == 1:  # as nearly every message: without a further call
                (name,), args, kwargs = message
                value = getattr(self.actor, name)(*args, **kwargs)
            else:
                value = self._invoke(message)
            if ref is not None:
                self._answer(ref, value)
            tally.processed += 1
        except BaseException as error:  # noqa: BLE001 - all kinds are told apart there
            tally.processed += 1
            self._failed(ref, message, tally, error)
        if ref is not None:
            self.pending -= 1
        elif type(message) is not ProxyCall and isinstance(message, Job):
            message.handled()

    def _invoke_in_time(self, when: float, message: Any) -> Any:
        """What the handler asks of others must end by `when`, too."""
        deadlines.due.set(when)
        try:
            return self._invoke(message)
        finally:
            deadlines.due.set(None)

    def _start_or_wait(self, ref: ObjectRef[Any] | None, message: Any, tally: Tally) -> bool:
        """Start an async handler, or let it wait for room; True if its first step is still to come."""
        asked = ref is not None
        ref = ref or new_ref(self.loop, self, message)
        if len(self.running) >= self.options.max_concurrency:
            if self.waiting is None:
                self.waiting = deque()
            self.waiting.append((ref, asked, self._since))
            return False
        return self._start_task(ref, asked, tally)

    def _start_waiting(self) -> bool:
        fresh = False
        while self.waiting and len(self.running) < self.options.max_concurrency:
            ref, asked, _ = self.waiting.popleft()
            if ref.done() or ref.expire_if_late():
                self.pending -= asked
                self._dropped(ref)
            else:
                fresh = self._start_task(ref, asked, self._tally(ref.message)) or fresh
        self.note_idle()
        return fresh

    def _start_task(self, ref: ObjectRef[Any], asked: bool, tally: Tally) -> bool:
        self.running[ref] = asked
        # Only the loop holds the task until its first step puts it into the ref, and that is enough.
        work = self._run(ref, asked, tally, self.running)
        if sys.version_info >= (3, 12):  # a task can take its first step where it is made
            asyncio.Task(work, loop=self.loop, name=tally.name, eager_start=True)
            return False
        asyncio.Task(work, loop=self.loop, name=tally.name)  # takes it after what the loop has ready
        return True

    async def _run(self, ref: ObjectRef[Any], asked: bool, tally: Tally, running: dict[ObjectRef[Any], bool]) -> None:
        ended: BaseException | None = None
        # Before this first step the call may have ended, or the incarnation that it was started for, which counts it.
        late = ref.done() or ref.expire_if_late()
        if late and running is self.running:
            self._dropped(ref)
        elif running is self.running and not _cancelled(ref.message):
            ref.task = asyncio.current_task()
            if ref.timer is not None:
                deadlines.due.set(ref.timer.when())
            try:
                work = self._invoke(ref.message)
                account = functools.partial(self._account, tally)
                value = await stepped(work, account) if inspect.iscoroutine(work) else work
                if asked and running is self.running:
                    self._answer(ref, value)
            except GeneratorExit:  # its loop is gone
                raise
            except BaseException as error:  # noqa: BLE001 - all kinds are told apart below
                ended = error
            tally.processed += 1
        if running is self.running:
            self._ran(ref, asked)
            if ended is not None:
                self._failed(ref if asked else None, ref.message, tally, ended)
        elif isinstance(ended, Exception):
            log.warning("%s failed after its call had ended", self.describe(ref.message), exc_info=ended)

    def _failed(self, ref: ObjectRef[Any] | None, message: Any, tally: Tally, error: BaseException) -> None:
        """A handler raised `error`: its caller is told, or the actor bears it."""
        if isinstance(error, Exception):
            tally.failed += 1
            if ref is None:
                self.fail(error)
            elif ref.done():
                log.warning("%s failed after its call had ended", self.describe(message), exc_info=error)
            else:
                self.returned(ref, error)
        elif isinstance(error, asyncio.CancelledError):
            if ref is not None:
                ref.fail(TaskCancelledError(f"{self.describe(message)} was cancelled"))
            elif not cancelled_from_outside(error):  # out of something that it awaited, or looked into
                self.fail(as_crash(error))
        elif is_exit(error):
            self.leave()
            if ref is not None:
                ref.fail(self.dead_error())
        else:  # the process is to end
            if ref is not None:
                ref.fail(self.dead_error(error))
            self.collapse(error)
            raise error

    def _account(self, tally: Tally, seconds: float) -> None:
        tally.seconds += seconds
        if seconds > tally.notable:
            tally.note(seconds, self.label, self.home.hold_limit)

    def _ran(self, ref: ObjectRef[Any], asked: bool) -> None:
        ref.task = None
        self.running.pop(ref, None)
        self.pending -= asked
        if isinstance(ref.message, Job):
            ref.message.handled()
        if self.waiting and self._wakeup is None:
            self._wake()
        self.note_idle()

    def _answer(self, ref: ObjectRef[Any], value: Any) -> None:
        if self.actor is None:  # the handler ended its own actor
            ref.fail(self.broken_off())
            return
        if self.home.wire is not None:
            value = self.home.wire(value)
        ref.reply(value)


def _attribute(target: Any, name: str) -> Any:
    # A name that is not there is the handler's error, raised where the caller is told of it.
    return getattr(target, name, None)


def _cancelled(message: Any) -> bool:
    return isinstance(message, Job) and message.cancelled
