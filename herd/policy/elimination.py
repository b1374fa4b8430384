"""Stage 1: which nodes can serve a request at all, and why the others cannot."""

from herd.policy.breaker import breaker_reason
from herd.policy.values import Ask, ModelView, NodeView, Reason
from herd.types import Capability, Dialect, NodeState

API_OF: dict[str, str] = {
    Dialect.OLLAMA: "Ollama's API (/api/...)",
    Dialect.OPENAI: "OpenAI's API (/v1/chat/completions)",
    Dialect.ANTHROPIC: "Anthropic's API (/v1/messages)",
}
UNSERVED = "no-backend"  # kind of the reason of a node none of whose model servers answers

# States in which a node takes new requests. A degraded one does: it was heard less than 30 s ago.
TAKES_REQUESTS = (NodeState.READY, NodeState.DEGRADED)


def eliminate(ask: Ask, node: NodeView, trials: int = 0) -> Reason | None:
    """The first reason for which `node` cannot serve `ask`, or None when it can.

    Args:
        ask: what the request needs.
        node: the node.
        trials: requests under way that were placed there to try a breaker.
    """
    if node.id in ask.excluded:
        return Reason("failed", "already failed this request")
    if node.state not in TAKES_REQUESTS:
        return node.reasons[0] if node.reasons else Reason(node.state.value, f"is {node.state.value}")
    model = node.models.get(ask.model)
    if model is None:
        unserved = (reason for reason in node.reasons if reason.kind == UNSERVED)
        return next(unserved, Reason("no-model", f"does not have {ask.model} on disk"))
    return _unable(ask, model) or breaker_reason(node, model, trials)


def _unable(ask: Ask, model: ModelView) -> Reason | None:
    """Why the model, or the server it runs on, cannot do what is asked."""
    if ask.dialect not in model.dialects:
        spoken = ", ".join(API_OF.get(dialect, dialect) for dialect in model.dialects)
        return Reason("dialect", f"serves it through a program that only speaks {spoken}")
    if model.capabilities:
        for need in ask.needs:
            # Servers list what is special about a model; that it completes text goes without saying for some.
            if need is not Capability.COMPLETION and need not in model.capabilities:
                return Reason("capability", f"has a build of it without {need.value}")
    return None
