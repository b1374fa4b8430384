"""How long a model server takes, where its answer does not say."""

from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import TypeVar

from herd.actors.ports import Clock
from herd.protocols.messages import Usage
from herd.types import Seconds

T = TypeVar("T")


class Stopwatch:
    """Adds up the seconds for which a server is waited for, from the end of the request to the end of its answer.

    The way of the body is no work, nor is the time in which the client reads what there is of the answer.

    Args:
        clock: the agent's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent = clock.monotonic()
        self._seconds = 0.0

    async def sending(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body; before its end nothing counts."""
        async for piece in body:
            yield piece
            self._sent = self._clock.monotonic()  # the next piece was asked for: this one is on its way

    async def waiting(self, answer: Awaitable[T]) -> T:
        """What the server says next, waited for."""
        began = self._clock.monotonic()
        found = await answer
        self._seconds += max(0.0, self._clock.monotonic() - max(began, self._sent))
        return found

    def measured(self, usage: Usage) -> Usage:
        """The usage with the seconds that the work took; as it is where the server says them, or it is no success."""
        if usage.decode_s or not usage.complete:
            return usage
        return replace(usage, decode_s=Seconds(max(0.0, self._seconds - usage.load_s)))
