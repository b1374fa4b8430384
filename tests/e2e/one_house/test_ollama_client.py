"""Ollama's own client for Python, in front of a router, two agents and their model servers: the fleet as one Ollama."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.house import BOTH, LOOK_EVERY_S, ONLY, House
from tests.e2e.processes import PATIENCE_S

pytest.importorskip("ollama", reason="needs the extra `real`")

from ollama import AsyncClient, ResponseError

pytestmark = pytest.mark.asyncio(loop_scope="package")

NEW = "mistral:7b"  # on neither machine


@pytest_asyncio.fixture(name="client", scope="module", loop_scope="package")
async def client_of_the_house(house: House) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(host=house.url, timeout=PATIENCE_S)
    yield client
    await client._client.aclose()


async def names(client: AsyncClient) -> list[str]:
    return sorted(model.model or "" for model in (await client.list()).models)


def asked(house: House, path: str) -> list[int]:
    """How many requests for a path each model server has had."""
    return [server.fake.requests[path] for server in house.servers.values()]


async def until_loaded(client: AsyncClient, model: str) -> None:
    """Wait until a model is listed as loaded: agents look every 2 s."""
    async with asyncio.timeout(PATIENCE_S):
        while model not in [process.model for process in (await client.ps()).models]:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)


async def test_the_models_of_both_machines_are_listed_and_shown(house: House, client: AsyncClient) -> None:
    assert await names(client) == sorted({BOTH, *ONLY.values()})
    for name, model in ONLY.items():
        shown = await client.show(model)
        assert shown.modelinfo is not None
        family = shown.modelinfo["general.architecture"]
        assert shown.modelinfo[f"{family}.context_length"] > 0
        assert house.servers[name].sent[-1].target == "/api/show"
    with pytest.raises(ResponseError) as raised:
        await client.show("nobody")
    assert (raised.value.status_code, raised.value.error) == (404, "model 'nobody:latest' not found")


async def test_two_clients_pull_a_model_in_one_pull_and_have_it_at_once(house: House, client: AsyncClient) -> None:
    for server in house.servers.values():
        server.fake.registry.rate = 2e9
    before = sum(asked(house, "/api/pull"))

    async def pull() -> list[tuple[str | None, int | None]]:
        return [(step.status, step.completed) async for step in await client.pull(NEW, stream=True)]

    first, second = await asyncio.gather(pull(), pull())
    for steps in (first, second):
        far = [done for _, done in steps if done]
        assert (far, steps[-1]) == (sorted(far), ("success", None))
        assert len(far) > 1
    assert sum(asked(house, "/api/pull")) == before + 1
    answer = await client.chat(NEW, [{"role": "user", "content": "Hello!"}], options={"num_predict": 3})
    assert answer.done
    await until_loaded(client, NEW)
    assert (await client.generate(NEW, keep_alive=0)).done_reason == "unload"
    assert NEW not in [process.model for process in (await client.ps()).models]
    assert (await client.delete(NEW)).status == "success"
    assert NEW not in await names(client)
    with pytest.raises(ResponseError, match="model 'mistral:7b' not found"):
        await client.generate(NEW, "Hello!")


async def test_a_model_that_no_registry_has_is_an_error_of_the_client(client: AsyncClient) -> None:
    with pytest.raises(ResponseError, match="pull model manifest: file does not exist"):
        await client.pull("nobody")
    with pytest.raises(ResponseError, match="pull model manifest: file does not exist"):
        async for _ in await client.pull("nobody", stream=True):
            pass


async def test_a_copy_is_on_both_machines_and_goes_from_both(house: House, client: AsyncClient) -> None:
    before = asked(house, "/api/copy")
    assert (await client.copy(BOTH, "mine")).status == "success"
    assert "mine:latest" in await names(client)
    assert asked(house, "/api/copy") == [count + 1 for count in before]
    assert (await client.delete("mine")).status == "success"
    assert "mine:latest" not in await names(client)
    with pytest.raises(ResponseError) as raised:
        await client.delete("mine")
    assert (raised.value.status_code, raised.value.error) == (404, "model 'mine' not found")


async def test_models_are_made_of_others_and_of_blobs(client: AsyncClient, tmp_path: Path) -> None:
    steps = [step.status async for step in await client.create("brief", from_=BOTH, system="Be brief.", stream=True)]
    assert steps[-1] == "success"
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(100_000))
    digest = await client.create_blob(file)
    assert digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert (await client.create("made", files={"model.gguf": digest})).status == "success"
    assert {"brief:latest", "made:latest"} <= set(await names(client))
    for model in ("brief", "made"):
        assert (await client.generate(model, "Hello!", options={"num_predict": 2})).done
        assert (await client.delete(model)).status == "success"


async def test_a_push_tells_its_progress(client: AsyncClient) -> None:
    steps = [step.status async for step in await client.push(BOTH, stream=True)]
    assert (steps[0], steps[-1]) == ("retrieving manifest", "success")


async def test_a_client_that_leaves_a_pull_ends_it(house: House, client: AsyncClient) -> None:
    fakes = [server.fake for server in house.servers.values()]
    for fake in fakes:
        fake.registry.rate = 1e5
    before, cancelled = asked(house, "/api/pull"), [fake.cancelled for fake in fakes]
    steps: Any = await client.pull(NEW, stream=True)  # a generator, which is not in its type
    while not (await anext(steps)).digest:
        pass
    await steps.aclose()
    [begun] = [number for number, count in enumerate(asked(house, "/api/pull")) if count > before[number]]
    await fakes[begun].until(lambda fake: fake.cancelled == cancelled[begun] + 1)
