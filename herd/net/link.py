"""What both ends of a link share: a TCP connection, plain or with TLS, that carries a sans-io `Session`."""

import asyncio
import contextlib
import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from herd.errors import ProtocolError
from herd.net.tls import TlsLayer
from herd.protocols.session import Event, Session
from herd.types import KiB, Seconds, StreamId

logger = logging.getLogger(__name__)

# Whatever waits in the socket's buffers delays control frames and other streams, so little is let into them; what is
# left is a frame or two, and the system's own buffer is told to report room only when it is nearly empty.
WRITE_HIGH_WATER = 64 * KiB
WRITE_LOW_WATER = 16 * KiB
NOTSENT_LOWAT = 128 * KiB
WRITE_AT_ONCE = 64 * KiB
# What TLS itself answers (to a request for new keys, say) goes out at once. A peer that asks again and again and reads
# nothing is not an agent: what we write ourselves stays below three times the high water.
MAX_UNREAD = 8 * WRITE_HIGH_WATER
# From here on, small pieces that nobody fetches are kept as one: a window full of one-byte frames costs one window.
MERGE_FROM = 64
MERGE_UP_TO = 64 * KiB
CLOSE_S = 2.0  # for a last frame to a peer that reads; one that does not is cut


class LinkConnection(asyncio.Protocol, ABC):
    """One TCP connection. Subclasses handle the events of their side's session."""

    def __init__(self, session: Session, tls: TlsLayer | None = None) -> None:
        self.session = session
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._flush_soon = False
        self._heard = self._loop.time()
        self.received = self.sent = 0  # bytes so far
        self._room: dict[StreamId, asyncio.Future[None]] = {}
        self._why: str | None = None  # set once this side has given the connection up
        self._cut: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[str] = self._loop.create_future()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the send buffers small, and begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER, low=WRITE_LOW_WATER)
        with contextlib.suppress(OSError):  # the peer has reset it already, or the system does not know the option
            _keep_small(transport.get_extra_info("socket"))
        if self._why is not None:  # given up before it was made
            self._close()
        else:
            self.wake()

    def data_received(self, data: bytes) -> None:
        """Frames from the peer."""
        self._heard = self._loop.time()
        self.received += len(data)
        try:
            if self._tls is not None:
                data = self._opened(self._tls, data)
            events = self.session.receive(data) if data else []
        except ProtocolError as error:
            self.broken(error)
            return
        self.handle(events)
        self.wake()
        if self._tls is not None and self._tls.ended:
            self.hang_up("the connection was closed")

    def _opened(self, tls: TlsLayer, data: bytes) -> bytes:
        """What came in by TLS."""
        was_ready = tls.ready
        data = tls.receive(data)
        if tls.ready and not was_ready:
            self.secured(tls)
        return b"" if self._why is not None else data

    def secured(self, tls: TlsLayer) -> None:
        """TLS is agreed upon; nothing of the session was written or read yet."""

    def pause_writing(self) -> None:
        """The socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket has room."""
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and every stream with it."""
        why = self._why or str(exc or "") or "the connection was closed"
        self._why = why
        if self._cut is not None:
            self._cut.cancel()
        for stream in tuple(self._room):
            self.free_room(stream)
        if not self._lost.done():
            self._lost.set_result(why)
        self.lost(why)

    # --- for the two sides --------------------------------------------------------------------------------------------

    @abstractmethod
    def handle(self, events: Sequence[Event]) -> None:
        """React to what came in."""

    def broken(self, error: ProtocolError) -> None:
        """The peer broke the rules: say so, and close."""
        logger.warning("link with %s closed: %s", self.peer, error)
        self.hang_up(str(error))

    @abstractmethod
    def lost(self, why: str) -> None:
        """React to the end of the connection; called once."""

    @property
    def peer(self) -> str:
        """The peer's address, for people."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else "an unknown peer"

    @property
    def is_lost(self) -> bool:
        """True once the connection is gone or given up, or the session has found that it must be."""
        return self._why is not None or self.session.closed

    @property
    def silence(self) -> Seconds:
        """Seconds since the last bytes came in."""
        return Seconds(self._loop.time() - self._heard)

    async def wait_lost(self) -> str:
        """Wait until the connection is gone; why, for a person."""
        return await asyncio.shield(self._lost)

    def wake(self) -> None:
        """Something may be ready to be sent: write it at the end of this turn of the loop, all in one go."""
        if not self._flush_soon:
            self._flush_soon = True
            self._loop.call_soon(self._flush)

    async def wait_room(self, stream: StreamId) -> None:
        """Wait until the stream's unsent bytes have gone down, or the link is gone."""
        room = self._room.get(stream)
        if room is None:
            room = self._room[stream] = self._loop.create_future()
        await asyncio.shield(room)

    def free_room(self, stream: StreamId) -> None:
        """Let go of whoever waits for the stream's room: it has some, or it has ended."""
        room = self._room.pop(stream, None)
        if room is not None and not room.done():
            room.set_result(None)

    def hang_up(self, why: str) -> None:
        """Send what is left (a GOODBYE, mostly) and close; a peer that does not read is cut. Idempotent."""
        if self._why is not None:
            return
        self._why = why
        if self._transport is not None:
            self._close()

    def _close(self) -> None:
        """Write what there is room for, then close."""
        transport = self._transport
        if transport is None:
            return
        self._flush()
        if self._tls is not None and self._tls.ready and not transport.is_closing():
            transport.write(self._tls.end())
        transport.close()
        self._cut = self._loop.call_later(CLOSE_S, transport.abort)

    def _flush(self) -> None:
        """Write while the session has frames and the socket has room.

        A closed session has dropped its streams: its last control frames, bounded by the outbox, need no room.
        """
        self._flush_soon = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        tls = self._tls
        if tls is not None:
            if words := tls.take():
                self.sent += len(words)
                transport.write(words)
                if transport.get_write_buffer_size() > MAX_UNREAD:
                    self.cut("the peer does not read what it asks for")
                    return
            if not tls.ready:
                return
        try:
            while (self.session.closed or not self._paused) and (data := self.session.take(WRITE_AT_ONCE)):
                sealed = data if tls is None else tls.seal(data)
                self.sent += len(sealed)
                transport.write(sealed)
        except ProtocolError as error:
            logger.warning("link with %s closed: %s", self.peer, error)
            self.cut(str(error))
            return
        for stream in self.session.drained():
            self.free_room(stream)
        self.flushed()

    def cut(self, why: str) -> None:
        """End the connection without a further word."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()

    def flushed(self) -> None:
        """React to frames that were written; called after each round."""


def _keep_small(sock: socket.socket | None) -> None:
    """Bound what the system buffers for sending, by the means that this platform has."""
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lowat = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if lowat is not None:
        sock.setsockopt(socket.IPPROTO_TCP, lowat, NOTSENT_LOWAT)
    else:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NOTSENT_LOWAT)
