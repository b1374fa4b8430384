"""The local kind of actor: a Pykka actor that runs on the event loop it was started on."""

import functools
import inspect
import types
import uuid
from typing import Any, ClassVar, Self

from herd.runtime._pykka import Actor, Future, LoopActorRef, LoopFuture, StoppedFlag, log
from herd.runtime.cell import Cell
from herd.runtime.registry import registry
from herd.runtime.values import ActorOptions


class AsyncioActor(Actor):
    """A Pykka actor on asyncio. The hooks of Pykka (on_start, on_stop, on_failure, on_receive) may be `async def`.

    Its own state is set up in `__new__`, so that a plain class need not know that it has become an actor: its
    `__init__` does not have to call this one.
    """

    async_methods: ClassVar[frozenset[str]] = frozenset()  # names of the methods that are `async def`

    actor_inbox: Cell  # type: ignore[assignment] # only Pykka's own receive loop, unused here, calls get() and empty()

    _loop_ref: LoopActorRef[Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.async_methods = frozenset(
            name for name in dir(cls) if inspect.iscoroutinefunction(getattr(cls, name, None))
        )

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        # All that Pykka's own __init__ sets, with a ref and a flag that suit a loop in place of its own.
        self = super().__new__(cls)
        self.actor_urn = uuid.uuid4().urn
        self.actor_inbox = cls._create_actor_inbox()
        self.actor_stopped = StoppedFlag()  # type: ignore[assignment] # what is used of an Event
        self._loop_ref = LoopActorRef(self, self.actor_inbox)
        return self

    @classmethod
    def born_again(cls, cell: Cell) -> Self:
        """The instance of `cell`'s next incarnation; its __init__ has still to be called."""
        self = super().__new__(cls)
        ref = cell.pykka_ref
        self.actor_urn, self.actor_inbox, self.actor_stopped = ref.actor_urn, cell, ref.actor_stopped
        self._loop_ref = ref
        ref.point_to(self)
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


@functools.cache  # one entry for each decorated class
def actor_class(plain: type) -> type[AsyncioActor]:
    """`plain` with AsyncioActor mixed in: its name, its own methods first."""

    def body(namespace: dict[str, Any]) -> None:
        namespace.update(__module__=plain.__module__, __qualname__=plain.__qualname__, __doc__=plain.__doc__)
        # A class without an __init__ takes no arguments: AsyncioActor's would swallow them.
        if plain.__init__ is object.__init__:  # type: ignore[misc] # it is compared, not called
            namespace["__init__"] = _take_nothing

    mixed: type[AsyncioActor] = types.new_class(plain.__name__, (plain, AsyncioActor), exec_body=body)
    return mixed


def _take_nothing(self: object) -> None:
    pass
