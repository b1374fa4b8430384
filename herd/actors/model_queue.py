"""The ModelQueue: who may use one model on one node, and who waits for it."""

import asyncio
from dataclasses import dataclass

from herd.actors.ports import Clock
from herd.policy.values import Lease, Moved, Reason, Refused, Ticket
from herd.types import NodeName, Seconds, TicketId

# Deeper queues only hide that the fleet is too small: at a second a request, the 512th waits for minutes.
MAX_WAITING = 512


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue, for people."""

    node: NodeName
    model: str
    running: int
    waiting: int
    limit: int


class _Waiter:
    """A ticket that waits."""

    __slots__ = ("answer", "ticket")

    def __init__(self, ticket: Ticket, answer: "asyncio.Future[Moved | Refused | None]") -> None:
        self.ticket = ticket
        self.answer = answer  # None: the lease is granted


class ModelQueue:
    """Owns the leases of one model on one node, and the tickets waiting for one.

    The caller names the ticket and always tells `release(ticket)` when it is done with it, whatever it got; so a
    lease that was granted to a client in the moment in which it hung up comes back too.

    Args:
        node: the node's name, for people.
        model: canonical name.
        limit: requests that run at once.
        clock: measures the wait.
    """

    def __init__(self, node: NodeName, model: str, limit: int, clock: Clock) -> None:
        self._node = node
        self._model = model
        self._limit = limit
        self._clock = clock
        self._leases: set[TicketId] = set()
        self._waiting: dict[TicketId, _Waiter] = {}
        self._closed: Reason | None = None

    def __repr__(self) -> str:
        running = f"{len(self._leases)}/{self._limit} running, {len(self._waiting)} waiting"
        return f"<ModelQueue {self._model}@{self._node} [{running}]>"

    async def acquire(self, ticket: Ticket) -> Lease | Moved | Refused:
        """A lease, as soon as one is free and nobody waits in front.

        A ticket that asks again keeps what it has, its lease or its place; of its calls the latest waits.
        """
        arrived = self._clock.monotonic()
        if self._closed is not None:
            return Refused(self._closed)
        if ticket.id in self._leases or (len(self._leases) < self._limit and not self._waiting):
            self._leases.add(ticket.id)
            return Lease(ticket.id, Seconds(0.0))
        earlier = self._waiting.get(ticket.id)
        if earlier is None and len(self._waiting) >= MAX_WAITING:
            return Refused(Reason("queue-full", f"has {MAX_WAITING} requests waiting for {self._model}"))
        if earlier is not None and not earlier.answer.done():
            earlier.answer.set_result(Refused(Reason("asked-again", "was asked for the same ticket again")))
        waiter = _Waiter(ticket, asyncio.get_running_loop().create_future())
        self._waiting[ticket.id] = waiter
        try:
            answer = await waiter.answer
        finally:
            if self._waiting.get(ticket.id) is waiter:  # else it has left, or is back in a new place
                del self._waiting[ticket.id]
        return answer or Lease(ticket.id, Seconds(self._clock.monotonic() - arrived))

    def release(self, ticket: TicketId) -> None:
        """The ticket is done with: its lease, or its place in the queue, is free. Idempotent."""
        self._leases.discard(ticket)
        waiter = self._waiting.pop(ticket, None)
        if waiter is not None and not waiter.answer.done():
            waiter.answer.set_result(Refused(Reason("released", "was released while it waited")))
        self._grant()

    def set_limit(self, limit: int) -> None:
        """Run so many requests at once from now on; what runs beyond it ends normally."""
        self._limit = limit
        self._grant()

    def turn_away(self, reason: Reason) -> None:
        """The node takes nothing new: everything that waits is refused at once, what runs goes on."""
        self._closed = reason
        for waiter in self._waiting.values():
            if not waiter.answer.done():
                waiter.answer.set_result(Refused(reason))
        self._waiting.clear()

    def welcome_back(self) -> None:
        """The node takes requests again."""
        self._closed = None

    def status(self) -> QueueStatus:
        """How the queue stands."""
        return QueueStatus(self._node, self._model, len(self._leases), len(self._waiting), self._limit)

    def _grant(self) -> None:
        """Hand free leases to the head of the queue."""
        while self._waiting and len(self._leases) < self._limit:
            ticket_id, waiter = next(iter(self._waiting.items()))
            del self._waiting[ticket_id]
            if not waiter.answer.done():  # else its client hung up in this very turn of the loop
                self._leases.add(ticket_id)
                waiter.answer.set_result(None)
