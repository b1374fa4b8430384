"""One actor's life: its start, its ordered stop, its crashes and new starts, and its death."""

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any, Protocol

from herd.runtime._pykka import LoopActorRef, log_collapse, log_returned, log_stopped
from herd.runtime.crashes import as_crash, cancelled_from_outside, ends_process, is_crash, is_exit
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.deadlines import due
from herd.runtime.epitaph import Remembered
from herd.runtime.incarnation import current
from herd.runtime.mailbox import Home, Stop
from herd.runtime.object_ref import ObjectRef
from herd.runtime.values import ActorOptions, ActorState, ActorStatus, Identity

log = logging.getLogger("herd.runtime")

ALIVE, RESTARTING, STOPPING, DEAD = (
    ActorStatus.ALIVE,
    ActorStatus.RESTARTING,
    ActorStatus.STOPPING,
    ActorStatus.DEAD,
)


class CellHome(Home, Protocol):
    """The registry of the actor's loop, as a cell needs it."""

    thread: int  # the loop's

    def gone(self, cell: "Cell") -> None: ...

    def collapse(self, error: BaseException) -> None:
        """`error` is to end the process: all actors of the loop stop, as far as they get."""


class Keeper(Protocol):
    """Who restarts an actor: a supervisor, as a cell needs it."""

    def crashed(self, cell: "Cell", error: Exception) -> None:
        """`cell` has crashed, and waits between two lives: `revive` or `die` is its next step."""

    def started(self, cell: "Cell") -> None:
        """The on_start of `cell` has ended well."""

    def gone(self, cell: "Cell") -> None:
        """`cell` is dead."""


class Cell(Remembered):
    """Pykka's inbox hook makes it; it is told its actor by `adopt`, and lives from `start` on.

    It outlives crashes of its actor: the handle, the name and the mailbox are the cell's, the rest is an incarnation's.
    """

    __slots__ = ("_idle", "birth", "keeper")

    home: CellHome

    def __init__(self) -> None:
        super().__init__()
        self.keeper: Keeper | None = None  # None: its first crash is its death
        self.birth: Callable[[], None] | None = None  # makes the next instance and embodies it; only with a keeper
        self._idle: asyncio.Future[None] | None = None  # what the ordered stop waits for

    def adopt(self, actor: Any, identity: Identity, options: ActorOptions, home: CellHome) -> None:
        """Become the cell of `actor`, on the running loop."""
        self.embody(actor)
        self.identity = identity
        self.options = options
        self.home = home
        self.loop = asyncio.get_running_loop()
        self._thread = home.thread
        self.context = contextvars.copy_context()
        self.context.run(current.set, self)
        self.context.run(due.set, None)  # the actor outlives the call that it was started in

    def embody(self, actor: Any) -> None:
        """`actor` is the instance from now on."""
        self.actor = actor
        self.async_methods = actor._herd_async_methods  # noqa: SLF001 - kept from plain classes, not from the runtime

    # --- Start ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with on_start, at the next turn of the loop."""
        self.loop.call_soon(self._begin_first_life, context=self.context)

    def _begin_first_life(self) -> None:
        if self.status is ActorStatus.PENDING_CREATION:  # else a later one has begun already, or none will
            self._begin()

    def _begin(self) -> None:
        actor = self.actor
        if actor is None:
            return
        if "on_start" in self.async_methods:
            self._lifecycle = self.loop.create_task(self._starting())
            return
        try:
            actor.on_start()
        except BaseException as error:  # noqa: BLE001 - all kinds are told apart there
            self._start_failed(actor, error)
        else:
            self._started(actor)

    async def _starting(self) -> None:
        actor = self.actor
        try:
            await actor.on_start()
        except BaseException as error:
            if cancelled_from_outside(error):
                if self.actor is actor and self._lifecycle is asyncio.current_task():
                    self.die(error)  # the loop is ending
                raise
            self._start_failed(actor, error)
        else:
            self._started(actor)

    def _start_failed(self, actor: Any, error: BaseException) -> None:
        """What __init__, in a later life, or on_start raised."""
        if self.actor is not actor:
            self.log_failure(error)  # it had ended its own actor before
        elif is_exit(error):
            self.leave()
        elif is_crash(error):
            self.fail(as_crash(error), tell_actor=False)
        else:
            self.collapse(error)
            raise error

    def _started(self, actor: Any) -> None:
        if self.actor is actor and self.status is not STOPPING:  # else it has ended itself as it started
            self._lifecycle = None
            self.status = ALIVE
            self._wake()
            if self.keeper is not None:
                self.keeper.started(self)

    # --- Ordered stop -----------------------------------------------------------------------------------------------

    def begin_stop(self, message: Stop) -> None:
        """All that came before the Stop has been taken up. What came after it is refused."""
        self._stops.append(message.stopped)
        self._stop_in_order()

    def leave(self) -> None:
        """The actor ends itself: what waits is refused, what runs may end."""
        if self.actor is not None and self.status is not STOPPING:
            self._epitaph = "has left by exit_actor"
            for item in self.take_waiting():
                self.drop(item, DeadLetterReason.DEAD)
            self._stop_in_order()

    def stop_between_lives(self, message: Stop) -> bool:
        if self.status is not RESTARTING or self.actor is not None:
            return False
        self._stops.append(message.stopped)
        if self._retired is None and self._lifecycle is None:
            self.die(None)
        else:  # it goes with its group, in health: its on_stop is under way, or still to come
            self.status = STOPPING
            self._epitaph = "is dead"
            self._open = False
            self.home.keep(self.loop.create_task(self._stop_unwound()))
        return True

    async def _stop_unwound(self) -> None:
        await self.unwind()
        self.die(None)

    def _stop_in_order(self) -> None:
        self.status = STOPPING
        self._open = False
        self.cancel_jobs()
        while self.mailbox:
            self.drop(self.mailbox.popleft(), DeadLetterReason.DEAD)
        self.note_overtaken()
        starting = self._lifecycle
        self._lifecycle = self.loop.create_task(self._stopping(), context=self.own_context())
        if starting is not None:  # an on_start that a linked task of its own has overtaken
            starting.cancel()

    async def _stopping(self) -> None:
        actor = self.actor
        try:
            if self.running or self.waiting:
                self._idle = self.loop.create_future()
                await self._idle
            self._retire()
            if "on_stop" in self.async_methods:
                await actor.on_stop()
            else:
                actor.on_stop()
            for family in reversed(list(self.families)):
                await family.stop()
            if self.spawned:
                tasks = list(self.spawned)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        except BaseException as error:
            if cancelled_from_outside(error):
                self.die(error)  # killed, or the loop is ending
                raise
            if is_crash(error):
                self.fail(as_crash(error), tell_actor=False)
            elif not is_exit(error):
                self.collapse(error)
                raise
        self.die(None)

    def note_idle(self) -> None:
        if self._idle is not None and not self._idle.done() and not self.running and not self.waiting:
            self._idle.set_result(None)

    # --- Crash, and new start ---------------------------------------------------------------------------------------

    def fail(self, error: Exception, *, tell_actor: bool = True) -> None:
        """The actor crashes of `error`; its on_failure is told, unless a hook of its start or stop failed."""
        self.log_failure(error)
        actor = self.actor
        if actor is None:  # it has ended already, and this comes out of what still unwinds
            return
        # One that is to stop anyway is not started again: whoever waits for its end is not to wait for a back-off.
        stops = self.status is STOPPING or any(type(item) is Stop for item in self.mailbox)
        keeper = None if stops else self.keeper
        if keeper is None:
            self.die(error)
        else:
            self._epitaph = f"crashed of {error!r}"
            self.suspend(None, error)
        if tell_actor:
            self._tell_failure(actor, error)
        if keeper is not None and self.status is RESTARTING:  # else its on_failure has ended it
            keeper.crashed(self, error)

    def _tell_failure(self, actor: Any, error: Exception) -> None:
        if "on_failure" in self.async_methods:
            task = self.loop.create_task(self._failing(actor, error), context=self.own_context())
            self._remains += (task,)
            self.home.keep(task)
            return
        try:
            self.own_context().run(actor.on_failure, type(error), error, error.__traceback__)
        except BaseException as second:
            if ends_process(second):
                raise
            if is_exit(second):
                self.die(None)
            else:
                self.log_failure(second)  # it has crashed already

    async def _failing(self, actor: Any, error: Exception) -> None:
        try:
            await actor.on_failure(type(error), error, error.__traceback__)
        except BaseException as second:
            if ends_process(second) or cancelled_from_outside(second):
                raise
            if not is_exit(second):
                self.log_failure(second)  # it has crashed already
            elif self.actor is None:  # else the next incarnation did not wait for it
                self.die(None)

    def go_along(self, cause: Exception) -> None:
        """A healthy actor restarts with its group; one that is between two lives anyway, stops or is dead does not."""
        if self.actor is not None and self.status is not STOPPING:
            self._epitaph = f"restarts with its group, of which one crashed of {cause!r}"
            self.suspend(self.actor if self.status is ALIVE else None, cause)

    def go_down(self, cause: BaseException) -> None:
        """End with a parent or a group that is given up: `unwind` and `die` complete it."""
        if self.status is STOPPING:  # it only has to be hurried
            for item in self.take_waiting():
                self.drop(item, DeadLetterReason.KILLED, cause)
            self.break_off_handlers(cause)
            self.note_idle()
            self.give_time()
            self._remains += (self._lifecycle,) if self._lifecycle is not None else ()
        elif self.actor is not None:
            self._open = False
            self._epitaph = f"went down with others because of {cause!r}"
            self.suspend(self.actor if self.status is ALIVE else None, cause, STOPPING)

    async def revive(self) -> bool:
        """Start the next incarnation; False when it crashed as it started, which the keeper has been told."""
        self.restarts += 1
        self._epitaph = "is dead"
        try:
            if self.birth is not None:  # it has a keeper
                self.context.run(self.birth)
        except BaseException as error:  # noqa: BLE001 - all kinds are told apart there
            self._start_failed(self.actor, error)
        else:
            self.context.run(self._begin)
        if self._lifecycle is not None:
            await self.until_started(self._lifecycle)
        return self.status is ALIVE

    # --- Death ------------------------------------------------------------------------------------------------------

    def collapse(self, error: BaseException) -> None:
        log_collapse(self.label_with_urn, error)
        task = asyncio.current_task()
        if task is not None:  # `error` leaves the loop: asyncio is not to complain later that nobody has seen it
            task.add_done_callback(asyncio.Task.exception)
        self.end_now(error)
        self.home.collapse(error)

    def end_now(self, error: BaseException) -> None:
        """Die of `error`, after an on_stop that needs no loop: there may be none any more."""
        actor = self.actor
        if actor is not None:
            self._retire()
            try:
                if "on_stop" not in self.async_methods and self.status is ALIVE:
                    self.own_context().run(actor.on_stop)
            except BaseException as second:  # noqa: BLE001 - all is ending anyway
                self.log_failure(second)
        self.die(error)

    def die(self, cause: BaseException | None) -> None:
        """Be dead at once: nothing more is handled, all that runs is cancelled, all callers get ActorDiedError."""
        if self.status is DEAD:
            return
        self._retire()
        self.bury(cause)
        self.status = DEAD
        self._open = False
        self.actor = self._retired = None
        waiting = self.take_waiting()
        self.break_off(cause)
        for family in reversed(list(self.families)):
            if isinstance(cause, Exception):
                self.home.keep(self.loop.create_task(family.end(cause)))
            else:
                family.kill()
        if not isinstance(cause, Exception):
            self.kill_orphans()
        stops, self._stops = self._stops, []
        for item in [*waiting, *self.mailbox]:
            if type(item) is Stop:
                stops.append(item.stopped)
            else:
                self.drop(item, DeadLetterReason.KILLED, cause)
        self.mailbox.clear()
        for stopped in stops:
            stopped.reply(True)
        self.home.gone(self)
        if self.keeper is not None:
            self.keeper.gone(self)
        self.tell_watches()

    def _retire(self) -> None:
        """For Pykka, the actor is dead from here on."""
        if self.pykka_ref.is_alive():
            self.pykka_ref.leave_registry()
            log_stopped(self.label_with_urn)

    # --- What is said about it --------------------------------------------------------------------------------------

    def log_failure(self, error: BaseException) -> None:
        log.error("Unhandled exception in %s:", self.label_with_urn, exc_info=error)  # Pykka's words

    def returned(self, ref: ObjectRef[Any], error: Exception) -> None:
        log_returned(self.label_with_urn, error)
        ref.fail(error)

    @property
    def pykka_ref(self) -> LoopActorRef[Any]:
        ref: LoopActorRef[Any] = self.handle.actor_ref
        return ref

    @property
    def label_with_urn(self) -> str:
        """As Pykka's log lines name an actor."""
        return str(self.pykka_ref)

    @property
    def state(self) -> ActorState:
        return ActorState(
            self.identity,
            self.status,
            queued=len(self.mailbox) + len(self.waiting or ()),
            in_flight=len(self.running),
            pending=0 if self.status is DEAD else self.pending,
            high_water=max(self.high_water, len(self.mailbox)),
            oldest=self.age_of_oldest(),
            restarts=self.restarts,
            methods=tuple(tally.state for tally in self.tallies.values()),
        )
