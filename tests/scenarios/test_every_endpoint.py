"""Every endpoint for models, through the router and straight at a twin of the node's server: the same to the byte."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime.testing import run_virtual
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import House
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from tests.scenarios.helpers import scenario

CHATS, SEES, THINKS, VECTORS = "llama3.2:3b", "gemma3:4b", "qwen3:8b", "nomic-embed-text:latest"
MODELS = [CHATS, SEES, THINKS, VECTORS]

HELLO = [{"role": "user", "content": "hello"}]
IMAGE = "aGVsbG8="
OPENAI_IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"data:;base64,{IMAGE}"}}]}]
ANTHROPIC_IMAGE = [
    {
        "role": "user",
        "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}}],
    }
]
RESPONSE_IMAGE = [{"role": "user", "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}"}]}]
TOOL = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
FLAT_TOOL = {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}}
CLAUDES_TOOL = {"name": "time", "input_schema": {"type": "object", "properties": {}}}

# What is right at each endpoint, without the model.
ASKED: dict[str, dict[str, Any]] = {
    "/api/chat": {"messages": HELLO, "options": {"num_predict": 5}},
    "/api/generate": {"prompt": "hello", "options": {"num_predict": 5}},
    "/api/embed": {"input": ["hello", "there"]},
    "/api/embeddings": {"prompt": "hello"},
    "/v1/chat/completions": {"messages": HELLO, "max_tokens": 5},
    "/v1/completions": {"prompt": "hello", "max_tokens": 5},
    "/v1/embeddings": {"input": "hello"},
    "/v1/responses": {"input": "hello", "max_output_tokens": 5},
    "/v1/messages": {"messages": HELLO, "max_tokens": 5},
}

_REQUEST_ID = re.compile(rb'"request_id":"[^"]*"')


class Pair:
    """A router with one node, and a twin of the node's model server beside it."""

    def __init__(self, home: House, twin: FakeOllama) -> None:
        self._home = home
        self._twin = twin

    async def ask(self, path: str, body: Any) -> tuple[RecordingSink, RecordingSink]:
        """The answers to one request at the same moment: through the router, and straight."""
        return await asyncio.gather(self._home.ask(path, body), call(self._twin.handle, "POST", path, body))

    async def same(self, path: str, body: Any) -> RecordingSink:
        """The answer, after a look whether it is the twin's too."""
        through, straight = await self.ask(path, body)
        assert seen(through) == seen(straight)
        assert through.header("X-Request-Id")
        return through


def seen(answer: RecordingSink) -> tuple[int, str | None, bytes, bool]:
    """What must be the same. A request's id is the router's where it has refused the request itself."""
    body = _REQUEST_ID.sub(b'"request_id":""', answer.body)
    return answer.status, answer.header("Content-Type"), body, answer.finished


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    async with scenario(join_grace=0.0) as home:
        node = await home.node("a", MODELS, resident=[CHATS])
        twin = FakeOllama(PROFILES["mac-studio"], [CATALOG[name] for name in MODELS])
        twin.wall = LoopClock().wall
        await call(twin.handle, "POST", "/api/generate", {"model": CHATS, "keep_alive": -1})
        assert node.ollama.resident == twin.resident
        yield Pair(home, twin)


def told(path: str, body: Any) -> RecordingSink:
    """The answer to one request, the same either way."""
    found: list[RecordingSink] = []

    async def story() -> None:
        async with pair() as both:
            found.append(await both.same(path, body))

    run_virtual(story())
    return found[0]


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [None, False, True])
def test_a_success_is_the_model_servers_own(path: str, stream: bool | None) -> None:
    model = VECTORS if "embed" in path else CHATS
    answer = told(path, {"model": model, **ASKED[path], **({} if stream is None else {"stream": stream})})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/api/chat", {"tools": [TOOL]}),
        ("/v1/chat/completions", {"tools": [TOOL], "stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/completions", {"stream": True, "stream_options": {"include_usage": True}}),
        ("/v1/completions", {"prompt": ""}),
        ("/v1/completions", {"prompt": None, "stream": True}),
        ("/v1/responses", {"input": RESPONSE_IMAGE, "model": SEES, "stream": True}),
        ("/v1/responses", {"tools": [FLAT_TOOL], "instructions": "be brief"}),
        ("/v1/responses", {"tools": [{"type": "web_search"}], "model": SEES}),
        ("/v1/responses", {"input": None}),
        ("/v1/messages", {"messages": ANTHROPIC_IMAGE, "model": SEES}),
        ("/v1/messages", {"tools": [CLAUDES_TOOL], "stream": True, "system": "be brief"}),
        ("/v1/messages", {"model": THINKS, "thinking": {"type": "enabled"}, "stream": True}),
        ("/api/embed", {"input": [], "model": VECTORS}),
        ("/api/embed", {"input": "hello", "dimensions": 8, "truncate": True, "model": VECTORS}),
        ("/api/embed", {"input": "hello"}),
        ("/api/embeddings", {"prompt": "", "model": VECTORS}),
        ("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 4, "model": VECTORS}),
        ("/v1/embeddings", {"input": ["a"] * 30, "model": VECTORS}),
    ],
)
def test_all_that_an_endpoint_knows_reaches_the_model_server(path: str, fields: dict[str, Any]) -> None:
    assert told(path, {"model": CHATS, **ASKED[path], **fields}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b"xyz",
        {"model": "nobody-has-it"},
        {"model": "Nobody/Has:it"},
        {"model": "no name"},
        {"model": "a<b"},
        {"model": ""},
        {"model": " "},
        {"model": 7},
        {"model": None},
        {"model": CHATS, "stream": "yes"},
        {"model": CHATS, "tools": {}},
        {"model": CHATS, "options": []},
        {"model": CHATS, "input": 5},
        {"model": CHATS, "input": []},
        {"model": CHATS, "input": {}},
        {"model": CHATS, "messages": []},
        {"model": CHATS, "messages": None, "input": None, "prompt": None},
        {"model": CHATS, "max_tokens": 0},
        {"model": CHATS, "max_tokens": 1.5},
        {"model": CHATS, "max_tokens": None, "max_output_tokens": None},
        {"model": VECTORS},
        {"model": VECTORS, "tools": [TOOL], "messages": OPENAI_IMAGE},
        {"model": SEES, "tools": [{"type": "function", "name": "time", "function": {"name": "time"}}]},
        {"model": CHATS, "suffix": "}"},
        {"model": CHATS, "images": [IMAGE]},
        {"model": THINKS, "messages": OPENAI_IMAGE},
        {"model": THINKS, "messages": ANTHROPIC_IMAGE},
        {"model": THINKS, "messages": [{"role": "user", "content": "hello", "images": [IMAGE]}]},
        {"model": THINKS, "input": RESPONSE_IMAGE},
    ],
    ids=str,
)
def test_a_refusal_is_the_model_servers_own_or_in_its_words(body: Any) -> None:
    async def story() -> None:
        async with pair() as both:
            for path, right in ASKED.items():
                await both.same(path, {**right, **body} if isinstance(body, dict) else body)

    run_virtual(story())


WORDS = st.sampled_from([CHATS, "LLAMA3.2:3b", SEES, VECTORS, "nobody-has-it", "no name", "", "hello"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=9)})
    ),
    max_leaves=4,
)
# One odd field at a time: of two wrong ones the router may see only the second, where it has to refuse at all.
FIELDS = ["stream", "messages", "tools", "options", "input", "prompt", "suffix", "max_tokens", "keep_alive", "system"]
BODIES = st.one_of(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=1),
    st.fixed_dictionaries({"model": WORDS}),
)


@given(st.lists(st.tuples(st.sampled_from(list(ASKED)), BODIES), min_size=5, max_size=8))
@settings(max_examples=25, deadline=None)
def test_any_request_is_answered_as_the_model_server_answers(asked: list[tuple[str, Any]]) -> None:
    async def story() -> None:
        async with pair() as both:
            for path, body in asked:
                fields = {"model": CHATS, **ASKED[path], **body} if isinstance(body, dict) else body
                await both.same(path, fields if isinstance(fields, bytes) else json.dumps(fields).encode())

    run_virtual(story())
