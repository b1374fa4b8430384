"""The Scorer: one synchronous `place` that ranks the nodes and writes the ticket into the ledger."""

import logging
from dataclasses import replace

from herd.actors import names
from herd.actors.ports import Clock
from herd.actors.trials import Trials
from herd.policy.holding import unlocked
from herd.policy.placement import in_one_line, place
from herd.policy.retrying import RetryBudget
from herd.policy.values import Ask, Decision, Load, ModelView, NodeView, Reason, Ticket
from herd.runtime import ActorHandle, context, get_actor
from herd.store.database import KnownNode
from herd.types import BackendId, ModelName, NodeId, NodeState, Seconds, TicketId

logger = logging.getLogger(__name__)

# Names that "no node has ever had the model" is judged by: a thousand nodes with sixty models each.
MAX_MODELS = 65_536


class Scorer:
    """Owns the fleet view and the ledger of tickets that have not ended.

    The ledger, not the nodes' reports, is the load signal: a burst of requests sees its own effect.

    Args:
        pen: the HoldingPen, told which models a change of the fleet unlocked.
        store: the Store, told what a node has; None to remember nothing.
        known: the nodes that were known when the router started; offline until they join.
        clock: wall times of what is remembered.
    """

    def __init__(
        self, pen: ActorHandle, clock: Clock, store: ActorHandle | None = None, known: tuple[KnownNode, ...] = ()
    ) -> None:
        self._pen = pen
        self._clock = clock
        self._store = store
        self._nodes: dict[NodeId, NodeView] = {}
        self._awaited: dict[NodeId, None] = {}  # known or joining nodes that have not reported yet
        self._ever_had: dict[str, None] = {}
        self._expect(known)
        self._placed: dict[TicketId, tuple[NodeId, str]] = {}
        self._outstanding: dict[NodeId, int] = {}
        self._last_chosen: dict[NodeId, int] = {}
        self._placements = 0
        self._trials = Trials()
        self._budget = RetryBudget()
        self._version = 0

    async def on_start(self) -> None:
        """After a crash, have the fleet shown again before anything is placed. The ledger begins anew."""
        if not context(self).restarts:
            return
        self._version = context(self).restarts << 32  # beyond any of before, which the HoldingPen remembers
        if self._store is not None:
            self._expect(await self._store.load.remote())
        for view in await get_actor(names.FLEET).views.remote():
            self.node_changed(view)

    def _expect(self, known: tuple[KnownNode, ...]) -> None:
        """These nodes may join; what they had is a model that the fleet knows."""
        self._nodes.update((node.id, _absent(node)) for node in known)
        self._awaited.update(dict.fromkeys(node.id for node in known))
        self._ever_had.update(dict.fromkeys(model for node in known for model in node.models))

    def place(self, ask: Ask, ticket: Ticket) -> Decision:
        """Rank the nodes for `ask`, and hold the ticket against the winner until it is released or placed again."""
        first = ticket.id not in self._placed
        self.released(ticket.id)
        loads = {
            node: Load(
                node=self._outstanding.get(node, 0),
                last_chosen=self._last_chosen.get(node, 0),
                trials=self._trials.out(node, ask.model),
            )
            for node in self._nodes
        }
        ranked = place(ask, self._nodes.values(), loads)
        decision = Decision(
            ranked.candidates,
            ranked.eliminated,
            known=ask.model in self._ever_had,
            complete=not self._awaited,
            version=self._version,
        )
        if decision.chosen is not None and not self._affords(ask, first=first):
            decision = replace(decision, candidates=(), over_budget=True)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s for %s: %s", ticket.id, ask.model, in_one_line(decision))
        chosen = decision.chosen
        if chosen is not None:
            node = chosen.node
            self._placements += 1
            self._placed[ticket.id] = (node, ask.model)
            self._outstanding[node] = self._outstanding.get(node, 0) + 1
            self._last_chosen[node] = self._placements
            self._trials.placed(self._nodes[node], ask.model, ticket.id)
        return decision

    def _affords(self, ask: Ask, *, first: bool) -> bool:
        """Whether the placement is no retry, or one that the fleet can afford."""
        now = self._clock.monotonic()
        if not ask.retry:
            self._budget = self._budget.requested(now) if first else self._budget
            return True
        after = self._budget.retried(now)
        self._budget = after or self._budget
        return after is not None

    def released(self, ticket: TicketId) -> None:
        """The ticket has ended, or is about to be placed anew. Idempotent."""
        entry = self._placed.pop(ticket, None)
        if entry is not None:
            self._outstanding[entry[0]] -= 1
            free = self._trials.released(self._nodes[entry[0]], ticket)
            if free:
                self._version += 1
                self._pen.unlocked.tell(free, self._version)

    def node_changed(self, view: NodeView) -> None:
        """A node joined, left, or has other models or another state; whoever waits for its models is woken."""
        before = self._nodes.get(view.id)
        self._nodes[view.id] = view
        self._trials.changed(view)
        self._version += 1
        if view.state is NodeState.JOINING:
            self._awaited[view.id] = None
        elif view.state is not NodeState.OFFLINE:
            self._awaited.pop(view.id, None)
            self._remember(view, before)
        models = unlocked(before, view)
        if models:
            self._pen.unlocked.tell(models, self._version)

    def ledger(self) -> dict[NodeId, int]:
        """Tickets that have not ended, by node."""
        return {node: count for node, count in self._outstanding.items() if count}

    def _remember(self, view: NodeView, before: NodeView | None) -> None:
        """Note which models there are, for as long as the router runs and, where there is a Store, beyond."""
        self._ever_had.update(dict.fromkeys(view.models))
        while len(self._ever_had) > MAX_MODELS:
            del self._ever_had[next(iter(self._ever_had))]
        known = before is not None and before.name == view.name and before.models.keys() == view.models.keys()
        # A node that lists nothing is one whose model server is down: what it had it has still.
        if self._store is not None and view.models and not known:
            seen = Seconds(self._clock.wall())
            self._store.record.tell(KnownNode(view.id, view.name, tuple(view.models), seen))


def _absent(node: KnownNode) -> NodeView:
    """A known node that has not joined since the router started."""
    models = {model: ModelView(ModelName(model), BackendId("")) for model in node.models}
    reason = Reason("offline", "has not joined since the router started", since=node.seen)
    return NodeView(node.id, node.name, NodeState.OFFLINE, models, (reason,))
