"""Ollama's `keep_alive`: a number of seconds, or a Go duration; below zero it means for ever."""

import json
import re
from typing import Any

from herd.errors import RequestError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TERM = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)", re.ASCII)


# Characters of a duration: "2562047h47m16.854775807s" is the longest that Go prints. A text is read on the loop.
LONGEST = 256


def unloads(value: Any) -> bool:
    """Whether a request without a prompt, with this `keep_alive`, wants its model gone.

    Raises:
        RequestError: 400 in Go's words; it is no duration.
    """
    if value is None:
        return False
    if isinstance(value, str):
        return _seconds(value) == 0
    if isinstance(value, int | float) and type(value) is not bool:
        return value == 0
    kind = {bool: "bool", list: "array", dict: "object"}[type(value)]
    raise RequestError(f"json: cannot unmarshal {kind} into Go struct field .keep_alive of type api.Duration")


def _seconds(text: str) -> float:
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return 0.0
    quoted = json.dumps(text[:LONGEST], ensure_ascii=False)
    terms = _TERM.findall(body) if len(text) <= LONGEST else []
    if not terms or "".join(number + unit for number, unit in terms) != body:
        raise RequestError(f"time: invalid duration {quoted}")
    for _, unit in terms:
        if not unit:
            raise RequestError(f"time: missing unit in duration {quoted}")
        if unit not in _UNITS:
            raise RequestError(f"time: unknown unit {json.dumps(unit, ensure_ascii=False)} in duration {quoted}")
    return sum(float(number) * _UNITS[unit] for number, unit in terms)
