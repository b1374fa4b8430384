"""How /v1/responses writes an answer down: items that are added, grow and are done."""

from collections.abc import Callable
from typing import Any

from herd.actors.ports import Headers
from herd.simulation.ollama.asks.ask import Ask, OllamaError
from herd.simulation.ollama.golang import encode
from herd.simulation.ollama.voices.script import ToolCall, written
from herd.simulation.ollama.voices.voice import PLAIN_JSON, SSE, Metrics, Said, named_event

# What a response tells of itself whatever was asked: most of it cannot be chosen at a server that keeps no state.
_CONSTANT: dict[str, Any] = {
    "background": False,
    "conversation": None,
    "error": None,
    "frequency_penalty": 0,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": False,
    "temperature": 1,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1,
    "truncation": "disabled",
}


# Of an item that grows: the beginning of its id, that of the names of its events, and where in the item its text is.
_GROWING: dict[str, tuple[str, str, dict[str, int]]] = {
    "reasoning": ("rs", "response.reasoning_summary_text", {"summary_index": 0}),
    "message": ("msg", "response.output_text", {"content_index": 0}),
}


class ResponsesVoice:
    """/v1/responses.

    Args:
        ask: the request; its model's name is echoed.
        wall: the clock of `created_at`, in seconds since the Unix epoch.
    """

    stream_type = SSE
    stream_headers: Headers = (("Cache-Control", "no-cache"),)
    whole_type = PLAIN_JSON

    def __init__(self, ask: Ask, wall: Callable[[], float]) -> None:
        self._id = ask.seed[:12].hex()
        self._head = {"id": f"resp_{self._id}", "object": "response", "created_at": int(wall()), "model": ask.model}
        self._wall = wall
        self._sequence = 0
        self._done: list[dict[str, Any]] = []  # items: three at most
        self._open = ""  # the type of the item that grows, if one does
        self._grown: list[str] = []  # its text so far

    def begin(self) -> list[bytes]:
        response = self._response("in_progress", None)
        return [self._event(f"response.{what}", response=response) for what in ("created", "in_progress")]

    def thought(self, text: str) -> list[bytes]:
        return self._grow("reasoning", text)

    def piece(self, text: str) -> list[bytes]:
        return self._grow("message", text)

    def call(self, call: ToolCall) -> list[bytes]:
        arguments = written(call.arguments)
        begun = self._called(call) | {"arguments": "", "status": "in_progress"}
        place = {"item_id": begun["id"]}
        return [
            *self._close(),
            self._event("response.output_item.added", item=begun),
            self._event("response.function_call_arguments.delta", **place, delta=arguments),
            self._event("response.function_call_arguments.done", **place, name=call.name, arguments=arguments),
            *self._finish(self._called(call)),
        ]

    def end(self, metrics: Metrics) -> list[bytes]:
        before = self._close()
        return [*before, self._event("response.completed", response=self._response("completed", metrics))]

    def whole(self, said: Said, metrics: Metrics) -> bytes:
        if said.thought:
            self._done.append(self._grown_item("reasoning", said.thought))
        if said.text:
            self._done.append(self._grown_item("message", said.text))
        if said.call is not None:
            self._done.append(self._called(said.call))
        return encode(self._response("completed", metrics)) + b"\n"

    def broken(self, error: OllamaError) -> list[bytes]:
        del error  # it is swallowed: the stream just stops
        return []

    # --- Items ----------------------------------------------------------------------------------------------------

    def _grow(self, of: str, text: str) -> list[bytes]:
        before = [] if self._open == of else [*self._close(), *self._begin(of)]
        self._grown.append(text)
        return [*before, self._text_event("delta", delta=text)]

    def _begin(self, of: str) -> list[bytes]:
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
            events.append(
                self._event("response.content_part.done", item_id=item["id"], content_index=0, part=_part(text))
            )
        self._open = ""
        self._grown = []
        return [*events, *self._finish(item)]

    def _finish(self, item: dict[str, Any]) -> list[bytes]:
        event = self._event("response.output_item.done", item=item)
        self._done.append(item)
        return [event]

    def _text_event(self, what: str, **fields: Any) -> bytes:
        prefix, name, place = _GROWING[self._open]
        logprobs: dict[str, Any] = {"logprobs": []} if self._open == "message" else {}
        return self._event(f"{name}.{what}", item_id=f"{prefix}_{self._id}", **place, **fields, **logprobs)

    def _grown_item(self, of: str, text: str) -> dict[str, Any]:
        item = {"id": f"{_GROWING[of][0]}_{self._id}", "type": of}
        if of == "reasoning":
            return {**item, "summary": [{"type": "summary_text", "text": text}]}
        return {**item, "status": "completed", "role": "assistant", "content": [_part(text)]}

    def _called(self, call: ToolCall) -> dict[str, Any]:
        return {
            "id": f"fc_{self._id}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": written(call.arguments),
        }

    # --- The whole of it ------------------------------------------------------------------------------------------

    def _event(self, of: str, **fields: Any) -> bytes:
        """The next event; one about an item says how many items are before it."""
        place = {} if "response" in fields else {"output_index": len(self._done)}
        self._sequence += 1
        return named_event({"type": of, "sequence_number": self._sequence - 1, **place, **fields})

    def _response(self, status: str, metrics: Metrics | None) -> dict[str, Any]:
        completed = None if metrics is None else int(self._wall())
        fields = {"status": status, "completed_at": completed, "output": list(self._done)}
        return {**self._head, **_CONSTANT, **fields, "usage": None if metrics is None else _usage(metrics)}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(metrics: Metrics) -> dict[str, Any]:
    return {
        "input_tokens": metrics.prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": metrics.completion,
        "output_tokens_details": {"reasoning_tokens": metrics.thought},
        "total_tokens": metrics.prompt + metrics.completion,
    }
