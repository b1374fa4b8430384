"""The only changes ever made to a request's body: three named values, put in as byte splices.

All other bytes stay as the client wrote them: order, spacing, escapes, big numbers, fields nobody here knows.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import orjson

from herd.errors import RequestError
from herd.protocols.json_scan import Buffer, Span, is_empty, outline

EDITABLE = ("model", "options.num_ctx", "keep_alive")

_WANTED = {1: frozenset(("model", "options", "keep_alive"))}
_WANTED_OPTIONS = {1: frozenset(("num_ctx",))}

Value = str | int | float


class Edit(NamedTuple):
    """The value that a member, one of `EDITABLE`, shall have. Which, and why, is decided elsewhere."""

    name: str
    value: Value


class Splice(NamedTuple):
    """Bytes `start` to `end` (exclusive) of the body give way to `replacement`; an insertion has `start == end`."""

    start: int
    end: int
    replacement: bytes


def plan(body: Buffer, edits: Iterable[tuple[str, Value]]) -> tuple[Splice, ...]:
    """The splices that make `edits`, in the body's order.

    Where a key comes twice the last one counts, to Go as here. A missing member is put first in its object, and a
    missing `options` is made.

    Raises:
        RequestError: the body is not a JSON object.
    """
    values = {name: orjson.dumps(value) for name, value in edits}
    if unknown := values.keys() - set(EDITABLE):
        raise ValueError(f"no such edit: {', '.join(sorted(unknown))}")
    found = outline(body, _WANTED)
    if body[found.value.start] != ord("{"):
        raise RequestError("the request body is not a JSON object")
    num_ctx = values.pop("options.num_ctx", None)
    options = found.members.get("options")
    splices: list[Splice] = []
    if num_ctx is not None:
        if options is not None and body[options.start] == ord("{"):
            inner = outline(body, _WANTED_OPTIONS, start=options.start, fold=False)
            splices += set_members(body, options, inner.members, {"num_ctx": num_ctx})
        else:  # absent, or null
            values["options"] = b'{"num_ctx":' + num_ctx + b"}"
    splices += set_members(body, found.value, found.members, values)
    return tuple(_ordered(splices))


def plan_form(model_at: Span, edits: Iterable[tuple[str, Value]]) -> tuple[Splice, ...]:
    """The splices that make `edits` in a form with files: of its fields the model alone is ever another.

    Args:
        model_at: where the form has the model's name.
        edits: as of `plan`.
    """
    values = dict(edits)
    model = values.pop("model", None)
    if values:
        raise ValueError(f"no such edit of a form: {', '.join(sorted(values))}")
    return () if model is None else (Splice(*model_at, str(model).encode()),)


def _ordered(splices: Iterable[Splice]) -> list[Splice]:
    """In the body's order; of two at one place, as they were given, insertions first."""
    return sorted(splices, key=lambda splice: splice[:2])


def set_members(
    body: Buffer, container: Span, members: Mapping[str, Span], values: Mapping[str, bytes]
) -> list[Splice]:
    """Replace the values of the members that are there, and insert the others after the opening brace."""
    splices = [Splice(*members[key], value) for key, value in values.items() if key in members]
    missing = [b'"' + key.encode() + b'":' + value for key, value in values.items() if key not in members]
    if missing:
        comma = b"" if is_empty(body, container) else b","
        splices.append(Splice(container.start + 1, container.start + 1, b",".join(missing) + comma))
    return splices


def spliced_size(size: int, splices: Iterable[Splice]) -> int:
    """The length of a body of `size` bytes after the splices."""
    return size + sum(len(splice.replacement) - (splice.end - splice.start) for splice in splices)


class Splicer:
    """Applies splices to a body that passes by in chunks: `feed` each, then `end`. Holds no bytes back."""

    def __init__(self, splices: Iterable[Splice]) -> None:
        self._left = _ordered(splices)
        self._at = 0  # bytes of the body that have been fed

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` becomes; may be empty."""
        base = self._at
        self._at += len(chunk)
        if not self._left or self._left[0].start >= self._at:
            return chunk
        pieces: list[bytes] = []
        done = 0  # of this chunk
        while self._left and self._left[0].start < self._at:
            splice = self._left[0]
            if splice.start >= base:  # else it began in an earlier chunk, and its replacement is out
                pieces += (chunk[done : splice.start - base], splice.replacement)
            done = min(splice.end, self._at) - base
            if splice.end > self._at:
                break
            del self._left[0]
        pieces.append(chunk[done:])
        return b"".join(pieces)

    def end(self) -> bytes:
        """What follows the last chunk.

        Raises:
            RequestError: the body ended before the place of a splice.
        """
        if any(splice.end > self._at for splice in self._left):
            raise RequestError("the request body ended too early")
        return b"".join(splice.replacement for splice in self._left)
