"""What callers hold of an actor."""

from typing import Any, NoReturn

from herd.runtime._pykka import Actor, LoopActorRef, ProxyCall
from herd.runtime.cell import Cell
from herd.runtime.deadlines import as_timeout, due, earliest
from herd.runtime.incarnation import current
from herd.runtime.object_ref import ObjectRef, new_ref
from herd.runtime.values import ActorStatus

HOOKS = frozenset({"on_start", "on_stop", "on_failure", "on_receive"})  # of an actor's life: the runtime calls them

# A named tuple's own constructor is a Python function that does no more than this.
_new = tuple.__new__


class ActorMethod:
    """One method of one actor: `handle.method`."""

    __slots__ = ("_cell", "_path", "_timeout")

    def __init__(self, cell: Cell, path: tuple[str, ...], timeout: float | None) -> None:
        self._cell = cell
        self._path = path
        self._timeout = timeout

    def options(self, *, timeout: float | None) -> "ActorMethod":
        """The same method with a deadline: `timeout` seconds from each call to its answer, or None for as long as it
        takes. A call that is late ends with GetTimeoutError, and its work is cancelled.

        A handler's own calls end no later than the call that it works on: deadlines travel, and only shrink. Raises
        ValueError for a timeout that is not a number.
        """
        return ActorMethod(self._cell, self._path, as_timeout(timeout))

    def remote(self, *args: Any, **kwargs: Any) -> ObjectRef[Any]:
        """Call the method: its answer can be awaited.

        What goes wrong is in the ref. Only where tests serialize messages, arguments that cannot travel raise
        TypeError.
        """
        cell = self._cell
        if cell.home.wire is not None:
            args, kwargs = cell.home.wire((args, kwargs))
        ref = new_ref(cell.loop, cell, _new(ProxyCall, (self._path, args, kwargs)), current.get())
        if self._timeout is not None or due.get() is not None:
            ref.expire_at(earliest(self._timeout, cell.loop.time()))
        cell.put(ref)
        return ref

    def tell(self, *args: Any, **kwargs: Any) -> None:
        """Have the method run and forget it. If it raises, the actor crashes. A dead actor's message is a dead letter.

        What is told has no deadline, whatever the teller has.
        """
        cell = self._cell
        if cell.home.wire is not None:
            args, kwargs = cell.home.wire((args, kwargs))
        cell.put_told(_new(ProxyCall, (self._path, args, kwargs)))

    def __call__(self, *_args: Any, **_kwargs: Any) -> None:
        raise TypeError(f"{self!r} runs in its actor: use .remote(...) or .tell(...)")

    def __repr__(self) -> str:
        return f"<ActorMethod {'.'.join(self._path)} of {self._cell.label}>"


class ActorHandle:
    """An actor, as others see it. There is one handle for each actor, so handles can be compared.

    Attributes are the methods of the actor's class. Names with a leading underscore are private to the actor, and so
    are the hooks of its life.
    """

    def __init__(self, cell: Cell, actor_ref: LoopActorRef[Any]) -> None:
        self._cell = cell
        self._actor_ref = actor_ref

    @property
    def actor_ref(self) -> LoopActorRef[Any]:
        """Pykka's ref to the actor; may be used from any thread."""
        return self._actor_ref

    def __getattr__(self, name: str) -> ActorMethod:
        if name.startswith("_") or not _can_be_called(self._actor_ref.actor_class, name):
            raise AttributeError(f"{self._cell.identity.class_name} has no method {name!r} to call")
        method = ActorMethod(self._cell, (name,), None)
        self.__dict__[name] = method
        return method

    def __copy__(self) -> "ActorHandle":
        return self

    def __deepcopy__(self, _memo: object) -> "ActorHandle":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot leave its process: send its name, or run its class on Ray")

    def __repr__(self) -> str:
        status = self._cell.status
        word = "starting" if status is ActorStatus.PENDING_CREATION else status.lower()
        return f"<ActorHandle {self._cell.label} {word}>"


def _can_be_called(kind: type, name: str) -> bool:
    if name in HOOKS or not callable(getattr(kind, name, None)):
        return False
    defined_by = next((base for base in kind.__mro__ if name in vars(base)), object)
    return not (hasattr(Actor, name) and issubclass(defined_by, Actor))  # Pykka's own `stop` and `start`


def cell_of(handle: ActorHandle) -> Cell:
    """The cell behind a handle. Raises TypeError for anything else."""
    if not isinstance(handle, ActorHandle):
        raise TypeError(f"expected an ActorHandle, not {handle!r}")
    return handle._cell  # noqa: SLF001 - kept from callers, not from the runtime
