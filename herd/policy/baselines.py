"""What simple routers do, to compare with: round robin, and least connections, over the nodes that can serve.

They know what such routers know: which nodes are up, have the model and speak the dialect, what each of them has been
given, and who failed. Of memory, speeds and what is loaded they know nothing, so they never find that a model does not
fit, and never expect a load. Only simulations run them (`RouterOptions.ranking`).
"""

from collections.abc import Callable, Iterable, Mapping

from herd.policy.breaker import breaker_reason
from herd.policy.elimination import unable
from herd.policy.loads import NO_LOAD, NodeLoad
from herd.policy.prospects import Prospect
from herd.policy.scoring import Moment
from herd.policy.values import SIGNALS, Ask, Candidate, Decision, Eliminated
from herd.types import NodeId

_UNSCORED = (0.0,) * len(SIGNALS)

Order = Callable[[NodeLoad], tuple[int, ...]]  # the least comes first


def round_robin(
    ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
) -> Decision:
    """The node whose last turn is longest ago: equal ones take turns, whatever is asked of them."""
    return _place(ask, looked_at, loads, moment, lambda held: (held.last_chosen,))


def least_connections(
    ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
) -> Decision:
    """The node with the fewest requests that have not ended; of equal ones the one whose last turn is longest ago."""
    return _place(ask, looked_at, loads, moment, lambda held: (held.outstanding, held.last_chosen))


def _place(
    ask: Ask,
    looked_at: Iterable[Prospect | Eliminated],
    loads: Mapping[NodeId, NodeLoad],
    moment: Moment,
    order: Order,
) -> Decision:
    """Rank nodes for `ask` by `order` alone, the arguments being those of `placement.place`."""
    rows: list[tuple[tuple[int, ...], NodeId, Candidate]] = []
    eliminated: list[Eliminated] = []
    for one in looked_at:
        if isinstance(one, Eliminated):
            eliminated.append(one)
            continue
        node, model = one.node, one.model
        reason = unable(ask, node, model)
        if reason is None and node.id in moment.tried:
            reason = breaker_reason(node, model, outstanding=1)
        if reason is not None:
            eliminated.append(Eliminated(node.id, node.name, reason))
            continue
        held = loads.get(node.id, NO_LOAD)
        candidate = Candidate(
            node.id, node.name, model.name, model.backend, _UNSCORED, 0.0, outstanding=held.outstanding
        )
        rows.append((order(held), node.id, candidate))
    rows.sort()  # ids are unique: candidates are never compared
    return Decision(tuple([candidate for *_, candidate in rows]), tuple(eliminated))
