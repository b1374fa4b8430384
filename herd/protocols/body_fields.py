"""The fields of a request's body that routing reads, however long or odd the body is.

Nearly every body goes through orjson whole. A long one is only scanned, and so is one that orjson refuses but Go would
take: something follows the object, keys collide by case, a string holds what is not Unicode.
"""

from typing import Any, NamedTuple

import orjson

from herd.protocols.json_scan import Buffer, Outline, Span, is_empty, outline, text
from herd.types import MiB

# Up to here a body is parsed whole: orjson takes about a millisecond for a MiB of chat, and gives back its memory at
# once. Beyond, nearly all bytes are images, and building their strings only to drop them would double the memory.
PARSE_LIMIT = 1 * MiB

FALLBACKS = "fallback_models"
# Bytes of a list of fallbacks: twice as many as the longest names take when every character of them is escaped.
MAX_FALLBACKS_SIZE = 64 * 1024

# What a body is scanned for, by depth. Of attachments: `images` of a message, and the parts of a message's content.
_ATTACHMENT_PARTS = ("image_url", "input_audio")
_WANTED = {
    1: frozenset(
        (
            *("model", "stream", "messages", "prompt", "suffix", "images", "tools", "options", "keep_alive"),
            *("max_tokens", "max_completion_tokens", FALLBACKS),
        )
    ),
    3: frozenset(("images",)),
    5: frozenset(_ATTACHMENT_PARTS),
}
_WANTED_OPTIONS = {1: frozenset(("num_ctx", "num_predict"))}
_ONLY_EMPTINESS = frozenset(("prompt", "suffix"))  # strings as long as a body; only whether they are empty counts


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
    messages = fields.get("messages")
    holders = [fields, *messages] if type(messages) is list else [fields]
    files: list[Any] = []
    parts: list[dict[str, Any]] = []
    for holder in holders:
        if type(holder) is not dict:
            continue
        if images := holder.get("images"):
            files += images if type(images) is list else ()
        if type(content := holder.get("content")) is list:
            parts += [part for part in content if type(part) is dict]
    if not files and not parts:
        return _NOTHING
    image = bool(files)
    for part in parts:
        files += [part[key] for key in _ATTACHMENT_PARTS if key in part]
    return Attached(
        image=image or any("image_url" in part for part in parts),
        audio=any("input_audio" in part for part in parts),
        size=_length(files),
    )


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


def _attached_spans(body: Buffer, found: Outline) -> Attached:
    messages = found.members.get("messages", Span(0, 0))
    spans = [(item.key, item.span) for item in found.nested if messages.start <= item.span.start < messages.end]
    if "images" in found.members:
        spans.append(("images", found.members["images"]))
    return Attached(
        image=any(
            key == "image_url" or (key == "images" and body[span.start] == ord("[") and not is_empty(body, span))
            for key, span in spans
        ),
        audio=any(key == "input_audio" for key, _ in spans),
        size=sum(span.end - span.start for _, span in spans),
    )
