"""The local kind of actor: a Pykka actor that runs on the event loop it was started on."""

import functools
import inspect
import types
from typing import Any, ClassVar, Self

from herd.runtime._pykka import Actor, Future, LoopActorRef, LoopFuture
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

    _pykka_ref: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.async_methods = frozenset(
            name for name in dir(cls) if inspect.iscoroutinefunction(getattr(cls, name, None))
        )

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        self = super().__new__(cls)
        Actor.__init__(self)
        self._pykka_ref = LoopActorRef(self, self.actor_inbox)
        return self

    def __init__(self) -> None:
        """Nothing is left to do; see the class."""

    @property
    def actor_ref(self) -> LoopActorRef[Self]:
        ref: LoopActorRef[Self] = self._pykka_ref
        return ref

    def stop(self) -> None:
        self.actor_ref.stop(block=False)

    def __str__(self) -> str:
        return repr(self)

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

    mixed: type[AsyncioActor] = types.new_class(plain.__name__, (plain, AsyncioActor), exec_body=body)
    return mixed
