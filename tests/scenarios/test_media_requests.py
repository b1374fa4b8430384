"""Requests for images and speech on their way through the router: read, placed, sent as they came, and refused."""

import json
from typing import Any

import pytest

from herd.names import Names
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House
from herd.simulation.http import RecordingSink
from herd.types import MiB
from tests.protocols.forms import FORM_TYPE, Part, form, wav
from tests.scenarios.helpers import LLAMA, scenario, served_by, story_of
from tests.scenarios.media_server import MediaServer, media_node

IMAGES, EDITS, SPEECH = "/v1/images/generations", "/v1/images/edits", "/v1/audio/transcriptions"
CAT = {"model": "z-image-turbo", "prompt": "a cat"}
SOUND = ("file", wav(1))
NEEDS_IMAGES = "image models need a node with mflux (Apple Silicon) or an image server"
NEEDS_SPEECH = (
    "speech models need a node with Qwen3-ASR (mlx, Apple Silicon), an Ollama with a model that hears,"
    " or a speech server"
)


def hears() -> MediaServer:
    return MediaServer(["tiny.en"], [SPEECH])


def paints() -> MediaServer:
    return MediaServer(["z-image-turbo"], [IMAGES, EDITS], body=b'{"created": 1, "data": [{"b64_json": "AAAA"}]}')


async def send_form(home: House, *parts: Part, path: str = SPEECH) -> RecordingSink:
    return await home.ask(path, form(*parts), (("Content-Type", FORM_TYPE),))


def said(answer: RecordingSink) -> Any:
    """The sentence of a refusal in OpenAI's form or Ollama's."""
    error = answer.json["error"]
    return error if isinstance(error, str) else error["message"]


@virtual_time
async def test_a_form_reaches_the_server_as_it_came() -> None:
    server = hears()
    async with scenario() as home, media_node(home, "a", server):
        parts: list[Part] = [("language", "en"), SOUND, ("model", "tiny.en"), ("odd", "ü\n")]
        answer = await send_form(home, *parts)
        assert served_by(answer) == "a"
        assert answer.json == {"text": "hello"}
        assert answer.header("X-Herd-Model") == "tiny.en"
        ((_, headers, body),) = server.asked
        assert body == form(*parts)
        assert dict(headers)["Content-Type"] == FORM_TYPE


@virtual_time
async def test_by_an_alias_only_the_name_in_the_form_is_another() -> None:
    server, names = hears(), Names(aliases={"whisper-1": "tiny.en"})
    async with scenario(names=names) as home, media_node(home, "a", server):
        answer = await send_form(home, ("model", "whisper-1"), SOUND)
        assert (served_by(answer), answer.header("X-Herd-Edited")) == ("a", "model")
        assert server.asked[0][2] == form(("model", "tiny.en"), SOUND)


@virtual_time
async def test_after_a_failure_another_node_gets_the_whole_form() -> None:
    broken, sound = hears(), hears()
    broken.status, broken.body = 500, b'{"error": {"message": "out of memory"}}'
    async with scenario() as home, media_node(home, "a", broken), media_node(home, "b", sound):
        parts: list[Part] = [("file", bytes(300_000)), ("model", "tiny.en")]
        answer = await send_form(home, *parts)
        assert (served_by(answer), answer.header("X-Herd-Attempts")) == ("b", "2")
        assert [body for _, _, body in broken.asked + sound.asked] == [form(*parts)] * 2


@virtual_time
async def test_an_image_of_more_than_what_is_held_goes_through_as_it_comes_and_never_ends_cleanly_if_it_breaks() -> (
    None
):
    server = paints()
    server.body = json.dumps({"created": 1, "data": [{"b64_json": "A" * (2 * MiB)}]}).encode()
    async with scenario() as home, media_node(home, "a", server):
        whole = await home.ask(IMAGES, CAT)
        assert (served_by(whole), whole.body) == ("a", server.body)
        server.breaks_at = MiB + MiB // 2
        cut = await home.ask(IMAGES, CAT)
        assert (cut.status, cut.finished, cut.aborted) == (200, False, True)
        server.breaks_at = 1000
        retried = await home.ask(IMAGES, CAT)
        assert (retried.status, retried.finished) == (502, True)


@virtual_time
async def test_images_are_edited_by_form_and_by_json() -> None:
    server = paints()
    async with scenario() as home, media_node(home, "a", server):
        picture: Part = ("image", b"\x89PNG")
        assert (
            served_by(await send_form(home, ("model", "z-image-turbo"), ("prompt", "red"), picture, path=EDITS)) == "a"
        )
        assert served_by(await home.ask(EDITS, CAT | {"image": "iVBORw0K"})) == "a"


@virtual_time
async def test_a_request_for_speech_is_among_the_traces() -> None:
    async with scenario() as home, media_node(home, "a", hears()):
        sent = home.send(SPEECH, form(("model", "tiny.en"), SOUND), (("Content-Type", FORM_TYPE),))
        await sent.task
        story = await story_of(home, sent)
        assert (story["model"], story["outcome"], story["node"]) == ("tiny.en", "served", "a")


@pytest.mark.parametrize(
    ("path", "needed"),
    [(IMAGES, NEEDS_IMAGES), ("/api/generate-image", NEEDS_IMAGES), (SPEECH, NEEDS_SPEECH)],
)
def test_where_no_node_has_what_it_takes_the_refusal_says_at_once_what_that_is(path: str, needed: str) -> None:
    async def ask(home: House) -> RecordingSink:
        return await (send_form(home, ("model", "tiny.en"), SOUND) if path == SPEECH else home.ask(path, CAT))

    async def story() -> None:
        async with scenario() as home:
            empty = await ask(home)
            await home.node("a", [LLAMA])
            one = await ask(home)
            await home.node("b", [LLAMA])
            two = await ask(home)
            told = [said(answer) for answer in (empty, one, two)]
            ends = ("no node has joined", "the only node has none", "none of 2 nodes has one")
            assert told == [f"{needed}: {end}" for end in ends]
            for answer in (empty, one, two):
                assert (answer.status, answer.header("Retry-After")) == (503, "5")
                assert float(answer.header("X-Herd-Queue-Ms") or 0) == 0

    run_virtual(story())


@virtual_time
async def test_while_known_nodes_are_missing_after_the_start_it_is_waited_for() -> None:
    async with scenario(knows=("a",), join_grace=10.0) as home:
        waiting = home.send(IMAGES, CAT)
        async with media_node(home, "a", paints()):
            await waiting.task
            assert served_by(waiting.sink) == "a"


@virtual_time
async def test_a_node_that_stays_away_after_the_start_is_not_said_to_have_nothing() -> None:
    async with scenario(knows=("a",), join_grace=10.0) as home:
        await home.node("b", [LLAMA])
        answer = await home.ask(IMAGES, CAT)
        joined = "as far as they have joined since the router started"
        assert (answer.status, said(answer)) == (503, f"{NEEDS_IMAGES}: none of 2 nodes has one, {joined}")


@virtual_time
async def test_a_model_that_nobody_has_is_not_found_where_another_could_do_it() -> None:
    async with scenario() as home, media_node(home, "a", paints()):
        for path in (IMAGES, "/v1/images/edits"):
            answer = await home.ask(path, CAT | {"model": "flux-3"})
            assert (answer.status, answer.json["error"]["code"]) == (404, None)
            assert said(answer) == "model 'flux-3' not found"
        speech = await send_form(home, ("model", "tiny.en"), SOUND)
        assert said(speech) == f"{NEEDS_SPEECH}: the only node has none"


@virtual_time
async def test_a_model_that_cannot_do_it_is_not_sent_the_upload() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        speech = await send_form(home, ("model", LLAMA), SOUND)
        assert speech.header("X-Herd-Node") is None
        assert (speech.status, said(speech)) == (
            400,
            f"no node can do this with {LLAMA}: the one that has it has a build of it that hears nothing",
        )
        image = await home.ask(IMAGES, CAT | {"model": LLAMA})
        assert (image.status, said(image)) == (
            400,
            f"no node can do this with {LLAMA}: the one that has it serves it through a program that has no {IMAGES}",
        )


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        (SPEECH, b"", "the form is empty: the boundary that its Content-Type names is nowhere in it"),
        (SPEECH, form(("model", "m"), SOUND)[:-9], "the form is not whole: it ends in a part"),
        (SPEECH, form(SOUND), "model is required"),
        (SPEECH, form(("model", "m")), 'file is required: the form has no file in its part "file"'),
        ("/api/transcribe", form(("model", "m")), 'file is required: the form has no file in its part "file"'),
        (IMAGES, b'{"model": "m"}', "prompt is required"),
    ],
)
def test_what_cannot_be_read_is_refused_in_the_clients_dialect(path: str, body: bytes, why: str) -> None:
    async def story() -> None:
        async with scenario() as home, media_node(home, "a", hears()):
            answer = await home.ask(path, body, (("Content-Type", FORM_TYPE),))
            assert (answer.status, said(answer)) == (400, why)
            assert isinstance(answer.json["error"], str if path.startswith("/api") else dict)

    run_virtual(story())


@virtual_time
async def test_speech_that_is_no_form_is_told_how_it_must_come() -> None:
    async with scenario() as home:
        answer = await home.ask(SPEECH, {"model": "tiny.en"}, (("Content-Type", "application/json"),))
        assert said(answer) == 'the request must be a form (multipart/form-data) with the audio file in its part "file"'
