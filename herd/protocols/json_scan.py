"""A JSON scanner that validates the first value of a buffer and notes where chosen members' values lie.

It builds no objects, so a 100 MB base64 string costs one regular-expression match and no memory; it works on mapped
files; it does not recurse. Grammar, depth limit and error texts are those of Go's `encoding/json` (scanner.go), which
is what clients of Ollama get to see: bytes that are not UTF-8 are let through, and what follows the value is ignored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap
from typing import NamedTuple

import orjson

from herd.errors import RequestError
from herd.types import MiB

Buffer = bytes | memoryview | mmap

MAX_DEPTH = 10_000  # maxNestingDepth of encoding/json
# Members noted below the top level. A chat has fewer attachments; a body made to hold millions must not fill memory.
MAX_NESTED = 10_000
# Steps through brackets, members and elements. A MiB holds fewer, and so does every chat: images and long texts are one
# step each, and numbers come in runs. More, at some 1.5 million a second, would hold up everybody else.
MAX_STEPS = 2 * MiB
# An escape (`\u0061`) spells one character with six bytes, and the longest wanted key has 21 characters.
LONGEST_KEY = 6 * 21 + 2

_SPACE = re.compile(rb"[ \t\r\n]*")
# The inside of a string. The repeat is bounded, since the engine keeps a record of each: the caller loops.
_TEXT = re.compile(rb'[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*){0,1000}')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# A run of short array elements, each with its comma: a list of a million numbers then costs a thousand matches.
_RUN = re.compile(
    rb"(?:(?:-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?|true|false|null|\[\]|\{\}"
    rb'|"[^"\\\x00-\x1f]{0,64}")[ \t\r\n]{0,16},[ \t\r\n]{0,16}){1,1000}'
)
_HEX = frozenset(b"0123456789abcdefABCDEF")
_NUMERIC = frozenset(b"-0123456789")
_LITERALS = {word[0]: word for word in (b"true", b"false", b"null")}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_QUOTE, _BACKSLASH, _COMMA, _COLON, _DOT = b'"\\,:.'
_OBJECT_END, _ARRAY_END = b"}]"
_CLOSERS = {ord("{"): _OBJECT_END, ord("["): _ARRAY_END}
_AFTER_TEXTS = {_OBJECT_END: "after object key:value pair", _ARRAY_END: "after array element"}
_GO_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '"', 39: "\\'", 92: "\\\\"}

_FIRST, _NEXT, _AFTER = range(3)  # within a container: just opened, after a comma, after a value


class Span(NamedTuple):
    """Bytes `start` to `end` (exclusive) of the buffer."""

    start: int
    end: int


class Nested(NamedTuple):
    """A wanted member below the top level; `depth` counts the containers around it."""

    depth: int
    key: str
    span: Span


@dataclass(frozen=True, slots=True)
class Outline:
    """What was found in a value. Of a key that comes twice, `members` has the last; keys of it are in lower case."""

    value: Span
    members: dict[str, Span]
    nested: tuple[Nested, ...]


def outline(data: Buffer, wanted: Mapping[int, frozenset[str]], *, start: int = 0, fold: bool = True) -> Outline:
    """Validate the first JSON value from `start` on.

    Args:
        data: the buffer.
        wanted: the keys to note, by depth; depth 1 is the top-level object.
        start: where to begin.
        fold: at depth 1, match keys whatever their case, as Go does for the fields of a struct.

    Raises:
        RequestError: 400 with Go's text, "EOF" when there is nothing but white space; 413 beyond `MAX_STEPS`.
    """
    return _Scan(data, wanted, fold).read(start)


def is_blank(data: Buffer) -> bool:
    """Whether there is nothing but white space."""
    return _end(_SPACE, data, 0) == len(data)


def is_empty(data: Buffer, container: Span) -> bool:
    """Whether an array or object that `outline` found valid has nothing in it."""
    return _end(_SPACE, data, container.start + 1) == container.end - 1


def text(literal: bytes) -> str:
    """The value of a string literal, quotes included, that `outline` found valid. What is no Unicode becomes U+FFFD."""
    try:
        value: str = orjson.loads(literal)
    except orjson.JSONDecodeError:
        value = _LONE_SURROGATE.sub("\ufffd", json.loads(literal.decode("utf-8", "replace")))
    return value


class _Scan:
    """One pass over one value: a loop over an explicit stack."""

    def __init__(self, data: Buffer, wanted: Mapping[int, frozenset[str]], fold: bool) -> None:
        self._data = data
        self._size = len(data)
        self._wanted = wanted
        self._fold = fold
        self._open: list[tuple[int, str, int]] = []  # the closing byte, the wanted key it is the value of, its start
        self._state = _AFTER
        self._members: dict[str, Span] = {}
        self._nested: list[Nested] = []

    def read(self, start: int) -> Outline:
        begin = self._space(start)
        if begin >= self._size:
            raise RequestError("EOF")
        end = self._value(begin, "")
        steps = 0
        while self._open:
            end = self._step(end)
            steps += 1
            if steps > MAX_STEPS:
                raise RequestError("the request body has too many JSON values", status=413)
        return Outline(Span(begin, end), self._members, tuple(self._nested))

    def _step(self, pos: int) -> int:
        """Read one comma, closing bracket, element or member."""
        closer = self._open[-1][0]
        pos = self._space(pos)
        byte = self._at(pos)
        if self._state == _AFTER:
            if byte == _COMMA:
                self._state = _NEXT
                return pos + 1
            if byte != closer:
                raise _invalid(byte, _AFTER_TEXTS[closer])
            return self._close(pos)
        if self._state == _FIRST and byte == closer:
            return self._close(pos)
        if closer == _OBJECT_END:
            return self._member(pos, byte)
        run = _end(_RUN, self._data, pos)
        if run > pos:
            self._state = _NEXT
            return run
        return self._value(pos, "")

    def _member(self, pos: int, byte: int) -> int:
        if byte != _QUOTE:
            raise _invalid(byte, "looking for beginning of object key string")
        end = self._string(pos)
        key = self._key(pos, end)
        colon = self._space(end)
        if self._at(colon) != _COLON:
            raise _invalid(self._at(colon), "after object key")
        return self._value(self._space(colon + 1), key)

    def _key(self, start: int, end: int) -> str:
        """The key between two quotes if it is a wanted one, else an empty string."""
        depth = len(self._open)
        wanted = self._wanted.get(depth)
        if wanted is None or end - start > LONGEST_KEY:
            return ""
        key = text(bytes(self._data[start:end]))
        if depth == 1 and self._fold:
            key = key.lower()
        return key if key in wanted else ""

    def _value(self, pos: int, key: str) -> int:
        """Read a scalar, or the opening bracket of a container."""
        byte = self._at(pos)
        if byte in _CLOSERS:
            if len(self._open) >= MAX_DEPTH:
                raise _invalid(byte, "exceeded max depth")
            self._open.append((_CLOSERS[byte], key, pos))
            self._state = _FIRST
            return pos + 1
        if byte == _QUOTE:
            end = self._string(pos)
        elif byte in _NUMERIC:
            end = self._number(pos)
        elif byte in _LITERALS:
            end = self._literal(pos, _LITERALS[byte])
        else:
            raise _invalid(byte, "looking for beginning of value")
        self._note(key, pos, end)
        return end

    def _close(self, pos: int) -> int:
        _, key, start = self._open.pop()
        self._note(key, start, pos + 1)
        return pos + 1

    def _note(self, key: str, start: int, end: int) -> None:
        self._state = _AFTER
        depth = len(self._open)
        if not key:
            return
        if depth == 1:
            self._members[key] = Span(start, end)
        elif len(self._nested) < MAX_NESTED:
            self._nested.append(Nested(depth, key, Span(start, end)))

    def _string(self, pos: int) -> int:
        pos += 1
        while True:
            pos = _end(_TEXT, self._data, pos)
            byte = self._at(pos)
            if byte == _QUOTE:
                return pos + 1
            if byte != _BACKSLASH:
                raise _invalid(byte, "in string literal")
            self._escape(pos + 1)

    def _escape(self, pos: int) -> None:
        """Explain what is wrong with the escape whose letter is at `pos`; a good one is where `_TEXT` paused."""
        byte = self._at(pos)
        if byte != ord("u"):
            if byte not in b'"\\/bfnrt':
                raise _invalid(byte, "in string escape code")
            return
        for digit in range(pos + 1, pos + 5):
            if self._at(digit) not in _HEX:
                raise _invalid(self._at(digit), "in \\u hexadecimal character escape")

    def _number(self, pos: int) -> int:
        match = _NUMBER.match(self._data, pos)
        if match is None:  # a minus sign and no digit
            raise _invalid(self._at(pos + 1), "in numeric literal")
        end = match.end()
        after = self._data[end] if end < self._size else None
        fraction, exponent = match.groups()
        if exponent is None:
            if after == _DOT and fraction is None:
                raise _invalid(self._at(end + 1), "after decimal point in numeric literal")
            if after in {ord("e"), ord("E")}:
                digit = end + 2 if self._at(end + 1) in b"+-" else end + 1
                raise _invalid(self._at(digit), "in exponent of numeric literal")
        return end

    def _literal(self, pos: int, word: bytes) -> int:
        for offset, expected in enumerate(word):
            if (byte := self._at(pos + offset)) != expected:
                raise _invalid(byte, f"in literal {word.decode()} (expecting '{chr(expected)}')")
        return pos + len(word)

    def _space(self, pos: int) -> int:
        return _end(_SPACE, self._data, pos)

    def _at(self, pos: int) -> int:
        if pos >= self._size:
            raise RequestError("unexpected EOF")
        return self._data[pos]


def _end(pattern: re.Pattern[bytes], data: Buffer, pos: int) -> int:
    """Where the match of `pattern` at `pos` ends; `pos` itself when there is none."""
    match = pattern.match(data, pos)
    return match.end() if match else pos


def _invalid(byte: int, context: str) -> RequestError:
    return RequestError(f"invalid character '{_quoted(byte)}' {context}")


def _quoted(byte: int) -> str:
    """A byte as Go's quoteChar writes it: taken for a code point, escaped unless it prints."""
    char = chr(byte)
    if byte in _GO_ESCAPES:
        return _GO_ESCAPES[byte]
    if char.isprintable():
        return char
    return f"\\x{byte:02x}" if byte < 0x80 else f"\\u{byte:04x}"
