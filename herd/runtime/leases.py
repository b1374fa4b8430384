"""Leases: so many holders at a time, and a queue for the rest, which no cancelled caller can leak.

The protocol has two halves. The caller makes up a ticket, asks `acquire(ticket)`, and, whatever came of that, always
tells `release(ticket)` in the end. So a slot that was granted in the very turn of the loop in which its caller was
cancelled comes back too: the caller cannot know of it, but the ticket can. A protocol in which `acquire` returns the
slot loses it there.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, KeysView
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from herd.runtime.incarnation import current
from herd.runtime.registry import registry

Answer = TypeVar("Answer")


class Leases(Generic[Answer]):
    """The owner's half: state for an actor, which passes `acquire` and `release` on to it.

    The actor's `max_concurrency` must have room for all who wait at once: a further `acquire` is not known here, and
    cannot be refused. `release` must be a `def`: it is told, so it passes every bound, while an `async def` would wait
    for room behind those who wait for it. State changes only between awaits.

    Args:
        limit: leases that are out at once.
        held: tickets that have one already: those an owner finds in use when it starts again.
    """

    def __init__(self, limit: int, held: Iterable[str] = ()) -> None:
        self._limit = limit
        self._held: dict[str, None] = dict.fromkeys(held)
        self._waiting: dict[str, asyncio.Future[Answer | None]] = {}
        self._owner: Any = None  # the actor's cell; None: it belongs to no actor, or has not been asked yet
        self._life = 0  # of the owner: what a former incarnation gave out is out no more
        if self._held:
            self._track()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def held(self) -> KeysView[str]:
        """The tickets that have a lease, in the order of their grants: a view, which changes with them."""
        return self._held.keys()

    @property
    def waiting(self) -> KeysView[str]:
        """The tickets that wait, in order: a view, which changes with them."""
        return self._waiting.keys()

    async def acquire(self, ticket: str, *, asked_again: Answer) -> Answer | None:
        """Wait for a lease.

        A ticket that asks again keeps what it has, its lease or its place; of its calls the latest waits.

        Args:
            ticket: the caller's name for this one use.
            asked_again: what an earlier call that still waits for this ticket is answered.

        Returns:
            None with the lease; else the answer with which the ticket was turned away.
        """
        if self._owner is None:
            self._track()
        if ticket in self._held or len(self._held) < self._limit:  # then nobody waits
            self._held[ticket] = None
            return None
        self._settle(self._waiting.get(ticket), asked_again)
        place: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = place
        try:
            return await place
        finally:
            if self._waiting.get(ticket) is place:  # else it has left, or a later call has its place
                del self._waiting[ticket]

    def release(self, ticket: str, answer: Answer) -> None:
        """The ticket is done with: its lease, or its place in the queue, is free. Idempotent.

        Args:
            ticket: as given to `acquire`.
            answer: for a call that still waits for it.
        """
        self._held.pop(ticket, None)
        self.turn_away(ticket, answer)
        self._grant()

    def turn_away(self, ticket: str, answer: Answer) -> None:
        """A ticket that waits gets `answer` in place of a lease. Nothing if it does not wait."""
        self._settle(self._waiting.pop(ticket, None), answer)

    def resize(self, limit: int) -> None:
        """Have so many leases out from now on; those beyond it end normally."""
        self._limit = limit
        self._grant()

    def leaks(self) -> str:
        """For tests: what is still out, or waits. What a dead actor gave out is out no more."""
        owner = self._owner
        over = owner is not None and (owner.actor is None or owner.restarts != self._life)
        if over or not (self._held or self._waiting):
            return ""
        return f"leases held by {list(self._held)}, waited for by {list(self._waiting)}"

    def _track(self) -> None:
        self._owner = owner = current.get()
        self._life = 0 if owner is None else owner.restarts
        registry().leaky.add(self)

    def _grant(self) -> None:
        """Hand free leases to the head of the queue."""
        while self._waiting and len(self._held) < self._limit:
            ticket, place = next(iter(self._waiting.items()))
            del self._waiting[ticket]
            if not place.done():  # else its caller was cancelled in this very turn of the loop
                self._held[ticket] = None
                place.set_result(None)

    @staticmethod
    def _settle(place: "asyncio.Future[Answer | None] | None", answer: Answer) -> None:
        if place is not None and not place.done():
            place.set_result(answer)


@asynccontextmanager
async def leased(owner: Any, ticket: str) -> AsyncIterator[Any]:
    """The caller's half, around the use of a lease.

    Args:
        owner: handle of an actor with the methods `acquire(ticket)` and `release(ticket)`.
        ticket: made up by the caller, for this one use.

    Yields:
        What `acquire` answered.
    """
    try:
        yield await owner.acquire.remote(ticket)
    finally:
        owner.release.tell(ticket)
