"""The fields of a request's body that routing reads, however long or odd the body is.

Nearly every body goes through orjson whole. A long one is only scanned, and so is one that orjson refuses but Go would
take: something follows the object, keys collide by case, a string holds what is not Unicode.
"""

from typing import Any, NamedTuple

import orjson

from herd.protocols.json_scan import Buffer, Nested, Outline, Span, is_empty, outline, text
from herd.types import MiB

# Up to here a body is parsed whole: orjson takes about a millisecond for a MiB of chat, and gives back its memory at
# once. Beyond, nearly all bytes are images, and building their strings only to drop them would double the memory.
PARSE_LIMIT = 1 * MiB

FALLBACKS = "fallback_models"
# Bytes of a list of fallbacks: twice as many as the longest names take when every character of them is escaped.
MAX_FALLBACKS_SIZE = 64 * 1024

# What a body is scanned for, by depth; of files at all places that any endpoint has for them.
_PART_DEPTH = 5  # of the members of a part of a message's content
_WANTED = {
    1: frozenset(
        (
            *("model", "stream", "messages", "input", "prompt", "suffix", "images", "tools", "options", "keep_alive"),
            *("max_tokens", "max_completion_tokens", "max_output_tokens", FALLBACKS),
            *("n", "size", "width", "height", "steps"),
        )
    ),
    3: frozenset(("images",)),
    _PART_DEPTH: frozenset(("image_url", "input_audio", "source")),
    7: frozenset(("source",)),
}
_WANTED_OPTIONS = {1: frozenset(("num_ctx", "num_predict"))}
_WANTED_SOURCE = {1: frozenset(("media_type", "type"))}
# Strings as long as a body, of which only counts whether they are empty.
_ONLY_EMPTINESS = frozenset(("prompt", "suffix", "input"))
_IMAGES = "image/"  # a media type begins so


class Files(NamedTuple):
    """Where the bodies of an endpoint have files."""

    images: str = ""  # the field with a list of images, or with messages that have one as `images`; empty: none
    parts: str = ""  # the field with messages whose content, or output, is made of parts with files; empty: none
    members: tuple[str, ...] = ("image_url", "input_audio")  # of a part: those that are files


class Attached(NamedTuple):
    """The files within a body. `size` is in bytes of base64."""

    image: bool = False
    audio: bool = False
    size: int = 0


_NOTHING = Attached()
_NOWHERE = Span(0, 0)


def read_fields(body: Buffer, files: Files) -> tuple[Any, Attached]:
    """The top-level value of a body, and what is attached to it, in the places named by `files`.

    The fields of an object have their keys in lower case; of duplicates the last counts. Of a body that was scanned
    there are only the fields that routing reads, and of long and nested values only the type, and whether it is empty.

    Raises:
        RequestError: 400 in Go's words, when the body is not JSON.
    """
    return _parsed(body, files) or _scanned(body, files)


def _parsed(body: Buffer, where: Files) -> tuple[Any, Attached] | None:
    """By orjson; None when only the scanner can say."""
    if len(body) > PARSE_LIMIT:
        return None
    try:
        fields = orjson.loads(bytes(body))
    except orjson.JSONDecodeError:
        return None
    if type(fields) is not dict:
        return fields, Attached()
    if not all(map(str.islower, fields)):
        folded = {key.lower(): value for key, value in fields.items()}
        if len(folded) != len(fields):
            return None
        fields = folded
    return fields, _attached(fields, where)


def _attached(fields: dict[str, Any], where: Files) -> Attached:
    files: list[Any] = []
    if where.images:
        holders = [fields] if where.images == "images" else _objects(fields.get(where.images))
        for holder in holders:
            if type(images := holder.get("images")) is list:
                files += images
    image, audio = bool(files), False
    for message in _objects(fields.get(where.parts)) if where.parts else ():
        for part in (*_objects(message.get("content")), *_objects(message.get("output"))):
            found = {key: part[key] for key in where.members if key in part}
            image = image or "image_url" in found or _is_image(found.get("source"), part.get("type"))
            audio = audio or "input_audio" in found
            files += found.values()
            if "source" in where.members:  # what a tool has seen
                files += [block["source"] for block in _objects(part.get("content")) if "source" in block]
    return Attached(image, audio, _length(files)) if files else _NOTHING


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; none in anything else."""
    return [item for item in value if type(item) is dict] if type(value) is list else []


def _is_image(source: Any, block: Any) -> bool:
    """Whether that is the image of one of Anthropic's blocks; their documents have sources too.

    An image that is somewhere else has an address in the place of a media type.
    """
    if type(source) is not dict:
        return False
    return str(source.get("media_type")).startswith(_IMAGES) or (source.get("type") == "url" and block != "document")


def _length(values: list[Any]) -> int:
    """Characters in the strings, and in those one level below: `{"url": ...}`, `{"data": ...}`."""
    inner = [item for value in values if type(value) is dict for item in value.values()]
    return sum(len(value) for value in (*values, *inner) if type(value) is str)


def _scanned(body: Buffer, where: Files) -> tuple[Any, Attached]:
    """By the scanner, which explains what is wrong with a body that no JSON decoder takes."""
    found = outline(body, _WANTED)
    if body[found.value.start] != ord("{"):
        return _sample(body, "", found.value), Attached()
    fields = {key: _sample(body, key, span) for key, span in found.members.items()}
    return fields, _attached_spans(body, found, where)


def _sample(body: Buffer, key: str, span: Span) -> Any:
    """A value of the same type as the one at `span`, empty if that is; equal to it where it is short."""
    match body[span.start]:
        case 0x7B:  # {
            return _sample_options(body, span) if key == "options" else {}
        case 0x5B:  # [
            return _sample_list(body, key, span)
        case 0x22 if key in _ONLY_EMPTINESS:  # "
            return "" if span.end - span.start == len('""') else key
        case 0x22:
            return text(bytes(body[span.start : span.end]))
    literal = bytes(body[span.start : span.end])
    try:
        return orjson.loads(literal)
    except orjson.JSONDecodeError:
        return float(literal)  # a number beyond a double: an infinity


def _sample_list(body: Buffer, key: str, span: Span) -> list[Any]:
    """Names as they are, or one that is none where they are too long or no Unicode. Of other lists: is it empty."""
    if key != FALLBACKS:
        return [] if is_empty(body, span) else [None]
    try:
        names: list[Any] = orjson.loads(bytes(body[span.start : min(span.end, span.start + MAX_FALLBACKS_SIZE)]))
    except orjson.JSONDecodeError:
        return [""]
    return names


def _sample_options(body: Buffer, span: Span) -> dict[str, Any]:
    found = outline(body, _WANTED_OPTIONS, start=span.start, fold=False)  # a map in Go: keys match exactly
    return {key: _sample(body, key, where) for key, where in found.members.items()}


def _attached_spans(body: Buffer, found: Outline, where: Files) -> Attached:
    images = found.members.get(where.images, _NOWHERE)
    parts = found.members.get(where.parts, _NOWHERE)
    spans = [
        item
        for item in found.nested
        if (item.key == "images" and _within(item.span, images))
        or (item.key in where.members and _within(item.span, parts))
    ]
    if where.images == "images" and images is not _NOWHERE:
        spans.append(Nested(1, "images", images))
    return Attached(
        image=any(_shows(body, item) for item in spans),
        audio=any(item.key == "input_audio" for item in spans),
        size=sum(item.span.end - item.span.start for item in spans),
    )


def _within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start < outer.end


def _shows(body: Buffer, item: Nested) -> bool:
    """Whether an attachment is an image that the model has to see; what a tool has seen is at a greater depth."""
    start = item.span.start
    match item.key:
        case "image_url":
            return True
        case "images":
            return body[start] == ord("[") and not is_empty(body, item.span)
        case "source" if item.depth == _PART_DEPTH and body[start] == ord("{"):
            members = outline(body, _WANTED_SOURCE, start=start, fold=False).members
            # Whose source it is is not seen here. Documents that are somewhere else are rare, and are for such models.
            return _says(body, members.get("media_type"), _IMAGES) or _says(body, members.get("type"), 'url"')
    return False


def _says(body: Buffer, where: Span | None, words: str) -> bool:
    """Whether there is a string that begins with these words; with a quote at their end that is all of it."""
    return where is not None and bytes(body[where.start + 1 : where.start + 1 + len(words)]) == words.encode()
