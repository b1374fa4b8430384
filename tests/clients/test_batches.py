"""Batches of texts: the official clients get one answer, whether one machine has made the vectors or two."""

import asyncio
import math
from collections.abc import Sequence

import aiohttp
import pytest

from tests.clients.conftest import MISSING
from tests.clients.house import Home, needs
from tests.e2e.house import LOOK_EVERY_S
from tests.e2e.processes import PATIENCE_S

pytestmark = needs("openai", "ollama")

TEXTS = [f"piece {number} of a document: {'words that somebody will look for again ' * 25}" for number in range(48)]


async def keep_loaded(home: Home) -> None:
    """Have both machines keep the model for vectors in memory, and wait until the router knows."""
    async with aiohttp.ClientSession() as session:
        for server in home.servers:
            body = {"model": home.vectors, "input": "x", "keep_alive": -1}
            async with session.post(f"{server}/api/embed", json=body) as answer:
                assert answer.status == 200
        async with asyncio.timeout(PATIENCE_S):
            while not await everywhere_in_memory(session, home):  # noqa: ASYNC110 - agents look every 2 s themselves
                await asyncio.sleep(LOOK_EVERY_S)


async def everywhere_in_memory(session: aiohttp.ClientSession, home: Home) -> bool:
    async with session.get(f"{home.url}/herd/v1/status") as answer:
        nodes = (await answer.json())["nodes"]
    return all(any(m["name"] == home.vectors and m["resident"] for m in node["models"]) for node in nodes)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of vectors of length 1."""
    return sum(map(float.__mul__, one, other))


def unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [number / length for number in vector]


def test_what_two_machines_have_made_is_one_answer_to_each_client(simulated: Home) -> None:
    import ollama
    from openai import OpenAI

    asyncio.run(keep_loaded(simulated))
    with OpenAI(base_url=f"{simulated.url}/v1", api_key="none", max_retries=0) as client:
        # The client asks for base64 by itself, and decodes it.
        raw = client.embeddings.with_raw_response.create(model=simulated.vectors, input=TEXTS)
        split = raw.parse()
        floats = client.embeddings.create(model=simulated.vectors, input=TEXTS, encoding_format="float")
        alone = [client.embeddings.create(model=simulated.vectors, input=text).data[0] for text in TEXTS[::16]]
    assert sorted(raw.headers["X-Herd-Node"].split(", ")) == ["attic", "cellar"]
    assert raw.headers["X-Herd-Parts"] == "2"
    assert [item.index for item in split.data] == list(range(len(TEXTS)))
    assert [item.embedding for item in split.data[::16]] == [item.embedding for item in alone]
    for one, other in zip(split.data, floats.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    native = ollama.Client(host=simulated.url).embed(simulated.vectors, TEXTS)
    assert native.embeddings == [pytest.approx(item.embedding) for item in floats.data]
    assert native.prompt_eval_count == split.usage.prompt_tokens == split.usage.total_tokens


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_real_vectors_of_a_batch_are_those_of_its_texts_alone(real: Home) -> None:
    """llama.cpp names no digest of its model: it is nobody's twin, and a batch for it stays whole.

    The texts have as many tokens each: of sequences that differ in length it pools some otherwise when they are read in
    one step, with and without Herd.
    """
    from openai import OpenAI

    texts = [f"The {thing} number {number} is here. " * 8 for number in (1, 2, 3) for thing in ("dog", "boat", "sum")]
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0) as client:
        raw = client.embeddings.with_raw_response.create(model=real.vectors, input=texts)
        batch = [unit(item.embedding) for item in raw.parse().data]
        each = [client.embeddings.create(model=real.vectors, input=text) for text in texts]
    alone = [unit(answer.data[0].embedding) for answer in each]
    assert len({answer.usage.prompt_tokens for answer in each}) == 1
    assert "X-Herd-Parts" not in raw.headers
    assert len(batch) == len(texts)
    assert all(cosine(one, other) > 0.999 for one, other in zip(batch, alone, strict=True))
    assert all(cosine(alone[0], other) < 0.999 for other in alone[1:])
