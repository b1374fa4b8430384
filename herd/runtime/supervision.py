"""Supervisors: they start actors in order, start them again when they crash, and stop them in reverse.

Erlang's idea: what is wrong with an actor's state ends with the actor, and a fresh one takes over its mailbox. What a
fresh start does not cure is handed up, so that more is started afresh, and in the end a person is told.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from herd.runtime import local
from herd.runtime.cell import Cell
from herd.runtime.errors import RestartLimitExceeded
from herd.runtime.handles import ActorHandle, cell_of
from herd.runtime.registry import Registry, registry
from herd.runtime.restarts import RestartHistory, RestartPolicy, Strategy
from herd.runtime.values import ActorOptions, ActorStatus

log = logging.getLogger("herd.runtime")


def _counted(restarts: int) -> str:
    return "1 restart" if restarts == 1 else f"{restarts} restarts"


class _Group:
    """Children that restart together: with ONE_FOR_ONE each is one of its own."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.history = RestartHistory(policy)
        self.fallen: dict[Cell, None] = {}  # wait between two lives
        self.delay = 0.0  # before they are started again
        self.news = False  # another one has fallen since the unwinding began
        self.task: asyncio.Task[None] | None = None  # that brings them back


class Supervisor:
    """Keeps its children running.

    An actor that crashes keeps its handle, its name and its mailbox; what was in flight ends with
    ActorUnavailableError. A child that is stopped, killed, or leaves by `exit_actor` is gone for good.

    In `async with` it stops its children at the end of the block. One that belongs to an actor (`context(self)
    .supervisor(...)`) stops with that actor, and its giving up is that actor's crash.

    Args:
        strategy: who restarts when one crashes.
        restarts: how often and how soon: per child with ONE_FOR_ONE, else for the group.
        give_up: called when children crash too often, once they have been stopped; None: it is logged.
        ended: called when the last child is gone and no other will come.
    """

    def __init__(
        self,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        restarts: RestartPolicy = RestartPolicy(),  # noqa: B008 - it is frozen
        *,
        give_up: Callable[[RestartLimitExceeded], None] | None = None,
        ended: Callable[["Supervisor"], object] | None = None,
    ) -> None:
        self._strategy = strategy
        self._policy = restarts
        self._give_up = give_up
        self._ended = ended
        self._home: Registry = registry()
        self._children: dict[Cell, _Group] = {}  # in the order of their start
        self._together = _Group(restarts)
        self._unborn: dict[Cell, None] = {}  # children whose on_start waits for that of the first of them
        self._stopping: asyncio.Task[None] | None = None
        self._closed = False  # nobody is started any more, or started again

    @property
    def children(self) -> tuple[ActorHandle, ...]:
        """The living children, in the order of their start."""
        return tuple(cell.handle for cell in self._children)

    def start(self, actor_class: Any, /, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start a child: `supervisor.start(remote(Plain).options(name=...), 1, 2)`.

        Its on_start runs once that of the child before has ended; until then its messages wait.

        Raises:
            TypeError: it is none of `remote`'s actor classes.
            ValueError: its options have restarts of their own, or `get_if_exists`; or its name is taken.
            RuntimeError: the supervisor has stopped.
            Exception: whatever the class's `__init__` raises.
        """
        options: ActorOptions | None = getattr(actor_class, "chosen", None)
        if options is None:
            raise TypeError(f"a supervisor starts what remote(...) makes of a class, not {actor_class!r}")
        if options.max_restarts or options.get_if_exists:
            raise ValueError("max_restarts and get_if_exists are not for supervised actors: their supervisor decides")
        return self.adopt(actor_class.plain, options, args, kwargs)

    def adopt(self, plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
        """`start`, for the engine, without a look at the options."""
        if self._closed:
            raise RuntimeError("this supervisor has stopped")
        handle = local.start(plain, options, args, kwargs, keeper=self)
        cell, alone = cell_of(handle), self._strategy is Strategy.ONE_FOR_ONE
        if self._closed:  # by its __init__
            cell.die(None)  # type: ignore[unreachable] # the call before may change it
        if cell.status is not ActorStatus.DEAD:  # else it has killed itself as it was built
            self._children[cell] = _Group(self._policy) if alone else self._together
            self._unborn[cell] = None
            if len(self._unborn) == 1:
                cell.start()
        return handle

    async def stop(self) -> None:
        """Stop all children in order, the last one first. Whoever is between two lives is not started again."""
        self._close()
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        while self._children:
            cell = next(reversed(self._children))
            item, stopped = cell.new_stop()
            cell.put(item)
            await stopped

    async def end(self, cause: BaseException) -> None:
        """End all children for `cause`: what they do is broken off, then they run their on_stop, the last one first."""
        self._close()
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._break_up(cause, {}))
        await asyncio.shield(self._stopping)

    async def _break_up(self, cause: BaseException, crashed: dict[Cell, Exception]) -> None:
        children = list(reversed(self._children))
        for cell in children:  # all of them first: what one does may wait for another
            cell.go_down(cause)
        for cell in children:
            await cell.unwind()
            cell.die(crashed.get(cell))

    def kill(self) -> None:
        """End all children at once, the last one first."""
        self._close()
        for cell in reversed(list(self._children)):
            cell.die(None)

    def _close(self) -> None:
        """Nobody is started any more, or started again."""
        self._closed = True
        self._look_around()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    # --- What cells tell, see `cell.Keeper` -------------------------------------------------------------------------

    def gone(self, cell: Cell) -> None:
        """`cell` is dead."""
        group = self._children.pop(cell, None)
        if group is not None:
            group.fallen.pop(cell, None)
        self.started(cell)
        self._look_around()

    def started(self, cell: Cell) -> None:
        """The first on_start of `cell` has ended, in one way or another: it is the next one's turn."""
        self._leave_the_line([cell])

    def _leave_the_line(self, cells: list[Cell]) -> None:
        """These children do not wait for their first on_start any more."""
        first = next(iter(self._unborn), None)
        for cell in cells:
            self._unborn.pop(cell, None)
        if self._unborn and first not in self._unborn:
            next(iter(self._unborn)).start()

    def _look_around(self) -> None:
        if self._closed and not self._children and self._ended is not None:
            ended, self._ended = self._ended, None
            ended(self)

    def crashed(self, cell: Cell, error: Exception) -> None:
        """Restart `cell`, and who else the strategy says; or give up."""
        group = self._children[cell]
        if self._closed:
            cell.die(error)
            return
        delay = group.history.crashed(cell.loop.time(), self._home.random.random)
        if delay is None:
            self._surrender(cell, error)
            return
        log.warning("%s crashed and starts again%s", cell.label, f" in {round(delay, 2) or delay:g} s" if delay else "")
        group.delay, group.news = delay, True
        fallen = self._affected(cell)
        for affected in reversed(fallen):
            affected.go_along(error)
            group.fallen[affected] = None
        self._leave_the_line(fallen)  # they come back in order
        if group.task is None:
            group.task = asyncio.get_running_loop().create_task(self._bring_back(group))

    def _affected(self, cell: Cell) -> list[Cell]:
        """Who restarts when `cell` has crashed, in the order of their start."""
        if self._strategy is Strategy.ONE_FOR_ONE:
            return [cell]
        children = list(self._children)
        first = 0 if self._strategy is Strategy.ONE_FOR_ALL else children.index(cell)
        return [child for child in children[first:] if child.status is not ActorStatus.STOPPING]

    async def _bring_back(self, group: _Group) -> None:
        """Start the fallen of a group again, in order, as often as it takes."""
        try:
            while group.fallen and not self._closed:
                group.news = False
                for cell in reversed(self._in_order(group)):
                    await cell.unwind()
                if not group.news:
                    await asyncio.sleep(group.delay)
                if group.news or self._closed:
                    continue  # another one has crashed meanwhile, and has to unwind
                for cell in self._in_order(group):
                    group.fallen.pop(cell, None)
                    if self._wants(cell) and not await cell.revive():
                        break
        finally:
            group.task = None

    def _wants(self, cell: Cell) -> bool:
        """Is `cell` still to be started again?"""
        return not self._closed and cell.status is ActorStatus.RESTARTING

    def _in_order(self, group: _Group) -> list[Cell]:
        return [cell for cell in self._children if cell in group.fallen]

    def _surrender(self, cell: Cell, error: Exception) -> None:
        """`cell` has crashed too often."""
        policy = self._policy
        failure = RestartLimitExceeded(
            f"{cell.label} crashed of {error!r}, after {_counted(policy.max_restarts)}"
            f"{'' if math.isinf(policy.window) else f' within {policy.window:g} s'}"
        )
        failure.__cause__ = error
        log.error("%s: given up", failure)
        self._close()
        ending = asyncio.get_running_loop().create_task(self._end(cell, error, failure))
        self._home.keep(ending)

    async def _end(self, cell: Cell, error: Exception, failure: RestartLimitExceeded) -> None:
        # Only when all are gone, grandchildren too, may somebody above start afresh, with the same names.
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._break_up(failure, {cell: error}))
        await asyncio.shield(self._stopping)
        if self._give_up is not None:
            self._give_up(failure)
