"""The local kind of actor: a Pykka actor that runs on the event loop it was started on."""

import types
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Self

from herd.runtime._pykka import Actor, Future, LoopActorRef, LoopFuture, StoppedFlag, log
from herd.runtime.cell import Cell
from herd.runtime.jobs import runs_async
from herd.runtime.registry import registry
from herd.runtime.values import ActorOptions

MIXED = "_herd_actor_class"  # the attribute of a plain class under which its actor class is kept


class AsyncioActor(Actor):
    """A Pykka actor on asyncio. The hooks of Pykka (on_start, on_stop, on_failure, on_receive) may be `async def`.

    Its own state is set up in `__new__`, so that a plain class need not know that it has become an actor: its
    `__init__` does not have to call this one.
    """

    _herd_async_methods: ClassVar[frozenset[str]] = frozenset()  # names of the methods that are `async def`

    actor_inbox: Cell  # type: ignore[assignment] # only Pykka's own receive loop, unused here, calls get() and empty()

    _loop_ref: LoopActorRef[Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._herd_async_methods = frozenset(
            name for name in dir(cls) if callable(method := getattr(cls, name, None)) and runs_async(method)
        )

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        # All that Pykka's own __init__ sets, with a ref and a flag that suit a loop in place of its own.
        self = super().__new__(cls)
        self.actor_urn = uuid.uuid4().urn
        self.actor_inbox = cls._create_actor_inbox()
        self.actor_stopped = StoppedFlag()  # type: ignore[assignment] # what is used of an Event
        self._loop_ref = LoopActorRef(self, self.actor_inbox)
        return self

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing is left to do; see the class."""

    @property
    def actor_ref(self) -> LoopActorRef[Self]:
        return self._loop_ref

    def on_receive(self, message: Any) -> None:
        """Log that nobody handles `message`: its type, never what is in it."""
        log.warning("Unexpected message received by %s: a %s", self, type(message).__name__)

    def stop(self) -> None:
        self.actor_ref.stop(block=False)

    def __str__(self) -> str:
        # A class that says how it is shown is shown so.
        return str(self._loop_ref) if type(self).__repr__ is object.__repr__ else repr(self)

    @staticmethod
    def _create_actor_inbox() -> Cell:  # type: ignore[override] # as above
        return Cell()

    @staticmethod
    def _create_future() -> Future[Any]:
        return LoopFuture()

    def _start_actor_loop(self) -> None:
        if self.actor_inbox.actor is None:  # started by Pykka's own `start()`
            registry().adopt(self, ActorOptions())
        self.actor_inbox.start()


def born_again(kind: type[AsyncioActor], cell: Cell) -> AsyncioActor:
    """The instance of `cell`'s next incarnation; its __init__ has still to be called."""
    actor = kind.__new__(kind)
    ref = cell.pykka_ref
    actor.actor_urn, actor.actor_inbox, actor.actor_stopped = ref.actor_urn, cell, ref.actor_stopped
    actor._loop_ref = ref  # noqa: SLF001 - private to this file
    ref.point_to(actor)
    return actor


def check_plain(plain: Any) -> None:
    """Raises TypeError for what no actors can be made of."""
    if not isinstance(plain, type):
        what = "is an actor class already" if hasattr(plain, "plain") else "is no class"
        raise TypeError(f"actors are made of plain classes, and {plain!r} {what}")
    if issubclass(plain, Actor) and not issubclass(plain, AsyncioActor):
        raise TypeError(f"{plain.__name__} is another kind of Pykka's actors: leave out its base class")


def actor_class(plain: type) -> type[AsyncioActor]:
    """`plain` with AsyncioActor mixed in: its name, its own methods first. One for each class, kept with it."""
    known: type[AsyncioActor] | None = vars(plain).get(MIXED)
    if known is not None and known.__bases__[0] is plain:  # else a decorator has copied it, with all that it had
        return known

    def body(namespace: dict[str, Any]) -> None:
        namespace.update(__module__=plain.__module__, __qualname__=plain.__qualname__, __doc__=plain.__doc__)
        # A class without an __init__ takes no arguments: AsyncioActor's would swallow them.
        if plain.__init__ is object.__init__:  # type: ignore[misc] # it is compared, not called
            namespace["__init__"] = _without_arguments(plain)

    mixed: type[AsyncioActor] = types.new_class(plain.__name__, (plain, AsyncioActor), exec_body=body)
    with suppress(TypeError):  # a class of the interpreter's own keeps nothing
        setattr(plain, MIXED, mixed)
    return mixed


def _without_arguments(plain: type) -> Callable[[object], None]:
    def init(_self: object) -> None: ...

    init.__qualname__ = f"{plain.__name__}.__init__"  # what Python says when there are some
    return init
