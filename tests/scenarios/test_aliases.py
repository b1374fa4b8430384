"""Models by the names that the owner of the fleet gives them."""

from typing import Any

import pytest

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.names import Names
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import InMemoryRequest
from herd.types import Bytes, MiB
from tests.scenarios.helpers import CHAT, LLAMA, OPENAI_CHAT, QWEN, chat, openai_chat, scenario, served_by, story_of

ALIASES = Names({"gpt-4o": "Smart", "smart": LLAMA})

LISTS = {"/api/tags": ("models", "name"), "/v1/models": ("data", "id")}


async def listed(home: Any, path: str) -> list[str]:
    """The names in a list."""
    key, field = LISTS[path]
    return sorted(one[field] for one in (await home.ask(path, method="GET")).json[key])


@pytest.mark.parametrize("name", ["gpt-4o", "GPT-4o:latest", "library/smart"])
@pytest.mark.parametrize("path", [CHAT, OPENAI_CHAT])
def test_an_alias_is_served_by_the_model_that_it_means_in_the_end_and_the_answer_says_so(name: str, path: str) -> None:
    async def story() -> None:
        async with scenario(names=ALIASES) as home:
            await home.node("a", [LLAMA])
            body = chat(name) if path == CHAT else openai_chat(name)
            sent = home.send(path, body)
            await sent.task
            assert served_by(sent.sink) == "a"
            assert (sent.sink.header("X-Herd-Model"), sent.sink.header("X-Herd-Edited")) == (LLAMA, "model")
            told = await story_of(home, sent)
            assert (told["model"], told["served_model"], told["edited"]) == (name, LLAMA, ["model"])
            [opened] = [event for event in told["events"] if event["kind"] == "opened"]
            assert opened["edits"] == [{"field": "model", "value": LLAMA}]

    run_virtual(story())


@virtual_time
async def test_only_the_value_of_the_model_is_another_one_at_the_model_server() -> None:
    came: list[bytes] = []

    def recorded(server: Handler) -> Handler:
        async def handle(request: HttpRequest, sink: Sink) -> None:
            if request.path == CHAT:
                body = await request.read_body(Bytes(MiB))
                came.append(b"".join([piece async for piece in body.chunks(MiB)]))
                request = InMemoryRequest(request.method, request.path, came[-1], request.headers)
            await server(request, sink)

        return handle

    body = (
        b'{ "fallback_models":[ "x" ], "keep_alive":"5m","model" :\t"gpt-4o" , "options":{"num_predict":1,"x":1.0e0},'
        b'"messages":[{"content":"\\u003cgpt-4o\\u003e","role":"user"}],"model2":"gpt-4o", "n":12345678901234567890}\n '
    )
    async with scenario(names=ALIASES) as home:
        await home.node("a", [LLAMA], around=recorded)
        assert served_by(await home.ask(CHAT, body)) == "a"
    assert came == [body.replace(b'"gpt-4o"', f'"{LLAMA}"'.encode(), 1)]


@virtual_time
async def test_what_is_learned_and_counted_is_of_the_model_that_served() -> None:
    async with scenario(names=ALIASES) as home:
        await home.node("a", [LLAMA, QWEN], resident=[LLAMA])
        for _ in range(2):
            assert served_by(await home.ask(CHAT, chat("gpt-4o"))) == "a"
        node = (await home.ask("/herd/v1/nodes/a", method="GET")).json
        assert [one["model"] for one in node["learned"] if one["decode"]] == [LLAMA]


@virtual_time
async def test_an_alias_goes_before_a_model_of_that_name() -> None:
    async with scenario(names=Names({QWEN: LLAMA})) as home:
        await home.node("a", [LLAMA, QWEN])
        assert (await home.ask(CHAT, chat(QWEN))).header("X-Herd-Model") == LLAMA
        tags = (await home.ask("/api/tags", method="GET")).json["models"]
        assert len({one["digest"] for one in tags}) == 1


@virtual_time
async def test_the_lists_show_an_alias_while_a_node_has_what_it_means() -> None:
    async with scenario(names=Names({"GPT-4o": LLAMA, "smart": QWEN, "away": "nobody-has-it"})) as home:
        await home.node("a", [LLAMA])
        await home.node("b", [LLAMA])
        assert await listed(home, "/api/tags") == ["GPT-4o:latest", LLAMA]
        assert await listed(home, "/v1/models") == ["GPT-4o", LLAMA]
        first, second = (await home.ask("/api/tags", method="GET")).json["models"]
        assert {**first, "name": "", "model": ""} == {**second, "name": "", "model": ""}
        b = await home.node("c", [QWEN])
        assert await listed(home, "/api/tags") == ["GPT-4o:latest", LLAMA, QWEN, "smart:latest"]
        await b.stop_agent()
        await home.until(lambda fleet: any(one.name == "c" and one.state == "offline" for one in fleet))
        assert await listed(home, "/v1/models") == ["GPT-4o", LLAMA]


@virtual_time
async def test_errors_name_the_model_as_the_client_did() -> None:
    async with scenario(names=Names({"gpt-4o": "nobody-has-it", "smart": LLAMA}), hold_timeout=1.0) as home:
        answer = await home.ask(CHAT, chat("gpt-4o"))
        assert (answer.status, answer.json) == (404, {"error": "model 'gpt-4o' not found"})
        a = await home.node("a", [LLAMA])
        await a.stop_agent()
        answer = await home.ask(CHAT, chat("smart"))
        assert answer.status == 503
        assert "no node can serve smart now: a is offline" in answer.json["error"]


@virtual_time
async def test_an_alias_is_shown_and_let_go_as_the_model_that_it_means() -> None:
    async with scenario(names=Names({"gpt-4o": LLAMA})) as home:
        ollama = (await home.node("attic", [LLAMA])).ollama
        await home.ask(CHAT, chat("gpt-4o"))
        shown, straight = await home.ask("/api/show", {"name": "gpt-4o"}), await home.ask("/api/show", {"model": LLAMA})
        assert (shown.status, shown.json) == (200, straight.json)
        entry = await home.ask("/v1/models/gpt-4o", method="GET")
        assert entry.json["id"] == "gpt-4o"
        assert LLAMA in ollama.resident
        answer = await home.ask("/api/generate", {"model": "gpt-4o", "keep_alive": 0})
        assert (answer.json["model"], answer.json["done_reason"]) == ("gpt-4o", "unload")
        assert not ollama.resident
