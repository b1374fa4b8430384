"""Peers of the link that send what they like, and honest ones that must not notice."""

import asyncio
import contextlib
import logging
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from herd.actors.ports import Serving
from herd.net.link_server import RouterExchange
from herd.net.tls import client_context
from herd.protocols.framing import MAX_FRAME, Frame, FrameDecoder, encode, fields
from herd.protocols.messages import FrameType, Goodbye, Hello
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded
from herd.types import KiB, MiB, NodeId, NodeName, StreamId
from tests.net import link_house
from tests.net.link_house import HEAD, HELLO, LOOPBACK, USAGE, House, Joined, request

MALLORY = replace(HELLO, node_id=NodeId("mallory"), name=NodeName("mallory"), nonce=b"mallory's nonce.")

# What one hostile peer may cost, at most, beside the 1 MiB of the longest frame and what that becomes when it is taken
# apart: a megabyte of one-byte values is 8 MiB of pointers, one of empty maps 64 MiB.
MEMORY = 100 * MiB


def packed(raw: bytes) -> bytes:
    """Bytes with their length before them, as if they were a frame."""
    return len(raw).to_bytes(4, "big") + raw


def frame(kind: int, stream: int, *values: Any) -> bytes:
    """A frame that nobody checks; values are plain ones, messages maps."""
    return packed(msgpack.packb([kind, stream, *values]))


class Peer:
    """One end of a connection, played by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decoder = FrameDecoder(MAX_FRAME)
        self._frames: list[Frame] = []

    def send(self, data: bytes) -> None:
        """Write without waiting."""
        self._writer.write(data)

    async def flood(self, data: bytes) -> None:
        """Write as fast as it is taken, until that is all or the other side has had enough."""
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), 64 * KiB):
                self._writer.write(data[start : start + 64 * KiB])
                await self._writer.drain()

    async def next(self) -> Frame:
        """The next frame that the other side says."""
        while not self._frames:
            data = await self._reader.read(64 * KiB)
            assert data, "the connection was closed"
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    async def until(self, kind: FrameType) -> Frame:
        """The next frame of a kind; what comes before it is not looked at."""
        while (found := await self.next())[0] != kind:
            pass
        return found

    async def rest(self) -> list[Frame]:
        """All that the other side still says until it closes."""
        with contextlib.suppress(ConnectionError):  # it closed on bytes that it had not read
            while data := await self._reader.read(64 * KiB):
                self._frames += self._decoder.feed(data)
        said, self._frames = self._frames, []
        return said

    async def join(self, hello: Hello = MALLORY) -> None:
        """Be let in."""
        self.send(encode(FrameType.HELLO, 0, hello))
        await self.until(FrameType.WELCOME)

    async def answered(self) -> None:
        """Wait until the other side has dealt with all that was sent, and shows that it still does so."""
        self.send(frame(FrameType.PING, 0, 4711))
        while (await self.until(FrameType.PONG))[2] != 4711:
            pass


@asynccontextmanager
async def peer(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Peer]:
    """A connection to a link port; the system keeps about `receive_buffer` unread bytes for it."""
    sock = await idle_connection(port, receive_buffer)
    tls = client_context() if link_house.CERTIFICATE else None
    reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=LOOPBACK if tls else None)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()


async def idle_connection(port: int, receive_buffer: int | None = None) -> socket.socket:
    """A connection to a link port over which nothing is said."""
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, port))
    return sock


def goodbye(said: Sequence[Frame]) -> Goodbye:
    """The GOODBYE that must be the last word."""
    assert said
    assert said[-1][0] == FrameType.GOODBYE
    (parting,) = fields(said[-1])
    assert isinstance(parting, Goodbye)
    return parting


ONE, TWO, THREE = StreamId(1), StreamId(2), StreamId(3)


def models(count: int) -> bytes:
    return frame(
        FrameType.HEARTBEAT, 0, {"models": [{"name": f"m{number}", "backend": "b"} for number in range(count)]}
    )


async def joined_with_streams(mallory: Peer, home: House) -> None:
    """Mallory is let in and given three requests: 1 waits, 2 has its head, 3 has ended."""
    await mallory.join()
    assert (await home.fleet.news.get())[:2] == ("up", MALLORY.node_id)
    link = home.fleet.links[MALLORY.node_id]
    home.server.open(link, ONE, request(size=-1))
    home.server.open(link, TWO, request())
    home.server.open(link, THREE, request())
    mallory.send(encode(FrameType.HEAD, 2, HEAD) + encode(FrameType.HEAD, 3, HEAD) + encode(FrameType.END, 3, USAGE))
    await mallory.answered()


def nothing_left(home: House) -> bool:
    """Only the bystander is still linked."""
    return not home.server._strangers and len(home.server._agents) == 1


def close_all(home: House, streams: Sequence[StreamId] = (ONE, TWO, THREE)) -> None:
    for stream in streams:
        home.server.close(stream)


# --- Others, who must not notice --------------------------------------------------------------------------------------


async def echo(serving: Serving) -> None:
    """Answers with what it is asked."""
    await serving.send_head(HEAD)
    async for piece in serving.body():
        await serving.send(piece)
    serving.end(USAGE)


class Bystander:
    """An honest agent, whose streams are carried to the byte one after another for as long as the block lasts."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._dice = random.Random(1)
        self._stream = 10**6  # ids that no test uses
        self.rounds = 0
        self.news = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self.round()
            self.rounds += 1
            self.news.set()

    async def round(self) -> None:
        """One request and its answer, of some length."""
        self._stream += 1
        body = self._dice.randbytes(self._dice.randint(1, 40_000))
        stream = self._joined.open(self._stream, request(f"honest-{self._stream}", size=len(body)))
        exchange = self._joined.server.attach(stream)
        sending = asyncio.create_task(sent(exchange, body))
        answer = bytearray()
        try:
            assert isinstance(await exchange.receive(), HeadReceived)
            while isinstance(event := await exchange.receive(), DataReceived):
                answer += event.data
            assert event == StreamEnded(stream, USAGE)
            assert answer == body
            await sending
        finally:
            sending.cancel()
            self._joined.server.close(stream)

    async def served(self, rounds: int = 1) -> None:
        """Wait for so many more rounds."""
        wanted = self.rounds + rounds
        while self.rounds < wanted:
            self.news.clear()
            await self.news.wait()


@asynccontextmanager
async def bystander(home: House) -> AsyncIterator[Bystander]:
    """An honest agent that is served all the time; the block fails if it is not served to the byte until its end."""
    async with home.agent(echo) as joined:
        other = Bystander(joined)
        running = asyncio.create_task(other.run())
        try:
            yield other
            served = asyncio.create_task(other.served(2))
            await asyncio.wait((running, served), return_when=asyncio.FIRST_COMPLETED)
            assert served.done(), running.exception()
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def sent(exchange: RouterExchange, body: bytes) -> None:
    """Send a whole request body."""
    await exchange.send(body)
    await exchange.end()


# --- What must hold meanwhile -----------------------------------------------------------------------------------------


@contextmanager
def bounded_memory(limit: int = MEMORY) -> Iterator[None]:
    """What is allocated within the block never exceeds `limit` bytes at one time."""
    tracemalloc.start(1)
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < limit
    finally:
        tracemalloc.stop()


def no_traceback(log: pytest.LogCaptureFixture) -> bool:
    """Nothing was logged that a person must look into."""
    return not [record for record in log.records if record.exc_info or record.levelno >= logging.ERROR]
