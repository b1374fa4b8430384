"""Which requests try a breaker that is half open: one for each breaker at a time."""

from herd.actors.breakers import LINK
from herd.policy.values import Circuit, NodeView
from herd.types import NodeId, TicketId


class Trials:
    """The Scorer's list of trials. What was placed before a breaker half-opened is none, however long it runs."""

    def __init__(self) -> None:
        self._tickets: dict[tuple[NodeId, str], TicketId] = {}  # one for each breaker that is half open

    def nodes(self, model: str) -> tuple[NodeId, ...]:
        """The nodes that a request tries now, or tries this model on."""
        return tuple(node for node, tried in self._tickets if tried in {model, LINK})

    def tries(self, ticket: TicketId) -> bool:
        """Whether a request is a trial: whether others may come depends on it."""
        return ticket in self._tickets.values()

    def placed(self, view: NodeView, model: str, ticket: TicketId) -> None:
        """A request goes to a node."""
        for name in (LINK, model):
            if _is_half_open(view, name):
                self._tickets[view.id, name] = ticket

    def released(self, view: NodeView, ticket: TicketId) -> tuple[str, ...]:
        """A request that went to a node has ended, or is placed anew: the models that another one may try now."""
        free: dict[str, None] = {}
        for key in [key for key, trial in self._tickets.items() if trial == ticket and key[0] == view.id]:
            del self._tickets[key]
            free.update(dict.fromkeys(view.models if key[1] == LINK else (key[1],)))
        return tuple(free)

    def changed(self, view: NodeView) -> None:
        """A node has changed: a breaker that is not half open any more has no trial."""
        for key in [key for key in self._tickets if key[0] == view.id and not _is_half_open(view, key[1])]:
            del self._tickets[key]


def _is_half_open(view: NodeView, name: str) -> bool:
    """Whether a node's breaker of a model, or of its link, is half open."""
    if name == LINK:
        return view.breaker.circuit is Circuit.HALF_OPEN
    model = view.models.get(name)
    return model is not None and model.breaker.circuit is Circuit.HALF_OPEN
