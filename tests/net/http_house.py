"""An HTTP listener of ours and clients that speak to it by hand; and a server by hand for our client."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.net.http_server import AiohttpServer
from herd.types import Bytes, Seconds

LOOPBACK = "127.0.0.1"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@dataclass
class Reply:
    """One answer, as a client reads it: a body may be cut short."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    whole: bool = False


class RawClient:
    """A client that sends the bytes it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def hang_up(self) -> None:
        """Close with a reset, as a process that was killed may."""
        self.writer.transport.abort()

    async def reply(self, *, head_only: bool = False) -> Reply:
        """Read one answer, by its Content-Length, its chunks, or to the end of the connection."""
        reader = self.reader
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        reply = Reply(int(first.split(" ")[1]), headers)
        if head_only or reply.status in {204, 304} or reply.status < 200:
            reply.whole = True
            return reply
        with suppress(asyncio.IncompleteReadError):
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    reply.chunks.append((await reader.readexactly(size + 2))[:-2])
                reply.whole = await reader.readexactly(2) == b"\r\n"
                reply.body = b"".join(reply.chunks)
            elif "content-length" in headers:
                reply.body = await reader.readexactly(int(headers["content-length"]))
                reply.whole = True
            else:
                reply.body = await reader.read()  # ConnectionResetError when it was cut
                reply.whole = True
        return reply

    async def ask(self, data: bytes, *, head_only: bool = False) -> Reply:
        self.send(data)
        return await self.reply(head_only=head_only)


@asynccontextmanager
async def connection(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    reader, writer = await asyncio.open_connection(
        LOOPBACK, port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Our listener; its port."""
    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0), tls=tls)
    await server.start(handler)
    try:
        yield server.port
    finally:
        await server.stop()


@asynccontextmanager
async def client_of(handler: Handler) -> AsyncIterator[RawClient]:
    """A connection to a listener of ours."""
    async with listening(handler) as port, connection(port) as client:
        yield client


async def answer(sink: Sink, body: bytes, *pairs: tuple[str, str]) -> None:
    """A whole answer with a length."""
    await sink.start(200, (("Content-Length", str(len(body))), *pairs))
    await sink.write(body)
    await sink.finish()


async def read_all(request: HttpRequest, limit: int = 10**9) -> bytes:
    """The request's body."""
    body = await request.read_body(Bytes(limit))
    try:
        return b"".join([piece async for piece in body.chunks(64 * 1024)])
    finally:
        body.close()


Script = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Backend:
    """A server by hand: its URL, and how many connections it got."""

    url: str
    connections: int = 0


@asynccontextmanager
async def backend(script: Script) -> AsyncIterator[Backend]:
    """Serve each connection with `script(number of the connection, reader, writer)`; it is closed when that returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        served.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(served.connections, reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, LOOPBACK, 0)
    served = Backend(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    try:
        yield served
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, list[tuple[str, str]], bytes]:
    """One request: its first line, its headers in order, its body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    plain = {name.lower(): value for name, value in headers}
    body = b""
    if plain.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(plain.get("content-length", "0")))
    return first, headers, body
