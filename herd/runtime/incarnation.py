"""What an actor has under way beside its mailbox: jobs, linked tasks, supervised children. All of it ends with one
incarnation, which is a life from a start to a crash; what it leaves behind unwinds.
"""

import asyncio
import contextvars
import logging
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, Protocol

from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.deadlines import due
from herd.runtime.dispatcher import Dispatcher
from herd.runtime.errors import ActorExit, TaskCancelledError
from herd.runtime.jobs import Job
from herd.runtime.mailbox import STARTING
from herd.runtime.object_ref import ObjectRef
from herd.runtime.values import ActorStatus

log = logging.getLogger("herd.runtime")

# What a crash or a restart breaks off has so many seconds to unwind before the next incarnation starts all the same: a
# handler that will not be cancelled is not to keep its actor away for ever.
UNWIND_S = 5.0

current: contextvars.ContextVar["Incarnation | None"] = contextvars.ContextVar("herd.runtime.current", default=None)


def as_crash(error: BaseException) -> Exception:
    """What a hook raised, as something that an actor can crash of: a cancellation in it that is its own is one, too."""
    if isinstance(error, Exception):
        return error
    crash = TaskCancelledError("it awaited something that was cancelled")
    crash.__cause__ = error
    return crash


def cancelled_from_outside(error: BaseException) -> bool:
    """Is `error` the cancellation of the running task, and not one of something that it awaited?"""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


class Family(Protocol):
    """The supervised children of an actor."""

    async def stop(self) -> None:
        """Stop them in order, the last one first."""

    async def end(self, cause: BaseException) -> None:
        """Their parent has crashed: break off what they do, have them run their on_stop, the last one first."""

    def kill(self) -> None:
        """End them at once."""


class Incarnation(Dispatcher):
    """The part of a `Cell` that is new with every incarnation."""

    __slots__ = ("_lifecycle", "_remains", "_retired", "families", "jobs", "restarts", "spawned")

    def __init__(self) -> None:
        super().__init__()
        self.restarts = 0
        # They are filled by the actor's own code only, which knows how many it needs.
        self.jobs: dict[Job, None] = {}
        self.spawned: dict[asyncio.Task[Any], None] = {}
        self.families: tuple[Family, ...] = ()
        self._lifecycle: asyncio.Task[None] | None = None  # an async on_start, or an ordered stop
        self._remains: tuple[asyncio.Task[Any], ...] = ()  # of incarnations that have ended
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
        error = None if task.cancelled() else task.exception()
        if self.spawned.pop(task, self) is self:  # it is of an incarnation that has ended
            if error is not None:
                log.warning("%s: task %s failed after its actor had ended", self.label, task.get_name(), exc_info=error)
        elif isinstance(error, Exception):
            self.fail(error)
        elif isinstance(error, ActorExit):
            self.leave()

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
        waiting, self.waiting = self.waiting or (), None
        if waiting:
            self._since = waiting[0][2]
        self.mailbox.extendleft(ref if asked else ref.message for ref, asked, _ in reversed(waiting))
        self.break_off(cause)
        families, self.families = self.families, ()
        self._remains += tuple(self.loop.create_task(family.end(cause)) for family in reversed(families))

    def break_off(self, cause: BaseException | None) -> None:
        """Cancel all that is under way, and tell the callers; calls that may be tried again go back to the mailbox."""
        self.cancel_jobs()
        spawned, self.spawned = self.spawned, {}
        running, self.running = self.running, {}
        lifecycle, self._lifecycle = self._lifecycle, None
        tasks = [*spawned, *(ref.task for ref in running if ref.task is not None)]
        if lifecycle is not None and lifecycle is not asyncio.current_task():
            tasks.append(lifecycle)
        again = []
        for ref, asked in running.items():
            begun, ref.task = ref.task is not None, None
            if asked and self._tries_again(ref):
                again.append(ref)
                continue
            self.pending -= asked
            if not isinstance(ref.message, Job) and not (asked and begun) and not ref.done():
                self.home.letters.add(DeadLetterReason.KILLED, self.describe(ref.message), told=not asked)
            ref.fail(self.broken_off(cause))
        self.mailbox.extendleft(reversed(again))
        for task in tasks:
            task.cancel()
        self._remains += tuple(tasks)

    def _tries_again(self, ref: ObjectRef[Any]) -> bool:
        retries = getattr(ref, "retries", 0)
        if self.status is not ActorStatus.RESTARTING or ref.done() or retries >= self.options.max_task_retries != -1:
            return False
        ref.retries = retries + 1
        return True

    async def unwind(self) -> None:
        """Wait for what ended incarnations still have under way, then have a healthy one run its on_stop."""
        remains, self._remains = [task for task in self._remains if not task.done()], ()
        if remains:
            _, pending = await asyncio.wait(remains, timeout=UNWIND_S)
            if pending:
                log.warning("%s goes on although %d of its tasks will not end", self.label, len(pending))
        retired, self._retired = self._retired, None
        if retired is not None:
            await self._stop_retired(retired)

    async def _stop_retired(self, actor: Any) -> None:
        """Have an instance run its on_stop, which may take UNWIND_S."""
        if "on_stop" not in self.async_methods:
            try:
                self.own_context().run(actor.on_stop)
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it has ended already
                self.log_failure(error)
            except ActorExit:
                self.die(None)
            return
        task = self.loop.create_task(actor.on_stop(), context=self.own_context())
        _, pending = await asyncio.wait([task], timeout=UNWIND_S)
        if pending:
            task.cancel()
            self.home.keep(task)
            log.warning("%s goes on although its on_stop has not ended", self.label)
            return
        raised = TaskCancelledError("on_stop was cancelled") if task.cancelled() else task.exception()
        if isinstance(raised, ActorExit):
            self.die(None)
        elif raised is not None:
            self.log_failure(raised)
