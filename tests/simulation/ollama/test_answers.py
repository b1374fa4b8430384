"""The shapes of answers: lines, events and whole bodies, and what the official clients make of them."""

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.asks.ask import OllamaError, Surface
from herd.simulation.ollama.asks.reading import read_ask
from herd.simulation.ollama.server import FakeOllama

HI = [{"role": "user", "content": "hi"}]
MODEL, THINKER, EMBEDDER = "llama3.2:3b", "qwen3:8b", "nomic-embed-text"
PARAMETERS = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 3},
        "unit": {"type": "string", "enum": ["C", "F"]},
    },
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "of a place", "parameters": PARAMETERS}}]
NOON = "2026-06-01T12:00:00Z"


@pytest.fixture
def fake() -> FakeOllama:
    made = FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())
    made.wall = lambda: 1_780_315_200.0
    return made


def lines(answer: RecordingSink) -> list[Any]:
    """The objects of an NDJSON answer, which must have come one line a write."""
    assert all(piece.endswith(b"\n") and piece.count(b"\n") == 1 for piece in answer.pieces)
    return [json.loads(piece) for piece in answer.pieces]


def events(answer: RecordingSink) -> list[Any]:
    """The objects of an SSE answer, which must have come one event a write and end with [DONE]."""
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in answer.pieces)
    assert answer.pieces[-1] == b"data: [DONE]\n\n"
    return [json.loads(piece[6:]) for piece in answer.pieces[:-1]]


async def test_a_streamed_chat_is_a_line_for_each_token_and_a_last_one_with_metrics(fake: FakeOllama) -> None:
    body = {"model": MODEL, "messages": HI, "options": {"num_predict": 5}}
    answer = await call(fake.handle, "POST", "/api/chat", body)
    assert (answer.status, answer.header("Content-Type")) == (200, "application/x-ndjson")
    assert answer.header("Content-Length") is None
    *tokens, last = lines(answer)
    assert [token["message"]["content"] for token in tokens] == ["Simulat", "ed", " answer", " from", " mini"]
    assert tokens[0] == {
        "model": MODEL,
        "created_at": NOON,
        "message": {"role": "assistant", "content": "Simulat"},
        "done": False,
    }
    assert (last["done"], last["done_reason"], last["message"]) == (
        True,
        "length",
        {"role": "assistant", "content": ""},
    )
    assert (last["prompt_eval_count"], last["eval_count"]) == (5, 5)
    assert all(last[f"{name}_duration"] > 0 for name in ("total", "load", "prompt_eval", "eval"))


async def test_a_generated_answer_has_a_response_and_a_context(fake: FakeOllama) -> None:
    body = {"model": MODEL, "prompt": "hi", "options": {"num_predict": 3}}
    *tokens, last = lines(await call(fake.handle, "POST", "/api/generate", body))
    assert [token["response"] for token in tokens] == ["Simulat", "ed", " answer"]
    assert (last["response"], last["done"]) == ("", True)
    assert all(isinstance(number, int) for number in last["context"])
    *_, raw = lines(await call(fake.handle, "POST", "/api/generate", {**body, "raw": True}))
    assert "context" not in raw


@pytest.mark.parametrize(("path", "field"), [("/api/chat", "message"), ("/api/generate", "response")])
async def test_an_answer_that_is_not_streamed_is_one_object_with_the_same_text(
    fake: FakeOllama, path: str, field: str
) -> None:
    body = {"model": MODEL, "messages": HI, "prompt": "hi"}
    streamed = lines(await call(fake.handle, "POST", path, body))
    whole = await call(fake.handle, "POST", path, {**body, "stream": False})
    assert whole.header("Content-Type") == "application/json; charset=utf-8"
    assert whole.header("Content-Length") == str(len(whole.body))
    if field == "message":
        assert whole.json["message"]["content"] == "".join(line["message"]["content"] for line in streamed)
    else:
        assert whole.json["response"] == "".join(line["response"] for line in streamed)
    assert (whole.json["done"], whole.json["done_reason"]) == (True, "stop")


async def test_a_streamed_completion_is_role_content_finish_usage_done(fake: FakeOllama) -> None:
    body = {
        "model": MODEL,
        "messages": HI,
        "stream": True,
        "max_tokens": 3,
        "stream_options": {"include_usage": True},
    }
    answer = await call(fake.handle, "POST", "/v1/chat/completions", body)
    assert (answer.status, answer.header("Content-Type")) == (200, "text/event-stream")
    *chunks, usage = events(answer)
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "Simulat"},
        {"content": "ed"},
        {"content": " answer"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, None, "length"]
    assert all("usage" not in chunk for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    for chunk in (*chunks, usage):
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["created"]) == (chunks[0]["id"], 1_780_315_200)
        assert (chunk["model"], chunk["system_fingerprint"]) == (MODEL, "fp_ollama")


async def test_usage_is_sent_only_when_asked_for(fake: FakeOllama) -> None:
    body = {"model": MODEL, "messages": HI, "stream": True}
    chunks = events(await call(fake.handle, "POST", "/v1/chat/completions", body))
    assert all("usage" not in chunk for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_a_whole_completion(fake: FakeOllama) -> None:
    body = {"model": MODEL, "messages": HI, "max_tokens": 2}
    answer = await call(fake.handle, "POST", "/v1/chat/completions", body)
    assert answer.header("Content-Type") == "application/json"
    assert answer.body.endswith(b"}\n")
    assert answer.json["object"] == "chat.completion"
    assert answer.json["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Simulated"}, "finish_reason": "length"}
    ]


async def test_content_in_parts_counts_like_plain_content(fake: FakeOllama) -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]
    plain = await call(fake.handle, "POST", "/v1/chat/completions", {"model": MODEL, "messages": HI})
    parted = await call(fake.handle, "POST", "/v1/chat/completions", {"model": MODEL, "messages": parts})
    assert parted.body == plain.body


async def test_an_image_is_taken_by_a_model_that_sees(fake: FakeOllama) -> None:
    message = {"role": "user", "content": "what is this?", "images": ["aGk="]}
    answer = await call(fake.handle, "POST", "/api/chat", {"model": "gemma3:4b", "messages": [message]})
    assert lines(answer)[-1]["done"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_request_gets_the_same_text_and_another_one_gets_another(fake: FakeOllama, stream: bool) -> None:
    def said(answer: RecordingSink) -> str:
        return "".join(json.loads(piece)["response"] for piece in answer.pieces)

    asked = [{"model": MODEL, "prompt": prompt, "stream": stream} for prompt in ("hi", "hi", "ho")]
    texts = [said(await call(fake.handle, "POST", "/api/generate", body)) for body in asked]
    assert [first == second for first, second in pairwise(texts)] == [True, False]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_a_request_without_a_prompt_loads_the_model_or_unloads_it(fake: FakeOllama, path: str) -> None:
    loaded = await call(fake.handle, "POST", path, {"model": MODEL})
    assert (loaded.header("Content-Type"), len(loaded.pieces)) == ("application/json; charset=utf-8", 1)
    assert (loaded.json["done"], loaded.json["done_reason"]) == (True, "load")
    assert list(fake.resident) == [MODEL]
    unloaded = await call(fake.handle, "POST", path, {"model": MODEL, "keep_alive": 0})
    assert unloaded.json["done_reason"] == "unload"
    assert list(fake.resident) == []


async def test_unloading_what_is_not_loaded_is_no_error(fake: FakeOllama) -> None:
    answer = await call(fake.handle, "POST", "/api/chat", {"model": MODEL, "keep_alive": "0"})
    assert (answer.status, answer.json["done_reason"]) == (200, "unload")


@settings(max_examples=150)
@example(Surface.CHAT, {"model": "a", "keep_alive": -(10**400)})
@example(Surface.OPENAI, {"model": "a", "messages": HI, "max_tokens": 10**400})
@given(
    st.sampled_from(list(Surface)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        *("model", "messages", "prompt", "options", "num_ctx", "keep_alive", "role", "content", "url"),
                        *("tools", "function", "name", "parameters", "properties", "type", "format", "think", "images"),
                        *("input", "text", "reasoning", "effort", "thinking", "system", "max_tokens", "tool_calls"),
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_any_json_is_understood_or_refused(surface: Surface, value: Any) -> None:
    with suppress(OllamaError):
        read_ask(surface, json.dumps(value).encode())


async def test_the_openai_clients_types_accept_chunks_and_completions(fake: FakeOllama) -> None:
    openai_chat = pytest.importorskip("openai.types.chat")
    body = {"model": MODEL, "messages": HI, "stream_options": {"include_usage": True}}
    streamed = await call(fake.handle, "POST", "/v1/chat/completions", {**body, "stream": True})
    for event in events(streamed):
        openai_chat.ChatCompletionChunk.model_validate(event)
    whole = await call(fake.handle, "POST", "/v1/chat/completions", body)
    openai_chat.ChatCompletion.model_validate(whole.json)


async def test_the_ollama_clients_types_accept_every_answer(fake: FakeOllama) -> None:
    ollama = pytest.importorskip("ollama")
    for model in (MODEL, THINKER):
        for number in range(4):
            messages = [{"role": "user", "content": f"weather {number}"}]
            body = {"model": model, "messages": messages, "tools": TOOLS}
            for line in lines(await call(fake.handle, "POST", "/api/chat", body)):
                ollama.ChatResponse.model_validate(line)
    for line in lines(await call(fake.handle, "POST", "/api/generate", {"model": MODEL, "prompt": "hi"})):
        ollama.GenerateResponse.model_validate(line)
    vectors = await call(fake.handle, "POST", "/api/embed", {"model": EMBEDDER, "input": ["hi", "ho"]})
    ollama.EmbedResponse.model_validate(vectors.json)
    vector = await call(fake.handle, "POST", "/api/embeddings", {"model": EMBEDDER, "prompt": "hi"})
    ollama.EmbeddingsResponse.model_validate(vector.json)
    for line in lines(await call(fake.handle, "POST", "/api/pull", {"model": MODEL})):
        ollama.ProgressResponse.model_validate(line)
    ollama.ListResponse.model_validate((await call(fake.handle, "GET", "/api/tags")).json)
    ollama.ProcessResponse.model_validate((await call(fake.handle, "GET", "/api/ps")).json)
    ollama.ShowResponse.model_validate((await call(fake.handle, "POST", "/api/show", {"model": MODEL})).json)
