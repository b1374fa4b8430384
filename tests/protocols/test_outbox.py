import pytest

from herd.errors import ProtocolError
from herd.protocols.credit import INITIAL_WINDOW, MAX_WINDOW
from herd.protocols.framing import MAX_PIECE, encode, encode_piece
from herd.protocols.messages import FrameType, Result
from herd.protocols.session import (
    STREAM_BUFFER,
    DataReceived,
    StreamEnded,
)
from herd.types import StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    REPORT,
    USAGE,
    Pair,
    kinds_in,
)

ONE = StreamId(1)
TWO = StreamId(2)
TOKEN = "open sesame"  # the join token of these tests


def granted(pair: Pair, *streams: StreamId, amount: int = MAX_WINDOW) -> None:
    """Give the agent more credit than the router's ledger would."""
    for stream in streams:
        pair.agent.receive(encode(FrameType.WINDOW, stream, amount))


def test_streams_take_turns_frame_by_frame() -> None:
    pair = Pair.welcomed()
    pair.serving(1, 2)
    granted(pair, ONE, TWO)
    for stream in (ONE, TWO):
        pair.agent.send_data(stream, b"x" * (2 * MAX_PIECE + 1))
        pair.agent.end(stream, USAGE)
    data, end = FrameType.DATA, FrameType.END
    assert kinds_in(pair.agent.take(EVERYTHING)) == [
        *[(data, 1), (data, 2), (data, 1), (data, 2), (data, 1), (data, 2)],
        *[(end, 1), (end, 2)],
    ]


def test_a_take_is_about_its_budget_and_one_frame_at_least() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    granted(pair, ONE)
    pair.agent.send_data(ONE, b"x" * 200_000)
    assert len(kinds_in(pair.agent.take(0))) == 1
    assert len(kinds_in(pair.agent.take(MAX_PIECE + 100))) == 2
    assert pair.agent.unsent(ONE) == 200_000 - 3 * MAX_PIECE


def test_control_frames_overtake_data() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"x" * 5000)
    pair.agent.receive(encode(FrameType.PING, 0, 1))
    pair.agent.result(Result(1, ok=True))
    pair.agent.report(REPORT)
    assert [kind for kind, _ in kinds_in(pair.agent.take(EVERYTHING))] == [
        FrameType.PONG,
        FrameType.RESULT,
        FrameType.HEARTBEAT,
        FrameType.DATA,
    ]


def test_a_stream_stops_at_its_window_and_goes_on_when_its_bytes_are_consumed() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"x" * 10_000)
    (event,) = pair.to_router()
    assert isinstance(event, DataReceived)
    assert len(event.data) == INITIAL_WINDOW
    assert pair.to_router() == []
    pair.router.consumed(ONE, len(event.data))
    pair.to_agent()
    assert pair.to_router() == [DataReceived(ONE, b"x" * (10_000 - INITIAL_WINDOW))]


def test_head_and_end_need_no_credit() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"x" * INITIAL_WINDOW)
    pair.agent.end(ONE, USAGE)
    assert pair.to_router()[-1] == StreamEnded(ONE, USAGE)


def test_a_client_that_does_not_read_does_not_stop_another() -> None:
    pair = Pair.welcomed()
    pair.serving(1, 2)
    pair.agent.send_data(ONE, b"x" * 1_000_000)
    pair.agent.send_data(TWO, b"y" * 1_000_000)
    arrived = {ONE: 0, TWO: 0}
    while events := pair.to_router():
        for event in events:
            assert isinstance(event, DataReceived)
            arrived[event.stream] += len(event.data)
            if event.stream == TWO:
                pair.router.consumed(TWO, len(event.data))
        pair.to_agent()
    assert arrived == {ONE: INITIAL_WINDOW, TWO: 1_000_000}


def test_a_peer_that_sends_beyond_its_window_is_refused() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    with pytest.raises(ProtocolError, match="Stream 1 sent 8193 bytes and had credit for 8192"):
        pair.router.receive(encode_piece(FrameType.DATA, 1, b"x" * (INITIAL_WINDOW + 1)))


def test_without_credit_of_the_link_bytes_wait_and_all_else_goes_on() -> None:
    pair = Pair.welcomed()
    streams = pair.serving(*range(1, 70))
    granted(pair, *streams)
    for stream in streams[:-1]:
        pair.agent.send_data(stream, b"x" * MAX_WINDOW)
    while pair.agent.take(EVERYTHING):
        pass
    assert sum(pair.agent.unsent(stream) for stream in streams) == 68 * MAX_WINDOW - 64 * MAX_WINDOW
    pair.agent.end(streams[-1], USAGE)
    assert kinds_in(pair.agent.take(EVERYTHING)) == [(FrameType.END, 69)]
    pair.agent.receive(encode(FrameType.WINDOW, 0, 4 * MAX_WINDOW))
    pair.agent.take(EVERYTHING)
    assert sum(pair.agent.unsent(stream) for stream in streams) == 0


def test_the_owner_is_told_when_a_stream_has_room_again() -> None:
    pair = Pair.welcomed()
    pair.serving(1, 2)
    granted(pair, ONE, TWO)
    pair.agent.send_data(ONE, b"x" * (STREAM_BUFFER + 1))
    pair.agent.send_data(TWO, b"y" * STREAM_BUFFER)
    assert pair.agent.unsent(ONE) > STREAM_BUFFER
    assert pair.agent.drained() == []
    pair.agent.take(EVERYTHING)
    assert pair.agent.drained() == [ONE]
    assert pair.agent.drained() == []


def test_a_stream_that_was_ended_is_open_until_its_last_byte_is_taken() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    granted(pair, ONE)
    pair.agent.send_data(ONE, b"x" * MAX_PIECE * 2)
    pair.agent.end(ONE, USAGE)
    pair.agent.take(1)
    assert list(pair.agent.streams) == [ONE]
    pair.agent.take(EVERYTHING)
    assert list(pair.agent.streams) == []
