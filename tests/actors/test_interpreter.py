"""A stream of the link whose model server speaks OpenAI's API alone, while Ollama's was asked for."""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.actors.counterpart import MAX_REFUSAL
from herd.actors.interpreter import MAX_BODIES, MAX_BODY
from herd.actors.ports import HttpRequest, Sink
from herd.actors.relay import Relay
from herd.protocols.messages import Failure, Head, Usage
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.http import InMemoryServers, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Api, BackendId, BackendKind, Bytes, MiB
from tests.actors.doubles import FakeServing, Witness, request_head, settled

BASE = "http://127.0.0.1:8080"
HELLO = [{"role": "user", "content": "Hello"}]
SSE = (("Content-Type", "text/event-stream"),)
JSON = (("Content-Type", "application/json"),)
STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
)


OLLAMAS_OWN = (Api.OLLAMA_CHAT, Api.OLLAMA_GENERATE, Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS)


class OtherBackend(Witness):
    """A Backend whose server has a model, or has not."""

    def __init__(self, resident: bool | None) -> None:
        super().__init__()
        self._resident = resident

    def resident(self, model: str) -> bool | None:
        return self._resident

    def poll(self) -> None:
        self._hear("poll")


class Node:
    """A Relay, a model server that answers as it is told, and the Backend that it tells."""

    def __init__(self, kind: BackendKind = BackendKind.OPENAI, *, resident: bool | None = True) -> None:
        self.servers = InMemoryServers()
        self.backend: ActorHandle = remote(OtherBackend).remote(resident)
        known = BackendId("ollama")
        self.relay = Relay({known: BASE}, {known: self.backend}, self.servers, LoopClock())
        self.relay.recognised(known, kind, OLLAMAS_OWN)
        self.asked: list[tuple[str, Any, dict[str, str]]] = []
        self.answers: list[tuple[int, tuple[tuple[str, str], ...], tuple[bytes, ...]]] = []
        self.servers.serve(BASE, self._serve)

    async def _serve(self, request: HttpRequest, sink: Sink) -> None:
        body = await (await request.read_body(Bytes(MAX_BODY))).examine(bytes)
        self.asked.append((request.path, orjson.loads(body), dict(request.headers)))
        status, headers, pieces = self.answers.pop(0)
        await sink.start(status, headers)
        for piece in pieces:
            if piece == b"":
                sink.abort()
                return
            await sink.write(piece)
        await sink.finish()

    async def ask(self, path: str = "/api/chat", **fields: Any) -> list[Head | bytes | Usage | Failure]:
        """Have the relay serve one request, to its end."""
        body = orjson.dumps({"model": "m", **fields})
        streamed = fields.get("stream", True)
        serving = FakeServing(replace(request_head(len(body), streamed=streamed), path=path), body[:7], body[7:])
        await self.relay(serving)
        return serving.said

    async def told(self) -> list[str]:
        """What the Backend was told since the last time."""
        await settled()
        return [name for name, _ in await self.backend.heard.remote()]

    async def end(self) -> None:
        await stop(self.backend)


def answer_of(said: list[Head | bytes | Usage | Failure]) -> tuple[int, str, Any, Usage]:
    """Status, type, body and usage of a whole answer."""
    head, *pieces, usage = said
    assert isinstance(head, Head)
    assert isinstance(usage, Usage)
    body = b"".join([piece for piece in pieces if isinstance(piece, bytes)])
    return head.status, dict(head.headers)["Content-Type"], body, usage


@virtual_time
async def test_a_request_and_its_answer_are_translated_and_the_usage_follows() -> None:
    node = Node()
    node.answers = [(200, SSE, STREAM)]
    said = await node.ask(messages=HELLO, options={"num_predict": 5})
    status, content_type, body, usage = answer_of(said)
    assert (status, content_type) == (200, "application/x-ndjson")
    assert [orjson.loads(line)["message"]["content"] for line in body.splitlines()] == ["Hi", ""]
    assert len(said) == 4  # each line as soon as it is there
    assert (usage.prompt, usage.completion, usage.complete, usage.failed) == (3, 2, True, False)
    ((path, asked, headers),) = node.asked
    assert (path, asked["messages"], asked["max_tokens"]) == ("/v1/chat/completions", HELLO, 5)
    assert headers == {"Content-Type": "application/json"}
    assert await node.told() == []
    await node.end()


@virtual_time
async def test_the_clients_headers_go_on_but_for_those_of_its_own_body() -> None:
    node = Node()
    node.answers = [(200, JSON, (b'{"data":[{"index":0,"embedding":[1.0]}]}',))]
    body = b'{"model":"m","input":"a"}'
    headers = (("content-type", "text/plain"), ("User-Agent", "me"), ("Accept", "application/x-ndjson"))
    head = replace(request_head(len(body), streamed=False), path="//api/embed?x=1", headers=headers)
    serving = FakeServing(head, body)
    await node.relay(serving)
    assert orjson.loads(answer_of(serving.said)[2])["embeddings"] == [[1.0]]
    ((path, _, sent),) = node.asked
    assert (path, sent) == ("/v1/embeddings", {"User-Agent": "me", "Content-Type": "application/json"})
    await node.end()


@virtual_time
async def test_what_the_server_speaks_itself_goes_through_unchanged() -> None:
    node = Node()
    node.answers = [(200, SSE, STREAM)]
    said = await node.ask("/v1/chat/completions", messages=HELLO)
    assert said[1:-1] == list(STREAM)
    await node.end()


@virtual_time
async def test_what_cannot_be_translated_is_refused_in_the_dialects_form_and_the_server_is_not_asked() -> None:
    node = Node()
    status, content_type, body, usage = answer_of(await node.ask("/api/generate", prompt="a", template="b"))
    assert (status, content_type) == (400, "application/json; charset=utf-8")
    assert orjson.loads(body) == {"error": "template: the model server that has m takes none"}
    assert (usage.failed, usage.complete, node.asked) == (True, False, [])
    await node.end()


@virtual_time
async def test_a_refusal_of_the_servers_is_told_in_ollamas_words() -> None:
    node = Node()
    node.answers = [(404, JSON, (b'{"error":{"message":"The model `m` does not exist."}}',))]
    status, _, body, usage = answer_of(await node.ask(messages=HELLO))
    assert (status, orjson.loads(body), usage.failed) == (404, {"error": "model 'm' not found"}, True)
    node.answers = [(500, (), (b"x" * MAX_REFUSAL,) * 3)]
    status, _, body, _ = answer_of(await node.ask(messages=HELLO))
    assert (status, orjson.loads(body)) == (500, {"error": "the model server answered 500"})
    assert await node.told() == []
    await node.end()


@pytest.mark.parametrize(
    ("headers", "pieces", "begun"),
    [
        (SSE, STREAM[:2], True),  # without the end of the stream
        (SSE, (STREAM[0], b""), True),  # the connection breaks
        (SSE, (STREAM[0], b"data: <html>\n\n"), True),
        (SSE, (), False),
        ((("Content-Type", "text/html"),), (b"<html>",), False),
        (JSON, (b'{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}]}',), False),
    ],
)
def test_an_answer_that_is_none_or_has_no_end_never_ends_cleanly(
    headers: tuple[tuple[str, str], ...], pieces: tuple[bytes, ...], begun: bool
) -> None:
    @virtual_time
    async def story() -> None:
        node = Node()
        node.answers = [(200, headers, pieces)]
        *said, failure = await node.ask(messages=HELLO)
        assert isinstance(failure, Failure)
        assert bool(said) is begun
        assert await node.told() == ["suspect"]
        await node.end()

    story()


@virtual_time
async def test_an_error_in_the_stream_is_the_last_line_and_the_answer_is_a_failed_one() -> None:
    node = Node()
    node.answers = [(200, SSE, (STREAM[0], b'data: {"error":{"message":"out of memory"}}\n\n'))]
    _, _, body, usage = answer_of(await node.ask(messages=HELLO))
    assert orjson.loads(body.splitlines()[-1]) == {"error": "out of memory"}
    assert (usage.failed, usage.complete) == (True, False)
    node.answers = [(200, SSE, (b'data: {"error":{"message":"out of memory"}}\n\n',))]
    assert answer_of(await node.ask(messages=HELLO))[0] == 500
    await node.end()


@virtual_time
async def test_a_refusal_with_status_200_is_one_all_the_same() -> None:
    node = Node(BackendKind.LMSTUDIO)
    for stream in (True, False):
        node.answers = [(200, JSON, (b'{"error":"Unexpected endpoint or method."}',))]
        status, _, body, usage = answer_of(await node.ask(messages=HELLO, stream=stream))
        assert (status, orjson.loads(body)) == (500, {"error": "Unexpected endpoint or method."})
        assert usage.failed
    await node.end()


@virtual_time
async def test_a_server_that_cannot_be_reached_is_suspected() -> None:
    node = Node()
    node.servers.stop(BASE)
    (failure,) = await node.ask(messages=HELLO)
    assert isinstance(failure, Failure)
    assert failure.kind == "connect"
    assert await node.told() == ["suspect"]
    await node.end()


@virtual_time
async def test_a_body_that_is_too_long_to_translate_is_refused() -> None:
    node = Node()
    serving = FakeServing(request_head(MAX_BODY + 1), b"")
    await node.relay(serving)
    assert answer_of(serving.said)[0] == 413
    undeclared = FakeServing(request_head(-1), *[b" " * MiB] * (MAX_BODY // MiB + 1))
    await node.relay(undeclared)
    assert answer_of(undeclared.said)[0] == 413
    assert node.asked == []
    await node.end()


@virtual_time
async def test_bodies_beyond_what_may_be_held_at_once_find_the_server_busy() -> None:
    node = Node()

    class Slow(FakeServing):
        async def body(self) -> Any:
            await asyncio.get_running_loop().create_future()
            yield b""

    relays = [asyncio.create_task(node.relay(Slow(request_head(MAX_BODY)))) for _ in range(MAX_BODIES // MAX_BODY)]
    await settled()
    refused = FakeServing(request_head(100), b"")
    await node.relay(refused)
    status, _, body, _ = answer_of(refused.said)
    assert (status, b"server busy" in body) == (503, True)
    for relay in relays:
        relay.cancel()
    await asyncio.wait(relays)
    node.answers = [(200, SSE, STREAM)]
    assert answer_of(await node.ask(messages=HELLO))[0] == 200  # all of it is given back
    await node.end()


@pytest.mark.parametrize("answers", [False, True])
def test_when_nobody_waits_any_more_the_server_sees_its_connection_closed(answers: bool) -> None:
    @virtual_time
    async def story() -> None:
        node = Node()
        closed = asyncio.Event()

        async def thinks(request: HttpRequest, sink: Sink) -> None:
            if answers:
                await sink.start(200, SSE)
                await sink.write(STREAM[0])
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                closed.set()

        node.servers.serve(BASE, thinks)
        body = orjson.dumps({"model": "m", "messages": HELLO})
        relay = asyncio.create_task(node.relay(FakeServing(request_head(len(body)), body)))
        await settled()
        relay.cancel()
        await asyncio.wait([relay])
        await closed.wait()
        assert relay.cancelled()
        assert await node.told() == []
        await node.end()

    story()


@virtual_time(allow_lost=True)
async def test_what_a_server_is_stays_known_while_nobody_looks_at_it() -> None:
    node = Node()
    node.answers = [(200, SSE, STREAM)] * 2
    await node.ask(messages=HELLO)
    await node.end()
    assert answer_of(await node.ask(messages=HELLO))[0] == 200
    (failure,) = await node.ask(messages=[])
    assert isinstance(failure, Failure)
    assert failure.kind == "no-backend"  # whether it has the model is for another moment


# --- Without a prompt -------------------------------------------------------------------------------------------------


@virtual_time
async def test_on_a_server_that_always_has_its_model_nothing_is_asked() -> None:
    node = Node(BackendKind.VLLM, resident=False)
    _, _, body, usage = answer_of(await node.ask("/api/generate"))
    assert (orjson.loads(body)["done_reason"], usage.complete, node.asked) == ("load", True, [])
    await node.end()


@virtual_time
async def test_a_model_that_the_server_does_not_list_cannot_be_loaded() -> None:
    node = Node(BackendKind.LLAMACPP, resident=None)
    status, _, body, usage = answer_of(await node.ask("/api/generate"))
    assert (status, orjson.loads(body)) == (404, {"error": "model 'm' not found"})
    assert (usage.failed, node.asked) == (True, [])
    await node.end()


@virtual_time
async def test_a_model_is_really_loaded_where_the_server_loads() -> None:
    node = Node(BackendKind.LMSTUDIO, resident=False)
    node.answers = [(200, JSON, (b'{"status":"loaded"}',))]
    assert orjson.loads(answer_of(await node.ask())[2])["done_reason"] == "load"
    assert [(path, body) for path, body, _ in node.asked] == [("/api/v1/models/load", {"model": "m"})]
    assert await node.told() == ["poll"]  # so that the router soon sees it
    node.answers = [(200, JSON, (b'{"error":"Unexpected endpoint or method."}',))]  # an older LM Studio
    status, _, body, _ = answer_of(await node.ask())
    assert (status, orjson.loads(body)) == (501, {"error": "Unexpected endpoint or method."})
    await node.end()


# --- The same over both of one server's APIs --------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": SCHEMA}}
turns = st.fixed_dictionaries({"role": st.sampled_from(("system", "user", "assistant", "tool")), "content": st.text()})
chats = st.fixed_dictionaries(
    {
        "model": st.sampled_from(("llama3.2:3b", "qwen3:8b", "nobody")),
        "messages": st.lists(turns, min_size=1, max_size=3),
        "stream": st.booleans(),
    },
    optional={
        "options": st.fixed_dictionaries(
            {}, optional={"num_predict": st.integers(-1, 40), "seed": st.integers(0, 9), "temperature": st.floats(0, 2)}
        ),
        "tools": st.just([TOOL]),
        "format": st.sampled_from(("json", SCHEMA)),
        "think": st.just("high"),
    },
)
prompts = st.fixed_dictionaries(
    {"model": st.just("llama3.2:3b"), "prompt": st.text(min_size=1), "stream": st.booleans()},
    optional={"system": st.text(), "raw": st.just(True), "options": st.just({"num_predict": 7})},
).filter(lambda fields: not (fields.get("raw") and fields.get("system")))
inputs = st.fixed_dictionaries(
    {
        "model": st.sampled_from(("nomic-embed-text:latest", "nobody")),
        "input": st.text(min_size=1) | st.lists(st.text(), min_size=1, max_size=3),
    },
    optional={"dimensions": st.integers(0, 1000)},
)
asks = (
    st.tuples(st.just("/api/chat"), chats)
    | st.tuples(st.just("/api/generate"), prompts)
    | st.tuples(st.just("/api/embed"), inputs)
)

# What is measured is not the same twice, and what has no place in OpenAI's answers cannot be.
MEASURED = frozenset(
    ("created_at", "context", *(f"{name}_duration" for name in ("total", "load", "prompt_eval", "eval")))
)


@given(asks)
@settings(max_examples=60, deadline=None)
def test_an_ask_is_answered_the_same_over_either_api(ask: tuple[str, dict[str, Any]]) -> None:
    path, fields = ask

    @virtual_time
    async def story() -> None:
        fake = FakeOllama(PROFILES["mini-pc"].faster(1e6), CATALOG.values())
        node = Node()
        node.servers.serve(BASE, fake.handle)
        direct = await call(fake.handle, "POST", path, fields)
        status, _, body, _ = answer_of(await node.ask(path, **fields))
        assert (status, documents(body)) == (direct.status, documents(direct.body))
        await node.end()

    story()


def documents(body: bytes) -> list[dict[str, Any]]:
    """The objects in an answer, without what is measured. Vectors may differ in their last digits."""
    found = [orjson.loads(line) for line in body.splitlines()]
    for item in found:
        if "embeddings" in item:
            item["embeddings"] = [[round(number, 9) for number in vector] for vector in item["embeddings"]]
    return [{key: value for key, value in item.items() if key not in MEASURED} for item in found]
