"""The ledger: which tickets are placed where, what they are worth, and which loads they wait for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from herd.policy.loads import ABANDONED_S, NO_LOAD, NO_TICKETS, RESERVED_S, ModelLoad, NodeLoad, Reservation
from herd.policy.rebalancing import Waiter
from herd.policy.values import Ask, Candidate, ModelView, NeededLoad, NodeView, Ticket
from herd.types import NodeId, Seconds, TicketId, Tokens


@dataclass(slots=True)
class Entry:
    """One ticket that has not ended. Times are monotonic."""

    node: NodeId
    waiter: Waiter
    started: Seconds | None = None  # None while it waits

    @property
    def model(self) -> str:
        """Canonical name."""
        return self.waiter.ask.model

    @property
    def work(self) -> Seconds:
        return self.waiter.work


class Ledger:
    """State of the Scorer, which alone writes it; frozen views of each node are made anew when they change."""

    def __init__(self) -> None:
        self._entries: dict[TicketId, Entry] = {}
        self._loads: dict[NodeId, NodeLoad] = {}
        self._placements = 0

    @property
    def loads(self) -> Mapping[NodeId, NodeLoad]:
        """What is held against each node that ever had a ticket."""
        return MappingProxyType(self._loads)

    def node_of(self, ticket: TicketId) -> NodeId | None:
        """Where a ticket is placed."""
        entry = self._entries.get(ticket)
        return entry.node if entry is not None else None

    def ask_of(self, ticket: TicketId) -> Ask | None:
        """What a ticket that has not ended needs."""
        entry = self._entries.get(ticket)
        return entry.waiter.ask if entry is not None else None

    def left_out(self, ticket: TicketId, asks: Iterable[Ask]) -> bool:
        """What a request asks for by now leaves out the node that its ticket is placed at, for the model that it is."""
        entry = self._entries.get(ticket)
        return entry is not None and any(ask.model == entry.model and entry.node in ask.excluded for ask in asks)

    def place(self, ticket: Ticket, ask: Ask, chosen: Candidate, now: Seconds) -> None:
        """Hold a ticket, which holds nothing yet, against the node that it goes to; and the load that it needs."""
        self._placements += 1
        self._enter(Entry(chosen.node, Waiter(ticket, ask, Seconds(chosen.work), now, ask.moves)))
        load, model = self._loads[chosen.node], ask.model
        if chosen.load is not None:
            needed = chosen.load
            reservation = Reservation(
                needed.need,
                needed.context,
                Seconds(now + needed.takes),
                Seconds(now + RESERVED_S),
                needed.evicts_busy,
                expected=not ask.num_ctx,
                per_request=needed.per_request,
            )
            load = _with(load, {**load.reservations, model: reservation})
        self._loads[chosen.node] = replace(load, last_chosen=self._placements)

    def _enter(self, entry: Entry) -> None:
        """Hold a ticket that waits against its node."""
        self._entries[entry.waiter.ticket.id] = entry
        load = self._loads.get(entry.node, NO_LOAD)
        tickets = load.models.get(entry.model, NO_TICKETS)
        tickets = replace(tickets, outstanding=tickets.outstanding + 1, waiting=Seconds(tickets.waiting + entry.work))
        models = {**load.models, entry.model: tickets}
        self._loads[entry.node] = replace(load, outstanding=load.outstanding + 1, models=models)

    def start(self, ticket: TicketId, node: NodeId, now: Seconds) -> None:
        """The ticket has its lease: what it takes runs down from here on.

        Args:
            ticket: whichever.
            node: that granted the lease, and is believed: a move may have come too late for the queue it left.
            now: the time.
        """
        entry = self._entries.get(ticket)
        if entry is None or entry.started is not None:
            return
        if entry.node != node:
            self.release(ticket, now)
            entry.node = node
            self._enter(entry)
        entry.started = now
        load = self._loads[entry.node]
        tickets = load.models[entry.model]
        self._put(
            entry,
            replace(
                tickets,
                running=tickets.running + 1,
                ends=tickets.ends + now + entry.work,
                waiting=Seconds(tickets.waiting - entry.work),
            ),
        )

    def release(self, ticket: TicketId, now: Seconds, *, failed: bool = False) -> Entry | None:
        """The ticket has ended, or is about to be placed anew: what it held, or None when it held nothing.

        Args:
            ticket: whichever.
            now: the time.
            failed: it failed where it was, and so did the load that it waited for, if it did.
        """
        entry = self._entries.pop(ticket, None)
        if entry is None:
            return None
        tickets = self._loads[entry.node].models[entry.model]
        if tickets.outstanding == 1:
            self._put(entry, None)
            self._abandon(entry, now, at_once=failed)
        elif entry.started is None:
            self._put(
                entry,
                replace(tickets, outstanding=tickets.outstanding - 1, waiting=Seconds(tickets.waiting - entry.work)),
            )
        else:
            self._put(
                entry,
                replace(
                    tickets,
                    outstanding=tickets.outstanding - 1,
                    running=tickets.running - 1,
                    ends=tickets.ends - entry.started - entry.work,
                ),
            )
        load = self._loads[entry.node]
        self._loads[entry.node] = replace(load, outstanding=load.outstanding - 1)
        return entry

    def _put(self, entry: Entry, tickets: ModelLoad | None) -> None:
        load = self._loads[entry.node]
        models = {name: other for name, other in load.models.items() if name != entry.model}
        if tickets is not None:
            models[entry.model] = tickets
        self._loads[entry.node] = replace(load, models=models)

    # --- those that wait ----------------------------------------------------------------------------------------------

    def queues(self) -> dict[tuple[NodeId, str], list[Waiter]]:
        """The tickets that wait, by node and model."""
        found: dict[tuple[NodeId, str], list[Waiter]] = {}
        for entry in self._entries.values():
            if entry.started is None:
                found.setdefault((entry.node, entry.model), []).append(entry.waiter)
        return found

    @property
    def waits(self) -> bool:
        """Somebody waits."""
        return any(entry.started is None for entry in self._entries.values())

    def looked_at(self, ticket: TicketId, number: int) -> None:
        """A round has looked for a better place for a ticket that waits."""
        entry = self._entries[ticket]
        entry.waiter = replace(entry.waiter, looked_at=number)

    def move(self, ticket: TicketId, chosen: Candidate, now: Seconds) -> Entry:
        """Hold a ticket that waits against another node; what it held before."""
        before = self.release(ticket, now)
        assert before is not None  # noqa: S101 - it waits
        moved = replace(before.waiter.ask, moves=before.waiter.moves + 1)
        self.place(before.waiter.ticket, moved, chosen, now)
        return before

    # --- loads under way ----------------------------------------------------------------------------------------------

    def reserve(self, node: NodeId, model: str, needed: NeededLoad, now: Seconds) -> None:
        """Hold memory for a load that the router asks for by itself, until it is known how that ended."""
        load = self._loads.get(node, NO_LOAD)
        reservation = Reservation(
            needed.need, needed.context, Seconds(now + needed.takes), Seconds(now + RESERVED_S), commanded=True
        )
        self._loads[node] = _with(load, {**load.reservations, model: reservation})

    def load_ended(self, node: NodeId, model: str, now: Seconds, *, ok: bool) -> bool:
        """A load that the router asked for has ended; the next heartbeats show one that came about.

        True when memory was given back.
        """
        load = self._loads.get(node, NO_LOAD)
        reservation = load.reservations.get(model)
        if reservation is None or not reservation.commanded:
            return False
        left = {name: held for name, held in load.reservations.items() if name != model}
        if ok:
            until = Seconds(min(reservation.expires, now + ABANDONED_S))
            left[model] = replace(reservation, done=now, expires=until)
        self._loads[node] = _with(load, left)
        return not ok

    def _abandon(self, entry: Entry, now: Seconds, *, at_once: bool) -> None:
        """Nobody waits for the model's load any more. What is run for one request alone has ended with it."""
        load = self._loads[entry.node]
        reservation = load.reservations.get(entry.model)
        if reservation is None or reservation.commanded:
            return
        reservations = {name: held for name, held in load.reservations.items() if name != entry.model}
        if not at_once and not reservation.per_request:
            until = Seconds(min(reservation.expires, now + ABANDONED_S))
            reservations[entry.model] = replace(reservation, expires=until)
        self._loads[entry.node] = _with(load, reservations)

    def settle(self, view: NodeView, now: Seconds) -> bool:
        """Drop the reservations that are over: the model is there, or not even on disk any more, or the time is out.

        True when there was one. Where a program is run for each request, one that has ended has given its memory back,
        and the next is about to take it again: it is held for that.
        """
        load = self._loads.get(view.id, NO_LOAD)
        for name, tickets in load.models.items():
            model = view.models.get(name)
            if tickets.running and model is not None and model.loads_per_request and not model.resident:
                load = self._loads[view.id] = _with(load, {name: _again(model, now), **load.reservations})
        if not load.reservations:
            return False
        left = {
            name: held
            for name, held in load.reservations.items()
            if now < held.expires and not _there(view, name, held)
        }
        if len(left) == len(load.reservations):
            return False
        self._loads[view.id] = _with(load, left)
        return True

    def next_expiry(self) -> Seconds | None:
        """When the next reservation is out of time."""
        times = [held.expires for load in self._loads.values() for held in load.reservations.values()]
        return min(times, default=None)


def _with(load: NodeLoad, reservations: Mapping[str, Reservation]) -> NodeLoad:
    """The load with these loads under way."""
    held = reservations.values()
    return replace(
        load,
        reservations=reservations,
        reserved=sum(one.size for one in held),
        leaving=any(one.evicts_busy for one in held),
    )


def _again(model: ModelView, now: Seconds) -> Reservation:
    """Memory for the next run of a program: at least as much as the model takes on the disk."""
    return Reservation(model.size, Tokens(0), now, Seconds(now + RESERVED_S), per_request=True)


def _there(view: NodeView, model: str, held: Reservation) -> bool:
    """The load has come about: the model is resident, with the context that was asked for, if one was."""
    seen = view.models.get(model)
    if seen is None:
        return True  # it is not even on disk any more
    return seen.resident and (held.expected or not held.context or not seen.context or seen.context >= held.context)
