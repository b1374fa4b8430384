"""Servers of images: who they are, what they say of their models, and which endpoints they and their models have.

In which words they are asked for a picture is in `translation/test_images.py`.
"""

from typing import Any

import pytest

from herd.errors import ProtocolError
from herd.protocols import apis
from herd.protocols.image_servers import (
    LOCALAI,
    LOCALAI_MODELS,
    SDCPP,
    lists,
    paths,
    read_localai_models,
    read_sdcpp_models,
)
from herd.protocols.openai_servers import read_openai_models
from herd.protocols.servers import recognise
from herd.types import Api, BackendId, BackendKind
from tests.image_servers import Described, LocalAI, SdServer

HERE = BackendId("b")
EVERYTHING = tuple(Api)


@pytest.mark.parametrize("kind", [SdServer(), LocalAI(), Described()])
def test_what_has_openais_endpoints_is_of_no_known_kind(kind: Any) -> None:
    assert recognise(kind.lists) is BackendKind.OPENAI


def test_neither_is_taken_for_whom_it_looks_like() -> None:
    ollama = {"/api/version": {"version": "0.9.0"}}
    assert recognise(ollama) is BackendKind.OLLAMA
    assert recognise({**ollama, LOCALAI: {"version": "v4"}}) is BackendKind.OPENAI
    lmstudio = {"/v1/models": {"data": []}, "/api/v0/models": {"data": [{"id": "m", "state": "loaded"}]}}
    assert recognise({**lmstudio, SDCPP: {"model": {"stem": "m"}}}) is BackendKind.OPENAI  # on the same port
    assert recognise({**lmstudio, SDCPP: {"error": "Unexpected endpoint"}}) is BackendKind.LMSTUDIO


def test_an_sd_server_for_videos_is_no_server_of_images() -> None:
    videos = {"model": {"stem": "wan"}, "supported_modes": ["vid_gen"]}
    with pytest.raises(ProtocolError, match="makes videos"):
        recognise({**SdServer().lists, SDCPP: videos})
    assert recognise({SDCPP: {"model": {}}}) is BackendKind.OPENAI  # an older one does not say


def test_an_mflux_that_the_agent_runs_says_so_and_what_each_model_does() -> None:
    item = {"id": "schnell", "owned_by": "mflux", "capabilities": ["image"], "status": {"value": "unloaded"}}
    answer = {"data": [{**item, "meta": {"size": 12}}, {**item, "id": "odd", "capabilities": {"image": True}}]}
    assert recognise({"/v1/models": answer}) is BackendKind.MFLUX
    first, second = read_openai_models(answer, HERE)
    assert (first.capabilities, first.size, first.resident) == (("image",), 12, False)
    assert second.capabilities == ()


def test_localai_lists_its_endpoints_and_what_its_models_do() -> None:
    answers = LocalAI().lists
    listed = paths(answers)
    assert {Api.CHAT, Api.IMAGES, Api.TRANSCRIPTIONS, Api.EMBEDDINGS} <= set(listed)
    assert paths({LOCALAI: {"endpoints": {"a": {"b": {"c": "/v1/responses", "d": 1}}}}})[-1] == "/v1/responses"
    where = lists(answers)
    assert where is not None
    assert where[0] == LOCALAI_MODELS
    assert lists({LOCALAI: {"version": "v3"}}) is None  # of an older one
    words = {"data": [{"id": "m", "capabilities": ["chat", "completion", "vision", "embeddings"]}, {"object": "model"}]}
    (model,) = read_localai_models(words, HERE)
    assert model.capabilities == ("completion", "vision", "embedding")
    with pytest.raises(ProtocolError):
        read_localai_models({"error": "no"}, HERE)


def test_sd_server_has_one_model_under_the_name_of_its_file() -> None:
    assert [model.name for model in read_sdcpp_models(SdServer("sdxl").lists[SDCPP], HERE)] == ["sdxl"]
    for odd in (None, {}, {"model": 1}, {"model": {"stem": ""}}):
        assert [model.name for model in read_sdcpp_models(odd, HERE)] == ["sd-cpp-local"]


@pytest.mark.parametrize(
    ("described", "own"),
    [
        (None, {Api.CHAT, Api.COMPLETIONS, Api.EMBEDDINGS}),
        ({"paths": []}, {Api.CHAT, Api.COMPLETIONS, Api.EMBEDDINGS}),
        ({"paths": {"/health": {}}}, {Api.CHAT, Api.COMPLETIONS, Api.EMBEDDINGS}),
        ({"paths": {"/v1/images/generations": {}, "/v1/models": {}}}, {Api.IMAGES}),
        ({"paths": {"/v1/images/edits": {}, "/v1/images/generations": {}}}, {Api.IMAGES, Api.IMAGE_EDITS}),
        ({"paths": {"/v1/chat/completions": {}, "/v1/audio/transcriptions": {}}}, {Api.CHAT, Api.TRANSCRIPTIONS}),
    ],
)
def test_a_server_of_no_known_kind_has_what_it_describes_if_it_describes_anything(
    described: Any, own: set[Api]
) -> None:
    assert set(apis.own(BackendKind.OPENAI, "", described)) == own


def test_a_known_one_has_what_its_kind_has_and_what_it_describes() -> None:
    own = apis.own(BackendKind.VLLM, "", {"paths": {"/v1/audio/transcriptions": {}, "/v1/embeddings": {}}})
    assert own == (*apis.native(BackendKind.VLLM, ""), Api.TRANSCRIPTIONS)


@pytest.mark.parametrize(
    ("has", "only"),
    [
        ((Api.IMAGES,), ("image",)),
        ((Api.IMAGES, Api.IMAGE_EDITS, Api.GENERATE_IMAGE), ("image",)),
        ((Api.TRANSCRIPTIONS,), ("audio",)),
        ((Api.IMAGES, Api.TRANSCRIPTIONS), ()),
        ((Api.IMAGES, Api.CHAT), ()),
        ((Api.CHAT,), ()),
        ((), ()),
    ],
)
def test_where_a_server_does_one_thing_alone_its_models_do_it(has: tuple[Api, ...], only: tuple[str, ...]) -> None:
    assert apis.only_capability(has) == only


MEDIA = {Api.GENERATE_IMAGE, Api.IMAGES, Api.IMAGE_EDITS, Api.TRANSCRIBE, Api.TRANSCRIPTIONS}


def test_a_model_of_ollama_has_no_endpoints_for_media_before_it_has_said_what_it_can_do() -> None:
    assert set(apis.of_model("ollama", EVERYTHING, ())) == set(Api) - MEDIA
    assert apis.of_model("ollama", EVERYTHING, ("completion",)) == EVERYTHING  # and then its words are asked
    assert apis.of_model("openai", EVERYTHING, ()) == EVERYTHING


def test_an_image_model_of_an_ollama_without_images_can_be_asked_for_nothing() -> None:
    without = apis.native(BackendKind.OLLAMA, "0.33.0")
    assert apis.of_model("ollama", without, ("image",)) == ()
    within = apis.native(BackendKind.OLLAMA, "0.32.5")
    assert apis.of_model("ollama", within, ("image",)) == within
