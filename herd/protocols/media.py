"""How much work images and recordings are, as far as their requests say: in the units of `Api.unit`."""

import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from herd.protocols.untrusted import MAX_INT
from herd.types import KiB, Tokens

USUAL_SIDE = 1024  # of an image of which only the other side is given; the default of most models
# What there is no image of: the largest that any model makes have a quarter of the first on a side, and take a tenth of
# the second. Beyond, a machine would only be brought to its knees.
MAX_SIDE, MAX_STEPS = 16_384, 1_000
FRAMES_A_SECOND = 100  # of sound
# What a second of sound takes where its form is not known: MP3 of 128 kbit/s, as recorders write it.
BYTES_A_SECOND = 16_000

# The head of a WAV file is 44 bytes long, or a few hundred where a recorder has put its name into it.
WAV_HEAD = 4 * KiB

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_WHOLE = re.compile(r"\d{1,5}", re.ASCII)


def generated(fields: Mapping[str, Any]) -> Tokens | None:
    """The work of a request to `/api/generate-image`, whose fields have the right types: kilopixel-steps."""
    sides = (fields.get("width"), fields.get("height"))
    if sides == (None, None):
        return None
    width, height = (USUAL_SIDE if side is None else side for side in sides)
    return _image(width, height, fields.get("steps"), 1)


def painted(fields: Mapping[str, Any]) -> Tokens | None:
    """The work of a request in OpenAI's form, be its fields of JSON or of a form: kilopixel-steps."""
    size = _SIZE.fullmatch(str(fields.get("size")))
    if size is None:
        return None
    count = fields.get("n")
    return _image(int(size[1]), int(size[2]), _whole(fields.get("steps")), 1 if count is None else _whole(count))


def _whole(value: Any) -> int | None:
    if type(value) is str:
        return int(value) if _WHOLE.fullmatch(value) else None
    return value if type(value) is int else None


def _image(width: int, height: int, steps: int | None, count: int | None) -> Tokens | None:
    if steps is None or count is None or min(width, height, steps, count) < 1:
        return None
    return Tokens(min(ceil(width * height * steps * count / 1000), MAX_INT))


def recorded(size: int) -> Tokens:
    """The work of a recording of so many bytes, of which nothing else is known: a guess, in frames."""
    return Tokens(ceil(size * FRAMES_A_SECOND / BYTES_A_SECOND))


def heard(start: bytes, size: int) -> Tokens | None:
    """The work of a recording: how long it plays, in frames; None where it is no WAV file.

    The format is that of "Multimedia Programming Interface and Data Specifications 1.0" (IBM, Microsoft; 1991). What is
    written as it is recorded says no length, or one of four gigabytes: then all that follows its head is sound.

    Args:
        start: the first bytes of the file, `WAV_HEAD` of them if it has so many.
        size: of the file, in bytes.
    """
    if start[:4] not in {b"RIFF", b"RF64"} or start[8:12] != b"WAVE":
        return None
    at, a_second = 12, 0
    while at + 8 <= len(start):
        name, length = start[at : at + 4], int.from_bytes(start[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt " and at + 12 <= len(start):
            a_second = int.from_bytes(start[at + 8 : at + 12], "little")
        elif name == b"data":
            left = max(0, size - at)
            return _frames(min(length, left) if length else left, a_second)
        at += length + length % 2
    return None


def _frames(size: int, a_second: int) -> Tokens | None:
    return Tokens(min(ceil(size * FRAMES_A_SECOND / a_second), MAX_INT)) if a_second else None
