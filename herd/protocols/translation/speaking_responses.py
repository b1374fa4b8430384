"""Answers in the words of OpenAI's responses API: items that are added, grow and are done."""

from typing import Any

import orjson

from herd.protocols.messages import Headers
from herd.protocols.translation.answers import Ending, Said, ToolCall
from herd.protocols.translation.speaking import Now
from herd.protocols.translation.wanted import Wanted

# What a response tells of itself where the request does not say: what there is no choice of without state.
_DEFAULTS: dict[str, Any] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "service_tier": "default",
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}

# Of an item that grows: the beginning of its id, that of the names of its events, and where in the item its text is.
_GROWING: dict[str, tuple[str, str, dict[str, int]]] = {
    "reasoning": ("rs", "response.reasoning_summary_text", {"summary_index": 0}),
    "message": ("msg", "response.output_text", {"content_index": 0}),
}


class ResponsesVoice:
    """/v1/responses.

    Args:
        wanted: the request; its model, and what it chose, is repeated.
        request_id: what ids are made of.
    """

    stream_headers: Headers = (("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache"))
    whole_type = "application/json"

    def __init__(self, wanted: Wanted, request_id: str) -> None:
        self._wanted = wanted
        self._id = request_id
        self._created: int | None = None
        self._sequence = 0
        self._done: list[dict[str, Any]] = []
        self._open = ""  # the type of the item that grows, if one does
        self._grown: list[str] = []  # its text so far: the last event repeats all of it

    def line(self, said: Said, now: Now) -> bytes:
        """The events of a piece of a streamed answer."""
        events = self._begin(now)
        if said.thought:
            events += self._grow("reasoning", said.thought)
        if said.text:
            events += self._grow("message", said.text)
        for call in said.calls:
            events += self._call(call)
        return b"".join(events)

    def last_line(self, ending: Ending, now: Now) -> bytes:
        """The events of the end of a streamed answer."""
        events = [*self._begin(now), *self._close()]
        response = self._response(ending, now)
        return b"".join((*events, self._event(f"response.{response['status']}", response=response)))

    def whole(self, said: Said, ending: Ending, now: Now) -> bytes:
        """An answer that is one document."""
        self._created = int(now.wall)
        if said.thought:
            self._done.append(self._grown_item("reasoning", said.thought))
        if said.text:
            self._done.append(self._grown_item("message", said.text))
        for call in said.calls:
            self._done.append(self._called(call))
        return orjson.dumps(self._response(ending, now))

    def broke(self, text: str) -> bytes:
        """The last event of a streamed answer that broke."""
        response = self._response(None, None) | {"status": "failed", "error": {"code": "server_error", "message": text}}
        return self._event("response.failed", response=response)

    # --- Items ----------------------------------------------------------------------------------------------------

    def _begin(self, now: Now) -> list[bytes]:
        if self._created is not None:
            return []
        self._created = int(now.wall)
        response = self._response(None, now)
        return [self._event(f"response.{what}", response=response) for what in ("created", "in_progress")]

    def _grow(self, of: str, text: str) -> list[bytes]:
        before = [] if self._open == of else [*self._close(), *self._add(of)]
        self._grown.append(text)
        return [*before, self._text_event("delta", delta=text)]

    def _add(self, of: str) -> list[bytes]:
        self._open = of
        item = self._grown_item(of, "")
        if of == "reasoning":
            return [self._event("response.output_item.added", item={**item, "summary": []})]
        return [
            self._event("response.output_item.added", item={**item, "status": "in_progress", "content": []}),
            self._event("response.content_part.added", item_id=item["id"], content_index=0, part=_part("")),
        ]

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        text = "".join(self._grown)
        item = self._grown_item(self._open, text)
        events = [self._text_event("done", text=text)]
        if self._open == "message":
            part = _part(text)
            events.append(self._event("response.content_part.done", item_id=item["id"], content_index=0, part=part))
        self._open = ""
        self._grown = []
        return [*events, *self._finish(item)]

    def _call(self, call: ToolCall) -> list[bytes]:
        before = self._close()
        item = self._called(call)
        place = {"item_id": item["id"]}
        arguments = item["arguments"]
        return [
            *before,
            self._event("response.output_item.added", item={**item, "arguments": "", "status": "in_progress"}),
            self._event("response.function_call_arguments.delta", **place, delta=arguments),
            self._event("response.function_call_arguments.done", **place, name=call.name, arguments=arguments),
            *self._finish(item),
        ]

    def _finish(self, item: dict[str, Any]) -> list[bytes]:
        event = self._event("response.output_item.done", item=item)
        self._done.append(item)
        return [event]

    def _text_event(self, what: str, **fields: Any) -> bytes:
        prefix, name, place = _GROWING[self._open]
        logprobs: dict[str, Any] = {"logprobs": []} if self._open == "message" else {}
        return self._event(f"{name}.{what}", item_id=self._item_id(prefix), **place, **fields, **logprobs)

    def _grown_item(self, of: str, text: str) -> dict[str, Any]:
        item = {"id": self._item_id(_GROWING[of][0]), "type": of}
        if of == "reasoning":
            return {**item, "summary": [{"type": "summary_text", "text": text}]}
        return {**item, "status": "completed", "role": "assistant", "content": [_part(text)]}

    def _called(self, call: ToolCall) -> dict[str, Any]:
        return {
            "id": self._item_id("fc"),
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": orjson.dumps(call.arguments).decode(),
        }

    def _item_id(self, prefix: str) -> str:
        return f"{prefix}_{self._id}_{len(self._done)}"

    # --- The whole of it ------------------------------------------------------------------------------------------

    def _event(self, of: str, **fields: Any) -> bytes:
        """The next event; one about an item says how many items are before it."""
        place = {} if "response" in fields else {"output_index": len(self._done)}
        value = {"type": of, "sequence_number": self._sequence, **place, **fields}
        self._sequence += 1
        return b"event: " + of.encode() + b"\ndata: " + orjson.dumps(value) + b"\n\n"

    def _response(self, ending: Ending | None, now: Now | None) -> dict[str, Any]:
        response = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created or 0,
            "model": self._wanted.model,
            **_DEFAULTS,
            **self._wanted.echoed,
            "status": "in_progress",
            "output": list(self._done),
            "usage": None,
        }
        if ending is None:
            return response
        if (reason := _INCOMPLETE.get(ending.reason)) is not None:
            return response | {
                "status": "incomplete",
                "incomplete_details": {"reason": reason},
                "usage": _usage(ending),
            }
        completed = int(now.wall) if now is not None else None
        return response | {"status": "completed", "completed_at": completed, "usage": _usage(ending)}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(ending: Ending) -> dict[str, Any]:
    return {
        "input_tokens": ending.prompt,
        "input_tokens_details": {"cached_tokens": ending.cached, "cache_write_tokens": 0},
        "output_tokens": ending.completion,
        "output_tokens_details": {"reasoning_tokens": 0},  # servers do not say, and clients' types want a number
        "total_tokens": ending.prompt + ending.completion,
    }
