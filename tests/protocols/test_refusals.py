import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.protocols.refusals import unequipped, unknown
from herd.simulation.ollama.references import is_name
from herd.types import Api

VECTORS = {Api.OLLAMA_EMBED, Api.OLLAMA_EMBEDDINGS, Api.EMBEDDINGS}


@pytest.mark.parametrize("api", Api)
def test_a_model_that_nobody_has_is_not_found_in_ollamas_words(api: Api) -> None:
    refusal = unknown(api, "Nobody/Has:this")
    expected = "model 'Nobody/Has:this' not found"
    if api in VECTORS:
        expected = 'model "Nobody/Has:this" not found, try pulling it first'
    assert (refusal.status, str(refusal)) == (404, expected)


@pytest.mark.parametrize("name", ["no name", "-x", "x:", ":x", "a/b/c/d", "x/", "ünheard", "x" * 81, "\u212a", "x\n"])
def test_what_can_be_no_name_is_told_so(name: str) -> None:
    refusal = unknown(Api.OLLAMA_CHAT, name)
    assert (refusal.status, str(refusal)) == (400, "invalid model name")


@given(st.text("aZ9_.-:/ \u212a", min_size=1, max_size=12))
def test_names_are_the_same_to_the_router_and_to_the_fake(name: str) -> None:
    assert (unknown(Api.OLLAMA_CHAT, name).status == 404) is is_name(name)


IMAGES = "image models need a node with mflux (Apple Silicon) or an image server"
SPEECH = (
    "speech models need a node with Qwen3-ASR (mlx, Apple Silicon), an Ollama with a model that hears,"
    " or a speech server"
)


@pytest.mark.parametrize(
    ("api", "needed"),
    [
        (Api.IMAGES, IMAGES),
        (Api.GENERATE_IMAGE, IMAGES),
        (
            Api.IMAGE_EDITS,
            "to edit images needs a node with mflux (Apple Silicon), or an image server that has /v1/images/edits",
        ),
        (Api.TRANSCRIPTIONS, SPEECH),
        (Api.TRANSCRIBE, SPEECH),
    ],
)
def test_what_is_missing_for_images_and_speech_is_named(api: Api, needed: str) -> None:
    assert unequipped(api, 0) == f"{needed}: no node has joined"
    assert unequipped(api, 1) == f"{needed}: the only node has none"
    assert unequipped(api, 3) == f"{needed}: none of 3 nodes has one"
    assert unequipped(api, 1, heard=False) == f"{needed}: the only node has not joined since the router started"
    joined = "as far as they have joined since the router started"
    assert unequipped(api, 3, heard=False) == f"{needed}: none of 3 nodes has one, {joined}"
