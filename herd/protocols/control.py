"""Control endpoints: what a person says to the router."""

from re import ASCII
from re import compile as pattern
from typing import Any
from urllib.parse import parse_qsl

import orjson

from herd.errors import RequestError
from herd.types import KiB, Seconds

MAX_BODY = 4 * KiB  # a command is a line
MAX_SHOWN = 40  # characters of a wrong value that are repeated to the client

# Nobody means a longer pause: a node that is away for longer is drained.
LONGEST_S = Seconds(366 * 86_400.0)

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
# Large units first, each once: 1h30m, not 30m1h.
_DURATION = pattern("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), ASCII)


def pause_of(query: str, body: bytes | memoryview) -> Seconds | None:
    """How long a pause is to last, from the query or a JSON body; None: until the node is resumed.

    Raises:
        RequestError: 400.
    """
    document: Any = {}
    if len(body):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise RequestError(f'the body is no JSON ({error}): send {{"for": "2h"}}, or none') from error
    if not isinstance(document, dict):
        raise RequestError('the body must be a JSON object such as {"for": "2h"}')
    wanted = document.get("for")
    if wanted is None:
        wanted = dict(parse_qsl(query, keep_blank_values=True)).get("for")
    return None if wanted is None else duration(wanted)


def duration(text: Any) -> Seconds:
    """Seconds of "2h", "30m", "90s", "1h30m" or "2d". Raises RequestError (400)."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    counts = found.groups("0") if found is not None else ()
    seconds = sum(int(count) * unit for count, unit in zip(counts, _UNITS.values(), strict=False))
    if not 0 < seconds <= LONGEST_S:
        shown = str(text)
        shown = shown if len(shown) <= MAX_SHOWN else f"{shown[:MAX_SHOWN]}..."
        raise RequestError(f"for must be a duration such as 90s, 30m, 2h or 1h30m, of a year at most, not {shown!r}")
    return Seconds(float(seconds))
