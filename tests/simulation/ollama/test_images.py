"""Pictures of a simulated Ollama: who makes them, in which version, what they look like and how long they take."""

import asyncio
import base64
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.runtime.testing import virtual_time
from herd.simulation.http import RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.media import MEDIA
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.faults import Lie
from herd.simulation.ollama.pictures import png
from herd.simulation.ollama.server import FakeOllama

MAC = PROFILES["mac-studio"]
PAINTER, TALKER = "x/z-image-turbo", "llama3.2:3b"
GENERATE, GENERATIONS, EDITS = "/api/generate", "/v1/images/generations", "/v1/images/edits"
GREY = "data:image/png;base64," + base64.b64encode(png(8, 8, b"grey")).decode()


def fake(version: str = "0.32.5", speed: float = 1e6) -> FakeOllama:
    return FakeOllama(MAC.faster(speed), [*MEDIA.values(), CATALOG[TALKER]], version=version)


async def ask(of: FakeOllama, path: str = GENERATE, **fields: Any) -> RecordingSink:
    return await call(of.handle, "POST", path, {"model": PAINTER, "prompt": "a cat", **fields})


def lines(answer: RecordingSink) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.splitlines()]


def size(picture: str) -> tuple[int, int]:
    data = base64.b64decode(picture)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


async def test_steps_are_told_and_the_last_line_has_the_picture_behind_the_sums() -> None:
    answer = await ask(fake(), width=64, height=32, steps=3)
    assert (answer.status, answer.header("Content-Type")) == (200, "application/x-ndjson")
    *steps, last = lines(answer)
    assert [(line["completed"], line["total"], line["done"]) for line in steps] == [(n, 3, False) for n in (1, 2, 3)]
    assert size(last["image"]) == (64, 32)
    assert (last["done"], last["done_reason"], last["response"]) == (True, "stop", "")
    assert last["total_duration"] > last["load_duration"] > 0
    assert list(last).index("image") > list(last).index("load_duration")


async def test_openais_endpoint_has_the_picture_alone() -> None:
    answer = (await ask(fake(), GENERATIONS, size="48x16", n=1, response_format="b64_json", seed=7)).json
    assert set(answer) == {"created", "data"}
    (made,) = answer["data"]
    assert size(made["b64_json"]) == (48, 16)
    same = await ask(fake(), size="48x16", width=48, height=16, options={"seed": 7})
    assert lines(same)[-1]["image"] == made["b64_json"]  # it follows from the model, the words and the seed
    assert size((await ask(fake(), GENERATIONS)).json["data"][0]["b64_json"]) == (1024, 1024)


async def test_a_picture_is_changed() -> None:
    edited = await ask(fake(), EDITS, image=GREY, size="32x32")
    assert size(edited.json["data"][0]["b64_json"]) == (32, 32)
    assert edited.json["data"] != (await ask(fake(), GENERATIONS, size="32x32")).json["data"]


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        (GENERATIONS, {"prompt": ""}, "prompt is required"),
        (GENERATIONS, {"model": ""}, "model is required"),
        (EDITS, {}, "image is required"),
        (EDITS, {"image": "aGk="}, "invalid image: invalid image input"),
        (EDITS, {"image": "data:image/png;base64,!"}, "invalid image: invalid image input"),
        (EDITS, {"image": "http://a/b.png"}, "image URLs are not currently supported"),
        (GENERATE, {"width": 4097}, "width and height must be <= 4096"),
        (GENERATE, {"steps": "a"}, "cannot unmarshal string into Go struct field GenerateRequest.steps of type int32"),
        ("/api/chat", {"messages": [{"role": "user", "content": "a"}]}, f'"{PAINTER}" does not support chat'),
    ],
)
async def test_what_cannot_be_made_is_refused(path: str, fields: dict[str, Any], words: str) -> None:
    answer = await ask(fake(), path, **fields)
    assert answer.status == 400
    error = answer.json["error"]
    assert words in (error["message"] if path.startswith("/v1/") else error)


async def test_a_model_for_words_makes_no_picture_and_says_nothing_of_it() -> None:
    answer = await ask(fake(), GENERATIONS, model=TALKER)
    assert (answer.status, answer.body) == (200, b"")


async def test_a_model_that_is_not_there_is_not_found() -> None:
    assert (await ask(fake(), GENERATIONS, model="x/nobody")).status == 404


@pytest.mark.parametrize(
    ("version", "generate", "generations", "edits"),
    [
        ("0.14.2", 400, 404, 404),
        ("0.14.3", 200, 200, 404),
        ("0.15.0", 200, 200, 200),
        ("0.32.5", 200, 200, 200),
        ("0.32.6", 400, 404, 404),
        ("0.33.0-rc2", 400, 404, 404),
    ],
)
async def test_pictures_came_with_one_version_and_went_with_another(
    version: str, generate: int, generations: int, edits: int
) -> None:
    server = fake(version)
    small = {"width": 16, "height": 16, "size": "16x16"}
    answers = [await ask(server, path, image=GREY, **small) for path in (GENERATE, GENERATIONS, EDITS)]
    assert [answer.status for answer in answers] == [generate, generations, edits]
    if version >= "0.32.6":
        assert answers[0].json == {"error": "image generation models are not currently supported"}
        assert answers[1].body == b"404 page not found"


async def test_the_lists_say_what_the_models_can_do() -> None:
    models = (await call(fake().handle, "GET", "/api/tags")).json["models"]
    assert {model["name"]: model["capabilities"] for model in models}["x/z-image-turbo:latest"] == ["image"]


@virtual_time
async def test_a_picture_takes_as_long_as_its_pixels_and_steps() -> None:
    server = fake(speed=1.0)
    took: list[float] = []
    for fields in ({"prompt": ""}, {"steps": 4}, {"steps": 8}, {"width": 512, "height": 512, "steps": 8}):
        began = asyncio.get_running_loop().time()
        assert (await ask(server, **fields)).status == 200
        took.append(asyncio.get_running_loop().time() - began)
    _, four, eight, small = took
    assert 1.0 < four < 60.0
    assert eight == pytest.approx(2 * four, rel=0.01)
    assert small == pytest.approx(eight / 4, rel=0.01)


async def test_a_model_is_loaded_and_let_go_by_a_request_without_words() -> None:
    server = fake()
    assert (await ask(server, prompt="")).json["done_reason"] == "load"
    assert [*server.resident] == ["x/z-image-turbo:latest"]
    assert (await ask(server, prompt="", keep_alive=0)).json["done_reason"] == "unload"
    assert [*server.resident] == []


async def test_what_can_go_wrong_with_answers_can_with_pictures() -> None:
    server = fake()
    server.die_mid_stream(2)
    broken = await ask(server, steps=4)
    assert (len(lines(broken)), broken.aborted) == (1, True)
    server.lie_next(Lie.SHORT)
    assert "image" not in lines(await ask(server, steps=1))[-1]
    server.lie_next(Lie.ERROR)
    assert "error" in lines(await ask(server, steps=1))[-1]
    server.lie_next(Lie.EMPTY)
    assert (await ask(server, GENERATIONS)).body == b""
    server.fail_next(500, "out of memory")
    assert (await ask(server)).status == 500


@given(st.integers(1, 300), st.integers(1, 60), st.binary(max_size=8))
def test_a_picture_is_a_sound_png(width: int, height: int, seed: bytes) -> None:
    data = png(width, height, seed)
    at, chunks = 8, {}
    while at < len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        chunks[kind] = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + chunks[kind])
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + (width + 7) // 8)
    assert len(chunks[b"PLTE"]) == 6
