"""The functions of the runtime; names and meanings are Ray's where Ray has them."""

import asyncio
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar, Unpack, overload

from herd.runtime.actor import check_plain
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.engine import engine
from herd.runtime.handles import ActorHandle
from herd.runtime.registry import registry
from herd.runtime.values import ActorOptions, ActorState, ClassState, OptionNames

T = TypeVar("T")
Ref = TypeVar("Ref", bound="asyncio.Future[Any]")


class ActorClass(Generic[T]):
    """A class whose instances are actors. `plain` is the class as it was written, for unit tests and subclasses."""

    def __init__(self, plain: type[T], options: ActorOptions) -> None:
        self.plain = plain
        self.chosen = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle:
        """Start an actor, built with these arguments. Its on_start runs at the loop's next turn.

        Raises:
            ValueError: a living actor has the name.
            RuntimeError: no event loop runs.
            Exception: whatever the class's `__init__` raises.
        """
        handle: ActorHandle = engine().start(self.plain, self.chosen, args, kwargs)
        return handle

    def options(self, **changes: Unpack[OptionNames]) -> "ActorClass[T]":
        """The same class, to be started otherwise: what is not named here stays as it was.

        Args:
            name: for `get_actor`; one living actor of a namespace can have it.
            namespace: default: that of the actor that starts this one.
            get_if_exists: if the name is taken, return the actor that has it.
            max_restarts: how often in its life a crash is followed by a new start; -1 for no limit. (For more choice,
                and for groups: `Supervisor`.)
            max_task_retries: how often a call that a crash interrupts is begun anew, before it ends with
                ActorUnavailableError; -1 for no limit.
            max_concurrency: async handlers that run at once; later async calls wait, in order.
            max_pending_calls: calls without an answer, beyond which further ones fail with PendingCallsLimitExceeded;
                -1 for no limit. Tells, stop and cancel are not counted.

        Raises:
            ValueError: a number is out of range, or get_if_exists is given without a name.
        """
        return ActorClass(self.plain, dataclasses.replace(self.chosen, **changes))

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> NoReturn:
        name = self.plain.__name__
        raise TypeError(f"{name} is an actor class: subclass {name}.plain, and make an actor class of that")

    def __call__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        name = self.plain.__name__
        raise TypeError(f"{name} is an actor class: start it with {name}.remote(...), or build {name}.plain(...)")

    def __repr__(self) -> str:
        return f"<ActorClass {self.plain.__name__}>"


@overload
def remote(plain: type[T], /, **options: Unpack[OptionNames]) -> ActorClass[T]: ...


@overload
def remote(**options: Unpack[OptionNames]) -> Callable[[type[T]], ActorClass[T]]: ...


def remote(plain: Any = None, /, **options: Any) -> Any:
    """Make actors of a plain class: `remote(Plain).remote(...)`, or `@remote` or `@remote(max_restarts=3)` above it.

    Type checkers do not follow a class decorator to something that is no class; in checked code use the first form.

    Args:
        plain: the class.
        options: see `ActorClass.options`.

    Raises:
        TypeError: `plain` is no class, an actor class already, or of another kind of Pykka's actors.
    """
    if plain is None:
        return functools.partial(remote, **options)
    check_plain(plain)
    return ActorClass(plain, ActorOptions(**options))


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """The handle of the living actor of this name; by default in the namespace of the calling actor.

    Raises:
        ValueError: there is none.
    """
    handle: ActorHandle = engine().get_actor(name, namespace)
    return handle


def list_actors() -> list[ActorState]:
    """The actors of the running loop, in the order of their start, and before them the last dead ones."""
    return engine().list_actors()


def class_states(namespace: str | None = None) -> tuple[ClassState, ...]:
    """The actors of the running loop class by class, by name; by default of the calling actor's namespace.

    Cheap enough for whoever looks every few seconds. What it counts goes up only, whichever actors die.
    """
    return registry().class_states(namespace)


def dead_letters() -> dict[DeadLetterReason, int]:
    """How many messages on the running loop no handler was started for, by reason."""
    return dict(registry().letters.counts)


def stop(handle: ActorHandle) -> "asyncio.Future[bool]":
    """Stop an actor in order; await the result to know it dead.

    It handles what is in its mailbox, lets its running handlers end, runs on_stop, stops its supervised children, and
    cancels its timers and tasks. Later messages meet ActorDiedError. The stop goes on if nobody awaits it. An actor
    that is between two lives ends at once if it has crashed, and after its on_stop if it restarts with its group. (An
    actor may stop itself, but a handler that awaits that waits for its own end.)

    Returns:
        True once the actor is dead; False if it was dead already.
    """
    return engine().stop(handle)


def kill(handle: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once, without on_stop: what runs is cancelled, callers get ActorDiedError. Nothing if dead.

    Args:
        handle: of the actor.
        no_restart: False: treat it as a crash, after which the actor starts again if it may.
    """
    engine().kill(handle, no_restart=no_restart)


def cancel(ref: "asyncio.Future[Any]") -> None:
    """Cancel a call: it never starts, or its handler is cancelled at its next await, and so is what that awaits.

    Nothing if it has ended.
    """
    ref.cancel()


async def wait(
    refs: Sequence[Ref], *, num_returns: int = 1, timeout: float | None = None
) -> tuple[list[Ref], list[Ref]]:
    """Wait until `num_returns` of the calls have ended, however, or `timeout` seconds have passed. Cancels nothing.

    Returns:
        At most `num_returns` that have ended, and the others; both in the order of `refs`.

    Raises:
        TypeError: it is given a single ref.
        ValueError: a ref is given twice, or `num_returns` is not from 1 to the number of refs, if there are any.
    """
    if isinstance(refs, asyncio.Future):
        raise TypeError(f"wait takes a list of refs, not {refs!r}")
    if not refs:
        return [], []
    if len(set(refs)) != len(refs):
        raise ValueError("a ref is given twice")
    if not 1 <= num_returns <= len(refs):
        raise ValueError(f"num_returns must be from 1 to {len(refs)}, the number of refs, not {num_returns}")
    enough = asyncio.get_running_loop().create_future()
    missing = num_returns - sum(ref.done() for ref in refs)

    def ended(_ref: object) -> None:
        nonlocal missing
        missing -= 1
        if missing <= 0 and not enough.done():
            enough.set_result(None)

    pending = [ref for ref in refs if not ref.done()]
    if missing > 0:
        for ref in pending:
            ref.add_done_callback(ended)
        try:
            await asyncio.wait([enough], timeout=timeout)
        finally:
            for ref in pending:
                ref.remove_done_callback(ended)
    ready = [ref for ref in refs if ref.done()][:num_returns]
    chosen = set(ready)
    return ready, [ref for ref in refs if ref not in chosen]
