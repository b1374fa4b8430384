"""Answers of OpenAI's chat and completions, whole and streamed, read into values that no dialect owns."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from herd.errors import StreamFailed
from herd.protocols.sse import MAX_EVENT, EventReader
from herd.protocols.translation.refusals import refusal_text
from herd.protocols.untrusted import mapping, text
from herd.types import Tokens

# Words of `finish_reason` that are no end but a failure: vLLM's, when it gives a request up.
_NO_ENDS = frozenset(("abort", "error"))
_NO_JSON = "the model server's answer is not the JSON that was asked for"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of an answer, or all of it. `logprobs` are objects as OpenAI's and Ollama's chats both have them."""

    text: str = ""
    thought: str = ""
    calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended, and what it took. Zero where the server does not say."""

    reason: str  # OpenAI's word: stop, length, tool_calls, content_filter
    stopped_by: str = ""  # which of the request's stop sequences ended it, where the server says so
    prompt: Tokens = Tokens(0)  # those in `cached` included
    completion: Tokens = Tokens(0)
    cached: Tokens = Tokens(0)
    prefill_ns: int = 0
    decode_ns: int = 0


@dataclass(frozen=True, slots=True)
class Broke:
    """The server says within its stream that it failed; nothing follows."""

    text: str


@dataclass(slots=True)
class _Fragments:
    """A tool call whose arguments are still coming."""

    index: Any
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class AnswerStream:
    """A stream of chat or completion chunks. Tool calls come out whole, as Ollama gives them."""

    def __init__(self) -> None:
        self._events = EventReader()
        self._call: _Fragments | None = None
        self._size = 0  # of the call's arguments
        self._reason = self._stopped_by = ""
        self._counts: dict[str, Any] = {}
        self._times: dict[str, Any] = {}
        self.over = False  # it has ended, or broken, by its own word

    def feed(self, data: bytes) -> list[Said | Ending | Broke]:
        """What comes with `data`; nothing once the stream is over.

        Raises:
            StreamFailed: this is no stream of chunks.
        """
        found: list[Said | Ending | Broke] = []
        for event in self._events.feed(data) if not self.over else ():
            if self.over:
                break
            found += self._event(event.data)
        return found

    def end(self) -> None:
        """The server has sent all. Raises StreamFailed when the stream has not come to its own end."""
        if not self.over:
            raise StreamFailed("the model server ended its answer before it was complete", "incomplete")

    def _event(self, event: bytes) -> list[Said | Ending | Broke]:
        if event.strip() == b"[DONE]":
            return self._done()
        chunk = parsed(event)
        if (trouble := refusal_text(chunk)) is not None:
            self.over = True
            return [Broke(trouble)]
        self._counts |= mapping(chunk, "usage")
        self._times |= mapping(chunk, "timings")
        choice = _choice(chunk)
        delta = mapping(choice, "delta")
        reason = choice.get("finish_reason")
        if reason in _NO_ENDS:
            self.over = True
            return [Broke("the model server gave the answer up")]
        calls = self._gathered(delta.get("tool_calls"))
        if isinstance(reason, str):
            self._reason, self._stopped_by = reason, text(choice, "stop_reason")
            calls += self._complete()
        said = Said(_text(delta, choice), _thought(delta), tuple(calls), _logprobs(choice))
        return [said] if said != Said() else []

    def _done(self) -> list[Said | Ending | Broke]:
        if not self._reason:
            raise StreamFailed("the model server ended its answer without saying why", "incomplete")
        self.over = True
        return [_ending(self._reason, self._stopped_by, self._counts, self._times)]

    def _gathered(self, fragments: Any) -> list[ToolCall]:
        """Take fragments of calls in; the calls that are whole because another one begins."""
        whole: list[ToolCall] = []
        for fragment in _objects(fragments):
            function = mapping(fragment, "function")
            index, identity = fragment.get("index"), text(fragment, "id")
            current = self._call
            if current is None or current.index != index or (identity and identity != current.id):
                whole += self._complete()
                current = self._call = _Fragments(index, identity, "")
                self._size = 0
            current.name += text(function, "name")
            written = _arguments(function)
            current.arguments.append(written)
            self._size += len(written)
            if self._size > MAX_EVENT:  # as long as a line of Ollama's may be
                raise StreamFailed("the model server's tool call has no end")
        return whole

    def _complete(self) -> list[ToolCall]:
        current, self._call = self._call, None
        return [] if current is None else [_call(current.id, current.name, "".join(current.arguments))]


def whole_answer(body: bytes) -> tuple[Said, Ending] | Broke:
    """Read an answer that is one document.

    Raises:
        StreamFailed: it is none, or not whole.
    """
    value = parsed(body)
    if (trouble := refusal_text(value)) is not None:
        return Broke(trouble)
    choice = _choice(value)
    message, reason = mapping(choice, "message"), choice.get("finish_reason")
    if not isinstance(reason, str) or not (message or isinstance(choice.get("text"), str)):
        raise StreamFailed(_NO_JSON)
    if reason in _NO_ENDS:
        return Broke("the model server gave the answer up")
    calls = []
    for call in _objects(message.get("tool_calls")):
        function = mapping(call, "function")
        calls.append(_call(text(call, "id"), text(function, "name"), _arguments(function)))
    said = Said(_text(message, choice), _thought(message), tuple(calls), _logprobs(choice))
    return said, _ending(reason, text(choice, "stop_reason"), mapping(value, "usage"), mapping(value, "timings"))


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises StreamFailed."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise StreamFailed(_NO_JSON) from None
    if not isinstance(value, dict):
        raise StreamFailed(_NO_JSON)
    return value


def count(holder: dict[str, Any], key: str) -> Tokens:
    """A number of tokens; 0 where there is none."""
    value = holder.get(key)
    return Tokens(value if type(value) is int and value > 0 else 0)


def _ending(reason: str, stopped_by: str, counts: dict[str, Any], times: dict[str, Any]) -> Ending:
    """Counts as OpenAI has them; times, and counts in their absence, from the `timings` that llama.cpp adds."""
    cached = count(mapping(counts, "prompt_tokens_details"), "cached_tokens") or count(times, "cache_n")
    return Ending(
        reason,
        stopped_by,
        prompt=count(counts, "prompt_tokens") or Tokens(count(times, "cache_n") + count(times, "prompt_n")),
        completion=count(counts, "completion_tokens") or count(times, "predicted_n"),
        cached=cached,
        prefill_ns=_nanoseconds(times, "prompt_ms"),
        decode_ns=_nanoseconds(times, "predicted_ms"),
    )


def _nanoseconds(times: dict[str, Any], key: str) -> int:
    value = times.get(key)
    return round(value * 1e6) if isinstance(value, int | float) and 0 < value < 1e12 else 0  # 1e12 ms: 31 years


def _arguments(function: dict[str, Any]) -> str:
    """As OpenAI has them, a string; or, as some servers do, an object."""
    value = function.get("arguments")
    return _written(value).decode() if isinstance(value, dict) else text(function, "arguments")


def _call(identity: str, name: str, arguments: str) -> ToolCall:
    try:
        value = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        # Cut off by the limit of tokens, say. Ollama's form has no place for what is no object.
        raise StreamFailed("the model's tool call has arguments that are no JSON object")
    _written([[[[[[[[value]]]]]]]])  # deeper than any client's event has them
    return ToolCall(identity, name, value)


def _written(value: Any) -> bytes:
    """Of arguments. Raises StreamFailed: they are nested deeper than orjson writes, which reads four times as deep."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise StreamFailed("the model's tool call has arguments that are nested too deeply") from None


def _choice(value: dict[str, Any]) -> dict[str, Any]:
    """The first choice: more are never asked for."""
    return next(iter(_objects(value.get("choices"))), {})


def _text(said: dict[str, Any], choice: dict[str, Any]) -> str:
    """The text of a message or a delta, or of a completion. A few servers send it in parts, as it may be asked."""
    value = said.get("content")
    if isinstance(value, list):
        return "".join(text(part, "text") for part in _objects(value))
    return value if isinstance(value, str) else text(choice, "text")


def _thought(said: dict[str, Any]) -> str:
    return text(said, "reasoning_content") or text(said, "reasoning")


def _logprobs(choice: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Probabilities of tokens: a chat's, or those of a completion in OpenAI's older form."""
    given = mapping(choice, "logprobs")
    if isinstance(given.get("content"), list):
        return tuple(
            _token(item) | {"top_logprobs": [_token(other) for other in _objects(item.get("top_logprobs"))]}
            for item in _objects(given["content"])
        )
    tokens, logprobs = given.get("tokens"), given.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(logprobs, list):
        return ()
    beside = given.get("top_logprobs")
    beside = beside if isinstance(beside, list) else [None] * len(tokens)
    return tuple(
        _token({"token": token, "logprob": logprob})
        | {"top_logprobs": [_token({"token": key, "logprob": value}) for key, value in (others or {}).items()]}
        for token, logprob, others in zip(tokens, logprobs, beside, strict=False)
        if isinstance(token, str) and isinstance(others, dict | None)
    )


def _token(item: dict[str, Any]) -> dict[str, Any]:
    token, logprob, octets = text(item, "token"), item.get("logprob"), item.get("bytes")
    if not isinstance(octets, list):
        octets = list(token.encode())
    return {"token": token, "logprob": logprob if isinstance(logprob, int | float) else 0.0, "bytes": octets}


def _objects(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
