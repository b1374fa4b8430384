"""An answer that nobody waits for any more: the agent really closes its connection to the model server."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import psutil
import pytest

from herd.actors.relay import Relay
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.protocols.session import DataReceived, HeadReceived
from herd.types import BackendId, KiB, MiB, RequestId, StreamId
from tests.net.http_house import LOOPBACK, Backend, backend, read_request
from tests.net.link_house import Joined, linked, request
from tests.net.loops import on_every_loop, turns_until

TOKEN = b"5\r\ntoken\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BIG = 32 * MiB  # more than the kernel's buffers between two sockets ever hold

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses, or takes more")

# More turns than an exchange over loopback takes; how many it takes is the kernel's business.
ALL_TURNS = 60


@dataclass
class Slow:
    """A model server that answers as far as it is told to, and then waits for its client to go away.

    Attributes:
        words: what it says once it has the head of a request.
        reads: whether it reads on at once, or only when it `may_read`.
        heard: released for each connection that has brought the head of a request.
        left: the bytes that came after the head, for each connection that was closed.
        open: connections that are not closed.
    """

    words: bytes = b""
    reads: bool = True
    heard: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    left: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0

    async def __call__(self, _: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        got = 0
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.heard.release()
            writer.write(self.words)
            if not self.reads:
                await self.may_read.wait()
            with suppress(ConnectionError):
                while data := await reader.read(256 * KiB):
                    got += len(data)
        finally:
            self.open -= 1
            self.left.put_nowait(got)


def ask(size: int = 0) -> RequestHead:
    return RequestHead(RequestId("q-1"), BackendId("ollama"), "POST", "/api/chat", size=size)


class Endless:
    """A body of many pieces, which counts those that were taken."""

    def __init__(self, size: int = BIG) -> None:
        self.taken = 0
        self._size = size

    async def pieces(self) -> AsyncIterator[bytes]:
        while self.taken < self._size:
            self.taken += 64 * KiB
            yield bytes(64 * KiB)
            await asyncio.sleep(0)

    async def stuck(self) -> None:
        """Wait until no more is taken: the buffers on the way are full."""
        before = -1
        while before != self.taken or not self.taken:
            before = self.taken
            for _ in range(200):
                await asyncio.sleep(0)


def open_to(port: int) -> list[str]:
    """The states of this process's connections to a port."""
    found = psutil.Process().net_connections(kind="tcp")
    return [str(one.status) for one in found if tuple(one.raddr)[1:] == (port,)]


@asynccontextmanager
async def deaf_port() -> AsyncIterator[int]:
    """A port where connections are never taken: its backlog is full."""
    with closing(socket.socket()) as listener, closing(socket.socket()) as first, closing(socket.socket()) as second:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


# --- The client -------------------------------------------------------------------------------------------------------


@linux_only
@on_every_loop
async def test_given_up_while_it_connects() -> None:
    async with deaf_port() as port, AiohttpServers() as servers:
        before = open_to(port)
        asking = asyncio.create_task(servers.exchange(f"http://{LOOPBACK}:{port}", ask(), None))
        await turns_until(lambda: len(open_to(port)) > len(before))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await turns_until(lambda: len(open_to(port)) == len(before))


@on_every_loop
async def test_given_up_while_a_slow_server_takes_a_big_body() -> None:
    server, body = Slow(reads=False), Endless()
    async with backend(server) as served, AiohttpServers() as servers:
        asking = asyncio.create_task(servers.exchange(served.url, ask(BIG), body.pieces()))
        await server.heard.acquire()
        await body.stuck()
        assert body.taken < BIG
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.may_read.set()
        assert await server.left.get() < BIG
        await nothing_is_kept(served, servers, server)


@on_every_loop
async def test_given_up_while_a_small_body_still_comes_in() -> None:
    """Nothing has been sent by then: the server never hears of it."""
    waiting = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield bytes(KiB)
        waiting.set()
        await asyncio.get_running_loop().create_future()

    async with backend(Slow()) as served, AiohttpServers() as servers:
        asking = asyncio.create_task(servers.exchange(served.url, ask(2 * KiB), half()))
        await waiting.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert served.connections == 0


@pytest.mark.parametrize("answer", ["whole", "begun"])
@on_every_loop
async def test_an_answer_that_comes_before_the_body_is_sent_leaves_no_connection_for_the_next(answer: str) -> None:
    """The rest of the body would be taken for the next request."""
    server, body = Slow(OK if answer == "whole" else STREAM + TOKEN, reads=False), Endless()
    async with backend(server) as served, AiohttpServers() as servers:
        got = await servers.exchange(served.url, ask(BIG), body.pieces())
        assert await got.read() == (b"ok" if answer == "whole" else b"token")
        if answer == "whole":
            assert await got.read() == b""
        got.close()
        server.may_read.set()
        assert await server.left.get() < BIG
        await nothing_is_kept(served, servers, server)


@pytest.mark.parametrize("words", [b"", STREAM, STREAM + TOKEN], ids=["silent", "head", "token"])
@pytest.mark.parametrize("size", [0, 64 * KiB, 2 * MiB])
@on_every_loop
async def test_given_up_in_any_turn_of_the_loop(words: bytes, size: int) -> None:
    server = Slow(words)
    async with backend(server) as served, AiohttpServers() as servers:
        for turn in range(ALL_TURNS + 1):
            body = Endless(size).pieces() if size else None
            asking = asyncio.create_task(servers.exchange(served.url, ask(size), body))
            for _ in range(turn):
                await asyncio.sleep(0)
            if turn == ALL_TURNS:  # once at least it has got as far as the server, however busy the machine is
                await server.heard.acquire()
            asking.cancel()
            await asyncio.wait([asking])
            if not asking.cancelled():
                assert words
                asking.result().close()
        await turns_until(lambda: server.open == 0)
        await turns_until(lambda: open_to(int(served.url.rpartition(":")[2])) == [])
        assert served.connections >= 1


async def nothing_is_kept(served: Backend, servers: AiohttpServers, server: Slow) -> None:
    """The next request comes on a connection of its own."""
    before = served.connections
    server.words = OK
    answer = await servers.exchange(served.url, ask(), None)
    assert await answer.read() == b"ok"
    answer.close()
    assert served.connections == before + 1


# --- The whole agent: a stream that the router cancels ----------------------------------------------------------------


@asynccontextmanager
async def agent(url: str) -> AsyncIterator[Joined]:
    """An agent with one model server. It has nobody to tell that the server is suspect: a hang-up is not its fault."""
    async with (
        AiohttpServers() as servers,
        linked(Relay({BackendId("ollama"): url}, {}, servers, SystemClock())) as joined,
    ):
        yield joined


def open_stream(joined: Joined, size: int = 0) -> StreamId:
    return joined.open(1, request(size=size))


@linux_only
@on_every_loop
async def test_a_stream_cancelled_while_the_agent_connects() -> None:
    async with deaf_port() as port, agent(f"http://{LOOPBACK}:{port}") as joined:
        before = open_to(port)
        stream = open_stream(joined)
        await turns_until(lambda: len(open_to(port)) > len(before))
        joined.server.close(stream)
        await turns_until(lambda: len(open_to(port)) == len(before))


@on_every_loop
async def test_a_stream_cancelled_before_the_head() -> None:
    server = Slow()
    async with backend(server) as served, agent(served.url) as joined:
        stream = open_stream(joined)
        await server.heard.acquire()
        joined.server.close(stream)
        assert await server.left.get() == 0


@on_every_loop
async def test_a_stream_cancelled_while_a_slow_server_takes_its_body() -> None:
    server = Slow(reads=False)
    async with backend(server) as served, agent(served.url) as joined:
        stream = open_stream(joined, BIG)
        exchange = joined.server.attach(stream)
        body = Endless()

        async def send() -> None:
            async for piece in body.pieces():
                await exchange.send(piece)

        sending = asyncio.create_task(send())
        await server.heard.acquire()
        await body.stuck()
        assert body.taken < BIG
        sending.cancel()
        joined.server.close(stream)
        server.may_read.set()
        assert await server.left.get() < BIG


@pytest.mark.parametrize("reader", ["reads", "does not read"])
@on_every_loop
async def test_a_stream_cancelled_in_mid_answer(reader: str) -> None:
    """The agent waits for the server's next token, or for credit to send what it has."""
    flood = b"%x\r\n%b\r\n" % (64 * KiB, bytes(64 * KiB))
    sent = 0
    left = asyncio.Event()

    async def pours(_: int, source: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(source)
        writer.write(STREAM)
        try:
            while True:
                writer.write(flood if reader == "does not read" else TOKEN)
                await writer.drain()
                sent += 1
                if reader == "reads":
                    await source.read()
                    return
        finally:
            left.set()

    async with backend(pours) as served, agent(served.url) as joined:
        stream = open_stream(joined)
        exchange = joined.server.attach(stream)
        assert isinstance(await exchange.receive(), HeadReceived)
        if reader == "reads":
            event = await exchange.receive()
            assert isinstance(event, DataReceived)
            assert event.data == b"token"
        else:
            before = -1
            while sent != before or not sent:  # until nothing moves on any of the three sockets
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0)
        joined.server.close(stream)
        await left.wait()
