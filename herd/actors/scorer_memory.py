"""What the Scorer has the Store remember of the fleet, and is told when it starts again."""

from herd.actors.homes import Homes
from herd.actors.ports import Clock
from herd.actors.prospectus import Prospectus, Seen
from herd.actors.times import recalled
from herd.policy.memory import Residency
from herd.policy.values import ModelView, NodeView, Reason
from herd.runtime import ActorHandle
from herd.store.records import KnownNode, KnownResidency, KnownUnload, Record
from herd.types import BackendId, ModelName, NodeId, NodeState, Seconds

# How old what the Store knows of a node may get while nothing of it changes: what is not seen for long is forgotten.
NOTED_S = 86_400.0


class ScorerMemory:
    """State of the Scorer.

    Args:
        clock: wall times of what is remembered.
        store: the Store.
    """

    def __init__(self, clock: Clock, store: ActorHandle) -> None:
        self._clock = clock
        self._store = store
        self._noted: dict[NodeId, Seconds] = {}  # monotonic: when the Store was told of a node last; a Fleet bounds it

    async def recall(self, homes: Homes, prospectus: Prospectus) -> None:
        """Have both know what was known."""
        store = self._store
        homes.recalled(await store.pins.remote(), await store.services.remote(), await store.keeps.remote())
        prospectus.recalled(
            [(one.model, Residency(one.size, one.context, one.slots)) for one in await store.residencies.remote()],
            [((one.node, one.model), recalled(self._clock, one.at)) for one in await store.unloads.remote()],
        )

    def changed(self, view: NodeView, seen: Seen) -> None:
        """A node that is there has changed."""
        before, now, at = seen.before, Seconds(self._clock.wall()), self._clock.monotonic()
        news: list[Record] = [
            KnownResidency(model, one.size, one.context, one.slots, now) for model, one in seen.residencies
        ]
        news += [KnownUnload(node, model, now) for node, model in seen.unloaded]
        known = before is not None and before.name == view.name and before.models.keys() == view.models.keys()
        # A node that lists nothing is one whose model server is down: what it had it has still.
        if view.models and not (known and view.id in self._noted and at - self._noted[view.id] < NOTED_S):
            news.append(KnownNode(view.id, view.name, tuple(view.models), now))
            self._noted[view.id] = at
        if news:
            self._store.record.tell(*news)


def absent(node: KnownNode) -> NodeView:
    """A known node that has not joined since the router started."""
    models = {model: ModelView(ModelName(model), BackendId("")) for model in node.models}
    reason = Reason("offline", "has not joined since the router started", since=node.seen)
    return NodeView(node.id, node.name, NodeState.OFFLINE, models, (reason,))
