"""Forms with files: `multipart/form-data` (RFC 7578, in the framing of RFC 2046, section 5.1), read as they come.

A form may be as long as a recording of a day. Of its content nothing is held but what may be the beginning of a
boundary; heads of parts are, up to a limit.

The readers that libraries have (aiohttp's, python-multipart) tell neither where in the body a field stands, which the
edit of a model's name takes, nor the head of a part as it came, which a form that is written anew keeps.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from herd.errors import RequestError
from herd.types import KiB

MAX_BOUNDARY = 70  # RFC 2046, 5.1.1
# The endpoints for models have some 20 fields, and an edit at most 16 pictures; Go reads a thousand of them.
MAX_PARTS = 256
# Of a part: its disposition and its type, some hundred bytes. A file's name has at most 255 characters, which are up to
# nine bytes each when they are percent-encoded.
MAX_HEAD = 8 * KiB
# Lines of content that begin like a boundary: none where a client has chosen that well. Each is looked at by itself,
# and a mebibyte of them would hold up everybody else.
MAX_LOOKALIKES = 1000
MAX_PADDING = 64  # white space after a boundary, which only gateways for mail put there
# What is kept of a text field: a model's name has 512 characters, and those are four bytes each at most.
MAX_FIELD = 4 * KiB

FORM = "multipart/form-data"

# `bcharsnospace` of RFC 2046; a space may stand within.
_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{0,%d}[0-9A-Za-z'()+_,./:=?-]" % (MAX_BOUNDARY - 1))
_PARAMETER = re.compile(rb""";[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^;"\s]*)""", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_FIELD_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)", re.DOTALL)
_AFTER_BOUNDARY = re.compile(rb"(--)|[ \t]{0,%d}\r\n" % MAX_PADDING)
_PERHAPS_AFTER = re.compile(rb"-?|[ \t]{0,%d}\r?" % MAX_PADDING)
_LINE = b"\r\n"


@dataclass(frozen=True, slots=True)
class PartBegins:
    """A field or a file. `at` is where its content begins in the form, in bytes."""

    name: str  # empty: it has none
    filename: str | None  # None: it is a field
    head: bytes  # its header lines as they came, without the empty one
    at: int


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of a part, one at least."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part is whole: its content goes to `at` (exclusive)."""

    at: int


@dataclass(frozen=True, slots=True)
class FormEnds:
    """The last boundary was there. What follows it means nothing."""


Event = PartBegins | PartData | PartEnds | FormEnds


def is_form(content_type: str) -> bool:
    """Whether that is the type of a form with files."""
    return content_type.partition(";")[0].strip().lower() == FORM


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts of a form, by its Content-Type.

    Raises:
        RequestError: it is no form's type, or names no boundary that can be one.
    """
    if not is_form(content_type):
        raise RequestError(f"the request must be a form with a file: Content-Type {FORM}")
    found = next((value for name, value, _ in _parameters(content_type.encode()) if name == b"boundary"), b"")
    if not _BOUNDARY.fullmatch(found):
        raise RequestError(f"the Content-Type {FORM} has no valid boundary: clients put one there by themselves")
    return found


class _Place(StrEnum):
    """Where in a form the next byte stands."""

    BEFORE = "before its first boundary"
    HEAD = "in the head of a part"
    CONTENT = "in a part"
    AFTER = "after its last boundary"


class FormReader:
    """A form's events, from its bytes in pieces of any length: `feed` each, then `end`.

    A line of a part that begins like a boundary and goes on otherwise is content, as to Go's `mime/multipart`.

    Args:
        boundary: as `boundary_of` has it.
    """

    def __init__(self, boundary: bytes) -> None:
        self._mark = _LINE + b"--" + boundary
        # The first boundary may be the very first line, and every other follows the end of one.
        self._held = _LINE
        self._at = -len(_LINE)  # in the form, of the first byte that is held
        self._place = _Place.BEFORE
        self._parts = 0
        self._lookalikes = 0
        self._looked_at = self._at  # in the form; up to here there is no boundary
        self._readers: dict[_Place, Callable[[bytes, int, list[Event]], int | None]] = {
            _Place.BEFORE: self._content,
            _Place.HEAD: self._head,
            _Place.CONTENT: self._content,
        }

    def feed(self, data: bytes) -> list[Event]:
        """What follows from the next bytes.

        Raises:
            RequestError: 400, this is no form, or one beyond the limits.
        """
        events: list[Event] = []
        held, at = self._held + data if self._held else data, 0
        while self._place is not _Place.AFTER:
            after = self._readers[self._place](held, at, events)
            if after is None:
                break
            at = after
        if self._place is _Place.AFTER:
            at = len(held)
        elif self._place is not _Place.HEAD:
            at = self._let_go(held, at, events)
        self._held = held[at:]
        self._at += at
        return events

    def end(self) -> None:
        """There are no more bytes. Raises RequestError when the form is not whole."""
        if self._place is _Place.BEFORE:
            raise RequestError("the form is empty: the boundary that its Content-Type names is nowhere in it")
        if self._place is not _Place.AFTER:
            raise RequestError(f"the form is not whole: it ends {self._place}")

    def _content(self, held: bytes, at: int, events: list[Event]) -> int | None:
        """To the end of the next boundary's line; None where there is none yet."""
        found = max(at, self._looked_at - self._at) - 1
        while (found := held.find(self._mark, found + 1)) >= 0:
            after = _AFTER_BOUNDARY.match(held, found + len(self._mark))
            if after is None:
                if _PERHAPS_AFTER.fullmatch(held, found + len(self._mark)):
                    return None
                self._looked_at = self._at + found + 1
                self._lookalikes += 1
                if self._lookalikes > MAX_LOOKALIKES:
                    raise RequestError("the boundary of the form is in its content again and again")
                continue
            if self._place is _Place.CONTENT:
                if found > at:
                    events.append(PartData(held[at:found]))
                events.append(PartEnds(self._at + found))
            if after[1]:
                self._place = _Place.AFTER
                events.append(FormEnds())
            else:
                self._begin()
            return after.end()
        return None

    def _let_go(self, held: bytes, at: int, events: list[Event]) -> int:
        """All content goes out but the last bytes, which may be the beginning of a boundary's line; up to where."""
        left = max(at, len(held) - len(self._mark) - MAX_PADDING - len(_LINE))
        if left > at and self._place is _Place.CONTENT:
            events.append(PartData(held[at:left]))
        return left

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise RequestError(f"the form has more than {MAX_PARTS} parts", status=413)
        self._place = _Place.HEAD

    def _head(self, held: bytes, at: int, events: list[Event]) -> int | None:
        """To the content of a part; None where its head is not whole."""
        if held.startswith(_LINE, at):  # it has none
            end, after = at, at + len(_LINE)
        else:
            end = held.find(_LINE * 2, at, at + MAX_HEAD)
            after = end + 2 * len(_LINE)
        if end < 0:
            if len(held) - at >= MAX_HEAD:
                raise RequestError(f"a part of the form has a head of more than {MAX_HEAD} bytes", status=413)
            return None
        head = held[at:end]
        name, filename = _disposition(head)
        events.append(PartBegins(name, filename, head, self._at + after))
        self._place = _Place.CONTENT
        return after


class Rewriter:
    """A form as another server wants it, from the client's in pieces: `feed` each, then `end`.

    The boundary stays, and so does all that is content, byte for byte; the length does not, and is not known before the
    end.

    Args:
        boundary: as `boundary_of` has it.
        names: fields and files by the name that they come with, and the names that they go with; all others are left
            out.
        added: fields of its own, which go first.

    Attributes:
        fields: values of the client's fields so far, by the name that they came with, each cut to `MAX_FIELD` bytes; of
            one that comes twice the last.
    """

    def __init__(self, boundary: bytes, *, names: Mapping[str, str], added: Mapping[str, str]) -> None:
        self._reader = FormReader(boundary)
        self._delimiter = b"--" + boundary
        self._names = names
        self._out = bytearray()
        self._passes = False  # the part that is read
        self._field: tuple[str, bytearray] | None = None  # that is read
        self.fields: dict[str, str] = {}
        for name, value in added.items():
            disposition = b'Content-Disposition: form-data; name="' + name.encode() + b'"'
            self._out += _LINE.join((self._delimiter, disposition, b"", value.encode(), b""))

    def feed(self, data: bytes) -> bytes:
        """What is to be sent for the next bytes. Raises RequestError as `FormReader.feed` does."""
        for event in self._reader.feed(data):
            self._pass_on(event)
        out, self._out = bytes(self._out), bytearray()
        return out

    def end(self) -> bytes:
        """There are no more bytes: the end of what is to be sent. Raises RequestError when the form is not whole."""
        self._reader.end()
        return self._delimiter + b"--" + _LINE

    def _pass_on(self, event: Event) -> None:
        match event:
            case PartBegins(name, filename, head):
                self._field = (name, bytearray()) if filename is None else None
                self._passes = name in self._names
                if self._passes:
                    head = head if self._names[name] == name else _renamed(head, self._names[name])
                    self._out += _LINE.join((self._delimiter, head, b"", b""))
            case PartData(data):
                if self._passes:
                    self._out += data
                if self._field is not None:
                    kept = self._field[1]
                    kept += data[: MAX_FIELD - len(kept)]
            case PartEnds():
                if self._passes:
                    self._out += _LINE
                if self._field is not None:
                    self.fields[self._field[0]] = self._field[1].decode("utf-8", "replace")


def _disposition(head: bytes) -> tuple[str, str | None]:
    """The name and the file's name that a part's head gives. Raises RequestError when a line of it is none."""
    name, filename = "", None
    for line in head.split(_LINE) if head else ():
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise RequestError("the head of a part of the form is malformed")
        if found[1].lower() == b"content-disposition":
            for key, value, _ in _parameters(found[2]):
                if key == b"name":
                    name = value.decode("utf-8", "replace")
                elif key == b"filename" or (key == b"filename*" and filename is None):
                    # The second is RFC 5987's way with other letters: RFC 7578 forbids it, some clients use it.
                    filename = value.decode("utf-8", "replace")
    return name, filename


def _renamed(head: bytes, name: str) -> bytes:
    """The head of a part that has a name, with another."""
    for line in re.finditer(rb"(?im)^content-disposition:[^\r\n]*", head):
        for key, _, (start, end) in _parameters(line[0]):
            if key == b"name":
                quoted = b'"' + name.encode() + b'"'
                return head[: line.start() + start] + quoted + head[line.start() + end :]
    return head


def _parameters(value: bytes) -> Iterator[tuple[bytes, bytes, tuple[int, int]]]:
    """The parameters of a header: the name in lower case, the value, and where that stands, quotes included.

    Files' names may have a semicolon in them, and quotes with a backslash before each.
    """
    for found in _PARAMETER.finditer(value):
        text = found[2]
        if text[:1] == b'"':
            text = _ESCAPED.sub(rb"\1", text[1:-1])
        yield found[1].lower(), text, found.span(2)
