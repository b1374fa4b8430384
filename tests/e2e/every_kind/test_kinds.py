"""Four kinds of models behind one URL, over two agents: each request goes to a machine that can do what it asks for."""

import asyncio
import base64
import hashlib
import io
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import aiohttp
import pytest

from herd.types import Api
from tests.e2e.kinds import (
    CHATS,
    DRAWN,
    EITHER,
    PAINTED,
    SEES,
    SPOKEN,
    SPOKEN_ON_DEMAND,
    SPOKEN_TWICE,
    VECTORS,
    KindsHouse,
)
from tests.e2e.media_servers import EDITS, FORMS_ARE_READ, PICTURES, PNG, SPEECH, MediaServer, picture, sound
from tests.e2e.processes import PATIENCE_S
from tests.net.tools.ends import Ends
from tests.net.tools.speech import heard_in

pytestmark = [pytest.mark.asyncio(loop_scope="package"), FORMS_ARE_READ]

PHOTO = base64.b64encode(picture(8, 8)).decode()
NOBODYS = "nothing:1b"


def ollama_photo(model: str) -> dict[str, Any]:
    message = {"role": "user", "content": "What is this?", "images": [PHOTO]}
    return {"model": model, "messages": [message], "stream": False, "options": {"num_predict": 3}}


def openai_photo(model: str) -> dict[str, Any]:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PHOTO}"}},
    ]
    return {"model": model, "messages": [{"role": "user", "content": parts}], "max_tokens": 3}


def anthropic_photo(model: str) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PHOTO}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    return {"model": model, "max_tokens": 3, "messages": [{"role": "user", "content": content}]}


def generate_photo(model: str) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": "What is this?",
        "images": [PHOTO],
        "stream": False,
        "options": {"num_predict": 3},
    }


def response_photo(model: str) -> dict[str, Any]:
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PHOTO}"},
    ]
    return {"model": model, "input": [{"role": "user", "content": parts}], "max_output_tokens": 3}


SHOWN: dict[Api, Callable[[str], dict[str, Any]]] = {
    Api.OLLAMA_CHAT: ollama_photo,
    Api.OLLAMA_GENERATE: generate_photo,
    Api.CHAT: openai_photo,
    Api.RESPONSES: response_photo,
    Api.MESSAGES: anthropic_photo,
}

# One request of each kind, and the path that the model server behind the agent is asked at.
JSON_KINDS: dict[str, tuple[Api, dict[str, Any]]] = {
    "chat": (Api.OLLAMA_CHAT, {"model": CHATS, "messages": [{"role": "user", "content": "Hi"}], "stream": False}),
    **{f"photo, {path}": (path, photo(SEES)) for path, photo in SHOWN.items()},
    "vectors, Ollama's way": (Api.OLLAMA_EMBED, {"model": VECTORS, "input": ["one", "two"]}),
    "vectors, the old way": (Api.OLLAMA_EMBEDDINGS, {"model": VECTORS, "prompt": "one"}),
    "vectors, OpenAI's way": (Api.EMBEDDINGS, {"model": VECTORS, "input": ["one", "two"]}),
    "picture, Herd's way": (Api.GENERATE_IMAGE, {"model": DRAWN, "prompt": "a lighthouse", "width": 64, "height": 64}),
    "picture, OpenAI's way": (Api.IMAGES, {"model": DRAWN, "prompt": "a lighthouse", "size": "64x64"}),
    "picture, by mflux": (Api.GENERATE_IMAGE, {"model": PAINTED, "prompt": "a lighthouse", "width": 64, "height": 64}),
    "picture, by mflux, OpenAI's way": (Api.IMAGES, {"model": PAINTED, "prompt": "a lighthouse", "size": "64x64"}),
}
IN_THE_CELLAR = (CHATS, PAINTED)


NAMES = {"file": "day.wav", "image": "photo.png"}


def form(model: str, **files: bytes) -> aiohttp.FormData:
    fields = aiohttp.FormData()
    for name, data in files.items():
        fields.add_field(name, io.BytesIO(data), filename=NAMES[name], content_type="application/octet-stream")
    fields.add_field("model", model)  # behind the file, where a router has to look for it
    fields.add_field("prompt", "as it was")
    return fields


@pytest.mark.parametrize("kind", JSON_KINDS)
async def test_each_kind_goes_to_the_machine_that_has_it(house: KindsHouse, kind: str) -> None:
    path, body = JSON_KINDS[kind]
    async with house.post(path, json=body) as answer:
        await answer.read()
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Herd-Node"] == ("cellar" if body["model"] in IN_THE_CELLAR else "attic")
        assert answer.headers["X-Herd-Model"] == body["model"]


@pytest.mark.parametrize(
    ("path", "model", "files"),
    [
        (Api.TRANSCRIPTIONS, SPOKEN, {"file": sound(1.0)}),
        (Api.TRANSCRIBE, SPOKEN, {"file": sound(1.0)}),
        (Api.IMAGE_EDITS, DRAWN, {"image": picture(8, 8)}),
    ],
)
async def test_a_form_goes_to_the_machine_that_has_its_model(
    house: KindsHouse, path: Api, model: str, files: dict[str, bytes]
) -> None:
    async with house.post(path, data=form(model, **files)) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.headers["X-Herd-Node"] == "attic"
    server = house.painter if path is Api.IMAGE_EDITS else house.listener
    assert server.uploads[-1].size == len(*files.values())


@pytest.mark.parametrize("path", [Api.TRANSCRIPTIONS, Api.TRANSCRIBE])
async def test_a_server_of_speech_is_started_on_the_machine_that_has_the_model(house: KindsHouse, path: Api) -> None:
    recording = sound(2.0)
    async with house.post(path, data=form(SPOKEN_ON_DEMAND, file=recording)) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["text"].endswith(heard_in(recording))
        assert answer.headers["X-Herd-Node"] == "cellar"


async def test_what_a_model_does_not_heed_is_named(house: KindsHouse) -> None:
    asked = {"model": PAINTED, "prompt": "a lighthouse", "width": 64, "height": 64, "negative_prompt": "fog", "odd": 1}
    async with house.post(Api.GENERATE_IMAGE, json=asked) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert (await answer.read()).startswith(PNG)
        assert {"negative_prompt", "odd"} <= {name.strip() for name in answer.headers["X-Herd-Ignored"].split(",")}


async def test_no_server_is_ever_asked_for_what_it_does_not_do(house: KindsHouse) -> None:
    for path, body in JSON_KINDS.values():
        async with house.post(path, json=body) as answer:
            await answer.read()
    assert {*house.painter.asked} <= {PICTURES, EDITS}
    assert {*house.listener.asked} <= {SPEECH}
    for ollama in house.ollamas.values():
        asked = {sent.target for sent in ollama.sent}
        assert not asked & {PICTURES, EDITS, SPEECH, Api.GENERATE_IMAGE, Api.TRANSCRIBE}


@pytest.mark.parametrize("path", SHOWN)
async def test_a_picture_goes_to_no_model_that_does_not_see(house: KindsHouse, path: Api) -> None:
    async with house.post(path, json=SHOWN[path](CHATS)) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert "image input" in (error if isinstance(error, str) else error["message"])  # Ollama's own words


REFUSED: dict[Api, Any] = {
    Api.GENERATE_IMAGE: {"prompt": "a lighthouse"},
    Api.IMAGES: {"prompt": "a lighthouse"},
    Api.IMAGE_EDITS: {"image": picture(8, 8)},
    Api.TRANSCRIBE: {"file": sound(1.0)},
    Api.TRANSCRIPTIONS: {"file": sound(1.0)},
}


async def refused(house: KindsHouse, path: Api, model: str) -> tuple[int, str]:
    """The status, and the sentence in the dialect's form."""
    made = REFUSED[path]
    sent = {"json": {"model": model} | made} if "prompt" in made else {"data": form(model, **made)}
    async with house.post(path, **sent) as answer:
        error = (await answer.json())["error"]
        return answer.status, error if path.startswith("/api/") else error["message"]


@pytest.mark.parametrize("path", REFUSED)
async def test_a_model_that_nobody_has_is_not_found(house: KindsHouse, path: Api) -> None:
    status, text = await refused(house, path, NOBODYS)
    assert status == 404
    assert NOBODYS in text


@pytest.mark.parametrize("path", REFUSED)
async def test_a_model_of_another_kind_is_refused(house: KindsHouse, path: Api) -> None:
    status, text = await refused(house, path, CHATS)
    assert status == 400
    assert CHATS in text


async def test_a_client_that_leaves_in_the_middle_frees_the_server(house: KindsHouse) -> None:
    painter = house.painter
    painter.gate.clear()
    abandoned = painter.abandoned

    async def ask() -> None:
        async with house.post(Api.IMAGES, json={"model": DRAWN, "prompt": "a lighthouse"}):
            raise AssertionError("nobody has painted it")

    asking = asyncio.create_task(ask())
    await painter.until(lambda it: it.running == 1)
    asking.cancel()
    await asyncio.wait([asking])
    await painter.until(lambda it: it.running == 0 and it.abandoned == abandoned + 1)


@asynccontextmanager
async def held_picture(house: KindsHouse) -> AsyncIterator[list[int]]:
    """A picture by mflux that stops at its second step, and whose client leaves at the end; its processes."""
    house.tools.hold()

    async def ask() -> None:
        async with house.post(Api.GENERATE_IMAGE, json={"model": PAINTED, "prompt": "a lighthouse"}):
            raise AssertionError("nobody has painted it")

    asking = asyncio.create_task(ask())
    try:
        yield await house.tools.runs()
    finally:
        asking.cancel()
        await asyncio.wait([asking])
        house.tools.let_go()


@pytest.mark.skipif(sys.platform != "linux", reason="the end of another's process, Linux tells")
async def test_a_client_that_leaves_in_the_middle_ends_every_process_of_the_command(house: KindsHouse) -> None:
    async with held_picture(house) as processes:
        ends = Ends(processes)
    assert await asyncio.to_thread(ends.come)
    async with house.post(Api.GENERATE_IMAGE, json={"model": PAINTED, "prompt": "a lighthouse"}) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")  # the next one has its turn
        await answer.read()


async def test_people_see_how_far_an_image_is(house: KindsHouse) -> None:
    seen: list[tuple[str, int, int]] = []
    status = f"{house.url}/herd/v1/events?topics=status"
    async with held_picture(house), asyncio.timeout(PATIENCE_S), house.client.get(status) as events:
        while seen != [(PAINTED, 1, 4)]:  # it may be seen before its first step, too
            line = await events.content.readline()
            assert line, "the router has said all"
            if line.startswith(b"data: "):
                models = [model for node in json.loads(line[6:])["nodes"] for model in node["models"]]
                seen = [(model["name"], model["step"], model["steps"]) for model in models if model["steps"]]


async def test_a_server_that_breaks_before_its_answer_is_replaced_by_another_machine(house: KindsHouse) -> None:
    house.painter.breaks = lambda: True
    asked = len(house.painter.asked)
    async with house.post(Api.GENERATE_IMAGE, json={"model": EITHER, "prompt": "a lighthouse"}) as answer:
        assert (answer.status, answer.content_type) == (200, "image/png")
        assert (answer.headers["X-Herd-Node"], answer.headers["X-Herd-Attempts"]) == ("cellar", "2")
    assert len(house.painter.asked) > asked


@pytest.mark.parametrize("path", [Api.TRANSCRIPTIONS, Api.TRANSCRIBE])
async def test_an_upload_is_sent_again_to_another_machine(house: KindsHouse, path: Api) -> None:
    listeners = {"attic": house.listener, "cellar": house.other_listener}
    first: list[MediaServer] = []

    def breaks(server: MediaServer) -> bool:
        """The one that is asked first does, as often as it is asked."""
        first[:] = first or [server]
        return server is first[0]

    for server in listeners.values():
        server.breaks = partial(breaks, server)
    recording = sound(60.0)  # 2 MB: the router has it in a file
    async with house.post(path, data=form(SPOKEN_TWICE, file=recording)) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["text"] == "60.0 seconds of sound"
        other = listeners[answer.headers["X-Herd-Node"]]
        assert answer.headers["X-Herd-Attempts"] == "2"
    assert other is not first[0]
    assert other.uploads[-1].sha256 == hashlib.sha256(recording).hexdigest()
