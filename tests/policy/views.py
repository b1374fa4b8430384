"""Short ways to say what a fleet looks like."""

from herd.policy.values import Ask, ModelView, NodeView, Reason
from herd.types import BackendId, Dialect, ModelName, NodeId, NodeName, NodeState

BOTH = (Dialect.OLLAMA, Dialect.OPENAI)
OPENAI_ONLY = (Dialect.OPENAI,)

ASK = Ask("llama3.2:3b", Dialect.OPENAI, sent="llama3.2:3b")


def model(name: str = "llama3.2:3b", *, resident: bool = False, limit: int = 1, context: int = 0) -> ModelView:
    """A model on an Ollama."""
    return ModelView(
        ModelName(name),
        BackendId("ollama"),
        BOTH,
        resident=resident,
        limit=limit,
        context=context,  # type: ignore[arg-type]
    )


def node(
    name: str, *models: ModelView, state: NodeState = NodeState.READY, reasons: tuple[Reason, ...] = ()
) -> NodeView:
    """A node whose id is its name."""
    return NodeView(NodeId(name), NodeName(name), state, {view.name: view for view in models}, reasons)
