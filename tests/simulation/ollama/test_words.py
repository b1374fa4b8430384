"""What the fake says besides answers: pages and lists, in the words and shapes of the real one."""

import re

import pytest

from herd.simulation.http import InMemoryRequest, RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

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
        ("/api/status", JSON, b'{"cloud":{"disabled":true,"source":"config"}}'),
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


async def test_copilot_is_shown_the_name_that_it_asked_for(fake: FakeOllama) -> None:
    for agent, basename in (("curl/8", "llama3.2"), ("GitHubCopilotChat/0.30", "llama3.2:3b")):
        sink = RecordingSink()
        body = b'{"model":"llama3.2:3b"}'
        await fake.handle(InMemoryRequest("POST", "/api/show", body, (("User-Agent", agent),)), sink)
        assert sink.json["model_info"]["general.basename"] == basename


async def test_no_models_are_an_empty_list() -> None:
    assert (await call(FakeOllama(PROFILES["mini-pc"], ()).handle, "GET", "/api/tags")).json == {"models": []}


async def test_ps_lists_the_model_that_stays_longest_first_and_for_ever_is_far_away(fake: FakeOllama) -> None:
    fake.wall = lambda: 1_780_272_000.0
    for model, keep_alive in (("llama3.2:3b", "1h"), ("gemma3:4b", -1)):
        await call(fake.handle, "POST", "/api/generate", {"model": model, "keep_alive": keep_alive})
    first, second = (await call(fake.handle, "GET", "/api/ps")).json["models"]
    assert (first["name"], first["expires_at"][:4]) == ("gemma3:4b", "2318")
    assert (second["name"], second["expires_at"][:13]) == ("llama3.2:3b", "2026-06-01T00")
    assert second["digest"] == CATALOG["llama3.2:3b"].digest
    assert second["context_length"] == 4_096
    assert second["size"] > CATALOG["llama3.2:3b"].size


async def test_openai_models(fake: FakeOllama) -> None:
    listed = await call(fake.handle, "GET", "/v1/models")
    assert listed.header("Content-Type") == "application/json"
    assert listed.body.endswith(b"\n")
    assert listed.json["object"] == "list"
    first = listed.json["data"][0]
    assert first == {"id": "llama3.2:3b", "object": "model", "created": 1_780_272_000, "owned_by": "library"}


async def test_one_openai_model_is_an_element_of_the_list(fake: FakeOllama) -> None:
    listed = (await call(fake.handle, "GET", "/v1/models")).json["data"]
    one = await call(fake.handle, "GET", "/v1/models/LLAMA3.2:3b")
    assert (one.status, one.header("Content-Type"), one.json) == (200, "application/json", listed[0])
    assert one.body.endswith(b"\n")


async def test_openai_models_of_an_empty_server_are_null() -> None:
    listed = await call(FakeOllama(PROFILES["mini-pc"], ()).handle, "GET", "/v1/models")
    assert listed.json == {"object": "list", "data": None}


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
