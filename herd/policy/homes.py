"""Where each model has its home: the node that serves it most, and that keeps it loaded."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herd.policy.edits import FOR_EVER
from herd.policy.loads import NodeLoad
from herd.policy.memory import ceiling
from herd.policy.prewarming import KEEP_ALIVE_S, MAX_LOADED, LoadOrder
from herd.policy.prospects import Prospect
from herd.policy.values import Eliminated, NeededLoad, NodeView
from herd.types import NodeId, NodeState, Seconds, Tokens

# A request of three hours ago counts half: a morning's work does not decide where the evening's model lives.
HALF_LIFE_S = 3 * 3600.0
# Another node has to serve a model half as often again before the home moves, and another model has to be asked for so
# much more before it takes its memory: a home that moves costs a load, and one that moves back another.
HYSTERESIS = 1.5
# Nobody has asked for it for a day, so nobody asks for it at this hour of the day: let go.
FORGOTTEN_S = 86_400.0
# More than Ollama keeps loaded would make one another go. To leave a place free for strangers costs more loads than it
# saves: measured in simulated days, 57 for every 1,000 requests against 49.
MOST_HOMES = MAX_LOADED


@dataclass(frozen=True, slots=True)
class Served:
    """How often a model was served, decayed by age; monotonic times."""

    weight: float = 0.0
    at: Seconds = Seconds(0.0)

    def again(self, now: Seconds) -> "Served":
        """Served once more."""
        return Served(self.weight_at(now) + 1.0, now)

    def weight_at(self, now: Seconds) -> float:
        """What it counts now."""
        return self.weight * float(0.5 ** ((now - self.at) / HALF_LIFE_S))


def chance(served: Served, now: Seconds) -> float:
    """How likely it is that somebody asks within `KEEP_ALIVE_S`, were services a Poisson process, 0 to 1.

    A steady rate r adds up to a weight of r x half-life / ln 2.
    """
    rate = served.weight_at(now) * math.log(2.0) / HALF_LIFE_S
    return 1.0 - math.exp(-rate * KEEP_ALIVE_S)


@dataclass(frozen=True, slots=True)
class Tenant:
    """One model that may have a home."""

    model: str  # canonical name
    prospects: tuple[Prospect, ...]  # on every node that serves it
    served: Mapping[NodeId, Served]
    home: NodeId | None = None  # until now
    pinned: bool = False


def settle(tenants: Iterable[Tenant], fleet: Mapping[NodeId, NodeView], now: Seconds) -> dict[str, NodeId]:
    """The home of each model that has one.

    A pinned model stays where it is, whether the machine is there or not, for as long as the model is on its disk. All
    others come in the order of how much they are asked for; each goes to the node that has served it most, of those
    that have room for it under the ceiling beside the models that already live there. A service of a node that is twice
    as fast with the model counts twice.
    """
    left: dict[NodeId, int] = {}
    lodgers: dict[NodeId, int] = {}
    homes: dict[str, NodeId] = {}
    for tenant in sorted(tenants, key=lambda tenant: (not tenant.pinned, -_standing(tenant, now), tenant.model)):
        if not tenant.pinned and all(now - served.at > FORGOTTEN_S for served in tenant.served.values()):
            continue
        found: list[tuple[float, float, float, NodeId, int]] = []
        for one in tenant.prospects:
            node = one.node.id
            size = one.model.size_resident if one.model.resident and one.model.size_resident else one.need
            if not one.model.keepable or not size or not one.node.memory.total:
                continue
            room = left.get(node, _room(one.node))
            if size > room or (lodgers.get(node, 0) >= MOST_HOMES and not tenant.pinned):
                continue
            weight = tenant.served.get(node, Served()).weight_at(now) * (HYSTERESIS if node == tenant.home else 1.0)
            weight *= one.pace.decode  # or a slow machine, once it is a home, would draw the requests that keep it one
            if weight or tenant.pinned:
                found.append((-weight, -float(one.model.resident), one.pace.load, node, size))
        stays = tenant.pinned and tenant.home is not None and _has(fleet.get(tenant.home), tenant.model)
        if stays and tenant.home is not None:
            chosen, taken = tenant.home, next((row[4] for row in found if row[3] == tenant.home), 0)
        elif found:
            chosen, taken = min(found)[3:]
        else:
            continue
        homes[tenant.model] = chosen
        left[chosen] = left.get(chosen, _room(fleet[chosen])) - taken
        lodgers[chosen] = lodgers.get(chosen, 0) + 1
    return homes


def _standing(tenant: Tenant, now: Seconds) -> float:
    """How much a model is asked for."""
    weight = sum(served.weight_at(now) for served in tenant.served.values())
    return weight * (HYSTERESIS if tenant.home is not None else 1.0)


def _room(node: NodeView) -> int:
    """What the models that live on a node may take together, in bytes."""
    return min(node.memory.total, ceiling(node) or node.memory.total)


def unkeepable(model: str, fleet: Mapping[NodeId, NodeView]) -> bool:
    """Whether no server that has the model, as far as is known, can be told to keep it in memory."""
    having = [node.models[model] for node in fleet.values() if model in node.models]
    # Of a node that has not reported since the router started nothing is known but names.
    return bool(having) and all(one.apis and not one.keepable for one in having)


def _has(node: NodeView | None, model: str) -> bool:
    return node is not None and model in node.models


def keeping(one: Prospect | Eliminated | None, held: NodeLoad, *, kept: bool, pinned: bool = False) -> LoadOrder | None:
    """What has to be asked of a model's home, so that the model stays loaded there; None when nothing has.

    Args:
        one: the model on its home.
        held: against that node.
        kept: its server was told so, and has not unloaded it since.
        pinned: models that are not in use may go for it.
    """
    if not isinstance(one, Prospect) or one.node.state is not NodeState.READY or held.reservations:
        return None
    model = one.model
    if model.resident:
        # Without its context the server might load it anew.
        return None if kept or not model.context else _order(one, model.context, FOR_EVER)
    others = sum(other.resident for name, other in one.node.models.items() if name != one.key)
    if not one.need or one.need > one.budget.room(one.key, held).now:
        return None
    if not pinned and (one.budget.free - held.reserved < one.need or others >= MAX_LOADED):
        return None  # somebody would have to go
    return _order(one, None, FOR_EVER)


def letting_go(one: Prospect | Eliminated | None, held: NodeLoad) -> LoadOrder | None:
    """What has to be asked of a node that was a model's home; None when there is nothing, or nobody, to ask."""
    if not isinstance(one, Prospect) or not one.model.resident or not one.model.context or held.reservations:
        return None
    return _order(one, one.model.context, KEEP_ALIVE_S)


def _order(one: Prospect, context: Tokens | None, keep_alive: int) -> LoadOrder:
    needed = NeededLoad(context or one.context, one.need, 0.0 if one.model.resident else one.pace.load)
    node = one.node
    return LoadOrder(node.id, one.model.backend, one.model.name, one.key, context, needed, keep_alive, node.name)
