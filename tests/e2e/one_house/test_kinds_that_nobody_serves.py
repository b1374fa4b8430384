"""A fleet of Ollamas alone is asked for pictures and for speech: it says what is missing, in each client's words."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from herd.types import Api
from tests.e2e.house import BOTH, House
from tests.e2e.media_servers import picture, sound

pytestmark = pytest.mark.asyncio(loop_scope="package")

ASKED: dict[Api, tuple[str, Any]] = {
    Api.GENERATE_IMAGE: ("image models need a node with", {"prompt": "a lighthouse"}),
    Api.IMAGES: ("image models need a node with", {"prompt": "a lighthouse"}),
    Api.IMAGE_EDITS: ("to edit images needs a node with", picture(8, 8)),
    Api.TRANSCRIBE: ("speech models need a node with", sound(0.1)),
    Api.TRANSCRIPTIONS: ("speech models need a node with", sound(0.1)),
}


@pytest.mark.parametrize("path", ASKED)
async def test_the_sentence_names_what_is_missing_and_where(house: House, path: Api) -> None:
    status, headers, text = await refused(house, path, "z-image-turbo")
    assert status == 503
    assert int(headers["Retry-After"]) > 0
    assert ASKED[path][0] in text
    assert "none of 2 nodes has one" in text


@pytest.mark.parametrize("path", ASKED)
async def test_a_model_that_is_there_and_cannot_is_named(house: House, path: Api) -> None:
    status, _, text = await refused(house, path, BOTH)
    assert status == 400
    assert BOTH in text


async def refused(house: House, path: Api, model: str) -> tuple[int, Mapping[str, str], str]:
    """The status, the headers, and the sentence out of the dialect's form. No model server hears of it."""
    _, made = ASKED[path]
    if isinstance(made, dict):
        asking = house.post(path, json={"model": model} | made)
    else:
        form = aiohttp.FormData()
        form.add_field("model", model)
        form.add_field("image" if path is Api.IMAGE_EDITS else "file", made, filename="it")
        form.add_field("prompt", "as it is")
        asking = house.post(path, data=form)
    async with asking as answer:
        error = (await answer.json())["error"]
    assert not [sent for server in house.servers.values() for sent in server.sent if sent.target == path]
    return answer.status, answer.headers, error if path.startswith("/api/") else error["message"]
