"""Nodes without agents: a simulated machine answers at the router's own ports.

For days and months in virtual time. The router is the production one, every message between its actors included; what
its links would carry arrives as values, and an answer in as few pieces as its model server writes.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from herd.actors.command_ends import Unanswered, UnderWay, unable
from herd.actors.ports import Handler, Headers, LinkEvents, Obey
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.headers import to_client
from herd.protocols.messages import Command, Failure, Goodbye, Head, Hello, Report, RequestHead, Result, Welcome
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamEvent, StreamReset
from herd.protocols.usage import UsageReader
from herd.simulation.fleet.links import PORT
from herd.simulation.http import InMemoryRequest
from herd.types import LinkId, NodeId, Seconds, StreamId


class Line:
    """One node's link, from its welcome until either end hangs up.

    Attributes:
        heard: when the router last heard of the node, in loop time.
        gone: why the line is no more; empty while it is.
    """

    def __init__(self, link: LinkId, node: NodeId, serve: Handler, lost: Callable[[], None], obey: Obey) -> None:
        self.link = link
        self.node = node
        self.serve = serve
        self.lost = lost
        self.streams: dict[StreamId, Stream] = {}
        self.unanswered = Unanswered()
        self.commands = UnderWay(obey, self.unanswered.heard)
        self.heard = asyncio.get_running_loop().time()
        self.gone = ""


class Switchboard:
    """Every line of one router. Implements the ports `LinkListener`, `Links` and `Streams`."""

    events: LinkEvents

    def __init__(self) -> None:
        self.port = PORT
        self._listening = False
        self._last_link = 0
        self._lines: dict[LinkId, Line] = {}  # welcomed ones
        self._streams: dict[StreamId, Line] = {}

    def __repr__(self) -> str:
        return f"<Switchboard [{len(self._lines)} nodes, {len(self._streams)} streams]>"

    # --- The nodes' side ----------------------------------------------------------------------------------------------

    async def join(self, hello: Hello, serve: Handler, lost: Callable[[], None], obey: Obey = unable) -> Line | None:
        """Knock at the router; None when it will not have the node, or is not there.

        Args:
            hello: who the node is.
            serve: answers its requests.
            lost: called when the line is gone and the node did not hang up itself.
            obey: carries commands out.
        """
        if not self._listening:
            return None
        self._last_link += 1
        line = Line(LinkId(self._last_link), hello.node_id, serve, lost, obey)
        answer = await self.events.hello(line.link, hello, "in memory")
        if not isinstance(answer, Welcome) or not self._listening:  # it may have stopped meanwhile
            return None
        self._lines[line.link] = line
        return line

    def report(self, line: Line, report: Report) -> None:
        """A heartbeat."""
        if not line.gone:
            line.heard = asyncio.get_running_loop().time()
            self.events.report(line.link, line.node, report)

    def drop(self, line: Line, why: str) -> None:
        """The line is gone: its streams break, and the router is told. Idempotent."""
        if line.gone:
            return
        line.gone = why
        for stream in list(line.streams.values()):
            stream.cut(why)
        line.commands.end()
        line.unanswered.lost(why)
        if self._lines.pop(line.link, None) is not None:
            self.events.down(line.link, line.node, why)

    # --- LinkListener -------------------------------------------------------------------------------------------------

    async def start(self, events: LinkEvents) -> None:
        """Let nodes join."""
        self.events = events
        self._listening = True

    async def stop(self) -> None:
        """Say goodbye to every node, and take no further one."""
        self._listening = False
        for line in list(self._lines.values()):
            self._hang_up(line, "the router is shutting down")
        await asyncio.sleep(0)  # the turn in which the cut streams end

    # --- Links --------------------------------------------------------------------------------------------------------

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        """Raises StreamFailed."""
        line = self._lines.get(link)
        if line is None:
            raise StreamFailed("the node's link is gone")
        line.streams[stream] = Stream(stream, head, line.serve)
        self._streams[stream] = line

    async def command(self, link: LinkId, command: Command) -> Result:
        """Raises LinkClosed."""
        line = self._lines.get(link)
        if line is None:
            raise LinkClosed("the node's link is gone")
        return await line.unanswered.wait(command, line.commands.begin)

    def silence(self, link: LinkId) -> Seconds:
        """Seconds since the node was last heard; infinite when its link is gone."""
        line = self._lines.get(link)
        return Seconds(asyncio.get_running_loop().time() - line.heard if line is not None else float("inf"))

    def disconnect(self, link: LinkId, goodbye: Goodbye) -> None:
        """Hang up."""
        line = self._lines.get(link)
        if line is not None:
            self._hang_up(line, goodbye.text or goodbye.code)

    def disconnect_all(self, goodbye: Goodbye) -> None:
        """Hang up on everybody."""
        for line in list(self._lines.values()):
            self._hang_up(line, goodbye.text or goodbye.code)

    def _hang_up(self, line: Line, why: str) -> None:
        self.drop(line, why)
        line.lost()

    # --- Streams ------------------------------------------------------------------------------------------------------

    def attach(self, stream: StreamId) -> "Stream":
        """Raises LinkClosed."""
        line = self._streams.get(stream)
        if line is None:
            raise LinkClosed("the stream is not open")
        return line.streams[stream]

    def close(self, stream: StreamId) -> None:
        """Give a stream up. Idempotent."""
        line = self._streams.pop(stream, None)
        if line is not None:
            line.streams.pop(stream).close()


class Stream:
    """One exchange: the router's `Exchange`, and the `Sink` into which the model server answers.

    Not bounded: no client in virtual time is slower than a model, and an answer ends by its length.
    """

    def __init__(self, stream: StreamId, head: RequestHead, serve: Handler) -> None:
        self._stream = stream
        self._head = head
        self._serve = serve
        self._body = bytearray()
        self._events: deque[StreamEvent] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._usage = UsageReader(head.path, head.streamed)
        self._started = False
        self._over = False
        if head.size == 0:
            self._begin()

    # --- the router's end ---------------------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        self._body += data

    async def end(self) -> None:
        if self._task is None and not self._over:
            self._begin()

    async def receive(self) -> StreamEvent:
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()

    def close(self) -> None:
        """Nobody waits for it any more: the model server sees its connection closed."""
        self._over = True
        if self._task is not None:
            self._task.cancel()

    def cut(self, why: str) -> None:
        """The link is gone, and with it the agent's connection to its model server."""
        self._push(StreamReset(self._stream, Failure("link", f"the link to the node was lost: {why}")))
        self.close()

    # --- the model server's end ---------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        return self._started

    async def start(self, status: int, headers: Headers) -> None:
        self._started = True
        self._push(HeadReceived(self._stream, Head(status, to_client(headers))))

    async def write(self, data: bytes) -> None:
        if data:
            self._usage.feed(data)
            self._push(DataReceived(self._stream, data))

    async def finish(self) -> None:
        self._push(StreamEnded(self._stream, self._usage.usage()))
        self._over = True

    def abort(self) -> None:
        self._break("the server closed the connection")

    # --- between them -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        head = self._head
        request = InMemoryRequest(head.method, head.path, bytes(self._body), head.headers)
        self._task = asyncio.create_task(self._run(self._serve(request, self)), name=f"serve {head.request_id}")

    async def _run(self, answer: Awaitable[None]) -> None:
        try:
            await answer
        except Exception as error:  # noqa: BLE001 - the router sees an answer that breaks off, and why
            self._break(f"the handler failed: {error!r}")
        else:
            self._break("the server closed the connection")

    def _break(self, why: str) -> None:
        self._push(StreamReset(self._stream, Failure("reset", why)))
        self._over = True

    def _push(self, event: StreamEvent) -> None:
        if self._over:
            return
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
