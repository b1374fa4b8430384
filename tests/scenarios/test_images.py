"""Pictures in a fleet of Ollamas: made where that is possible, of models that can, and nowhere else."""

import base64
import json
from typing import Any

import pytest

from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import RecordingSink
from tests.scenarios.helpers import LLAMA, lines, scenario, served_by

PAINTER = "x/z-image-turbo:latest"
MAKES, TOO_YOUNG = "0.32.5", "0.33.0"
SMALL = {"width": 64, "height": 32, "steps": 2, "size": "64x32"}
OURS, OPENAIS, NATIVE = "/api/generate-image", "/v1/images/generations", "/api/generate"


def painting(model: str = PAINTER, **fields: Any) -> dict[str, Any]:
    return {"model": model, "prompt": "a cat", **SMALL, **fields}


def picture(path: str, answer: RecordingSink) -> bytes:
    """What is in an answer of any of the three endpoints."""
    if path == OURS:
        return answer.body
    data = answer.json["data"][0]["b64_json"] if path == OPENAIS else lines(answer)[-1]["image"]
    return base64.b64decode(data)


@pytest.mark.parametrize("path", [OURS, OPENAIS, NATIVE])
def test_of_several_versions_of_ollama_that_have_a_model_for_images_the_one_that_makes_them_is_asked(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            await home.node("young", [PAINTER], resident=[], version=TOO_YOUNG)
            await home.node("right", [PAINTER, LLAMA], version=MAKES)
            await home.node("old", [PAINTER], version="0.14.0")
            answer = await home.ask(path, painting())
            assert served_by(answer) == "right"
            made = picture(path, answer)
            assert (made[:8], made[16:24]) == (b"\x89PNG\r\n\x1a\n", bytes((0, 0, 0, 64, 0, 0, 0, 32)))

    run_virtual(story())


@virtual_time
async def test_what_is_not_heeded_is_named_to_the_client() -> None:
    async with scenario() as home:
        await home.node("right", [PAINTER], version=MAKES)
        answer = await home.ask(OURS, painting(guidance=3.5, quantize=8, seed=1))
        assert answer.header("Content-Type") == "image/png"
        assert answer.header("X-Herd-Ignored") == "guidance, quantize, size"
        assert answer.header("X-Herd-Model") == PAINTER


@virtual_time
async def test_a_long_picture_comes_whole() -> None:
    async with scenario() as home:
        await home.node("right", [PAINTER], version=MAKES)
        answer = await home.ask(NATIVE, painting(width=4096, height=4096))
        assert served_by(answer) == "right"
        assert len(answer.body) > 64 * 1024
        assert lines(answer)[-1]["done"]


@pytest.mark.parametrize("path", [OURS, OPENAIS])
def test_a_model_for_words_is_not_asked_for_a_picture(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            node = await home.node("right", [PAINTER, LLAMA], version=MAKES)
            answer = await home.ask(path, painting(LLAMA))
            assert answer.status == 400
            assert "image" in json.dumps(answer.json["error"])
            assert node.ollama.requests["/api/generate"] == node.ollama.requests[OPENAIS] == 0

    run_virtual(story())


@pytest.mark.parametrize("path", [OURS, OPENAIS])
def test_where_no_ollama_makes_images_the_client_is_told_so(path: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            await home.node("young", [PAINTER], version=TOO_YOUNG)
            answer = await home.ask(path, painting())
            assert answer.status in {400, 503}
            assert path in json.dumps(answer.json) or "image" in json.dumps(answer.json)

    run_virtual(story())


@virtual_time
async def test_the_lists_show_who_makes_images() -> None:
    async with scenario() as home:
        await home.node("right", [PAINTER, LLAMA], version=MAKES)
        listed = (await home.ask("/api/tags", method="GET")).json["models"]
        assert {model["name"]: model["capabilities"] for model in listed}[PAINTER] == ["image"]
