"""A round of rebalancing: which tickets of the ledger would be served sooner elsewhere."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from herd.actors import names
from herd.actors.ledger import Ledger
from herd.policy.placement import Ranking
from herd.policy.prospects import Prospect
from herd.policy.rebalancing import MAX_LOOKED_AT, Waiter, Waits, better_place, in_turn, targets, waits
from herd.policy.scoring import Moment
from herd.policy.values import Ask, Candidate, Eliminated, Moved, Ticket
from herd.types import NodeId, Seconds, TicketId


@dataclass(frozen=True, slots=True)
class Move:
    """A ticket is held against another node from now on; the queue that it waits in is to be told."""

    ticket: TicketId
    queue: str  # that it leaves
    moved: Moved


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """What came of a round; `waiting`: somebody waits still, and may be worth another one."""

    moves: tuple[Move, ...]
    waiting: bool


def move(ticket: TicketId, model: str, here: NodeId, chosen: Candidate) -> Move:
    """A ticket for a model (by canonical name) goes from one node to another."""
    there = names.model_queue(chosen.node, model)
    return Move(ticket, names.model_queue(here, model), Moved(there, chosen))


@dataclass(frozen=True, slots=True)
class Round:
    """One look at all queues.

    Attributes:
        ledger: read, and marked with who was looked at.
        looked_at: what there is to say of a model on each node.
        moment: of a request.
        stays: whether a ticket must not be moved.
        now: monotonic.
        number: of the round, the first being 1.
        ranking: of the nodes at which a ticket would be served sooner.
    """

    ledger: Ledger
    looked_at: Callable[[str], Iterable[Prospect | Eliminated]]
    moment: Callable[[Ask, Ticket, Seconds], Moment]
    stays: Callable[[TicketId], bool]
    now: Seconds
    number: int
    ranking: Ranking

    def better_places(self) -> Iterator[tuple[NodeId, Waiter, Candidate]]:
        """Tickets, where they wait, and where they would be served sooner; the longest queues first.

        Whoever takes one moves it in the ledger before asking for the next, which is to heed it.
        """
        queues, loads = self.ledger.queues(), self.ledger.loads
        most = max(1, MAX_LOOKED_AT // len(queues)) if queues else 0
        for node, model in sorted(queues, key=lambda key: (-loads[key[0]].models[key[1]].waiting, *key)):
            rows = list(self.looked_at(model))
            here = next((row for row in rows if isinstance(row, Prospect) and row.node.id == node), None)
            # A queue that is closed turns its tickets away by itself: they are placed again.
            there = targets(node, rows, loads, self.now) if here is not None else []
            if here is not None and there:
                for waiter, candidate in self._of_queue(here, there, in_turn(queues[node, model]), most):
                    yield node, waiter, candidate

    def _of_queue(
        self, here: Prospect, there: list[Prospect], waiting: list[Waiter], most: int
    ) -> Iterator[tuple[Waiter, Candidate]]:
        """The better places of one queue's tickets, of so many at most: those that were not looked at for longest."""
        node, loads = here.node.id, self.ledger.loads
        expected = waits(loads[node], here, waiting, self.now)
        free = [one for one in waiting if one.movable(self.now) and not self.stays(one.ticket.id)]
        chosen = {one.ticket.id for one in sorted(free, key=lambda one: one.looked_at)[:most]}
        pace = len(loads[node].models) / here.model.limit
        sooner = 0.0  # by what those before it took along
        for one, expects in zip(waiting, expected, strict=True):
            if one.ticket.id not in chosen:
                continue
            self.ledger.looked_at(one.ticket.id, self.number)
            moment = self.moment(one.ask, one.ticket, self.now)
            expected_here = Waits(expects.wait - sooner, one.work)
            candidate = better_place(one.ask, expected_here, there, loads, moment, ranking=self.ranking)
            if candidate is not None:
                sooner += one.work * pace
                yield one, candidate
