"""A probe: an actor that stands where another one would, keeps what it is sent, and answers as a test says."""

import asyncio
import inspect
from collections import deque
from dataclasses import dataclass
from typing import Any

from herd.runtime.actor import check_plain
from herd.runtime.api import remote, stop
from herd.runtime.handles import HOOKS, ActorHandle


@dataclass(frozen=True, slots=True)
class Heard:
    """One message to a probe."""

    method: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()


class Probe:
    """An actor with the public methods of a class, and none of its code.

        scorer = Probe(Scorer)
        scorer.answer("place", decision)
        node = remote(Node).remote(scorer.handle)
        ...
        assert await scorer.heard() == Heard("node_changed", (view,))

    A call is answered with the next answer for its method, else with None. A test waits for messages without a bound:
    in virtual time one that never comes is a Deadlock.

    Args:
        like: the class.
        options: as for `ActorClass.options`: the name, say.
    """

    def __init__(self, like: type, **options: Any) -> None:
        check_plain(like)
        self._heard: deque[Heard] = deque()
        self._news = asyncio.Event()
        self._answers: dict[str, deque[Any]] = {}
        methods = {
            name: self._method(name)
            for name, _ in inspect.getmembers(like, callable)
            if not name.startswith("_") and name not in HOOKS
        }
        self.handle: ActorHandle = remote(type(like.__name__, (), methods)).options(**options).remote()

    async def heard(self) -> Heard:
        """The next message, as soon as there is one."""
        while not self._heard:
            self._news.clear()
            await self._news.wait()
        return self._heard.popleft()

    def so_far(self) -> list[Heard]:
        """The messages that nobody has asked for yet, in their order."""
        heard = list(self._heard)
        self._heard.clear()
        return heard

    def answer(self, method: str, *answers: Any) -> None:
        """Answer the next calls of `method` with these, in order. An exception is raised; a future is awaited."""
        self._answers.setdefault(method, deque()).extend(answers)

    async def stop(self) -> None:
        """End the probe, once all that it was sent has been answered."""
        await stop(self.handle)

    def _method(self, name: str) -> Any:
        async def handle(_actor: object, *args: Any, **kwargs: Any) -> Any:
            self._heard.append(Heard(name, args, tuple(kwargs.items())))
            self._news.set()
            scripted = self._answers.get(name)
            answer = scripted.popleft() if scripted else None
            if isinstance(answer, Exception):
                raise answer
            return await answer if isinstance(answer, asyncio.Future) else answer

        return handle
