"""Errors in the words of each dialect: as a whole answer, and within a stream whose first bytes are out."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from herd.errors import HerdError
from herd.protocols.headers import value_of
from herd.types import Api, Dialect


class Reply(NamedTuple):
    """A whole answer of the router's own. The headers say its type and its length."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class StreamFormat(StrEnum):
    """How a stream is cut into events."""

    NDJSON = "ndjson"
    OPENAI_SSE = "openai-sse"
    ANTHROPIC_SSE = "anthropic-sse"
    RESPONSES_SSE = "responses-sse"  # OpenAI's too: events have names and numbers


ANTHROPIC_ID = "Request-Id"  # where Anthropic's clients look for a request's name
# What nearly every client honours, and soon enough for a model that had to make room.
RETRY_AFTER_S = 5
RETRY_LATER = (429, 503)

# As Ollama has them, and OpenAI's for what Ollama never says.
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OTHER_TYPE = "api_error"

# Content types as Ollama sends them, its middleware included.
_CONTENT_TYPES = {
    Dialect.OLLAMA: "application/json; charset=utf-8",
    Dialect.OPENAI: "application/json",
    Dialect.ANTHROPIC: "application/json",
}
_PLAIN_TEXT = "text/plain"

# The longest mark of a boundary below.
_LONGEST_MARK = 3
_MARKS = {
    StreamFormat.NDJSON: (b"\n",),
    # A line end and a blank line. The second form also ends CR LF CR LF.
    StreamFormat.OPENAI_SSE: (b"\n\n", b"\n\r\n"),
    StreamFormat.ANTHROPIC_SSE: (b"\n\n", b"\n\r\n"),
    StreamFormat.RESPONSES_SSE: (b"\n\n", b"\n\r\n"),
}
_SSE = {Dialect.OPENAI: StreamFormat.OPENAI_SSE, Dialect.ANTHROPIC: StreamFormat.ANTHROPIC_SSE}
# In the text of an answer the quotes have backslashes before them. Nineteen digits are all of 64 bits.
_NUMBER = re.compile(rb'"sequence_number"[ \t]*:[ \t]*(\d{1,19})')


def request_ids(dialect: Dialect, request_id: str) -> tuple[tuple[str, str], ...]:
    """The headers that name a request to its client."""
    ours = ("X-Request-Id", request_id)
    return (ours, (ANTHROPIC_ID, request_id)) if dialect is Dialect.ANTHROPIC else (ours,)


def error_answer(dialect: Dialect | None, error: HerdError, *, request_id: str = "") -> Reply:
    """The answer that tells a client of `error`, before any byte of another answer is out.

    Without a dialect (no endpoint was found) it is plain text. `request_id` shows in Anthropic's form, and its header.
    """
    if dialect is None:
        content_type, body = _PLAIN_TEXT, str(error).encode()
    else:
        content_type, body = _CONTENT_TYPES[dialect], _encoded(_FORMS[dialect](error, request_id))
        if dialect is not Dialect.OLLAMA:
            body += b"\n"
    extra: tuple[tuple[str, str], ...] = getattr(error, "headers", ())
    if error.status in RETRY_LATER and not value_of(extra, "retry-after"):
        extra = (*extra, ("Retry-After", str(RETRY_AFTER_S)))
    if dialect is Dialect.ANTHROPIC and request_id:
        extra = (*extra, (ANTHROPIC_ID, request_id))
    headers = (("Content-Type", content_type), ("Content-Length", str(len(body))), *extra)
    return Reply(error.status, headers, body)


def error_event(form: StreamFormat, error: HerdError, *, request_id: str = "", last: bytes = b"") -> bytes:
    """The last event of a stream that broke. It must stand at an event boundary; no terminator follows it.

    Args:
        form: of the stream.
        error: what broke it.
        request_id: shows in Anthropic's form.
        last: what was sent before it, or the end of that; a response's events are numbered.
    """
    if form is StreamFormat.NDJSON:
        return _encoded(_ollama(error, request_id)) + b"\n"
    if form is StreamFormat.OPENAI_SSE:
        return b"data: " + _encoded(_openai(error, request_id)) + b"\n\n"
    if form is StreamFormat.RESPONSES_SSE:
        return b"event: error\ndata: " + _encoded(_response_error(error, last)) + b"\n\n"
    return b"event: error\ndata: " + _encoded(_anthropic(error, request_id)) + b"\n\n"


def stream_format(dialect: Dialect, content_type: str, api: Api | None = None) -> StreamFormat | None:
    """How an answer with this Content-Type is cut into events; None for one document, into which nothing can be put.

    `api` is what was asked, where it was an endpoint for models.
    """
    match content_type.partition(";")[0].strip().lower():
        case "application/x-ndjson":
            return StreamFormat.NDJSON
        case "text/event-stream":
            return StreamFormat.RESPONSES_SSE if api is Api.RESPONSES else _SSE.get(dialect)
    return None


class BoundaryWatch:
    """Knows whether a stream stands between two events, from the last bytes of its chunks alone.

    Attributes:
        last: the last chunk that was not empty.
    """

    def __init__(self, form: StreamFormat) -> None:
        self.last = b""
        self._marks = _MARKS[form]
        self._tail = b""
        self._started = False

    def feed(self, chunk: bytes) -> None:
        """Take notice of the next chunk, of any length."""
        if chunk:
            self._started = True
            self.last = chunk
            self._tail = (self._tail + chunk[-_LONGEST_MARK:])[-_LONGEST_MARK:]

    @property
    def at_boundary(self) -> bool:
        """True before the first byte, and after each whole event."""
        return not self._started or self._tail.endswith(self._marks)


def _ollama(error: HerdError, _request_id: str) -> dict[str, Any]:
    return {"error": str(error)}


def _openai(error: HerdError, _request_id: str) -> dict[str, Any]:
    kind = _OPENAI_TYPES.get(error.status, _OTHER_TYPE)
    return {"error": {"message": str(error), "type": kind, "param": None, "code": getattr(error, "code", None)}}


def _response_error(error: HerdError, last: bytes) -> dict[str, Any]:
    """As OpenAI's event has it; clients in Python raise what is at `error`, as in their other streams."""
    numbers = _NUMBER.findall(last)
    inner = _openai(error, "")["error"]
    return {
        "type": "error",
        "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
        "code": inner["code"] or "server_error",
        "message": inner["message"],
        "param": None,
        "error": inner,
    }


def _anthropic(error: HerdError, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status, _OTHER_TYPE)
    answer: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": str(error)}}
    return answer | {"request_id": request_id} if request_id else answer


_FORMS: dict[Dialect, Callable[[HerdError, str], dict[str, Any]]] = {
    Dialect.OLLAMA: _ollama,
    Dialect.OPENAI: _openai,
    Dialect.ANTHROPIC: _anthropic,
}


def _encoded(value: Any) -> bytes:
    """As Go's `encoding/json` writes it, which escapes what means something in HTML."""
    return orjson.dumps(value).replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
