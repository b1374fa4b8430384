"""The router's end of the links: a TCP listener for agents, behind the ports `LinkListener`, `Links` and `Streams`."""

import asyncio
import logging
import os
import secrets
import ssl
from collections import deque
from collections.abc import Sequence

from herd.actors.command_ends import Unanswered
from herd.actors.ports import LinkEvents
from herd.errors import ConfigError, LinkClosed
from herd.net.link import MERGE_FROM, MERGE_UP_TO, LinkConnection
from herd.net.link_traffic import LinkTraffic, TrafficBook
from herd.net.tls import TlsLayer, fingerprint, is_tls
from herd.protocols.handshake import NONCE_SIZE
from herd.protocols.messages import Command, Failure, Goodbye, Report, RequestHead, Result, Welcome
from herd.protocols.session import (
    STREAM_BUFFER,
    DataReceived,
    DrainReceived,
    Event,
    GoodbyeReceived,
    HeadReceived,
    HelloReceived,
    ReportReceived,
    ResultReceived,
    RouterSession,
    StreamEnded,
    StreamEvent,
    StreamReset,
)
from herd.types import LinkId, NodeId, Seconds, StreamId

logger = logging.getLogger(__name__)

# TLS, a hello and its proof are four round trips in one house; whoever needs longer is not an agent.
JOIN_S = 10.0
# Connections that have not joined yet: a hundred machines may come back at once after a power cut.
MAX_STRANGERS = 256
# An agent reports every 5 s, and at once when something changes. Each report replaces the one before, so what comes
# faster than this is never looked at: reports cost the fleet milliseconds and its mailboxes have no bound.
REPORT_EVERY_S = 0.1
SHUTDOWN = Goodbye("shutdown", "the router is shutting down")
ONLY_TLS = Goodbye(
    "tls",
    "This router's link speaks TLS only: update herd-node, or have it find the router anew by --router-url https://",
)
NO_TLS = Goodbye("tls", "This router's link does not speak TLS: start herd with --tls-cert and --tls-key")


class RouterExchange:
    """The router's end of one stream; implements the port `Exchange`."""

    __slots__ = ("_connection", "_events", "_handed", "_stream", "_waiter", "ended")

    def __init__(self, connection: "RouterConnection", stream: StreamId) -> None:
        self._connection = connection
        self._stream = stream
        self._events: deque[StreamEvent] = deque()
        self._handed = 0  # bytes given out by the latest `receive`
        self._waiter: asyncio.Future[None] | None = None
        self.ended = False

    def push(self, event: StreamEvent) -> None:
        """An event from the link."""
        events = self._events
        if type(event) is DataReceived and len(events) >= MERGE_FROM:
            last = events[-1]
            if type(last) is DataReceived and len(last.data) + len(event.data) <= MERGE_UP_TO:
                events[-1] = DataReceived(event.stream, last.data + event.data)
                return
        events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def send(self, data: bytes) -> None:
        """Queue request bytes; waits while the link has no room."""
        connection = self._connection
        if connection.is_lost:
            raise LinkClosed("the node's link is gone")
        if self.ended:  # the answer is complete without the rest of the request
            return
        connection.session.send_body(self._stream, data)
        connection.wake()
        if connection.session.unsent(self._stream) > STREAM_BUFFER:
            await connection.wait_room(self._stream)

    async def end(self) -> None:
        """No more request bytes."""
        if not self.ended and not self._connection.is_lost:
            self._connection.session.end_body(self._stream)
            self._connection.wake()

    async def receive(self) -> StreamEvent:
        """The next event; also says that the bytes of the one before are handed on."""
        if self._handed:
            self._connection.consumed(self._stream, self._handed)
            self._handed = 0
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        event = self._events.popleft()
        if type(event) is DataReceived:
            self._handed = len(event.data)
        return event


class RouterConnection(LinkConnection):
    """One agent's connection."""

    session: RouterSession

    def __init__(self, server: "LinkServer", link: LinkId, session: RouterSession, tls: TlsLayer | None) -> None:
        super().__init__(session, tls)
        self._server = server
        self._met = False  # the first bytes have come
        self.link = link
        self.node: NodeId | None = None
        self.exchanges: dict[StreamId, RouterExchange] = {}
        self._commands = Unanswered()
        self._joining = self._loop.call_later(JOIN_S, self._too_slow)
        self._join_task: asyncio.Task[None] | None = None
        self._report: Report | None = None  # the newest one, while it waits for its time
        self._reporting: asyncio.TimerHandle | None = None  # while a report was handed on a moment ago
        self._draining = False

    def data_received(self, data: bytes) -> None:
        """Frames from the agent. Who does not speak TLS where it is spoken, or the other way round, is told so."""
        if not self._met:
            self._met = True
            if is_tls(data) is (self._tls is None):
                goodbye = NO_TLS if self._tls is None else ONLY_TLS
                self._tls = None  # who speaks plainly understands nothing else; who speaks TLS sees that it is none
                logger.warning("an agent at %s did not join: %s", self.peer, goodbye.text)
                self.say_goodbye(goodbye)
                return
        super().data_received(data)

    def handle(self, events: Sequence[Event]) -> None:
        """Hand stream events to their exchanges and the rest to the fleet."""
        for event in events:
            if isinstance(event, DataReceived | HeadReceived):
                exchange = self.exchanges.get(event.stream)
                if exchange is not None:
                    exchange.push(event)
            elif isinstance(event, StreamEnded | StreamReset):
                self._ended(event)
            else:
                self._control(event)

    def _ended(self, event: StreamEnded | StreamReset) -> None:
        exchange = self.exchanges.get(event.stream)
        self.free_room(event.stream)
        if exchange is not None:
            exchange.ended = True
            exchange.push(event)

    def _control(self, event: Event) -> None:
        fleet = self._server.events
        if isinstance(event, HelloReceived):
            self._join_task = asyncio.create_task(self._join(event), name=f"join link {self.link}")
        elif isinstance(event, GoodbyeReceived):
            if self.node is None:
                logger.warning("an agent at %s did not join: %r", self.peer, event.goodbye.text or event.goodbye.code)
            self.hang_up(event.goodbye.text or event.goodbye.code)
        elif isinstance(event, ReportReceived):
            self._report = event.report
            if self._reporting is None:
                self._hand_on()
        elif isinstance(event, ResultReceived):
            self._commands.heard(event.result)
        elif self.node is not None and isinstance(event, DrainReceived) and not self._draining:
            self._draining = True
            fleet.draining(self.link, self.node)

    def _hand_on(self) -> None:
        """Tell the fleet the newest report, if there is one, and look again when the next may be told."""
        self._reporting = None
        report, self._report = self._report, None
        if report is not None and self.node is not None and not self.is_lost:
            self._reporting = self._loop.call_later(REPORT_EVERY_S, self._hand_on)
            self._server.events.report(self.link, self.node, report)

    async def _join(self, event: HelloReceived) -> None:
        """Ask the fleet, and let the agent in or send it away."""
        try:
            answer = await self._server.events.hello(self.link, event.hello, self.peer)
        except Exception:
            logger.exception("the fleet did not answer the hello of %s", event.hello.name)
            self.hang_up("the router failed while the agent joined")
            return
        self._joining.cancel()
        if self.is_lost:
            if isinstance(answer, Welcome):
                self._server.events.down(self.link, event.hello.node_id, "the agent left while it joined")
            return
        if isinstance(answer, Goodbye):
            self.say_goodbye(answer)
            return
        self.node = event.hello.node_id
        self._server.joined(self, self.node)
        self.session.welcome(answer)
        self.wake()

    def _too_slow(self) -> None:
        self.say_goodbye(Goodbye("protocol", f"no valid hello within {JOIN_S:.0f} s"))

    def say_goodbye(self, goodbye: Goodbye) -> None:
        """Send it and close."""
        if not self.session.closed:
            self.session.goodbye(goodbye)
        self.hang_up(goodbye.text or goodbye.code)

    async def command(self, command: Command) -> Result:
        """Have the agent do something."""
        return await self._commands.wait(command, self._send_command)

    def _send_command(self, command: Command) -> None:
        self.session.command(command)
        self.wake()

    def consumed(self, stream: StreamId, size: int) -> None:
        """Bytes of an answer were handed on: more may come."""
        if not self.session.closed:
            self.session.consumed(stream, size)
            self.wake()

    def lost(self, why: str) -> None:
        """Reset every stream, end every command, then tell the fleet."""
        self._commands.lost(why)
        self._joining.cancel()
        if self._reporting is not None:
            self._reporting.cancel()
        failure = Failure("link", f"the link to the node was lost: {why}")
        for stream, exchange in self.exchanges.items():
            if not exchange.ended:
                exchange.ended = True
                exchange.push(StreamReset(stream, failure))
        self._server.left(self, why)


class LinkServer:
    """Listens for agents.

    Args:
        host: address to bind.
        port: 0 picks a free one, to be read from `port` after `start`.
        token: the join token; empty when none is needed.
        tls: the certificate with which links speak TLS; None for plain ones.
    """

    events: LinkEvents

    def __init__(self, host: str, port: int, token: str = "", tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self.port = port
        self._token = token
        self._tls = tls
        self._channel = fingerprint(tls) if tls is not None else b""
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._last_link = 0
        self._strangers: dict[LinkId, RouterConnection] = {}
        self._agents: dict[LinkId, RouterConnection] = {}
        self._stream_links: dict[StreamId, RouterConnection] = {}
        self._book = TrafficBook()

    # --- LinkListener -------------------------------------------------------------------------------------------------

    async def start(self, events: LinkEvents) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        self.events = events
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, self._host, self.port)
        except (OSError, OverflowError) as error:
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            raise ConfigError(f"cannot listen for agents on {self._host} port {self.port}: {reason}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Say goodbye to every agent, and close."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopped = True
        server.close()
        connections = [*self._agents.values(), *self._strangers.values()]
        for connection in connections:
            connection.say_goodbye(SHUTDOWN)
        await asyncio.gather(*(connection.wait_lost() for connection in connections))

    def _connection(self) -> asyncio.Protocol:
        if len(self._strangers) >= MAX_STRANGERS:
            oldest = next((stranger for stranger in self._strangers.values() if not stranger.is_lost), None)
            if oldest is not None:
                oldest.say_goodbye(Goodbye("protocol", "too many connections that do not join"))
        self._last_link += 1
        link = LinkId(self._last_link)
        session = RouterSession(secrets.token_bytes(NONCE_SIZE), self._token or None, self._channel)
        tls = TlsLayer(self._tls, server_side=True) if self._tls is not None else None
        connection = RouterConnection(self, link, session, tls)
        self._strangers[link] = connection
        if self._stopped:  # it was in the backlog when the listener closed
            connection.say_goodbye(SHUTDOWN)
        return connection

    def joined(self, connection: RouterConnection, node: NodeId) -> None:
        """The fleet let the agent in."""
        self._strangers.pop(connection.link, None)
        self._agents[connection.link] = connection
        self._book.joined(node)

    def left(self, connection: RouterConnection, why: str) -> None:
        """The connection is gone."""
        self._strangers.pop(connection.link, None)
        if self._agents.pop(connection.link, None) is not None and connection.node is not None:
            self._book.left(connection)
            self.events.down(connection.link, connection.node, why)

    def traffic(self) -> tuple[LinkTraffic, ...]:
        """What the links of each node have carried, the present ones included."""
        return self._book.totals(self._agents.values())

    # --- Links --------------------------------------------------------------------------------------------------------

    def open(self, link: LinkId, stream: StreamId, head: RequestHead) -> None:
        """Begin a stream."""
        connection = self._agents.get(link)
        if connection is None or connection.is_lost:
            raise LinkClosed("the node's link is gone")
        connection.session.open(stream, head)
        connection.exchanges[stream] = RouterExchange(connection, stream)
        self._stream_links[stream] = connection
        # A turn of the loop later than usual: most requests are short, and then go out with their OPEN in one segment.
        asyncio.get_running_loop().call_soon(connection.wake)

    async def command(self, link: LinkId, command: Command) -> Result:
        """Have the agent do something; what came of it."""
        connection = self._agents.get(link)
        if connection is None or connection.is_lost:
            raise LinkClosed("the node's link is gone")
        return await connection.command(command)

    def silence(self, link: LinkId) -> Seconds:
        """Seconds since the link's last bytes."""
        connection = self._agents.get(link)
        return connection.silence if connection is not None else Seconds(float("inf"))

    def disconnect(self, link: LinkId, goodbye: Goodbye) -> None:
        """Say goodbye and close."""
        connection = self._agents.get(link) or self._strangers.get(link)
        if connection is not None:
            connection.say_goodbye(goodbye)

    def disconnect_all(self, goodbye: Goodbye) -> None:
        """Say goodbye to every agent that was let in."""
        for connection in list(self._agents.values()):
            connection.say_goodbye(goodbye)

    # --- Streams ------------------------------------------------------------------------------------------------------

    def attach(self, stream: StreamId) -> RouterExchange:
        """The exchange of an opened stream."""
        connection = self._stream_links.get(stream)
        if connection is None:
            raise LinkClosed("the stream is not open")
        return connection.exchanges[stream]

    def close(self, stream: StreamId) -> None:
        """Give a stream up; it is cancelled at the agent unless it has ended."""
        connection = self._stream_links.pop(stream, None)
        if connection is None:
            return
        exchange = connection.exchanges.pop(stream)
        if not exchange.ended and not connection.session.closed:
            exchange.ended = True
            connection.session.cancel(stream)
            connection.free_room(stream)
            connection.wake()
