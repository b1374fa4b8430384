"""What one end of a link has yet to send, and in which order: control frames first, then the streams in turn."""

from collections import OrderedDict, deque

from herd.errors import ProtocolError
from herd.protocols.credit import CONNECTION_WINDOW, INITIAL_WINDOW, LINK
from herd.protocols.framing import MAX_CREDIT, MAX_PIECE, encode_piece
from herd.protocols.messages import FrameType
from herd.types import KiB, MiB, StreamId

# Above so many unsent bytes of a stream its owner waits: one frame to be going on with while the next is fetched.
STREAM_BUFFER = 64 * KiB
# Four of the largest frames, or the heads of 1,000 requests. Whoever lets so much pile up does not read.
MAX_CONTROL = 4 * MiB
# What a queued frame takes beyond its bytes, so that a flood of PINGs is counted as what it costs.
_FRAME_COST = 64


class _Half:
    """The sending half of one stream: a head, pieces, a tail, in this order."""

    __slots__ = ("head", "pieces", "started", "tail", "unsent", "window")

    def __init__(self, *, started: bool) -> None:
        self.started = started  # the head was given, or went ahead as a control frame
        self.head: bytes | None = None
        self.pieces: deque[bytes | memoryview] = deque()
        self.tail: bytes | None = None
        self.unsent = 0  # bytes in `pieces`; its owner keeps it near STREAM_BUFFER
        self.window = INITIAL_WINDOW

    def can_send(self) -> bool:
        """Whether a frame could go out, as far as the stream's own credit is concerned."""
        if self.head is not None:
            return True
        return self.window > 0 if self.pieces else self.tail is not None


class Outbox:
    """The frames that wait to be sent over one link.

    Args:
        kind: the type of the frames that carry pieces: DATA or BODY.
    """

    def __init__(self, kind: FrameType) -> None:
        self._kind = kind
        self._window = CONNECTION_WINDOW
        self._control: deque[bytes] = deque()
        self._control_size = 0
        self._report: bytes | None = None
        self._halves: dict[StreamId, _Half] = {}  # as many as the session has streams
        self._turns: OrderedDict[StreamId, _Half] = OrderedDict()  # those that can send, whose turn it is in front
        self._starved: dict[StreamId, _Half] = {}  # those that wait for the link's credit
        self._drained: dict[StreamId, None] = {}

    # --- Control frames -----------------------------------------------------------------------------------------------

    @property
    def overfull(self) -> bool:
        """More control frames wait than a peer that reads would leave."""
        return self._control_size > MAX_CONTROL

    def put_control(self, frame: bytes) -> None:
        """Queue a frame ahead of all streams."""
        self._control.append(frame)
        self._control_size += len(frame) + _FRAME_COST

    def put_report(self, frame: bytes) -> None:
        """Queue a heartbeat after the other control frames, in place of one that still waits."""
        self._report = frame

    def clear(self) -> None:
        """Drop everything."""
        self._control.clear()
        self._control_size = 0
        self.clear_streams()

    def clear_streams(self) -> None:
        """Drop everything but the control frames; a heartbeat goes too."""
        self._report = None
        for table in (self._halves, self._turns, self._starved, self._drained):
            table.clear()

    # --- Streams ------------------------------------------------------------------------------------------------------

    def open(self, stream: StreamId, *, started: bool) -> None:
        """Begin a sending half; `started` when it has no head of its own."""
        self._halves[stream] = _Half(started=started)

    def is_open(self, stream: StreamId) -> bool:
        """Whether the stream has a sending half that was not sent to its end."""
        return stream in self._halves

    def unsent(self, stream: StreamId) -> int:
        """Bytes of pieces that wait."""
        half = self._halves.get(stream)
        return half.unsent if half is not None else 0

    def put_head(self, stream: StreamId, frame: bytes) -> None:
        """Queue the head. Raises ValueError when there was one."""
        half = self._writable(stream)
        if half.started:
            raise ValueError(f"stream {stream} has its head already")
        half.started = True
        half.head = frame
        self._turns.setdefault(stream, half)

    def put_piece(self, stream: StreamId, data: bytes) -> None:
        """Queue bytes; none are ignored. Raises ValueError before the head and after the tail."""
        half = self._writable(stream)
        if not half.started:
            raise ValueError(f"stream {stream} has no head yet")
        if data:
            half.pieces.append(data)
            half.unsent += len(data)
            if half.window > 0:
                self._turns.setdefault(stream, half)

    def put_tail(self, stream: StreamId, frame: bytes) -> None:
        """Queue the last frame. Raises ValueError when there was one."""
        half = self._writable(stream)
        half.tail = frame
        if half.can_send():
            self._turns.setdefault(stream, half)

    def drop(self, stream: StreamId) -> None:
        """Forget a stream and what it has not sent."""
        for table in (self._halves, self._turns, self._starved, self._drained):
            table.pop(stream, None)

    def grant(self, stream: StreamId, amount: int) -> None:
        """The peer allows more bytes on a stream, or over all of them (`LINK`).

        Raises:
            ProtocolError: more than the link counts.
        """
        if stream == LINK:
            self._window = _widened(self._window, amount)
            self._turns.update(self._starved)
            self._starved.clear()
            return
        half = self._halves.get(stream)
        if half is not None:
            half.window = _widened(half.window, amount)
            if half.can_send():
                self._turns.setdefault(stream, half)

    # --- Sending ------------------------------------------------------------------------------------------------------

    def take(self, budget: int) -> tuple[bytes, list[StreamId]]:
        """The next frames, about `budget` bytes but at least one, and the streams whose last frame is among them."""
        frames: list[bytes] = []
        finished: list[StreamId] = []
        size = 0
        while size < budget or not frames:
            frame = self._next_control() or self._next_of_streams(finished)
            if frame is None:
                break
            frames.append(frame)
            size += len(frame)
        return b"".join(frames), finished

    def drained(self) -> list[StreamId]:
        """Streams whose unsent bytes fell to `STREAM_BUFFER` or below since the last call."""
        drained = list(self._drained)
        self._drained.clear()
        return drained

    def _next_control(self) -> bytes | None:
        if self._control:
            frame = self._control.popleft()
            self._control_size -= len(frame) + _FRAME_COST
            return frame
        report, self._report = self._report, None
        return report

    def _next_of_streams(self, finished: list[StreamId]) -> bytes | None:
        while self._turns:
            stream, half = self._turns.popitem(last=False)
            if half.head is not None:
                frame, half.head = half.head, None
            elif not half.pieces:
                self.drop(stream)
                finished.append(stream)
                return half.tail
            elif self._window:
                frame = self._next_piece(stream, half)
            else:
                self._starved[stream] = half
                continue
            if half.can_send():
                self._turns[stream] = half
            return frame
        return None

    def _next_piece(self, stream: StreamId, half: _Half) -> bytes:
        data = half.pieces.popleft()
        room = min(half.window, self._window, MAX_PIECE)
        if len(data) > room:
            view = memoryview(data)
            half.pieces.appendleft(view[room:])
            data = view[:room]
        size = len(data)
        half.window -= size
        self._window -= size
        if half.unsent > STREAM_BUFFER >= half.unsent - size:
            self._drained[stream] = None
        half.unsent -= size
        return encode_piece(self._kind, stream, data)

    def _writable(self, stream: StreamId) -> _Half:
        half = self._halves.get(stream)
        if half is None or half.tail is not None:
            raise ValueError(f"stream {stream} was ended, or never had bytes to send")
        return half


def _widened(window: int, amount: int) -> int:
    if window + amount > MAX_CREDIT:
        raise ProtocolError(f"WINDOW raises a credit of {window} bytes by {amount}, beyond {MAX_CREDIT}.")
    return window + amount
