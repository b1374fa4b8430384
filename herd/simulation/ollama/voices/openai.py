"""How /v1/chat/completions and /v1/completions write an answer down, and what errors look like on /v1."""

from collections.abc import Callable
from typing import Any

from herd.actors.ports import Headers
from herd.simulation.ollama.asks.ask import Ask, OllamaError, Surface
from herd.simulation.ollama.golang import encode
from herd.simulation.ollama.voices.script import ToolCall, written
from herd.simulation.ollama.voices.voice import PLAIN_JSON, SSE, Metrics, Said, event
from herd.types import Tokens

# Ollama draws N of "chatcmpl-N" below this.
_COMPLETION_IDS = 999


class OpenAIVoice:
    """Chats and completions: the same events, but for the names of things.

    Args:
        ask: the request; its model's name is echoed.
        wall: the clock of `created`, in seconds since the Unix epoch.
    """

    stream_type = SSE
    stream_headers: Headers = ()
    whole_type = PLAIN_JSON

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._chat = ask.surface is Surface.OPENAI
        self._include_usage = ask.wishes.include_usage
        self._called = False
        kind = "chat.completion" if self._chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{int.from_bytes(ask.seed[:4], 'big') % _COMPLETION_IDS}",
            "object": f"{kind}.chunk" if self._chat and ask.wishes.stream else kind,
            "created": int(wall()),
            "model": ask.model,
            "system_fingerprint": "fp_ollama",
        }

    def begin(self) -> list[bytes]:
        return [self._chunk({"role": "assistant", "content": ""})] if self._chat else []

    def thought(self, text: str) -> list[bytes]:
        return [self._chunk({"reasoning": text})] if self._chat else []  # a completion has no place for thoughts

    def piece(self, text: str) -> list[bytes]:
        return [self._chunk({"content": text})]

    def call(self, call: ToolCall) -> list[bytes]:
        self._called = True
        return [self._chunk({"tool_calls": _calls(call)})]

    def end(self, metrics: Metrics) -> list[bytes]:
        events = [self._chunk({}, self._reason(metrics))]
        if self._include_usage:
            events.append(event(encode({**self._head, "choices": [], "usage": _usage(metrics)})))
        return [*events, event(b"[DONE]")]

    def whole(self, said: Said, metrics: Metrics) -> bytes:
        self._called = said.call is not None
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        if said.thought:
            message["reasoning"] = said.thought
        if said.call is not None:
            message["tool_calls"] = _calls(said.call)
        choice = self._choice("message", message, self._reason(metrics))
        return encode({**self._head, "choices": [choice], "usage": _usage(metrics)}) + b"\n"

    def broken(self, error: OllamaError) -> list[bytes]:
        del error  # an error in a /v1 stream is swallowed: an empty chunk, and the stream ends
        return self.piece("")

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        fields = {**self._head, "choices": [self._choice("delta", delta, reason)]}
        if self._include_usage and not self._chat:
            fields["usage"] = _usage(None)
        return event(encode(fields))

    def _choice(self, name: str, said: dict[str, Any], reason: str | None) -> dict[str, Any]:
        content = {name: said} if self._chat else {"text": said.get("content", "")}
        return {"index": 0, **content, "finish_reason": reason}

    def _reason(self, metrics: Metrics) -> str:
        return "tool_calls" if self._called and metrics.reason == "stop" else metrics.reason


def openai_error(status: int, text: str) -> bytes:
    """The body of an error of the /v1 API."""
    kind = {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
    return encode({"error": {"message": text, "type": kind, "param": None, "code": None}}) + b"\n"


def _calls(call: ToolCall) -> list[dict[str, Any]]:
    function = {"name": call.name, "arguments": written(call.arguments)}
    return [{"id": call.id, "index": 0, "type": "function", "function": function}]


def _usage(metrics: Metrics | None) -> dict[str, int]:
    prompt, completion = (metrics.prompt, metrics.completion) if metrics else (Tokens(0), Tokens(0))
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
