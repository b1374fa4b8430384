from dataclasses import replace

import pytest

from herd.errors import ProtocolError, StreamFailed
from herd.protocols.credit import CONNECTION_BATCH, MAX_STREAMS
from herd.protocols.framing import MAX_CREDIT, MAX_FRAME, MAX_PIECE, encode, encode_piece
from herd.protocols.messages import FrameType
from herd.protocols.session import (
    BodyReceived,
    DataReceived,
    HeadReceived,
    StreamCancelled,
    StreamEnded,
    StreamOpened,
    StreamReset,
    UnsendableError,
)
from herd.types import StreamId
from tests.protocols.link_helpers import (
    EVERYTHING,
    FAILURE,
    HEAD,
    REQUEST,
    USAGE,
    Pair,
    frames_in,
    kinds_in,
    last_words,
)

ONE = StreamId(1)
TWO = StreamId(2)
TOKEN = "open sesame"  # the join token of these tests


def test_one_request_from_open_to_end() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.router.send_body(ONE, b'{"model":')
    pair.router.send_body(ONE, b'"llama3.3"}')
    pair.router.end_body(ONE)
    assert pair.to_agent() == [
        StreamOpened(ONE, REQUEST),
        BodyReceived(ONE, b'{"model":', last=False),
        BodyReceived(ONE, b'"llama3.3"}', last=False),
        BodyReceived(ONE, b"", last=True),
    ]
    pair.agent.send_head(ONE, HEAD)
    pair.agent.send_data(ONE, b"Hello")
    pair.agent.send_data(ONE, b" world")
    pair.agent.end(ONE, USAGE)
    assert pair.to_router() == [
        HeadReceived(ONE, HEAD),
        DataReceived(ONE, b"Hello"),
        DataReceived(ONE, b" world"),
        StreamEnded(ONE, USAGE),
    ]
    assert pair.router.streams == pair.agent.streams == ()


def test_a_request_of_size_0_has_no_body() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, replace(REQUEST, size=0))
    pair.router.end_body(ONE)
    assert len(pair.to_agent()) == 1
    with pytest.raises(ValueError, match="stream 1 was ended, or never had bytes to send"):
        pair.router.send_body(ONE, b"x")
    with pytest.raises(ProtocolError, match="BODY is not allowed on a stream that is serving"):
        pair.agent.receive(encode_piece(FrameType.BODY, 1, b"x"))


def test_an_answer_may_break_before_and_after_its_head() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.router.open(TWO, REQUEST)
    pair.to_agent()
    pair.agent.reset(ONE, FAILURE)
    pair.agent.send_head(TWO, HEAD)
    pair.agent.send_data(TWO, b"Hel")
    pair.agent.reset(TWO, FAILURE)
    assert pair.to_router() == [
        StreamReset(ONE, FAILURE),
        HeadReceived(TWO, HEAD),
        DataReceived(TWO, b"Hel"),
        StreamReset(TWO, FAILURE),
    ]


def test_an_answer_may_end_before_the_request_was_all_sent() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.router.send_body(ONE, b"x" * 100_000)
    pair.to_agent()
    pair.agent.send_head(ONE, HEAD)
    pair.agent.end(ONE, USAGE)
    assert pair.to_router() == [HeadReceived(ONE, HEAD), StreamEnded(ONE, USAGE)]
    pair.router.send_body(ONE, b"nobody wants this")
    pair.router.end_body(ONE)
    pair.router.cancel(ONE)
    assert pair.router.unsent(ONE) == 0
    assert pair.router.take(EVERYTHING) == b""


def test_cancel_overtakes_the_body_and_drops_it() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.router.take(EVERYTHING)
    pair.router.send_body(ONE, b"x" * 100_000)
    pair.router.cancel(ONE)
    assert kinds_in(pair.router.take(EVERYTHING)) == [(FrameType.CANCEL, ONE)]
    assert pair.router.unsent(ONE) == 0
    assert pair.router.streams == ()


def test_cancel_drops_what_the_agent_has_not_sent() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"x" * 100_000)
    pair.router.cancel(ONE)
    assert pair.to_agent() == [StreamCancelled(ONE)]
    pair.agent.send_data(ONE, b"too late")
    pair.agent.end(ONE, USAGE)
    assert pair.agent.unsent(ONE) == 0
    assert pair.agent.take(EVERYTHING) == b""


def test_what_was_on_its_way_when_the_stream_was_cancelled_is_ignored() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"on its way")
    pair.agent.end(ONE, USAGE)
    late = pair.agent.take(EVERYTHING)
    pair.router.cancel(ONE)
    assert pair.router.receive(late) == []
    assert pair.to_agent() == []


def test_late_bytes_go_back_as_credit_of_the_link() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.router.cancel(ONE)
    pair.router.take(EVERYTHING)
    for _ in range(CONNECTION_BATCH // MAX_PIECE):
        assert pair.router.take(EVERYTHING) == b""
        assert pair.router.receive(encode_piece(FrameType.DATA, 1, b"x" * MAX_PIECE)) == []
    assert frames_in(pair.router.take(EVERYTHING)) == [[FrameType.WINDOW, 0, CONNECTION_BATCH]]


def test_streams_may_be_opened_in_any_order_under_any_id() -> None:
    pair = Pair.welcomed()
    pair.router.open(StreamId(2**62), REQUEST)
    pair.router.open(StreamId(7), REQUEST)
    assert [event.stream for event in pair.to_agent() if isinstance(event, StreamOpened)] == [2**62, 7]
    assert pair.agent.streams == (2**62, 7)


@pytest.mark.parametrize("stream", [0, -1, 2**62 + 1, 1])
def test_an_id_in_use_or_out_of_range_cannot_be_opened(stream: int) -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    with pytest.raises(ValueError, match="in use, or no id"):
        pair.router.open(StreamId(stream), REQUEST)
    with pytest.raises(ProtocolError, match="in use, or no id"):
        pair.agent.receive(encode(FrameType.OPEN, stream, REQUEST))


def test_there_are_no_more_streams_than_credit_is_set_aside_for() -> None:
    pair = Pair.welcomed()
    for number in range(1, MAX_STREAMS + 1):
        pair.router.open(StreamId(number), REQUEST)
        pair.to_agent()
    over = StreamId(MAX_STREAMS + 1)
    with pytest.raises(StreamFailed, match="has 1024 requests open already"):
        pair.router.open(over, REQUEST)
    with pytest.raises(ProtocolError, match="OPEN comes while 1024 streams are open"):
        pair.agent.receive(encode(FrameType.OPEN, over, REQUEST))


def test_a_head_that_is_too_large_leaves_no_trace() -> None:
    pair = Pair.welcomed()
    with pytest.raises(UnsendableError) as caught:
        pair.router.open(ONE, replace(REQUEST, headers=(("X", "y" * MAX_FRAME),)))
    assert caught.value.status == 431
    assert pair.router.streams == ()
    assert pair.router.take(EVERYTHING) == b""


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([(FrameType.HEAD, 9, (HEAD,))], "HEAD names stream 9, which was never opened"),
        ([(FrameType.HEAD, 0, (HEAD,))], "HEAD names stream 0, which was never opened"),
        ([(FrameType.DATA, 9, (b"x",))], "DATA names stream 9, which was never opened"),
        ([(FrameType.DATA, 1, (b"x",))], "DATA is not allowed on a stream that is waiting"),
        ([(FrameType.END, 1, (USAGE,))], "END is not allowed on a stream that is waiting"),
        ([(FrameType.HEAD, 1, (HEAD,)), (FrameType.HEAD, 1, (HEAD,))], "HEAD is not allowed on .* answering"),
        ([(FrameType.WINDOW, 9, (1,))], "WINDOW names stream 9, which was never opened"),
        ([(FrameType.WINDOW, 1, (MAX_CREDIT,))], "WINDOW raises a credit of 8192 bytes by 2147483648"),
        ([(FrameType.WINDOW, 0, (MAX_CREDIT,))], "WINDOW raises a credit of 16777216 bytes"),
    ],
)
def test_the_router_refuses_what_a_stream_does_not_allow(
    frames: list[tuple[FrameType, int, tuple[object, ...]]], complaint: str
) -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    data = b"".join(encode(kind, stream, *values) for kind, stream, values in frames)
    with pytest.raises(ProtocolError, match=complaint):
        pair.router.receive(data)
    assert last_words(pair.router).code == "protocol"


def test_the_agent_refuses_a_body_behind_its_last_piece() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    last = encode(FrameType.BODY, 1, b"x", True)
    with pytest.raises(ProtocolError, match="BODY is not allowed on a stream that is serving"):
        pair.agent.receive(last + last)


def test_sends_out_of_order_are_our_mistake() -> None:
    pair = Pair.welcomed()
    pair.router.open(ONE, REQUEST)
    pair.to_agent()
    with pytest.raises(ValueError, match="stream 1 has no head yet"):
        pair.agent.send_data(ONE, b"x")
    pair.agent.send_head(ONE, HEAD)
    with pytest.raises(ValueError, match="stream 1 has its head already"):
        pair.agent.send_head(ONE, HEAD)
    pair.agent.end(ONE, USAGE)
    with pytest.raises(ValueError, match="stream 1 was ended"):
        pair.agent.send_data(ONE, b"x")
    with pytest.raises(ValueError, match="stream 3 was never opened"):
        pair.agent.end(StreamId(3), USAGE)


def test_empty_pieces_are_not_sent() -> None:
    pair = Pair.welcomed()
    pair.serving(1)
    pair.agent.send_data(ONE, b"")
    assert pair.agent.take(EVERYTHING) == b""
