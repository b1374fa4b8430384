"""Models that come and go on the fake's disk: pulled, pushed, made, copied and deleted."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from herd.runtime.testing import run_virtual
from herd.simulation.http import InMemoryRequest, RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Seconds

LLAMA = CATALOG["llama3.2:3b"]
NOMIC = CATALOG["nomic-embed-text:latest"]
RATE = 10_000_000.0  # bytes a second
WHOLE = LLAMA.size / RATE
NOON = 1_780_315_200.0
GGUF = b"GGUF and more"
DIGEST = "sha256:" + hashlib.sha256(GGUF).hexdigest()


def virtually(scenario: Callable[[FakeOllama], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario in virtual time, with a fake that has one small model."""

    async def whole() -> None:
        fake = FakeOllama(PROFILES["mini-pc"], [NOMIC], **settings)
        fake.wall = lambda: NOON + asyncio.get_running_loop().time()
        fake.registry.rate = RATE
        await scenario(fake)

    run_virtual(whole())


async def ask(fake: FakeOllama, path: str, body: Any) -> RecordingSink:
    answer = await call(fake.handle, "DELETE" if path == "/api/delete" else "POST", path, body)
    assert answer.finished
    return answer


def lines(answer: RecordingSink) -> list[dict[str, Any]]:
    return [json.loads(piece) for piece in answer.pieces]


async def listed(fake: FakeOllama) -> list[str]:
    return [model["name"] for model in (await call(fake.handle, "GET", "/api/tags")).json["models"]]


def now() -> float:
    return asyncio.get_running_loop().time()


def start(fake: FakeOllama, body: Any) -> tuple["asyncio.Task[None]", RecordingSink]:
    sink = RecordingSink()
    request = InMemoryRequest("POST", "/api/pull", json.dumps(body).encode())
    return asyncio.create_task(fake.handle(request, sink)), sink


def test_a_pull_tells_how_far_it_is_for_as_long_as_the_line_takes() -> None:
    async def scenario(fake: FakeOllama) -> None:
        answer = await ask(fake, "/api/pull", {"model": "library/LLAMA3.2:3b"})
        assert now() == pytest.approx(WHOLE, abs=0.01)
        assert (answer.status, answer.header("Content-Type")) == (200, "application/x-ndjson")
        statuses = [line["status"] for line in lines(answer)]
        pulling = f"pulling {LLAMA.digest[:12]}"
        assert list(dict.fromkeys(statuses)) == [
            "pulling manifest",
            pulling,
            "verifying sha256 digest",
            "writing manifest",
            "success",
        ]
        progress = [line for line in lines(answer) if line["status"] == pulling]
        assert {(line["digest"], line["total"]) for line in progress} == {(f"sha256:{LLAMA.digest}", LLAMA.size)}
        assert "completed" not in progress[0]
        completed = [line["completed"] for line in progress[1:]]
        assert completed == sorted(completed)
        assert completed[-1] == LLAMA.size
        assert len(completed) > 100
        assert await listed(fake) == [LLAMA.name, NOMIC.name]

    virtually(scenario)


def test_a_pull_writes_no_oftener_than_progress_is_wanted() -> None:
    async def scenario(fake: FakeOllama) -> None:
        answer = await ask(fake, "/api/pull", {"model": LLAMA.name})
        assert len(answer.pieces) < WHOLE / 20 + 8

    virtually(scenario, progress=Seconds(20.0))


def test_a_pulled_model_answers() -> None:
    async def scenario(fake: FakeOllama) -> None:
        body = {"model": LLAMA.name, "prompt": "hi", "stream": False}
        assert (await ask(fake, "/api/generate", body)).status == 404
        assert (await ask(fake, "/api/pull", {"name": LLAMA.name, "stream": False})).json == {"status": "success"}
        assert (await ask(fake, "/api/generate", body)).json["done"]

    virtually(scenario)


def test_what_is_there_already_is_pulled_at_once() -> None:
    async def scenario(fake: FakeOllama) -> None:
        said = lines(await ask(fake, "/api/pull", {"model": "nomic-embed-text"}))
        assert now() == 0.0
        assert [line.get("completed") for line in said] == [None, NOMIC.size, None, None, None]
        assert said[-1] == {"status": "success"}

    virtually(scenario)


def test_two_who_pull_one_model_share_its_download() -> None:
    async def scenario(fake: FakeOllama) -> None:
        first, first_sink = start(fake, {"model": LLAMA.name})
        await asyncio.sleep(WHOLE / 2)
        second, second_sink = start(fake, {"model": LLAMA.name})
        await asyncio.gather(first, second)
        assert now() == pytest.approx(WHOLE, abs=0.01)
        assert lines(second_sink)[1]["completed"] == pytest.approx(LLAMA.size / 2, rel=0.01)
        assert [lines(sink)[-1]["status"] for sink in (first_sink, second_sink)] == ["success", "success"]
        assert await listed(fake) == [LLAMA.name, NOMIC.name]

    virtually(scenario)


def test_a_client_that_hangs_up_stops_the_download_and_another_goes_on_with_it() -> None:
    async def scenario(fake: FakeOllama) -> None:
        task, _ = start(fake, {"model": LLAMA.name})
        await asyncio.sleep(WHOLE / 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1000.0)
        assert await listed(fake) == [NOMIC.name]
        began = now()
        await ask(fake, "/api/pull", {"model": LLAMA.name})
        assert now() - began == pytest.approx(WHOLE / 2, rel=0.01)
        assert fake.cancelled == 1

    virtually(scenario)


def test_a_download_stands_still_while_the_lid_is_closed() -> None:
    async def scenario(fake: FakeOllama) -> None:
        task, _ = start(fake, {"model": LLAMA.name})
        await asyncio.sleep(WHOLE / 2)
        fake.sleep()
        await asyncio.sleep(100.0)
        fake.wake()
        await task
        assert now() == pytest.approx(WHOLE + 100.0, abs=1.0)

    virtually(scenario)


def test_a_push_tells_how_far_it_is() -> None:
    async def scenario(fake: FakeOllama) -> None:
        said = lines(await ask(fake, "/api/push", {"model": NOMIC.name}))
        assert now() == pytest.approx(NOMIC.size / RATE, abs=0.01)
        assert list(dict.fromkeys(line["status"] for line in said)) == [
            "retrieving manifest",
            f"pushing {NOMIC.digest[:12]}",
            "pushing manifest",
            "success",
        ]

    virtually(scenario)


def test_a_copy_is_the_same_model_under_a_new_name_listed_first() -> None:
    async def scenario(fake: FakeOllama) -> None:
        copied = await ask(fake, "/api/copy", {"source": "nomic-embed-text", "destination": "Me/Mine"})
        assert (copied.status, copied.body) == (200, b"")
        first, second = (await call(fake.handle, "GET", "/api/tags")).json["models"]
        assert (first["name"], second["name"]) == ("Me/Mine:latest", NOMIC.name)
        assert (first["digest"], first["size"]) == (second["digest"], second["size"])
        assert first["modified_at"] == "2026-06-01T12:00:00Z"
        assert (await ask(fake, "/api/embed", {"model": "me/mine", "input": "hi"})).json["model"] == "me/mine"

    virtually(scenario)


def test_a_copy_replaces_what_had_its_name() -> None:
    async def scenario(fake: FakeOllama) -> None:
        for _ in range(2):
            await ask(fake, "/api/copy", {"source": NOMIC.name, "destination": "mine"})
        assert await listed(fake) == ["mine:latest", NOMIC.name]

    virtually(scenario)


def test_a_deleted_model_is_gone_and_can_be_pulled_again() -> None:
    async def scenario(fake: FakeOllama) -> None:
        deleted = await ask(fake, "/api/delete", {"model": "Nomic-Embed-Text"})
        assert (deleted.status, deleted.body) == (200, b"")
        assert await listed(fake) == []
        assert (await ask(fake, "/api/delete", {"name": NOMIC.name})).status == 404
        await ask(fake, "/api/pull", {"model": NOMIC.name})
        assert await listed(fake) == [NOMIC.name]

    virtually(scenario)


def test_a_model_in_memory_survives_its_deletion_until_it_expires() -> None:
    async def scenario(fake: FakeOllama) -> None:
        await ask(fake, "/api/embed", {"model": NOMIC.name, "input": "hi"})
        await ask(fake, "/api/delete", {"model": NOMIC.name})
        running = (await call(fake.handle, "GET", "/api/ps")).json["models"]
        assert [model["digest"] for model in running] == [NOMIC.digest]
        await asyncio.sleep(301.0)
        assert list(fake.resident) == []

    virtually(scenario)


def test_a_model_is_made_of_another() -> None:
    async def scenario(fake: FakeOllama) -> None:
        made = await ask(fake, "/api/create", {"model": "mine", "from": "nomic-embed-text", "system": "be brief"})
        statuses = [line["status"] for line in lines(made)]
        assert statuses[0] == f"using existing layer sha256:{NOMIC.digest}"
        assert statuses[1].startswith("creating new layer sha256:")
        assert statuses[2:] == ["writing manifest", "success"]
        assert await listed(fake) == ["mine:latest", NOMIC.name]

    virtually(scenario)


def test_the_base_of_a_model_is_pulled_if_it_is_not_there() -> None:
    async def scenario(fake: FakeOllama) -> None:
        made = lines(await ask(fake, "/api/create", {"model": "mine", "from": LLAMA.name}))
        assert [line["status"] for line in made].count("success") == 1
        assert await listed(fake) == ["mine:latest", LLAMA.name, NOMIC.name]
        unknown = await ask(fake, "/api/create", {"model": "mine", "from": "nobody"})
        assert lines(unknown)[-1] == {"error": "pull model manifest: file does not exist"}

    virtually(scenario)


def test_a_model_is_made_of_an_uploaded_file() -> None:
    async def scenario(fake: FakeOllama) -> None:
        await call(fake.handle, "POST", f"/api/blobs/{DIGEST}", GGUF)
        made = await ask(fake, "/api/create", {"name": "mine:1", "files": {"mine.gguf": DIGEST}, "stream": False})
        assert (made.status, made.json) == (200, {"status": "success"})
        answer = await ask(fake, "/api/generate", {"model": "mine:1", "prompt": "hi", "stream": False})
        assert answer.json["done"]
        shown = (await ask(fake, "/api/show", {"model": "mine:1"})).json
        assert shown["capabilities"] == ["completion"]

    virtually(scenario)
