"""A router's link port and the agents that dial it, on loopback."""

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from herd.actors.command_ends import unable
from herd.actors.ports import Obey, Relay, Serving
from herd.net.agent_connection import AgentConnection
from herd.net.http_client import AiohttpServers
from herd.net.link_client import LinkDialer
from herd.net.link_server import LinkServer
from herd.net.tls import TlsLayer, client_context, server_context
from herd.protocols.discovery import RouterAddress
from herd.protocols.messages import Failure, Goodbye, Head, Hello, Report, RequestHead, Usage, Welcome
from herd.protocols.session import (
    AgentSession,
    DataReceived,
    Event,
    HeadReceived,
    HelloReceived,
    RouterSession,
    StreamEnded,
    StreamReset,
    Welcomed,
)
from herd.types import BackendId, KiB, LinkId, NodeId, NodeName, RequestId, RouterId, Seconds, StreamId
from tests.net.loops import turns_until

LOOPBACK = "127.0.0.1"
CERTIFICATE = ""  # of routers in tests that do not say; empty: their links are plain. See `plain_and_tls`.
HELLO = Hello((1,), NodeId("node-1"), NodeName("studio"))
HEAD = Head(200, (("Content-Type", "text/plain"),))
USAGE = Usage(complete=True)


class Fleet:
    """Lets agents in, as the fleet would, and keeps what it is told in `news`: (what, node, ...)."""

    def __init__(self, links: LinkServer) -> None:
        self._links = links
        self.news: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()
        self.links: dict[NodeId, LinkId] = {}
        self.verdict: Callable[[Hello], Awaitable[Welcome | Goodbye]] = welcome

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        assert peer == LOOPBACK
        answer = await self.verdict(hello)
        if isinstance(answer, Welcome):
            old = self.links.pop(hello.node_id, None)
            self.links[hello.node_id] = link
            if old is not None:
                self._links.disconnect(old, Goodbye("replaced", "a newer link of this node"))
            self.news.put_nowait(("up", hello.node_id, link))
        return answer

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        self.news.put_nowait(("report", node, report))

    def draining(self, link: LinkId, node: NodeId) -> None:
        self.news.put_nowait(("draining", node))

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        self.news.put_nowait(("down", node, link, why))


async def welcome(hello: Hello) -> Welcome:
    """Let anybody in."""
    return Welcome(1, RouterId("r-1"), hello.name)


async def nothing(serving: Serving) -> None:
    """A relay for tests in which no stream is opened."""
    raise AssertionError(f"nobody was to ask for {serving.head}")


async def pour(serving: Serving) -> None:
    """Answers for ever; the name of the request says how much, if not."""
    await serving.send_head(HEAD)
    sent = 0
    limit = int(serving.head.request_id.partition(":")[2] or 2**60)
    while sent < limit:
        await serving.send(bytes(64 * KiB))
        sent += 64 * KiB
    serving.end(USAGE)


class Info(AiohttpServers):
    """Answers for any URL; keeps which were asked for."""

    def __init__(self, status: int, answer: object) -> None:
        super().__init__()
        self.answer = (status, answer)
        self.asked = ""

    async def fetch(
        self, url: str, body: object = None, *, timeout: Seconds, verified: bool = True, method: str = ""
    ) -> tuple[int, object]:
        self.asked = url
        return self.answer


def no_http() -> Info:
    """Dialling needs no HTTP."""
    return Info(500, None)


@dataclass
class House:
    """A router's link port, without agents yet."""

    server: LinkServer
    fleet: Fleet
    tls: bool = False

    @property
    def address(self) -> RouterAddress:
        return RouterAddress((LOOPBACK,), 0, self.server.port, RouterId(""), tls=self.tls)

    async def open_connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection over which nothing is said yet; both ends are ready to speak."""
        tls = client_context() if self.tls else None
        opened = await asyncio.open_connection(LOOPBACK, self.server.port, ssl=tls)
        others = self.server._strangers.values()
        await turns_until(lambda: all(other._tls is None or other._tls.ready for other in others))
        return opened

    async def dial(
        self, relay: Relay = nothing, *, hello: Hello = HELLO, token: str = "", obey: Obey = unable
    ) -> AgentConnection:
        """An agent joins; leave it to the router to close the link."""
        return await LinkDialer(AiohttpServers(), token).dial(self.address, hello, relay, obey)

    @asynccontextmanager
    async def agent(
        self, relay: Relay = nothing, *, hello: Hello = HELLO, obey: Obey = unable
    ) -> AsyncIterator["Joined"]:
        """An agent joins, and leaves in the end."""
        connection = await self.dial(relay, hello=hello, obey=obey)
        up, _, link = await self.fleet.news.get()
        assert up == "up"
        assert isinstance(link, int)
        try:
            yield Joined(self.server, self.fleet, LinkId(link), connection)
        finally:
            await connection.close(Goodbye("shutdown", "the test is over"), Seconds(0.0))


@dataclass
class Joined:
    """An agent's link, with both of its ends."""

    server: LinkServer
    fleet: Fleet
    link: LinkId
    agent: AgentConnection

    def open(self, stream: int, head: RequestHead | None = None) -> StreamId:
        self.server.open(self.link, StreamId(stream), head or request())
        return StreamId(stream)

    def cut(self) -> None:
        """Pull the cable, as it looks to both ends."""
        assert self.agent._transport is not None
        self.agent._transport.abort()


def request(name: str = "q-1", size: int = 0) -> RequestHead:
    return RequestHead(RequestId(name), BackendId("ollama"), "POST", "/api/chat", size=size)


@asynccontextmanager
async def house(token: str = "", certificate: str | None = None, port: int = 0) -> AsyncIterator[House]:
    """A router's link port; `certificate` is CERTIFICATE unless it is said."""
    certificate = CERTIFICATE if certificate is None else certificate
    server = LinkServer(LOOPBACK, port, token, server_context(certificate, certificate))
    fleet = Fleet(server)
    await server.start(fleet)
    try:
        yield House(server, fleet, tls=certificate != "")
    finally:
        await server.stop()


@asynccontextmanager
async def linked(relay: Relay) -> AsyncIterator[Joined]:
    """A router's link port with one agent."""
    async with house() as home, home.agent(relay) as joined:
        yield joined


async def carry(joined: Joined, stream: StreamId, body: bytes, dice: random.Random) -> tuple[Head, bytes]:
    """Send `body` in pieces of random sizes on an opened stream; the answer, which must end well."""
    exchange = joined.server.attach(stream)

    async def send() -> None:
        start = 0
        while start < len(body):
            end = start + dice.randint(1, 100 * KiB)
            await exchange.send(body[start:end])
            start = end
        await exchange.end()

    sending = asyncio.create_task(send())
    try:
        first = await exchange.receive()
        assert isinstance(first, HeadReceived), first
        answer = bytearray()
        while isinstance(event := await exchange.receive(), DataReceived):
            answer += event.data
        assert event == StreamEnded(stream, USAGE)
        await sending
        return first.head, bytes(answer)
    finally:
        sending.cancel()
        joined.server.close(stream)


async def reset_of(joined: Joined, stream: StreamId) -> Failure:
    """Read a stream until it is reset, and give it back."""
    exchange = joined.server.attach(stream)
    while not isinstance(event := await exchange.receive(), StreamReset):
        assert not isinstance(event, StreamEnded)
    joined.server.close(stream)
    return event.failure


class RawAgent:
    """An agent that does as it likes: reads when it is told to, and nothing by itself."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._tls = TlsLayer(client_context()) if CERTIFICATE else None
        self.session = AgentSession(HELLO)

    @classmethod
    async def joined(cls, port: int, receive_buffer: int | None = None) -> "RawAgent":
        """Connect and be welcomed."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
        agent = cls(sock)
        while agent._tls is not None and not agent._tls.ready:
            await agent._send(agent._tls.take())
            agent._tls.receive(await agent._receive())
        while not any(isinstance(event, Welcomed) for event in await agent.turn()):
            pass
        return agent

    async def turn(self) -> list[Event]:
        """Send what there is to say, and read a piece."""
        words = self.session.take(1024 * KiB)
        await self._send(words if self._tls is None else self._tls.seal(words))
        return self._heard(await self._receive())

    async def read_to_end(self) -> list[Event]:
        """All that the router still says until it closes, without an answer to any of it."""
        events: list[Event] = []
        with suppress(ConnectionError):
            while data := await self._receive():
                events += self._heard(data)
        return events

    def _heard(self, data: bytes) -> list[Event]:
        return self.session.receive(data if self._tls is None else self._tls.receive(data))

    async def _send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sock, 256 * KiB)

    def close(self) -> None:
        self._sock.close()


@asynccontextmanager
async def raw_port(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    receive_buffer: int | None = None,
) -> AsyncIterator[RouterAddress]:
    """A listener that does as `serve` likes, in place of a router; its buffers are the system's, or about so large.

    Where there is a CERTIFICATE, its TLS is asyncio's, another than the link's own.
    """
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):  # the other side had more to say
                await writer.wait_closed()

    sock = socket.create_server((LOOPBACK, 0))
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    tls = server_context(CERTIFICATE, CERTIFICATE)
    server = await asyncio.start_server(connected, sock=sock, ssl=tls)
    try:
        yield RouterAddress((LOOPBACK,), 0, server.sockets[0].getsockname()[1], RouterId(""), tls=tls is not None)
    finally:
        server.close()
        if connections:
            await asyncio.wait(connections)


async def welcome_by_hand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> RouterSession:
    """A router's side of the handshake, for routers that misbehave after it."""
    session = RouterSession(b"0123456789abcdef")
    while not any(isinstance(event, HelloReceived) for event in session.receive(await reader.read(4096))):
        pass
    session.welcome(await welcome(HELLO))
    writer.write(session.take(64 * KiB))
    return session
