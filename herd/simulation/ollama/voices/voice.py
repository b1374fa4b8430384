"""How an answer is written down: what every endpoint's voice has to say, and that of Ollama's own endpoints."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from herd.actors.ports import Headers
from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface
from herd.simulation.ollama.golang import encode, format_time
from herd.simulation.ollama.voices.script import ToolCall
from herd.types import Seconds, Tokens

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"  # of the /v1 endpoints, and of an error in the place of a stream
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Metrics:
    """What an answer took."""

    reason: str  # stop, length, load
    prompt: Tokens
    completion: Tokens
    thought: Tokens  # of the completion
    total_s: Seconds
    load_s: Seconds
    prefill_s: Seconds
    decode_s: Seconds


@dataclass(frozen=True, slots=True)
class Said:
    """A whole answer."""

    thought: str = ""
    text: str = ""
    call: ToolCall | None = None


class Voice(Protocol):
    """One answer in the shape of one endpoint. Each element of a list is one write of a streamed answer."""

    stream_type: str  # the Content-Type of a streamed answer
    stream_headers: Headers  # its others
    whole_type: str

    def begin(self) -> list[bytes]:
        """What precedes all else."""

    def thought(self, text: str) -> list[bytes]: ...

    def piece(self, text: str) -> list[bytes]: ...

    def call(self, call: ToolCall) -> list[bytes]: ...

    def end(self, metrics: Metrics) -> list[bytes]: ...

    def whole(self, said: Said, metrics: Metrics) -> bytes:
        """The body of an answer that is not streamed."""

    def broken(self, error: OllamaError) -> list[bytes]:
        """What is written in the place of the rest when an answer breaks."""


class NativeVoice:
    """/api/chat and /api/generate.

    Args:
        ask: the request; its model's name is echoed.
        wall: the clock of `created_at`, in seconds since the Unix epoch.
    """

    stream_type = NDJSON
    stream_headers: Headers = ()
    whole_type = JSON

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._ask = ask
        self._wall = wall

    def begin(self) -> list[bytes]:
        return []

    def thought(self, text: str) -> list[bytes]:
        return [self._line(Said(thought=text))]

    def piece(self, text: str) -> list[bytes]:
        return [self._line(Said(text=text))]

    def call(self, call: ToolCall) -> list[bytes]:
        return [self._line(Said(call=call))]

    def end(self, metrics: Metrics) -> list[bytes]:
        return [self.whole(Said(), metrics) + b"\n"]

    def whole(self, said: Said, metrics: Metrics) -> bytes:
        return encode({**self._said(said), "done": True, "done_reason": metrics.reason, **self._measured(metrics)})

    def broken(self, error: OllamaError) -> list[bytes]:
        return [native_error(error.text) + b"\n"]

    def nothing(self, reason: str) -> bytes:
        """The answer to a request without a prompt; `reason` is "load" or "unload"."""
        return encode({**self._said(Said()), "done": True, "done_reason": reason})

    def _line(self, said: Said) -> bytes:
        return encode({**self._said(said), "done": False}) + b"\n"

    def _said(self, said: Said) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self._ask.model, "created_at": format_time(self._wall())}
        thinking = {"thinking": said.thought} if said.thought else {}
        if self._ask.surface is Surface.GENERATE:
            return {**fields, "response": said.text, **thinking}
        message: dict[str, Any] = {"role": "assistant", "content": said.text, **thinking}
        if said.call is not None:
            function = {"index": 0, "name": said.call.name, "arguments": said.call.arguments}
            message["tool_calls"] = [{"id": said.call.id, "function": function}]
        return {**fields, "message": message}

    def _measured(self, metrics: Metrics) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self._ask.surface is Surface.GENERATE and not self._ask.wishes.raw:
            # Ollama gives one number for every token of the conversation; 32 of them serve a client as well.
            fields["context"] = list(self._ask.seed)
        return fields | {
            "total_duration": nanoseconds(metrics.total_s),
            "load_duration": nanoseconds(metrics.load_s),
            "prompt_eval_count": metrics.prompt,
            "prompt_eval_duration": nanoseconds(metrics.prefill_s),
            "eval_count": metrics.completion,
            "eval_duration": nanoseconds(metrics.decode_s),
        }


def native_error(text: str) -> bytes:
    """The body of an error of the native API."""
    return encode({"error": text})


def event(data: bytes) -> bytes:
    """An event of an SSE stream; `data` has no newline."""
    return b"data: " + data + b"\n\n"


def named_event(fields: dict[str, Any]) -> bytes:
    """An event that is named by the `type` it carries."""
    return f"event: {fields['type']}\n".encode() + event(encode(fields))


def nanoseconds(seconds: float) -> int:
    """As metrics have them. Ollama leaves out what is zero, and never measures zero."""
    return max(1, round(seconds * 1e9))
