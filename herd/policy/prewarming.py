"""Stage 5: a model whose queue is deep is loaded on one more node, before anybody has to wait for that load."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from herd.policy.loads import NO_LOAD, ModelLoad, NodeLoad
from herd.policy.prospects import Prospect, needed_for
from herd.policy.scoring import Moment, Outlook, look
from herd.policy.values import Ask, Circuit, Decision, Eliminated, NeededLoad
from herd.types import Api, BackendId, ModelName, NodeId, NodeState, Seconds, Tokens

# So many that wait are more than the next moment takes care of: the product's promise.
DEEP = 3
# Below this a machine's owner is likely to want it back before the load has paid.
LEAST_AVAILABILITY = 0.6
# Ollama keeps so many models loaded on each GPU unless it is told otherwise: one more makes one go, whatever it takes.
MAX_LOADED = 3
# What was loaded ahead stays for as long as Ollama keeps a model that nobody speaks of.
KEEP_ALIVE_S = 300
# What fails for want of memory does so, mostly, for as long as some program of the owner's runs. The first pause is
# long enough for the cause's next chance to go to another node.
FAILED_FIRST_S, FAILED_MOST_S = 120.0, 1800.0


@dataclass(frozen=True, slots=True)
class DeepQueue:
    """The cause of a pre-warm: what a placement has found."""

    model: str  # canonical name
    node: NodeId  # whose queue it is
    api: Api = Api.OLLAMA_GENERATE  # what is asked of it there


@dataclass(frozen=True, slots=True)
class LoadOrder:
    """A load that the router asks a node for by itself."""

    node: NodeId
    backend: BackendId
    model: ModelName  # as the node lists it
    key: str  # its canonical name
    num_ctx: Tokens | None  # None: what the model's server takes by itself
    needed: NeededLoad
    keep_alive: int = KEEP_ALIVE_S  # seconds, or `FOR_EVER`
    name: str = ""  # of the node, for people


def is_deep(decision: Decision, load: ModelLoad, limit: int) -> bool:
    """Whether the queue that a ticket was just placed in is deep.

    Args:
        decision: of the placement.
        load: the tickets of the model on the chosen node, the new one included.
        limit: how many run there at once.
    """
    chosen, waiting = decision.candidates[0], load.outstanding - limit
    if waiting <= 0 or chosen.load is not None:
        return False
    return waiting >= DEEP or any(
        other.wait < chosen.wait
        for other in decision.candidates
        if other.load is not None and not other.load.evicts_busy
    )


def pick(
    cause: DeepQueue,
    looked_at: Iterable[Prospect | Eliminated],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
    *,
    avoid: tuple[NodeId, ...] = (),
) -> LoadOrder | None:
    """The load that helps the queue most, or None when none does: it comes too late, or something would have to go.

    What goes is loaded again sooner or later. In simulated days loads that make others go cost more than they save.

    Args:
        cause: the deep queue.
        looked_at: what there is to say of the model on each node.
        loads: the ledger's view of each node.
        moment: when.
        avoid: nodes that are not to be asked.
    """
    rows = [one for one in looked_at if isinstance(one, Prospect)]
    num_ctx = next((_context(one, loads) for one in rows if one.node.id == cause.node), None)
    ask = Ask(cause.model, cause.api, num_ctx=num_ctx, unit=cause.api.unit)
    there_already = _done(cause, ask, rows, loads, moment)
    found: list[tuple[float, float, NodeId, LoadOrder]] = []
    for one in rows:
        held = loads.get(one.node.id, NO_LOAD)
        node = one.node.id
        if node == cause.node or node in avoid or one.node.availability < LEAST_AVAILABILITY:
            continue
        if not _free_for(one, held):
            continue
        there = look(ask, one, held, moment)
        if not isinstance(there, Outlook) or there.load is None or not _fits_beside(one, held, there.load, num_ctx):
            continue
        if there.wait + there.work >= there_already:
            continue
        order = LoadOrder(node, one.model.backend, one.model.name, one.key, num_ctx, there.load, name=one.node.name)
        found.append((there.wait + there.work, -one.role, node, order))
    return min(found)[3] if found else None


def _done(cause: DeepQueue, ask: Ask, rows: list[Prospect], loads: Mapping[NodeId, NodeLoad], moment: Moment) -> float:
    """Seconds until one more request would be done at the deep queue."""
    hot = next((one for one in rows if one.node.id == cause.node), None)
    there = look(ask, hot, loads.get(cause.node, NO_LOAD), moment) if hot is not None else None
    return there.wait + there.work if isinstance(there, Outlook) else 0.0


def _context(hot: Prospect, loads: Mapping[NodeId, NodeLoad]) -> Tokens | None:
    """The context that the model has where its queue is deep; None when that is what a load there takes by itself.

    A request that names no context would reload a model that has another one than its server takes by itself.
    """
    loading = loads.get(hot.node.id, NO_LOAD).reservations.get(hot.key)
    context = loading.context if loading is not None else hot.model.context
    return context if context and context != hot.context else None


def _free_for(one: Prospect, held: NodeLoad) -> bool:
    """Whether the router may ask this node for a load of the model at all."""
    node, model = one.node, one.model
    return (
        node.state is NodeState.READY
        and node.breaker.circuit is Circuit.CLOSED
        and model.breaker.circuit is Circuit.CLOSED
        and model.loadable
        and not model.resident
        and not held.reservations  # one load per node at a time
    )


def _fits_beside(one: Prospect, held: NodeLoad, needed: NeededLoad, num_ctx: Tokens | None) -> bool:
    """Whether the load surely fits beside everything that is in the node's memory."""
    if not needed.need or not one.node.memory.total or needed.evicts_busy:
        return False
    there = needed_for(num_ctx, one)[2] if num_ctx else one.budget
    others = sum(model.resident for name, model in one.node.models.items() if name != one.key)
    return there.free - held.reserved >= needed.need and others < MAX_LOADED


def again_after(failures: int) -> Seconds:
    """How long a node is not asked for a load that it has failed so many times in a row."""
    return Seconds(min(FAILED_FIRST_S * 2.0 ** min(failures - 1, 10), FAILED_MOST_S))
