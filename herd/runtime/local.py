"""How an actor starts on the event loop of this process."""

from typing import Any

from herd.runtime._pykka import ActorRegistry
from herd.runtime.actor import actor_class, born_again
from herd.runtime.cell import Cell, Keeper
from herd.runtime.errors import ActorDiedError, ActorExit
from herd.runtime.handles import ActorHandle
from herd.runtime.registry import registry
from herd.runtime.values import ActorOptions


def start(
    plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any], keeper: Keeper | None = None
) -> ActorHandle:
    """Start an actor of the class `plain`, built with `args` and `kwargs`. See `ActorClass.remote`.

    Args:
        plain: the class as it was written.
        options: how to start it.
        args: of its `__init__`, as often as it is built.
        kwargs: likewise.
        keeper: starts its cell when its turn has come, and again when it crashes; None: it begins at the loop's next
            turn, and its first crash is its death.
    """
    home = registry()
    mixed: Any = actor_class(plain)
    actor = mixed.__new__(mixed)
    cell = home.adopt(actor, options)
    try:
        # In the actor's own context: what it starts here is in its namespace.
        cell.context.run(actor.__init__, *args, **kwargs)
    except ActorExit:  # it is the new actor's, and not to end the one that starts it
        cell.die(None)
        raise ActorDiedError(f"{cell.label} left as it was built") from None
    except BaseException as error:
        cell.die(error)
        raise
    handle: ActorHandle = cell.handle
    if cell.actor is None:  # it has killed itself
        return handle
    if keeper is not None:
        cell.keeper = keeper
        cell.birth = lambda: _be_born(cell, mixed, args, kwargs)
    ActorRegistry.register(actor.actor_ref)
    if keeper is None:  # else it says when
        cell.start()
    return handle


def existing(options: ActorOptions) -> ActorHandle | None:
    """The living actor that `get_if_exists` is about."""
    if not options.get_if_exists or options.name is None:
        return None
    cell = registry().find(options.name, options.namespace)
    return None if cell is None else cell.handle


def _be_born(cell: Cell, mixed: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    cell.embody(mixed)  # what its __new__ raises ends this life, too
    actor: Any = born_again(mixed, cell)
    cell.embody(actor)
    actor.__init__(*args, **kwargs)
