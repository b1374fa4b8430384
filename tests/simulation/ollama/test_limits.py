"""Refusals of what a model or an endpoint does not do, row by row; and what is let pass."""

from typing import Any

import pytest

from herd.simulation.ollama.server import FakeOllama
from tests.simulation.ollama.asking import GEMMA, HI, LLAMA, NOBODY, NOMIC, QWEN, REST, ask, error, small_server


@pytest.fixture
def fake() -> FakeOllama:
    return small_server()


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
FULL = "registry.ollama.ai/library/gemma3:4b"
THINK = '(must be "high", "medium", "low", "max", true, or false)'
BAD_FORMAT = "invalid message format"
BASE64 = "please use base64 encoded data instead"


def picture(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


OTHERS: list[tuple[str, dict[str, Any], int, str]] = [
    ("/api/chat", {"model": "x:local:cloud"}, 400, 'use either :local or :cloud, not both: "x:local:cloud"'),
    ("/api/generate", {"model": "x:cloud:local"}, 400, 'use either :local or :cloud, not both: "x:cloud:local"'),
    ("/api/chat", {"model": "big:120b-cloud"}, 403, "ollama cloud is disabled: remote model is unavailable"),
    ("/api/embed", {"model": "big:cloud"}, 403, "ollama cloud is disabled: remote model is unavailable"),
    ("/api/show", {"model": "big:cloud"}, 403, "ollama cloud is disabled: remote model details are unavailable"),
    ("/api/chat", {"model": LLAMA, "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
    ("/api/generate", {"model": LLAMA, "top_logprobs": -1}, 400, "top_logprobs must be between 0 and 20"),
    ("/v1/chat/completions", {"model": LLAMA, "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
    ("/api/chat", {"model": LLAMA, "think": True}, 400, '"llama3.2:3b" does not support thinking'),
    ("/api/generate", {"model": LLAMA, "think": "high"}, 400, '"llama3.2:3b" does not support thinking'),
    (
        "/v1/chat/completions",
        {"model": LLAMA, "reasoning_effort": "low"},
        400,
        '"llama3.2:3b" does not support thinking',
    ),
    ("/api/chat", {"model": LLAMA, "think": "hard"}, 400, f'invalid think value: "hard" {THINK}'),
    ("/api/chat", {"model": NOMIC}, 400, '"nomic-embed-text" does not support chat'),
    ("/api/generate", {"model": NOMIC}, 400, '"nomic-embed-text" does not support generate'),
    ("/v1/completions", {"model": NOMIC}, 400, '"nomic-embed-text" does not support generate'),
    ("/v1/messages", {"model": NOMIC}, 400, '"nomic-embed-text" does not support chat'),
    ("/api/chat", {"model": GEMMA, "tools": [TOOL]}, 400, f"{FULL} does not support tools"),
    ("/v1/responses", {"model": GEMMA, "tools": [{"type": "function"}]}, 400, f"{FULL} does not support tools"),
    ("/v1/messages", {"model": GEMMA, "tools": [{"name": "look"}]}, 400, f"{FULL} does not support tools"),
    ("/api/generate", {"model": GEMMA, "suffix": "bye"}, 400, f"{FULL} does not support insert"),
    ("/v1/completions", {"model": GEMMA, "suffix": "bye"}, 400, f"{FULL} does not support insert"),
    (
        "/api/generate",
        {"model": LLAMA, "raw": True, "system": "be brief"},
        400,
        "raw mode does not support template, system, or context",
    ),
    (
        "/api/generate",
        {"model": LLAMA, "raw": True, "context": [1]},
        400,
        "raw mode does not support template, system, or context",
    ),
    ("/api/chat", {"model": LLAMA, "options": {"num_ctx": "big"}}, 500, 'option "num_ctx" must be of type integer'),
    ("/api/chat", {"model": LLAMA, "options": {"top_k": True}}, 500, 'option "top_k" must be of type integer'),
    ("/api/chat", {"model": LLAMA, "options": {"top_p": "1"}}, 500, 'option "top_p" must be of type float32'),
    ("/api/chat", {"model": LLAMA, "options": {"use_mmap": 1}}, 500, 'option "use_mmap" must be of type boolean'),
    ("/api/chat", {"model": LLAMA, "options": {"stop": "."}}, 500, 'option "stop" must be of type array'),
    ("/api/embed", {"model": NOMIC, "options": {"num_ctx": "x"}}, 500, 'option "num_ctx" must be of type integer'),
    ("/api/chat", {"model": NOBODY, "options": {"num_ctx": "x"}}, 404, "model 'Nobody:7b' not found"),
    ("/api/chat", {"model": LLAMA, "keep_alive": "-1"}, 400, 'time: missing unit in duration "-1"'),
    ("/api/embed", {"model": NOMIC, "keep_alive": "1d"}, 400, 'time: unknown unit "d" in duration "1d"'),
    ("/api/embed", {"model": NOMIC, "input": 5}, 400, "invalid input type"),
    ("/api/embed", {"model": NOMIC, "input": ["a", 5]}, 400, "invalid input type"),
    (
        "/api/embed",
        {"model": NOMIC, "input": "word " * 2_000, "truncate": False},
        400,
        "the input length exceeds the context length",
    ),
    (
        "/api/generate",
        {"model": LLAMA, "images": ["aGk="]},
        400,
        "this model is missing data required for image input",
    ),
    ("/api/generate", {"model": GEMMA, "images": ["a?k="]}, 400, "illegal base64 data at input byte 1"),
    ("/v1/chat/completions", {"model": LLAMA, "messages": []}, 400, "[] is too short - 'messages'"),
    ("/v1/chat/completions", {"model": LLAMA, "messages": [{"content": 5}]}, 400, BAD_FORMAT),
    ("/v1/chat/completions", {"model": LLAMA, "messages": [{"content": [{"type": []}]}]}, 400, BAD_FORMAT),
    (
        "/v1/chat/completions",
        {"model": GEMMA, "messages": picture("https://example.org/a.png")},
        400,
        f"image URLs are not currently supported, {BASE64}",
    ),
    (
        "/v1/chat/completions",
        {"model": GEMMA, "messages": picture("data:image/gif;base64,aa")},
        400,
        "invalid image input",
    ),
    ("/v1/embeddings", {"model": NOMIC, "input": None}, 400, "invalid input"),
    ("/v1/embeddings", {"model": NOMIC, "input": []}, 400, "invalid input"),
    ("/v1/embeddings", {"model": NOMIC, "input": [[1, 2]]}, 400, "invalid input type"),
    ("/v1/embeddings", {"model": NOMIC, "input": [1, 2]}, 400, "invalid input type"),
    (
        "/v1/embeddings",
        {"model": NOMIC, "encoding_format": "hex"},
        400,
        "Invalid value for 'encoding_format' = hex. Supported values: ['float', 'base64'].",
    ),
    (
        "/v1/responses",
        {"model": LLAMA, "input": [{"type": "video"}]},
        400,
        'input[0]: unknown input item type: "video"',
    ),
    ("/v1/messages", {"model": LLAMA, "max_tokens": 0}, 400, "max_tokens is required and must be positive"),
    ("/v1/messages", {"model": LLAMA, "max_tokens": None}, 400, "max_tokens is required and must be positive"),
    ("/v1/messages", {"model": LLAMA, "messages": []}, 400, "messages is required"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), OTHERS)
async def test_what_a_model_or_an_endpoint_does_not_do(
    fake: FakeOllama, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    assert error(await ask(fake, path, {**REST.get(path, {}), **body})) == (status, words)


async def test_an_effort_that_nobody_knows_is_refused(fake: FakeOllama) -> None:
    for path, body in (
        ("/v1/chat/completions", {"messages": HI, "reasoning": {"effort": "huge"}}),
        ("/v1/responses", {"input": "hi", "reasoning": {"effort": "huge"}}),
    ):
        status, words = error(await ask(fake, path, {"model": QWEN, **body}))
        assert status == 400
        assert words.startswith("invalid reasoning value: 'huge'")


async def test_options_that_nobody_knows_are_ignored(fake: FakeOllama) -> None:
    body = {"model": LLAMA, "messages": HI, "options": {"num_moons": "two"}, "colour": 5}
    assert (await ask(fake, "/api/chat", body)).status == 200


async def test_thoughts_are_silently_left_out_of_a_message_by_a_model_that_does_not_think(fake: FakeOllama) -> None:
    body = {"model": LLAMA, **REST["/v1/messages"], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    answer = await ask(fake, "/v1/messages", body)
    assert [block["type"] for block in answer.json["content"]] == ["text"]
