"""An agent at its router's command, beside a simulated Ollama."""

import asyncio
from typing import Any

import pytest

from herd.actors.commands import Commands
from herd.actors.desk import ShownWeek
from herd.protocols.messages import Command, Result
from herd.protocols.speech_servers import QWEN_ASR_HERE
from herd.runtime.testing import virtual_time
from herd.simulation.http import InMemoryServers
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId

URL = "http://studio:11434"
LLAMA, QWEN, NOMIC = "llama3.2:3b", "qwen3:8b", "nomic-embed-text:latest"


class Beside:
    """An Ollama, and the agent's commands."""

    def __init__(self, kind: str = "ollama") -> None:
        self.ollama = FakeOllama(PROFILES["mac-studio"], [CATALOG[LLAMA], CATALOG[QWEN], CATALOG[NOMIC]])
        servers = InMemoryServers()
        servers.serve(URL, self.ollama.handle)
        self.kind = kind
        self.looked: list[str] = []
        self.weeks: list[ShownWeek] = []
        self.obey = Commands({BackendId("ollama"): URL}, servers, self._kind_of, self.looked.append, self.weeks.append)
        self._given = 0

    async def _kind_of(self, _backend: BackendId) -> str:
        return self.kind

    async def do(self, name: str, **args: Any) -> Result:
        self._given += 1
        return await self.obey(Command(self._given, name, {"backend": "ollama", **args}))


@virtual_time
async def test_a_load_brings_the_model_and_has_the_server_looked_at() -> None:
    beside = Beside()
    assert await beside.do("load", model=LLAMA, keep_alive=-1, num_ctx=8192) == Result(1, True)
    assert beside.ollama.listed == (LLAMA,)
    assert beside.looked == ["ollama"]
    await asyncio.sleep(10_000)
    assert beside.ollama.listed == (LLAMA,)  # for ever


@virtual_time
async def test_a_model_that_only_makes_vectors_is_loaded_and_unloaded_like_any_other() -> None:
    beside = Beside()
    assert await beside.do("load", model=NOMIC, keep_alive=-1, num_ctx=1024) == Result(1, True)
    assert beside.ollama.listed == (NOMIC,)
    assert (await beside.do("unload", model=NOMIC)).ok
    assert not beside.ollama.listed


@virtual_time
async def test_a_keep_alive_in_seconds_lets_a_kept_model_go_when_they_are_over() -> None:
    beside = Beside()
    await beside.do("load", model=LLAMA, keep_alive=-1)
    assert (await beside.do("load", model=LLAMA, keep_alive=300)).ok
    await asyncio.sleep(290)
    assert beside.ollama.listed == (LLAMA,)
    await asyncio.sleep(20)
    assert not beside.ollama.listed


@virtual_time
async def test_an_unload_takes_the_model_out_of_memory() -> None:
    beside = Beside()
    await beside.do("load", model=LLAMA, keep_alive=-1)
    assert (await beside.do("unload", model=LLAMA)).ok
    assert not beside.ollama.listed


@virtual_time
async def test_one_model_loads_at_a_time() -> None:
    beside = Beside()
    first = asyncio.create_task(beside.do("load", model=QWEN, keep_alive=300))
    await asyncio.sleep(0.1)
    second = await beside.do("load", model=LLAMA, keep_alive=300)
    assert (second.ok, second.text) == (False, f"this node is loading {QWEN} already")
    assert (await first).ok
    assert (await beside.do("load", model=LLAMA, keep_alive=300)).ok


@virtual_time
async def test_a_load_ends_with_whoever_waits_for_it() -> None:
    beside = Beside()
    loading = asyncio.create_task(beside.do("load", model=QWEN, keep_alive=300))
    await asyncio.sleep(0.1)
    loading.cancel()
    await asyncio.wait([loading])
    assert (await beside.do("load", model=LLAMA, keep_alive=300)).ok


@virtual_time
async def test_the_owners_week_is_handed_on() -> None:
    beside = Beside("")
    load: list[float | None] = [None, 0, 1, *[0.25] * 165]
    assert await beside.do("week", load=load, confidence=[0.5] * 168) == Result(1, True)
    assert beside.weeks == [ShownWeek(tuple(load), (0.5,) * 168)]


@virtual_time
async def test_where_nobody_wants_the_week_its_command_is_one_that_is_not_known() -> None:
    obey = Commands({}, InMemoryServers(), Beside()._kind_of, lambda _: None)
    result = await obey(Command(1, "week", {"load": [0.5] * 168, "confidence": [0.5] * 168}))
    assert not result.ok
    assert "knows no command 'week'" in result.text


@pytest.mark.parametrize(
    ("name", "args", "words"),
    [
        ("dance", {}, "knows no command 'dance'"),
        ("load", {"model": LLAMA}, "needs a keep_alive"),
        ("load", {"model": LLAMA, "keep_alive": "5m"}, "needs a keep_alive"),
        ("load", {"model": LLAMA, "keep_alive": True}, "needs a keep_alive"),
        ("load", {"model": LLAMA, "keep_alive": 0}, "needs a keep_alive"),
        ("load", {"model": LLAMA, "keep_alive": float("inf")}, "needs a keep_alive"),
        ("load", {"model": LLAMA, "keep_alive": 5, "num_ctx": -1}, "is a number of tokens"),
        ("load", {"model": "", "keep_alive": 5}, "needs a backend and a model"),
        ("unload", {"model": 7}, "needs a backend and a model"),
        ("load", {"model": LLAMA, "keep_alive": 5, "backend": "other"}, "has no model server other"),
        ("load", {"model": "nobody:1b", "keep_alive": 5}, "not found"),
        ("week", {}, "needs 168 loads"),
        ("week", {"load": [0.5] * 167, "confidence": [0.5] * 168}, "needs 168 loads"),
        ("week", {"load": [0.5] * 168, "confidence": "0" * 168}, "needs 168 loads"),
        ("week", {"load": [1.5] * 168, "confidence": [0.5] * 168}, "are 0 to 1"),
        ("week", {"load": ["x"] * 168, "confidence": [0.5] * 168}, "are 0 to 1"),
        ("week", {"load": [0.5] * 168, "confidence": [None] * 168}, "are 0 to 1"),
        ("week", {"load": [True] * 168, "confidence": [0.5] * 168}, "are 0 to 1"),
    ],
)
@virtual_time
async def test_what_cannot_be_done_is_refused_in_a_sentence(name: str, args: dict[str, Any], words: str) -> None:
    result = await Beside().do(name, **args)
    assert not result.ok
    assert words in result.text


@pytest.mark.parametrize(("kind", "words"), [("llamacpp", "this model server is llamacpp"), ("", "does not answer")])
@virtual_time
async def test_only_ollama_is_commanded(kind: str, words: str) -> None:
    result = await Beside(kind).do("load", model=LLAMA, keep_alive=5)
    assert not result.ok
    assert words in result.text


@virtual_time
async def test_the_server_of_speech_that_the_agent_runs_itself_is_told_in_its_own_words() -> None:
    told: list[tuple[str, Any]] = []
    answers = [(200, {}), (200, {}), (500, {"error": "mlx-qwen3-asr does not start: no such model"})]

    class Tool(InMemoryServers):
        async def fetch(self, url: str, body: Any = None, *, timeout: float) -> tuple[int, Any]:
            told.append((url, body))
            return answers.pop(0)

    async def kind_of(_backend: BackendId) -> str:
        return "mlx-qwen3-asr"

    here, elsewhere = BackendId("here"), BackendId("elsewhere")
    looked: list[BackendId] = []
    obey = Commands({here: QWEN_ASR_HERE, elsewhere: "http://127.0.0.1:8765"}, Tool(), kind_of, looked.append)
    model = {"backend": here, "model": "qwen3-asr:0.6b"}
    assert await obey(Command(1, "load", {**model, "keep_alive": 300})) == Result(1, True)
    assert await obey(Command(2, "unload", model)) == Result(2, True)
    failed = await obey(Command(3, "load", {**model, "keep_alive": 300}))
    assert (failed.ok, failed.text) == (False, "mlx-qwen3-asr does not start: no such model")
    assert [(url.removeprefix(QWEN_ASR_HERE), body["model"]) for url, body in told] == [
        ("/load", "qwen3-asr:0.6b"),
        ("/unload", "qwen3-asr:0.6b"),
        ("/load", "qwen3-asr:0.6b"),
    ]
    assert looked == [here] * 3
    refused = await obey(Command(4, "load", {**model, "backend": elsewhere, "keep_alive": 300}))
    assert not refused.ok
    assert "only Ollama loads models on command" in refused.text
