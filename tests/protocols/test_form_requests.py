"""What routing reads of a request that is a form with a file, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import RequestError
from herd.protocols.form_requests import TAKE_FORMS, FormScan, comes_as_form
from herd.protocols.requests import Routing
from herd.protocols.untrusted import MAX_MODEL_NAME
from herd.types import Api, Capability
from tests.protocols.forms import FORM_TYPE, Part, cut, form, wav

SOUND = ("file", wav(2))
PICTURE = ("image", b"\x89PNG")
CAT = ("prompt", "a cat")


def scan(api: Api, body: bytes, *cuts: int, content_type: str = FORM_TYPE) -> Routing:
    scanned = FormScan(api, content_type)
    for piece in cut(body, cuts):
        scanned.feed(piece)
    return scanned.routing()


def refusal(api: Api, *parts: Part) -> str:
    with pytest.raises(RequestError) as caught:
        scan(api, form(*parts))
    assert caught.value.status == 400
    return str(caught.value)


@given(st.permutations([SOUND, ("model", " tiny.en "), ("language", "en"), ("stream", "True")]), st.integers(0, 500))
def test_fields_are_found_in_any_order_and_cut_anywhere(parts: list[Part], at: int) -> None:
    body = form(*parts)
    routing = scan(Api.TRANSCRIPTIONS, body, at)
    assert (routing.model, routing.streamed, routing.needs) == ("tiny.en", True, (Capability.AUDIO,))
    assert (routing.amount, routing.guess, routing.prompt_tokens) == (200, 0, 0)
    assert routing.model_at is not None
    assert body[slice(*routing.model_at)] == b" tiny.en "


def test_of_other_recordings_the_length_is_a_guess() -> None:
    routing = scan(Api.TRANSCRIBE, form(("audio", bytes(32_000)), ("model", "m"), ("stream", "true")))
    assert (routing.amount, routing.guess, routing.streamed) == (None, 200, False)


def test_what_a_picture_takes_is_said_in_fields() -> None:
    fields: list[Part] = [("size", "512x512"), ("steps", "4"), ("n", " 2 ")]
    routing = scan(Api.IMAGE_EDITS, form(("model", "flux"), CAT, ("image[]", b"1"), ("image[]", b"2"), *fields))
    assert (routing.needs, routing.amount, routing.guess) == ((Capability.IMAGE,), 2098, 0)
    assert scan(Api.IMAGE_EDITS, form(("model", "flux"), CAT, PICTURE)).amount is None


@pytest.mark.parametrize(
    ("api", "parts", "why"),
    [
        (Api.TRANSCRIPTIONS, [SOUND], "model is required"),
        (Api.TRANSCRIPTIONS, [SOUND, ("model", " ")], "model is required"),
        (Api.TRANSCRIPTIONS, [SOUND, ("model", b"tiny")], "model is required"),  # a file is no name
        (Api.TRANSCRIPTIONS, [SOUND, ("model", "x" * (MAX_MODEL_NAME + 1))], "invalid model name"),
        (Api.TRANSCRIPTIONS, [SOUND, ("model", "a"), ("model", "b")], "the form names its model twice"),
        (Api.TRANSCRIPTIONS, [("model", "a")], 'file is required: the form has no file in its part "file"'),
        (
            Api.TRANSCRIPTIONS,
            [("model", "a"), ("file", "x")],
            'file is required: the form has no file in its part "file"',
        ),
        (Api.TRANSCRIPTIONS, [("model", "a"), ("file", b"")], "audio file is empty"),
        (Api.TRANSCRIBE, [("model", "a"), PICTURE], 'file is required: the form has no file in its part "file"'),
        (Api.IMAGE_EDITS, [("model", "a"), PICTURE], "prompt is required"),
        (Api.IMAGE_EDITS, [("model", "a"), CAT], 'image is required: the form has no file in its part "image"'),
        (Api.IMAGE_EDITS, [("model", "a"), CAT, ("image", b"")], "image file is empty"),
    ],
)
def test_what_cannot_be_routed_is_refused(api: Api, parts: list[Part], why: str) -> None:
    assert refusal(api, *parts) == why


def test_a_form_that_ends_early_is_refused() -> None:
    with pytest.raises(RequestError, match="the form is not whole: it ends in a part"):
        scan(Api.TRANSCRIPTIONS, form(("model", "tiny"), SOUND)[:-8])


@pytest.mark.parametrize("content_type", ["", "application/json", "audio/wav"])
def test_speech_comes_as_a_form_only(content_type: str) -> None:
    assert comes_as_form(Api.TRANSCRIPTIONS, content_type)
    with pytest.raises(RequestError) as caught:
        FormScan(Api.TRANSCRIPTIONS, content_type)
    assert (
        str(caught.value) == 'the request must be a form (multipart/form-data) with the audio file in its part "file"'
    )


def test_pictures_to_be_edited_come_as_a_form_or_as_json_and_all_else_as_json() -> None:
    assert comes_as_form(Api.IMAGE_EDITS, FORM_TYPE)
    assert not comes_as_form(Api.IMAGE_EDITS, "application/json")
    assert not comes_as_form(Api.IMAGE_EDITS, "")
    assert {*TAKE_FORMS} == {Api.IMAGE_EDITS, Api.TRANSCRIPTIONS, Api.TRANSCRIBE}


@given(st.binary(max_size=80), st.integers(0, 300))
def test_any_bytes_give_a_routing_or_a_refusal(rest: bytes, at: int) -> None:
    try:
        routing = scan(Api.TRANSCRIPTIONS, form(("model", "m"), SOUND)[:at] + rest)
    except RequestError:
        return
    assert routing.model
