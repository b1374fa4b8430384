"""Frames of the link: bytes <-> lists.

A frame is a length (4 bytes, big-endian, itself not counted) and so many bytes of msgpack: an array
`[type, stream, ...]` whose other elements `messages.FrameType` lists. Values with named fields travel as maps.
"""

from math import isfinite
from struct import Struct
from typing import Annotated, Any

import msgpack
import msgspec

from herd.errors import HerdError, ProtocolError
from herd.protocols.messages import (
    Command,
    Failure,
    FrameType,
    Goodbye,
    Head,
    Hello,
    Report,
    RequestHead,
    Result,
    Usage,
    Welcome,
)
from herd.types import KiB, MiB

# A HELLO with every field filled takes under 2 KiB; a stranger gets to occupy no more memory than this.
MAX_FRAME_BEFORE_WELCOME = 64 * KiB
# The largest honest frame is a heartbeat: some 2,000 models at about 400 bytes each.
MAX_FRAME = 1 * MiB
# Bytes in one DATA or BODY: at 1 Gbit/s half a millisecond, which is what a control frame waits at most behind it.
MAX_PIECE = 64 * KiB
# Credit is counted in 31 bits, as in HTTP/2: far more than any window, and every language can hold it.
MAX_CREDIT = 2**31

# Elements of one array or map. A model takes over 200 bytes with its field names, so 1 MiB holds some 5,000; msgpack
# allocates an array by its announced length, and would else allocate 8 MiB for each of a thousand nested ones.
_MAX_ITEMS = 8192
# A heartbeat's model details lie six deep, and a command's arguments three; the rest is for arguments to come.
_MAX_DEPTH = 16
# Bytes may be an element of the frame (depth 0) or a named field of its message (depth 1). Deeper lie JSON values only,
# because what a peer put there is passed on to HTTP clients.
_BYTES_DEPTH = 1

# Kinds whose types leave nothing open: no field holds whatever JSON allows, and no number that could be infinite.
_CLOSED_SHAPES = frozenset({FrameType.OPEN, FrameType.HEAD, FrameType.RESET, FrameType.CANCEL, FrameType.WINDOW})

_LENGTH = Struct(">I")
# One for all frames: each Packer takes a buffer of 1 MiB from the system, and gives it back.
_pack = msgpack.Packer().pack
_PLAIN = frozenset({str, int, bool, type(None)})
_NESTED = frozenset({list, tuple, dict})

_NAMES = {int(kind): kind.name for kind in FrameType}

Frame = list[Any]  # [type: int, stream: int, ...]

_SHAPES: dict[int, Any] = {
    FrameType.HELLO: tuple[int, int, Hello],
    FrameType.CHALLENGE: tuple[int, int, bytes, bytes],
    FrameType.PROOF: tuple[int, int, bytes],
    FrameType.WELCOME: tuple[int, int, Welcome],
    FrameType.HEARTBEAT: tuple[int, int, Report],
    FrameType.OPEN: tuple[int, int, RequestHead],
    FrameType.HEAD: tuple[int, int, Head],
    FrameType.END: tuple[int, int, Usage],
    FrameType.RESET: tuple[int, int, Failure],
    FrameType.CANCEL: tuple[int, int],
    FrameType.WINDOW: tuple[int, int, Annotated[int, msgspec.Meta(ge=1, le=MAX_CREDIT)]],
    FrameType.COMMAND: tuple[int, int, Command],
    FrameType.RESULT: tuple[int, int, Result],
    FrameType.PING: tuple[int, int, int],
    FrameType.PONG: tuple[int, int, int],
    FrameType.DRAIN: tuple[int, int],
    FrameType.GOODBYE: tuple[int, int, Goodbye],
}


class UnsendableError(HerdError):
    """A value does not fit a frame: it is too large, or holds what the link cannot carry. Nothing was sent.

    The one value that clients shape is the head of their request, hence the status.
    """

    status = 431


def name_of(kind: int) -> str:
    """A frame type for people: `HEARTBEAT`, or `frame type 77`."""
    return _NAMES.get(kind, f"frame type {kind}")


# --- Decoding ---------------------------------------------------------------------------------------------------------


class FrameDecoder:
    """Cuts a stream of bytes into frames.

    Args:
        limit: the longest frame to accept, in bytes; may be changed at any time.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()  # less than one frame between calls, so bounded by `limit`

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now: lists that begin with two ints, their other elements not looked at.

        Frames before one that is over the limit are returned first, because one of them may be what raises the limit;
        feed again (an empty `data` will do) until the list is empty.

        Raises:
            ProtocolError: the bytes are no frames; the decoder is of no further use.
        """
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > self.limit:
                if frames:
                    break
                raise ProtocolError(f"A frame of {size} bytes is too long: at most {self.limit} are allowed here.")
            end = start + _LENGTH.size + size
            if len(buffer) < end:
                break
            frames.append(_unpack(buffer[start + _LENGTH.size : end]))
            start = end
        del buffer[:start]
        return frames


def piece(frame: Frame) -> tuple[bytes, bool]:
    """The bytes of a DATA or BODY frame, and whether they are the last of a BODY.

    Raises:
        ProtocolError: it has another shape, is longer than `MAX_PIECE`, or says nothing.
    """
    size = len(frame)
    data = frame[2] if size > 2 else None
    last = frame[0] == FrameType.BODY and size == 4 and frame[3]
    well_formed = size == 3 if frame[0] == FrameType.DATA else type(last) is bool and size == 4
    if not well_formed or type(data) is not bytes:
        raise ProtocolError(f"{name_of(frame[0])} has the wrong elements.")
    if len(data) > MAX_PIECE or not (data or last):
        raise ProtocolError(f"{name_of(frame[0])} holds {len(data)} bytes: it must hold 1 to {MAX_PIECE}.")
    return data, last


def fields(frame: Frame) -> tuple[Any, ...]:
    """The elements after type and stream of any other frame, as the types that `messages.FrameType` lists.

    Raises:
        ProtocolError: an element is missing, too many, or not of its type; the text has its path.
    """
    kind = frame[0]
    try:
        if kind not in _CLOSED_SHAPES:
            _check(frame, 0)
        values: tuple[Any, ...] = msgspec.convert(frame, _SHAPES[kind], builtin_types=(bytes,))
    except (ValueError, msgspec.ValidationError) as error:
        raise ProtocolError(f"{name_of(kind)} cannot be read: {error}.") from error
    return values[2:]


def _unpack(packed: bytearray) -> Frame:
    try:
        frame = msgpack.unpackb(
            packed, strict_map_key=True, ext_hook=_refuse_ext, max_array_len=_MAX_ITEMS, max_map_len=_MAX_ITEMS
        )
    except (ValueError, RecursionError) as error:  # RecursionError: the msgpack in pure Python
        reason = str(error) or type(error).__name__
        raise ProtocolError(f"A frame is not valid msgpack: {reason}.") from error
    if type(frame) is not list or len(frame) < 2 or type(frame[0]) is not int or type(frame[1]) is not int:
        raise ProtocolError("A frame is not an array that begins with two integers.")
    return frame


def _refuse_ext(code: int, _data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not part of the link")


def _check(container: Any, depth: int) -> None:
    """Raise ValueError when a list, tuple or dict holds what frames do not."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"values are nested more than {_MAX_DEPTH} deep")
    if len(container) > _MAX_ITEMS:
        raise ValueError(f"a list or map has more than {_MAX_ITEMS} items")
    items = container
    if type(container) is dict:
        items = container.values()
        if not all(type(key) is str for key in container):
            raise ValueError("a map has a key that is not a string")
    for item in items:
        kind = type(item)
        if kind in _PLAIN or (kind is float and isfinite(item)) or (kind is bytes and depth <= _BYTES_DEPTH):
            continue
        if kind not in _NESTED:
            raise ValueError(f"a value of type {kind.__name__} may not stand here")
        _check(item, depth + 1)


# --- Encoding ---------------------------------------------------------------------------------------------------------


def encode(kind: FrameType, stream: int, *values: Any) -> bytes:
    """A whole frame; `values` are the elements after type and stream.

    Raises:
        UnsendableError: the peer would refuse it.
    """
    try:
        frame = [int(kind), stream, *msgspec.to_builtins(values, builtin_types=(bytes,))]
        if kind not in _CLOSED_SHAPES:
            _check(frame, 0)
        packed: bytes = _pack(frame)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnsendableError(f"{kind.name} cannot be sent: {error}.") from error
    if len(packed) > MAX_FRAME:
        raise UnsendableError(f"{kind.name} cannot be sent: it takes {len(packed)} bytes, and {MAX_FRAME} are allowed.")
    return _LENGTH.pack(len(packed)) + packed


def encode_piece(kind: FrameType, stream: int, data: bytes | memoryview) -> bytes:
    """A DATA frame, or a BODY frame that is not the last; at most `MAX_PIECE` bytes."""
    if kind is FrameType.DATA:
        packed: bytes = _pack((FrameType.DATA, stream, data))
    else:
        packed = _pack((kind, stream, data, False))
    return _LENGTH.pack(len(packed)) + packed
