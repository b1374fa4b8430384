"""A batch of texts for vectors, in parts: the body of each is cut out of the client's, and the answers become one.

Nothing that a client or a model server wrote is written anew. A part's body is the client's without the other inputs;
the one answer is that of the first part with the vectors of all of them, as their servers wrote them, in the order of
the inputs. Beside the vectors only what is true of the whole changes: OpenAI's `index` counts on, tokens are added up,
and Ollama's durations are those of the slowest part.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from herd.errors import RequestError
from herd.protocols.json_scan import Buffer, Span, is_blank, outline
from herd.protocols.splice import Splice, Splicer, set_members
from herd.types import Api, KiB, Tokens

# What can be cut: one prompt is one vector, so `/api/embeddings` is not among them. The member with the vectors.
VECTORS = {Api.OLLAMA_EMBED: b"embeddings", Api.EMBEDDINGS: b"data"}
# Inputs of a batch that is cut, at most: as many as OpenAI takes in one request.
MOST_INPUTS = 2048
# Bytes of a vector, at most: 4,096 numbers, which is what the largest usual models have, with 16 characters each.
MOST_VECTOR = 64 * KiB
# What an answer has beside its vectors: names, sums and durations, of some dozens of bytes each.
MOST_BESIDE = 4 * KiB

_WANTED = {1: frozenset(("input",))}
_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_COMMA = ord(",")


class Inputs(NamedTuple):
    """Where the texts of a batch lie in its body: `array` is the list, brackets included."""

    array: Span
    texts: tuple[Span, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each text, quotes included."""
        return tuple([text.end - text.start for text in self.texts])

    def cut(self, first: int, last: int) -> tuple[Splice, ...]:
        """What makes the body that of a part: it keeps the texts from `first` to `last`, exclusive."""
        return (
            Splice(self.array.start + 1, self.texts[first].start, b""),
            Splice(self.texts[last - 1].end, self.array.end - 1, b""),
        )


def read_inputs(body: Buffer) -> Inputs | None:
    """The texts of a body that the router has read before, or None when it has no list of texts, or too long a one.

    Lists of token ids stay whole: servers that take them name no digest, so there is nobody to share them with.

    Raises:
        RequestError: the body is not JSON.
    """
    array = outline(body, _WANTED).members.get("input")
    if array is None or body[array.start] != ord("["):
        return None
    texts: list[Span] = []
    at = _space(body, array.start + 1)
    while at < array.end - 1:  # of a list that is known to be valid
        text = _STRING.match(body, at)
        if text is None or len(texts) == MOST_INPUTS:
            return None
        texts.append(Span(at, text.end()))
        at = _space(body, text.end())
        if body[at] == _COMMA:
            at = _space(body, at + 1)
    return Inputs(array, tuple(texts)) if texts else None


def _space(data: Buffer, at: int) -> int:
    match = _SPACE.match(data, at)
    return match.end() if match else at


# --- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Vector:
    """One element of the list: `index` is where OpenAI's stands, and its value."""

    element: bytes
    index: Span | None
    number: int

    def size_at(self, number: int) -> int:
        """Bytes of the same at another place of the list."""
        size = len(self.element)
        return size if self.index is None else size - (self.index.end - self.index.start) + len(str(number))

    def at(self, number: int) -> bytes:
        """The same at another place of the list."""
        if self.index is None or number == self.number:
            return self.element
        return self.element[: self.index.start] + str(number).encode() + self.element[self.index.end :]


@dataclass(frozen=True, slots=True)
class PartAnswer:
    """The answer to a part: the document without its vectors, where their list lies in it, and the vectors."""

    document: bytes
    fields: dict[str, Any]  # of the document
    array: Span
    vectors: tuple[_Vector, ...]


_PLAIN = re.compile(rb'[^"\[\]{}]*+')
_IN_STRING = re.compile(rb'[^"\\]*+')
_BETWEEN = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")
_NUMBERS = re.compile(rb"\[[-+0-9.eE, \t\r\n]*+\]")
_INDEX = {1: frozenset(("index",))}
_QUOTE, _BACKSLASH, _LIST_END = b'"\\]'
_OPENING = b"[{"
_NATURAL = re.compile(rb"0|[1-9][0-9]{0,9}")


class AnswerReader:
    """Takes the answer to a part apart while it comes: a list of vectors may be megabytes long.

    It is told every piece of the body; nothing that it is told makes it raise. Each byte is looked at once.

    Args:
        api: what was asked, one of `VECTORS`.
        count: inputs of the part, and so vectors of the answer.
    """

    def __init__(self, api: Api, count: int) -> None:
        self._key = VECTORS[api].decode()
        self._begins = re.compile(rb'[{,][ \t\r\n]*"%s"[ \t\r\n]*:[ \t\r\n]*\[' % VECTORS[api])
        self._objects = api is Api.EMBEDDINGS
        self._count = count
        self._room = count * MOST_VECTOR + 2 * MOST_BESIDE
        self._before = b""  # up to the list, its bracket included
        self._after = b""  # from its closing bracket on
        self._data = bytearray()  # of the list, from what follows the latest vector
        self._at = 0  # up to where that was looked at
        self._start = 0  # of the vector that is being read
        self._depth = 0  # brackets that are open within the list
        self._quoted = False
        self._vectors: list[_Vector] = []
        self._state: Callable[[bytes], None] = self._head

    def feed(self, data: bytes) -> None:
        """The next piece."""
        self._room -= len(data)
        if self._room < 0:
            self._state = self._nonsense
        self._state(data)

    def end(self) -> PartAnswer | None:
        """The answer, once all of it was fed; None when it is not one that belongs to such a part."""
        if self._state != self._tail or len(self._vectors) != self._count:
            return None
        document = self._before + self._after
        array = Span(len(self._before) - 1, len(self._before) + 1)
        try:
            found = outline(document, {1: frozenset((self._key,))}, fold=False)
            fields = orjson.loads(document)
        except (RequestError, orjson.JSONDecodeError):
            return None
        # What looked like the member may have been something else; and of one that comes twice the last counts.
        if found.members.get(self._key) != array or not is_blank(document[found.value.end :]):
            return None
        numbers = [vector.number for vector in self._vectors]
        if self._objects:
            if sorted(numbers) != list(range(self._count)):
                return None
            self._vectors.sort(key=lambda vector: vector.number)
        return PartAnswer(document, fields, array, tuple(self._vectors))

    # --- states -------------------------------------------------------------------------------------------------------

    def _head(self, data: bytes) -> None:
        self._before += data
        found = self._begins.search(self._before)
        if found is not None:
            rest = self._before[found.end() :]
            self._before = self._before[: found.end()]
            self._state = self._list
            self._list(rest)
        elif len(self._before) > MOST_BESIDE:
            self._nonsense()

    def _list(self, data: bytes) -> None:
        self._data += data
        size = len(self._data)
        while self._at < size:
            if self._quoted:
                self._at = _end(_IN_STRING, self._data, self._at)
                if self._at == size:
                    return
                escape = self._data[self._at] == _BACKSLASH
                if escape and self._at + 1 == size:
                    return
                self._quoted = escape
                self._at += 2 if escape else 1
                continue
            self._at = _end(_PLAIN, self._data, self._at)
            if self._at == size:
                return
            byte = self._data[self._at]
            if byte == _QUOTE:
                self._quoted = True
            elif byte in _OPENING:
                if not self._depth:
                    self._start = self._at
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if not self._depth:
                    self._vector()
                    size = len(self._data)
                    continue
            else:
                self._list_end(byte)
                return
            self._at += 1

    def _vector(self) -> None:
        """One more is there, up to the bracket that was looked at."""
        gap, element = bytes(self._data[: self._start]), bytes(self._data[self._start : self._at + 1])
        del self._data[: self._at + 1]
        self._at = self._start = 0
        separated = _BETWEEN.fullmatch(gap) is not None if self._vectors else is_blank(gap)
        vector = _openai_vector(element) if self._objects else _native_vector(element)
        if not separated or vector is None or len(self._vectors) == self._count:
            self._nonsense()
        else:
            self._vectors.append(vector)

    def _list_end(self, byte: int) -> None:
        if byte != _LIST_END or not is_blank(bytes(self._data[: self._at])):
            self._nonsense()
            return
        rest = bytes(self._data[self._at :])
        self._data.clear()
        self._state = self._tail
        self._tail(rest)

    def _tail(self, data: bytes) -> None:
        self._after += data
        if len(self._after) > MOST_BESIDE:
            self._nonsense()

    def _nonsense(self, _data: bytes = b"") -> None:
        """It is no such answer: nothing of it is kept."""
        self._state = self._nonsense
        self._before = self._after = b""
        self._data.clear()
        self._at = self._start = 0
        self._vectors.clear()


def _end(pattern: re.Pattern[bytes], data: bytearray, at: int) -> int:
    match = pattern.match(data, at)
    return match.end() if match else at


def _native_vector(element: bytes) -> _Vector | None:
    return _Vector(element, None, 0) if _NUMBERS.fullmatch(element) else None


def _openai_vector(element: bytes) -> _Vector | None:
    """Numbers are left out of what is scanned: a pattern tells in a tenth of the time that there are no others."""
    start, end = element.find(b"[") + 1, element.rfind(b"]")
    flat = element
    if start and start <= end:
        if not _NUMBERS.fullmatch(element, start - 1, end + 1):
            return None
        flat = element[:start] + element[end:]
    try:
        index = outline(flat, _INDEX, fold=False).members.get("index")
    except RequestError:
        return None
    number = None if index is None else _NATURAL.fullmatch(flat, *index)
    if index is None or number is None:
        return None
    shift = len(element) - len(flat) if index.start > start else 0
    return _Vector(element, Span(index.start + shift, index.end + shift), int(number[0]))


@dataclass(frozen=True, slots=True)
class Joined:
    """One answer of many. `prompt`: tokens of all inputs; `load_s`: of the part that waited longest for its model."""

    size: int  # in bytes
    pieces: Iterator[bytes]  # made as they are asked for: all of them may be megabytes
    prompt: Tokens
    load_s: float


PIECE = 64 * KiB  # bytes of a piece of the answer, about: as much as a client's connection takes without waiting


def joined(api: Api, parts: Sequence[PartAnswer]) -> Joined:
    """The answers to all parts as one, in their order; the document around the vectors is that of the first."""
    first, all_fields = parts[0], [part.fields for part in parts]
    native = api is Api.OLLAMA_EMBED
    splices = _native_sums(first.document, all_fields) if native else _usage_sums(first.document, all_fields)
    before, after = _around(first, splices)
    vectors = [vector for part in parts for vector in part.vectors]
    commas = max(0, len(vectors) - 1)
    size = sum([vector.size_at(number) for number, vector in enumerate(vectors)]) + commas
    counts = all_fields if native else [_object(fields, "usage") for fields in all_fields]
    key = "prompt_eval_count" if native else "prompt_tokens"
    return Joined(
        len(before) + size + len(after),
        _in_pieces(before, vectors, after),
        Tokens(sum(_whole(count, key) for count in counts)),
        max(_whole(fields, "load_duration") for fields in all_fields) / 1e9,
    )


def _native_sums(document: bytes, all_fields: Sequence[dict[str, Any]]) -> list[Splice]:
    sums = {key: max(_whole(fields, key) for fields in all_fields) for key in ("total_duration", "load_duration")}
    sums["prompt_eval_count"] = sum(_whole(fields, "prompt_eval_count") for fields in all_fields)
    return _changed(document, 0, {key: value for key, value in sums.items() if value})


def _usage_sums(document: bytes, all_fields: Sequence[dict[str, Any]]) -> list[Splice]:
    """Every count in `usage`: what a server counts of a part, it counts of all parts together."""
    usage = outline(document, {1: frozenset(("usage",))}, fold=False).members.get("usage")
    if usage is None or document[usage.start] != ord("{"):
        return []
    own = _object(all_fields[0], "usage")
    keys = [key for key, value in own.items() if type(value) is int]
    sums = {key: sum(_whole(_object(fields, "usage"), key) for fields in all_fields) for key in keys}
    return _changed(document, usage.start, sums)


def _changed(document: bytes, start: int, values: dict[str, int]) -> list[Splice]:
    """These members of the object that begins at `start` have other values."""
    found = outline(document, {1: frozenset(values)}, start=start, fold=False)
    return set_members(document, found.value, found.members, {key: b"%d" % value for key, value in values.items()})


def _around(part: PartAnswer, splices: Iterable[Splice]) -> tuple[bytes, bytes]:
    """The document, changed, in front of its vectors and behind them."""
    cut = part.array.start + 1
    ordered = sorted(splices)
    front = Splicer([splice for splice in ordered if splice.start < cut])
    back = Splicer([Splice(s.start - cut, s.end - cut, s.replacement) for s in ordered if s.start >= cut])
    return (
        front.feed(part.document[:cut]) + front.end(),
        back.feed(part.document[cut:]) + back.end(),
    )


def _in_pieces(before: bytes, vectors: Iterable[_Vector], after: bytes) -> Iterator[bytes]:
    held, size = [before], len(before)
    for number, vector in enumerate(vectors):
        if number:
            held.append(b",")
        element = vector.at(number)
        held.append(element)
        size += len(element) + 1
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join([*held, after])


def _object(fields: dict[str, Any], key: str) -> dict[str, Any]:
    value = fields.get(key)
    return value if type(value) is dict else {}


def _whole(fields: dict[str, Any], key: str) -> int:
    value = fields.get(key)
    return value if type(value) is int and value > 0 else 0
