"""The homes of models: who served what how often, and who was told to keep it."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.actors.times import recalled, stored
from herd.policy.edits import FOR_EVER
from herd.policy.homes import Served, Tenant, chance, keeping, letting_go, settle, unkeepable
from herd.policy.loads import NO_LOAD, NodeLoad
from herd.policy.prewarming import LoadOrder
from herd.policy.prospects import Prospect
from herd.policy.values import Eliminated, NodeView
from herd.runtime import ActorHandle
from herd.store.records import KnownKeep, KnownService, Pin
from herd.types import NodeId, NodeState, Seconds

NOWHERE = NodeId("")
MAX_PINS = 256  # three for each of 85 machines
MAX_MODELS = 256  # whose service is counted: more than a hundred machines keep in memory

Look = Callable[[str], Iterable[Prospect | Eliminated]]


class PinEnd(StrEnum):
    """What came of a pin, or of its end."""

    DONE = "done"
    UNKNOWN = "unknown"  # no node has ever had the model; or it was not pinned
    FULL = "full"  # there are as many pins as there may be
    UNKEEPABLE = "unkeepable"  # every server that has it loads and unloads it as it likes


class Homes:
    """State of the Scorer, which alone writes it.

    Args:
        clock: for what is stored.
        store: the Store, told of pins, and of who served and keeps what; None to remember nothing.
    """

    def __init__(self, clock: Clock, store: ActorHandle | None = None) -> None:
        self._clock = clock
        self._store = store
        self._served: dict[str, dict[NodeId, Served]] = {}  # by model, the latest last
        self._homes: dict[str, NodeId] = {}
        self._kept: dict[tuple[str, NodeId], None] = {}  # models that servers were told to keep, and have not unloaded
        self._pins: dict[str, None] = {}

    @property
    def pins(self) -> dict[str, NodeId]:
        """The pinned models, by canonical name, and where each lives; nowhere yet is an empty node."""
        return {model: self._homes.get(model, NOWHERE) for model in sorted(self._pins)}

    def of(self, model: str) -> NodeId | None:
        """A model's home."""
        return self._homes.get(model)

    def pinned_at(self, node: NodeId) -> tuple[str, ...]:
        """The pinned models whose home is this node."""
        return tuple(model for model in self._pins if self._homes.get(model) == node) if self._pins else ()

    def recalled(self, pins: Iterable[Pin], services: Iterable[KnownService], keeps: Iterable[KnownKeep]) -> None:
        """What the Store remembers, each the latest last. What a node keeps has its home there, unless it is pinned."""
        for service in services:
            nodes = self._served.pop(service.model, {})
            self._served[service.model] = nodes
            nodes[service.node] = Served(service.weight, recalled(self._clock, service.at))
        keep_latest(self._served, MAX_MODELS)
        for keep in keeps:
            if keep.kept:
                self._kept[keep.model, keep.node] = None
                self._homes[keep.model] = keep.node
        for pin in pins:
            self._pins[pin.model] = None
            if pin.node:
                self._homes[pin.model] = pin.node

    def pin(self, model: str, fleet: Mapping[NodeId, NodeView] = MappingProxyType({})) -> PinEnd:
        """Pin a model to its home, or to the one that it finds next; `fleet`: the nodes that may be it."""
        if unkeepable(model, fleet):
            return PinEnd.UNKEEPABLE
        if model not in self._pins and len(self._pins) >= MAX_PINS:
            return PinEnd.FULL
        self._pins[model] = None
        self._remember(model)
        return PinEnd.DONE

    def unpin(self, model: str) -> PinEnd:
        """The model is like any other from now on."""
        if model not in self._pins:
            return PinEnd.UNKNOWN
        del self._pins[model]
        if self._store is not None:
            self._store.unpin.tell(model)
        return PinEnd.DONE

    def _remember(self, model: str) -> None:
        if self._store is not None:
            self._store.pin.tell(Pin(model, self._homes.get(model, NOWHERE)))

    def served(self, model: str, node: NodeId, now: Seconds) -> None:
        """A node has served a model once more."""
        nodes = self._served.pop(model, {})
        self._served[model] = nodes
        served = nodes[node] = nodes.get(node, Served()).again(now)
        keep_latest(self._served, MAX_MODELS)
        if self._store is not None:
            self._store.record.tell(KnownService(node, model, served.weight, stored(self._clock, now)))

    def forget(self, model: str, now: Seconds) -> None:
        """Nobody was served with the model: unless it is pinned, it lives nowhere."""
        for node in self._served.pop(model, {}):
            if self._store is not None:
                self._store.record.tell(KnownService(node, model, 0.0, stored(self._clock, now)))
        if model not in self._pins:
            self._homes.pop(model, None)

    def wanted(self, model: str, node: NodeId, now: Seconds) -> float:
        """The chance that a node is asked for a model within the time that it stays in memory, 0 to 1."""
        served = self._served.get(model, {}).get(node)
        return 0.0 if served is None else chance(served, now)

    def seen(self, view: NodeView) -> None:
        """A node has changed: what it has unloaded is not kept any more. One that is away says nothing of it."""
        if view.state in {NodeState.JOINING, NodeState.OFFLINE}:
            return
        for model, node in [key for key in self._kept if key[1] == view.id]:
            seen = view.models.get(model)
            if seen is None or not seen.resident:
                self._keep(model, node, kept=False)

    def told(self, model: str, node: NodeId, keep_alive: int) -> None:
        """A server has done as it was told."""
        self._keep(model, node, kept=keep_alive == FOR_EVER)

    def _keep(self, model: str, node: NodeId, *, kept: bool) -> None:
        if kept:
            self._kept[model, node] = None
        else:
            self._kept.pop((model, node), None)
        if self._store is not None:
            self._store.record.tell(KnownKeep(node, model, kept, Seconds(self._clock.wall())))

    def settle(self, fleet: Mapping[NodeId, NodeView], look: Look, now: Seconds) -> bool:
        """Find every model its home; True when one has moved."""
        names = dict.fromkeys((*self._served, *self._pins))
        before = self._homes
        self._homes = settle([self._tenant(model, look) for model in names], fleet, now)
        for model in self._pins:
            if self._homes.get(model) != before.get(model):
                self._remember(model)
        return self._homes != before

    def _tenant(self, model: str, look: Look) -> Tenant:
        prospects = tuple(one for one in look(model) if isinstance(one, Prospect))
        return Tenant(model, prospects, self._served.get(model, {}), self._homes.get(model), model in self._pins)

    def orders(
        self, look: Look, loads: Mapping[NodeId, NodeLoad], avoid: Iterable[tuple[str, NodeId]]
    ) -> list[LoadOrder]:
        """What has to be asked of nodes so that each model stays at its home; of each node one thing at a time.

        Args:
            look: what there is to say of a model on each node.
            loads: the ledger's view of each node.
            avoid: nodes that are not to be asked for a model; of a node that is busy, for any (the empty name).
        """
        away = dict.fromkeys(avoid)
        busy = {node: True for model, node in away if not model}
        orders: list[LoadOrder] = []

        def add(order: LoadOrder | None) -> None:
            if order is not None and (order.key, order.node) not in away and order.node not in busy:
                busy[order.node] = True
                orders.append(order)

        for model, node in list(self._kept):
            if self._homes.get(model) != node:
                add(letting_go(self._at(model, node, look), loads.get(node, NO_LOAD)))
        for model, node in sorted(self._homes.items(), key=lambda home: home[0] not in self._pins):
            held, kept = loads.get(node, NO_LOAD), (model, node) in self._kept
            add(keeping(self._at(model, node, look), held, kept=kept, pinned=model in self._pins))
        return orders

    @staticmethod
    def _at(model: str, node: NodeId, look: Look) -> Prospect | Eliminated | None:
        for one in look(model):
            if (one.node if isinstance(one, Eliminated) else one.node.id) == node:
                return one
        return None
