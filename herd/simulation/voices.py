"""How an answer is written down: Ollama's NDJSON lines and OpenAI's events, one write each, and both as one object."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from herd.simulation.asks import Ask, OllamaError, Surface
from herd.simulation.golang import encode, format_time
from herd.types import Seconds, Tokens

# Ollama draws N of "chatcmpl-N" below this.
_COMPLETION_IDS = 999

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metrics:
    """What an answer took."""

    reason: str  # stop, length
    prompt: Tokens
    completion: Tokens
    total_s: Seconds
    load_s: Seconds
    prefill_s: Seconds
    decode_s: Seconds


class Voice(Protocol):
    """One answer in the shape of one endpoint."""

    stream_type: str  # the Content-Type of a streamed answer
    whole_type: str

    def begin(self) -> list[bytes]:
        """What precedes the first piece."""

    def piece(self, text: str) -> bytes: ...

    def end(self, metrics: Metrics) -> list[bytes]: ...

    def whole(self, text: str, metrics: Metrics) -> bytes:
        """The body of an answer that is not streamed."""

    def broken(self, error: OllamaError) -> bytes:
        """What is written in the place of the rest when an answer breaks."""


class NativeVoice:
    """/api/chat and /api/generate.

    Args:
        ask: the request; its model's name is echoed.
        wall: the clock of `created_at`, in seconds since the Unix epoch.
    """

    stream_type = "application/x-ndjson"
    whole_type = JSON

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._ask = ask
        self._wall = wall

    def begin(self) -> list[bytes]:
        return []

    def piece(self, text: str) -> bytes:
        return encode({**self._said(text), "done": False}) + b"\n"

    def end(self, metrics: Metrics) -> list[bytes]:
        return [self.whole("", metrics) + b"\n"]

    def whole(self, text: str, metrics: Metrics) -> bytes:
        return encode({**self._said(text), "done": True, "done_reason": metrics.reason, **self._measured(metrics)})

    def broken(self, error: OllamaError) -> bytes:
        return native_error(error.text) + b"\n"

    def nothing(self, reason: str) -> bytes:
        """The answer to a request without a prompt; `reason` is "load" or "unload"."""
        return encode({**self._said(""), "done": True, "done_reason": reason})

    def _said(self, text: str) -> dict[str, Any]:
        head = {"model": self._ask.model, "created_at": format_time(self._wall())}
        if self._ask.surface is Surface.GENERATE:
            return {**head, "response": text}
        return {**head, "message": {"role": "assistant", "content": text}}

    def _measured(self, metrics: Metrics) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self._ask.surface is Surface.GENERATE and not self._ask.raw:
            # Ollama gives one number for every token of the conversation; 32 of them serve a client as well.
            fields["context"] = list(self._ask.seed)
        return fields | {
            "total_duration": _nanoseconds(metrics.total_s),
            "load_duration": _nanoseconds(metrics.load_s),
            "prompt_eval_count": metrics.prompt,
            "prompt_eval_duration": _nanoseconds(metrics.prefill_s),
            "eval_count": metrics.completion,
            "eval_duration": _nanoseconds(metrics.decode_s),
        }


class OpenAIVoice:
    """/v1/chat/completions.

    Args:
        ask: the request; its model's name is echoed.
        wall: the clock of `created`, in seconds since the Unix epoch.
    """

    stream_type = "text/event-stream"
    whole_type = "application/json"

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._include_usage = ask.include_usage
        self._head = {
            "id": f"chatcmpl-{int.from_bytes(ask.seed[:4], 'big') % _COMPLETION_IDS}",
            "object": "chat.completion.chunk" if ask.stream else "chat.completion",
            "created": int(wall()),
            "model": ask.model,
            "system_fingerprint": "fp_ollama",
        }

    def begin(self) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""})]

    def piece(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def end(self, metrics: Metrics) -> list[bytes]:
        events = [self._chunk({}, metrics.reason)]
        if self._include_usage:
            events.append(_event(encode({**self._head, "choices": [], "usage": _usage(metrics)})))
        return [*events, _event(b"[DONE]")]

    def whole(self, text: str, metrics: Metrics) -> bytes:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": metrics.reason}
        return encode({**self._head, "choices": [choice], "usage": _usage(metrics)}) + b"\n"

    def broken(self, error: OllamaError) -> bytes:
        del error  # an error in a /v1 stream is swallowed: an empty chunk, and the stream ends
        return self._chunk({"content": ""})

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return _event(encode({**self._head, "choices": [choice]}))


def native_error(text: str) -> bytes:
    """The body of an error of the native API."""
    return encode({"error": text})


def openai_error(status: int, text: str) -> bytes:
    """The body of an error of the /v1 API."""
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return encode({"error": {"message": text, "type": kind, "param": None, "code": None}}) + b"\n"


def _usage(metrics: Metrics) -> dict[str, int]:
    total = metrics.prompt + metrics.completion
    return {"prompt_tokens": metrics.prompt, "completion_tokens": metrics.completion, "total_tokens": total}


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _nanoseconds(seconds: float) -> int:
    return max(1, round(seconds * 1e9))  # Ollama leaves out what is zero, and never measures zero
