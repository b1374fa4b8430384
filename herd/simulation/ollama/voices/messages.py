"""How /v1/messages writes an answer down, in Anthropic's shapes: a message of blocks, one after the other."""

import hashlib
from collections.abc import Callable
from typing import Any

from herd.actors.ports import Headers
from herd.simulation.ollama.asks.ask import Ask, OllamaError
from herd.simulation.ollama.golang import encode
from herd.simulation.ollama.voices.script import ToolCall, written
from herd.simulation.ollama.voices.voice import PLAIN_JSON, SSE, Metrics, Said, named_event

_STOP_REASONS = {"length": "max_tokens", "stop": "end_turn", "load": "end_turn"}

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


class MessagesVoice:
    """/v1/messages.

    Args:
        ask: the request; its model's name is echoed.
        wall: not used, as no time is told here.
    """

    stream_type = SSE
    stream_headers: Headers = (("Cache-Control", "no-cache"),)
    whole_type = PLAIN_JSON

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        del wall
        self._model = ask.model
        self._id = ask.seed[:12].hex()
        self._prompt = ask.prompt
        self._index = -1  # of the last block that was started
        self._open = ""  # its type, until it is stopped
        self._called = False

    def begin(self) -> list[bytes]:
        usage = {"input_tokens": self._prompt, "output_tokens": 0}
        return [_event("message_start", message=self._message([], None, usage))]

    def thought(self, text: str) -> list[bytes]:
        return self._grow("thinking", text)

    def piece(self, text: str) -> list[bytes]:
        return self._grow("text", text)

    def call(self, call: ToolCall) -> list[bytes]:
        self._called = True
        delta = {"type": "input_json_delta", "partial_json": written(call.arguments)}
        before = self._start({**_tool_use(call), "input": {}})
        return [*before, _event("content_block_delta", index=self._index, delta=delta), *self._stop()]

    def end(self, metrics: Metrics) -> list[bytes]:
        delta = {"stop_reason": self._reason(metrics), "stop_sequence": None}
        return [
            *self._stop(),
            _event("message_delta", delta=delta, usage=_usage(metrics)),
            _event("message_stop"),
        ]

    def whole(self, said: Said, metrics: Metrics) -> bytes:
        blocks: list[dict[str, Any]] = []
        if said.thought:
            blocks.append(_block("thinking", said.thought))
        if said.text:
            blocks.append(_block("text", said.text))
        if said.call is not None:
            self._called = True
            blocks.append(_tool_use(said.call))
        return encode(self._message(blocks, self._reason(metrics), _usage(metrics))) + b"\n"

    def broken(self, error: OllamaError) -> list[bytes]:
        del error  # it is swallowed: the stream just stops
        return []

    def _grow(self, of: str, text: str) -> list[bytes]:
        before = [] if self._open == of else self._start(_block(of, ""))
        delta = {"type": f"{of}_delta", of: text}
        return [*before, _event("content_block_delta", index=self._index, delta=delta)]

    def _start(self, block: dict[str, Any]) -> list[bytes]:
        before = self._stop()
        self._index += 1
        self._open = block["type"]
        return [*before, _event("content_block_start", index=self._index, content_block=block)]

    def _stop(self) -> list[bytes]:
        was_open, self._open = self._open, ""
        return [_event("content_block_stop", index=self._index)] if was_open else []

    def _message(self, blocks: list[dict[str, Any]], reason: str | None, usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": f"msg_{self._id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage,
        }

    def _reason(self, metrics: Metrics) -> str:
        return "tool_use" if self._called else _STOP_REASONS[metrics.reason]


def anthropic_error(status: int, text: str) -> bytes:
    """The body of an error of /v1/messages. Its request id follows from the text, so that runs can be repeated."""
    kind = _ERROR_TYPES.get(status, "api_error")
    request_id = f"req_{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:24]}"
    error = {"type": kind, "message": text}
    return encode({"type": "error", "error": error, "request_id": request_id}) + b"\n"


def _block(of: str, text: str) -> dict[str, Any]:
    return {"type": of, of: text, **({"signature": ""} if of == "thinking" else {})}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}


def _usage(metrics: Metrics) -> dict[str, int]:
    return {"input_tokens": metrics.prompt, "output_tokens": metrics.completion}


def _event(of: str, **fields: Any) -> bytes:
    return named_event({"type": of, **fields})
