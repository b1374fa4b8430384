"""`/api/generate-image` in the words of each server of images."""

from typing import Any

import orjson
import pytest

from herd.errors import RequestError
from herd.protocols.image_servers import NO_WORDS, SDCPP, Flavour, ImageWords, image_words
from herd.protocols.media import MAX_SIDE
from herd.protocols.translation.images import MAX_BLOCK, ImageAsked, asked, read_image_request
from herd.types import BackendKind

ALL = {"steps": 9, "guidance": 3.5, "seed": 42, "quantize": 8, "negative_prompt": "dogs"}
FULL = {"model": "m", "prompt": "a cat", "width": 512, "height": 768, **ALL}
DISTILLED = {"model": {"stem": "flux"}, "defaults": {"sample_params": {"guidance": {"txt_cfg": 1.0}}}}
FIELD = "Go struct field GenerateImageRequest"
LOCALAI = {"/.well-known/localai.json": {"version": "v4"}}


def described(*fields: str) -> dict[str, Any]:
    """What FastAPI writes of an application's endpoint."""
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/ImageRequest"}}}}
    return {
        "paths": {"/v1/images/generations": {"post": {"requestBody": body}}},
        "components": {"schemas": {"ImageRequest": {"properties": {name: {} for name in fields}}}},
    }


def said(words: ImageWords, **fields: Any) -> tuple[ImageAsked, dict[str, Any]]:
    wanted = asked(read_image_request(orjson.dumps({**FULL, **fields})), words)
    return wanted, orjson.loads(wanted.body)


def test_mflux_is_told_all_of_it_under_the_same_names() -> None:
    wanted, body = said(image_words(BackendKind.MFLUX, {}, None))
    assert (wanted.path, wanted.key, wanted.lines) == ("/v1/images/generations", "b64_json", False)
    assert body == {
        "model": "m",
        "prompt": "a cat",
        "n": 1,
        "size": "512x768",
        "response_format": "b64_json",
        **ALL,
    }
    assert wanted.ignored == ()
    assert wanted.steps == 9


def test_ollama_is_asked_at_its_own_endpoint_which_heeds_more_than_the_other() -> None:
    wanted, body = said(image_words(BackendKind.OLLAMA, {}, None), keep_alive="10m")
    assert (wanted.path, wanted.key, wanted.lines) == ("/api/generate", "image", True)
    own = {"width": 512, "height": 768, "steps": 9, "options": {"seed": 42}, "keep_alive": "10m"}
    assert body == {"model": "m", "prompt": "a cat", **own}
    assert wanted.ignored == ("guidance", "quantize", "negative_prompt")


@pytest.mark.parametrize(
    ("capabilities", "guidance"),
    [({"model": {"stem": "sd"}}, {"txt_cfg": 3.5}), (DISTILLED, {"distilled_guidance": 3.5})],
)
def test_sd_server_finds_its_own_fields_in_the_prompt(capabilities: dict[str, Any], guidance: dict[str, Any]) -> None:
    wanted, body = said(image_words(BackendKind.OPENAI, {SDCPP: capabilities}, None), negative_prompt="</sd>\n")
    prompt, _, block = body.pop("prompt").partition("<sd_cpp_extra_args>")
    assert prompt == "a cat"
    assert block.count("<") == 1  # what is not wanted cannot end the block
    assert orjson.loads(block.removesuffix("</sd_cpp_extra_args>")) == {
        "seed": 42,
        "negative_prompt": "</sd>\n",
        "sample_params": {"sample_steps": 9, "guidance": guidance},
    }
    assert body == {"model": "m", "n": 1, "size": "512x768", "response_format": "b64_json"}
    assert wanted.ignored == ("quantize",)


def test_a_prompt_that_has_a_block_for_sd_server_keeps_it_and_a_block_has_a_bound() -> None:
    words = image_words(BackendKind.OPENAI, {SDCPP: DISTILLED}, None)
    own = 'a cat<sd_cpp_extra_args>{"seed":1}</sd_cpp_extra_args>'
    wanted, body = said(words, prompt=own)
    assert body["prompt"] == own
    assert wanted.ignored == tuple(ALL)
    with pytest.raises(RequestError, match="negative_prompt is longer"):
        said(words, negative_prompt="a" * MAX_BLOCK)


def test_localai_takes_what_is_not_wanted_behind_a_bar() -> None:
    words = image_words(BackendKind.OPENAI, LOCALAI, None)
    wanted, body = said(words)
    assert (body["prompt"], body["step"], body["seed"]) == ("a cat|dogs", 9, 42)
    assert wanted.ignored == ("guidance", "quantize")
    wanted, body = said(words, prompt="a cat|a tail")
    assert body["prompt"] == "a cat|a tail"
    assert wanted.ignored == ("guidance", "quantize", "negative_prompt")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (("prompt", "num_inference_steps", "guidance_scale", "seed", "negative_prompt"), 4),
        (("prompt", "steps", "cfg_scale", "image_seed"), 3),
        (("prompt",), 0),
    ],
)
def test_any_other_server_is_told_what_its_own_description_lists(fields: tuple[str, ...], told: int) -> None:
    wanted, body = said(image_words(BackendKind.OPENAI, {}, described(*fields)))
    assert set(body) == {"model", "prompt", "n", "size", "response_format"} | set(fields)
    assert len(wanted.ignored) == len(ALL) - told


@pytest.mark.parametrize(
    "description", [None, {}, {"paths": {"/v1/images/generations": {"post": {"requestBody": []}}}}]
)
def test_a_server_that_does_not_describe_itself_is_told_what_openais_api_has_words_for(description: Any) -> None:
    words = image_words(BackendKind.OPENAI, {}, description)
    assert words == NO_WORDS
    wanted, body = said(words, keep_alive=0, scheduler="ddim", stream=False)
    assert set(body) == {"model", "prompt", "n", "size", "response_format"}
    assert wanted.ignored == (*ALL, "keep_alive", "scheduler")


def test_a_description_that_refers_to_itself_is_no_endless_search() -> None:
    loop = described()
    loop["components"]["schemas"]["ImageRequest"] = {"$ref": "#/components/schemas/ImageRequest"}
    assert image_words(BackendKind.OPENAI, {}, loop) == NO_WORDS


@pytest.mark.parametrize(
    ("given", "size"),
    [({}, None), ({"width": 512}, "512x1024"), ({"height": 512}, "1024x512"), ({"width": 64, "height": 32}, "64x32")],
)
def test_a_size_is_said_where_one_is_asked_for(given: dict[str, int], size: str | None) -> None:
    request = read_image_request(orjson.dumps({"model": "m", "prompt": "a", **given}))
    assert orjson.loads(asked(request, NO_WORDS).body).get("size") == size
    native = orjson.loads(asked(request, ImageWords(Flavour.OLLAMA)).body)
    assert {name: native[name] for name in given} == given


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": " "}, "model is required"),
        ({"prompt": ""}, "prompt is required"),
        ({"prompt": 1}, f"json: cannot unmarshal number into {FIELD}.prompt of type string"),
        ({"width": 0}, f"width must be from 1 to {MAX_SIDE}"),
        ({"height": MAX_SIDE + 1}, f"height must be from 1 to {MAX_SIDE}"),
        ({"steps": -1}, "steps must be from 1 to 1000"),
        ({"seed": 1.5}, f"json: cannot unmarshal number 1.5 into {FIELD}.seed of type int"),
        ({"guidance": "a"}, f"json: cannot unmarshal string into {FIELD}.guidance of type float64"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError) as refused:
        read_image_request(orjson.dumps({**FULL, **fields}))
    assert (str(refused.value), refused.value.status) == (words, 400)


def test_names_of_unknown_fields_that_fit_no_header_are_not_shown() -> None:
    odd = {"a\r\nX: y": 1, "é": 2, "b" * 65: 3, "fine": 4}
    assert read_image_request(orjson.dumps({**FULL, **odd})).unknown == ("fine",)


def test_whole_numbers_and_others_are_taken_for_the_guidance_and_nulls_are_left_out() -> None:
    request = read_image_request(orjson.dumps({**FULL, "guidance": 4, "seed": None}))
    assert dict(request.extras) == {"steps": 9, "guidance": 4, "quantize": 8, "negative_prompt": "dogs"}
