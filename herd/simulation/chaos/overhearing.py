"""Ears in a house: what is reported, opened, executed and answered is overheard, and nothing of it is changed.

Every request that is to be overheard carries an id of its client's in `MARK`, which the router keeps and passes on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from herd.actors.ports import Handler, Headers, HttpRequest, LinkEvents, Sink
from herd.protocols.headers import value_of
from herd.protocols.messages import Goodbye, Hello, Report, RequestHead, Welcome
from herd.simulation.fleet.links import InMemoryLinks
from herd.simulation.http import RecordingSink
from herd.types import LinkId, NodeId, Seconds, StreamId

MARK = "X-Request-Id"


@dataclass(slots=True)
class Execution:
    """What one model server did for one request."""

    node: NodeId
    began: Seconds  # loop time
    status: int = 0
    said: bytearray = field(default_factory=bytearray)  # bounded by the answer
    clean: bool = False  # it ended its answer as one ends a whole one


class Ears(Protocol):
    """Who overhears."""

    def router_began(self) -> None:
        """A router listens for agents: it has heard nothing yet."""

    def joined(self, link: LinkId, node: NodeId) -> None: ...

    def reported(self, link: LinkId, node: NodeId, report: Report) -> None: ...

    def draining(self, link: LinkId, node: NodeId) -> None: ...

    def left(self, link: LinkId, node: NodeId) -> None: ...

    def opened(self, node: NodeId, stream: StreamId, head: RequestHead) -> None: ...

    def closed(self, stream: StreamId, *, given_up: bool) -> None:
        """The router let go of a stream; `given_up`: its answer was under way, and its link was up."""

    def executed(self, node: NodeId, mark: str) -> Execution | None:
        """A model server begins to answer; what is returned is filled. None for a request that nobody asked about."""


class WatchedSink(RecordingSink):
    """A client's sink that knows the order in which an answer is written.

    Args:
        complain: told, in the middle of a sentence, what is written out of order.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        super().__init__()
        self._complain = complain

    def _expect(self, right: bool, wrong: str) -> None:
        if not right:
            self._complain(wrong)

    async def start(self, status: int, headers: Headers) -> None:
        self._expect(not self.started, "got a second head")
        await super().start(status, headers)

    async def write(self, data: bytes) -> None:
        self._expect(self.started, "got bytes before a head")
        self._expect(not self.finished and not self.aborted, "got bytes after the end")
        await super().write(data)

    async def finish(self) -> None:
        self._expect(self.started, "got an end before a head")
        self._expect(not self.finished and not self.aborted, "got a second end")
        await super().finish()

    def abort(self) -> None:
        self._expect(not self.finished, "was cut off after the end")
        super().abort()


class _Copy:
    """A `Sink` that notes what a server says before it goes out, so that no client ever has more than that."""

    def __init__(self, sink: Sink, execution: Execution) -> None:
        self._sink = sink
        self._execution = execution

    @property
    def started(self) -> bool:
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        self._execution.status = status
        await self._sink.start(status, headers)

    async def write(self, data: bytes) -> None:
        self._execution.said += data
        await self._sink.write(data)

    async def finish(self) -> None:
        self._execution.clean = True
        await self._sink.finish()

    def abort(self) -> None:
        self._sink.abort()


def recorded(handler: Handler, node: NodeId, ears: Ears) -> Handler:
    """A model server whose answers to marked requests are overheard."""

    async def handle(request: HttpRequest, sink: Sink) -> None:
        mark = value_of(request.headers, MARK.lower())
        execution = ears.executed(node, mark) if mark else None
        await handler(request, sink if execution is None else _Copy(sink, execution))

    return handle


class _Events:
    """The port `LinkEvents`, overheard."""

    def __init__(self, events: LinkEvents, ears: Ears) -> None:
        self._events = events
        self._ears = ears

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        answer = await self._events.hello(link, hello, peer)
        if isinstance(answer, Welcome):
            self._ears.joined(link, hello.node_id)
        return answer

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        self._ears.reported(link, node, report)
        self._events.report(link, node, report)

    def draining(self, link: LinkId, node: NodeId) -> None:
        self._ears.draining(link, node)
        self._events.draining(link, node)

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        self._ears.left(link, node)
        self._events.down(link, node, why)


class OverheardLinks(InMemoryLinks):
    """The links of a house, overheard.

    Args:
        ears: told of everything, before or at the moment when the router is.
    """

    def __init__(self, ears: Ears) -> None:
        super().__init__()
        self._ears = ears

    async def start(self, events: LinkEvents) -> None:
        self._ears.router_began()
        await super().start(_Events(events, self._ears))

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        super().open(link, stream, head)
        self._ears.opened(self.node_of(link), stream, head)

    def close(self, stream: StreamId) -> None:
        given_up = self.is_under_way(stream)
        super().close(stream)
        self._ears.closed(stream, given_up=given_up)
