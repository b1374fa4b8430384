"""Speech that a simulated Ollama writes down: the forms of the answer, and since when it does."""

import asyncio
import struct

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.media import MEDIA
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

PATH = "/v1/audio/transcriptions"
MODEL = "gemma4:e2b"


def wav(seconds: float) -> bytes:
    """Silence, at 16,000 samples of 16 bits a second."""
    sound = bytes(int(seconds * 32_000))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(sound)) + b"WAVE" + form + b"data" + struct.pack("<I", len(sound)) + sound
    )


def fake(version: str = "0.20.0", speed: float = 1e6) -> FakeOllama:
    return FakeOllama(PROFILES["mac-studio"].faster(speed), [*MEDIA.values(), *CATALOG.values()], version=version)


def form(sound: bytes | None = None, **fields: str) -> bytes:
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{fields[name]}\r\n' for name in fields]
    body = "".join(parts).encode()
    if sound is not None:
        body += b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
        body += b"Content-Type: audio/wav\r\n\r\n" + sound + b"\r\n"
    return body + b"--b--\r\n"


async def ask(of: FakeOllama, body: bytes, content_type: str = 'multipart/form-data; boundary="b"') -> RecordingSink:
    sink = RecordingSink()
    await of.handle(InMemoryRequest("POST", PATH, body, (("Content-Type", content_type),)), sink)
    return sink


@pytest.mark.parametrize("wanted", ["json", "verbose_json", ""])
async def test_words_come_back_in_an_object_whichever_is_asked_for(wanted: str) -> None:
    answer = await ask(fake(), form(wav(5.0), model=MODEL, response_format=wanted))
    assert (answer.status, answer.header("Content-Type")) == (200, "application/json")
    assert set(answer.json) == {"text"}
    assert len(answer.json["text"].split()) > 5


async def test_or_alone() -> None:
    answer = await ask(fake(), form(wav(5.0), model=MODEL, response_format="text"))
    assert answer.header("Content-Type") == "text/plain"
    assert answer.body.decode() == (await ask(fake(), form(wav(5.0), model=MODEL))).json["text"]
    assert answer.body != (await ask(fake(), form(wav(5.1), model=MODEL, response_format="text"))).body


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (form(wav(1.0)), 400, "model is required"),
        (form(model=MODEL), 400, "file is required: http: no such file"),
        (form(model=MODEL, file="words"), 400, "file is required: http: no such file"),
        (form(b"", model=MODEL), 400, "audio file is empty"),
        (form(wav(1.0), model="qwen3:8b"), 400, "this model is missing data required for image input"),
        (form(wav(1.0), model="nobody"), 404, "model 'nobody' not found"),
    ],
)
async def test_what_cannot_be_written_down_is_refused(body: bytes, status: int, words: str) -> None:
    answer = await ask(fake(), body)
    assert (answer.status, answer.json["error"]["message"]) == (status, words)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data"])
async def test_what_is_no_form_is_refused(content_type: str) -> None:
    answer = await ask(fake(), b"{}", content_type)
    assert answer.status == 400
    assert answer.json["error"]["message"].startswith("failed to parse multipart form: ")


async def test_the_endpoint_came_with_a_version() -> None:
    assert (await ask(fake("0.19.9"), form(wav(1.0), model=MODEL))).status == 404
    assert (await ask(fake("0.33.0"), form(wav(1.0), model=MODEL))).status == 200


@virtual_time
async def test_a_long_recording_takes_longer() -> None:
    server = fake(speed=1.0)
    took: list[float] = []
    for seconds in (1.0, 10.0, 60.0):
        began = asyncio.get_running_loop().time()
        assert (await ask(server, form(wav(seconds), model=MODEL))).status == 200
        took.append(asyncio.get_running_loop().time() - began)
    assert took[2] > 4 * took[1]
