from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.errors import ProtocolError
from herd.protocols.framing import (
    MAX_FRAME,
    MAX_PIECE,
    Frame,
    FrameDecoder,
    UnsendableError,
    encode,
    encode_piece,
    fields,
    piece,
)
from herd.protocols.messages import Command, FrameType, Head, Hello, Report
from herd.types import NodeId, NodeName
from tests.protocols.link_helpers import EXAMPLES, HELLO, REPORT, example, feed_every_way, frames_in

FEW = settings(max_examples=60, derandomize=True, database=None)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PIECES = {FrameType.DATA, FrameType.BODY}


def new_decoder() -> Callable[[bytes], list[Frame]]:
    return FrameDecoder(MAX_FRAME).feed


def framed(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "big") + packed


def received(frame: Frame) -> Frame:
    """A frame as a peer might send it, with whatever in it, as it comes out of the decoder."""
    (decoded,) = frames_in(framed(msgpack.packb(frame)))
    return decoded


def hello_with(**changes: Any) -> Frame:
    (frame,) = frames_in(example(FrameType.HELLO))
    frame[2].update(changes)
    return frame


# --- Whole frames -----------------------------------------------------------------------------------------------------


def test_the_format_is_a_length_and_a_msgpack_array() -> None:
    assert encode(FrameType.CANCEL, 5) == b"\x00\x00\x00\x03" + b"\x92\x0c\x05"
    assert encode_piece(FrameType.DATA, 1, b"hi") == b"\x00\x00\x00\x07" + b"\x93\x09\x01\xc4\x02hi"
    assert encode_piece(FrameType.BODY, 1, b"hi") == b"\x00\x00\x00\x08" + b"\x94\x07\x01\xc4\x02hi\xc2"


@pytest.mark.parametrize("kind", FrameType)
def test_every_message_comes_out_as_it_went_in(kind: FrameType) -> None:
    stream, values = EXAMPLES[kind]
    (frame,) = feed_every_way(new_decoder, example(kind))
    assert frame[:2] == [kind, stream]
    if kind in PIECES:
        data, last = piece(frame)
        assert (data, last)[: len(values)] == values
    else:
        assert fields(frame) == values


def test_frames_may_come_several_at_once() -> None:
    data = b"".join(example(kind) for kind in FrameType)
    assert [frame[0] for frame in feed_every_way(new_decoder, data)] == list(FrameType)


@FEW
@given(st.lists(st.sampled_from(list(FrameType)), max_size=8), st.lists(st.integers(1, 600), max_size=20))
def test_where_the_bytes_are_cut_makes_no_difference(kinds: list[FrameType], cuts: list[int]) -> None:
    data = b"".join(example(kind) for kind in kinds)
    feed = new_decoder()
    frames = []
    for cut in cuts:
        frames += feed(data[:cut])
        data = data[cut:]
    frames += feed(data)
    assert [frame[0] for frame in frames] == kinds


# --- Lengths ----------------------------------------------------------------------------------------------------------


def test_a_frame_over_the_limit_is_refused_by_its_length_alone() -> None:
    with pytest.raises(ProtocolError, match="A frame of 1025 bytes is too long: at most 1024"):
        FrameDecoder(1024).feed((1025).to_bytes(4, "big"))


def test_frames_before_one_that_is_too_long_come_out_first_since_one_may_raise_the_limit() -> None:
    long = encode(FrameType.COMMAND, 0, Command(1, "x", {"text": "y" * 2000}))
    decoder = FrameDecoder(1024)
    (ping,) = decoder.feed(example(FrameType.PING) + long)
    assert ping[0] == FrameType.PING
    decoder.limit = MAX_FRAME
    (command,) = decoder.feed(b"")
    assert command[0] == FrameType.COMMAND


def test_a_heartbeat_of_2000_models_fits() -> None:
    report = replace(REPORT, models=REPORT.models * 2000)
    (frame,) = frames_in(encode(FrameType.HEARTBEAT, 0, report))
    assert fields(frame) == (report,)


# --- What is no frame -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packed", "complaint"),
    [
        (b"", "not valid msgpack"),
        (b"\xc1", "not valid msgpack: ."),
        (b"\x93\x01", "not valid msgpack: .*incomplete"),
        (b"\x92\x12\x00\x00", "not valid msgpack: .*extra data"),
        (b"\x93\x01\x00\xa2\xff\xff", "not valid msgpack: .*utf-8"),
        (b"\x93\x01\x00\xd4\x05\x00", "extension type 5"),
        (b"\x93\x01\x00\x81\x01\x02", "not allowed for map key"),
        (b"\x91" * 2000 + b"\x01", "not valid msgpack: ."),
        (b"\xdd\x7f\xff\xff\xff", "exceeds max_array_len"),
        (b"\xdf\x7f\xff\xff\xff", "exceeds max_map_len"),
        (msgpack.packb({"type": 1}), "not an array"),
        (msgpack.packb([1]), "begins with two integers"),
        (msgpack.packb([True, 0]), "begins with two integers"),
        (msgpack.packb([1, "0"]), "begins with two integers"),
    ],
)
def test_garbage_is_refused_with_a_sentence(packed: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        new_decoder()(framed(packed))


def test_nested_arrays_that_announce_more_than_they_hold_are_refused() -> None:
    with pytest.raises(ProtocolError, match="max_array_len"):
        new_decoder()(framed(b"\xdd\x00\x0f\xff\xff" * 500 + b"\x00" * (MAX_FRAME - 2500)))


@FEW
@given(st.binary(max_size=200))
def test_any_bytes_give_frames_or_a_protocol_error(data: bytes) -> None:
    for fed in (data, framed(data)):
        with suppress(ProtocolError):
            assert all(type(frame[0]) is type(frame[1]) is int for frame in new_decoder()(fed))


# --- Elements ---------------------------------------------------------------------------------------------------------


def test_a_field_that_is_not_known_is_ignored_and_a_missing_one_takes_its_default() -> None:
    frame: Frame = [1, 0, {"versions": [1, 2], "node_id": "n", "name": "x", "colour": "green"}]
    assert fields(frame) == (Hello(versions=(1, 2), node_id=NodeId("n"), name=NodeName("x")),)


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        ([FrameType.HELLO, 0], "HELLO cannot be read: Expected `array` of length 3, got 2"),
        ([FrameType.CANCEL, 1, "more"], "CANCEL cannot be read: Expected `array` of length 2, got 3"),
        ([FrameType.HELLO, 0, []], r"Expected `object`, got `array` - at `\$\[2\]`"),
        (hello_with(name=5), r"Expected `str`, got `int` - at `\$\[2\].name`"),
        (hello_with(versions=["1"]), r"at `\$\[2\].versions\[0\]`"),
        (hello_with(nonce="text"), r"Expected `bytes`, got `str` - at `\$\[2\].nonce`"),
        (hello_with(machine={"cores": 1.5}), r"at `\$\[2\].machine.cores`"),
        ([FrameType.OPEN, 1, {"request_id": "q"}], "missing required field"),
        ([FrameType.HEAD, 1, {"status": 200, "headers": [["a"]]}], r"at `\$\[2\].headers\[0\]`"),
        ([FrameType.WINDOW, 1, 0], "Expected `int` >= 1"),
        ([FrameType.WINDOW, 1, -8], "Expected `int` >= 1"),
        ([FrameType.WINDOW, 1, 2**31 + 1], "Expected `int` <= 2147483648"),
        ([FrameType.PING, 0, True], "Expected `int`, got `bool`"),
        ([FrameType.HEARTBEAT, 0, {"cpu": float("nan")}], "a value of type float may not stand here"),
        ([FrameType.COMMAND, 0, {"id": 1, "name": "x", "args": {"a": {b"k": 1}}}], "a key that is not a string"),
        ([FrameType.COMMAND, 0, {"id": 1, "name": "x", "args": {"a": b"raw"}}], "type bytes may not stand here"),
        ([FrameType.COMMAND, 0, {"id": 1, "name": "x", "args": {"a": msgpack.Timestamp(1)}}], "type Timestamp"),
    ],
)
def test_wrong_elements_are_refused_with_their_path(frame: Frame, complaint: str) -> None:
    with pytest.raises(ProtocolError, match=complaint):
        fields(received(frame))


def test_deep_nesting_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"deeper": deep}
    with pytest.raises(ProtocolError, match="nested more than 16 deep"):
        fields(received([FrameType.COMMAND, 0, {"id": 1, "name": "x", "args": deep}]))


@pytest.mark.parametrize(
    "frame",
    [
        [FrameType.DATA, 1],
        [FrameType.DATA, 1, "text"],
        [FrameType.DATA, 1, b"x", True],
        [FrameType.DATA, 1, b""],
        [FrameType.DATA, 1, b"x" * (MAX_PIECE + 1)],
        [FrameType.BODY, 1],
        [FrameType.BODY, 1, b"x"],
        [FrameType.BODY, 1, b"x", 1],
        [FrameType.BODY, 1, b"x", False, 0],
        [FrameType.BODY, 1, b"", False],
        [FrameType.BODY, 1, None, True],
    ],
)
def test_a_piece_of_another_shape_is_refused(frame: Frame) -> None:
    with pytest.raises(ProtocolError, match=r"^(DATA|BODY) (has the wrong elements|holds \d+ bytes)"):
        piece(received(frame))


def test_only_the_last_piece_of_a_body_may_be_empty() -> None:
    assert piece([FrameType.BODY, 1, b"", True]) == (b"", True)


@FEW
@given(st.sampled_from(list(FrameType)), st.data())
def test_a_frame_with_a_changed_byte_gives_values_or_a_protocol_error(kind: FrameType, data: st.DataObject) -> None:
    changed = bytearray(example(kind))
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ProtocolError):
        for frame in new_decoder()(bytes(changed)):
            if frame[0] in PIECES:
                piece(frame)
            elif frame[0] in set(FrameType):
                fields(frame)


# --- What cannot be sent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("x" * MAX_FRAME, "COMMAND cannot be sent: it takes 10486.. bytes"),
        ("\udc80", "surrogates not allowed"),
        (object(), "object"),
        (float("inf"), "type float"),
        (2**64, "out of range"),
        (b"raw", "type bytes"),
        ({1: "one"}, "a key that is not a string"),
        ([0] * 8193, "more than 8192 items"),
    ],
)
def test_what_the_peer_would_refuse_is_not_sent(value: Any, complaint: str) -> None:
    with pytest.raises(UnsendableError, match=complaint):
        encode(FrameType.COMMAND, 0, Command(1, "x", {"value": value}))


def test_what_is_sent_can_be_read_at_the_limits() -> None:
    values = (Command(1, "x", {"most": list(range(8192)), "big": 2**64 - 1, "small": -(2**63), "none": None}),)
    (frame,) = frames_in(encode(FrameType.COMMAND, 0, *values))
    assert fields(frame) == values


@FEW
@given(
    st.builds(Head, status=st.integers(100, 599), headers=st.lists(st.tuples(TEXT, TEXT)).map(tuple))
    | st.builds(Report, cpu=st.floats(0, 1), memory_free=st.integers(0, 2**63), week_slot=st.integers(0, 167))
    | st.builds(
        Command,
        id=st.integers(0, 2**63),
        name=TEXT,
        args=st.dictionaries(TEXT, st.none() | st.booleans() | TEXT | st.lists(st.integers(0, 9))),
    )
)
def test_values_survive_the_wire(value: Head | Report | Command) -> None:
    kind = {Head: FrameType.HEAD, Report: FrameType.HEARTBEAT, Command: FrameType.COMMAND}[type(value)]
    (frame,) = feed_every_way(new_decoder, encode(kind, 1, value))
    assert fields(frame) == (value,)


def test_the_nonce_is_the_one_field_of_raw_bytes() -> None:
    (frame,) = frames_in(example(FrameType.HELLO))
    assert frame[2]["nonce"] == HELLO.nonce
