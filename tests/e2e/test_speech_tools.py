"""Speech through a router and an agent, which starts one server itself, and knows a key and a path of two others."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.house import models_listed
from tests.e2e.model_servers import LOOPBACK
from tests.e2e.processes import Program, Programs
from tests.e2e.whispercpp import WhisperCpp
from tests.net.tools.ends import Ends
from tests.net.tools.speech import FORM, LARGE, PROGRAM, SMALL, Diary, cache_with, form, heard, pieces, sound

pytestmark = pytest.mark.asyncio(loop_scope="module")

STARTED, RUNNING = "qwen3-asr:0.6b", "qwen3-asr:1.7b"  # by the agent, and before it
NAMELESS = "whisper-1"  # whisper.cpp's
KEY = "k-3141592653"


@dataclass(frozen=True, slots=True)
class House:
    """A router with one node, where two models' servers run already and a third one's is started when it is asked."""

    url: str
    diary: Diary  # of the server that the agent starts
    ours: tuple[Program, ...]
    home: Path


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_with_ears(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    home = tmp_path_factory.mktemp("ears")
    variables = dict(cache_with(home, SMALL)) | {"STAND_IN_JOB_S": "0.1"}
    diary = Diary(variables)
    (home / "elsewhere").mkdir()
    elsewhere = dict(cache_with(home / "elsewhere", LARGE))
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    async with WhisperCpp() as whispercpp, Programs(home) as programs:
        serve = (PROGRAM, "serve", "--host", LOOPBACK, "--port", str(port), "--model", LARGE)
        server = await programs.start("asr", serve, elsewhere | {"MLX_ASR_API_KEY": KEY})
        await server.says("startup complete")
        router = await programs.herd("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns")
        url = (await router.says(r"is up: (http://\S+)"))[1]
        variables |= {"HERD_NODE_BACKEND_URL": f"http://:{KEY}@{LOOPBACK}:{port},{whispercpp}"}
        words = ("--router-url", url, "--no-mdns", "--name", "ears", "--log-level", "debug")
        agent = await programs.herd_node(*words, variables=variables)
        await agent.says("joined router")
        async with aiohttp.ClientSession() as session:
            await models_listed(session, url, [STARTED, RUNNING, NAMELESS])
        yield House(url, diary, (router, agent), home)


async def ask(house: House, path: str, body: bytes) -> tuple[int, Any, Any]:
    """Have a form answered: status, JSON (or text) and headers."""
    headers = {"Content-Type": FORM, "Authorization": "Bearer of-the-client"}
    url = house.url + path
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, data=pieces(body)) as answer:
        whole = await answer.text()
        return answer.status, json.loads(whole) if whole.startswith("{") else whole, answer.headers


async def get(house: House, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(house.url + path) as answer:
        return await answer.json()


async def test_a_server_that_runs_is_asked_with_its_key_which_nobody_else_sees(house: House) -> None:
    for path in ("/v1/audio/transcriptions", "/api/transcribe"):
        status, answer, headers = await ask(house, path, form(sound(1), model=RUNNING))
        assert (status, answer["text"], headers["X-Herd-Node"]) == (200, heard(1), "ears")
    printed = "\n".join(line for program in house.ours for line in program.lines)
    shown = json.dumps([await get(house, f"/herd/v1/{path}") for path in ("status", "nodes/ears", "requests")])
    kept = b"".join([file.read_bytes() for file in house.home.glob(".herd*/**/*") if file.is_file()])
    assert KEY not in printed + shown
    assert KEY.encode() not in kept


async def test_the_first_request_starts_the_tool_and_what_was_said_comes_back(house: House) -> None:
    body = form(sound(2), "audio", model=STARTED, language="de", prompt="numbers")
    status, answer, headers = await ask(house, "/api/transcribe", body)
    text = heard(2, context="numbers")
    assert (status, headers["X-Herd-Node"]) == (200, "ears")
    assert answer == {
        "model": STARTED,
        "text": text,
        "language": "German",
        "duration": 2.0,
        "segments": [{"start": 0.0, "end": 2.0, "text": text}],
    }
    status, answer, _ = await ask(house, "/v1/audio/transcriptions", form(sound(1, 7), model=STARTED))
    assert (status, answer) == (200, {"text": heard(1, 7)})
    assert len(house.diary.pids("ready")) == 1


async def test_who_hangs_up_on_a_job_ends_the_tool(house: House) -> None:
    before = len(house.diary.pids("inference"))
    asking = asyncio.create_task(ask(house, "/api/transcribe", form(sound(0.5), model=STARTED, prompt="slowly")))
    while len(house.diary.pids("inference")) == before:
        await house.diary.more()
    pid = house.diary.pids("inference")[-1]
    asking.cancel()
    assert await asyncio.to_thread(Ends([pid]).come)
    status, answer, _ = await ask(house, "/api/transcribe", form(sound(1), model=STARTED))  # it is started again
    assert (status, answer["text"]) == (200, heard(1))


async def test_whispercpp_is_asked_in_its_own_way_by_both_endpoints(house: House) -> None:
    long = form(sound(40), model=NAMELESS, language="de")  # more than a mebibyte
    status, answer, _ = await ask(house, "/api/transcribe", long)
    text = heard(40)
    assert (status, answer) == (
        200,
        {
            "model": NAMELESS,
            "text": text,
            "language": "de",
            "duration": 40.0,
            "segments": [{"start": 0.0, "end": 40.0, "text": text}],
        },
    )
    status, answer, _ = await ask(house, "/v1/audio/transcriptions", long)
    assert (status, answer["text"].strip()) == (200, text)
    subtitles = form(sound(1), model=NAMELESS, response_format="srt")
    status, answer, headers = await ask(house, "/v1/audio/transcriptions", subtitles)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "application/x-subrip")
    assert heard(1) in answer


async def test_what_is_no_sound_is_refused_by_who_cannot_hear_it(house: House) -> None:
    for model, told in ((NAMELESS, 400), (STARTED, 500)):
        status, answer, _ = await ask(house, "/api/transcribe", form(b"no sound", model=model))
        assert (status, list(answer)) == (told, ["error"])
