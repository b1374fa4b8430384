"""A house whose model servers have OpenAI's chats and vectors alone, and clients that speak all the rest."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from herd.actors.ports import HttpRequest, Sink
from tests.e2e.house import BOTH, House, question, running_house
from tests.e2e.model_servers import ModelServer

pytestmark = pytest.mark.asyncio(loop_scope="module")


OWN = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class OpenAIServer(ModelServer):
    """A server that has the part of Ollama that all others have too."""

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        if request.path not in OWN:
            body = b'{"detail":"Not Found"}'
            await sink.start(404, (("Content-Type", "application/json"), ("Content-Length", str(len(body)))))
            await sink.write(body)
            await sink.finish()
        else:
            await super()._handle(request, sink)


@pytest_asyncio.fixture(name="home", scope="module", loop_scope="module")
async def house_of_others(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("others"), OpenAIServer) as house:
        yield house


def lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


async def test_a_chat_is_streamed_and_served_and_its_counts_are_known(home: House) -> None:
    before = {name: len(server.sent) for name, server in home.servers.items()}
    async with home.chat(tokens=6) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        said = lines(await answer.read())
    assert [line["done"] for line in said] == [False] * 6 + [True]
    assert (said[-1]["eval_count"], said[-1]["done_reason"], said[-1]["model"]) == (6, "length", BOTH)
    assert answer.headers["X-Herd-Node"] in "".join(line["message"]["content"] for line in said)
    [sent] = [sent for name, server in home.servers.items() for sent in server.sent[before[name] :]]
    assert (sent.target, sent.header("content-type")) == ("/v1/chat/completions", "application/json")
    story = await home.get(f"/herd/v1/requests/{answer.headers['X-Request-Id']}")
    assert (story["outcome"], story["completion"], story["prompt"]) == ("served", 6, said[-1]["prompt_eval_count"])


async def test_a_prompt_and_an_empty_one(home: House) -> None:
    asked = {"model": BOTH, "prompt": "Which machine are you?", "stream": False, "options": {"num_predict": 5}}
    async with home.post("/api/generate", json=asked) as answer:
        said = await answer.json()
    assert (answer.content_type, said["done"], said["eval_count"]) == ("application/json", True, 5)
    async with home.post("/api/generate", json={"model": BOTH}) as answer:
        loaded = await answer.json()
    assert (loaded["response"], loaded["done_reason"]) == ("", "load")


async def test_vectors(home: House) -> None:
    async with home.post("/api/embed", json={"model": BOTH, "input": ["a", "b"], "dimensions": 3}) as answer:
        said = await answer.json()
    assert (answer.status, [len(vector) for vector in said["embeddings"]]) == (200, [3, 3])
    assert said["prompt_eval_count"] == 2
    async with home.post("/api/embeddings", json={"model": BOTH, "prompt": "a"}) as answer:
        assert len((await answer.json())["embedding"]) > 3


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "limit", "events"),
    [
        ("/v1/messages", "max_tokens", ("message_start", "message_stop")),
        ("/v1/responses", "max_output_tokens", ("response.created", "response.incomplete")),
    ],
)
async def test_the_younger_apis(home: House, path: str, limit: str, events: tuple[str, str], stream: bool) -> None:
    words = [{"role": "user", "content": "Which machine are you?"}]
    asked = {"model": BOTH, "messages": words, "input": words, limit: 5, "stream": stream}
    async with home.post(path, json=asked) as answer:
        body = await answer.read()
    assert answer.status == 200
    if stream:
        named = [line.removeprefix(b"event: ").decode() for line in body.splitlines() if line.startswith(b"event: ")]
        assert (answer.content_type, named[0], named[-1]) == ("text/event-stream", *events)
    else:
        assert json.loads(body)["usage"]["output_tokens"] == 5
    assert answer.headers["X-Herd-Node"].encode() in body
    story = await home.get(f"/herd/v1/requests/{answer.headers['X-Request-Id']}")
    assert (story["outcome"], story["completion"]) == ("served", 5)


async def test_refusals_reach_the_client_in_ollamas_words(home: House) -> None:
    async with home.chat("nobody") as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "model 'nobody' not found"})
    async with home.chat(think="hardly") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"].startswith('invalid think value: "hardly"')


async def test_a_busy_server_is_followed_by_another_and_the_last_ones_words_reach_the_client(home: House) -> None:
    for server in home.servers.values():
        server.fake.fail_next(503, "busy")
    async with home.chat(tokens=3) as answer:
        assert (answer.status, answer.headers["X-Herd-Attempts"]) == (503, "2")
        assert await answer.json() == {"error": "busy"}
    async with home.chat(tokens=3) as answer:
        assert lines(await answer.read())[-1]["done"]


async def test_an_answer_that_breaks_off_ends_in_an_error(home: House) -> None:
    for server in home.servers.values():
        server.fake.die_mid_stream(2)
    async with home.chat(tokens=9) as answer:
        *said, last = lines(await answer.read())
    for server in home.servers.values():
        server.fake.faults.death = None
    assert [line["done"] for line in said] == [False] * 2
    assert list(last) == ["error"]


async def test_a_client_that_hangs_up_ends_the_answer_at_the_server(home: House) -> None:
    for server in home.servers.values():
        server.gate.clear()  # behind the first event, which says nothing that a client of Ollama's would see
    asking = asyncio.create_task(home.post("/api/chat", json=question(tokens=50)).__aenter__())
    waits = [asyncio.create_task(server.fake.until(lambda fake: fake.running > 0)) for server in home.servers.values()]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    serving = next(server.fake for server in home.servers.values() if server.fake.running)
    asking.cancel()
    await serving.until(lambda fake: fake.cancelled > 0)
    for wait in waits:
        wait.cancel()
    await asyncio.wait([asking, *waits])
    for server in home.servers.values():
        server.gate.set()
