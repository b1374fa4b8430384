"""Control endpoints: who may tell the router something, and what a person says to it.

Until there are keys, whoever can log in on the router's machine may; nobody else on the network, and no web page that
somebody there looks at.
"""

from ipaddress import ip_address
from re import ASCII
from re import compile as pattern
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from herd.errors import RequestError
from herd.protocols.headers import Headers, value_of
from herd.types import KiB, Seconds

MAX_BODY = 4 * KiB  # a command is a line
MAX_SHOWN = 40  # characters of a wrong value that are repeated to the client

# Nobody means a longer pause: a node that is away for longer is drained.
LONGEST_S = Seconds(366 * 86_400.0)

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
# Large units first, each once: 1h30m, not 30m1h.
_DURATION = pattern("".join(rf"(?:(\d{{1,9}}){unit})?" for unit in _UNITS), ASCII)

# What proxies add. One on this machine makes everybody look as if they were here.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")

_HERE = "control commands are taken on the router's own machine only: run the command there, or log in there by ssh"
_PAGE = "control commands are not taken from web pages: run the herd command in a terminal instead"


def check_allowed(peer: str, headers: Headers) -> None:
    """Let a control request pass, or say why not.

    Args:
        peer: the address at the other end of the connection.
        headers: of the request.

    Raises:
        RequestError: 403.
    """
    if not _is_loopback(peer) or any(value_of(headers, name) for name in _FORWARDED):
        raise RequestError(_HERE, status=403)
    # Browsers send one or the other with every request that a page has them make.
    if value_of(headers, "sec-fetch-site").strip().lower() in {"cross-site", "same-site"}:
        raise RequestError(_PAGE, status=403)
    origins = [value for name, value in headers if name.lower() == "origin"]
    if not all(_is_own(origin.strip().lower(), value_of(headers, "host").strip().lower()) for origin in origins):
        raise RequestError(_PAGE, status=403)


def _is_loopback(address: str) -> bool:
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_own(origin: str, host: str) -> bool:
    """Whether a page is the router's own: of its host and port, by a name that can only mean this machine.

    Any other name may be that of a stranger who has it resolved to 127.0.0.1.
    """
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or parts.netloc != host:
        return False
    return name == "localhost" or _is_loopback(name)


# --- what is said -----------------------------------------------------------------------------------------------------


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
