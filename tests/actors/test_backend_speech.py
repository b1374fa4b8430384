"""The Backend of a server that makes text of speech."""

from typing import Any

import pytest

from herd.actors.backend import Backend, BackendSettings, BackendState
from herd.errors import StreamFailed, TimedOut
from herd.protocols.messages import RequestHead
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.types import Api, BackendId, BackendKind, Seconds
from tests.actors.doubles import FakeServers, Witness, settled
from tests.speech_servers import FASTER_WHISPER, QWEN_ASR, QWEN_ASR_LOCKED, SPEACHES, WHISPERCPP, whispercpp_page

OLLAMA: dict[str, Any] = {"/api/version": {"version": "0.33.0"}, "/api/tags": {"models": []}, "/api/ps": {"models": []}}
LLAMACPP: dict[str, Any] = {
    "/props": {"total_slots": 1},
    "/v1/models": {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "llamacpp"}]},
}
AUDIO = ("/v1/audio/transcriptions", "/api/transcribe")


class Page:
    """The port `Answer`: a page."""

    status = 200
    headers = ()

    def __init__(self, text: str) -> None:
        self._data = text.encode()

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data

    def close(self) -> None:
        pass


class SpeechServers(FakeServers):
    """Has a page too, and a path that is locked."""

    locked = "nothing"  # the path of what is

    async def fetch(self, url: str, body: Any = None, *, timeout: Seconds) -> tuple[int, Any]:
        status, value = await super().fetch(url, body, timeout=timeout)
        return (401, None) if url.endswith(self.locked) else (status, value)

    async def exchange(self, base_url: str, head: RequestHead, body: Any) -> Any:
        self.asked.append(head.path)
        return Page(self.answers.get(head.path, "not found"))


class Watched:
    """A Backend, the server that it watches, and the agent that it tells."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.server = SpeechServers(dict(answers))
        self.agent: ActorHandle = remote(Witness).remote()
        self.busy = False
        self.stands_in: list[tuple[BackendKind, tuple[Api, ...]]] = []
        self.backend: ActorHandle = remote(Backend).remote(
            BackendSettings(BackendId("b1"), "http://127.0.0.1:8000"),
            self.server,
            self.agent,
            recognised=lambda kind, apis, _: self.stands_in.append((kind, apis)),
            busy=lambda: self.busy,
        )

    async def told(self) -> list[BackendState]:
        await settled()
        return [args[0] for _, args in await self.agent.heard.remote()]

    async def end(self) -> None:
        await stop(self.backend)
        await stop(self.agent)


@pytest.mark.parametrize(
    ("answers", "kind", "models", "parallel"),
    [
        (WHISPERCPP, "whispercpp", [("whisper-1", True)], 1),
        ({**WHISPERCPP, "/": whispercpp_page("/v1/audio/transcriptions")}, "openai", [("whisper-1", True)], 0),
        (FASTER_WHISPER, "openai", [("whisper-1", True)], 0),
        (QWEN_ASR, "mlx-qwen3-asr", [("qwen3-asr:0.6b", True)], 1),
    ],
)
def test_a_server_of_speech_is_asked_for_nothing_else(
    answers: dict[str, Any], kind: str, models: list[tuple[str, bool]], parallel: int
) -> None:
    async def story() -> None:
        watched = Watched(answers)
        (state,) = await watched.told()
        assert state.info is not None
        assert (state.info.kind, state.info.apis, state.info.parallel) == (kind, AUDIO, parallel)
        assert [(model.name, model.resident) for model in state.models] == models
        assert {model.capabilities for model in state.models} == {("audio",)}
        own_way = (Api.TRANSCRIPTIONS,) if kind == "whispercpp" else ()
        assert watched.stands_in == [(BackendKind(kind), (Api.TRANSCRIBE, *own_way))]
        await watched.end()

    run_virtual(story())


@virtual_time
async def test_what_speaches_has_loaded_is_seen_with_each_look() -> None:
    watched = Watched(SPEACHES)
    (state,) = await watched.told()
    assert [(model.name, model.resident) for model in state.models if "audio" in model.capabilities] == [
        ("Systran/faster-whisper-small", True)
    ]
    watched.server.answers["/api/ps"] = {"models": []}
    watched.backend.poll.tell()
    (state,) = await watched.told()
    assert not any(model.resident for model in state.models)
    await watched.end()


@virtual_time
async def test_a_server_that_wants_a_key_says_how_it_is_given_one() -> None:
    watched = Watched(QWEN_ASR_LOCKED)
    watched.server.locked = "/v1/models"
    (state,) = await watched.told()
    assert state.info is None
    assert "--backend-url http://:KEY@HOST:PORT" in state.trouble
    await watched.end()


@pytest.mark.parametrize("error", [TimedOut("no answer"), StreamFailed("connection refused")])
@pytest.mark.parametrize("busy", [True, False])
def test_silence_is_a_sign_only_where_the_server_does_nothing_for_us(error: StreamFailed, busy: bool) -> None:
    async def story() -> None:
        watched = Watched(FASTER_WHISPER)
        await watched.told()
        watched.busy, watched.server.down = busy, error
        for _ in range(4):
            watched.backend.poll.tell()
            await settled()
        down = [state for state in await watched.told() if state.info is None]
        assert bool(down) is not (busy and isinstance(error, TimedOut))
        watched.server.down = None
        watched.backend.poll.tell()
        assert bool(await watched.told()) is bool(down)  # nothing has changed for one that was only busy
        await watched.end()

    run_virtual(story())


@pytest.mark.parametrize("answers", [OLLAMA, LLAMACPP])
def test_a_server_that_answers_while_it_computes_is_down_when_it_is_silent(answers: dict[str, Any]) -> None:
    async def story() -> None:
        watched = Watched(answers)
        await watched.told()
        watched.busy, watched.server.down = True, TimedOut("no answer")
        for _ in range(4):
            watched.backend.poll.tell()
            await settled()
        assert [state.info for state in await watched.told()] == [None]
        await watched.end()

    run_virtual(story())


@pytest.mark.parametrize(("hears", "has_it", "asked"), [(True, True, True), (True, False, True), (False, True, False)])
def test_llamacpp_hears_where_its_model_does_and_it_is_new_enough(hears: bool, has_it: bool, asked: bool) -> None:
    async def story() -> None:
        props = {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 1, "modalities": {"audio": hears}}
        models = {
            "data": [{"id": "voxtral", "owned_by": "llamacpp"}],
            "models": [{"name": "voxtral", "capabilities": ["completion"]}],
        }
        answers: dict[str, Any] = {"/props": props, "/v1/models": models}
        if has_it:
            answers["/v1/audio/transcriptions "] = {"error": "a file is wanted"}
        watched = Watched(answers)
        (state,) = await watched.told()
        assert state.info is not None
        assert all((api in state.info.apis) is (hears and has_it) for api in AUDIO)
        assert ("/v1/audio/transcriptions " in watched.server.asked) is asked
        assert [model.capabilities for model in state.models] == [("completion", "audio") if hears else ("completion",)]
        await watched.end()

    run_virtual(story())
