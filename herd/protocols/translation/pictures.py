"""A picture out of the JSON in which a server of images answers, while that comes in.

    {"created": 1780272000, "data": [{"b64_json": "iVBORw0KGgo..."}]}       OpenAI's, and all that are made after it
    {"completed": 1, "total": 9, "done": false}                            Ollama's, line by line
    {"image": "iVBORw0KGgo...", "done": true, "load_duration": 1000}

A picture is some megabytes of base64. It is decoded piece by piece, so that what is held of it is a piece; the JSON
around it is held to its end.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import Any

import orjson

from herd.errors import RequestError, StreamFailed
from herd.protocols.translation.refusals import refusal_text
from herd.protocols.untrusted import mapping, number, text
from herd.types import KiB, MiB, Seconds

# The largest picture that models of today make, of 4,096 x 4,096 pixels, is some 40 MiB as a PNG.
MAX_PICTURE = 64 * MiB
# Of the JSON around it: sums, and a prompt that a server has written anew.
MAX_REST = 64 * KiB
# What tells the kinds of pictures apart, and the size of a PNG, is within these.
_HEAD = 32

# A reverse solidus, a `u` and four digits.
_LONGEST_ESCAPE = 6
# Of a data URL: the names of pictures' types are short.
_LONGEST_PREFIX = 64

_MARKS = re.compile(rb'["\\]')
_ESCAPES = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))")
_FAILED = 500  # Ollama's status for a model that breaks before it has said anything
_NANOSECONDS = 1e9

_KINDS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8"), "image/gif"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "image/avif"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a picture took, by the server's word. Zero: it does not say."""

    kilopixel_steps: int = 0
    steps: int = 0
    load_s: Seconds = Seconds(0.0)
    decode_s: Seconds = Seconds(0.0)


class PictureReader:
    """JSON in, a picture out. May be cut anywhere.

    Args:
        key: of the string that is the picture; of several such strings the first one is it.
        lines: what comes is lines of JSON, not one document.

    Attributes:
        content_type: of the picture; empty until its first bytes are out.
        width: in pixels, where the picture is a PNG; else 0.
        height: likewise.
    """

    def __init__(self, key: str, *, lines: bool) -> None:
        self.content_type = ""
        self.width = self.height = 0
        self._key = re.compile(rb'"%s"[ \t\r\n]*:[ \t\r\n]*\Z' % re.escape(key.encode()))
        self._lines = lines
        self._rest = bytearray()  # the JSON, with an empty string where the picture is
        self._last: dict[str, Any] = {}  # of lines: all members so far
        self._inside = False  # of a string
        self._escaped = False  # the last byte was a backslash in it
        self._picture: _Decoder | None = None
        self._done = False  # the picture is all there

    def feed(self, data: bytes) -> bytes:
        """What comes of the picture with `data`; may be nothing.

        Raises:
            StreamFailed: the answer cannot be read, or is too long.
        """
        out: list[bytes] = []
        at = 0
        while at < len(data):
            if self._picture is not None and not self._done:
                at = self._in_picture(data, at, self._picture, out)
            elif self._inside:
                at = self._in_string(data, at)
            else:
                at = self._between(data, at)
        return b"".join(out)

    def end(self) -> Figures:
        """The server has sent all.

        Raises:
            StreamFailed: it was not all of a picture.
            RequestError: it says that it failed, before a byte of a picture came; or the picture is somewhere else.
        """
        last = self._last | _object(bytes(self._rest))
        if not self._done:
            if self._picture is None and (trouble := refusal_text(last)) is not None:
                raise RequestError(trouble, status=_FAILED)
            if self._picture is None and _address(last):
                raise RequestError("the model server gave the address of a picture, and not the picture", status=502)
            raise StreamFailed("the model server's answer has no whole picture")
        if not last:
            raise StreamFailed("the model server's answer is not the JSON that was asked for")
        return _figures(last)

    def _between(self, data: bytes, at: int) -> int:
        """Outside strings, to the next one."""
        quote = data.find(b'"', at)
        piece = data[at:] if quote < 0 else data[at : quote + 1]
        if self._lines and b"\n" in piece:
            before, _, piece = piece.rpartition(b"\n")
            self._last |= _object(bytes(self._rest + before))
            self._rest.clear()
        self._keep(piece)
        if quote < 0:
            return len(data)
        self._inside = True
        if not self._done and self._key.search(self._rest, max(0, len(self._rest) - 128), len(self._rest) - 1):
            self._picture = _Decoder()
        return quote + 1

    def _in_string(self, data: bytes, at: int) -> int:
        """Within a string that is not the picture, to its end or to the next backslash."""
        if self._escaped:
            self._escaped = False
            self._keep(data[at : at + 1])
            return at + 1
        mark = _MARKS.search(data, at)
        end = mark.end() if mark else len(data)
        self._keep(data[at:end])
        if mark:
            self._escaped = mark[0] == b"\\"
            self._inside = self._escaped
        return end

    def _in_picture(self, data: bytes, at: int, picture: "_Decoder", out: list[bytes]) -> int:
        quote = data.find(b'"', at)
        out.append(picture.feed(data[at:] if quote < 0 else data[at:quote], last=quote >= 0))
        if picture.head and not self.content_type:
            self.content_type = _kind(picture.head)
            if self.content_type == "image/png":
                self.width, self.height = (int.from_bytes(picture.head[i : i + 4], "big") for i in (16, 20))
        if quote < 0:
            return len(data)
        if not picture.size:  # an empty string, as some have in lines before the last
            self._picture = None
        else:
            self._done = True
        self._inside = False
        self._keep(b'"')
        return quote + 1

    def _keep(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > MAX_REST:
            raise StreamFailed(f"the model server's answer is longer than {MAX_REST // KiB} KiB beside its picture")
        self._rest += piece


class _Decoder:
    """Base64 in, bytes out.

    Attributes:
        head: the first bytes, once there are enough of them.
        size: bytes that came out.
    """

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self._text = b""  # not yet decoded: less than four letters, or half an escape
        self._begun = False
        self._held = b""  # decoded, and too short to be known

    def feed(self, letters: bytes, *, last: bool) -> bytes:
        """Raises StreamFailed: it is no base64, or no picture, or too long."""
        letters = self._text + letters
        kept = b""
        if b"\\" in letters:
            if not last and (cut := letters.rfind(b"\\")) > len(letters) - _LONGEST_ESCAPE:
                letters, kept = letters[:cut], letters[cut:]
            letters = _ESCAPES.sub(_unescaped, letters)
        if not self._begun and len(letters) + len(kept) < _LONGEST_PREFIX and not last:
            self._text = letters + kept
            return b""
        if not self._begun:
            self._begun = True
            if letters.startswith(b"data:"):
                letters = letters.partition(b",")[2]
        letters = letters.translate(None, b" \t\r\n")
        whole = len(letters) if last else len(letters) // 4 * 4
        self._text = letters[whole:] + kept
        return self._known(self._decoded(letters[:whole]), last=last)

    def _decoded(self, letters: bytes) -> bytes:
        try:
            decoded = b64decode(letters + b"=" * (-len(letters) % 4), validate=True)
        except NotBase64:
            raise StreamFailed("the model server's answer has something else where its picture should be") from None
        self.size += len(decoded)
        if self.size > MAX_PICTURE:
            raise StreamFailed(f"the model server's picture is longer than {MAX_PICTURE // MiB} MiB")
        return decoded

    def _known(self, decoded: bytes, *, last: bool) -> bytes:
        if self.head:
            return decoded
        self._held += decoded
        if len(self._held) < _HEAD and not last:
            return b""
        self.head, self._held = self._held, b""
        return self.head


def _unescaped(match: "re.Match[bytes]") -> bytes:
    if match[1]:
        code = int(match[1], 16)
        return bytes((code,)) if code < 128 else b"?"  # which is no letter of base64
    return b"" if match[2] in b"nrt" else match[2]


def _kind(head: bytes) -> str:
    for pattern, kind in _KINDS:
        if pattern.match(head):
            return kind
    raise StreamFailed("the model server's picture is of no kind that is known")


def _object(data: bytes) -> dict[str, Any]:
    """The members of one line or document; of several lines that came together all of them, the last one's count."""
    members: dict[str, Any] = {}
    for line in (data, *data.splitlines()):
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        members |= value if isinstance(value, dict) else {}
        if line is data:
            break
    return members


def _address(answer: dict[str, Any]) -> str:
    data = answer.get("data")
    first = data[0] if isinstance(data, list) and data else None
    return text(first, "url") if isinstance(first, dict) else ""


def _figures(answer: dict[str, Any]) -> Figures:
    """Ollama's, and those of the tools that the agent runs itself."""
    own = mapping(answer, "herd")
    load_ns = number(answer, "load_duration")
    decode_ns = max(0, number(answer, "total_duration") - load_ns)
    return Figures(
        kilopixel_steps=number(own, "kilopixel_steps"),
        steps=number(own, "steps") or number(answer, "total"),
        load_s=Seconds(_seconds(own.get("load_s")) or load_ns / _NANOSECONDS),
        decode_s=Seconds(_seconds(own.get("work_s")) or decode_ns / _NANOSECONDS),
    )


def _seconds(value: Any) -> float:
    return float(value) if type(value) in {int, float} and 0 < value < 10**9 else 0.0
