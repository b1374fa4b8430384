"""The other endpoints of a real llama.cpp server behind Herd, asked by the official clients of OpenAI and Anthropic."""

import importlib.util
import json
import sys
from typing import Any

import aiohttp
import pytest

from tests.e2e.test_real import HELLO, MISSING, MODEL, RealHouse, client, house_with_llama_cpp

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["house_with_llama_cpp"]  # the fixture `house`

NEEDED = [*MISSING, *(name for name in ("anthropic",) if importlib.util.find_spec(name) is None)]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}"),
    pytest.mark.asyncio(loop_scope="module"),
]

ENOUGH = 12  # tokens


async def tokens_of(house: RealHouse, request_id: str) -> tuple[int, int]:
    """Tokens of prompt and answer as the router has noted them."""
    async with aiohttp.ClientSession() as session, session.get(f"{house.url}/herd/v1/requests/{request_id}") as answer:
        line = await answer.json()
    assert line["outcome"] == "served"
    return line["prompt"], line["completion"]


async def test_a_prompt_is_completed_in_one_piece_and_as_a_stream(house: RealHouse) -> None:
    async with client(house) as openai:
        whole = await openai.completions.with_raw_response.create(model=MODEL, prompt="One, two,", max_tokens=ENOUGH)
        answer = whole.parse()
        assert answer.choices[0].text
        used = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        assert await tokens_of(house, whole.headers["X-Request-Id"]) == used
        stream = await openai.completions.create(model=MODEL, prompt=["One, two,"], max_tokens=ENOUGH, stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream if chunk.choices])
        assert (await tokens_of(house, stream.response.headers["X-Request-Id"]))[1] > 0


async def test_a_response_comes_in_one_piece_and_as_a_stream(house: RealHouse) -> None:
    async with client(house) as openai:
        whole = await openai.responses.with_raw_response.create(model=MODEL, input="Hello!", max_output_tokens=ENOUGH)
        answer = whole.parse()
        assert answer.output_text
        used = (answer.usage.input_tokens, answer.usage.output_tokens)
        assert await tokens_of(house, whole.headers["X-Request-Id"]) == used
        stream = await openai.responses.create(model=MODEL, input=HELLO, max_output_tokens=ENOUGH, stream=True)
        events = [event async for event in stream]
        assert events[-1].type in {"response.completed", "response.incomplete"}
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta").strip()
        assert (await tokens_of(house, stream.response.headers["X-Request-Id"]))[1] > 0


def claude(house: RealHouse) -> Any:
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(base_url=house.url, api_key="none", max_retries=0)


async def test_a_message_comes_in_one_piece_and_as_a_stream(house: RealHouse) -> None:
    async with claude(house) as anthropic:
        whole = await anthropic.messages.with_raw_response.create(model=MODEL, messages=HELLO, max_tokens=ENOUGH)
        answer = await whole.parse()
        assert answer.content[0].text
        used = (answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0), answer.usage.output_tokens)
        assert await tokens_of(house, whole.headers["X-Request-Id"]) == used
        async with anthropic.messages.stream(model=MODEL, messages=HELLO, max_tokens=ENOUGH) as stream:
            assert "".join([text async for text in stream.text_stream]).strip()
            message = await stream.get_final_message()
            assert 0 < message.usage.output_tokens <= ENOUGH
            prompt, completion = await tokens_of(house, stream.response.headers["X-Request-Id"])
        assert prompt > 0
        assert completion == message.usage.output_tokens


async def test_the_model_server_counts_tokens_itself(house: RealHouse) -> None:
    async with claude(house) as anthropic:
        raw = await anthropic.messages.with_raw_response.count_tokens(model=MODEL, messages=HELLO)
        assert (await raw.parse()).input_tokens > 5
        assert "X-Herd-Estimated" not in raw.headers
        assert raw.headers["X-Herd-Node"] == "real"


async def test_a_model_that_nobody_has_is_not_found_by_claude_either(house: RealHouse) -> None:
    from anthropic import BadRequestError, NotFoundError

    async with claude(house) as anthropic:
        with pytest.raises(NotFoundError, match="model 'claude-x' not found") as caught:
            await anthropic.messages.create(model="claude-x", messages=HELLO, max_tokens=1)
        body: Any = caught.value.body
        assert body["error"]["type"] == "not_found_error"
        with pytest.raises(BadRequestError, match="max_tokens is required"):
            await anthropic.messages.create(model=MODEL, messages=HELLO, max_tokens=0)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/completions", {"prompt": "One, two,", "max_tokens": 2}),
        ("/v1/responses", {"input": "Hello!", "max_output_tokens": 2}),
        ("/v1/messages?beta=true", {"messages": HELLO, "max_tokens": 2}),
        ("/v1/messages/count_tokens?beta=true", {"messages": HELLO}),
    ],
)
async def test_a_body_in_zstandard_with_another_spelling_of_the_name_is_served(
    house: RealHouse, path: str, asked: dict[str, Any]
) -> None:
    body = zstd.compress(json.dumps({"model": MODEL.upper(), **asked}).encode())
    headers = {"Content-Encoding": "zstd", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(house.url + path, data=body) as answer:
        assert (answer.status, answer.headers["X-Herd-Edited"]) == (200, "model")
        assert await answer.json()


async def test_that_it_makes_no_vectors_the_model_server_says_itself(house: RealHouse) -> None:
    from openai import APIStatusError

    async with client(house) as openai:
        with pytest.raises(APIStatusError, match="does not support embeddings") as caught:
            await openai.embeddings.create(model=MODEL, input="hello")
        assert caught.value.status_code == 501
