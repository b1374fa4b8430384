"""What passes between the two ends of a link in memory: the values of the real protocol, in order, without bytes."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from herd.protocols.session import STREAM_BUFFER, Event
from herd.types import StreamId

CLOSED = "the connection was closed"


@dataclass(frozen=True, slots=True)
class Taken:
    """So many bytes of a stream were handed on: there is room for more. In place of WINDOW frames."""

    stream: StreamId
    size: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The other end has closed the connection."""


Said = Event | Taken | Closed


class Wire:
    """One direction of a link: what is said at one end is heard at the other at a later turn of the loop.

    Bounded by what its users bound: bytes by `Room`, heartbeats by their timer.
    """

    hear: Callable[[Said], None]  # the other end; set when the two are joined

    def __init__(self) -> None:
        self._under_way: deque[Said] = deque()
        self._frozen = False
        self._soon = False

    def say(self, said: Said) -> None:
        """Have it heard after all that was said before."""
        self._under_way.append(said)
        self._wake()

    def freeze(self) -> None:
        """Nothing arrives any more; nothing is lost either."""
        self._frozen = True

    def thaw(self) -> None:
        """What was held up arrives now."""
        self._frozen = False
        self._wake()

    def drop(self) -> None:
        """What is under way never arrives."""
        self._under_way.clear()

    def _wake(self) -> None:
        if self._under_way and not self._soon and not self._frozen:
            self._soon = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._soon = False
        while self._under_way and not self._frozen:
            self.hear(self._under_way.popleft())


class Room:
    """How much of a stream the other end has not taken yet; its writer waits while that is too much."""

    def __init__(self) -> None:
        self._untaken = 0
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    async def fill(self, size: int) -> None:
        """Bytes were sent: wait until there is room for more, or until the stream is over."""
        self._untaken += size
        while self._untaken > STREAM_BUFFER and not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def taken(self, size: int) -> None:
        """The other end has handed bytes on."""
        self._untaken -= size
        self._wake()

    def free(self) -> None:
        """The stream is over: nobody need wait."""
        self._over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
