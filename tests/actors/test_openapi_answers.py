"""What the router answers is what its description says, and no field of Herd's own is left out of it."""

import json
from copy import deepcopy
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from herd.protocols.openapi import document
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House, house
from herd.simulation.http import RecordingSink
from herd.types import Api, Unit
from tests.protocols.forms import FORM_TYPE, FORMS_ONLY, form

LLAMA, NOMIC = "llama3.2:3b", "nomic-embed-text:latest"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "hi"}]}
DOCUMENT: dict[str, Any] = json.loads(document("1"))


def closed() -> dict[str, Any]:
    """The description, in which an object has no fields but those that are named."""
    whole = deepcopy(DOCUMENT)
    for name, schema in whole["components"]["schemas"].items():
        if "properties" in schema and name != "RequestEntry":  # whose fields a story has, and others
            schema["additionalProperties"] = False
    whole["components"]["schemas"]["Story"]["unevaluatedProperties"] = False
    return whole


CLOSED = closed()


def check(path: str, method: str, answer: RecordingSink) -> None:
    """Compare an answer with what is said of its path, method and status."""
    responses = CLOSED["paths"][path][method.lower()]["responses"]
    said = responses.get(str(answer.status), responses["default"])
    content_type = (answer.header("Content-Type") or "").partition(";")[0]
    schema = said["content"][content_type]["schema"] | {"components": CLOSED["components"]}
    value = answer.json if content_type == "application/json" else answer.body.decode()
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(value)


async def busy(home: House) -> None:
    """Make a house of which there is something to say."""
    await home.node("a", [LLAMA], resident=[LLAMA], parallel=3)
    b = await home.node("b", [LLAMA, "qwen3:8b"])
    b.ollama.die_mid_stream(0)
    for model in (LLAMA, "qwen3:8b"):
        await home.ask("/api/chat", {**CHAT, "model": model, "stream": False}, (("X-Request-Id", f"my/{model}"),))
    await home.ask(f"/herd/v1/pins/{LLAMA}", method="POST")
    await home.ask("/herd/v1/nodes/b/pause?for=2h", method="POST")
    await home.ask("/api/chat", {**CHAT, "model": "qwen3:8b"}, (("X-Request-Id", "held"),))


ASKED = [
    ("GET", "/", ""),
    ("GET", "/api/version", ""),
    ("GET", "/api/tags", ""),
    ("GET", "/api/ps", ""),
    ("GET", "/v1/models", ""),
    ("GET", "/herd/v1/info", ""),
    ("GET", "/herd/v1/openapi.json", ""),
    ("GET", "/herd/v1/status", ""),
    ("GET", "/herd/v1/nodes/{name}", "a"),
    ("GET", "/herd/v1/nodes/{name}", "nobody"),
    ("POST", "/herd/v1/nodes/{name}/{order}", "b/drain"),
    ("POST", "/herd/v1/nodes/{name}/{order}", "nobody/drain"),
    ("POST", "/herd/v1/nodes/{name}/{order}", "b/pause?for=long"),
    ("GET", "/herd/v1/requests", ""),
    ("GET", "/herd/v1/requests", "?limit=0"),
    ("GET", "/herd/v1/requests/{id}", f"my/{LLAMA}"),
    ("GET", "/herd/v1/requests/{id}", "my/qwen3:8b"),
    ("GET", "/herd/v1/requests/{id}", "held"),
    ("GET", "/herd/v1/requests/{id}", "nothing"),
    ("POST", "/herd/v1/pins/{model}", LLAMA),
    ("DELETE", "/herd/v1/pins/{model}", LLAMA),
    ("DELETE", "/herd/v1/pins/{model}", "nothing"),
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
    ("GET", "/metrics", ""),
]


@pytest.mark.parametrize(("method", "path", "rest"), ASKED)
def test_the_routers_own_answers_are_as_described(method: str, path: str, rest: str) -> None:
    async def story() -> None:
        async with house() as home:
            await busy(home)
            answer = await home.ask(path.partition("{")[0] + rest, method=method)
            check(path, method, answer)

    run_virtual(story())


@virtual_time
async def test_a_router_without_nodes_answers_as_described_too() -> None:
    async with house() as home:
        for path in ("/api/version", "/api/tags", "/api/ps", "/v1/models", "/herd/v1/status", "/readyz"):
            check(path, "GET", await home.ask(path, method="GET"))


MESSAGES = {"messages": CHAT["messages"]}
TEXT = {"prompt": "hi"}
QUESTIONS: dict[Api, dict[str, Any]] = {
    Api.OLLAMA_CHAT: MESSAGES,
    Api.OLLAMA_GENERATE: TEXT,
    Api.OLLAMA_EMBED: {"model": NOMIC, "input": ["hi"]},
    Api.OLLAMA_EMBEDDINGS: {"model": NOMIC, **TEXT},
    Api.CHAT: MESSAGES,
    Api.COMPLETIONS: TEXT,
    Api.EMBEDDINGS: {"model": NOMIC, "input": "hi"},
    Api.RESPONSES: {"input": "hi"},
    Api.MESSAGES: {**MESSAGES, "max_tokens": 5},
    Api.COUNT_TOKENS: MESSAGES,
    Api.IMAGES: TEXT,
    Api.IMAGE_EDITS: TEXT,
    Api.GENERATE_IMAGE: TEXT,
}


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("fault", [None, b"", b"{}", b"[]", b"nonsense", {"model": "nothing:1b"}], ids=str)
def test_answers_of_models_and_refusals_are_as_described(api: Api, fault: Any) -> None:
    async def story() -> None:
        async with house() as home:
            await home.node("a", [LLAMA, NOMIC])
            fields: dict[str, Any] = {"model": LLAMA, "stream": False} | QUESTIONS.get(api, {})
            if isinstance(fault, dict):
                fields |= fault
            body = form(("model", fields["model"]), ("file", b"RIFF")) if api in FORMS_ONLY else fields
            headers = (("Content-Type", FORM_TYPE),) if api in FORMS_ONLY else ()
            answer = await home.ask(api, fault if isinstance(fault, bytes) else body, headers)
            # Neither model makes images, or hears.
            assert (answer.status == 200) is (fault is None and api.unit is Unit.TOKEN)
            check(api, "POST", answer)

    run_virtual(story())


ABOUT_MODELS = [
    ("POST", "/api/show", {"model": LLAMA}),
    ("POST", "/api/show", {"model": "nothing:1b"}),
    ("POST", "/api/pull", {"model": "gemma3:1b", "stream": False}),
    ("POST", "/api/pull", {"model": "nothing:1b", "stream": False}),
    ("POST", "/api/create", {"model": "twin", "from": LLAMA, "stream": False}),
    ("GET", "/v1/models/{model}", None),
    ("GET", "/api/status", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ABOUT_MODELS)
def test_answers_about_models_are_as_described(method: str, path: str, body: Any) -> None:
    async def story() -> None:
        async with house() as home:
            await home.node("a", [LLAMA])
            check(path, method, await home.ask(path.replace("{model}", LLAMA), body, method=method))

    run_virtual(story())


@virtual_time
async def test_the_description_is_served() -> None:
    async with house() as home:
        answer = await home.ask("/herd/v1/openapi.json", method="GET")
        assert (answer.status, answer.json["info"]["version"]) == (200, "simulated")
        assert answer.json["paths"] == DOCUMENT["paths"]
