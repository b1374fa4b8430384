from collections import defaultdict

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.protocols.credit import CONNECTION_WINDOW, MAX_WINDOW
from herd.protocols.messages import FrameType
from herd.protocols.session import (
    AgentSession,
    BodyReceived,
    DataReceived,
    Event,
    HeadReceived,
    RouterSession,
    Session,
    StreamCancelled,
    StreamEnded,
    StreamOpened,
    StreamReset,
)
from herd.types import KiB, StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    FAILURE,
    HEAD,
    HELLO,
    REQUEST,
    ROUTER_NONCE,
    USAGE,
    Pair,
    example,
    receive_or_refuse,
)

# Bytes that are the same nowhere within a megabyte, so that a lost, doubled or moved one shows.
NOISE = b"".join(number.to_bytes(4, "big") for number in range(256 * KiB))
# Around every size that matters: one byte, the first window, a piece, the buffer, more than the largest window.
SIZES = st.sampled_from([1, 100, 8191, 8192, 8193, 65_536, 65_537, 300_000])
FEW = settings(max_examples=60, derandomize=True, database=None)
TOKEN = "open sesame"  # the join token of these tests


# --- Two honest ends --------------------------------------------------------------------------------------------------


class Direction:
    """What one end sent on its streams, and what the other end got."""

    def __init__(self, sender: Session, receiver: Session) -> None:
        self.sender = sender
        self.receiver = receiver
        self.wire = bytearray()
        self.sent: dict[StreamId, int] = defaultdict(int)
        self.got: dict[StreamId, bytearray] = defaultdict(bytearray)
        self.held: dict[StreamId, int] = defaultdict(int)
        self.complete: set[StreamId] = set()  # the sender said that this is all
        self.over: set[StreamId] = set()  # the receiver heard that this is all

    def next_piece(self, stream: StreamId, size: int) -> bytes:
        """The next bytes to send."""
        start = self.sent[stream] + 4 * stream
        self.sent[stream] += size
        return (NOISE * (1 + (start + size) // len(NOISE)))[start : start + size]

    def arrived(self, stream: StreamId, data: bytes) -> None:
        """Bytes came out at the other end: they must be the next ones."""
        assert stream not in self.over
        start = len(self.got[stream]) + 4 * stream
        assert data == (NOISE * (1 + (start + len(data)) // len(NOISE)))[start : start + len(data)]
        self.got[stream] += data
        self.held[stream] += len(data)

    def consume(self, stream: StreamId, size: int) -> None:
        """The receiver's owner hands bytes on."""
        self.receiver.consumed(stream, size)
        self.held[stream] -= size


class Link(RuleBasedStateMachine):
    """A router and an agent, and a wire on which bytes take their time and come in any pieces."""

    def __init__(self) -> None:
        super().__init__()
        pair = Pair.welcomed()
        self.router, self.agent = pair.router, pair.agent
        self.up = Direction(self.agent, self.router)  # answers
        self.down = Direction(self.router, self.agent)  # requests
        self.last = 0
        self.cancelled: set[StreamId] = set()
        self.heads: set[StreamId] = set()  # sent by the agent

    # --- What the owners do ---

    @precondition(lambda self: len(self.router.streams) < 6)
    @rule()
    def open(self) -> None:
        self.last += 1
        self.router.open(StreamId(self.last), REQUEST)

    @precondition(lambda self: self.router.streams)
    @rule(data=st.data(), size=SIZES)
    def send_body(self, data: st.DataObject, size: int) -> None:
        stream = data.draw(st.sampled_from(self.router.streams))
        if stream not in self.down.complete:
            self.router.send_body(stream, self.down.next_piece(stream, size))

    @precondition(lambda self: self.router.streams)
    @rule(data=st.data())
    def end_body(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.router.streams))
        if stream not in self.down.complete:
            self.down.complete.add(stream)
            self.router.end_body(stream)

    @precondition(lambda self: self.router.streams)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        stream = data.draw(st.sampled_from(self.router.streams))
        self.router.cancel(stream)
        self.cancelled.add(stream)

    @precondition(lambda self: self.agent.streams)
    @rule(data=st.data(), size=SIZES)
    def send_data(self, data: st.DataObject, size: int) -> None:
        stream = data.draw(st.sampled_from(self.agent.streams))
        if stream in self.up.complete:
            return
        if stream not in self.heads:
            self.heads.add(stream)
            self.agent.send_head(stream, HEAD)
        self.agent.send_data(stream, self.up.next_piece(stream, size))

    @precondition(lambda self: self.agent.streams)
    @rule(data=st.data(), whole=st.booleans())
    def end_or_reset(self, data: st.DataObject, whole: bool) -> None:
        stream = data.draw(st.sampled_from(self.agent.streams))
        if stream in self.up.complete:
            return
        self.up.complete.add(stream)
        if whole and stream in self.heads:
            self.agent.end(stream, USAGE)
        else:
            self.agent.reset(stream, FAILURE)

    @rule(data=st.data(), share=st.sampled_from([0.01, 0.5, 1]), up=st.booleans())
    def consume(self, data: st.DataObject, share: float, up: bool) -> None:
        direction = self.up if up else self.down
        holding = [stream for stream in direction.receiver.streams if direction.held[stream]]
        if holding:
            stream = data.draw(st.sampled_from(holding))
            direction.consume(stream, max(1, int(direction.held[stream] * share)))

    # --- What the wire does ---

    @rule(budget=st.sampled_from([0, 1000, 64 * KiB, EVERYTHING]), up=st.booleans())
    def write(self, budget: int, up: bool) -> None:
        direction = self.up if up else self.down
        direction.wire += direction.sender.take(budget)

    @rule(size=st.sampled_from([1, 3, 1000, 64 * KiB, EVERYTHING]), up=st.booleans())
    def read(self, size: int, up: bool) -> None:
        direction = self.up if up else self.down
        chunk = bytes(direction.wire[:size])
        del direction.wire[:size]
        for event in direction.receiver.receive(chunk):
            self.heard(event)

    def heard(self, event: Event) -> None:
        assert isinstance(
            event,
            StreamOpened | BodyReceived | StreamCancelled | HeadReceived | DataReceived | StreamEnded | StreamReset,
        )
        stream = event.stream
        match event:
            case BodyReceived():
                self.down.arrived(stream, event.data)
                if event.last:
                    self.down.over.add(stream)
            case DataReceived():
                assert stream not in self.cancelled
                self.up.arrived(stream, event.data)
            case StreamEnded() | StreamReset():
                assert stream not in self.cancelled | self.up.over
                assert len(self.up.got[stream]) == self.up.sent[stream], "an end overtook bytes"
                self.up.over.add(stream)
            case StreamCancelled():
                assert stream in self.cancelled
            case _:
                pass

    # --- What always holds ---

    @invariant()
    def credit_is_never_negative_and_never_beyond_its_bound(self) -> None:
        for direction in (self.up, self.down):
            outbox, ledger = direction.sender._outbox, direction.receiver._credit
            assert 0 <= outbox._window <= CONNECTION_WINDOW
            assert all(0 <= half.window <= MAX_WINDOW for half in outbox._halves.values())
            windows = ledger._windows.values()
            assert all(w.room + w.held + w.due == w.size <= MAX_WINDOW for w in windows)
            assert all(min(w.room, w.held, w.due) >= 0 for w in windows)
            assert ledger._surplus >= 0
            assert 0 <= ledger._room <= CONNECTION_WINDOW

    @invariant()
    def nothing_is_kept_of_a_stream_that_has_ended(self) -> None:
        for session in (self.router, self.agent):
            assert set(session._credit._windows) == set(session.streams)
            assert set(session._outbox._halves) <= set(session.streams)
            assert set(session._outbox._turns) | set(session._outbox._starved) <= set(session._outbox._halves)

    def settle(self, stalled: StreamId | None) -> None:
        """Let everything arrive that can; nobody reads the answer of `stalled`."""
        moved = True
        while moved:
            moved = False
            for direction in (self.up, self.down):
                direction.wire += direction.sender.take(EVERYTHING)
                moved |= bool(direction.wire)
                self.read(EVERYTHING, up=direction is self.up)
                for stream in direction.receiver.streams:
                    if direction.held[stream] and stream != stalled:
                        direction.consume(stream, direction.held[stream])
                        moved = True

    def teardown(self) -> None:
        """In the end every byte has arrived, though not those of a stalled stream, nor of one that was given up."""
        stalled = self.router.streams[0] if self.router.streams else None
        self.settle(stalled)
        for stream in set(range(1, self.last + 1)) - self.cancelled - {stalled}:
            self.answer_has_arrived(StreamId(stream))
        self.settle(None)
        for stream in set(range(1, self.last + 1)) - self.cancelled:
            self.answer_has_arrived(StreamId(stream))
        assert self.router.streams == self.agent.streams

    def answer_has_arrived(self, stream: StreamId) -> None:
        assert len(self.up.got[stream]) == self.up.sent[stream]
        assert (stream in self.up.over) == (stream in self.up.complete)
        if stream not in self.up.over:  # else the rest of the request may have been dropped
            assert len(self.down.got[stream]) == self.down.sent[stream]
            assert (stream in self.down.over) == (stream in self.down.complete)


TestLink = Link.TestCase
TestLink.settings = settings(max_examples=40, stateful_step_count=50, derandomize=True, database=None)


# --- One dishonest end ------------------------------------------------------------------------------------------------


def sessions() -> list[Session]:
    """Both ends in every state that a peer can bring them to."""
    deciding, proving_router, proving_agent = (
        RouterSession(ROUTER_NONCE),
        RouterSession(ROUTER_NONCE, TOKEN),
        AgentSession(HELLO, TOKEN),
    )
    deciding.receive(example(FrameType.HELLO))
    proving_router.receive(example(FrameType.HELLO))
    proving_agent.receive(proving_router.take(EVERYTHING))
    waiting, answering = Pair.welcomed(), Pair.welcomed(TOKEN)
    waiting.router.open(StreamId(1), REQUEST)
    waiting.to_agent()
    answering.serving(1)
    fresh: list[Session] = [
        *(RouterSession(ROUTER_NONCE), RouterSession(ROUTER_NONCE, TOKEN), AgentSession(HELLO)),
        *(AgentSession(HELLO, TOKEN), deciding, proving_router, proving_agent),
        *(waiting.router, waiting.agent, answering.router, answering.agent),
    ]
    for session in fresh:
        session.take(EVERYTHING)
    return fresh


STATES = st.integers(0, len(sessions()) - 1)
KINDS = st.sampled_from(list(FrameType))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


def framed(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "big") + packed


@FEW
@given(STATES, st.binary(max_size=100) | st.binary(max_size=100).map(framed))
def test_any_bytes_give_events_or_a_polite_end(state: int, data: bytes) -> None:
    receive_or_refuse(sessions()[state], data)


@FEW
@given(STATES, KINDS, st.integers(0, 2), st.lists(VALUES, max_size=4))
def test_any_elements_give_events_or_a_polite_end(
    state: int, kind: FrameType, stream: int, elements: list[object]
) -> None:
    try:
        packed = msgpack.packb([int(kind), stream, *elements])
    except ValueError:  # a lone surrogate: not even a dishonest end can write it
        return
    receive_or_refuse(sessions()[state], framed(packed))


@pytest.mark.parametrize("state", range(len(sessions())))
def test_any_frame_in_any_state_gives_events_or_a_polite_end(state: int) -> None:
    for kind in FrameType:
        receive_or_refuse(sessions()[state], example(kind))


@pytest.mark.parametrize("kind", FrameType)
def test_a_frame_cut_short_says_nothing_and_with_a_shorter_length_gives_a_polite_end(kind: FrameType) -> None:
    whole = example(kind)
    for end in range(0, len(whole), 5):
        for session in sessions()[-2:]:
            assert session.receive(whole[:end]) == []
        for session in sessions()[-2:]:
            assert receive_or_refuse(session, framed(whole[4:end][:-1])) == []
            assert session.closed


@FEW
@given(STATES, KINDS, st.data())
def test_a_changed_byte_gives_events_or_a_polite_end(state: int, kind: FrameType, data: st.DataObject) -> None:
    changed = bytearray(example(kind))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    receive_or_refuse(sessions()[state], bytes(changed) + example(FrameType.PING))


@FEW
@given(STATES, st.lists(KINDS, min_size=1, max_size=12))
def test_any_course_of_frames_gives_events_or_a_polite_end(state: int, kinds: list[FrameType]) -> None:
    session = sessions()[state]
    for kind in kinds:
        if not session.closed:
            receive_or_refuse(session, example(kind))
