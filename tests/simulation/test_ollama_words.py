"""What the fake says besides answers: pages, lists and errors, in the words and shapes of the real one."""

import re
from typing import Any

import pytest

from herd.simulation.catalog import CATALOG
from herd.simulation.ollama import FakeOllama
from herd.simulation.profiles import PROFILES
from herd.simulation.wire import call

JSON = "application/json; charset=utf-8"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def fake() -> FakeOllama:
    return FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/", "text/plain; charset=utf-8", b"Ollama is running"),
        ("/api/version", JSON, b'{"version":"0.33.0"}'),
        ("/api/ps", JSON, b'{"models":[]}'),
    ],
)
async def test_pages(fake: FakeOllama, path: str, content_type: str, body: bytes) -> None:
    page = await call(fake.handle, "GET", path)
    assert (page.status, page.header("Content-Type"), page.body) == (200, content_type, body)
    assert page.finished


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
async def test_head_has_the_length_of_the_page_and_no_body(fake: FakeOllama, path: str) -> None:
    page, head = await call(fake.handle, "GET", path), await call(fake.handle, "HEAD", path)
    assert head.headers == page.headers
    assert head.header("Content-Length") == str(len(page.body))
    assert head.body == b""


async def test_tags_lists_every_model_newest_first(fake: FakeOllama) -> None:
    models = (await call(fake.handle, "GET", "/api/tags")).json["models"]
    assert [model["name"] for model in models] == list(CATALOG)
    assert [model["modified_at"] for model in models] == sorted((m["modified_at"] for m in models), reverse=True)
    assert models[0] == {
        "name": "llama3.2:3b",
        "model": "llama3.2:3b",
        "modified_at": "2026-06-01T00:00:00Z",
        "size": 2_019_393_189,
        "digest": CATALOG["llama3.2:3b"].digest,
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": "llama",
            "families": ["llama"],
            "parameter_size": "3.2B",
            "quantization_level": "Q4_K_M",
        },
        "capabilities": ["completion", "tools"],
    }
    assert all(re.fullmatch(r"[0-9a-f]{64}", model["digest"]) for model in models)


async def test_show_tells_what_clients_look_for(fake: FakeOllama) -> None:
    shown = (await call(fake.handle, "POST", "/api/show", {"name": "llama3.2:3b"})).json
    assert shown["model_info"]["llama.context_length"] == 131_072
    assert shown["model_info"]["general.architecture"] == "llama"
    assert shown["capabilities"] == ["completion", "tools"]
    assert "tools" in shown["template"].lower()


async def test_openai_models(fake: FakeOllama) -> None:
    listed = await call(fake.handle, "GET", "/v1/models")
    assert listed.header("Content-Type") == "application/json"
    assert listed.body.endswith(b"\n")
    assert listed.json["object"] == "list"
    first = listed.json["data"][0]
    assert first == {"id": "llama3.2:3b", "object": "model", "created": 1_780_272_000, "owned_by": "library"}


async def test_openai_models_of_an_empty_server_are_null() -> None:
    listed = await call(FakeOllama(PROFILES["mini-pc"], ()).handle, "GET", "/v1/models")
    assert listed.json == {"object": "list", "data": None}


async def test_an_unknown_path_is_a_404_in_plain_text(fake: FakeOllama) -> None:
    page = await call(fake.handle, "GET", "/api/nothing")
    assert (page.status, page.header("Content-Type"), page.body) == (404, "text/plain", b"404 page not found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("POST", "/api/tags", "GET, HEAD"), ("HEAD", "/api/ps", "GET"), ("GET", "/api/chat", "POST")],
)
async def test_a_wrong_method_is_a_405_in_plain_text(fake: FakeOllama, method: str, path: str, allow: str) -> None:
    page = await call(fake.handle, method, path)
    assert (page.status, page.body, page.header("Allow")) == (405, b"405 method not allowed", allow)


NATIVE_ERRORS: list[tuple[str, Any, int, str]] = [
    ("/api/chat", b"", 400, "missing request body"),
    ("/api/generate", b" ", 400, "missing request body"),
    ("/api/show", b"", 400, "missing request body"),
    ("/api/chat", b"x", 400, "invalid character 'x' looking for beginning of value"),
    ("/api/chat", b'{"model":', 400, "unexpected EOF"),
    (
        "/api/chat",
        {"model": 1},
        400,
        "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
    ),
    (
        "/api/generate",
        {"model": "llama3.2:3b", "prompt": []},
        400,
        "json: cannot unmarshal array into Go struct field GenerateRequest.prompt of type string",
    ),
    ("/api/chat", {}, 400, "model is required"),
    ("/api/generate", {}, 404, "model '' not found"),
    ("/api/show", {}, 400, "model is required"),
    ("/api/chat", {"model": "no way!"}, 400, "invalid model name"),
    ("/api/generate", {"model": "a:b:c"}, 400, "invalid model name"),
    ("/api/chat", {"model": "Nobody:7b"}, 404, "model 'Nobody:7b' not found"),
    ("/api/generate", {"model": "nobody"}, 404, "model 'nobody' not found"),
    ("/api/show", {"model": "nobody"}, 404, "model 'nobody:latest' not found"),
    (
        "/api/chat",
        {"model": "nomic-embed-text", "messages": HI},
        400,
        '"nomic-embed-text" does not support chat',
    ),
    (
        "/api/generate",
        {"model": "nomic-embed-text", "prompt": "hi"},
        400,
        '"nomic-embed-text" does not support generate',
    ),
    (
        "/api/chat",
        {"model": "gemma3:4b", "messages": HI, "tools": [{}]},
        400,
        "registry.ollama.ai/library/gemma3:4b does not support tools",
    ),
    (
        "/api/chat",
        {"model": "llama3.2:3b", "messages": HI, "think": True},
        400,
        '"llama3.2:3b" does not support thinking',
    ),
    (
        "/api/generate",
        {"model": "llama3.2:3b", "prompt": "what is this?", "images": ["aGk="]},
        400,
        "this model is missing data required for image input",
    ),
    (
        "/api/chat",
        {"model": "llama3.2:3b", "messages": HI, "options": {"num_ctx": "big"}},
        500,
        'option "num_ctx" must be of type integer',
    ),
    ("/api/chat", {"model": "llama3.2:3b", "keep_alive": "1"}, 400, 'time: missing unit in duration "1"'),
]


@pytest.mark.parametrize(("path", "body", "status", "text"), NATIVE_ERRORS)
async def test_native_errors(fake: FakeOllama, path: str, body: Any, status: int, text: str) -> None:
    answer = await call(fake.handle, "POST", path, body)
    assert (answer.status, answer.json) == (status, {"error": text})
    assert answer.header("Content-Type") == JSON
    assert answer.finished


OPENAI_ERRORS: list[tuple[Any, int, str, str]] = [
    (b"", 400, "EOF", "invalid_request_error"),
    ({"model": "llama3.2:3b", "messages": []}, 400, "[] is too short - 'messages'", "invalid_request_error"),
    ({"messages": HI}, 400, "model is required", "invalid_request_error"),
    ({"model": "nobody", "messages": HI}, 404, "model 'nobody' not found", "not_found_error"),
    (
        {
            "model": "gemma3:4b",
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}
            ],
        },
        400,
        "image URLs are not currently supported, please use base64 encoded data instead",
        "invalid_request_error",
    ),
]


@pytest.mark.parametrize(("body", "status", "text", "kind"), OPENAI_ERRORS)
async def test_openai_errors(fake: FakeOllama, body: Any, status: int, text: str, kind: str) -> None:
    answer = await call(fake.handle, "POST", "/v1/chat/completions", body)
    assert answer.status == status
    assert answer.json == {"error": {"message": text, "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize(
    "name",
    ["llama3.2:3b", "LLAMA3.2:3B", "library/llama3.2:3b", "registry.ollama.ai/library/llama3.2:3b", " llama3.2:3b "],
)
async def test_a_model_answers_to_all_its_names_and_echoes_the_one_used(fake: FakeOllama, name: str) -> None:
    answer = await call(fake.handle, "POST", "/api/chat", {"model": name, "messages": HI, "stream": False})
    assert answer.json["model"] == name.strip()


async def test_a_lone_surrogate_in_a_name_is_answered_like_any_other_wrong_name(fake: FakeOllama) -> None:
    answer = await call(fake.handle, "POST", "/api/chat", b'{"model":"\\ud800"}')
    assert (answer.status, answer.json) == (400, {"error": "invalid model name"})
