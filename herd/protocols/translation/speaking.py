"""Answers in the words of Ollama's API.

Of its measures those are given that are known: `total_duration` by the agent's clock, counts as the server tells them,
times of the prompt and of the answer from llama.cpp, which measures them. Ollama leaves out what is zero, and so does
this; nothing stands for what nobody measured.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from herd.protocols.messages import Headers
from herd.protocols.translation.answers import Ending, Said, ToolCall
from herd.protocols.translation.wanted import Wanted
from herd.types import Api, Seconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253402300799.0  # the end of 9999: RFC 3339 has no later year


@dataclass(frozen=True, slots=True)
class Now:
    """The agent's clocks as a piece of an answer comes in."""

    wall: Seconds  # since the Unix epoch
    taken: Seconds  # since the request reached the agent


class OllamaVoice:
    """/api/chat and /api/generate.

    Args:
        wanted: the request. The model is called what the request calls it as it reaches the agent: the router has put
            the name there under which the server lists it.
    """

    stream_headers: Headers = (("Content-Type", "application/x-ndjson"),)
    whole_type = "application/json; charset=utf-8"

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._called = 0  # tool calls so far

    def line(self, said: Said, now: Now) -> bytes:
        """A piece of a streamed answer."""
        return _written(self._fields(said, now) | {"done": False} | self._logprobs(said)) + b"\n"

    def last_line(self, ending: Ending, now: Now) -> bytes:
        """The end of a streamed answer."""
        return self.whole(Said(), ending, now) + b"\n"

    def whole(self, said: Said, ending: Ending, now: Now) -> bytes:
        """An answer that is one document."""
        reason = "length" if ending.reason == "length" else "stop"
        ended = {"done": True, "done_reason": reason, **_measured(ending, now)}
        return _written(self._fields(said, now) | ended | self._logprobs(said))

    def nothing(self, now: Now) -> bytes:
        """The answer to a request without a prompt."""
        reason = "unload" if self._wanted.unload else "load"
        return _written(self._fields(Said(), now) | {"done": True, "done_reason": reason})

    def broke(self, text: str) -> bytes:
        """The last line of a streamed answer that broke."""
        return _written({"error": text}) + b"\n"

    def _fields(self, said: Said, now: Now) -> dict[str, Any]:
        fields: dict[str, Any] = {"model": self._wanted.model, "created_at": written_time(now.wall)}
        thinking = {"thinking": said.thought} if said.thought else {}
        if self._wanted.api is Api.OLLAMA_GENERATE:
            return {**fields, "response": said.text, **thinking}
        message: dict[str, Any] = {"role": "assistant", "content": said.text, **thinking}
        if said.calls:
            message["tool_calls"] = [self._call(call) for call in said.calls]
        return {**fields, "message": message}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        function = {"index": self._called, "name": call.name, "arguments": call.arguments}
        self._called += 1
        return {"id": call.id, "function": function} if call.id else {"function": function}

    def _logprobs(self, said: Said) -> dict[str, Any]:
        most = self._wanted.logprobs
        if most is None or not said.logprobs:
            return {}
        tokens = [dict(token) for token in said.logprobs]
        for token in tokens:
            beside = token.pop("top_logprobs", [])[:most]
            if beside:
                token["top_logprobs"] = beside
        return {"logprobs": tokens}


def embeddings(wanted: Wanted, vectors: list[list[float]], prompt: int, now: Now) -> bytes:
    """The answer of /api/embed (vectors cut to the wanted dimensions, of length 1) or /api/embeddings (as they are)."""
    if not wanted.many:
        return _written({"embedding": vectors[0] if vectors else []})
    if not vectors:
        return _written({"model": wanted.model, "embeddings": []})
    if wanted.dimensions:
        vectors = [vector[: wanted.dimensions] for vector in vectors]
    measured = {"total_duration": _nanoseconds(now.taken), "prompt_eval_count": prompt}
    shown = {key: value for key, value in measured.items() if value}
    return _written({"model": wanted.model, "embeddings": [_normalised(vector) for vector in vectors], **shown})


def written_time(wall: float) -> str:
    """RFC 3339 in UTC with microseconds, such as `2026-08-21T12:00:00.123456Z`."""
    moment = _EPOCH + timedelta(seconds=min(max(wall, 0.0), _LATEST))
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _measured(ending: Ending, now: Now) -> dict[str, int]:
    measured = {
        "total_duration": _nanoseconds(now.taken),
        "prompt_eval_count": ending.prompt,
        "prompt_eval_cached_count": ending.cached,
        "prompt_eval_duration": ending.prefill_ns,
        "eval_count": ending.completion,
        "eval_duration": ending.decode_ns,
    }
    return {key: value for key, value in measured.items() if value}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _normalised(vector: list[float]) -> list[float]:
    """The same direction at length 1."""
    length = math.hypot(*vector) or 1.0
    return [number / length for number in vector]


def _written(value: dict[str, Any]) -> bytes:
    return orjson.dumps(value)
