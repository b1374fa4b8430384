"""What an actor sees of itself."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from herd.runtime.cell import Cell
from herd.runtime.errors import ActorExit, RestartLimitExceeded
from herd.runtime.handles import ActorHandle, cell_of
from herd.runtime.incarnation import current
from herd.runtime.jobs import Timer, Watch
from herd.runtime.restarts import RestartPolicy, Strategy
from herd.runtime.supervision import Supervisor
from herd.runtime.values import ActorStatus


class ActorContext:
    """The runtime's side of one actor, for use by its own methods.

    Timers, tasks, watches and supervised children are of one incarnation: they end when the actor stops, dies or
    crashes. The methods raise ActorDiedError once that has begun.
    """

    __slots__ = ("_actor", "_cell")

    def __init__(self, actor: object, cell: Cell) -> None:
        self._actor = actor
        self._cell = cell

    @property
    def handle(self) -> ActorHandle:
        """The actor's own handle, to give to others."""
        handle: ActorHandle = self._cell.handle
        return handle

    @property
    def name(self) -> str | None:
        return self._cell.identity.name

    @property
    def namespace(self) -> str:
        return self._cell.identity.namespace

    @property
    def restarts(self) -> int:
        """How often this actor has been started again after a crash, its own or one of its group."""
        return self._cell.restarts

    @property
    def restarting(self) -> bool:
        """For on_stop: is it called because the actor's group starts anew? Else the actor ends for good."""
        return self._cell.status is ActorStatus.RESTARTING

    def every(self, seconds: float, method: Callable[..., Any], *args: Any) -> Timer:
        """Call `method`, which may be async, as a message to this actor, `seconds` from now and every `seconds` after.

        A tick that falls due while the one before waits or runs is skipped. Raises ValueError unless seconds > 0.
        """
        return self._timer(method, args, seconds, seconds)

    def after(self, seconds: float, method: Callable[..., Any], *args: Any) -> Timer:
        """Call `method`, which may be async, as a message to this actor, once, `seconds` from now."""
        return self._timer(method, args, seconds, None)

    def watch(self, other: ActorHandle, method: Callable[..., Any], *args: Any) -> Watch:
        """Call `method(terminated, *args)`, as a message to this actor, when `other` is dead; at once if it is.

        `terminated` is a Terminated. A crash after which `other` is started again is not its death.
        """
        watched, cell = cell_of(other), self._living()
        watch = Watch(cell, method, args, watched)
        cell.add_job(watch)
        watched.watch(watch)
        return watch

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> "asyncio.Task[Any]":
        """Run `coroutine` in a task that is part of this actor: cancelled when the actor ends; if it raises, the actor
        crashes of it.
        """
        try:
            cell = self._living()
        except BaseException:
            coroutine.close()
            raise
        return cell.spawn(coroutine, name)

    def supervisor(
        self,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        restarts: RestartPolicy = RestartPolicy(),  # noqa: B008 - it is frozen
    ) -> Supervisor:
        """A supervisor of this actor's own: its children stop after this actor's on_stop, the last one first; if it
        gives up, this actor crashes.
        """
        cell = self._living()
        supervisor = Supervisor(strategy, restarts, give_up=self._given_up, ended=cell.families.pop)
        cell.families[supervisor] = None
        return supervisor

    def _given_up(self, failure: RestartLimitExceeded) -> None:
        if self._cell.actor is self._actor:
            self._cell.fail(failure)

    def _timer(self, method: Callable[..., Any], args: tuple[Any, ...], seconds: float, period: float | None) -> Timer:
        cell = self._living()
        timer = Timer(cell, method, args, seconds, period)
        cell.add_job(timer)
        return timer

    def _living(self) -> Cell:
        """The cell, as long as this incarnation may begin something."""
        if self._cell.actor is not self._actor or not self._cell.is_open:
            raise self._cell.dead_error()
        return self._cell


def context(actor: object) -> ActorContext:
    """The context of the running actor `actor`: `context(self)`.

    Raises:
        TypeError: `actor` is no actor: an instance of the plain class, as unit tests build it.
    """
    cell = getattr(actor, "actor_inbox", None)
    if not isinstance(cell, Cell):
        raise TypeError(f"{actor!r} does not run as an actor: start its class with .remote(...)")
    return ActorContext(actor, cell)


def exit_actor() -> NoReturn:
    """End the actor whose handler calls this, for good: it is not restarted.

    The handler's own call and all that wait end with ActorDiedError; what else runs may end, then on_stop runs.

    Raises:
        RuntimeError: it is not called by an actor.
    """
    if current.get() is None:
        raise RuntimeError("exit_actor() is for the handlers of actors")
    raise ActorExit
