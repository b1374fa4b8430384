"""The HTTP listener: aiohttp's low-level server behind the port `HttpServer`."""

import asyncio
import os
import socket
import ssl
import struct
import sys
from collections.abc import AsyncGenerator

from aiohttp import ClientError, HttpVersion11, hdrs, web
from aiohttp.web_request import BaseRequest

from herd.actors.ports import Body, Handler, Headers
from herd.errors import ConfigError, RequestError, StreamFailed
from herd.net.bodies import Collector, Room, too_large
from herd.net.http_connections import MAX_FIELD_SIZE, MAX_LINE_SIZE, SERVER, Answer, Connections
from herd.net.inflating import Inflater
from herd.net.raw import plain_headers
from herd.net.tls_listener import TlsListener
from herd.types import Bytes, KiB, Seconds

# Longer than any client's own pool keeps an idle connection, short enough that forgotten ones do not pile up. Whoever
# sends a head byte by byte has as long for all of it.
KEEPALIVE_S = 75.0
BACKLOG = 1024
# How long bytes that nobody reads are still taken after the answer: a client that is cut off while it sends a long
# body may never see that it was refused.
LINGER_S = 10.0
# A body is read in pieces of one frame of the link. aiohttp reads up to three times as much ahead, of each connection.
READ_AHEAD = 64 * KiB
# Whoever sends a request and then falls silent in its middle holds a connection that others need.
BODY_SILENCE_S = 60.0
# Bytes a second that a body must bring, on top of that: a quarter of what a modem of 33.6 kbit/s did.
SLOWEST_BODY = KiB
# What an answer of a few hundred tokens takes on a slow machine; systemd kills after 90 s.
GRACE_S = Seconds(30.0)

# struct linger {on, 0 seconds}: a close sends RST in place of FIN.
RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
MAX_CODING = 40  # characters of a Content-Encoding that are repeated to the client: any that exists
_CONTINUED = web.RequestKey("continued", bool)  # noted at a request whose client was told to go on
ZSTD = "zstd"  # the one coding that Ollama undoes
BODYLESS = (204, 304)  # RFC 9110: no body follows, whatever Content-Length says


class AiohttpRequest:
    """One request of aiohttp's as the port `HttpRequest`."""

    def __init__(self, request: BaseRequest, room: Room, inflater: Inflater) -> None:
        self._request = request
        self._room = room
        self._inflater = inflater
        self._received = 0
        self._waited = 0.0  # seconds, for the client's bytes
        self.method = request.method
        target = request.raw_path
        if "://" in target.partition("?")[0]:  # RFC 9112, 3.2.2: as clients send it that take the router for a proxy
            target = "/" + target.partition("://")[2].partition("/")[2]
        self.path, _, self.query = target.partition("?")
        self.headers: Headers = plain_headers(request.raw_headers)
        self.peer = request.remote or ""

    @property
    def size(self) -> int:
        """Bytes of the body as declared; -1 when only its end will tell."""
        if self._request.content_length is not None:
            return self._request.content_length
        return -1 if self._request.body_exists else 0

    async def read_body(self, limit: Bytes, *, inflate: bool = False) -> Body:
        """The whole body. Raises BodyTooLarge, or RequestError when it is cut short or malformed."""
        if self.size > limit:
            raise too_large(limit)
        codings = [value.strip().lower() for name, value in self.headers if name.lower() == "content-encoding"]
        if inflate and codings == [ZSTD]:
            return await self._inflater.inflate(await self._read(limit), limit)
        if any(coding not in {"", "identity"} for coding in codings):  # Ollama would say that it is no JSON
            text = f"the request body must not be compressed (Content-Encoding: {', '.join(codings)[:MAX_CODING]})"
            accepted = f"{ZSTD}, identity" if inflate else "identity"
            raise RequestError(text, status=415, headers=(("Accept-Encoding", accepted),))
        return await self._read(limit)

    async def _read(self, limit: Bytes) -> Body:
        """The body as it is. Raises as `read_body` does."""
        collector = Collector(limit, self._room)
        try:
            async for data in self.stream_body():
                await collector.add(data)
            return await collector.finish()
        finally:
            collector.discard()

    async def stream_body(self) -> AsyncGenerator[bytes]:
        """The body as it comes. Raises RequestError when it is cut short or malformed."""
        request = self._request
        if _asks_first(request):
            request[_CONTINUED] = True
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        content = request.content
        try:
            while not content.at_eof():
                # A short body is here with its head, and nobody has to wait for it.
                data = content.read_nowait(READ_AHEAD) or await self._next_piece()
                self._received += len(data)
                if data:
                    yield data
        except (ClientError, web.RequestPayloadError) as error:
            raise RequestError(f"the request body could not be read: {error}") from error

    async def _next_piece(self) -> bytes:
        """The next bytes of the body; empty at its end. Raises RequestError when they do not come, or too slowly."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        patience = min(BODY_SILENCE_S, BODY_SILENCE_S + self._received / SLOWEST_BODY - self._waited)
        try:
            async with asyncio.timeout(patience):
                data = await self._request.content.read(READ_AHEAD)
        except TimeoutError as error:
            text = f"the request body stopped: nothing came for {BODY_SILENCE_S:.0f} s"
            if patience < BODY_SILENCE_S:
                text = f"the request body comes too slowly: {SLOWEST_BODY} bytes a second are the least"
            raise RequestError(text, status=408, headers=(("Connection", "close"),)) from error
        self._waited += loop.time() - asked
        return data


def _asks_first(request: BaseRequest) -> bool:
    """Whether a client waits to be told that its body is wanted."""
    return request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11


class AiohttpSink:
    """An answer of aiohttp's as the port `Sink`."""

    def __init__(self, request: BaseRequest) -> None:
        self._request = request
        self._bodyless = request.method == "HEAD"
        self._left: int | None = None  # bytes of the declared length that were not written yet
        self.response: web.StreamResponse | None = None

    @property
    def started(self) -> bool:
        """True once a byte of the answer may have left."""
        return self.response is not None

    async def start(self, status: int, headers: Headers) -> None:
        """The head; it goes out with the first bytes of the body, or with the end."""
        response = Answer(status=status)
        if _asks_first(self._request) and self._request.body_exists and _CONTINUED not in self._request:
            # Whether the client sends the body all the same is its choice, and what it sends next could be either.
            response.force_close()
        for name, value in headers:
            response.headers.add(name, value)
        response.headers[hdrs.SERVER] = SERVER
        self._bodyless = self._bodyless or status in BODYLESS
        self._left = None if self._bodyless else response.content_length
        self.response = response
        await response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client's socket is full.

        Raises:
            StreamFailed: it is more than the head declared; the connection is cut.
        """
        if self._bodyless or not data:
            return
        if self.response is None:
            raise RuntimeError("write before start")
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.abort()
                raise StreamFailed("the answer is longer than its Content-Length")
        await self.response.write(data)

    async def finish(self) -> None:
        """End the answer cleanly.

        Raises:
            StreamFailed: it is less than the head declared, and what the client would take for the rest of it is the
                next answer; the connection is cut.
        """
        if self._left:
            self.abort()
            raise StreamFailed("the answer is shorter than its Content-Length")
        if self.response is not None:
            await self.response.write_eof()

    def abort(self) -> None:
        """Cut the connection. A client of HTTP/1.0 takes its end for the end of the answer, unless it is reset."""
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < HttpVersion11 and not transport.is_closing():
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()


class AiohttpServer:
    """Listens on one address; implements the port `HttpServer`.

    Args:
        host: address or name to bind; empty for all interfaces.
        port: 0 picks a free one, to be read from `port` after `start`.
        grace: seconds that running requests have to end when the server stops.
        tls: for HTTPS; None is HTTP.
    """

    def __init__(self, host: str, port: int, grace: Seconds = GRACE_S, tls: ssl.SSLContext | None = None) -> None:
        self._host = host
        self.port = port
        self._grace = grace
        self._tls = tls
        self._room = Room()
        self._inflater = Inflater(self._room)
        self._runner: web.ServerRunner | None = None
        self._listener: TlsListener | None = None  # with TLS
        self._handler: Handler | None = None

    async def start(self, handler: Handler) -> None:
        """Listen. Raises ConfigError when the address cannot be had."""
        self._handler = handler
        server = Connections(
            self._handle,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=LINGER_S,
            max_line_size=MAX_LINE_SIZE,
            max_field_size=MAX_FIELD_SIZE,
            read_bufsize=READ_AHEAD,
        )
        # aiohttp waits so long twice: for handlers to end, and once more after it has cut their clients off. It takes
        # no time at all for all the time in the world.
        runner = web.ServerRunner(server, shutdown_timeout=max(self._grace / 2, 0.01))
        await runner.setup()
        try:
            if self._tls is not None:
                self._listener = TlsListener(self._tls, server, server.room)
                self.port = await self._listener.start(self._host, self.port, BACKLOG)
            else:
                await web.TCPSite(runner, self._host, self.port, backlog=BACKLOG).start()
        except (OSError, OverflowError) as error:
            await runner.cleanup()
            reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
            raise ConfigError(f"cannot listen on {self._host or '*'} port {self.port}: {reason}") from error
        self._runner = runner
        for address in runner.addresses:
            self.port = address[1]

    async def stop(self) -> None:
        """Stop listening, let running requests end within the grace, then cut them."""
        runner, self._runner = self._runner, None
        listener, self._listener = self._listener, None
        if listener is not None:
            await listener.stop()
        if runner is not None:
            await runner.cleanup()

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:
        """One request, in aiohttp's task for it."""
        if self._handler is None:
            raise RuntimeError("a request before start")
        sink = AiohttpSink(request)
        try:
            await self._handler(AiohttpRequest(request, self._room, self._inflater), sink)
        except ConnectionError:
            # The client went away under a write: aiohttp's own task is about to be cancelled, there is nobody to tell.
            sink.abort()
            return sink.response or web.Response(status=500)
        if sink.response is None:
            raise RuntimeError("the handler gave no answer")
        return sink.response
