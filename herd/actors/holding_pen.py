"""The HoldingPen: requests for which no node qualifies now wait here for a change of the fleet, never by polling."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from herd.types import Bytes, MiB, Seconds, TicketId

# What a router on a small machine can keep in memory while it waits for a node: bodies beyond 1 MiB lie in files.
MAX_HELD = 1024
MAX_HELD_BYTES = 256 * MiB
# Models whose latest unlocking is remembered. It matters for the time of one message only: the oldest may go.
MAX_MODELS = 65_536


@dataclass(frozen=True, slots=True)
class Hold:
    """A request that wants to be held."""

    ticket: TicketId
    model: str  # canonical name
    version: int  # of the fleet when no node qualified
    size: Bytes  # of its body
    wait: Seconds  # at most


class HoldEnd(StrEnum):
    """Why a request is held no longer."""

    UNLOCKED = "unlocked"  # a node that can serve its model is there: it is worth placing again
    EXPIRED = "expired"  # the time is over
    FULL = "full"  # there was no room for it
    CLOSED = "closed"  # the router is shutting down


class _Held:
    """A request in the pen."""

    __slots__ = ("size", "woken")

    def __init__(self, size: int, woken: asyncio.Future[HoldEnd]) -> None:
        self.size = size
        self.woken = woken


class HoldingPen:
    """Owns the requests that wait for a node, by model and in order of arrival."""

    def __init__(self) -> None:
        self._held: dict[str, dict[TicketId, _Held]] = {}
        self._count = 0
        self._bytes = 0
        self._unlocked: dict[str, int] = {}  # model -> version of the fleet at its latest unlocking
        self._closed = False

    async def hold(self, hold: Hold) -> HoldEnd:
        """Wait for a change that unlocks the model."""
        if self._closed:
            return HoldEnd.CLOSED
        if self._unlocked.get(hold.model, -1) > hold.version:
            return HoldEnd.UNLOCKED  # it happened while this message was under way
        if self._count >= MAX_HELD or self._bytes + hold.size > MAX_HELD_BYTES:
            return HoldEnd.FULL
        held = _Held(hold.size, asyncio.get_running_loop().create_future())
        self._held.setdefault(hold.model, {})[hold.ticket] = held
        self._count += 1
        self._bytes += hold.size
        try:
            async with asyncio.timeout(hold.wait):
                return await held.woken
        except TimeoutError:
            return HoldEnd.EXPIRED
        finally:
            self._leave(hold)

    def _leave(self, hold: Hold) -> None:
        waiting = self._held[hold.model]
        held = waiting.pop(hold.ticket)
        if not waiting:
            del self._held[hold.model]
        self._count -= 1
        self._bytes -= held.size

    def unlocked(self, models: tuple[str, ...], version: int) -> None:
        """A node that can serve these models is there: wake whoever waits for them, in order of arrival."""
        for model in models:
            self._unlocked.pop(model, None)
            self._unlocked[model] = version  # the latest last
            if len(self._unlocked) > MAX_MODELS:
                del self._unlocked[next(iter(self._unlocked))]
            self._wake(self._held.get(model, {}), HoldEnd.UNLOCKED)

    def close(self) -> None:
        """No node will come any more: the router is shutting down. Whoever waits, or wants to, is told so at once."""
        self._closed = True
        for waiting in self._held.values():
            self._wake(waiting, HoldEnd.CLOSED)

    @staticmethod
    def _wake(waiting: Mapping[TicketId, _Held], end: HoldEnd) -> None:
        for held in waiting.values():
            if not held.woken.done():
                held.woken.set_result(end)

    def count(self) -> int:
        """Requests held."""
        return self._count
