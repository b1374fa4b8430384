"""A fake Ollama that costs next to nothing: precomputed bytes, a bare asyncio protocol, uvloop.

    python -m benchmarks.backend

prints its port and serves until it is ended. It understands what the load and `herd-node` ask, and no more.
"""

import asyncio
import re

import orjson
import uvloop

from benchmarks.traffic import LISTS, SMALL_ANSWER, stream_chunks
from herd.cli.process import raise_file_limit

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BACKLOG = 1024  # a thousand streams may dial within one turn of a busy loop


def _whole(body: bytes) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body


_SMALL = _whole(SMALL_ANSWER)
_LISTS = {path: _whole(body) for path, body in LISTS.items()}


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment] # uvloop's is a Transport without saying so

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = _LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < whole:
                return
            body = bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path != b"/api/chat":
            self._transport.write(_LISTS.get(path, _NOT_FOUND))
            return
        asked = orjson.loads(body)
        if not asked["stream"]:
            self._transport.write(_SMALL)
            return
        options = asked["options"]
        self._transport.write(_STREAM_HEAD)
        self._stream = Stream(self._transport, stream_chunks(options["num_predict"]), options["tokens_per_second"])

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        if self._stream is not None:
            self._stream.paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._stream is not None:
            self._stream.paused = False
            self._stream.go_on()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Stop talking."""
        if self._stream is not None:
            self._stream.paused = True


class Stream:
    """One streamed answer: a chunk a token, at its pace.

    Flat out it writes one token in each turn of the loop, so that streams take turns and every token is a write of its
    own, as it is with a model server that computes one after the other.
    """

    def __init__(self, transport: asyncio.Transport, chunks: tuple[bytes, ...], rate: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._chunks = chunks
        self._interval = 1 / rate if rate else 0.0
        self._began = self._loop.time()
        self._next = 0
        self.paused = False
        self.go_on()

    def go_on(self) -> None:
        """Write what is due, and come back when the next token is."""
        while not self.paused and self._next < len(self._chunks):
            due = self._began + self._next * self._interval
            if due > self._loop.time():
                self._loop.call_at(due, self.go_on)
                return
            self._transport.write(self._chunks[self._next])
            self._next += 1
            if not self._interval:
                self._loop.call_soon(self.go_on)
                return


async def serve() -> None:
    """Listen on a free port of loopback, say which, and serve for ever."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=BACKLOG)
    print(f"port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(serve())
