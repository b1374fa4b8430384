"""Ways to have actors: the bare one that all are measured by, and `herd.runtime`. The others are `runtime_guests`.

Each has actors that add up what they are sent. The loops that are timed are written out in every contender, as a
person would write them who uses nothing else: a shared one would weigh most on the fastest.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import psutil

from herd.runtime import ActorHandle, remote, stop

Kind = Literal["def", "async"]  # of the handlers of all actors

IN_FLIGHT = 50
BATCH = 100  # actors created before each of them is asked: bounds what creation leaves behind in the heap


class Tally:
    """How many messages have been handled. Actors of one thread share it; others have one each."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Counter:
    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def add(self, number: int) -> int:
        self.tally.count += number
        return self.tally.count


class AsyncCounter:
    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    async def add(self, number: int) -> int:
        self.tally.count += number
        return self.tally.count


class Contender(ABC):
    """One way to have actors. The measures below spread their calls over the actors in turn."""

    name: ClassVar[str]
    note: ClassVar[str]  # what it is, for the reader of a table
    package: ClassVar[str | None] = None  # that it is of, if not this one
    slow_start: ClassVar[bool] = False  # is it seconds?
    most: ClassVar[int] = 100_000  # actors
    share: ClassVar[float] = 1.0  # of the calls that the bare way makes; slow ways make fewer
    warm: ClassVar[int] = BATCH  # actors that are started beforehand and kept: what is loaded once is theirs
    kinds: ClassVar[tuple[Kind, ...]] = ("def", "async")
    shares_tally: ClassVar[bool] = True  # all actors count in `tally`
    weighed_from: ClassVar[int] = 200  # actors; fewer weigh too little against a page of memory

    def __init__(self) -> None:
        self.tally = Tally()
        self.actors: list[Any] = []
        self.turns: Iterator[Any] = iter(())

    def take(self, actors: list[Any]) -> None:
        """Measure these from now on."""
        self.actors = actors
        self.turns = itertools.cycle(actors)

    async def open(self) -> None:  # noqa: B027 - most have nothing to begin
        """Begin. Once."""

    async def close(self) -> None:  # noqa: B027 - nor to end
        """End what `open` began."""

    @abstractmethod
    async def create(self, count: int, kind: Kind) -> list[Any]:
        """As many new actors, each of which has answered once."""

    @abstractmethod
    async def stop(self, actors: list[Any]) -> None:
        """Nothing of them is left."""

    @abstractmethod
    async def ask(self, calls: int) -> None:
        """Await each answer before the next call."""

    @abstractmethod
    async def ask_together(self, calls: int) -> None:
        """Send IN_FLIGHT calls, then await their answers, and so on."""

    @abstractmethod
    async def tell(self, calls: int) -> None:
        """Send all, then ask until it is certain that all have been handled."""

    async def prove(self, expected: int) -> None:
        """Ask once, and again until so many messages were handled beside these."""
        asked = 0
        while not asked or self.tally.count < expected + asked:
            await self.ask(1)
            asked += 1

    def memory(self) -> int:
        """Bytes that the actors' process has to itself."""
        return int(psutil.Process().memory_full_info().uss)


# --- one task and one queue for each actor ----------------------------------------------------------------------------


class BareActor:
    """What a person writes who needs an actor and has asyncio."""

    def __init__(self, tally: Tally) -> None:
        self.counter = Counter(tally)
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        while True:
            number, answer = await self.queue.get()
            result = self.counter.add(number)
            if answer is not None:
                answer.set_result(result)


class BareAsyncActor:
    """The same with an `async def` handler, which it awaits: one message after the other."""

    def __init__(self, tally: Tally) -> None:
        self.counter = AsyncCounter(tally)
        self.queue: asyncio.Queue[tuple[int, asyncio.Future[int] | None]] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        while True:
            number, answer = await self.queue.get()
            result = await self.counter.add(number)
            if answer is not None:
                answer.set_result(result)


class Bare(Contender):
    name = "bare"
    note = "an asyncio task and an asyncio.Queue for each actor, a loop future for each ask"

    async def create(self, count: int, kind: Kind) -> list[Any]:
        actor_class = BareActor if kind == "def" else BareAsyncActor
        loop = asyncio.get_running_loop()
        actors: list[Any] = []
        while len(actors) < count:
            batch = [actor_class(self.tally) for _ in range(min(BATCH, count - len(actors)))]
            answers = []
            for actor in batch:
                answer: asyncio.Future[int] = loop.create_future()
                actor.queue.put_nowait((1, answer))
                answers.append(answer)
            for answer in answers:
                await answer
            actors += batch
        return actors

    async def stop(self, actors: list[Any]) -> None:
        for actor in actors:
            actor.task.cancel()
        await asyncio.gather(*(actor.task for actor in actors), return_exceptions=True)

    async def ask(self, calls: int) -> None:
        loop = asyncio.get_running_loop()
        for actor in itertools.islice(self.turns, calls):
            answer: asyncio.Future[int] = loop.create_future()
            actor.queue.put_nowait((1, answer))
            await answer

    async def ask_together(self, calls: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(calls // IN_FLIGHT):
            answers = []
            for actor in itertools.islice(self.turns, IN_FLIGHT):
                answer: asyncio.Future[int] = loop.create_future()
                actor.queue.put_nowait((1, answer))
                answers.append(answer)
            for answer in answers:
                await answer

    async def tell(self, calls: int) -> None:
        expected = self.tally.count + calls
        for actor in itertools.islice(self.turns, calls):
            actor.queue.put_nowait((1, None))
        await self.prove(expected)


# --- Herd -------------------------------------------------------------------------------------------------------------


class Herd(Contender):
    name = "herd"
    note = "herd.runtime; every call of an `async def` handler is a task, so that they overlap"

    async def create(self, count: int, kind: Kind) -> list[Any]:
        actor_class = remote(Counter) if kind == "def" else remote(AsyncCounter)
        actors: list[ActorHandle] = []
        while len(actors) < count:
            batch = [actor_class.remote(self.tally) for _ in range(min(BATCH, count - len(actors)))]
            answers = [actor.add.remote(1) for actor in batch]
            for answer in answers:
                await answer
            actors += batch
        return actors

    async def stop(self, actors: list[Any]) -> None:
        for stopped in [stop(actor) for actor in actors]:
            await stopped

    async def ask(self, calls: int) -> None:
        for actor in itertools.islice(self.turns, calls):
            await actor.add.remote(1)

    async def ask_together(self, calls: int) -> None:
        for _ in range(calls // IN_FLIGHT):
            answers = [actor.add.remote(1) for actor in itertools.islice(self.turns, IN_FLIGHT)]
            for answer in answers:
                await answer

    async def tell(self, calls: int) -> None:
        expected = self.tally.count + calls
        for actor in itertools.islice(self.turns, calls):
            actor.add.tell(1)
        await self.prove(expected)
