"""Stage 6: which of those that wait in a queue would be served sooner elsewhere.

A request moves only to a node that has its model in memory, and takes requests without reserve: a move must never cause
a load, and nobody is moved for a trial. Where a program is run for each request, which loads the model for each, a move
costs no load that would not be anyway: there it is enough that the model is on the disk, and that there is memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from herd.policy.breaker import openness
from herd.policy.loads import NO_LOAD, NodeLoad
from herd.policy.placement import Ranking, place
from herd.policy.prospects import Prospect
from herd.policy.scoring import THERMAL_RESIDENT, Moment, Outlook, look
from herd.policy.values import Ask, Candidate, Eliminated, NodeView, Ticket
from herd.types import NodeId, NodeState, Priority, Seconds

REBALANCE_S = 5.0  # between two looks: routing's own number

# Waits are estimates. What is gained must be more than what they are wrong by from one look to the next, or requests
# would go to and fro: a wait that is shorter by this much, and at most half as long.
MARGIN_S = 2.0
SHARE = 0.5
# Routing's own number: whoever was moved twice in vain has met estimates that are wrong, and a third would be, too.
MAX_MOVES = 2
# Placed or moved less than this ago, a ticket is on its way to its queue, which could not send it elsewhere yet.
# Messages take milliseconds.
SETTLED_S = 1.0
# Tickets that are looked at in one round, or one of each queue where these are more. Among sixteen nodes one costs
# 50 us, and 250 us when it is moved: together 16 ms at most, every five seconds. Thirteen in a second are moved at
# most: more than a house serves.
MAX_LOOKED_AT = 64
# Nodes that a queue's tickets are compared with: those with the shortest waits. The others are no better.
MAX_TARGETS = 16


class Waits(NamedTuple):
    """What a ticket has to expect where it waits."""

    wait: float  # seconds until it would start
    work: float  # seconds that it then takes


@dataclass(frozen=True, slots=True)
class Waiter:
    """A ticket that waits in a queue. Times are monotonic."""

    ticket: Ticket
    ask: Ask
    work: Seconds
    since: Seconds  # it was placed there, or moved
    moves: int  # in its life
    looked_at: int = 0  # in which round it was looked at last; 0: never

    def movable(self, now: Seconds) -> bool:
        """Whether it may be moved at all."""
        return self.moves < MAX_MOVES and now - self.since >= SETTLED_S


def in_turn(waiting: Iterable[Waiter]) -> list[Waiter]:
    """Those that wait in one queue, in about the order in which they will start: clients' turns are not foreseen."""
    return sorted(waiting, key=lambda one: (one.ticket.priority is Priority.BATCH, one.ticket.arrived))


def waits(held: NodeLoad, here: Prospect, waiting: Sequence[Waiter], now: Seconds) -> list[Waits]:
    """What each of those that wait in a queue has to expect there.

    Args:
        held: against the node.
        here: the queue's model and node.
        waiting: all of the queue's, in turn.
        now: monotonic.
    """
    tickets = held.models[here.key]
    ahead = max(0.0, tickets.ends - tickets.running * now)
    pace = len(held.models) / here.model.limit  # models that run at the same moment share the machine
    loading = held.reservations.get(here.key)
    # What is loaded for each request is part of the work of each.
    begins = max(0.0, loading.done - now) if loading is not None and not loading.per_request else 0.0
    found: list[Waits] = []
    for one in waiting:
        found.append(Waits(begins + ahead * pace, one.work))
        ahead += one.work
    return found


def targets(
    here: NodeId, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], now: Seconds
) -> list[Prospect]:
    """Where the tickets of a model's queue could move to: the nodes with the shortest waits of those that have it."""
    having = [
        one
        for one in looked_at
        if isinstance(one, Prospect)
        and one.node.id != here
        and (one.model.resident or one.model.loads_per_request)
        and one.node.state is NodeState.READY
        and openness(one.node, one.model) == 2  # no breaker is open, or being tried
    ]

    def about(one: Prospect) -> tuple[float, NodeId]:
        tickets = loads.get(one.node.id, NO_LOAD).models.get(one.key)
        return (tickets.ahead(one.model.limit, now) if tickets is not None else 0.0), one.node.id

    return sorted(having, key=about)[:MAX_TARGETS]


def better_place(
    ask: Ask,
    here: Waits,
    there: Sequence[Prospect],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
    *,
    ranking: Ranking = place,
) -> Candidate | None:
    """The best node at which the request would clearly start sooner, and not end later; None if there is none.

    Args:
        ask: what it needs.
        here: what it has to expect where it waits.
        there: the nodes it could move to.
        loads: the ledger's view of each node; a missing one has no load.
        moment: when, and for whom.
        ranking: of those that are good enough.
    """
    good: list[Prospect] = []
    for one in there:
        found = look(ask, one, loads.get(one.node.id, NO_LOAD), moment)
        if not isinstance(found, Outlook) or not _loads_nothing(found):
            continue
        if clearly_sooner(here, Waits(found.wait, found.work)):
            good.append(one)
    return ranking(ask, good, loads, moment).chosen if good else None


def _loads_nothing(found: Outlook) -> bool:
    """Whether the request causes no load there; or one that it has anywhere, and for which no other model has to go."""
    if not found.one.model.loads_per_request:
        return found.load is None and found.thermal == THERMAL_RESIDENT
    free = found.one.budget.free - found.held.reserved
    return found.load is None or not found.load.need or found.load.need <= free


def clearly_sooner(here: Waits, there: Waits) -> bool:
    """Whether the wait is shorter by so much that it is worth a move, and the end no later."""
    return (
        here.wait - there.wait > MARGIN_S
        and there.wait < SHARE * here.wait
        and there.wait + there.work <= here.wait + here.work
    )


def worth_a_look(before: NodeView | None, now: NodeView) -> bool:
    """Whether a node has become a place to move to: it takes requests again, or a model has come into its memory."""
    if now.state is not NodeState.READY:
        return False
    if before is None or before.state is not NodeState.READY:
        return any(model.resident or model.loads_per_request for model in now.models.values())
    return any(
        (model.resident or model.loads_per_request)
        and not (name in before.models and (before.models[name].resident or model.loads_per_request))
        for name, model in now.models.items()
    )
