"""How a Go server reads and writes: JSON, durations and times, with the words of its standard library's errors.

Knows nothing of models. What is imitated is what a client can see: the first JSON value counts and the rest is ignored,
field names match in any case, the last of two equal names wins, `<`, `>` and `&` are written as escapes.
"""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Go's longest duration, 2**63 - 1 nanoseconds: about 292 years. Ollama means "for ever" by it.
LONGEST_DURATION = (2**63 - 1) / 1e9

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")

# Which words Go uses where Python's parser stopped.
_CONTEXTS = (
    ("Expecting property name", "looking for beginning of object key string"),
    ("Expecting ':'", "after object key"),
    ("Expecting ','", "after object key:value pair"),
    ("Invalid control character", "in string literal"),
    ("Invalid \\", "in string escape code"),
    ("Illegal trailing comma before end of object", "looking for beginning of object key string"),
)

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "bool"),
    (str, "string"),
    ((int, float), "number"),
    (list, "array"),
    (dict, "object"),
)


class GoError(ValueError):
    """A Go decoder said no; the text is its words."""


def _refuse_constant(name: str) -> NoReturn:
    raise GoError(f"invalid character '{name.lstrip('-')[0]}' looking for beginning of value")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def decode_fields(data: bytes, struct: str) -> dict[str, Any]:
    """The fields of the JSON object that `data` begins with, names in lower case.

    Raises:
        GoError: it is not JSON, or not an object; `struct` is the Go type that the words name, with its package.
    """
    try:
        value = orjson.loads(data)  # many times as quick, and stricter: what it refuses is looked at again
    except orjson.JSONDecodeError:
        value = _first_value(data)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise GoError(f"json: cannot unmarshal {kind(value)} into Go value of type {struct}")
    return lowered(value)


def lowered(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with names in lower case; of two that are equal then the last counts."""
    return {name.lower(): value for name, value in fields.items()}


def _first_value(data: bytes) -> Any:
    """The JSON value that `data` begins with. Raises GoError."""
    text = data.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        value, _ = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        raise GoError(_words(data.decode("utf-8", "surrogateescape").lstrip(" \t\r\n"), error)) from None
    except RecursionError:
        raise GoError("exceeded max depth") from None
    except GoError:
        raise
    except ValueError:  # a number with thousands of digits
        raise GoError("json: cannot unmarshal number: value out of range") from None
    return value


def _words(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "unexpected EOF"
    if (words := _broken_literal(text[error.pos :])) is not None:
        return words
    context = next((go for python, go in _CONTEXTS if error.msg.startswith(python)), "looking for beginning of value")
    byte = text[error.pos].encode("utf-8", "surrogateescape")[0]  # Go says it as a character
    return f"invalid character {_quoted(chr(byte))} {context}"


def _quoted(letter: str) -> str:
    """As Go's decoder quotes a character."""
    if letter == "'":
        return r"'\''"
    return "'" + (letter if letter.isprintable() else f"\\x{ord(letter):02x}") + "'"


def _broken_literal(text: str) -> str | None:
    """What is wrong with a literal that begins here; None where none does."""
    for literal in ("true", "false", "null", "-"):
        if text[0] == literal[0]:
            for found, expected in zip(text, literal, strict=False):
                if found != expected:
                    return f"invalid character {_quoted(found)} in literal {literal} (expecting '{expected}')"
            return "unexpected EOF" if len(text) <= len(literal) else None
    return None


def kind(value: Any) -> str:
    """What Go calls the JSON type of `value`; `null` for None."""
    return next((name for types, name in _KINDS if isinstance(value, types)), "null")


def encode(value: Any) -> bytes:
    """Compact JSON, with Go's escapes; no newline."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # lone surrogates, or numbers beyond 64 bits: clients can send both
        text = well_formed(json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()
    return text.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")


def well_formed(text: str) -> str:
    """`text` without lone surrogates, which JSON escapes can smuggle in: Go puts U+FFFD in their place."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def parse_duration(text: str) -> float:
    """Seconds of a Go duration such as `1h30m`, `-1m` or `0`.

    Raises:
        GoError: it is none.
    """
    body = text[1:] if text[:1] in {"+", "-"} else text
    quoted = json.dumps(text, ensure_ascii=False)
    if body == "0":
        return 0.0
    terms = _TERM.findall(body)
    if not terms or "".join(number + unit for number, unit in terms) != body:
        raise GoError(f"time: invalid duration {quoted}")
    total = 0.0
    for number, unit in terms:
        if not unit:
            raise GoError(f"time: missing unit in duration {quoted}")
        if unit not in _UNITS:
            raise GoError(f"time: unknown unit {json.dumps(unit, ensure_ascii=False)} in duration {quoted}")
        total += float(number) * _UNITS[unit]
    return -total if text.startswith("-") else total


def format_time(wall: float) -> str:
    """RFC 3339 in UTC, with nanoseconds as Go prints them (no trailing zeros).

    Args:
        wall: seconds since the Unix epoch.
    """
    whole = math.floor(wall)
    nanoseconds = min(round((wall - whole) * 1e9), 999_999_999)
    fraction = f".{nanoseconds:09d}".rstrip("0").rstrip(".")
    return f"{(_EPOCH + timedelta(seconds=whole)).strftime('%Y-%m-%dT%H:%M:%S')}{fraction}Z"
