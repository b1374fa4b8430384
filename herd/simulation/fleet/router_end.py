"""The router's end of a link in memory. Does what `herd/net/link_server.py` does, and when it does it."""

import asyncio
from collections import deque
from typing import Protocol

from herd.actors.command_ends import Unanswered
from herd.actors.ports import LinkEvents
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.messages import Command, Failure, Goodbye, Hello, RequestHead, Result, Welcome
from herd.protocols.session import (
    MAX_STREAMS,
    BodyReceived,
    CommandReceived,
    DataReceived,
    DrainReceived,
    GoodbyeReceived,
    HeadReceived,
    HelloReceived,
    PongReceived,
    ReportReceived,
    ResultReceived,
    StreamCancelled,
    StreamEnded,
    StreamEvent,
    StreamOpened,
    StreamReset,
    Welcomed,
)
from herd.runtime import ActorDiedError, ActorUnavailableError
from herd.simulation.fleet.line import CLOSED, Closed, Room, Said, Taken, Wire
from herd.types import LinkId, NodeId, Seconds, StreamId


class Board(Protocol):
    """Who is told when a link has joined and when it is gone."""

    @property
    def events(self) -> LinkEvents: ...

    def joined(self, end: "RouterEnd") -> None: ...

    def left(self, end: "RouterEnd", why: str) -> None: ...


class RouterStream:
    """The router's end of one stream; implements the port `Exchange`."""

    def __init__(self, end: "RouterEnd", stream: StreamId, head: RequestHead) -> None:
        self._end = end
        self._stream = stream
        self._has_body = head.size != 0
        self._events: deque[StreamEvent] = deque()  # its data is bounded by the agent's Room
        self._handed = 0  # bytes given out by the latest `receive`
        self._waiter: asyncio.Future[None] | None = None
        self.room = Room()
        self.ended = False

    def push(self, event: StreamEvent) -> None:
        """The next event of the answer."""
        if isinstance(event, StreamEnded | StreamReset):
            self.ended = True
            self.room.free()
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def send(self, data: bytes) -> None:
        """Raises LinkClosed."""
        if self._end.lost:
            raise LinkClosed("the node's link is gone")
        if not self.ended:
            self._end.wire.say(BodyReceived(self._stream, data, False))
            await self.room.fill(len(data))

    async def end(self) -> None:
        if self._has_body and not self.ended and not self._end.lost:
            self._end.wire.say(BodyReceived(self._stream, b"", True))

    async def receive(self) -> StreamEvent:
        if self._handed:
            self._end.wire.say(Taken(self._stream, self._handed))
            self._handed = 0
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event = self._events.popleft()
        if isinstance(event, DataReceived):
            self._handed = len(event.data)
        return event


class RouterEnd:
    """The router's end of one agent's link.

    Args:
        board: told of what happens.
        link: its id.
        wire: to the agent.
    """

    def __init__(self, board: Board, link: LinkId, wire: Wire) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._join_task: asyncio.Task[None] | None = None
        self.link = link
        self.wire = wire
        self.node: NodeId | None = None
        self.streams: dict[StreamId, RouterStream] = {}
        self._commands = Unanswered()
        self.lost = ""  # why; the link is gone, or about to go
        self.gone = False

    @property
    def silence(self) -> Seconds:
        """Seconds since anything was heard."""
        return Seconds(self._loop.time() - self._heard)

    def open(self, stream: StreamId, head: RequestHead) -> None:
        """Raises LinkClosed, or StreamFailed when there are too many."""
        if self.lost:
            raise LinkClosed("the node's link is gone")
        if len(self.streams) >= MAX_STREAMS:
            raise StreamFailed(f"The node has {MAX_STREAMS} requests open already.")
        self.streams[stream] = RouterStream(self, stream, head)
        self.wire.say(StreamOpened(stream, head))

    async def command(self, command: Command) -> Result:
        """Raises LinkClosed."""
        if self.lost:
            raise LinkClosed("the node's link is gone")
        return await self._commands.wait(command, lambda command: self.wire.say(CommandReceived(command)))

    def close(self, stream: StreamId) -> None:
        """Cancel the stream unless it has ended."""
        exchange = self.streams.pop(stream)
        if not exchange.ended and not self.lost:
            exchange.ended = True
            exchange.room.free()
            self.wire.say(StreamCancelled(stream))

    def hang_up(self, why: str, goodbye: Goodbye | None = None) -> None:
        """Say goodbye, if there is anything to say, and close. Idempotent."""
        if self.lost:
            return
        self.lost = why
        if goodbye is not None:
            self.wire.say(GoodbyeReceived(goodbye))
        self.wire.say(Closed())
        self._loop.call_soon(self.end, why)

    def end(self, why: str) -> None:
        """The link is gone: reset every stream, end every command, then tell the fleet. Idempotent."""
        if self.gone:
            return
        self.lost = self.lost or why
        self.gone = True
        failure = Failure("link", f"the link to the node was lost: {self.lost}")
        for stream, exchange in self.streams.items():
            if not exchange.ended:
                exchange.push(StreamReset(stream, failure))
        self._commands.lost(self.lost)
        self._board.left(self, self.lost)

    # --- what the agent says ------------------------------------------------------------------------------------------

    def hear(self, said: Said) -> None:
        """Once the link is given up nobody listens."""
        if self.lost:
            return
        self._heard = self._loop.time()
        match said:
            case HeadReceived() | DataReceived() | StreamEnded() | StreamReset():
                if said.stream in self.streams:
                    self.streams[said.stream].push(said)
            case Taken():
                if said.stream in self.streams:
                    self.streams[said.stream].room.taken(said.size)
            case ResultReceived():
                self._commands.heard(said.result)
            case HelloReceived():
                self._join_task = asyncio.create_task(self._join(said.hello), name=f"join link {self.link}")
            case GoodbyeReceived():
                self.hang_up(said.goodbye.text or said.goodbye.code)
            case Closed():
                self.hang_up(CLOSED)
            case ReportReceived() | DrainReceived():
                self._hear_of_node(said)

    def _hear_of_node(self, said: ReportReceived | DrainReceived) -> None:
        if self.node is None:
            return
        if isinstance(said, DrainReceived):
            self._board.events.draining(self.link, self.node)
        else:
            self.wire.say(PongReceived(0))  # every heartbeat asks for one
            self._board.events.report(self.link, self.node, said.report)

    async def _join(self, hello: Hello) -> None:
        try:
            answer = await self._board.events.hello(self.link, hello, "in memory")
        except (ActorDiedError, ActorUnavailableError):  # the router stops, or a part of it starts anew
            self.hang_up("the router failed while the agent joined")
            return
        if self.lost:
            if isinstance(answer, Welcome):
                self._board.events.down(self.link, hello.node_id, "the agent left while it joined")
        elif isinstance(answer, Goodbye):
            self.hang_up(answer.text or answer.code, answer)
        else:
            self.node = hello.node_id
            self._board.joined(self)
            self.wire.say(Welcomed(answer))
