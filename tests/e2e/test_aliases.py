"""Aliases and fallbacks from a herd.toml, over real sockets: who answers, what it is sent, what clients are told."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from herd.types import MiB
from tests.e2e.house import BOTH, ONLY, House, question, running_house
from tests.e2e.model_servers import Sent

pytestmark = pytest.mark.asyncio(loop_scope="module")

BIG, SMALL = ONLY["attic"], ONLY["cellar"]

HERD_TOML = f"""\
[herd.aliases]
"gpt-4o" = "{BIG}"

[herd.fallbacks]
"gpt-4o" = ["nobody-has-it", "{SMALL}"]
"""

# Spaces, escapes, numbers, keys and an order that no JSON writer would leave as they are.
ODD_BODY = (
    b'{ "fallback_models" : [ "x","%b" ],\t"messages":[{"role":"user","content":"\\u003cb gpt-4o \xc3\xa9"}],\r\n'
    b' "options":{"num_predict":3, "seed": 12345678901234567890123,"temperature":1.0e-00}, "model" :"gpt-4o" ,'
    b'"zz":{"model":"gpt-4o","a":null,"a":2}, "max_tokens":3, "stream" : false }\n \n'
) % SMALL.encode()


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_with_a_herd_toml(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home = tmp_path_factory.mktemp("house")
    (home / "router").mkdir()
    (home / "router" / "herd.toml").write_text(HERD_TOML, encoding="utf-8")
    async with running_house(home) as house:
        yield house


async def asked(house: House, path: str, body: bytes) -> tuple[Mapping[str, str], Any, Sent]:
    """The headers and the JSON of an answer, and what a model server was sent for it."""
    before = {name: len(server.sent) for name, server in house.servers.items()}
    async with house.post(path, data=io.BytesIO(body)) as answer:
        said = await answer.json()
        assert answer.status == 200
    [sent] = [sent for name, server in house.servers.items() for sent in server.sent[before[name] :]]
    return answer.headers, said, sent


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_the_header_names_the_model_that_an_alias_means_and_nothing_else_of_the_body_is_another(
    house: House, path: str
) -> None:
    headers, said, sent = await asked(house, path, ODD_BODY)
    assert (headers["X-Herd-Node"], headers["X-Herd-Model"]) == ("attic", BIG)
    assert headers["X-Herd-Edited"] == "model"
    assert said["model"] == BIG
    assert sent.body == ODD_BODY.replace(b'"model" :"gpt-4o"', b'"model" :"%b"' % BIG.encode())
    assert sent.header("content-length") == str(len(sent.body))


@pytest.mark.parametrize("size", [0, 2 * MiB], ids=["in memory", "in a file"])
async def test_while_its_only_machine_takes_nothing_another_model_serves_and_the_header_says_which(
    house: House, size: int
) -> None:
    fields: dict[str, Any] = {"stream": False, "padding": "x" * size}
    if size:
        fields["fallback_models"] = [BOTH]
    body = json.dumps(question("gpt-4o", **fields)).encode()
    async with house.post("/herd/v1/nodes/attic/drain") as ordered:
        assert ordered.status == 200
    try:
        headers, _, sent = await asked(house, "/api/chat", body)
        expected = BOTH if size else SMALL
        assert (headers["X-Herd-Node"], headers["X-Herd-Model"]) == ("cellar", expected)
        assert headers["X-Herd-Edited"] == "model"
        assert sent.body == body.replace(b'"model": "gpt-4o"', b'"model": "%b"' % expected.encode())
        story = await house.get(f"/herd/v1/requests/{headers['X-Request-Id']}")
        assert (story["model"], story["served_model"]) == ("gpt-4o", expected)
    finally:
        async with house.post("/herd/v1/nodes/attic/resume") as ordered:
            assert ordered.status == 200


async def test_the_lists_show_the_alias(house: House) -> None:
    assert "gpt-4o" in [model["id"] for model in (await house.get("/v1/models"))["data"]]
    tags = {model["name"]: model for model in (await house.get("/api/tags"))["models"]}
    assert tags["gpt-4o:latest"]["digest"] == tags[BIG]["digest"]


async def test_fallbacks_that_are_no_names_are_refused_in_the_dialects_words(house: House) -> None:
    async with house.post("/api/chat", json=question(fallback_models="x")) as answer:
        words = "json: cannot unmarshal string into Go struct field ChatRequest.fallback_models of type []string"
        assert (answer.status, await answer.json()) == (400, {"error": words})
    async with house.post("/v1/chat/completions", json=question(fallback_models=[1])) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["type"]) == (400, "invalid_request_error")
        assert error["message"].endswith("ChatCompletionRequest.fallback_models of type string")


async def test_a_file_with_an_alias_in_a_circle_is_refused_in_a_sentence(house: House) -> None:
    (house.programs.home / "wrong.toml").write_text('[herd.aliases]\na = "b"\nb = "a"\n', encoding="utf-8")
    router = await house.programs.herd("--config", "wrong.toml", "--data-dir", "wrong")
    assert await router.ended() == 2
    assert any("the alias" in line and "leads in a circle" in line for line in router.lines)
