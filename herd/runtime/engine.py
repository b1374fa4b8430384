"""Which machinery runs actors: `@remote` keeps a plain class and its options, and this is where they meet a machine.

The local engine runs them on the event loop of this process. `herd.runtime.on_ray` has the other one, which hands the
class to a Ray cluster; callers keep their handles, refs and errors.
"""

import asyncio
import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from herd.runtime import local
from herd.runtime.errors import ActorKilled
from herd.runtime.handles import cell_of
from herd.runtime.registry import namespace_of, registry
from herd.runtime.restarts import RestartPolicy
from herd.runtime.supervision import Supervisor
from herd.runtime.values import ActorOptions, ActorState


class Engine(Protocol):
    """What the functions of `herd.runtime.api` ask of a machinery; there they are described. Handles are its own."""

    def start(self, plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...

    def get_actor(self, name: str, namespace: str | None) -> Any: ...

    def stop(self, handle: Any) -> "asyncio.Future[bool]": ...

    def kill(self, handle: Any, *, no_restart: bool) -> None: ...

    def list_actors(self) -> list[ActorState]: ...


class LocalEngine:
    """Actors on the running event loop."""

    def start(self, plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = local.existing(options)
        if found is not None:
            return found
        if not options.max_restarts:
            return local.start(plain, options, args, kwargs)
        lone = Supervisor(restarts=RestartPolicy.lifelong(options.max_restarts))
        return lone.adopt(plain, options, args, kwargs)

    def get_actor(self, name: str, namespace: str | None) -> Any:
        cell = registry().find(name, namespace)
        if cell is None:
            raise ValueError(f'there is no actor "{name}" in the namespace "{namespace_of(namespace)}"')
        return cell.handle

    def stop(self, handle: Any) -> "asyncio.Future[bool]":
        cell = cell_of(handle)
        item, stopped = cell.new_stop()
        cell.put(item)
        return stopped

    def kill(self, handle: Any, *, no_restart: bool) -> None:
        cell = cell_of(handle)
        if no_restart:
            cell.die(None)
        elif cell.actor is not None:
            cell.fail(ActorKilled("killed, as if it had crashed"))

    def list_actors(self) -> list[ActorState]:
        home = registry()
        return [*home.dead, *(cell.state for cell in home.cells)]


_chosen: contextvars.ContextVar[Engine] = contextvars.ContextVar("herd.runtime.engine", default=LocalEngine())  # noqa: B039 - it has no state


def engine() -> Engine:
    """The engine of the running code."""
    return _chosen.get()


@contextmanager
def using(chosen: Engine) -> Iterator[None]:
    """Within the block, and in tasks that are started there, actors are started and found by `chosen`."""
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)
