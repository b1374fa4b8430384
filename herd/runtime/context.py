"""What an actor sees of itself."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from herd.runtime.cell import Cell
from herd.runtime.handles import ActorHandle
from herd.runtime.timers import Timer


class ActorContext:
    """The runtime's side of one actor, for use by its own methods. Timers and tasks end with the actor.

    The methods raise ActorDiedError once the actor is stopping or dead.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Cell) -> None:
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

    def every(self, seconds: float, method: Callable[..., Any], *args: Any) -> Timer:
        """Call `method`, which may be async, as a message to this actor, `seconds` from now and every `seconds` after.

        A tick that falls due while the one before waits or runs is skipped. Raises ValueError unless seconds > 0.
        """
        return self._cell.add_timer(seconds, seconds, method, args)

    def after(self, seconds: float, method: Callable[..., Any], *args: Any) -> Timer:
        """Call `method`, which may be async, as a message to this actor, once, `seconds` from now."""
        return self._cell.add_timer(seconds, None, method, args)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> "asyncio.Task[Any]":
        """Run `coroutine` in a task that is part of this actor: cancelled when the actor ends; if it raises, the actor
        dies of it.
        """
        return self._cell.spawn(coroutine, name)


def context(actor: object) -> ActorContext:
    """The context of the running actor `actor`: `context(self)`.

    Raises:
        TypeError: `actor` is no actor: an instance of the plain class, as unit tests build it.
    """
    cell = getattr(actor, "actor_inbox", None)
    if not isinstance(cell, Cell):
        raise TypeError(f"{actor!r} does not run as an actor: start its class with .remote(...)")
    return ActorContext(cell)
