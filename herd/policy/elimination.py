"""Stage 1: which nodes can serve a request at all, and why the others cannot."""

from herd.policy.breaker import breaker_reason
from herd.policy.memory import pressure
from herd.policy.values import Ask, ModelView, NodeView, Reason
from herd.types import Capability, NodeState

UNSERVED = "no-backend"  # kind of the reason of a node none of whose model servers answers

# States in which a node takes new requests. A degraded one does: it was heard less than 30 s ago.
TAKES_REQUESTS = (NodeState.READY, NodeState.DEGRADED)

_UNABLE = {Capability.IMAGE: "that makes no images", Capability.AUDIO: "that hears nothing"}

FAILED = Reason("failed", "already failed this request")


def absent(key: str, node: NodeView) -> Reason | None:
    """Why nobody can have the model `key` (a canonical name) from `node` now, or None when somebody can."""
    away = node.state not in TAKES_REQUESTS
    # A server that does not answer says nothing of its models, and of a node without any nothing is known.
    if key in node.models or (away and (not node.models or any(reason.kind == UNSERVED for reason in node.reasons))):
        if away:
            return node.reasons[0] if node.reasons else Reason(node.state.value, f"is {node.state.value}")
        model = node.models[key]
        return breaker_reason(node, model, outstanding=0) or (None if model.resident else pressure(node))
    unserved = (reason for reason in node.reasons if reason.kind == UNSERVED)
    return next(unserved, Reason("no-model", f"does not have {key} on disk"))


def unable(ask: Ask, node: NodeView, model: ModelView) -> Reason | None:
    """Why this request cannot have the model from a node that serves it to others, or None when it can."""
    # First: what a node can never do is known of it, whatever came of the request there.
    return lacking(ask, model) or (FAILED if node.id in ask.excluded else None)


def lacking(ask: Ask, model: ModelView) -> Reason | None:
    """What this request needs and the model will not have on its node, be that there or not; None: nothing."""
    if ask.api not in model.apis:
        return Reason("dialect", f"serves it through a program that has no {ask.api}")
    if ask.part is not None and model.digest != ask.part.digest:
        return Reason("digest", "has another build of it")
    if ask.needs and model.capabilities:
        for need in ask.needs:
            # Servers list what is special about a model; that it completes text goes without saying for some.
            if need is not Capability.COMPLETION and need not in model.capabilities:
                return Reason("capability", f"has a build of it {_UNABLE.get(need) or f'without {need.value}'}")
    return None
