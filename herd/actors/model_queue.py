"""The ModelQueue: who may use one model on one node, and who waits for it."""

from dataclasses import dataclass

from herd.actors.ports import Clock
from herd.policy.values import Lease, Moved, Reason, Refused, Ticket
from herd.runtime import Leases
from herd.types import NodeName, Seconds, TicketId

# Deeper queues only hide that the fleet is too small: at a second a request, the 512th waits for minutes.
MAX_WAITING = 512

ASKED_AGAIN = Refused(Reason("asked-again", "was asked for the same ticket again"))
RELEASED = Refused(Reason("released", "was released while it waited"))


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """A queue, for people."""

    node: NodeName
    model: str
    running: int
    waiting: int
    limit: int


class ModelQueue:
    """Owns the leases of one model on one node, and the tickets waiting for one.

    The ticket protocol is that of `herd.runtime.leases`: the caller names the ticket, and always tells `release`.

    Args:
        node: the node's name, for people.
        model: canonical name.
        limit: requests that run at once.
        clock: measures the wait.
    """

    def __init__(self, node: NodeName, model: str, limit: int, clock: Clock) -> None:
        self._node = node
        self._model = model
        self._clock = clock
        self._leases: Leases[Moved | Refused] = Leases(limit)
        self._closed: Reason | None = None

    def __repr__(self) -> str:
        status = self.status()
        running = f"{status.running}/{status.limit} running, {status.waiting} waiting"
        return f"<ModelQueue {self._model}@{self._node} [{running}]>"

    async def acquire(self, ticket: Ticket) -> Lease | Moved | Refused:
        """A lease, as soon as one is free and nobody waits in front.

        A ticket that asks again keeps what it has, its lease or its place; of its calls the latest waits.
        """
        arrived = self._clock.monotonic()
        if self._closed is not None:
            return Refused(self._closed)
        held, waiting = self._leases.held, self._leases.waiting
        if len(waiting) >= MAX_WAITING and ticket.id not in waiting and ticket.id not in held:
            return Refused(Reason("queue-full", f"has {MAX_WAITING} requests waiting for {self._model}"))
        answer = await self._leases.acquire(ticket.id, asked_again=ASKED_AGAIN)
        return answer or Lease(ticket.id, Seconds(self._clock.monotonic() - arrived))

    def release(self, ticket: TicketId) -> None:
        """The ticket is done with: its lease, or its place in the queue, is free. Idempotent."""
        self._leases.release(ticket, RELEASED)

    def set_limit(self, limit: int) -> None:
        """Run so many requests at once from now on; what runs beyond it ends normally."""
        self._leases.resize(limit)

    def turn_away(self, reason: Reason) -> None:
        """The node takes nothing new: everything that waits is refused at once, what runs goes on."""
        self._closed = reason
        for ticket in list(self._leases.waiting):
            self._leases.turn_away(ticket, Refused(reason))

    def welcome_back(self) -> None:
        """The node takes requests again."""
        self._closed = None

    def status(self) -> QueueStatus:
        """How the queue stands."""
        leases = self._leases
        return QueueStatus(self._node, self._model, len(leases.held), len(leases.waiting), leases.limit)
