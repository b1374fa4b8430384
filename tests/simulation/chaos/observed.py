"""A router's doings, told to an observer one by one."""

from herd.protocols.messages import BackendInfo, ModelInfo, Pause, Report, RequestHead
from herd.simulation.chaos.invariants import Asked, Invariant, Observer
from herd.simulation.fleet.house import OLLAMA
from herd.types import Bytes, LinkId, ModelName, NodeId, RequestId

LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"
A, B = NodeId("a"), NodeId("b")


def report(*models: str, pauses: tuple[Pause, ...] = (), parallel: int = 1) -> Report:
    infos = tuple(ModelInfo(ModelName(model), OLLAMA, Bytes(1)) for model in models)
    return Report((BackendInfo(OLLAMA, "ollama", parallel=parallel),), infos, pauses)


def head(asked: Asked) -> RequestHead:
    return RequestHead(RequestId(asked.mark), OLLAMA, "POST", asked.path)


def ask(observer: Observer, mark: str = "r1", model: str = LLAMA) -> Asked:
    return observer.ask(mark, model, "/api/chat", streamed=True)


def ready(observer: Observer, node: NodeId = A, *models: str, link: int = 1, parallel: int = 1) -> None:
    """A node has joined, and reported these models, `LLAMA` if none is named."""
    observer.joined(LinkId(link), node)
    observer.reported(LinkId(link), node, report(*(models or (LLAMA,)), parallel=parallel))


def invariants(observer: Observer) -> list[Invariant]:
    """Those that were violated."""
    return [one for text in observer.violations for one in Invariant if text.startswith(f"invariant {one} ")]
