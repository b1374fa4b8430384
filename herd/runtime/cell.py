"""One actor's life: its start, its timers and tasks, its ordered stop, its failure and its death."""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from herd.runtime.errors import ActorDiedError
from herd.runtime.mailbox import Home, Mailbox, Stop
from herd.runtime.timers import Timer
from herd.runtime.values import ActorOptions, ActorState, ActorStatus, Identity

log = logging.getLogger("herd.runtime")

PENDING, ALIVE, STOPPING, DEAD = ActorStatus

current: contextvars.ContextVar["Cell | None"] = contextvars.ContextVar("herd.runtime.current", default=None)


class CellHome(Home, Protocol):
    """The registry of the actor's loop, as a cell needs it."""

    def gone(self, cell: "Cell", actor: Any) -> None: ...

    def keep(self, task: "asyncio.Task[None]") -> None: ...


class Cell(Mailbox):
    """Pykka's inbox hook makes it; it is told its actor by `adopt`, and lives from `start` on."""

    __slots__ = ("_epitaph", "_idle", "_lifecycle", "handle", "spawned", "timers")

    home: CellHome
    handle: Any  # its one ActorHandle

    def __init__(self) -> None:
        super().__init__()
        # Both are filled by the actor's own code only, which knows how many it needs.
        self.timers: dict[Timer, None] = {}
        self.spawned: dict[asyncio.Task[Any], None] = {}
        self._epitaph = "is dead"
        self._lifecycle: asyncio.Task[None] | None = None  # an async on_start, or an ordered stop
        self._idle: asyncio.Future[None] | None = None  # what the ordered stop waits for

    def adopt(self, actor: Any, identity: Identity, options: ActorOptions, home: CellHome) -> None:
        """Become the cell of `actor`, on the running loop."""
        self.actor = actor
        self.async_methods = actor.async_methods
        self.identity = identity
        self.options = options
        self.home = home
        self.loop = asyncio.get_running_loop()
        self.context = contextvars.copy_context()
        self.context.run(current.set, self)

    # --- Life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin with on_start, at the next turn of the loop."""
        self.loop.call_soon(self._begin, context=self.context)

    def _begin(self) -> None:
        if self.status is DEAD:
            return
        if "on_start" in self.async_methods:
            self._lifecycle = self.loop.create_task(self._starting())
            return
        try:
            self.actor.on_start()
        except Exception as error:  # noqa: BLE001 - the actor's end
            self.fail(error, tell_actor=False)
        else:
            self._started()

    async def _starting(self) -> None:
        try:
            await self.actor.on_start()
        except Exception as error:  # noqa: BLE001 - the actor's end
            self.fail(error, tell_actor=False)
        except BaseException as error:
            self.die(error)
            raise
        else:
            self._started()

    def _started(self) -> None:
        if self.status is PENDING:
            self.status = ALIVE
            self._wake()

    def begin_stop(self, message: Stop) -> None:
        """All that came before the Stop has been taken up. What came after it is refused."""
        self.status = STOPPING
        self._open = False
        self._stops.append(message.stopped)
        self._cancel_timers()
        while self.mailbox:
            self._refuse(self.mailbox.popleft(), None)
        self._lifecycle = self.loop.create_task(self._stopping())

    async def _stopping(self) -> None:
        try:
            if self.running or self.waiting:
                self._idle = self.loop.create_future()
                await self._idle
            if "on_stop" in self.async_methods:
                await self.actor.on_stop()
            else:
                self.actor.on_stop()
            if self.spawned:
                tasks = list(self.spawned)
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        except Exception as error:  # noqa: BLE001 - the actor's end
            self.fail(error, tell_actor=False)
        except BaseException as error:
            self.die(error)
            raise
        self.die(None)

    def note_idle(self) -> None:
        if self._idle is not None and not self._idle.done() and not self.running and not self.waiting:
            self._idle.set_result(None)

    def fail(self, error: Exception, *, tell_actor: bool = True) -> None:
        """The actor dies of `error`, and its on_failure is told (not when a hook of its start or stop failed)."""
        log.error("%s failed", self.label, exc_info=error)
        if self.status is DEAD:
            return
        actor = self.actor
        self.die(error)
        if not tell_actor:
            return
        if "on_failure" in self.async_methods:
            self.home.keep(self.loop.create_task(self._failing(actor, error)))
            return
        try:
            actor.on_failure(type(error), error, error.__traceback__)
        except Exception:
            log.exception("on_failure of %s failed", self.label)

    async def _failing(self, actor: Any, error: Exception) -> None:
        try:
            await actor.on_failure(type(error), error, error.__traceback__)
        except Exception:
            log.exception("on_failure of %s failed", self.label)

    def die(self, cause: BaseException | None) -> None:
        """Be dead at once: nothing more is handled, all that runs is cancelled, all callers get ActorDiedError."""
        if self.status is DEAD:
            return
        self.status = DEAD
        self._open = False
        actor, self.actor = self.actor, None
        if cause is not None:
            self._epitaph = f"died of {cause!r}"
        self.home.gone(self, actor)
        self._cancel_timers()
        for ref in list(self.running):
            ref.fail(self.dead_error(cause))
            self.cancel_work(ref)
        for task in list(self.spawned):
            task.cancel()
        if self._lifecycle is not None and self._lifecycle is not asyncio.current_task():
            self._lifecycle.cancel()
        while self.waiting:
            ref, asked = self.waiting.popleft()
            self._refuse(ref if asked else ref.message, cause)
        while self.mailbox:
            self._refuse(self.mailbox.popleft(), cause)
        for stopped in self._stops:
            stopped.reply(True)

    def _cancel_timers(self) -> None:
        for timer in list(self.timers):
            timer.cancel()

    # --- What the actor asks for, see context -----------------------------------------------------------------------

    def add_timer(
        self, seconds: float, period: float | None, method: Callable[..., Any], args: tuple[Any, ...]
    ) -> Timer:
        self._check_open()
        timer = Timer(self, seconds, period, method, args)
        self.timers[timer] = None
        return timer

    def forget_timer(self, timer: Timer) -> None:
        self.timers.pop(timer, None)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None) -> "asyncio.Task[Any]":
        try:
            self._check_open()
        except ActorDiedError:
            coroutine.close()
            raise
        task = self.loop.create_task(coroutine, name=name)
        self.spawned[task] = None
        task.add_done_callback(self._spawned_ended)
        return task

    def _spawned_ended(self, task: "asyncio.Task[Any]") -> None:
        self.spawned.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self.fail(error)

    def _check_open(self) -> None:
        if not self._open:
            raise self.dead_error(None)

    # --- What is said about it --------------------------------------------------------------------------------------

    @property
    def state(self) -> ActorState:
        queued = len(self.mailbox) + len(self.waiting)
        return ActorState(self.identity, self.status, queued, len(self.running), self.pending)

    def dead_error(self, cause: BaseException | None) -> ActorDiedError:
        error = ActorDiedError(f"{self.label} {self._epitaph}")
        error.__cause__ = cause
        return error
