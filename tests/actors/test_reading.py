"""A request to a model is read within the limit of its kind, and a long form without being held."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import pytest

from herd.actors.ports import Headers
from herd.actors.reading import SCAN_SIZE, UPLOAD_LIMIT, received, understood
from herd.errors import BodyTooLarge, RequestError
from herd.net.bodies import MEMORY_LIMIT, Collector, FileBody
from herd.protocols.paths import find
from herd.runtime.testing import run_virtual
from herd.simulation.http import InMemoryRequest
from herd.types import Bytes, GiB
from tests.protocols.forms import FORM_TYPE, form, wav

T = TypeVar("T")

SPEECH, EDITS, CHAT = "/v1/audio/transcriptions", "/v1/images/edits", "/v1/chat/completions"
FORM: Headers = (("content-type", FORM_TYPE),)
JSON: Headers = (("Content-Type", "application/json"),)
JSON_LIMIT = Bytes(100)


class Limited(InMemoryRequest):
    """A request that notes the limits that its body is read with, and whose body is one byte longer."""

    def __init__(self, path: str, headers: Headers) -> None:
        super().__init__("POST", path, b"", headers)
        self.limits: list[tuple[int, bool]] = []

    async def read_body(self, limit: Bytes, *, inflate: bool = False) -> "FileBody":  # type: ignore[override]
        self.limits.append((limit, inflate))
        raise BodyTooLarge(f"the limit is {limit} bytes (herd --max-body)")


@pytest.mark.parametrize(
    ("path", "headers", "limit", "inflate", "said"),
    [
        (SPEECH, FORM, UPLOAD_LIMIT, False, "the upload is too large: the limit is 4 GiB"),
        ("/api/transcribe", FORM, UPLOAD_LIMIT, False, "the upload is too large: the limit is 4 GiB"),
        (EDITS, FORM, UPLOAD_LIMIT, False, "the upload is too large: the limit is 4 GiB"),
        (EDITS, JSON, JSON_LIMIT, True, "the limit is 100 bytes (herd --max-body)"),
        (CHAT, FORM, JSON_LIMIT, True, "the limit is 100 bytes (herd --max-body)"),
        ("/api/generate-image", FORM, JSON_LIMIT, False, "the limit is 100 bytes (herd --max-body)"),
    ],
)
def test_forms_and_json_have_limits_of_their_own(
    path: str, headers: Headers, limit: int, *, inflate: bool, said: str
) -> None:
    async def story() -> None:
        request = Limited(path, headers)
        with pytest.raises(BodyTooLarge) as caught:
            await received(request, find("POST", path), JSON_LIMIT)
        assert (request.limits, str(caught.value)) == ([(limit, inflate)], said)

    run_virtual(story())
    assert 4 * GiB == UPLOAD_LIMIT


class Watched(FileBody):
    """A body in a file that notes in what pieces it is read, and is never given whole."""

    pieces: list[int]

    async def examine(self, read: Callable[[bytes | memoryview], T]) -> T:
        raise AssertionError(f"{read} is given all of a form")

    async def chunks(self, size: int) -> AsyncGenerator[bytes]:
        self.pieces = []
        async for piece in super().chunks(size):
            self.pieces.append(len(piece))
            yield piece


async def in_a_file(data: bytes) -> Watched:
    """The body as the listener has it; its file is the watched one's from then on."""
    collector = Collector(len(data))
    await collector.add(data)
    body = await collector.finish()
    assert isinstance(body, FileBody)
    return Watched(body._file, body.size)


def test_a_long_form_is_looked_through_piece_by_piece() -> None:
    async def story() -> None:
        data = form(("file", wav(60)), ("model", "tiny.en"))
        assert len(data) > MEMORY_LIMIT
        body = await in_a_file(data)
        try:
            request = InMemoryRequest("POST", SPEECH, headers=FORM)
            routing = await understood(request, find("POST", SPEECH), body)
            assert (routing.model, routing.amount) == ("tiny.en", 6000)
            assert routing.model_at is not None
            assert data[slice(*routing.model_at)] == b"tiny.en"
            assert max(body.pieces) == SCAN_SIZE
            bare = InMemoryRequest("POST", SPEECH, headers=JSON)
            with pytest.raises(RequestError, match="the request must be a form"):
                await understood(bare, find("POST", SPEECH), body)
        finally:
            body.close()

    asyncio.run(story())
