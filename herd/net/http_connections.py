"""The connections of the HTTP listener: aiohttp's, with the bounds that it does not have.

They take names that are aiohttp's own, so pyproject.toml names the minor version; tests/net/test_http_server_breaks.py
and test_http_connections.py fail if a new one no longer has them.
"""

import asyncio
import logging
import select
import sys
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, hdrs, web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, InvalidHeader, InvalidURLError, LineTooLong
from aiohttp.web_protocol import _ErrInfo
from aiohttp.web_request import BaseRequest

import herd
from herd.types import KiB

if sys.platform != "win32":  # it has no limit on sockets
    import resource

# Codex sends a header of 742 bytes, cookies of other services on one host reach 16 KiB; twice that is plenty.
MAX_FIELD_SIZE = 32 * KiB
# Of a whole head: two of the longest headers. 128 headers are allowed, which would be 4 MiB on each connection.
MAX_HEAD_SIZE = 2 * MAX_FIELD_SIZE
# Of the request line. No endpoint has a query, and the longest path holds a model's name.
MAX_LINE_SIZE = 8 * KiB
# How long a client may read nothing of its answer (or less than 48 KiB, which is where uvloop goes on writing) before
# it is given up: it holds a place at a model server. TCP waits as long for a peer that acknowledges nothing.
READ_SILENCE_S = 900.0
# How soon a client that leaves is missed while nothing is read from it: a model server may work for it meanwhile.
LOOK_EVERY_S = 0.5
# A share of the file descriptors: the rest is for agents, the store, and the files of long bodies.
CONNECTION_SHARE = 0.75
# Where the system sets no limit: as many as cli/process.py asks it for on the others, less the same share.
MOST_CONNECTIONS = 7_680

SERVER = f"herd/{herd.__version__}"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

logger = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One connection.

    The head of a request is bounded as a whole; what is no HTTP is answered in a sentence; a client that stops reading
    its answer is given up in the end; and whoever reads a body is told when what came in is no body any more. aiohttp
    itself only notes that for the request after this one, and the reader would wait for ever.
    """

    __slots__ = ("_broken", "_head_size", "_last_body", "_peer_timer", "_read_timer")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_size = 0
        self._last_body = EMPTY_PAYLOAD
        self._broken = False  # what came in is no HTTP, so whatever follows is none either
        self._read_timer: asyncio.TimerHandle | None = None
        self._peer_timer: asyncio.TimerHandle | None = None

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        self._watch_peer()

    def _watch_peer(self) -> None:
        """Who does not read does not see its peer leave, and there is no event for that: so look, now and then."""
        if self._peer_timer is None:
            self._peer_timer = self._loop.call_later(LOOK_EVERY_S, self._look_at_peer)

    def _look_at_peer(self) -> None:
        self._peer_timer = None
        if self.transport is None or not (self._reading_paused or self._buffer_paused):
            return
        if has_left(self.transport.get_extra_info("socket").fileno()):
            self.transport.abort()
        else:
            self._watch_peer()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._broken:
            return
        before, in_head = self._request_count, self._last_body.is_eof() and not self._upgraded
        super().data_received(data)
        if self._request_count != before:
            message, self._last_body = self._messages[-1]
            self._head_size = 0
            if isinstance(message, _ErrInfo):
                self._messages.pop()
                self._refuse(message)
        elif in_head:
            self._head_size += len(data)
            if self._head_size > MAX_HEAD_SIZE:
                error = LineTooLong("", MAX_HEAD_SIZE)
                self._refuse(_ErrInfo(error.code, error, error.message))

    def _refuse(self, info: _ErrInfo) -> None:
        """Answer once everything before is answered, and take nothing more.

        aiohttp reads on for a moment after a request whose body has not ended, and this one's never does: a connection
        that is closed at once is reset by what the client still sends, and the answer is lost to it.
        """
        self._broken = True
        current = [] if self._current_request is None else [self._current_request.content]
        for payload in (*current, *(payload for _, payload in self._messages)):
            if not payload.is_eof() and payload.exception() is None:
                payload.set_exception(web.RequestPayloadError("its chunks are malformed"), info.exc)
        self._messages.append((info, StreamReader(self, MAX_HEAD_SIZE, loop=self._loop)))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write an answer to its end, and after the last one the end of all."""
        outcome = await super().finish_response(request, resp, start_time)
        if self._broken and not self._messages and self.transport is not None:
            if self.transport.can_write_eof():
                self.transport.write_eof()
            else:  # TLS says goodbye, and waits for the client's goodbye with what it still sends
                self.transport.close()
        return outcome

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request, without the bytes that came in; aiohttp closes the connection after it."""
        if isinstance(exc, HttpProcessingError):
            status, message = refusal(exc)
        response = super().handle_error(request, status, exc, message)
        response.headers[hdrs.SERVER] = SERVER
        return response

    def pause_writing(self) -> None:
        """The socket is full."""
        super().pause_writing()
        self._read_timer = self._loop.call_later(READ_SILENCE_S, self._give_up)

    def resume_writing(self) -> None:
        """The client has read on."""
        self._stop_timer()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end."""
        self._stop_timer()
        if self._peer_timer is not None:
            self._peer_timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.transport is not None:
            logger.info("a client read nothing of its answer for %.0f s and is given up", READ_SILENCE_S)
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None


class Answer(web.StreamResponse):
    """An answer whose head waits for the first bytes of its body: both go out in one segment, for one system call."""

    _send_headers_immediately = False


class Connections(web.Server):
    """aiohttp's server, with connections of our kind, and not more of them than the process can have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._most = most_connections()
        self._full = False

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def room(self) -> int:
        """How many more connections there may be."""
        return self._most - len(self._connections)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Let it in, or turn it away."""
        super().connection_made(handler, transport)
        count = len(self._connections)
        if count > self._most:
            if not self._full:
                logger.warning("%d HTTP connections are open, and more are refused until some have gone", self._most)
            self._full = True
            transport.write(FULL)
            handler.force_close()
        elif count < self._most / 2:  # well below, so that the log tells of a flood once, and not at each of its waves
            self._full = False


def has_left(socket: int) -> bool:
    """Whether the peer of a socket has closed or reset it, even if bytes before that are unread.

    Only Linux tells. Elsewhere it shows when somebody reads or writes, which other bounds see to.
    """
    if sys.platform != "linux":
        return False
    poll = select.poll()
    poll.register(socket, select.POLLRDHUP)
    return bool(poll.poll(0))


def most_connections() -> int:
    """How many connections the listener has at a time."""
    if sys.platform == "win32":
        return MOST_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else int(soft * CONNECTION_SHARE)


def refusal(error: HttpProcessingError) -> tuple[int, str]:
    """Status and sentence for bytes that aiohttp could not read. Nothing of them is repeated."""
    match error:
        case LineTooLong(args=(_, limit, *_)) if limit == MAX_LINE_SIZE:
            return 414, f"the request line is too long: {MAX_LINE_SIZE} bytes are allowed"
        case LineTooLong():
            return 431, f"the headers are too long: {MAX_FIELD_SIZE} bytes each and {MAX_HEAD_SIZE} in all are allowed"
        case InvalidURLError():
            return 400, "this is no HTTP request: its target is no URL"
        case InvalidHeader():
            return 400, "this is no HTTP request: a header is not allowed"
        case BadHttpMessage(message="Too many headers received"):
            return 431, "there are too many headers"
    reason = error.message.removeprefix("Bad status line:").strip().partition("\n")[0].strip(" :")
    return 400, f"this is no HTTP request: {reason}"
