"""The Backend: one model server, watched."""

import asyncio
from typing import Any

import pytest

from herd.actors.backend import MAX_CONTEXT, MAX_PARALLEL, POLL_S, Backend, BackendSettings, BackendState
from herd.actors.shape_book import ASKED_A_ROUND, ROUNDS_AFTER_FAILURE
from herd.errors import StreamFailed
from herd.protocols.image_servers import Flavour, ImageWords
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.types import Api, BackendId, BackendKind
from tests.actors.doubles import FakeServers, Witness, settled

DOWN = StreamFailed("connection refused")
TAGS = {"models": [{"name": "llama3.2:3b", "size": 2_000}, {"name": "qwen3:8b", "size": 5_000}]}
IDLE: dict[str, Any] = {"models": []}
LOADED = {"models": [{"name": "llama3.2:3b", "size": 3_000, "context_length": 4096}]}
OPENAI_LIST = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "somebody"}]}


def ollama() -> dict[str, Any]:
    return {"/api/version": {"version": "0.33.0"}, "/api/tags": TAGS, "/api/ps": IDLE, "/v1/models": OPENAI_LIST}


class FakeProcesses:
    """The port `ServerProcesses`: one process, with this environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    async def variable(self, base_url: str, name: str) -> str | None:
        return self._environment.get(name)


class Watched:
    """A Backend, the server it watches, and the agent that it tells."""

    def __init__(
        self, answers: dict[str, Any], parallel: int | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self.server = FakeServers(answers)
        processes = FakeProcesses(environment or {})
        self.agent: ActorHandle = remote(Witness).remote()
        settings = BackendSettings(BackendId("b1"), "http://127.0.0.1:11434", parallel)
        self.recognised: list[tuple[BackendKind, tuple[Api, ...], ImageWords]] = []  # as the Relay is told
        self.backend: ActorHandle = remote(Backend).remote(
            settings, self.server, self.agent, processes, lambda *told: self.recognised.append(told)
        )

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
    assert (state.info.kind, state.info.version, state.info.dialects) == (
        "ollama",
        "0.33.0",
        ("ollama", "openai", "anthropic"),
    )
    assert [(model.name, model.resident) for model in state.models] == [("llama3.2:3b", False), ("qwen3:8b", False)]
    await watched.end()


@virtual_time
async def test_what_has_changed_on_the_disk_is_told_at_once() -> None:
    watched = Watched(ollama())
    await watched.polls(2)
    await watched.told()
    watched.server.answers["/api/tags"] = {"models": [{"name": "new:1b"}]}
    watched.backend.changed.tell()
    (state,) = await watched.told()
    assert [model.name for model in state.models] == ["new:1b"]
    await watched.end()


@pytest.mark.parametrize("into", [0.1, 1.1, 2.1])
def test_what_changes_while_a_look_is_under_way_is_not_missed(into: float) -> None:
    async def story() -> None:
        watched = Watched(ollama())
        await watched.polls(2)
        await watched.told()
        watched.server.slow = {"/api/tags": 1.0, "/api/ps": 1.0}
        watched.backend.changed.tell()
        await asyncio.sleep(into)
        watched.server.answers["/api/tags"] = {"models": [{"name": "new:1b"}]}
        watched.backend.changed.tell()
        await asyncio.sleep(4.5)  # what is left of the look under way, and one more
        *_, state = await watched.told()
        assert [model.name for model in state.models] == ["new:1b"]
        await watched.end()

    run_virtual(story())


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
    ("answers", "kind", "dialects", "models", "parallel"),
    [
        (LLAMACPP, "llamacpp", ("openai", "anthropic"), [("m", True)], 4),
        (VLLM, "vllm", ("openai",), [("m", True)], 0),
        (LMSTUDIO, "lmstudio", ("openai",), [("m", True), ("n", False)], 0),
        ({"/v1/models": OPENAI_LIST}, "openai", ("openai",), [("m", True)], 0),
    ],
)
def test_other_servers_are_recognised_by_what_they_answer(
    answers: dict[str, Any], kind: str, dialects: tuple[str, ...], models: list[tuple[str, bool]], parallel: int
) -> None:
    async def story() -> None:
        watched = Watched(dict(answers))
        (state,) = await watched.told()
        assert state.info is not None
        assert (state.info.kind, state.info.dialects, state.info.parallel) == (kind, dialects, parallel)
        assert [(model.name, model.resident) for model in state.models] == models
        await watched.end()

    run_virtual(story())


OLLAMAS_OWN = ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings")


@pytest.mark.parametrize("answers", [LLAMACPP, VLLM, LMSTUDIO, {"/v1/models": OPENAI_LIST}])
def test_ollamas_endpoints_can_be_asked_of_other_servers_because_the_agent_translates(answers: dict[str, Any]) -> None:
    async def story() -> None:
        watched = Watched(dict(answers))
        (state,) = await watched.told()
        assert state.info is not None
        assert set(OLLAMAS_OWN) < set(state.info.apis)
        ((kind, translated, _),) = watched.recognised
        assert kind == state.info.kind
        assert set(OLLAMAS_OWN) <= set(translated)
        assert "/v1/chat/completions" not in translated
        watched.server.down = DOWN
        await watched.polls(3)
        assert len(watched.recognised) == 1  # it will be the same again
        await watched.end()

    run_virtual(story())


@virtual_time
async def test_what_a_server_says_of_itself_is_asked_of_it_as_it_is() -> None:
    described = {"openapi": "3.1.0", "paths": {"/v1/messages": {"post": {}}, "/v1/responses": {}, "/api/chat": {}}}
    newer = {"/api/v1/models": {"models": [{"key": "m"}]}}
    for answers, own in (
        ({**VLLM, "/openapi.json": described}, {"/v1/messages", "/v1/responses"}),
        ({**LMSTUDIO, **newer}, {"/v1/responses"}),
        (LMSTUDIO, set()),
    ):
        watched = Watched(dict(answers))
        (state,) = await watched.told()
        assert state.info is not None
        assert "ollama" not in state.info.dialects  # whoever copies its paths is not one
        younger = ("/v1/messages", "/v1/responses", "/v1/messages/count_tokens")
        ((_, translated, _),) = watched.recognised
        assert {api for api in younger if api in state.info.apis and api not in translated} == own
        assert ("/v1/messages/count_tokens" in translated) == ("/openapi.json" in answers)
        await watched.end()


@virtual_time
async def test_of_ollamas_endpoints_none_is_translated_for_ollama_but_herds_own_are() -> None:
    for version, own in (("0.12.0", ()), ("0.14.3", (Api.GENERATE_IMAGE,)), ("0.33.0", (Api.TRANSCRIBE,))):
        watched = Watched({**ollama(), "/api/version": {"version": version}})
        (state,) = await watched.told()
        assert state.info is not None
        assert len(set(state.info.apis)) == len(state.info.apis)
        ((kind, translated, words),) = watched.recognised
        assert (kind, translated, words.flavour) == (BackendKind.OLLAMA, own, Flavour.OLLAMA)
        await watched.end()


@virtual_time
async def test_a_model_is_resident_or_not_or_not_there() -> None:
    watched = Watched(dict(LMSTUDIO))
    await watched.told()
    assert [await watched.backend.resident.remote(model) for model in ("m", "n", "o")] == [True, False, None]
    await watched.end()


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


# --- What models take -------------------------------------------------------------------------------------------------

LLAMA = {
    "general.architecture": "llama",
    "llama.block_count": 28,
    "llama.attention.head_count_kv": 8,
    "llama.attention.key_length": 128,
    "llama.attention.value_length": 128,
    "llama.context_length": 131072,
}
LLAMA_KV = 2 * 28 * 8 * 128 * 2


def shown(*names: str) -> dict[str, Any]:
    """What a server answers that has these models, all of one shape."""
    tags = [{"name": name, "digest": f"digest of {name}"} for name in names]
    shows = {f"/api/show {name}": {"model_info": LLAMA} for name in names}
    return {**ollama(), "/api/tags": {"models": tags}, **shows}


def asked_of(watched: Watched) -> list[str]:
    """The models whose details were asked for, in order."""
    return [path.partition(" ")[2] for path in watched.server.asked if path.startswith("/api/show ")]


@virtual_time
async def test_what_a_model_takes_is_asked_once_and_told_after_the_model_itself() -> None:
    watched = Watched(shown("a", "b"))
    listed, described = await watched.told()
    assert [model.kv_per_token for model in listed.models] == [0, 0]
    assert [(model.kv_per_token, model.context_max) for model in described.models] == [(LLAMA_KV, 131072)] * 2
    await watched.polls(20)
    assert await watched.told() == []
    assert asked_of(watched) == ["a", "b"]
    await watched.end()


@virtual_time
async def test_what_a_model_can_do_is_asked_of_it_where_the_list_does_not_say() -> None:
    server = shown("painter", "talker")
    server["/api/tags"]["models"][1]["capabilities"] = ["completion"]  # as younger Ollamas list it
    for name in ("painter", "talker"):
        server[f"/api/show {name}"] = {"model_info": LLAMA, "capabilities": ["image"]}
    watched = Watched(server)
    listed, described = await watched.told()
    assert [model.capabilities for model in listed.models] == [(), ("completion",)]
    assert [model.capabilities for model in described.models] == [("image",), ("completion",)]
    await watched.end()


@virtual_time
async def test_a_load_keeps_what_is_known_of_the_model_and_one_that_was_deleted_meanwhile_is_known_too() -> None:
    watched = Watched(shown("a"))
    await watched.told()
    watched.server.answers["/api/show b"] = {"model_info": LLAMA}
    running = [{"name": name, "digest": f"digest of {name}", "size": 5} for name in ("a", "b")]
    watched.server.answers["/api/ps"] = {"models": running}
    await watched.polls(1)
    states = await watched.told()
    assert [(model.name, model.resident, model.kv_per_token) for model in states[-1].models] == [
        ("a", True, LLAMA_KV),
        ("b", True, LLAMA_KV),
    ]
    await watched.polls(20)
    assert await watched.told() == []
    assert asked_of(watched) == ["a", "b"]
    await watched.end()


@virtual_time
async def test_a_model_that_was_pulled_anew_is_asked_again_and_one_that_is_gone_is_forgotten() -> None:
    watched = Watched(shown("a", "b"))
    await watched.told()
    watched.server.answers["/api/tags"] = {"models": [{"name": "a", "digest": "another"}]}
    await watched.polls(6)
    watched.server.answers["/api/tags"] = shown("a", "b")["/api/tags"]
    await watched.polls(6)
    assert asked_of(watched) == ["a", "b", "a", "a", "b"]
    await watched.end()


@virtual_time
async def test_very_many_models_are_asked_a_few_at_a_time_those_in_memory_first() -> None:
    names = [f"m{number}" for number in range(3 * ASKED_A_ROUND)]
    watched = Watched(shown(*names))
    watched.server.answers["/api/ps"] = {"models": [{"name": names[-1], "digest": f"digest of {names[-1]}"}]}
    await watched.told()
    assert asked_of(watched) == [names[-1], *names[: ASKED_A_ROUND - 1]]
    await watched.polls(2)
    assert sorted(asked_of(watched)) == sorted(names)
    await watched.end()


@virtual_time
async def test_models_that_do_not_tell_delay_no_load_and_do_not_make_the_server_look_down() -> None:
    watched = Watched(shown("a", "b"))
    watched.server.slow = {"/api/show a": 4.9, "/api/show b": 60.0}
    await watched.told()
    watched.server.answers["/api/ps"] = {"models": [{"name": "a", "digest": "digest of a", "size": 5}]}
    await watched.polls(1)
    (loaded,) = await watched.told()
    assert loaded.models[0].resident
    await watched.polls(10)
    states = await watched.told()
    assert all(state.info is not None for state in states)
    assert [model.kv_per_token for model in states[-1].models] == [LLAMA_KV, 0]
    assert watched.server.asked.count("/api/ps") == 12
    await watched.end()


@virtual_time
async def test_a_server_that_answers_no_question_is_asked_one_at_a_time() -> None:
    names = [f"m{number}" for number in range(3 * ASKED_A_ROUND)]
    watched = Watched(shown(*names))
    watched.server.slow = {f"/api/show {name}": 60.0 for name in names}
    await watched.polls(14)
    assert asked_of(watched) == names[:5]  # for 5 s each, from one poll on: 0, 6, 12, 18 and 24
    states = await watched.told()
    assert [len(state.models) for state in states] == [len(names)]
    await watched.end()


@pytest.mark.parametrize("trouble", ["status", "nonsense"])
def test_a_model_that_does_not_tell_is_asked_again_after_a_minute(trouble: str) -> None:
    async def story() -> None:
        watched = Watched(shown("a", "b"))
        del watched.server.answers["/api/show a"]
        if trouble == "nonsense":
            watched.server.answers["/api/show a"] = ["nothing"]
        await watched.told()
        await watched.polls(ROUNDS_AFTER_FAILURE - 1)
        assert asked_of(watched) == ["a", "b"]
        watched.server.answers["/api/show a"] = {"model_info": LLAMA}
        await watched.polls(1)
        (described,) = await watched.told()
        assert [model.kv_per_token for model in described.models] == [LLAMA_KV] * 2
        await watched.end()

    run_virtual(story())


@pytest.mark.parametrize(
    ("environment", "declared"),
    [
        ({}, (0, 0)),
        ({"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_NUM_PARALLEL": " 4 "}, (8192, 4)),
        ({"OLLAMA_CONTEXT_LENGTH": "much", "OLLAMA_NUM_PARALLEL": "-1"}, (0, 0)),
        ({"OLLAMA_CONTEXT_LENGTH": "9" * 19, "OLLAMA_NUM_PARALLEL": "9" * 5000}, (MAX_CONTEXT, 0)),
        ({"OLLAMA_CONTEXT_LENGTH": "", "OLLAMA_NUM_PARALLEL": "5000"}, (0, MAX_PARALLEL)),
    ],
)
def test_the_servers_process_declares_the_context_of_a_load_and_its_parallel_requests(
    environment: dict[str, str], declared: tuple[int, int]
) -> None:
    async def story() -> None:
        watched = Watched(ollama(), environment=environment)
        (state,) = await watched.told()
        assert state.info is not None
        assert (state.info.context_length, state.info.parallel) == declared
        await watched.end()

    run_virtual(story())
