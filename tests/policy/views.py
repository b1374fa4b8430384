"""Short ways to say what a fleet looks like."""

from collections.abc import Iterable, Mapping
from typing import Any

from herd.policy.loads import NodeLoad
from herd.policy.placement import place
from herd.policy.prospects import Facts, Prospect, prospect
from herd.policy.scoring import Moment
from herd.policy.values import Ask, Decision, Hardware, Memory, MemoryKind, ModelView, NodeView, Reason
from herd.types import Api, BackendId, Bytes, Dialect, GiB, ModelName, NodeId, NodeName, NodeState, Seconds, Tokens

BOTH = (Dialect.OLLAMA, Dialect.OPENAI)
EVERYTHING = tuple(api for api in Api if api not in {Api.MESSAGES, Api.COUNT_TOKENS})
CHAT_ONLY = (Api.CHAT,)
OPENAI_ONLY = (Dialect.OPENAI,)

ASK = Ask("llama3.2:3b", Api.CHAT, sent="llama3.2:3b")
NOW = Moment(Seconds(1000.0))


def model(name: str = "llama3.2:3b", *, context: int = 0, gib: float = 0.0, **fields: Any) -> ModelView:
    """A model on an Ollama, of so many GiB on disk, and in memory if it is resident."""
    size = Bytes(int(gib * GiB))
    if fields.get("resident"):
        fields.setdefault("size_resident", size)
    return ModelView(
        ModelName(name), BackendId("ollama"), BOTH, apis=EVERYTHING, size=size, context=Tokens(context), **fields
    )


def node(
    name: str,
    *models: ModelView,
    state: NodeState = NodeState.READY,
    reasons: tuple[Reason, ...] = (),
    memory: Memory | None = None,
    **fields: Any,
) -> NodeView:
    """A node whose id is its name."""
    known: dict[str, ModelView] = {view.name: view for view in models}
    return NodeView(NodeId(name), NodeName(name), state, known, reasons, memory=memory or Memory(), **fields)


def card(total: float, free: float, *, spill: float = 0.0) -> dict[str, Any]:
    """The fields of a node with a GPU of so many GiB, of which so many are free, and with RAM beside it."""
    memory = Memory(Bytes(int(total * GiB)), Bytes(int(free * GiB)), Bytes(64 * GiB), Bytes(int(spill * GiB)))
    return {"memory": memory, "hardware": Hardware(MemoryKind.VIDEO, 1000e9)}


def looked_at(view: NodeView, key: str = "llama3.2:3b", **facts: Any) -> Prospect:
    """What the model has to expect on a node that serves it."""
    found = prospect(key, view, Facts(**facts))
    assert isinstance(found, Prospect), found
    return found


def decide(
    ask: Ask, nodes: Iterable[NodeView], loads: Mapping[NodeId, NodeLoad] | None = None, moment: Moment = NOW
) -> Decision:
    """Place a request with a fleet of which nothing is known beyond its reports."""
    return place(ask, [prospect(ask.model, view, Facts()) for view in nodes], loads or {}, moment)


def signals(decision: Decision, name: str) -> dict[str, float]:
    """The parts of a candidate's score."""
    (candidate,) = [candidate for candidate in decision.candidates if candidate.name == name]
    return {signal.name: signal.points for signal in candidate.signals}
