"""Which machinery runs an actor. `@remote` keeps a plain class and its options, and this is where they meet a machine.

There is one: the event loop of this process. A second one (a cluster's) is chosen in `start`, from the options or from
where it is called; callers keep their handles, refs and errors.
"""

from typing import Any

from herd.runtime._pykka import ActorRegistry
from herd.runtime.actor import actor_class
from herd.runtime.handles import ActorHandle
from herd.runtime.registry import registry
from herd.runtime.values import ActorOptions


def start(plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
    """Start an actor of the class `plain`, built with `args` and `kwargs`. See `ActorClass.remote`."""
    return _start_local(plain, options, args, kwargs)


def _start_local(plain: type, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ActorHandle:
    home = registry()
    if options.get_if_exists and options.name is not None:
        existing = home.find(options.name, options.namespace)
        if existing is not None:
            found: ActorHandle = existing.handle
            return found
    mixed: Any = actor_class(plain)
    actor = mixed.__new__(mixed)
    cell = home.adopt(actor, options)
    try:
        # In the actor's own context: what it starts here is in its namespace.
        cell.context.run(actor.__init__, *args, **kwargs)
    except BaseException as error:
        cell.die(error)
        raise
    ActorRegistry.register(actor.actor_ref)
    cell.start()
    handle: ActorHandle = cell.handle
    return handle
