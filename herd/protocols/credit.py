"""Flow control as the receiver of bytes sees it: how many more each stream of a link may send.

Two promises hold together: what a link's peer has sent and nobody has taken yet stays under `CONNECTION_WINDOW`, and a
stream that nobody reads never takes the room of another. So every stream has `INITIAL_WINDOW` bytes of its own from the
start, for as many streams as there may be; only the surplus beyond that is lent, to streams that are being read.

The sender's half is two counters for each stream and link: see `outbox`.
"""

from herd.errors import ProtocolError
from herd.types import KiB, MiB, StreamId

LINK = StreamId(0)  # in a grant: the link as a whole

# All that may be on its way to one end of a link or wait there. With ten nodes, every window full: 160 MiB.
CONNECTION_WINDOW = 16 * MiB
# Requests on one link at once. A node runs a handful, and its queue waits in the router: more is a mistake.
MAX_STREAMS = 1024
# Both ends know it, so that an answer begins without a round trip. Some 50 streamed tokens, or 8,000 letters.
INITIAL_WINDOW = 8 * KiB
# What a stream that is read may grow to: with a round trip of 2 ms, 128 MB/s, which is a gigabit network.
MAX_WINDOW = 256 * KiB
# The link's credit is given back in lumps of this size, so that it costs one frame in sixteen DATA frames.
CONNECTION_BATCH = 1 * MiB
# What is left for growth. The batch is left out: what waits to be given back as a lump is room that the sender lacks.
SURPLUS = CONNECTION_WINDOW - MAX_STREAMS * INITIAL_WINDOW - CONNECTION_BATCH


class _Window:
    """One stream's window. Always `room + held + due == size`."""

    __slots__ = ("due", "held", "read", "room", "size")

    def __init__(self) -> None:
        self.size = INITIAL_WINDOW
        self.room = INITIAL_WINDOW  # the peer may send so many more
        self.held = 0  # received, and not yet consumed
        self.due = 0  # consumed, and not yet granted again
        self.read = 0  # consumed since the window last grew


class CreditLedger:
    """What one end of a link has granted to its peer, over all streams."""

    def __init__(self) -> None:
        self._windows: dict[StreamId, _Window] = {}  # at most MAX_STREAMS: the session sees to that
        self._surplus = SURPLUS
        self._room = CONNECTION_WINDOW  # the peer may send so many more, over all streams
        self._due = 0  # consumed or dropped, and not yet granted again
        self._grants: dict[StreamId, int] = {}  # to be told to the peer; one entry for each stream, one for the link

    def open(self, stream: StreamId) -> None:
        """Begin a stream: its first `INITIAL_WINDOW` bytes are granted without a word."""
        self._windows[stream] = _Window()

    def receive(self, stream: StreamId, size: int) -> None:
        """Note that bytes came in on an open stream.

        Raises:
            ProtocolError: the peer had no credit for them.
        """
        window = self._windows[stream]
        if size > window.room:
            raise ProtocolError(f"Stream {stream} sent {size} bytes and had credit for {window.room}.")
        self._spend(size)
        window.room -= size
        window.held += size

    def receive_late(self, size: int) -> None:
        """Note that bytes came in for a stream that has ended, and were dropped.

        Raises:
            ProtocolError: the peer had no credit for them.
        """
        self._spend(size)
        self._return(size)

    def consume(self, stream: StreamId, size: int) -> None:
        """Note that received bytes were handed on. For a stream that has ended nothing is left to do.

        Raises:
            ValueError: so many were not received.
        """
        window = self._windows.get(stream)
        if window is None:
            return
        if not 0 <= size <= window.held:
            raise ValueError(f"stream {stream} holds {window.held} bytes, and {size} were consumed")
        window.held -= size
        window.due += size
        window.read += size
        self._return(size)
        if window.read >= window.size:
            self._grow(window)
        if window.due * 2 >= window.size:
            self._grants[stream] = self._grants.get(stream, 0) + window.due
            window.room += window.due
            window.due = 0

    def close(self, stream: StreamId) -> None:
        """End a stream. What it still held counts as consumed, and what it had grown by is free for others."""
        window = self._windows.pop(stream)
        self._grants.pop(stream, None)
        self._surplus += window.size - INITIAL_WINDOW
        self._return(window.held)

    def grants(self) -> list[tuple[StreamId, int]]:
        """What the peer is to be told: streams (`LINK` for the link) and the bytes they gain. Told once."""
        grants = list(self._grants.items())
        self._grants.clear()
        return grants

    def _grow(self, window: _Window) -> None:
        """Double a window that was read through once, as far as there is surplus."""
        gain = min(window.size, MAX_WINDOW - window.size, self._surplus)
        self._surplus -= gain
        window.size += gain
        window.due += gain
        window.read = 0

    def _spend(self, size: int) -> None:
        if size > self._room:
            raise ProtocolError(f"The link sent {size} bytes and had credit for {self._room}.")
        self._room -= size

    def _return(self, size: int) -> None:
        self._due += size
        if self._due >= CONNECTION_BATCH:
            self._grants[LINK] = self._grants.get(LINK, 0) + self._due
            self._room += self._due
            self._due = 0
