"""Errors in the words of each dialect: as a whole answer, and within a stream whose first bytes are out."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from herd.errors import HerdError
from herd.types import Dialect


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


_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "invalid_request_error",
    404: "not_found_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
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
}
_SSE = {Dialect.OPENAI: StreamFormat.OPENAI_SSE, Dialect.ANTHROPIC: StreamFormat.ANTHROPIC_SSE}


def error_answer(dialect: Dialect | None, error: HerdError, *, request_id: str = "") -> Reply:
    """The answer that tells a client of `error`, before any byte of another answer is out.

    Without a dialect (no endpoint was found) it is plain text. `request_id` shows in Anthropic's form.
    """
    if dialect is None:
        content_type, body = _PLAIN_TEXT, str(error).encode()
    else:
        content_type, body = _CONTENT_TYPES[dialect], orjson.dumps(_FORMS[dialect](error, request_id))
    extra: tuple[tuple[str, str], ...] = getattr(error, "headers", ())
    headers = (("Content-Type", content_type), ("Content-Length", str(len(body))), *extra)
    return Reply(error.status, headers, body)


def error_event(form: StreamFormat, error: HerdError, *, request_id: str = "") -> bytes:
    """The last event of a stream that broke. It must stand at an event boundary; no terminator follows it."""
    if form is StreamFormat.NDJSON:
        return orjson.dumps(_ollama(error, request_id)) + b"\n"
    if form is StreamFormat.OPENAI_SSE:
        return b"data: " + orjson.dumps(_openai(error, request_id)) + b"\n\n"
    return b"event: error\ndata: " + orjson.dumps(_anthropic(error, request_id)) + b"\n\n"


def stream_format(dialect: Dialect, content_type: str) -> StreamFormat | None:
    """How an answer with this Content-Type is cut into events; None for one document, into which nothing can be put."""
    match content_type.partition(";")[0].strip().lower():
        case "application/x-ndjson":
            return StreamFormat.NDJSON
        case "text/event-stream":
            return _SSE.get(dialect)
    return None


class BoundaryWatch:
    """Knows whether a stream stands between two events, from the last bytes of its chunks alone."""

    def __init__(self, form: StreamFormat) -> None:
        self._marks = _MARKS[form]
        self._tail = b""
        self._started = False

    def feed(self, chunk: bytes) -> None:
        """Take notice of the next chunk, of any length."""
        if chunk:
            self._started = True
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


def _anthropic(error: HerdError, request_id: str) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status, _OTHER_TYPE)
    answer: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": str(error)}}
    return answer | {"request_id": request_id} if request_id else answer


_FORMS: dict[Dialect, Callable[[HerdError, str], dict[str, Any]]] = {
    Dialect.OLLAMA: _ollama,
    Dialect.OPENAI: _openai,
    Dialect.ANTHROPIC: _anthropic,
}
