"""Leases: so many holders at a time, and a queue for the rest, which no cancelled caller can leak.

The protocol has two halves. The caller makes up a ticket, asks `acquire(ticket)`, and, whatever came of that, always
tells `release(ticket)` in the end. So a slot that was granted in the very turn of the loop in which its caller was
cancelled comes back too: the caller cannot know of it, but the ticket can. A protocol in which `acquire` returns the
slot loses it there.

Who is next is up to an `Order`; without one, first come is first served.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, KeysView
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from herd.runtime.incarnation import current
from herd.runtime.registry import registry

Answer = TypeVar("Answer")


class Order(Protocol):
    """In which order those that wait get their leases. Told of every ticket that comes and goes, one at a time."""

    def add(self, ticket: str, claim: Any) -> None:
        """A ticket waits from now on. `claim` is what its `acquire` was given for the order to go by."""

    def remove(self, ticket: str, *, granted: bool) -> None:
        """A ticket that was added waits no more: it has its lease, or has left without one."""

    def first(self) -> str:
        """Whose the next lease is. Asked only while somebody waits."""


class FirstCome:
    """The order of those who have no other: first come, first served."""

    def __init__(self) -> None:
        self._line: dict[str, None] = {}

    def add(self, ticket: str, _claim: Any) -> None:
        self._line[ticket] = None

    def remove(self, ticket: str, *, granted: bool) -> None:  # noqa: ARG002 - to whom is all the same
        del self._line[ticket]

    def first(self) -> str:
        return next(iter(self._line))


class Leases(Generic[Answer]):
    """The owner's half: state for an actor, which passes `acquire` and `release` on to it.

    The actor's `max_concurrency` must have room for all who wait at once: a further `acquire` is not known here, and
    cannot be refused. `release` must be a `def`: it is told, so it passes every bound, while an `async def` would wait
    for room behind those who wait for it. State changes only between awaits.

    Args:
        limit: leases that are out at once.
        held: tickets that have one already: those an owner finds in use when it starts again.
        order: says who of those that wait is next, and knows nobody yet; None for first come, first served.
    """

    def __init__(self, limit: int, held: Iterable[str] = (), order: Order | None = None) -> None:
        self._limit = limit
        self._order: Order = FirstCome() if order is None else order
        self._held: dict[str, None] = dict.fromkeys(held)
        self._granted = len(self._held)
        self._waiting: dict[str, asyncio.Future[Answer | None]] = {}
        self._owner: Any = None  # the actor's cell; None: it belongs to no actor, or has not been asked yet
        self._life = 0  # of the owner: what a former incarnation gave out is out no more
        if self._held:
            self._track()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def granted(self) -> int:
        """Leases that were ever out; those that are held no more came back."""
        return self._granted

    @property
    def held(self) -> KeysView[str]:
        """The tickets that have a lease, in the order of their grants: a view, which changes with them."""
        return self._held.keys()

    @property
    def waiting(self) -> KeysView[str]:
        """The tickets that wait, in the order in which they came: a view, which changes with them."""
        return self._waiting.keys()

    async def acquire(self, ticket: str, *, asked_again: Answer, claim: Any = None) -> Answer | None:
        """Wait for a lease.

        A ticket that asks again keeps what it has, its lease or its place; of its calls the latest waits.

        Args:
            ticket: the caller's name for this one use.
            asked_again: what an earlier call that still waits for this ticket is answered.
            claim: what the order is to know of the ticket. One that waits already keeps its former claim.

        Returns:
            None with the lease; else the answer with which the ticket was turned away.
        """
        if self._owner is None:
            self._track()
        if ticket in self._held:
            return None
        if len(self._held) < self._limit:  # then nobody waits
            self._held[ticket] = None
            self._granted += 1
            return None
        earlier = self._waiting.get(ticket)
        if earlier is None:
            self._order.add(ticket, claim)
        self._settle(earlier, asked_again)
        place: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = place
        try:
            return await place
        finally:
            if self._waiting.get(ticket) is place:  # else it has left, or a later call has its place
                self._leave(ticket, granted=False)

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
        place = self._waiting.get(ticket)
        if place is not None:
            self._leave(ticket, granted=False)
            self._settle(place, answer)

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
        """Hand free leases to those whose turn it is."""
        while self._waiting and len(self._held) < self._limit:
            ticket = self._order.first()
            place = self._waiting[ticket]
            there = not place.done()  # else its caller was cancelled in this very turn of the loop
            self._leave(ticket, granted=there)
            if there:
                self._held[ticket] = None
                self._granted += 1
                place.set_result(None)

    def _leave(self, ticket: str, *, granted: bool) -> None:
        """It waits no more."""
        del self._waiting[ticket]
        self._order.remove(ticket, granted=granted)

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
