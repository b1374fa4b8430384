"""What the two ends of a link have in common: frames in, events out, and the order in which frames leave.

See `session` for how a session is used, and `router_session` and `agent_session` for what each end says.
"""

from collections.abc import Callable

from herd.errors import LinkClosed, ProtocolError
from herd.protocols.credit import LINK, CreditLedger
from herd.protocols.events import Event, GoodbyeReceived, PongReceived
from herd.protocols.fitness import MAX_TEXT, farewell
from herd.protocols.framing import (
    MAX_FRAME,
    MAX_FRAME_BEFORE_WELCOME,
    Frame,
    FrameDecoder,
    encode,
    fields,
    name_of,
    piece,
)
from herd.protocols.handshake import HandshakeError
from herd.protocols.messages import FrameType, Goodbye
from herd.protocols.outbox import Outbox
from herd.protocols.states import LinkState, Side, StreamState
from herd.types import StreamId

# Fits the 64 bits that msgpack and SQLite keep, with room to spare.
MAX_STREAM_ID = 2**62

_STREAM_FRAMES = frozenset(
    {FrameType.HEAD, FrameType.END, FrameType.RESET, FrameType.CANCEL, FrameType.WINDOW, FrameType.OPEN}
)

_Handler = Callable[..., Event | None]  # of a stream frame: (stream, *fields); of others: (*fields)


class Session:
    """What both ends of a link have in common."""

    def __init__(self, side: Side, *, guarded: bool) -> None:
        self._side = side
        self._version: int | None = None
        self._streams: dict[StreamId, StreamState] = {}  # at most MAX_STREAMS
        self._highest = StreamId(0)
        self._decoder = FrameDecoder(MAX_FRAME_BEFORE_WELCOME)
        self._outbox = Outbox(side.sends)
        self._credit = CreditLedger()
        self._failure: ProtocolError | None = None  # found while sending; raised by the next receive or take
        self._handlers: dict[int, _Handler] = {
            FrameType.PING: self._on_ping,
            FrameType.PONG: PongReceived,
            FrameType.WINDOW: self._outbox.grant,
            FrameType.GOODBYE: self._on_goodbye,
        }
        self._enter(LinkState.GUARDED if guarded else LinkState.GREETING)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._state}, {len(self._streams)} streams>"

    @property
    def closed(self) -> bool:
        """Goodbye was said, by either side, or the peer broke the rules. No stream is open any more."""
        return self._state is LinkState.CLOSED

    @property
    def ready(self) -> bool:
        """The agent is welcomed, and the link not closed."""
        return self._state is LinkState.OPEN

    @property
    def version(self) -> int | None:
        """The protocol version that both speak; None until the peer has named its own."""
        return self._version

    @property
    def streams(self) -> tuple[StreamId, ...]:
        """The streams that have not ended, in the order in which they were opened."""
        return tuple(self._streams)

    # --- Bytes in -----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """What `data`, together with what came before, says. Once the session is closed, nothing.

        Raises:
            ProtocolError: the peer broke the rules (`HandshakeError`: it may not join, or is not to be joined). The
                session is closed; `take` has a last GOODBYE that tells the peer why.
        """
        self._raise_failure()
        events: list[Event] = []
        try:
            frames = [] if self.closed else self._decoder.feed(data)
            while frames:
                for frame in frames:
                    event = self._accept(frame)
                    if event is not None:
                        events.append(event)
                    if self._state is LinkState.CLOSED:
                        break
                frames = [] if self.closed else self._decoder.feed(b"")
        except ProtocolError as error:
            self._fail(error)
            raise
        self._raise_failure()
        return events

    def consumed(self, stream: StreamId, size: int) -> None:
        """So many received bytes of a stream were handed on, and the peer may send more. Nothing, once it has ended.

        Raises:
            ValueError: so many were not received.
        """
        self._credit.consume(stream, size)

    def _accept(self, frame: Frame) -> Event | None:
        kind, stream = frame[0], StreamId(frame[1])
        following = self._row.get(kind)
        if following is None:
            raise ProtocolError(f"{name_of(kind)} is not allowed while the link is {self._state}.")
        if kind == self._side.receives:
            return self._on_piece(kind, stream, frame)
        if kind in _STREAM_FRAMES:
            return self._handlers[kind](stream, *fields(frame)) if self._concerns(kind, stream) else None
        if stream != LINK:
            raise ProtocolError(f"{name_of(kind)} names stream {stream}, and is about the link as a whole.")
        event = self._handlers[kind](*fields(frame))
        if following is not self._state and not self.closed:
            self._enter(following)
        return event

    def _concerns(self, kind: int, stream: StreamId) -> bool:
        """Whether a frame is for something that is there, which then moves on; False when its stream has ended."""
        if kind == FrameType.OPEN or (kind == FrameType.WINDOW and stream == LINK):
            return True
        state = self._streams.get(stream)
        if state is None:
            if 0 < stream <= self._highest:
                return False
            raise ProtocolError(f"{name_of(kind)} names stream {stream}, which was never opened.")
        following = self._side.streams[state].get(kind)
        if following is None:
            raise ProtocolError(f"{name_of(kind)} is not allowed on a stream that is {state}.")
        if following is StreamState.ENDED:
            self._forget(stream)
        elif following is not state:
            self._streams[stream] = following
        return True

    def _on_piece(self, kind: int, stream: StreamId, frame: Frame) -> Event | None:
        data, last = piece(frame)
        if not self._concerns(kind, stream):
            self._credit.receive_late(len(data))
            return None
        self._credit.receive(stream, len(data))
        return self._handlers[kind](stream, data, last)

    def _on_ping(self, number: int) -> None:
        self._control(encode(FrameType.PONG, LINK, number))

    def _on_goodbye(self, goodbye: Goodbye) -> Event:
        self._close()
        self._outbox.clear()
        return GoodbyeReceived(farewell(goodbye))

    # --- Bytes out ----------------------------------------------------------------------------------------------------

    def take(self, budget: int) -> bytes:
        """The next frames to write: about `budget` bytes, at least one frame, or b"" when nothing may be sent.

        Raises:
            ProtocolError: the peer let too much pile up; the session is closed.
        """
        self._raise_failure()
        for stream, amount in self._credit.grants():
            self._outbox.put_control(encode(FrameType.WINDOW, stream, amount))
        data, finished = self._outbox.take(budget)
        if self._side.ends_streams:
            for stream in finished:
                self._forget(stream)
        return data

    def unsent(self, stream: StreamId) -> int:
        """Bytes of a stream that wait to be taken. Its owner waits while they are more than `STREAM_BUFFER`."""
        return self._outbox.unsent(stream)

    def drained(self) -> list[StreamId]:
        """Streams whose unsent bytes fell to `STREAM_BUFFER` or below in `take` since the last call.

        A stream that has ended is not among them: the event that ended it says so.
        """
        return self._outbox.drained()

    def ping(self, number: int) -> None:
        """Ask the peer for a PongReceived with the same number."""
        self._require_ready()
        self._control(encode(FrameType.PING, LINK, number))

    def goodbye(self, goodbye: Goodbye) -> None:
        """Close the link: streams are dropped, control frames still go out, a GOODBYE last."""
        if self.closed:
            raise LinkClosed("The link is closed.")
        frame = encode(FrameType.GOODBYE, LINK, goodbye)
        self._close()
        self._outbox.clear_streams()
        self._outbox.put_control(frame)

    def _control(self, frame: bytes) -> None:
        self._outbox.put_control(frame)
        if self._outbox.overfull:
            self._failure = ProtocolError("The peer does not read what it is sent.")
            self._fail(self._failure)

    # --- Common ground ------------------------------------------------------------------------------------------------

    def _enter(self, state: LinkState) -> None:
        self._state = state
        self._row = self._side.links.get(state, {})
        if state is LinkState.OPEN:
            self._decoder.limit = MAX_FRAME

    def _begin(self, stream: StreamId, state: StreamState) -> None:
        self._streams[stream] = state
        self._highest = max(self._highest, stream)
        self._credit.open(stream)

    def _forget(self, stream: StreamId) -> None:
        del self._streams[stream]
        self._outbox.drop(stream)
        self._credit.close(stream)

    def _close(self) -> None:
        self._enter(LinkState.CLOSED)
        self._streams.clear()
        self._credit = CreditLedger()

    def _fail(self, error: ProtocolError) -> None:
        code = error.code if isinstance(error, HandshakeError) else "protocol"
        self._close()
        self._outbox.clear()
        self._outbox.put_control(encode(FrameType.GOODBYE, LINK, Goodbye(code, str(error)[:MAX_TEXT])))

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _require_ready(self) -> None:
        if self.closed:
            raise LinkClosed("The link is closed.")
        if not self.ready:
            raise ValueError(f"the link is {self._state}: only a GOODBYE may be sent")

    def _is_live(self, stream: StreamId) -> bool:
        """Whether a stream can be sent on: False when it has ended."""
        self._require_ready()
        if stream in self._streams:
            return True
        if 0 < stream <= self._highest:
            return False
        raise ValueError(f"stream {stream} was never opened")
