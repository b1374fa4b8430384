"""What an actor has under way beside its mailbox: jobs, linked tasks, supervised children. All of it ends with one
incarnation, which is a life from a start to a crash; what it leaves behind unwinds.
"""

import asyncio
import contextvars
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from herd.runtime.crashes import as_crash, ends_process, is_exit
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.deadlines import due
from herd.runtime.dispatcher import Dispatcher
from herd.runtime.jobs import Job
from herd.runtime.mailbox import STARTING
from herd.runtime.object_ref import ObjectRef
from herd.runtime.values import ActorStatus

log = logging.getLogger("herd.runtime")

# What a crash or a restart breaks off has so many seconds to unwind before the next incarnation starts all the same: a
# handler that will not be cancelled is not to keep its actor away for ever.
UNWIND_S = 5.0

current: contextvars.ContextVar["Incarnation | None"] = contextvars.ContextVar("herd.runtime.current", default=None)


class Family(Protocol):
    """The supervised children of an actor."""

    async def stop(self) -> None:
        """Stop them in order, the last one first."""

    async def end(self, cause: BaseException) -> None:
        """Their parent has crashed: break off what they do, have them run their on_stop, the last one first."""

    def kill(self) -> None:
        """End them at once."""


class Incarnation(Dispatcher):
    """The part of a `Cell` that is new with every incarnation.

    What an ended one leaves, until `unwind` has seen it off and the next one may start:

        _remains     its tasks, cancelled by `break_off`; waited for until `_unwind_by`
        _orphans     the supervisors of its children, which `suspend` has told to end
        _retired     its instance, if it was healthy: its on_stop comes when the tasks have ended
        _unwinding   the task in which all this happens
        _overtaken   wakes whoever waits for its on_start, which will not come to its end now
    """

    __slots__ = (
        *("_cause", "_lifecycle", "_orphans", "_overtaken", "_remains", "_retired", "_unwind_by", "_unwinding"),
        *("families", "jobs", "restarts", "spawned"),
    )

    def __init__(self) -> None:
        super().__init__()
        self.restarts = 0
        # They are filled by the actor's own code only, which knows how many it needs.
        self.jobs: dict[Job, None] = {}
        self.spawned: dict[asyncio.Task[Any], None] = {}
        self.families: dict[Family, None] = {}
        self._lifecycle: asyncio.Task[None] | None = None  # an async on_start, or an ordered stop
        self._remains: tuple[asyncio.Task[Any], ...] = ()  # of incarnations that have ended
        self._unwind_by = 0.0  # in loop time: they are waited for until then
        self._orphans: tuple[Family, ...] = ()  # children of an incarnation that crashed
        self._cause: BaseException | None = None  # of the last end
        self._unwinding: asyncio.Task[None] | None = None
        self._overtaken: asyncio.Future[None] | None = None  # a restart waits for its on_start, or for this
        self._retired: Any = None  # the instance of one that ended in health: its on_stop is still to come

    @abstractmethod
    def die(self, cause: BaseException | None) -> None:
        """The actor is dead at once."""

    @abstractmethod
    def log_failure(self, error: BaseException) -> None:
        """A hook of the actor raised `error`, and nobody else is told."""

    # --- What the actor asks for, see context -----------------------------------------------------------------------

    def add_job(self, job: Job) -> None:
        self.jobs[job] = None

    def forget_job(self, job: Job) -> None:
        self.jobs.pop(job, None)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None) -> "asyncio.Task[Any]":
        task = self.loop.create_task(coroutine, name=name, context=self.own_context())
        self.spawned[task] = None
        task.add_done_callback(self._spawned_ended)
        return task

    def own_context(self) -> contextvars.Context:
        """A copy of the actor's context, for what is not part of the call that it may be working on."""
        context = self.context.copy()
        context.run(due.set, None)
        return context

    def _spawned_ended(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled():
            error = task.exception()
        else:  # whoever has cancelled the task itself meant that
            error = None if task.cancelling() else as_crash(asyncio.CancelledError())
        if self.spawned.pop(task, self) is self:  # it is of an incarnation that has ended
            if error is not None:
                log.warning("%s: task %s failed after its actor had ended", self.label, task.get_name(), exc_info=error)
        elif error is None:
            pass
        elif is_exit(error):
            self.leave()
        elif isinstance(error, Exception):
            self.fail(error)
        else:
            self.collapse(error)

    # --- Its end ----------------------------------------------------------------------------------------------------

    def cancel_jobs(self) -> None:
        for job in list(self.jobs):
            job.cancel()

    def suspend(self, actor: Any, cause: BaseException, status: ActorStatus = ActorStatus.RESTARTING) -> None:
        """End the incarnation; messages stay in the mailbox.

        Args:
            actor: its instance, if `unwind` shall run its on_stop; None: it has crashed, or was not yet up.
            cause: of the end; callers of broken-off work are told.
            status: what it is from now on.
        """
        self.actor = None
        self.status = status
        self._retired = actor
        if self._wakeup is not None:
            self._wakeup.cancel()
        self._wakeup = STARTING
        if self.waiting:
            self._since, self._mark = self.waiting[0][2], None
        # A wake-up that is under way has the old deque, and finds it empty.
        old, self.mailbox = self.mailbox, deque(self.take_waiting())
        self.mailbox += old
        old.clear()
        self.break_off(cause)
        self._cause = cause
        self.give_time()
        if actor is None:  # else they end after its on_stop
            self._orphans, self.families = (*self._orphans, *self.families), {}
            self._remains += tuple(self.loop.create_task(family.end(cause)) for family in reversed(self._orphans))

    def break_off(self, cause: BaseException | None) -> None:
        """Cancel all that is under way, and tell the callers; calls that may be tried again go back to the mailbox."""
        self.cancel_jobs()
        self.note_overtaken()
        spawned, self.spawned = self.spawned, {}
        lifecycle, self._lifecycle = self._lifecycle, None
        tasks: list[asyncio.Task[Any]] = list(spawned)
        if lifecycle is not None and lifecycle is not asyncio.current_task():
            tasks.append(lifecycle)
        for task in tasks:
            task.cancel()
        self._remains += tuple(tasks)
        self.break_off_handlers(cause)

    def break_off_handlers(self, cause: BaseException | None) -> None:
        """The part of it that concerns calls and told work."""
        running, self.running = self.running, {}
        tasks = [ref.task for ref in running if ref.task is not None]
        again = []
        for ref, asked in running.items():
            begun, ref.task = ref.task is not None, None
            if self.status is ActorStatus.RESTARTING and (not begun or (asked and self._tries_again(ref))):
                again.append(ref if asked else ref.message)
                continue
            self.pending -= asked
            if ref.done():
                if not begun:
                    self._dropped(ref)
            elif not isinstance(ref.message, Job) and not (asked and begun):
                self.home.letters.add(DeadLetterReason.KILLED, self.describe(ref.message), told=not asked)
            ref.fail(self.broken_off(cause))
        self.mailbox.extendleft(reversed(again))
        for task in tasks:
            task.cancel()
        self._remains += tuple(tasks)

    def _tries_again(self, ref: ObjectRef[Any]) -> bool:
        retries = getattr(ref, "retries", 0)
        if ref.done() or retries >= self.options.max_task_retries != -1:
            return False
        ref.retries = retries + 1
        return True

    async def unwind(self) -> None:
        """Wait for what ended incarnations still have under way, then have a healthy one run its on_stop.

        Whoever asks for it while it is under way waits for the same.
        """
        if self._unwinding is None:
            self._unwinding = self.loop.create_task(self._unwind(), context=self.own_context())
        unwinding = self._unwinding
        await asyncio.wait([unwinding])
        self._unwinding = None
        unwinding.result()

    async def _unwind(self) -> None:
        remains, self._remains = [task for task in self._remains if not task.done()], ()
        if remains:
            _, pending = await asyncio.wait(remains, timeout=max(0.0, self._unwind_by - self.loop.time()))
            if pending:
                log.warning("%s goes on although %d of its tasks will not end", self.label, len(pending))
        retired, self._retired = self._retired, None
        if retired is not None:
            await self._stop_retired(retired)
            self._orphans, self.families = (*self._orphans, *self.families), {}
            for family in reversed(self._orphans):
                await self._bounded(family.end(self._cause or asyncio.CancelledError()))
        self.kill_orphans()  # they have had their time, and the next incarnation needs the names

    def give_time(self) -> None:
        """What is broken off now has UNWIND_S to unwind."""
        self._unwind_by = self.loop.time() + UNWIND_S

    def kill_orphans(self) -> None:
        orphans, self._orphans = self._orphans, ()
        for family in reversed(orphans):
            family.kill()

    async def _stop_retired(self, actor: Any) -> None:
        """Have an instance run its on_stop."""
        try:
            if "on_stop" in self.async_methods:
                await self._bounded(actor.on_stop())
            else:
                self.own_context().run(actor.on_stop)
        except BaseException as error:
            if ends_process(error):
                raise
            if is_exit(error):
                self.die(None)
            else:
                self.log_failure(error)

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` for UNWIND_S at most, whether or not it can be cancelled then."""
        task = self._lifecycle = self.loop.create_task(work, context=self.own_context())
        _, pending = await asyncio.wait([task], timeout=UNWIND_S)
        if self._lifecycle is not task:  # the actor was killed meanwhile, which has cancelled it
            return
        self._lifecycle = None
        if pending:
            log.warning("%s goes on although its stop does not end", self.label)
            task.cancel()
            self._remains += (task,)
        else:
            task.result()

    async def until_started(self, starting: "asyncio.Task[None]") -> None:
        """Wait for an async on_start, as long as its incarnation lasts."""
        self._overtaken = self.loop.create_future()
        await asyncio.wait([starting, self._overtaken], return_when=asyncio.FIRST_COMPLETED)
        self._overtaken = None

    def note_overtaken(self) -> None:
        """The incarnation ends before its on_start has."""
        if self._overtaken is not None and not self._overtaken.done():
            self._overtaken.set_result(None)
