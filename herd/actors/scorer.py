"""The Scorer: one synchronous `place` that ranks the nodes and writes the ticket into the ledger."""

import logging
from contextlib import suppress
from dataclasses import replace

from herd.actors import names
from herd.actors.deep_queues import DeepQueues
from herd.actors.homes import Homes, PinEnd
from herd.actors.latency_learner import Lesson
from herd.actors.ledger import Entry, Ledger
from herd.actors.log_context import debug_for
from herd.actors.moves import Move, Rebalanced, Round, move
from herd.actors.ports import Clock
from herd.actors.prospectus import Prospectus
from herd.actors.scorer_memory import ScorerMemory, absent
from herd.actors.sessions import Sessions
from herd.actors.spreads import Spreads
from herd.actors.tables import keep_latest
from herd.actors.trials import Trials
from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.holding import may_wait_for_memory, unlocked
from herd.policy.placement import Ranking, edited, in_one_line, place
from herd.policy.prewarming import DeepQueue, LoadOrder, pick
from herd.policy.prospects import Prospect
from herd.policy.rebalancing import worth_a_look
from herd.policy.retrying import RetryBudget
from herd.policy.scoring import Moment
from herd.policy.values import Ask, Candidate, Decision, Eliminated, NodeView, Ticket
from herd.runtime import ActorHandle, Timer, context, get_actor
from herd.store.records import KnownNode
from herd.types import NodeId, NodeName, NodeState, Seconds, TicketId, Tokens

logger = logging.getLogger(__name__)

# Names that "no node has ever had the model" is judged by: a thousand nodes with sixty models each.
MAX_MODELS = 65_536
# Models for which requests found no node, the latest: more than are held at once.
MAX_SHORT = 4096


class Scorer(Spreads):
    """Owns the fleet view and the ledger of tickets that have not ended.

    The ledger, not the nodes' reports, is the load signal: a burst of requests sees its own effect.

    Args:
        pen: the HoldingPen, told which models a change of the fleet unlocked.
        clock: durations, and wall times of what is remembered.
        store: the Store, told what a node has; None to remember nothing.
        known: the nodes that were known when the router started; offline until they join.
        warmer: the PreWarmer, told of deep queues and of pins; None where nothing is loaded ahead.
        ranking: how nodes are ranked.
        edits: requests are fitted to what their nodes have loaded; False in simulations of routers that do not.
    """

    def __init__(
        self,
        pen: ActorHandle,
        clock: Clock,
        store: ActorHandle | None = None,
        known: tuple[KnownNode, ...] = (),
        warmer: ActorHandle | None = None,
        *,
        ranking: Ranking = place,
        edits: bool = True,
    ) -> None:
        self._pen = pen
        self._clock = clock
        self._store = store
        self._memory = None if store is None else ScorerMemory(clock, store)
        self._ranking = ranking
        self._edits = edits
        self._warmer = warmer
        self._deep = DeepQueues()
        self._homes = Homes(clock, store)
        self._prospectus = Prospectus(self._homes)
        self._nodes = self._prospectus.nodes
        self._awaited: dict[NodeId, None] = {}  # known or joining nodes that have not reported yet
        self._ever_had: dict[str, None] = {}
        self._expect(known)
        self._ledger = Ledger()
        self._trials = Trials()
        self._budget = RetryBudget()
        self._version = 0
        self._short: dict[str, int] = {}  # models for which requests found no node, and about how many are held
        self._sessions = Sessions()
        self._round = 0  # of rebalancing
        self._watched = False  # the Rebalancer looks, now and then, until nobody waits
        self._expiry: Timer | None = None  # of the next reservation

    async def on_start(self) -> None:
        """Know what was known. After a crash, have the fleet shown before anything is placed; the ledger is empty."""
        if self._memory is not None:
            await self._memory.recall(self._homes, self._prospectus)
            for lesson in await get_actor(names.LATENCY_LEARNER).lessons.remote():
                self.learned(lesson)
        if not context(self).restarts:
            return
        self._version = context(self).restarts << 32  # beyond any of before, which the HoldingPen remembers
        if self._store is not None:
            self._expect(await self._store.load.remote())
        self._short = await self._pen.held.remote()
        for view in await get_actor(names.FLEET).views.remote():
            self.node_changed(view)

    def _expect(self, known: tuple[KnownNode, ...]) -> None:
        """These nodes may join; what they had is a model that the fleet knows."""
        self._nodes.update((node.id, absent(node)) for node in known)
        self._awaited.update(dict.fromkeys(node.id for node in known))
        self._ever_had.update(dict.fromkeys(model for node in known for model in node.models))

    # --- tickets ------------------------------------------------------------------------------------------------------

    def place(self, ask: Ask, ticket: Ticket) -> Decision:
        """Rank the nodes for `ask`, and hold the ticket against the winner until it is released or placed again."""
        now = self._clock.monotonic()
        before = self._ledger.node_of(ticket.id)
        self._release(ticket.id, now, failed=before in ask.excluded)
        decision = self._placed(ask, ticket, now, first=before is None)
        if decision.chosen is None:
            self._missed(ask.model, decision)
        return decision

    def place_first(self, asks: tuple[Ask, ...], ticket: Ticket) -> tuple[Decision, ...]:
        """Place the ticket for the first model that a node can serve now. The decisions up to that, or all of them."""
        now = self._clock.monotonic()
        first, failed = self._ledger.node_of(ticket.id) is None, self._ledger.left_out(ticket.id, asks)
        self._release(ticket.id, now, failed=failed)
        decisions: list[Decision] = []
        for ask in asks:
            decisions.append(self._placed(ask, ticket, now, first=first))
            if decisions[-1].chosen is not None or decisions[-1].over_budget:
                return tuple(decisions)
        for ask, decision in zip(asks, decisions, strict=True):
            self._missed(ask.model, decision)
        return tuple(decisions)

    def _missed(self, model: str, decision: Decision) -> None:
        """No node can serve the model: whoever waits for one is to be woken."""
        if (decision.known or not decision.complete) and not decision.over_budget:  # else nobody waits
            self._short[model] = self._short.pop(model, 0) + 1  # the latest last
            keep_latest(self._short, MAX_SHORT)

    def _placed(self, ask: Ask, ticket: Ticket, now: Seconds, *, first: bool) -> Decision:
        """Rank the nodes, and hold the ticket, which holds nothing, against the winner. `first`: it never held any."""
        moment = self._moment(ask, ticket, now)
        ranked = self._ranking(ask, self._looked_at(ask.model), self._ledger.loads, moment)
        decision = replace(ranked, known=ask.model in self._ever_had, complete=not self._awaited, version=self._version)
        if decision.candidates:
            after = self._budget.placed(now, retry=ask.retry, first=first)
            self._budget = after or self._budget
            if after is None:
                decision = replace(decision, candidates=(), over_budget=True)
        if logger.isEnabledFor(logging.DEBUG):
            debug_for(logger, ticket, "for %s: %s", ask.model, in_one_line(decision))
        chosen = decision.chosen
        if chosen is None:
            return decision
        self._ledger.place(ticket, ask, chosen, now)
        self._trials.placed(self._nodes[chosen.node], ask.model, ticket.id)
        if chosen.load is not None:
            self._await_expiry(now)
        elif self._warmer is not None:
            cause = self._deep.found(ask, decision, self._nodes[chosen.node], self._ledger.loads[chosen.node], now)
            if cause is not None:
                self._warmer.queue_deep.tell(cause)
        self._sessions.placed(ask, chosen.node)
        if not self._watched:
            outstanding = self._ledger.loads[chosen.node].models[ask.model].outstanding
            self._watched = outstanding > self._nodes[chosen.node].models[ask.model].limit
            if self._watched:
                self._tell_rebalancer("watch")
        return decision

    def _tell_rebalancer(self, what: str) -> None:
        with suppress(ValueError):  # there is none yet, or no more
            getattr(get_actor(names.REBALANCER), what).tell()

    def _moment(self, ask: Ask, ticket: Ticket, now: Seconds) -> Moment:
        answer, tried = self._prospectus.answer(ask.model, ask.unit), self._trials.nodes(ask.model)
        waited, turn = Seconds(now - ticket.arrived), self._sessions.turn(ask)
        if turn is None:
            return Moment(now, waited, answer, tried=tried)
        model = self._nodes[turn.node].models.get(ask.model)
        cached = self._sessions.cached(turn, ask.model, model.slots) if model is not None else Tokens(0)
        return Moment(now, waited, answer, turn.node, cached, tried)

    def started(self, ticket: TicketId, node: NodeId) -> None:
        """The ticket has its lease, at this node."""
        self._ledger.start(ticket, node, self._clock.monotonic())

    def edited(self, ticket: TicketId, placed: Candidate) -> Candidate:
        """A ticket has waited where it is placed: the same with the edits that it takes by now."""
        ask = self._ledger.ask_of(ticket)
        if ask is None or not self._edits:
            return placed
        return edited(ask, placed, self._looked_at(ask.model), self._ledger.loads, Moment(self._clock.monotonic()))

    def rebalance(self) -> Rebalanced:
        """Hold tickets that wait against nodes where they are served clearly sooner: their queues are to be told."""
        now = self._clock.monotonic()
        self._round += 1
        found: list[Move] = []
        look = Round(self._ledger, self._looked_at, self._moment, self._trials.tries, now, self._round, self._ranking)
        for here, waiter, candidate in look.better_places():
            left = self._ledger.move(waiter.ticket.id, candidate, now)
            self._sessions.placed(waiter.ask, candidate.node)
            found.append(move(waiter.ticket.id, left.model, here, candidate))
            self._heed_abandoned(left, now)
            if logger.isEnabledFor(logging.DEBUG):
                chosen = in_one_line(Decision((candidate,), ()))
                debug_for(logger, waiter.ticket, "for %s moves from %s: %s", left.model, here, chosen)
            if self._short:
                self._wake(self._made_possible(left))
        self._watched = self._ledger.waits
        return Rebalanced(tuple(found), self._watched)

    def released(self, ticket: TicketId) -> None:
        """The ticket has ended. Idempotent."""
        self._release(ticket, self._clock.monotonic())

    def _release(self, ticket: TicketId, now: Seconds, *, failed: bool = False) -> None:
        entry = self._ledger.release(ticket, now, failed=failed)
        if entry is None:
            return
        if entry.started is not None and not failed:
            self._homes.served(entry.model, entry.node, now)
        free = self._trials.released(self._nodes[entry.node], ticket)
        self._heed_abandoned(entry, now)
        if self._short:
            possible = self._made_possible(entry)
            possible.update((model, 1) for model in free if model in self._short)
            self._wake(possible)

    def _made_possible(self, entry: Entry) -> dict[str, int]:
        """Whom the end of a ticket helps: the next one for its model, and those whose load may now have its memory."""
        load, view = self._ledger.loads[entry.node], self._nodes[entry.node]
        if view.state not in TAKES_REQUESTS:
            return {}  # its queues have just sent everybody away, and what ends there is no reason to ask it again
        idle = entry.model not in load.models
        return {
            model: 1 for model in self._short if model == entry.model or (idle and may_wait_for_memory(view, model))
        }

    def ledger(self) -> dict[NodeId, int]:
        """Tickets that have not ended, by node."""
        return {node: load.outstanding for node, load in self._ledger.loads.items() if load.outstanding}

    # --- models that come and go --------------------------------------------------------------------------------------

    def away_with(self, model: str) -> tuple[NodeName, ...]:
        """Nodes that have a model (by canonical name), as far as is known, and are not there now."""
        gone = (view for view in self._nodes.values() if view.state in {NodeState.OFFLINE, NodeState.JOINING})
        return tuple(sorted(view.name for view in gone if model in view.models))

    def let_go(self, model: str) -> None:
        """Somebody wants a model out of memory, or off the disks: it has no home until it is asked for again."""
        self._homes.forget(model, self._clock.monotonic())
        self._prospectus.homes_changed()
        if not any(model in view.models for view in self._nodes.values()):
            self._ever_had.pop(model, None)

    # --- loads ahead --------------------------------------------------------------------------------------------------

    def order_load(self, cause: DeepQueue, avoid: tuple[NodeId, ...] = ()) -> LoadOrder | None:
        """The load that helps a deep queue, its memory reserved until `load_ended`; None when there is none."""
        now = self._clock.monotonic()
        moment = Moment(now, answer=self._prospectus.answer(cause.model, cause.api.unit))
        order = pick(cause, self._looked_at(cause.model), self._ledger.loads, moment, avoid=avoid)
        if order is not None:
            self._ledger.reserve(order.node, order.key, order.needed, now)
            self._await_expiry(now)
        return order

    def order_homes(self, avoid: tuple[tuple[str, NodeId], ...] = ()) -> tuple[LoadOrder, ...]:
        """Find every model its home; what has to be asked of nodes for that, the memory of loads reserved.

        Args:
            avoid: models, and the nodes that are not to be asked for them; an empty name is any model.
        """
        now = self._clock.monotonic()
        if self._homes.settle(self._nodes, self._looked_at, now):
            self._prospectus.homes_changed()
        orders = self._homes.orders(self._looked_at, self._ledger.loads, avoid)
        for order in orders:
            if order.needed.takes:
                self._ledger.reserve(order.node, order.key, order.needed, now)
        self._await_expiry(now)
        return tuple(orders)

    def pin(self, model: str) -> PinEnd:
        """Keep a model (by canonical name) loaded at its home, which it does not leave any more."""
        end = self._homes.pin(model, self._nodes) if model in self._ever_had else PinEnd.UNKNOWN
        if end is PinEnd.DONE:  # whoever pins it wants to know where it will be
            self._homes.settle(self._nodes, self._looked_at, self._clock.monotonic())
        return self._see_to(end)

    def unpin(self, model: str) -> PinEnd:
        """Let a model go like any other."""
        home = self._homes.of(model)
        end = self._see_to(self._homes.unpin(model))
        if end is PinEnd.DONE and home is not None and home in self._nodes:
            self._wake(self._on_disk(self._nodes[home]))  # it may go for another now
        return end

    def pins(self) -> dict[str, NodeId]:
        """The pinned models and where each lives; nowhere yet is an empty node."""
        return self._homes.pins

    def _see_to(self, end: PinEnd) -> PinEnd:
        """What must not go from a node is another now: have homes seen to at once."""
        self._prospectus.homes_changed()
        if self._warmer is not None:
            self._warmer.see_to_homes.tell()
        return end

    def load_ended(self, order: LoadOrder, ok: bool) -> None:
        """A load that was ordered has ended; if it failed, its memory is there for others."""
        if self._ledger.load_ended(order.node, order.key, self._clock.monotonic(), ok=ok):
            self._wake(self._on_disk(self._nodes[order.node]))
        if ok:
            self._homes.told(order.key, order.node, order.keep_alive)
        self._await_expiry(self._clock.monotonic())

    def reserved(self) -> dict[NodeId, tuple[str, ...]]:
        """The models that memory is held for, by node."""
        loads = self._ledger.loads.items()
        return {node: tuple(load.reservations) for node, load in loads if load.reservations}

    # --- the fleet ----------------------------------------------------------------------------------------------------

    def node_changed(self, view: NodeView) -> None:
        """A node joined, left, or has other models or another state; whoever waits for its models is woken."""
        now = self._clock.monotonic()
        seen = self._prospectus.node_changed(view, now)
        before = seen.before
        self._trials.changed(view)
        self._homes.seen(view)
        self._version += 1
        if view.state is NodeState.JOINING:
            self._awaited[view.id] = None
        elif view.state is not NodeState.OFFLINE:
            self._awaited.pop(view.id, None)
            self._ever_had.update(dict.fromkeys(view.models))
            keep_latest(self._ever_had, MAX_MODELS)
            if self._memory is not None:
                self._memory.changed(view, seen)
        possible = unlocked(before, view, self._short)
        if self._ledger.settle(view, now):
            possible = self._on_disk(view) | possible
        self._wake(possible)
        if worth_a_look(before, view):
            self._tell_rebalancer("look")

    def learned(self, lesson: Lesson) -> None:
        """More is known of how fast a model runs on a node."""
        self._prospectus.learned(lesson)

    def _looked_at(self, model: str) -> list[Prospect | Eliminated]:
        return self._prospectus.of(model, kept=model in self._ever_had)

    # --- who is woken -------------------------------------------------------------------------------------------------

    def _wake(self, possible: dict[str, int]) -> None:
        """Have so many of the requests that are held for these models placed again."""
        for model, count in possible.items():
            left = self._short[model] - count
            if left > 0:
                self._short[model] = left
            else:
                del self._short[model]
        if possible:
            self._version += 1  # who was placed before, and is on the way to the pen, shall not miss it
            self._pen.unlocked.tell(tuple(possible.items()), self._version)

    def _on_disk(self, view: NodeView) -> dict[str, int]:
        """The models that somebody waits for and that this node could load."""
        return {model: 1 for model in self._short if model in view.models}

    def _await_expiry(self, now: Seconds) -> None:
        """Look again when the first reservation is out of time."""
        if self._expiry is not None:
            self._expiry.cancel()
        when = self._ledger.next_expiry()
        self._expiry = context(self).after(max(0.0, when - now), self._expire) if when is not None else None

    def _heed_abandoned(self, left: Entry, now: Seconds) -> None:
        """A ticket has ended: if it was the last to wait for a load, that one's time is over sooner."""
        if left.model in self._ledger.loads[left.node].reservations:
            self._await_expiry(now)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for view in self._nodes.values():
            if self._ledger.settle(view, now):
                self._wake(self._on_disk(view))
        self._await_expiry(now)
