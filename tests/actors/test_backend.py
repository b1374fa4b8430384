"""The Backend: one model server, watched."""

import asyncio
from typing import Any

import pytest

from herd.actors.backend import POLL_S, Backend, BackendSettings, BackendState
from herd.errors import StreamFailed
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.types import BackendId
from tests.actors.doubles import FakeServers, Witness, settled

DOWN = StreamFailed("connection refused")
TAGS = {"models": [{"name": "llama3.2:3b", "size": 2_000}, {"name": "qwen3:8b", "size": 5_000}]}
IDLE: dict[str, Any] = {"models": []}
LOADED = {"models": [{"name": "llama3.2:3b", "size": 3_000, "context_length": 4096}]}
OPENAI_LIST = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "somebody"}]}


def ollama() -> dict[str, Any]:
    return {"/api/version": {"version": "0.33.0"}, "/api/tags": TAGS, "/api/ps": IDLE, "/v1/models": OPENAI_LIST}


class Watched:
    """A Backend, the server it watches, and the agent that it tells."""

    def __init__(self, answers: dict[str, Any], parallel: int | None = None) -> None:
        self.server = FakeServers(answers)
        self.agent: ActorHandle = remote(Witness).remote()
        settings = BackendSettings(BackendId("b1"), "http://127.0.0.1:11434", parallel)
        self.backend: ActorHandle = remote(Backend).remote(settings, self.server, self.agent)

    async def told(self) -> list[BackendState]:
        """The states that the agent was told since the last time."""
        await settled()
        return [args[0] for _, args in await self.agent.heard.remote()]

    async def polls(self, count: int) -> None:
        """Wait for so many polls."""
        await asyncio.sleep(count * POLL_S)
        await settled()

    async def end(self) -> None:
        await stop(self.backend)
        await stop(self.agent)


@virtual_time
async def test_ollama_is_recognised_and_its_models_are_told_once() -> None:
    watched = Watched(ollama())
    await watched.polls(5)
    (state,) = await watched.told()
    assert state.info is not None
    assert (state.info.kind, state.info.version, state.info.dialects) == ("ollama", "0.33.0", ("ollama", "openai"))
    assert [(model.name, model.resident) for model in state.models] == [("llama3.2:3b", False), ("qwen3:8b", False)]
    await watched.end()


@virtual_time
async def test_a_load_and_an_unload_are_told_with_the_next_poll() -> None:
    watched = Watched(ollama())
    await watched.told()
    for answer, resident in ((LOADED, True), (IDLE, False)):
        watched.server.answers["/api/ps"] = answer
        await watched.polls(1)
        (state,) = await watched.told()
        assert state.models[0].resident is resident
    await watched.end()


@virtual_time
async def test_the_disk_is_looked_at_every_fifth_poll() -> None:
    watched = Watched(ollama())
    await watched.polls(20)
    assert watched.server.asked.count("/api/tags") == 5
    assert watched.server.asked.count("/api/ps") == 21
    await watched.end()


@pytest.mark.parametrize("trouble", ["connection", "nonsense", "status"])
def test_one_failed_poll_says_nothing_and_three_in_a_row_are_a_server_that_is_down(trouble: str) -> None:
    async def story() -> None:
        watched = Watched(ollama())
        await watched.told()

        def fail(failing: bool) -> None:
            if trouble == "connection":
                watched.server.down = DOWN if failing else None
            elif trouble == "nonsense":
                watched.server.answers["/api/ps"] = {"models": "none of your business"} if failing else IDLE
            elif failing:
                del watched.server.answers["/api/ps"]
            else:
                watched.server.answers["/api/ps"] = IDLE

        for _ in range(3):
            fail(True)
            await watched.polls(2)
            fail(False)
            await watched.polls(1)
        assert await watched.told() == []
        fail(True)
        await watched.polls(3)
        (down,) = await watched.told()
        assert (down.info, down.models) == (None, ())
        assert down.trouble
        fail(False)
        await watched.polls(1)
        (up,) = await watched.told()
        assert up.info is not None
        assert len(up.models) == 2
        await watched.end()

    run_virtual(story())


@virtual_time
async def test_a_server_that_requests_cannot_reach_is_down_if_it_does_not_answer_now_either() -> None:
    watched = Watched(ollama())
    await watched.told()
    watched.backend.suspect.tell()
    assert await watched.told() == []
    await watched.polls(1)
    watched.server.down = DOWN
    watched.backend.suspect.tell()
    (state,) = await watched.told()
    assert state.info is None
    await watched.end()


@virtual_time
async def test_a_suspicion_that_proves_wrong_counts_for_nothing() -> None:
    watched = Watched(ollama())
    await watched.told()
    watched.backend.suspect.tell()
    await settled()
    watched.server.down = DOWN
    await watched.polls(2)
    assert await watched.told() == []
    await watched.end()


@virtual_time
async def test_polls_of_a_slow_server_never_overlap() -> None:
    watched = Watched(ollama())
    await watched.told()
    watched.server.asked.clear()
    watched.server.delay = 4.9
    await watched.polls(10)
    assert len(watched.server.asked) <= 20 / 4.9 + 1
    assert await watched.told() == []
    await watched.end()


@virtual_time
async def test_a_server_that_is_not_there_yet_is_found_when_it_comes() -> None:
    watched = Watched({})
    watched.server.down = DOWN
    await watched.polls(3)
    assert [state.trouble for state in await watched.told()] == ["connection refused"]
    watched.server.down = None
    watched.server.answers = ollama()
    await watched.polls(1)
    (state,) = await watched.told()
    assert state.info is not None
    await watched.end()


@virtual_time
async def test_a_server_may_be_replaced_by_one_of_another_kind() -> None:
    watched = Watched(ollama())
    await watched.told()
    watched.server.answers = {"/v1/models": OPENAI_LIST}
    await watched.polls(4)
    states = await watched.told()
    assert [state.info.kind if state.info else None for state in states] == [None, "openai"]
    await watched.end()


LLAMACPP = {"/props": {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 4}, "/v1/models": OPENAI_LIST}
VLLM = {"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}, "/version": {"version": "0.9"}}
LMSTUDIO = {
    "/v1/models": {"data": [{"id": "m"}, {"id": "n"}]},
    "/api/v0/models": {"data": [{"id": "m", "type": "llm", "state": "loaded"}, {"id": "n", "state": "not-loaded"}]},
}


@pytest.mark.parametrize(
    ("answers", "kind", "models", "parallel"),
    [
        (LLAMACPP, "llamacpp", [("m", True)], 4),
        (VLLM, "vllm", [("m", True)], 0),
        (LMSTUDIO, "lmstudio", [("m", True), ("n", False)], 0),
        ({"/v1/models": OPENAI_LIST}, "openai", [("m", True)], 0),
    ],
)
def test_other_servers_are_recognised_by_what_they_answer(
    answers: dict[str, Any], kind: str, models: list[tuple[str, bool]], parallel: int
) -> None:
    async def story() -> None:
        watched = Watched(dict(answers))
        (state,) = await watched.told()
        assert state.info is not None
        assert (state.info.kind, state.info.dialects, state.info.parallel) == (kind, ("openai",), parallel)
        assert [(model.name, model.resident) for model in state.models] == models
        await watched.end()

    run_virtual(story())


@virtual_time
async def test_lm_studio_tells_what_is_loaded() -> None:
    watched = Watched(dict(LMSTUDIO))
    await watched.told()
    watched.server.answers["/api/v0/models"] = {"data": [{"id": "m", "state": "not-loaded"}]}
    await watched.polls(1)
    (state,) = await watched.told()
    assert [(model.name, model.resident) for model in state.models] == [("m", False)]
    await watched.end()


@virtual_time
async def test_something_that_is_no_model_server_stays_unknown() -> None:
    watched = Watched({"/": {"hello": "world"}})
    (state,) = await watched.told()
    assert state.info is None
    assert "no model server" in state.trouble
    await watched.end()


@virtual_time
async def test_what_the_owner_says_of_parallel_requests_goes_before_what_the_server_says() -> None:
    watched = Watched(dict(LLAMACPP), parallel=2)
    (state,) = await watched.told()
    assert state.info is not None
    assert state.info.parallel == 2
    await watched.end()
