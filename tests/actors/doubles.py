"""Stand-ins at the seams of actors: they keep what they are told, and answer as they were told to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from herd.actors.ports import Handler
from herd.actors.sensor_ports import MachineSample
from herd.errors import HerdError, LinkClosed, StreamFailed, TimedOut
from herd.policy.owner import Owner
from herd.policy.values import ModelView, NodeView, Ticket
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import (
    BackendInfo,
    Command,
    Failure,
    Goodbye,
    Head,
    ModelInfo,
    Report,
    RequestHead,
    Result,
    Usage,
)
from herd.protocols.session import StreamEvent
from herd.types import (
    BackendId,
    Bytes,
    Dialect,
    LinkId,
    ModelName,
    NodeId,
    NodeName,
    NodeState,
    Priority,
    RequestId,
    Seconds,
    StreamId,
    TicketId,
)

OLLAMA = BackendInfo(BackendId("ollama"), "ollama", "0.33.0", ("ollama", "openai"), parallel=2)
LLAMACPP = BackendInfo(BackendId("llamacpp"), "llamacpp", "", ("openai",), parallel=1)


class Witness:
    """An actor that hears what others tell, in place of the one that they tell it to."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, tuple[Any, ...]]] = []

    def heard(self) -> list[tuple[str, tuple[Any, ...]]]:
        """What was told since the last time."""
        heard, self._heard = self._heard, []
        return heard

    def _hear(self, name: str, *args: Any) -> None:
        self._heard.append((name, args))

    def unlocked(self, models: tuple[tuple[str, int], ...], version: int) -> None:
        self._hear("unlocked", models, version)

    def node_changed(self, view: NodeView) -> None:
        self._hear("node_changed", view)

    def limit_changed(self, model: str, limit: int) -> None:
        self._hear("limit_changed", model, limit)

    def record(self, *records: Any) -> None:
        self._hear("record", *records)

    def silence(self, state: NodeState) -> None:
        self._hear("silence", state)

    def start_reporting(self, link: Any) -> None:
        """The Agent's own tests are about that."""

    def link_up(self, welcome: Any, way: Any) -> None:
        self._hear("link_up", welcome, way)

    def link_down(self, why: str) -> None:
        self._hear("link_down", why)

    def report(self, report: Report) -> None:
        self._hear("report", report)

    def backend_changed(self, state: Any) -> None:
        self._hear("backend_changed", state)

    def sensed_by(self, collector: Any) -> None:
        """The Agent's own tests are about that."""

    def sampled(self, sample: MachineSample, urgent: bool = False) -> None:
        self._hear("sampled", sample, urgent)

    def owner_changed(self, owner: Owner) -> None:
        self._hear("owner_changed", owner)

    def introduce(self) -> None:
        self._hear("introduce")

    def look(self) -> None:
        self._hear("look")

    def watch(self) -> None:
        self._hear("watch")

    def suspect(self) -> None:
        self._hear("suspect")

    def changed(self) -> None:
        self._hear("changed")


async def settled() -> None:
    """Let everything happen that takes no time."""
    for _ in range(20):
        await asyncio.sleep(0)


def ticket(
    number: int, client: str = "client", *, arrived: float = 0.0, priority: Priority = Priority.INTERACTIVE
) -> Ticket:
    return Ticket(TicketId(f"t{number}"), client, Seconds(arrived), priority)


def model(name: str, backend: BackendInfo = OLLAMA, *, resident: bool = False) -> ModelInfo:
    return ModelInfo(ModelName(name), backend.id, resident=resident)


def report(*models: ModelInfo, backends: tuple[BackendInfo, ...] = (OLLAMA,), **fields: Any) -> Report:
    return Report(backends=backends, models=models, **fields)


def request_head(size: int = 0, backend: str = "ollama", *, streamed: bool = True) -> RequestHead:
    return RequestHead(
        RequestId("r1"), BackendId(backend), "POST", "/api/chat", dialect=Dialect.OLLAMA, streamed=streamed, size=size
    )


def view(node: str, models: dict[str, ModelView] | None = None, state: NodeState = NodeState.READY) -> NodeView:
    return NodeView(NodeId(node), NodeName(node), state, models or {})


class FakeLinks:
    """The port `Links`: a silence that the test sets, and a record of the rest."""

    def __init__(self) -> None:
        self.heard_at: dict[LinkId, float] = {}
        self.opened: list[tuple[LinkId, StreamId]] = []
        self.goodbyes: list[tuple[LinkId, str]] = []
        self.refusal: StreamFailed | None = None
        self.commands: dict[int, asyncio.Future[Result]] = {}  # under way, by their ids

    def hear(self, link: int) -> None:
        """The link carries a frame now."""
        self.heard_at[LinkId(link)] = asyncio.get_running_loop().time()

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append((link, stream))

    async def command(self, link: LinkId, command: Command) -> Result:
        if self.refusal is not None:
            raise self.refusal
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.commands[command.id] = answer
        try:
            return await answer
        finally:
            del self.commands[command.id]

    def silence(self, link: LinkId) -> Seconds:
        heard = self.heard_at.get(link)
        return Seconds(float("inf") if heard is None else asyncio.get_running_loop().time() - heard)

    def disconnect(self, link: LinkId, goodbye: Goodbye) -> None:
        self.goodbyes.append((link, goodbye.code))

    def disconnect_all(self, goodbye: Goodbye) -> None:
        for link in list(self.heard_at):
            self.disconnect(link, goodbye)


class FakeExchange:
    """The port `Exchange`: gives out a script of events."""

    def __init__(self, *events: StreamEvent) -> None:
        self._events = deque(events)

    async def send(self, data: bytes) -> None:
        raise LinkClosed("nothing is sent here")

    async def end(self) -> None:
        raise LinkClosed("nothing is sent here")

    async def receive(self) -> StreamEvent:
        await asyncio.sleep(0)
        return self._events.popleft()


class FakeServing:
    """The port `Serving`: keeps the answer."""

    def __init__(self, head: RequestHead, *body: bytes) -> None:
        self.head = head
        self.said: list[Head | bytes | Usage | Failure] = []
        self._body = body

    async def body(self) -> AsyncIterator[bytes]:
        for piece in self._body:
            yield piece

    async def send_head(self, head: Head) -> None:
        self.said.append(head)

    async def send(self, data: bytes) -> None:
        self.said.append(data)

    def end(self, usage: Usage) -> None:
        self.said.append(usage)

    def reset(self, failure: Failure) -> None:
        self.said.append(failure)


class FakeServers:
    """The port `ModelServers`, as far as lists go: answers by path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.down: HerdError | None = None
        self.delay = 0.0
        self.slow: dict[str, float] = {}  # seconds that a path takes, in place of `delay`

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        path = "/" + url.partition("://")[2].partition("/")[2]
        if body is not None:
            path = f"{path} {body['model']}"
        self.asked.append(path)
        if delay := self.slow.get(path, self.delay):
            await asyncio.sleep(min(delay, timeout))
            if delay > timeout:
                raise TimedOut("no answer")
        if self.down is not None:
            raise self.down
        return (200, self.answers[path]) if path in self.answers else (404, None)

    async def exchange(self, base_url: str, head: RequestHead, body: Any) -> Any:
        raise StreamFailed("only lists here")


class FakeHttpServer:
    """The port `HttpServer`: keeps a diary, and answers nobody."""

    port = 11435

    def __init__(self) -> None:
        self.diary: list[str] = []

    async def start(self, handler: Handler) -> None:
        self.diary.append("listens")

    async def stop(self) -> None:
        self.diary.append("has stopped")


class FakeAdvertiser:
    """The port `Advertiser`: keeps a diary, and its next `failures` looks at the network fail."""

    def __init__(self, failures: int) -> None:
        self.diary: list[str] = []
        self._failures = failures

    async def start(self, address: RouterAddress) -> None:
        self.diary.append("announces")

    async def refresh(self) -> bool:
        if self._failures:
            self._failures -= 1
            raise OSError("the network is down")
        return False

    async def stop(self) -> None:
        self.diary.append("says goodbye")


class FixedMachine:
    """The port `MachineProbe`: the same sample with a counter in it."""

    def __init__(self) -> None:
        self._samples = 0

    def machine(self) -> Any:
        raise NotImplementedError

    def sample(self) -> MachineSample:
        self._samples += 1
        return MachineSample(self._samples / 100, Bytes(64), Bytes(32), 5)
