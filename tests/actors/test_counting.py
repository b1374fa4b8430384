"""Who counts the tokens of a request: a node whose server does it and has room, else the router by its guess."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from herd.actors import counting
from herd.actors.body import MemoryBody
from herd.actors.model_queue import QueueStatus
from herd.actors.node import NodeStatus
from herd.actors.ports import Sink
from herd.actors.request import Inbound, RouterParts
from herd.names import Names
from herd.protocols import apis
from herd.protocols.messages import BackendInfo, Machine
from herd.protocols.paths import find
from herd.protocols.requests import Routing
from herd.simulation.http import RecordingSink
from herd.types import BackendKind, NodeId, NodeName, NodeState, RequestId, Tokens
from tests.actors.doubles import LLAMACPP, OLLAMA, model, report

MODEL = "llama3.2:3b"
FALLBACK = "gemma3:4b"
COUNTS = replace(LLAMACPP, apis=apis.native(BackendKind.LLAMACPP, ""))
DOES_NOT = replace(OLLAMA, apis=apis.native(BackendKind.OLLAMA, "0.33.0"))


def node(
    backend: BackendInfo, *, running: int = 0, name: str = MODEL, state: NodeState = NodeState.READY
) -> NodeStatus:
    queue = QueueStatus(NodeName("a"), MODEL, running, 0, 2)
    reported = report(model(name, backend), backends=(backend,))
    return NodeStatus(NodeId("a"), NodeName("a"), state, (), Machine(), "", reported, (queue,))


async def asked(monkeypatch: pytest.MonkeyPatch, *nodes: NodeStatus) -> RecordingSink | None:
    """The router's own answer; None when the request was served like any other."""
    served: list[Inbound] = []

    async def serve(inbound: Inbound, sink: Sink, parts: RouterParts) -> None:
        served.append(inbound)

    monkeypatch.setattr(counting, "serve", serve)
    path = "/v1/messages/count_tokens"
    routing = Routing(MODEL, streamed=False, prompt_tokens=Tokens(41))
    inbound = Inbound(RequestId("r1"), find("POST", path), path, (), routing, MemoryBody(b"{}"), "client")
    sink = RecordingSink()
    parts = cast("RouterParts", SimpleNamespace(names=Names({}, {MODEL: [FALLBACK]})))
    await counting.count(inbound, sink, parts, nodes)
    assert sink.started is not bool(served)
    return sink if sink.started else None


@pytest.mark.parametrize(
    "nodes",
    [
        [node(COUNTS)],
        [node(DOES_NOT), node(COUNTS, running=1)],
        [],
        [node(DOES_NOT, name="another:1b")],
        [node(COUNTS, name=FALLBACK)],
    ],
    ids=["it counts", "one of two counts", "nobody", "not that model", "its fallback's counts"],
)
async def test_a_node_is_asked_where_one_counts_or_nobody_can_say(
    monkeypatch: pytest.MonkeyPatch, nodes: list[NodeStatus]
) -> None:
    assert await asked(monkeypatch, *nodes) is None


@pytest.mark.parametrize(
    "nodes",
    [
        [node(DOES_NOT)],
        [node(COUNTS, running=2)],
        [node(DOES_NOT), node(COUNTS, state=NodeState.PAUSED)],
        [node(COUNTS, state=NodeState.OFFLINE)],
        [node(DOES_NOT, name=FALLBACK)],
        [node(DOES_NOT), node(COUNTS, name=FALLBACK)],
    ],
    ids=[
        "none counts",
        "that one is full",
        "that one is paused",
        "none is there",
        "its fallback's",
        "not its fallback",
    ],
)
async def test_else_the_router_guesses_and_says_so(monkeypatch: pytest.MonkeyPatch, nodes: list[NodeStatus]) -> None:
    answer = await asked(monkeypatch, *nodes)
    assert answer is not None
    assert (answer.status, answer.json, answer.finished) == (200, {"input_tokens": 41}, True)
    assert answer.header("X-Herd-Estimated") == "input_tokens"
