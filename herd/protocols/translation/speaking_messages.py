"""Answers in the words of Anthropic's messages API: a message of blocks, one after the other."""

from typing import Any

import orjson

from herd.errors import RequestError
from herd.protocols.answers import StreamFormat, error_event
from herd.protocols.messages import Headers
from herd.protocols.translation.answers import Ending, Said, ToolCall
from herd.protocols.translation.speaking import Now
from herd.protocols.translation.wanted import Wanted

_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class MessagesVoice:
    """/v1/messages.

    Args:
        wanted: the request; its model is echoed.
        request_id: what the message's id is made of.
    """

    stream_headers: Headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
    whole_type = "application/json"

    def __init__(self, wanted: Wanted, request_id: str) -> None:
        self._model = wanted.model
        self._id = f"msg_{request_id}"
        self._begun = False
        self._index = -1  # of the last block that was started
        self._open = ""  # its type, until it is stopped
        self._called = False

    def line(self, said: Said, _now: Now) -> bytes:
        """The events of a piece of a streamed answer."""
        events = self._begin()
        if said.thought:
            events += self._grow("thinking", said.thought)
        if said.text:
            events += self._grow("text", said.text)
        for call in said.calls:
            events += self._call(call)
        return b"".join(events)

    def last_line(self, ending: Ending, _now: Now) -> bytes:
        """The events of the end of a streamed answer."""
        delta = self._reason(ending)
        events = [*self._begin(), *self._stop(), _event("message_delta", delta=delta, usage=_usage(ending))]
        return b"".join((*events, _event("message_stop")))

    def whole(self, said: Said, ending: Ending, _now: Now) -> bytes:
        """An answer that is one document."""
        blocks: list[dict[str, Any]] = []
        if said.thought:
            blocks.append(_block("thinking", said.thought))
        if said.text:
            blocks.append(_block("text", said.text))
        for call in said.calls:
            self._called = True
            blocks.append({**_tool_use(call), "input": call.arguments})
        return orjson.dumps(self._message(blocks, _usage(ending)) | self._reason(ending))

    def broke(self, text: str) -> bytes:
        """The last event of a streamed answer that broke."""
        return error_event(StreamFormat.ANTHROPIC_SSE, RequestError(text, status=500))

    def _begin(self) -> list[bytes]:
        if self._begun:
            return []
        self._begun = True
        # How long the prompt was is known at the end only, and stands there again.
        return [_event("message_start", message=self._message([], {"input_tokens": 0, "output_tokens": 0}))]

    def _grow(self, of: str, text: str) -> list[bytes]:
        before = [] if self._open == of else self._start(_block(of, ""))
        delta = {"type": f"{of}_delta", of: text}
        return [*before, _event("content_block_delta", index=self._index, delta=delta)]

    def _call(self, call: ToolCall) -> list[bytes]:
        self._called = True
        delta = {"type": "input_json_delta", "partial_json": orjson.dumps(call.arguments).decode()}
        before = self._start({**_tool_use(call), "input": {}})
        return [*before, _event("content_block_delta", index=self._index, delta=delta), *self._stop()]

    def _start(self, block: dict[str, Any]) -> list[bytes]:
        before = self._stop()
        self._index += 1
        self._open = block["type"]
        return [*before, _event("content_block_start", index=self._index, content_block=block)]

    def _stop(self) -> list[bytes]:
        was_open, self._open = self._open, ""
        return [_event("content_block_stop", index=self._index)] if was_open else []

    def _reason(self, ending: Ending) -> dict[str, Any]:
        if ending.stopped_by:
            return {"stop_reason": "stop_sequence", "stop_sequence": ending.stopped_by}
        reason = _REASONS.get(ending.reason, "tool_use" if self._called else "end_turn")
        return {"stop_reason": reason, "stop_sequence": None}

    def _message(self, blocks: list[dict[str, Any]], usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": blocks,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }


def _block(of: str, text: str) -> dict[str, Any]:
    return {"type": of, of: text, **({"signature": ""} if of == "thinking" else {})}


def _tool_use(call: ToolCall) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _usage(ending: Ending) -> dict[str, int]:
    """Anthropic counts what was cached apart from the rest of the prompt."""
    usage = {"input_tokens": max(0, ending.prompt - ending.cached), "output_tokens": ending.completion}
    return usage | {"cache_read_input_tokens": ending.cached} if ending.cached else usage


def _event(of: str, **fields: Any) -> bytes:
    return b"event: " + of.encode() + b"\ndata: " + orjson.dumps({"type": of, **fields}) + b"\n\n"
