"""What an answer took, read from its last bytes by the agent that passes it on.

While bytes pass nothing is parsed. At the end the tail of the answer is, once: the sums stand there in every dialect.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from herd.protocols.media_usage import media_usage
from herd.protocols.messages import Usage
from herd.protocols.untrusted import json_object
from herd.types import Api, KiB, Seconds, Tokens, Unit

# The sums and the terminator take under 2 KiB. The rest is for what can stand between them, such as Ollama's `context`.
TAIL = 64 * KiB

_NANOSECONDS = 1e9  # in a second
_MILLISECONDS = 1e3

# Members that follow the text of an answer. Within a string a quote has a backslash before it, so these are real keys.
_LATE_KEY = re.compile(rb'"(?:done|total_duration|usage|timings)"[ \t\r\n]*:')
# A late key may also be one of a nested object, from which the rest does not parse; a few tries are enough.
_TRIES = 8

_COUNTING = (b'"usage"', b'"timings"', b'"error"')

# llama.cpp has the sums of a list of vectors before them, and in Anthropic's streams the prompt's are at the beginning:
# names and ids of some dozens of bytes are all there is before.
_BEGINNING = KiB
_EARLY_USAGE = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(\{[^{}]*\})')
# What a tail holds of a vector that began before it, to the end of its object.
_END_OF_VECTOR = re.compile(rb"[-+0-9.eE, \t\r\n]*\][ \t\r\n]*\}")
# What it holds of a picture in base64, to the end of the line.
_END_OF_PICTURE = re.compile(rb'[A-Za-z0-9+/=]{%d,}"(?:,"(?:completed|total)":[0-9]{1,9})*\}' % (32 * KiB))
_LAST_USAGE = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(?=\{)')


@dataclass(frozen=True, slots=True)
class _Ending:
    """What is left of an answer once it has ended."""

    tail: bytes  # without white space around it
    start: bytes  # its first bytes
    whole: bool  # the tail is all there was
    streamed: bool
    status: int


class UsageReader:
    """Told every chunk of an answer's body, it says at the end what the answer took.

    Args:
        path: of the request, perhaps with a query: its answer is written in the words of that endpoint.
        streamed: a stream was asked for; a server may still answer with one document, such as an error.
        status: of the answer.
    """

    def __init__(self, path: str, streamed: bool, status: int = 200) -> None:
        self._read = _READERS.get(path.partition("?")[0], _ollama)
        self._streamed = streamed
        self._status = status
        self._start = b""
        self._tail = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Keep the last bytes. Each byte is copied twice at most."""
        if self._size < _BEGINNING:
            self._start += chunk[: _BEGINNING - self._size]
        self._size += len(chunk)
        self._tail += chunk[-TAIL:]
        if len(self._tail) > 2 * TAIL:
            del self._tail[:-TAIL]

    def usage(self) -> Usage:
        """The sums, zero where the answer has none. Never raises; an answer that makes no sense is not complete."""
        tail = bytes(self._tail[-TAIL:]).strip()
        return self._read(_Ending(tail, self._start, self._size <= TAIL, self._streamed, self._status))


def measured(path: str) -> bool:
    """Whether the agent itself has to measure how long the answer to such a request takes, for it does not say."""
    return path.partition("?")[0] in _MEASURED


# --- Ollama: the last line, or the only object ------------------------------------------------------------------------


def _ollama(end: _Ending) -> Usage:
    line = end.tail[end.tail.rfind(b"\n") + 1 :] if end.streamed else end.tail
    last = _closing_object(line)
    # When the tail starts within a long `context`, `done` is before it; the durations come with the last line only.
    # Before a picture they are, too.
    done = last.get("done", "total_duration" in last) is True or _END_OF_PICTURE.fullmatch(line) is not None
    return _ollama_usage(last, done=done or last.get("status") == "success")  # of a model that was pulled, or made


def _ollama_vectors(end: _Ending) -> Usage:
    """There is no terminator, and without a text there are no sums."""
    last = _closing_object(end.tail)
    cut_off = not end.whole and _END_OF_VECTOR.fullmatch(end.tail) is not None
    return _ollama_usage(
        last, done=cut_off or not last.keys().isdisjoint(("embeddings", "embedding", "total_duration"))
    )


def _ollama_usage(last: dict[str, Any], *, done: bool) -> Usage:
    failed = "error" in last
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


def _openai(end: _Ending) -> Usage:
    events = list(_events(end.tail)) if end.streamed else []
    if not events:
        whole = _closing_object(end.tail)
        return _openai_usage([whole], ended=bool(whole))
    values = [json_object(event) for event in events if any(word in event for word in _COUNTING)]
    return _openai_usage(values, ended=events[-1] == b"[DONE]")


def _openai_vectors(end: _Ending) -> Usage:
    """The sums come after the vectors, or before them: then the tail may not have them."""
    last = _closing_object(end.tail)
    if last or end.whole:
        return _openai_usage([last], ended=bool(last))
    early = _EARLY_USAGE.search(end.start)
    counts = {"usage": json_object(early[1])} if early else {}
    return _openai_usage([counts], ended=end.tail.endswith(b"}"))


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


# --- OpenAI's responses: the last event, which repeats the whole answer -----------------------------------------------

_RESPONSE_ENDS = ("response.completed", "response.incomplete")
_RESPONSE_FAILS = ("response.failed", "error")


def _response(end: _Ending) -> Usage:
    events = list(_events(end.tail)) if end.streamed else []
    if not events:
        whole = _closing_object(end.tail)
        if whole or end.whole or not end.streamed:
            return _response_usage(whole, ended=bool(whole), failed=bool(whole.get("error")))
        # The tail begins within the last event. Only that which ends a response has sums.
        counts = _last_usage(end.tail)
        return _response_usage({"usage": counts}, ended=bool(counts), failed=False)
    last = json_object(events[-1])
    kind = last.get("type")
    inner = _inner(last, "response")
    return _response_usage(inner, ended=kind in _RESPONSE_ENDS, failed=kind in _RESPONSE_FAILS or "error" in last)


def _response_usage(response: dict[str, Any], *, ended: bool, failed: bool) -> Usage:
    counts = _inner(response, "usage")
    return Usage(
        prompt=_count(counts.get("input_tokens")),
        completion=_count(counts.get("output_tokens")),
        complete=ended and not failed,
        failed=failed,
        cached=_count(_inner(counts, "input_tokens_details").get("cached_tokens")),
    )


def _last_usage(tail: bytes) -> dict[str, Any]:
    """The last object of that name, wherever it stands. In a string its quotes have backslashes before them."""
    found = [match.end() for match in _LAST_USAGE.finditer(tail)]
    if not found or not tail.endswith(b"}"):
        return {}
    try:
        value, _ = json.JSONDecoder().raw_decode(tail[found[-1] :].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# --- Anthropic: the last events, or the only object -------------------------------------------------------------------


def _counted(end: _Ending) -> Usage:
    """How many tokens a request has: the question costs none."""
    answer = _closing_object(end.tail)
    failed = bool(answer.get("error"))
    return Usage(complete=not failed and type(answer.get("input_tokens")) is int, failed=failed)


def _anthropic(end: _Ending) -> Usage:
    events = list(_events(end.tail)) if end.streamed else []
    if not events:
        whole = _closing_object(end.tail)
        return _anthropic_usage([whole], ended=bool(whole))
    values = [json_object(event) for event in events if any(word in event for word in _COUNTING)]
    early = _EARLY_USAGE.search(end.start)  # of the start of the message, which a long one has left behind
    starts = [{"usage": json_object(early[1])}] if early else []
    starts += [_inner(value, "message") for value in values]
    return _anthropic_usage(starts + values, ended=json_object(events[-1]).get("type") == "message_stop")


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


# --- Pictures and transcriptions --------------------------------------------------------------------------------------


def _media(unit: Unit) -> Callable[[_Ending], Usage]:
    def read(end: _Ending) -> Usage:
        return media_usage(unit, end.tail, end.start, whole=end.whole, streamed=end.streamed, status=end.status)

    return read


_MEASURED = frozenset(api.value for api in Api if api.unit is not Unit.TOKEN)

# What is not here is Ollama's.
_READERS: dict[str, Callable[[_Ending], Usage]] = {
    Api.OLLAMA_EMBED: _ollama_vectors,
    Api.OLLAMA_EMBEDDINGS: _ollama_vectors,
    Api.CHAT: _openai,
    Api.COMPLETIONS: _openai,
    Api.EMBEDDINGS: _openai_vectors,
    Api.RESPONSES: _response,
    Api.MESSAGES: _anthropic,
    Api.COUNT_TOKENS: _counted,
} | {api: _media(api.unit) for api in Api if api.unit is not Unit.TOKEN}


# --- Reading untrusted JSON -------------------------------------------------------------------------------------------


def _events(tail: bytes) -> Iterator[bytes]:
    """The data of the server-sent events in the tail; none in a JSON document, whose lines cannot begin so."""
    for line in tail.splitlines():
        if line.startswith(b"data:"):
            yield line[len(b"data:") :].strip()


def _closing_object(tail: bytes) -> dict[str, Any]:
    """The object that the tail ends with; if its beginning is cut off, its last members. Empty if it does not close."""
    if value := json_object(tail):
        return value
    for _, match in zip(range(_TRIES), _LATE_KEY.finditer(tail), strict=False):
        if value := json_object(b"{" + tail[match.start() :]):
            return value
    return {}


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
