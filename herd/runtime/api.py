"""The functions of the runtime; names and meanings are Ray's where Ray has them."""

from typing import Any, Generic, NoReturn, TypeVar

from herd.runtime import engine
from herd.runtime.handles import ActorHandle, cell_of
from herd.runtime.object_ref import ObjectRef
from herd.runtime.registry import registry
from herd.runtime.values import MAX_CONCURRENCY, MAX_PENDING_CALLS, ActorOptions, ActorState

T = TypeVar("T")


class ActorClass(Generic[T]):
    """A class whose instances are actors. `plain` is the class as it was written, for unit tests and subclasses."""

    def __init__(self, plain: type[T], options: ActorOptions) -> None:
        self.plain = plain
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start an actor on the running loop, built with these arguments. Its on_start runs at the loop's next turn.

        Raises:
            ValueError: a living actor has the name.
            RuntimeError: no event loop runs.
            Exception: whatever the class's `__init__` raises.
        """
        return engine.start(self.plain, self._options, args, kwargs)

    def options(
        self,
        *,
        name: str | None = None,
        namespace: str | None = None,
        get_if_exists: bool = False,
        max_concurrency: int = MAX_CONCURRENCY,
        max_pending_calls: int = MAX_PENDING_CALLS,
    ) -> "ActorClass[T]":
        """The same class, to be started otherwise.

        Args:
            name: for `get_actor`; one living actor of a namespace can have it.
            namespace: default: that of the actor that starts this one.
            get_if_exists: if the name is taken, return the actor that has it.
            max_concurrency: async handlers that run at once; later async calls wait, in order.
            max_pending_calls: calls without an answer, beyond which further ones fail with PendingCallsLimitExceeded;
                -1 for no limit. Tells, stop and cancel are not counted.

        Raises:
            ValueError: a number is out of range, or get_if_exists is given without a name.
        """
        return ActorClass(self.plain, ActorOptions(name, namespace, get_if_exists, max_concurrency, max_pending_calls))

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        name = self.plain.__name__
        raise TypeError(f"{name} is an actor class: start it with {name}.remote(...), or build {name}.plain(...)")

    def __repr__(self) -> str:
        return f"<ActorClass {self.plain.__name__}>"


def remote(plain: type[T]) -> ActorClass[T]:
    """Make actors of a plain class: `remote(Plain).remote(...)`, or `@remote` above the class.

    Type checkers do not follow a class decorator to something that is no class; in checked code use the first form.
    """
    return ActorClass(plain, ActorOptions())


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The living actor of this name; by default in the namespace of the calling actor. Raises ValueError if none."""
    cell = registry().find(name, namespace)
    if cell is None:
        raise ValueError(f'there is no actor "{name}"')
    handle: ActorHandle = cell.handle
    return handle


def list_actors() -> list[ActorState]:
    """The actors of the running loop, in the order of their start, and before them the last dead ones."""
    home = registry()
    return [*home.dead, *(cell.state for cell in home.cells)]


def dead_letters() -> int:
    """How many messages were told to dead actors on the running loop."""
    return registry().dead_letters


def stop(handle: ActorHandle) -> ObjectRef[bool]:
    """Stop an actor in order; await the result to know it dead.

    It handles what is in its mailbox, lets its running handlers end, runs on_stop, cancels its timers and tasks. Later
    messages meet ActorDiedError. The stop goes on if nobody awaits it. (An actor may stop itself, but a handler that
    awaits that waits for its own end.)

    Returns:
        True once the actor is dead; False if it was dead already.
    """
    cell = cell_of(handle)
    item, stopped = cell.new_stop()
    cell.put(item)
    return stopped


def kill(handle: ActorHandle) -> None:
    """End an actor at once, without on_stop: what runs is cancelled, callers get ActorDiedError. Nothing if dead."""
    cell_of(handle).die(None)


def cancel(ref: ObjectRef[Any]) -> None:
    """Cancel a call: it never starts, or its handler is cancelled at its next await. Nothing if it has ended."""
    ref.cancel()
