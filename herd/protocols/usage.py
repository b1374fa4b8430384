"""What an answer took, read from its last bytes by the agent that passes it on.

While bytes pass nothing is parsed. At the end the tail of the answer is, once: the sums stand there in every dialect.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from herd.protocols.messages import Usage
from herd.types import Dialect, KiB, Seconds, Tokens

# The sums and the terminator take under 2 KiB. The rest is for what can stand between them, such as Ollama's `context`.
TAIL = 64 * KiB

_NANOSECONDS = 1e9  # in a second
_MILLISECONDS = 1e3

# Members that follow the text of an answer. Within a string a quote has a backslash before it, so these are real keys.
_LATE_KEY = re.compile(rb'"(?:done|total_duration|usage|timings)"[ \t\r\n]*:')
# A late key may also be one of a nested object, from which the rest does not parse; a few tries are enough.
_TRIES = 8

_COUNTING = (b'"usage"', b'"timings"', b'"error"')


class UsageReader:
    """Told every chunk of an answer's body, it says at the end what the answer took.

    Args:
        dialect: the one of the request: the model server answers in it.
        streamed: a stream was asked for; a server may still answer with one document, such as an error.
    """

    def __init__(self, dialect: Dialect, streamed: bool) -> None:
        self._read = _READERS[dialect]
        self._streamed = streamed
        self._tail = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Keep the last bytes. Each byte is copied twice at most."""
        self._tail += chunk[-TAIL:]
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]

    def usage(self) -> Usage:
        """The sums, zero where the answer has none. Never raises; an answer that makes no sense is not complete."""
        return self._read(bytes(self._tail[-TAIL:]).strip(), self._streamed)


# --- Ollama: the last line, or the only object ------------------------------------------------------------------------


def _ollama(tail: bytes, streamed: bool) -> Usage:
    last = _closing_object(tail[tail.rfind(b"\n") + 1 :] if streamed else tail)
    failed = "error" in last
    # When the tail starts within a long `context`, `done` is before it; the durations come with the last line only.
    done = last.get("done", "total_duration" in last) is True
    done = done or last.get("status") == "success"  # of a model that was pulled, pushed or made
    return Usage(
        prompt=_count(last.get("prompt_eval_count")),
        completion=_count(last.get("eval_count")),
        load_s=_seconds(last.get("load_duration"), _NANOSECONDS),
        prefill_s=_seconds(last.get("prompt_eval_duration"), _NANOSECONDS),
        decode_s=_seconds(last.get("eval_duration"), _NANOSECONDS),
        complete=done and not failed,
        failed=failed,
        cached=_count(last.get("prompt_eval_cached_count")),  # which `prompt_eval_count` includes; since 2026
    )


# --- OpenAI: the last events, or the only object ----------------------------------------------------------------------


def _openai(tail: bytes, streamed: bool) -> Usage:
    events = list(_events(tail)) if streamed else []
    if not events:
        whole = _closing_object(tail)
        return _openai_usage([whole], ended=bool(whole))
    values = [_object(event) for event in events if any(word in event for word in _COUNTING)]
    return _openai_usage(values, ended=events[-1] == b"[DONE]")


def _openai_usage(values: list[dict[str, Any]], *, ended: bool) -> Usage:
    """Counts as OpenAI has them; times, and counts in their absence, from the `timings` that llama.cpp adds."""
    counts = _merged(values, "usage")
    times = _merged(values, "timings")
    failed = any(value.get("error") for value in values)
    cached = _count(times.get("cache_n"))
    prompt = _count(counts.get("prompt_tokens")) or cached + _count(times.get("prompt_n"))
    return Usage(
        prompt=Tokens(prompt),
        completion=_count(counts.get("completion_tokens")) or _count(times.get("predicted_n")),
        prefill_s=_seconds(times.get("prompt_ms"), _MILLISECONDS),
        decode_s=_seconds(times.get("predicted_ms"), _MILLISECONDS),
        complete=ended and not failed,
        failed=failed,
        cached=Tokens(cached),
    )


# --- Anthropic: the last events, or the only object -------------------------------------------------------------------


def _anthropic(tail: bytes, streamed: bool) -> Usage:
    events = list(_events(tail)) if streamed else []
    if not events:
        whole = _closing_object(tail)
        return _anthropic_usage([whole], ended=bool(whole))
    values = [_object(event) for event in events if any(word in event for word in _COUNTING)]
    starts = [_inner(value, "message") for value in values]
    return _anthropic_usage(starts + values, ended=_object(events[-1]).get("type") == "message_stop")


def _anthropic_usage(values: list[dict[str, Any]], *, ended: bool) -> Usage:
    """Counts come in parts: input with the start of the message, output with its end; later ones are right."""
    counts = _merged(values, "usage")
    failed = any(value.get("error") for value in values)
    return Usage(
        prompt=Tokens(_count(counts.get("cache_read_input_tokens")) + _count(counts.get("input_tokens"))),
        completion=_count(counts.get("output_tokens")),
        complete=ended and not failed,
        failed=failed,
    )


_READERS: dict[Dialect, Callable[[bytes, bool], Usage]] = {
    Dialect.OLLAMA: _ollama,
    Dialect.OPENAI: _openai,
    Dialect.ANTHROPIC: _anthropic,
}


# --- Reading untrusted JSON -------------------------------------------------------------------------------------------


def _events(tail: bytes) -> Iterator[bytes]:
    """The data of the server-sent events in the tail; none in a JSON document, whose lines cannot begin so."""
    for line in tail.splitlines():
        if line.startswith(b"data:"):
            yield line[len(b"data:") :].strip()


def _closing_object(tail: bytes) -> dict[str, Any]:
    """The object that the tail ends with; if its beginning is cut off, its last members. Empty if it does not close."""
    if value := _object(tail):
        return value
    for _, match in zip(range(_TRIES), _LATE_KEY.finditer(tail), strict=False):
        if value := _object(b"{" + tail[match.start() :]):
            return value
    return {}


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _inner(value: dict[str, Any], key: str) -> dict[str, Any]:
    inner = value.get(key)
    return inner if isinstance(inner, dict) else {}


def _merged(values: list[dict[str, Any]], key: str) -> dict[str, Any]:
    """The objects at `key` in one; what comes later is right."""
    merged: dict[str, Any] = {}
    for value in values:
        merged |= _inner(value, key)
    return merged


def _count(value: Any) -> Tokens:
    return Tokens(value if type(value) is int and value > 0 else 0)


def _seconds(value: Any, in_a_second: float) -> Seconds:
    return Seconds(value / in_a_second if type(value) in {int, float} and value > 0 else 0.0)
