"""The agent's end of one link, behind the ports `AgentLink` and `Serving`."""

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace

from herd.actors.command_ends import UnderWay
from herd.actors.log_context import logged_for
from herd.actors.ports import Obey, Relay
from herd.errors import HerdError, JoinRefused, LinkClosed, ProtocolError
from herd.net.known_routers import Expectation
from herd.net.link import MERGE_FROM, MERGE_UP_TO, LinkConnection
from herd.net.tls import TlsLayer, is_tls
from herd.protocols.handshake import NONCE_SIZE, HandshakeError
from herd.protocols.messages import Failure, Goodbye, Head, Hello, Report, RequestHead, Result, Usage, Welcome
from herd.protocols.session import (
    STREAM_BUFFER,
    AgentSession,
    BodyReceived,
    CommandReceived,
    Event,
    GoodbyeReceived,
    StreamCancelled,
    StreamOpened,
    Welcomed,
)
from herd.types import Seconds, StreamId

logger = logging.getLogger(__name__)

# Every heartbeat carries a ping, so a router that is there is heard every 5 s; three unanswered are a dead link.
SILENCE_S = 15.0
DOUBT_S = 1.0


class AgentStream:
    """The agent's end of one stream; implements the port `Serving`."""

    def __init__(self, connection: "AgentConnection", stream: StreamId, head: RequestHead) -> None:
        self._connection = connection
        self._stream = stream
        self.head = head
        self._body: deque[BodyReceived] = deque()
        self._body_waiter: asyncio.Future[None] | None = None
        self.over = False  # ended, reset or cancelled: nothing more may be sent

    def push(self, event: BodyReceived) -> None:
        """Request bytes from the link."""
        body = self._body
        if len(body) >= MERGE_FROM and len(body[-1].data) + len(event.data) <= MERGE_UP_TO:
            body[-1] = replace(event, data=body[-1].data + event.data)
        else:
            body.append(event)
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_result(None)

    async def body(self) -> AsyncIterator[bytes]:
        """The request body as it comes in."""
        last = self.head.size == 0
        while not last:
            while not self._body:
                self._body_waiter = asyncio.get_running_loop().create_future()
                await self._body_waiter
            event = self._body.popleft()
            last = event.last
            if event.data:
                yield event.data
                self._connection.consumed(self._stream, len(event.data))

    async def send_head(self, head: Head) -> None:
        """Begin the answer."""
        self._check()
        self._connection.session.send_head(self._stream, head)
        self._connection.wake()

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer; waits while the stream has no credit."""
        self._check()
        connection = self._connection
        connection.session.send_data(self._stream, data)
        connection.wake()
        if connection.session.unsent(self._stream) > STREAM_BUFFER:
            await connection.wait_room(self._stream)

    def end(self, usage: Usage) -> None:
        """The answer is whole."""
        self._check()
        self.over = True
        self._connection.session.end(self._stream, usage)
        self._connection.wake()

    def reset(self, failure: Failure) -> None:
        """The answer broke."""
        if not self.over and not self._connection.is_lost:
            self.over = True
            self._connection.session.reset(self._stream, failure)
            self._connection.wake()

    def _check(self) -> None:
        if self.over or self._connection.is_lost:
            raise LinkClosed("nobody waits for this answer any more")


@dataclass(frozen=True, slots=True)
class Introduction:
    """How an agent introduces itself to a router, and what it expects of it."""

    hello: Hello
    token: str  # empty when none is set
    expected: Expectation
    tls: ssl.SSLContext | None  # None: the link is plain
    name: str | None = None  # of the router, where the context checks it

    def session(self, channel: bytes) -> AgentSession:
        """A session with a nonce of its own, so that no router can replay an old proof."""
        hello = replace(self.hello, nonce=secrets.token_bytes(NONCE_SIZE))
        return AgentSession(hello, self.token or None, channel)


class AgentConnection(LinkConnection):
    """The connection to a router; implements the port `AgentLink`."""

    session: AgentSession

    def __init__(self, introduction: Introduction, relay: Relay, obey: Obey) -> None:
        tls = TlsLayer(introduction.tls, name=introduction.name) if introduction.tls is not None else None
        super().__init__(introduction.session(b""), tls)
        self._introduction = introduction
        self._relay = relay
        self._commands = UnderWay(obey, self._answer)
        self._streams: dict[StreamId, AgentStream] = {}
        self._tasks: dict[StreamId, asyncio.Task[None]] = {}
        self._pings = 0
        self._doubted = False  # the router was found silent, and has a moment to prove otherwise
        self._change: asyncio.Future[None] = self._loop.create_future()  # of what is written; renewed by who waits
        self._watch: asyncio.TimerHandle | None = None
        self.joined: asyncio.Future[Welcome] = self._loop.create_future()

    @property
    def welcome(self) -> Welcome:
        """What the router said when it let this agent in."""
        return self.joined.result()

    @property
    def certificate(self) -> bytes:
        """The SHA-256 of the router's certificate; empty on a plain link."""
        return self._tls.certificate if self._tls is not None else b""

    def data_received(self, data: bytes) -> None:
        """Frames from the router."""
        if self._tls is not None and not self._tls.begun and not is_tls(data):
            self.hang_up("the router's link is said to speak TLS, and does not: has herd lost its --tls-cert?")
            return
        super().data_received(data)

    def secured(self, tls: TlsLayer) -> None:
        """Look at the router's certificate before it hears anything of this agent."""
        with self._refusing():
            self._introduction.expected.check(tls.certificate)
            self.session = self._introduction.session(tls.certificate)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Ends the connection where this cannot be the router. An impostor need not be told why."""
        try:
            yield
        except HerdError as refused:
            self._not_joined(refused)
            self.cut(str(refused))

    def handle(self, events: Sequence[Event]) -> None:
        """Start, feed and cancel relays."""
        for event in events:
            if isinstance(event, BodyReceived):
                stream = self._streams.get(event.stream)
                if stream is not None:
                    stream.push(event)
            elif isinstance(event, StreamOpened):
                self._open(event)
            elif isinstance(event, StreamCancelled):
                self._cancel(event.stream)
            elif isinstance(event, CommandReceived):
                self._commands.begin(event.command)
            elif isinstance(event, Welcomed):
                with self._refusing():
                    self._introduction.expected.met(self.certificate, event.welcome.router_id)
                    self.joined.set_result(event.welcome)
                    self._look()
                if self._why is not None:
                    return
            elif isinstance(event, GoodbyeReceived):
                self._refused(event.goodbye)

    def _answer(self, result: Result) -> None:
        if not self.is_lost:
            self.session.result(result)
            self.wake()

    def _look(self) -> None:
        """Give up a router that has been silent for too long; else look again when that could be."""
        if self.silence < SILENCE_S:
            self._watch = self._loop.call_later(SILENCE_S - self.silence, self._look)
        elif not self._doubted:
            # A machine that slept wakes up here, and what the router said meanwhile lies unread in the socket.
            self._doubted = True
            self._watch = self._loop.call_later(DOUBT_S, self._look)
        else:
            self.hang_up(f"the router has been silent for {SILENCE_S:.0f} s")
            return
        self._doubted = self.silence >= SILENCE_S

    def _open(self, event: StreamOpened) -> None:
        stream = AgentStream(self, event.stream, event.head)
        self._streams[event.stream] = stream
        task = asyncio.create_task(self._serve(stream), name=f"relay {event.head.request_id}")
        self._tasks[event.stream] = task
        task.add_done_callback(lambda done: self._forget(event.stream, done))

    async def _serve(self, stream: AgentStream) -> None:
        with logged_for(stream.head.request_id):
            await self._relayed(stream)

    async def _relayed(self, stream: AgentStream) -> None:
        try:
            await self._relay(stream)
        except LinkClosed:
            # The answer lost its reader between two sends; its stream is already gone.
            logger.debug("request %s lost its reader", stream.head.request_id)
        except Exception:
            logger.exception("request %s failed in the agent", stream.head.request_id)
            stream.reset(Failure("internal", "the agent failed; its log says why"))
        finally:
            if not self.is_lost:
                stream.reset(Failure("internal", "the agent gave the request up"))

    def _forget(self, stream: StreamId, done: asyncio.Task[None]) -> None:
        if self._tasks.get(stream) is done:  # a router may use the id of a stream that has ended again
            del self._streams[stream], self._tasks[stream]
            self.free_room(stream)

    def _cancel(self, stream: StreamId) -> None:
        served = self._streams.get(stream)
        if served is not None:
            served.over = True
            self._tasks[stream].cancel()

    def _refused(self, goodbye: Goodbye) -> None:
        text = goodbye.text or goodbye.code
        self._not_joined(JoinRefused(text, goodbye.code))
        self.hang_up(text)

    def _not_joined(self, error: HerdError) -> None:
        if not self.joined.done():
            self.joined.set_exception(error)
            self.joined.exception()  # seen: whoever dialled may have given up by now

    def consumed(self, stream: StreamId, size: int) -> None:
        """Request bytes were handed on: more may come."""
        if not self.is_lost:
            self.session.consumed(stream, size)
            self.wake()

    def broken(self, error: ProtocolError) -> None:
        """The router broke the rules; in the handshake it may just not be this agent's."""
        if isinstance(error, HandshakeError):
            self._not_joined(JoinRefused(str(error), error.code))
        super().broken(error)

    def lost(self, why: str) -> None:
        """Cancel every relay and every command."""
        self.flushed()
        self._commands.end()
        if self._watch is not None:
            self._watch.cancel()
        self._not_joined(LinkClosed(why))
        for stream, task in self._tasks.items():
            self._streams[stream].over = True
            task.cancel()

    # --- AgentLink ----------------------------------------------------------------------------------------------------

    def report(self, report: Report) -> None:
        """Send a heartbeat, and ask whether the router is there."""
        if not self.is_lost:
            self._pings += 1
            self.session.ping(self._pings)  # first: a report that cannot be sent must not look like silence
            self.session.report(report)
            self.wake()

    def drain(self) -> None:
        """Ask for nothing new."""
        if not self.is_lost:
            self.session.drain()
            self.wake()

    async def wait_closed(self) -> str:
        """Wait until the link is gone; why."""
        return await self.wait_lost()

    async def close(self, goodbye: Goodbye, grace: Seconds) -> None:
        """Let running streams end for at most `grace` seconds, then say goodbye and close."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._all_written()
        if not self.is_lost:
            self.session.goodbye(goodbye)
            self.hang_up(goodbye.text or goodbye.code)
        await self.wait_lost()

    async def _all_written(self) -> None:
        """Wait until every stream is at its end, and that end is written: a relay is done long before."""
        while self.session.streams and not self.is_lost:
            self._change = self._loop.create_future()
            await self._change

    def flushed(self) -> None:
        """A stream may have ended."""
        if not self._change.done():
            self._change.set_result(None)
