"""Blobs, and refusals to make models of them."""

import hashlib
from typing import Any

import pytest

from herd.simulation.http import call
from herd.simulation.ollama.server import FakeOllama
from tests.simulation.ollama.asking import JSON, ask, error, small_server


@pytest.fixture
def fake() -> FakeOllama:
    return small_server()


GGUF = b"GGUF and more"
DIGEST = "sha256:" + hashlib.sha256(GGUF).hexdigest()
PROSE = b"once upon a time"
PROSE_DIGEST = "sha256:" + hashlib.sha256(PROSE).hexdigest()
OTHER = "sha256:" + "0" * 64


@pytest.mark.parametrize("name", ["sha256:12", "md5:" + "0" * 64, OTHER + "0", "sha256_" + "0" * 64])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_what_is_no_digest(fake: FakeOllama, method: str, name: str) -> None:
    answer = await call(fake.handle, method, f"/api/blobs/{name}", GGUF)
    assert answer.status == 400
    assert answer.body == (b'{"error":"invalid digest format"}' if method == "POST" else b"")


async def test_a_blob_is_taken_once_and_found_by_both_spellings_of_its_digest(fake: FakeOllama) -> None:
    path = f"/api/blobs/{DIGEST}"
    statuses = [(await call(fake.handle, method, path, GGUF)).status for method in ("HEAD", "POST", "POST", "HEAD")]
    assert statuses == [404, 201, 200, 200]
    assert (await call(fake.handle, "HEAD", path.replace("sha256:", "sha256-"))).status == 200
    assert fake.blobs.received == len(GGUF)


async def test_a_blob_that_is_not_what_its_digest_says_is_refused(fake: FakeOllama) -> None:
    answer = await call(fake.handle, "POST", f"/api/blobs/{OTHER}", GGUF)
    assert error(answer) == (400, f'digest mismatch, expected "{OTHER}", got "{DIGEST}"')
    assert OTHER not in fake.blobs


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"files": {}}, "no files provided to convert"),
        ({"files": {"a.gguf": "sha256:12"}}, "invalid digest format"),
        ({"files": {"a.gguf": OTHER}}, f'blob "{OTHER}" not found'),
        ({"from": "no way!"}, "invalid model name"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_that_comes_first_keeps_its_status(
    fake: FakeOllama, body: dict[str, Any], words: str, stream: bool
) -> None:
    answer = await ask(fake, "/api/create", {"model": "mine", "stream": stream, **body})
    assert error(answer) == (400, words)
    assert answer.header("Content-Type") == ("application/json" if stream else JSON)


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a//b", "a/./b"])
async def test_a_file_of_a_model_has_to_be_inside_it(fake: FakeOllama, path: str) -> None:
    answer = await ask(fake, "/api/create", {"model": "mine", "files": {path: DIGEST}})
    assert error(answer) == (400, "file path must be relative")


async def test_a_file_that_is_no_model_is_no_model(fake: FakeOllama) -> None:
    await call(fake.handle, "POST", f"/api/blobs/{PROSE_DIGEST}", PROSE)
    body = {"model": "mine", "files": {"a.gguf": PROSE_DIGEST}, "stream": False}
    assert error(await ask(fake, "/api/create", body)) == (400, "supplied file was not in GGUF format")
    assert "mine" not in (await call(fake.handle, "GET", "/api/tags")).body.decode()


async def test_an_error_has_no_body_for_a_head_but_its_length(fake: FakeOllama) -> None:
    answer = await call(fake.handle, "HEAD", f"/api/blobs/{OTHER}")
    assert (answer.status, answer.body) == (404, b"")
    assert answer.header("Content-Length") == str(len(f'{{"error":"blob \\"{OTHER}\\" not found"}}'))
