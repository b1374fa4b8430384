"""Vectors: their length, their place in an answer, and the time they take."""

import asyncio
import base64
import math
import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.runtime.testing import run_virtual
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.embeddings import normalised, vector
from herd.simulation.ollama.faults import Lie
from herd.simulation.ollama.server import FakeOllama

MACHINE = PROFILES["mini-pc"]
MODEL = "nomic-embed-text"
NOMIC = CATALOG["nomic-embed-text:latest"]


@pytest.fixture
def fake() -> FakeOllama:
    return FakeOllama(MACHINE.faster(1e6), CATALOG.values())


async def ask(fake: FakeOllama, path: str, **body: Any) -> RecordingSink:
    answer = await call(fake.handle, "POST", path, {"model": MODEL, **body})
    assert answer.status == 200, answer.body
    return answer


def length(numbers: list[float]) -> float:
    return math.sqrt(sum(number * number for number in numbers))


async def test_every_input_has_a_vector_of_length_one_in_its_place(fake: FakeOllama) -> None:
    answer = (await ask(fake, "/api/embed", input=["one", "two", "one"])).json
    one, two, again = answer["embeddings"]
    assert (len(one), len(two)) == (768, 768)
    assert length(one) == pytest.approx(1.0)
    assert one == again != two
    assert answer["model"] == MODEL
    assert answer["prompt_eval_count"] == 3
    assert answer["total_duration"] > 0 < answer["load_duration"]


async def test_a_text_alone_is_one_input(fake: FakeOllama) -> None:
    alone = await ask(fake, "/api/embed", input="one")
    listed = await ask(fake, "/api/embed", input=["one"])
    assert alone.json["embeddings"] == listed.json["embeddings"]


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/api/embed", {}, {"model": MODEL, "embeddings": []}),
        ("/api/embed", {"input": ""}, {"model": MODEL, "embeddings": []}),
        ("/api/embed", {"input": []}, {"model": MODEL, "embeddings": []}),
        ("/api/embeddings", {}, {"embedding": []}),
    ],
)
async def test_without_an_input_the_model_is_loaded(fake: FakeOllama, path: str, body: Any, answer: Any) -> None:
    assert (await ask(fake, path, **body)).json == answer
    assert list(fake.resident) == [NOMIC.name]


async def test_the_older_endpoint_gives_one_vector_that_is_not_normalised(fake: FakeOllama) -> None:
    raw = (await ask(fake, "/api/embeddings", prompt="one")).json["embedding"]
    assert length(raw) > 2
    assert normalised(raw) == (await ask(fake, "/api/embed", input="one")).json["embeddings"][0]


async def test_fewer_dimensions_are_the_first_ones_normalised_again(fake: FakeOllama) -> None:
    whole = (await ask(fake, "/api/embed", input="one")).json["embeddings"][0]
    short = (await ask(fake, "/api/embed", input="one", dimensions=16)).json["embeddings"][0]
    assert len(short) == 16
    assert short == pytest.approx(normalised(whole[:16]))


async def test_openai_gets_a_list_of_vectors_and_one_usage(fake: FakeOllama) -> None:
    answer = await ask(fake, "/v1/embeddings", input=["one", "two"])
    assert answer.header("Content-Type") == "application/json"
    assert answer.body.endswith(b"\n")
    native = (await ask(fake, "/api/embed", input=["one", "two"])).json["embeddings"]
    assert answer.json == {
        "object": "list",
        "data": [{"object": "embedding", "embedding": one, "index": index} for index, one in enumerate(native)],
        "model": MODEL,
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }


async def test_base64_holds_the_same_numbers_in_32_bits(fake: FakeOllama) -> None:
    plain = (await ask(fake, "/v1/embeddings", input="one", dimensions=8)).json["data"][0]["embedding"]
    coded = (await ask(fake, "/v1/embeddings", input="one", dimensions=8, encoding_format="base64")).json
    numbers = struct.unpack("<8f", base64.b64decode(coded["data"][0]["embedding"]))
    assert numbers == pytest.approx(plain)


async def test_an_empty_text_has_a_vector_for_openai(fake: FakeOllama) -> None:
    answer = (await ask(fake, "/v1/embeddings", input="")).json
    assert len(answer["data"]) == 1
    assert answer["usage"]["prompt_tokens"] == 1


async def test_a_model_that_speaks_has_vectors_too(fake: FakeOllama) -> None:
    assert len((await ask(fake, "/api/embed", model="llama3.2:3b", input="one")).json["embeddings"][0]) == 2048


async def test_what_does_not_fit_is_cut_off(fake: FakeOllama) -> None:
    answer = (await ask(fake, "/api/embed", input=["word " * 4_000, "two"])).json
    assert answer["prompt_eval_count"] == NOMIC.context + 1


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_vector_follows_from_model_and_text(one: str, other: str) -> None:
    assert vector("m", one, 8) == vector("m", one, 8)
    assert (vector("m", one, 8) == vector("m", other, 8)) == (one == other)
    assert vector("m", one, 8) != vector("n", one, 8)
    assert all(-1 <= number < 1 for number in vector("m", one, 8))


def test_vectors_take_a_slot_and_the_time_of_their_prompts() -> None:
    async def story() -> None:
        fake = FakeOllama(MACHINE, [NOMIC])
        began = [asyncio.get_running_loop().time()]
        for _ in range(2):
            await ask(fake, "/api/embed", input="word " * 1_600)
            began.append(asyncio.get_running_loop().time())
        first, second = (after - before for before, after in pairwise(began))
        assert first == pytest.approx(MACHINE.load_s(NOMIC) + MACHINE.prefill_s(NOMIC, 2_000), rel=1e-6)
        assert second == pytest.approx(MACHINE.prefill_s(NOMIC, 2_000), rel=1e-6)  # nothing is remembered of a text
        together = [asyncio.create_task(ask(fake, "/api/embed", input=text)) for text in ("one", "two")]
        await fake.until(lambda fake: (fake.running, fake.waiting) == (1, 1))
        await asyncio.gather(*together)

    run_virtual(story())


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
async def test_a_fault_strikes_a_vector_as_it_would_an_answer(fake: FakeOllama, path: str) -> None:
    body = {"model": MODEL, "input": "one"}
    fake.fail_next(500, "no")
    assert (await call(fake.handle, "POST", path, body)).status == 500
    fake.die_mid_stream(0)
    assert (await call(fake.handle, "POST", path, body)).aborted
    fake.lie_next(Lie.EMPTY)
    assert (await call(fake.handle, "POST", path, body)).body == b""
    fake.lie_next(Lie.ERROR)
    assert b"unexpected EOF" in (await call(fake.handle, "POST", path, body)).body
    assert (await call(fake.handle, "POST", path, body)).status == 200
