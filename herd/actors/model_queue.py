"""The ModelQueue: who may use one model on one node, and who waits for it."""

from contextlib import suppress
from dataclasses import dataclass, replace

from herd.actors import names
from herd.actors.ports import Clock
from herd.policy import concurrency
from herd.policy.concurrency import MOST, Concurrency, Observation
from herd.policy.occupancy import Occupancy
from herd.policy.pace import Observed
from herd.policy.turns import Turns
from herd.policy.values import Lease, Moved, Reason, Refused, Ticket
from herd.runtime import ActorHandle, Leases, get_actor
from herd.types import NodeName, Seconds, TicketId, Unit

# Deeper queues only hide that the fleet is too small: at a second a request, the 512th waits for minutes.
MAX_WAITING = 512
# Those, and tickets that are moved here, for which the bound is not: all that wait in eight full queues.
MAX_ACQUIRES = 8 * MAX_WAITING

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
    granted: int = 0  # leases so far, those of the running included


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer was served whole, and its ticket still has its lease."""

    ticket: TicketId
    observed: Observed


class ModelQueue:
    """Owns the leases of one model on one node, the tickets waiting for one, and what is learned of how many there are.

    The ticket protocol is that of `herd.runtime.leases`: the caller names the ticket, and always tells `release`. Whose
    turn it is, is up to `herd.policy.turns`.

    Args:
        node: the node's name, for people.
        model: canonical name.
        limit: requests that run at once, where the server or its owner says so; 0: to be learned.
        clock: measures the wait, and how fast answers are.
        listener: the Node: `limit_changed(model, limit)` tells it of every limit that is learned, `queue_used(model)`
            of the first ticket, before which nothing runs or waits here.
        learned: the limit that was learned in an earlier life; learning goes on from there.
    """

    def __init__(  # noqa: PLR0917 - what is said of a queue when it is made
        self,
        node: NodeName,
        model: str,
        limit: int,
        clock: Clock,
        listener: ActorHandle | None = None,
        learned: int = 1,
    ) -> None:
        self._node = node
        self._model = model
        self._clock = clock
        self._listener = listener
        self._declared = limit
        self._learned = Concurrency(min(max(1, learned), MOST))
        self._leases: Leases[Moved | Refused] = Leases(limit or self._learned.limit, order=Turns())
        self._occupancy = Occupancy()
        self._began: dict[TicketId, Occupancy] = {}  # of the tickets that run: how things stood when they began
        self._closed: Reason | None = None
        self._used = False
        self._unit: Unit | None = None  # of the work that was compared last

    def __repr__(self) -> str:
        status = self.status()
        running = f"{status.running}/{status.limit} running, {status.waiting} waiting"
        return f"<ModelQueue {self._model}@{self._node} [{running}]>"

    async def acquire(self, ticket: Ticket, moved: bool = False) -> Lease | Moved | Refused:
        """A lease, as soon as one is free and it is the ticket's turn.

        A ticket that asks again keeps what it has, its lease or its place; of its calls the latest waits.

        Args:
            ticket: the request's, with its original arrival.
            moved: it comes from another queue by the router's own decision, so the bound is not for it.
        """
        arrived = self._now()
        if self._closed is not None:
            return Refused(self._closed)
        held, waiting = self._leases.held, self._leases.waiting
        if len(waiting) >= MAX_WAITING and not moved and ticket.id not in waiting and ticket.id not in held:
            return Refused(Reason("queue-full", f"has {MAX_WAITING} requests waiting for {self._model}"))
        if not self._used and self._listener is not None:
            self._used = True
            self._listener.queue_used.tell(self._model)
        answer = await self._leases.acquire(ticket.id, asked_again=ASKED_AGAIN, claim=ticket)
        if answer is not None:
            return answer
        if ticket.id in held:  # else it was released in the turn of its grant
            self._began.setdefault(ticket.id, self._noted())
        return Lease(ticket.id, Seconds(self._now() - arrived))

    def release(self, ticket: TicketId) -> None:
        """The ticket is done with: its lease, or its place in the queue, is free. Idempotent."""
        self._began.pop(ticket, None)
        self._leases.release(ticket, RELEASED)
        self._noted()

    # --- how many run at once -----------------------------------------------------------------------------------------

    def set_limit(self, limit: int) -> None:
        """Run so many requests at once from now on, as declared; what runs beyond it ends normally.

        Args:
            limit: 0 when it is declared no more: what was learned before holds again.
        """
        self._declared = limit
        self._learned = concurrency.disturbed(self._learned, self._now())
        self._resize()

    def completed(self, done: Completion) -> None:
        """Learn from an answer, and say how many ran beside it; told before the ticket's release."""
        began = self._began.get(done.ticket)
        if began is None:
            return
        now = self._noted()
        lasted = now.at - began.at
        if lasted <= 0:
            return
        one = replace(done.observed, at_once=(now.streams - began.streams) / lasted)
        with suppress(ValueError):  # the router stops
            get_actor(names.LATENCY_LEARNER).observed.tell(one)
        if self._declared:
            return
        full, alone = (now.full - began.full) / lasted, (now.alone - began.alone) / lasted
        former = self._learned.limit
        if one.unit is not self._unit:  # of unlike work no speeds can be compared
            self._learned = concurrency.other_work(self._learned, now.at) if self._unit else self._learned
            self._unit = one.unit
        seen = Observation(one.completion, began.at, full, alone, one.load)
        self._learned = concurrency.completed(self._learned, seen, now.at)
        if self._learned.limit != former:
            self._resize()
            if self._listener is not None:
                self._listener.limit_changed.tell(self._model, self._learned.limit)

    def model_loaded(self) -> None:
        """A model was loaded on this node: what ran meanwhile was slower than it is, and teaches nothing."""
        self._learned = concurrency.disturbed(self._learned, self._now())

    def _resize(self) -> None:
        """Whoever may run now that did not before runs at once."""
        self._leases.resize(self._declared or self._learned.limit)
        self._noted()

    def _noted(self) -> Occupancy:
        """How many run, as of now."""
        self._occupancy = self._occupancy.now(len(self._leases.held), self._leases.limit, self._now())
        return self._occupancy

    def _now(self) -> Seconds:
        return Seconds(self._clock.monotonic())

    # --- the node's state ---------------------------------------------------------------------------------------------

    def turn_away(self, reason: Reason) -> None:
        """The node takes nothing new: everything that waits is refused at once, what runs goes on."""
        self._closed = reason
        for ticket in list(self._leases.waiting):
            self._leases.turn_away(ticket, Refused(reason))

    def welcome_back(self) -> None:
        """The node takes requests again."""
        self._closed = None

    def move(self, ticket: TicketId, moved: Moved) -> None:
        """The ticket waits in vain here: it is sent to another queue, unless it has a lease by now, or has left."""
        self._leases.turn_away(ticket, moved)

    def status(self) -> QueueStatus:
        """How the queue stands."""
        leases = self._leases
        running, waiting = len(leases.held), len(leases.waiting)
        return QueueStatus(self._node, self._model, running, waiting, leases.limit, leases.granted)
