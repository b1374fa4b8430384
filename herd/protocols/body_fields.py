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

# What a body is scanned for, by depth. Of attachments: `images` of a message, the parts of a message's content (of
# OpenAI's messages, of the items of a response's input, Anthropic's blocks), and the blocks of what a tool said.
_ATTACHMENT_PARTS = ("image_url", "input_audio", "source")
_MESSAGES = ("messages", "input")
_PART_DEPTH = 5  # of the members of a part of a message's content
_WANTED = {
    1: frozenset(
        (
            *("model", "stream", "prompt", "suffix", "images", "tools", "options", "keep_alive", *_MESSAGES),
            *("max_tokens", "max_completion_tokens", "max_output_tokens"),
        )
    ),
    3: frozenset(("images",)),
    _PART_DEPTH: frozenset(_ATTACHMENT_PARTS),
    7: frozenset(("source",)),
}
_WANTED_OPTIONS = {1: frozenset(("num_ctx", "num_predict"))}
_WANTED_SOURCE = {1: frozenset(("media_type",))}
# Strings as long as a body, of which only counts whether they are empty.
_ONLY_EMPTINESS = frozenset(("prompt", "suffix", "input"))
_IMAGES = "image/"  # a media type begins so


class Attached(NamedTuple):
    """The files within a body. `size` is in bytes of base64."""

    image: bool = False
    audio: bool = False
    size: int = 0


_NOTHING = Attached()


def read_fields(body: Buffer) -> tuple[Any, Attached]:
    """The top-level value of a body, and what is attached to it.

    The fields of an object have their keys in lower case; of duplicates the last counts. Of a body that was scanned
    there are only the fields that routing reads, and of long and nested values only the type, and whether it is empty.

    Raises:
        RequestError: 400 in Go's words, when the body is not JSON.
    """
    return _parsed(body) or _scanned(body)


def _parsed(body: Buffer) -> tuple[Any, Attached] | None:
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
    return fields, _attached(fields)


def _attached(fields: dict[str, Any]) -> Attached:
    holders = [fields]
    for key in _MESSAGES:
        if type(messages := fields.get(key)) is list:
            holders += messages
    files: list[Any] = []
    parts: list[dict[str, Any]] = []
    for holder in holders:
        if type(holder) is not dict:
            continue
        if images := holder.get("images"):
            files += images if type(images) is list else ()
        for key in ("content", "output"):
            if type(content := holder.get(key)) is list:
                parts += [part for part in content if type(part) is dict]
    if not files and not parts:
        return _NOTHING
    image = bool(files)
    for part in parts:
        files += [part[key] for key in _ATTACHMENT_PARTS if key in part]
        if type(inner := part.get("content")) is list:
            files += [block["source"] for block in inner if type(block) is dict and "source" in block]
    return Attached(
        image=image or any("image_url" in part or _is_image(part.get("source")) for part in parts),
        audio=any("input_audio" in part for part in parts),
        size=_length(files),
    )


def _is_image(source: Any) -> bool:
    """Whether that is the image of one of Anthropic's blocks; their documents have sources too."""
    return type(source) is dict and str(source.get("media_type")).startswith(_IMAGES)


def _length(values: list[Any]) -> int:
    """Characters in the strings, and in those one level below: `{"url": ...}`, `{"data": ...}`."""
    inner = [item for value in values if type(value) is dict for item in value.values()]
    return sum(len(value) for value in (*values, *inner) if type(value) is str)


def _scanned(body: Buffer) -> tuple[Any, Attached]:
    """By the scanner, which explains what is wrong with a body that no JSON decoder takes."""
    found = outline(body, _WANTED)
    if body[found.value.start] != ord("{"):
        return _sample(body, "", found.value), Attached()
    fields = {key: _sample(body, key, span) for key, span in found.members.items()}
    return fields, _attached_spans(body, found)


def _sample(body: Buffer, key: str, span: Span) -> Any:
    """A value of the same type as the one at `span`, empty if that is; equal to it where it is short."""
    match body[span.start]:
        case 0x7B:  # {
            return _sample_options(body, span) if key == "options" else {}
        case 0x5B:  # [
            return [] if is_empty(body, span) else [None]
        case 0x22 if key in _ONLY_EMPTINESS:  # "
            return "" if span.end - span.start == len('""') else key
        case 0x22:
            return text(bytes(body[span.start : span.end]))
    literal = bytes(body[span.start : span.end])
    try:
        return orjson.loads(literal)
    except orjson.JSONDecodeError:
        return float(literal)  # a number beyond a double: an infinity


def _sample_options(body: Buffer, span: Span) -> dict[str, Any]:
    found = outline(body, _WANTED_OPTIONS, start=span.start, fold=False)  # a map in Go: keys match exactly
    return {key: _sample(body, key, where) for key, where in found.members.items()}


def _attached_spans(body: Buffer, found: Outline) -> Attached:
    around = [found.members[key] for key in _MESSAGES if key in found.members]
    spans = [item for item in found.nested if any(one.start <= item.span.start < one.end for one in around)]
    if "images" in found.members:
        spans.append(Nested(1, "images", found.members["images"]))
    return Attached(
        image=any(_shows(body, item) for item in spans),
        audio=any(item.key == "input_audio" for item in spans),
        size=sum(item.span.end - item.span.start for item in spans),
    )


def _shows(body: Buffer, item: Nested) -> bool:
    """Whether an attachment is an image that the model has to see; what a tool has seen is at a greater depth."""
    start = item.span.start
    match item.key:
        case "image_url":
            return True
        case "images":
            return body[start] == ord("[") and not is_empty(body, item.span)
        case "source" if item.depth == _PART_DEPTH and body[start] == ord("{"):
            media_type = outline(body, _WANTED_SOURCE, start=start, fold=False).members.get("media_type")
            return media_type is not None and bytes(body[media_type.start + 1 : media_type.end]).startswith(
                _IMAGES.encode()
            )
    return False
