"""mlx-qwen3-asr, started when somebody asks: against an executable that behaves as the real one does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from herd.errors import StreamFailed
from herd.net.tools.qwen_asr import QwenAsr
from herd.protocols.servers import recognise
from herd.protocols.speech_servers import LOAD_SECONDS, QWEN_ASR_HERE
from herd.types import BackendKind, Seconds
from tests.net.tools.ends import Ends
from tests.net.tools.speech import (
    ALIGNER,
    LARGE,
    PROGRAM,
    SMALL,
    Diary,
    cache_with,
    form,
    head_of,
    heard,
    pieces,
    sound,
)

PATIENCE = Seconds(30.0)
ONE = form(sound(1.5), language="en", prompt="numbers")


@asynccontextmanager
async def tool(environ: Mapping[str, str], **options: float) -> AsyncIterator[QwenAsr]:
    async with asyncio.timeout(2 * PATIENCE), QwenAsr(PROGRAM, environ, **options) as it:
        yield it


async def ask(it: QwenAsr, path: str, body: bytes, model: str = "qwen3-asr:0.6b") -> tuple[int, Any, dict[str, str]]:
    """Have a form answered: status, JSON and headers."""
    answer = await it.exchange(QWEN_ASR_HERE, head_of(body, path, model), pieces(body))
    try:
        said = bytearray()
        while data := await answer.read():
            said += data
    finally:
        answer.close()
    return answer.status, orjson.loads(said), dict(answer.headers)


async def loaded(it: QwenAsr) -> dict[str, str]:
    """What is listed, and whether it is in memory."""
    _, listed = await it.fetch(f"{QWEN_ASR_HERE}/v1/models", timeout=PATIENCE)
    return {item["id"]: item["status"]["value"] for item in listed["data"]}


async def job_of(it: QwenAsr, job: str) -> dict[str, Any]:
    """The job once it has ended."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, value = await it.fetch(f"{QWEN_ASR_HERE}/jobs/{job}", timeout=PATIENCE)
            assert status == 200
            if value["status"] in {"completed", "failed"}:
                return dict(value)
            await asyncio.sleep(0.01)


async def done_as_job(it: QwenAsr) -> dict[str, Any]:
    _, taken, _ = await ask(it, "/transcribe", form(sound(1), "audio"))
    return await job_of(it, taken["job_id"])


async def test_models_are_those_on_the_disk_and_nothing_runs_until_one_is_asked(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL, LARGE)
    diary = Diary(environ)
    async with tool(environ) as it:
        asked = {path: (await it.fetch(QWEN_ASR_HERE + path, timeout=PATIENCE)) for path in ("/v1/models", "/health")}
        assert recognise({path: value for path, (_, value) in asked.items()}) is BackendKind.QWEN_ASR
        assert [item["meta"]["size"] for item in asked["/v1/models"][1]["data"]] == [
            1000 + len(SMALL),
            1000 + len(LARGE),
        ]
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded", "qwen3-asr:1.7b": "unloaded"}
        assert diary.events() == []


async def test_without_any_model_it_is_known_for_what_it_is_all_the_same(tmp_path: Path) -> None:
    async with tool(cache_with(tmp_path)) as it:
        asked = {path: (await it.fetch(QWEN_ASR_HERE + path, timeout=PATIENCE)) for path in ("/v1/models", "/health")}
        assert recognise({path: value for path, (_, value) in asked.items()}) is BackendKind.QWEN_ASR
        assert (await it.fetch(f"{QWEN_ASR_HERE}/props", timeout=PATIENCE)) == (404, None)
        with pytest.raises(StreamFailed, match="no model whisper"):
            await ask(it, "/transcribe", ONE, "whisper")


async def test_the_first_request_starts_the_server_and_the_next_one_finds_it_there(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL)
    diary = Diary(environ)
    async with tool(environ) as it:
        status, value, headers = await ask(it, "/v1/audio/transcriptions", ONE)
        assert (status, value) == (200, {"text": heard(1.5, context="numbers")})
        assert float(headers[LOAD_SECONDS]) > 0
        assert await loaded(it) == {"qwen3-asr:0.6b": "loaded"}
        status, job, headers = await ask(it, "/transcribe", form(sound(2), "audio"))
        assert status == 202
        assert LOAD_SECONDS not in headers
        assert (await job_of(it, job["job_id"]))["result"]["text"] == heard(2)
        assert len(diary.pids("ready")) == 1
    assert Ends(diary.pids("ready")).come()


def strings(pid: int, file: str) -> list[bytes]:
    """What the system shows of a process."""
    return Path(f"/proc/{pid}/{file}").read_bytes().split(b"\0")


async def test_nobody_sees_the_key_of_the_server_nor_can_do_without(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL)
    diary = Diary(environ)
    async with tool(environ) as it:
        await ask(it, "/v1/audio/transcriptions", ONE)
        (pid,) = diary.pids("ready")
        words, lines = strings(pid, "cmdline"), strings(pid, "environ")
        variables = dict(line.partition(b"=")[::2] for line in lines)
        assert len(variables[b"MLX_ASR_API_KEY"]) > 30
        assert not [word for word in words if variables[b"MLX_ASR_API_KEY"] in word]
        assert (words[words.index(b"--host") + 1], variables[b"HF_HUB_OFFLINE"]) == (b"127.0.0.1", b"1")


async def test_a_server_that_nobody_asks_for_a_while_is_stopped(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL)
    diary = Diary(environ)
    async with tool(environ, idle_s=0.0) as it:
        await ask(it, "/v1/audio/transcriptions", ONE)
        assert await asyncio.to_thread(Ends(diary.pids("ready")).come)
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded"}
        _, value, _ = await ask(it, "/v1/audio/transcriptions", ONE)  # which starts it again
        assert value == {"text": heard(1.5, context="numbers")}
        assert len(diary.pids("ready")) == 2


async def test_a_job_that_is_asked_for_keeps_the_server_and_its_end_lets_it_go(tmp_path: Path) -> None:
    environ = {**cache_with(tmp_path, SMALL), "STAND_IN_JOB_S": "0.3"}
    diary = Diary(environ)
    async with tool(environ, idle_s=0.0) as it:
        _, job, _ = await ask(it, "/transcribe", form(sound(1), "audio"))
        assert (await job_of(it, job["job_id"]))["status"] == "completed"
        assert await asyncio.to_thread(Ends(diary.pids("ready")).come)


async def test_another_model_waits_until_the_first_is_not_used_any_more(tmp_path: Path) -> None:
    environ = {**cache_with(tmp_path, SMALL, LARGE), "STAND_IN_JOB_S": "0.2"}
    diary = Diary(environ)
    async with tool(environ) as it:
        small = asyncio.create_task(ask(it, "/v1/audio/transcriptions", ONE))
        await diary.until("inference")
        large = asyncio.create_task(ask(it, "/v1/audio/transcriptions", ONE, "qwen3-asr:1.7b"))
        for asked in (small, large):
            assert (await asked)[1] == {"text": heard(1.5, context="numbers")}
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded", "qwen3-asr:1.7b": "loaded"}
        assert Ends(diary.pids("ready")[:1]).come()


async def test_commands_load_a_model_and_let_it_go(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL)
    diary = Diary(environ)
    async with tool(environ) as it:
        wanted = {"model": "qwen3-asr:0.6b", "keep_alive": -1}
        assert await it.fetch(f"{QWEN_ASR_HERE}/load", wanted, timeout=PATIENCE) == (200, {})
        assert await loaded(it) == {"qwen3-asr:0.6b": "loaded"}
        assert await it.fetch(f"{QWEN_ASR_HERE}/unload", wanted, timeout=PATIENCE) == (200, {})
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded"}
        assert Ends(diary.pids("ready")).come()
        status, said = await it.fetch(f"{QWEN_ASR_HERE}/load", {"model": "qwen3-asr:1.7b"}, timeout=PATIENCE)
        assert (status, list(said)) == (500, ["error"])  # it is not on the disk
        assert "LocalEntryNotFoundError" in said["error"]


async def test_no_model_is_loaded_ahead_in_the_place_of_another(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL, LARGE)
    async with tool(environ) as it:
        await ask(it, "/v1/audio/transcriptions", ONE)
        status, said = await it.fetch(f"{QWEN_ASR_HERE}/load", {"model": "qwen3-asr:1.7b"}, timeout=PATIENCE)
        assert (status, list(said)) == (500, ["error"])
        assert await loaded(it) == {"qwen3-asr:0.6b": "loaded", "qwen3-asr:1.7b": "unloaded"}


@pytest.mark.parametrize("job", [True, False])
async def test_who_hangs_up_in_mid_inference_ends_the_server(tmp_path: Path, job: bool) -> None:
    environ = {**cache_with(tmp_path, SMALL), "STAND_IN_JOB_S": "600"}
    diary = Diary(environ)
    async with tool(environ) as it:
        if job:
            _, taken, _ = await ask(it, "/transcribe", form(sound(1), "audio"))
            pid = await diary.until("inference")
            head = head_of(b"", f"/jobs/{taken['job_id']}")
            (await it.exchange(QWEN_ASR_HERE, replace(head, method="DELETE"), None)).close()
        else:
            asked = asyncio.create_task(ask(it, "/v1/audio/transcriptions", ONE))
            pid = await diary.until("inference")
            asked.cancel()
        assert await asyncio.to_thread(Ends([pid]).come)
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded"}
        it_is_asked_again = asyncio.create_task(ask(it, "/transcribe", form(sound(1), "audio")))
        assert (await it_is_asked_again)[0] == 202
        assert len(diary.pids("ready")) == 2


async def test_a_client_that_hangs_up_before_its_upload_is_whole_costs_nobody_the_server(tmp_path: Path) -> None:
    environ = cache_with(tmp_path, SMALL)
    diary = Diary(environ)
    async with tool(environ) as it:
        await ask(it, "/v1/audio/transcriptions", ONE)
        half = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield ONE[: len(ONE) // 2]
            half.set()
            await asyncio.Event().wait()

        head = head_of(ONE + bytes(2**20), "/v1/audio/transcriptions")  # longer than what is held before it is sent
        asked = asyncio.create_task(it.exchange(QWEN_ASR_HERE, head, slowly()))
        await half.wait()
        asked.cancel()
        assert (await ask(it, "/v1/audio/transcriptions", ONE))[0] == 200
        assert len(diary.pids("ready")) == 1


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    environ = {**cache_with(tmp_path, SMALL), "STAND_IN_DIE": "load"}
    async with tool(environ) as it:
        with pytest.raises(StreamFailed, match=r"does not start: .*LocalEntryNotFoundError: Cannot find Qwen"):
            await ask(it, "/transcribe", ONE)
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded"}
    async with QwenAsr(str(tmp_path / "nowhere"), environ) as it:
        with pytest.raises(StreamFailed, match=r"does not start: .*nowhere: No such file or directory"):
            await ask(it, "/transcribe", ONE)


@pytest.mark.parametrize("job", [True, False])
async def test_a_server_that_dies_breaks_the_request_and_is_there_for_the_next(tmp_path: Path, job: bool) -> None:
    environ = {**cache_with(tmp_path, SMALL), "STAND_IN_DIE": "SIGABRT"}
    diary = Diary(environ)
    async with tool(environ) as it:
        asked = done_as_job(it) if job else ask(it, "/v1/audio/transcriptions", ONE)
        with pytest.raises(StreamFailed, match="was ended by SIGABRT"):
            await asked
        assert await loaded(it) == {"qwen3-asr:0.6b": "unloaded"}
        with pytest.raises(StreamFailed):
            await ask(it, "/v1/audio/transcriptions", ONE)
        assert len(diary.pids("ready")) == 2


async def test_a_refusal_goes_through_and_the_server_stays(tmp_path: Path) -> None:
    async with tool(cache_with(tmp_path, SMALL)) as it:
        status, said, _ = await ask(it, "/transcribe", form(sound(1), "sound"))
        assert (status, said["detail"][0]["loc"]) == (400, ["body", "audio"])
        status, said, _ = await ask(it, "/v1/audio/transcriptions", form(b"no sound", response_format="srt"))
        assert status == 500
        assert ALIGNER in said["error"]["message"]
        _, job, _ = await ask(it, "/transcribe", form(b"no sound", "audio"))
        assert (await job_of(it, job["job_id"]))["status"] == "failed"
        assert await loaded(it) == {"qwen3-asr:0.6b": "loaded"}


async def test_it_finds_other_programs_where_installers_put_them(tmp_path: Path) -> None:
    """It has ffmpeg decode what is no WAV; a service is started with a PATH that has none of those places."""
    program = tmp_path / "mlx-qwen3-asr"
    program.write_text('#!/bin/sh\necho "$PATH" > "$HOME/path"\n')
    program.chmod(0o700)
    environ = {**cache_with(tmp_path, SMALL), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    async with QwenAsr(str(program), environ) as it:
        status, _ = await it.fetch(f"{QWEN_ASR_HERE}/load", {"model": "qwen3-asr:0.6b"}, timeout=PATIENCE)
    assert status == 500  # it has ended
    path = (tmp_path / "path").read_text().strip()
    assert path == f"/usr/bin:/bin:{tmp_path}/.local/bin:/opt/homebrew/bin:/usr/local/bin"
