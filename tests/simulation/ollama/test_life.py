"""The fake over time, in virtual time: loads, slots, queues, cancelled clients and faults."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from herd.protocols.messages import RequestHead
from herd.runtime.testing import run_virtual
from herd.simulation.http import InMemoryRequest, InMemoryServers, RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, RequestId, Seconds, Tokens

MACHINE = PROFILES["mini-pc"]
LLAMA = CATALOG["llama3.2:3b"]
GEMMA = CATALOG["gemma3:4b"]
BASE = "http://127.0.0.1:11434"
LOAD = MACHINE.load_s(LLAMA)
STEP = MACHINE.decode_step_s(LLAMA, context=20)  # one token, beside the few of these short talks


def chat(model: str = LLAMA.name, tokens: int = 10, **fields: Any) -> dict[str, Any]:
    options = {"num_predict": tokens, **fields.pop("options", {})}
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "options": options, **fields}


def start(fake: FakeOllama, body: dict[str, Any]) -> tuple["asyncio.Task[None]", RecordingSink]:
    """Send a chat; the task is its connection."""
    sink = RecordingSink()
    request = InMemoryRequest("POST", "/api/chat", json.dumps(body).encode())
    return asyncio.create_task(fake.handle(request, sink)), sink


async def hang_up(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def virtually(scenario: Callable[[FakeOllama], Awaitable[None]], **settings: Any) -> None:
    """Run a scenario with a fresh fake in virtual time."""

    async def whole() -> None:
        fake = FakeOllama(MACHINE, CATALOG.values(), **settings)
        fake.wall = lambda: 1_780_272_000.0 + asyncio.get_running_loop().time()
        await scenario(fake)

    run_virtual(whole())


def test_an_answer_takes_its_load_its_prefill_and_its_tokens() -> None:
    async def scenario(fake: FakeOllama) -> None:
        began = asyncio.get_running_loop().time()
        answer = await call(fake.handle, "POST", "/api/chat", chat(stream=False))
        took = asyncio.get_running_loop().time() - began
        prompt = answer.json["prompt_eval_count"]
        prefill = MACHINE.prefill_s(LLAMA, prompt)
        decode = 10 * MACHINE.decode_step_s(LLAMA, context=prompt + 10 / 2)
        assert took == pytest.approx(LOAD + prefill + decode)
        assert answer.json["load_duration"] == pytest.approx(LOAD * 1e9)
        assert answer.json["prompt_eval_duration"] == pytest.approx(prefill * 1e9)
        assert answer.json["eval_duration"] == pytest.approx(decode * 1e9)
        assert answer.json["total_duration"] == pytest.approx(took * 1e9)

    virtually(scenario)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_model_serves_as_many_at_once_as_it_has_slots(slots: int) -> None:
    async def scenario(fake: FakeOllama) -> None:
        tasks = [start(fake, chat())[0] for _ in range(3)]
        await fake.until(lambda f: f.running == slots)
        assert fake.waiting == 3 - slots
        await asyncio.gather(*tasks)
        assert (fake.running, fake.waiting) == (0, 0)
        assert fake.loads == {LLAMA.name: 1}

    virtually(scenario, num_parallel=slots)


def test_ps_lists_what_is_loaded_furthest_expiry_first_until_it_expires() -> None:
    async def scenario(fake: FakeOllama) -> None:
        await call(fake.handle, "POST", "/api/chat", chat(GEMMA.name, keep_alive="10s"))
        await call(fake.handle, "POST", "/api/chat", chat(keep_alive=60))
        first, second = (await call(fake.handle, "GET", "/api/ps")).json["models"]
        assert (first["name"], second["name"]) == (LLAMA.name, GEMMA.name)
        assert first["context_length"] == 4096
        assert first["size"] == LLAMA.resident(Tokens(4096), 1)
        assert first["size_vram"] == 0  # a machine without a GPU
        await asyncio.sleep(61)
        assert (await call(fake.handle, "GET", "/api/ps")).json == {"models": []}

    virtually(scenario)


def test_a_model_kept_for_ever_expires_in_another_century() -> None:
    async def scenario(fake: FakeOllama) -> None:
        await call(fake.handle, "POST", "/api/chat", chat(keep_alive=-1))
        await asyncio.sleep(1e6)
        (model,) = (await call(fake.handle, "GET", "/api/ps")).json["models"]
        assert model["expires_at"].startswith("2318-")

    virtually(scenario)


def test_another_num_ctx_reloads() -> None:
    async def scenario(fake: FakeOllama) -> None:
        for num_ctx in (2048, 2048, 8192):
            await call(fake.handle, "POST", "/api/chat", chat(options={"num_ctx": num_ctx}))
        assert fake.loads == {LLAMA.name: 2}

    virtually(scenario)


def test_a_model_that_does_not_fit_is_an_error_before_any_load() -> None:
    async def scenario(fake: FakeOllama) -> None:
        answer = await call(fake.handle, "POST", "/api/chat", chat("llama3.3:70b"))
        assert answer.status == 500
        assert answer.json["error"].startswith("model requires more system memory (")
        assert not fake.loads

    virtually(scenario)


def test_a_full_queue_answers_503_in_ollamas_words() -> None:
    async def scenario(fake: FakeOllama) -> None:
        loading, _ = start(fake, chat())
        queued, _ = start(fake, chat(GEMMA.name))
        await fake.until(lambda f: f.waiting == 2)
        refused = await call(fake.handle, "POST", "/api/chat", chat("qwen3:8b"))
        assert refused.status == 503
        assert refused.json == {"error": "server busy, please try again.  maximum pending requests exceeded"}
        await asyncio.gather(loading, queued)

    virtually(scenario, max_queue=1)


def test_a_client_that_goes_during_prefill_is_gone_at_once_but_its_slot_is_busy_until_the_first_token() -> None:
    async def scenario(fake: FakeOllama) -> None:
        await call(fake.handle, "POST", "/api/chat", {"model": LLAMA.name})
        long_prompt = chat(messages=[{"role": "user", "content": "word " * 2000}])
        task, sink = start(fake, long_prompt)
        await fake.until(lambda f: f.running == 1)
        began = asyncio.get_running_loop().time()
        await hang_up(task)
        assert asyncio.get_running_loop().time() == began
        assert (fake.cancelled, fake.running, sink.started) == (1, 1, False)
        await fake.until(lambda f: f.running == 0)
        prefill = MACHINE.prefill_s(LLAMA, 4 + 2500)
        assert asyncio.get_running_loop().time() - began == pytest.approx(prefill)

    virtually(scenario)


def test_a_client_that_goes_between_two_tokens_gives_its_slot_back_at_the_next() -> None:
    async def scenario(fake: FakeOllama) -> None:
        task, sink = start(fake, chat(tokens=1000))
        await fake.until(lambda f: f.running == 1)
        await asyncio.sleep(5)
        assert len(sink.pieces) > 1
        await hang_up(task)
        said = len(sink.pieces)
        began = asyncio.get_running_loop().time()
        await fake.until(lambda f: f.running == 0)
        assert asyncio.get_running_loop().time() - began <= STEP
        assert len(sink.pieces) == said

    virtually(scenario)


def test_a_client_that_goes_while_it_waits_leaves_the_queue() -> None:
    async def scenario(fake: FakeOllama) -> None:
        first, _ = start(fake, chat())
        waiting, _ = start(fake, chat())
        await fake.until(lambda f: f.running == 1)
        await hang_up(waiting)
        assert fake.waiting == 0
        await first

    virtually(scenario)


def test_a_load_is_aborted_when_its_only_client_goes() -> None:
    async def scenario(fake: FakeOllama) -> None:
        task, _ = start(fake, chat())
        await fake.until(lambda f: f.waiting == 1)
        await hang_up(task)
        assert (fake.waiting, fake.resident) == (0, ())
        await asyncio.sleep(2 * LOAD)
        assert fake.resident == ()

    virtually(scenario)


def test_wherever_a_client_goes_its_slot_comes_back() -> None:
    async def scenario(fake: FakeOllama) -> None:
        for percent in range(0, 130, 3):
            await call(fake.handle, "POST", "/api/chat", {"model": LLAMA.name, "keep_alive": 0})
            task, _ = start(fake, chat(tokens=5))
            await asyncio.sleep((LOAD + 5 * STEP) * percent / 100)
            task.cancel()
            await asyncio.wait([task])
            await fake.until(lambda f: (f.running, f.waiting) == (0, 0))

    virtually(scenario)


def test_a_client_over_in_memory_http_that_hangs_up_frees_the_machine() -> None:
    async def scenario(fake: FakeOllama) -> None:
        servers = InMemoryServers()
        servers.serve(BASE, fake.handle)
        head = RequestHead(RequestId("r1"), BackendId("ollama"), "POST", "/api/chat")

        async def body() -> AsyncIterator[bytes]:
            yield json.dumps(chat(tokens=1000)).encode()

        answer = await servers.exchange(BASE, head, body())
        assert json.loads(await answer.read())["done"] is False
        assert await servers.fetch(f"{BASE}/api/version", timeout=Seconds(1)) == (200, {"version": "0.33.0"})
        answer.close()
        await fake.until(lambda f: f.cancelled == 1 and f.running == 0)

    virtually(scenario)


def test_load_requests_do_not_wait_for_a_slot() -> None:
    async def scenario(fake: FakeOllama) -> None:
        task, _ = start(fake, chat(tokens=1000))
        await fake.until(lambda f: f.running == 1)
        answer = await call(fake.handle, "POST", "/api/chat", {"model": LLAMA.name, "keep_alive": "1h"})
        assert answer.json["done_reason"] == "load"
        assert fake.running == 1
        await hang_up(task)

    virtually(scenario)


def test_fail_next_fails_so_many_requests_for_answers_and_no_others() -> None:
    async def scenario(fake: FakeOllama) -> None:
        fake.fail_next(500, "llama runner process has terminated")
        assert (await call(fake.handle, "GET", "/api/ps")).status == 200
        failed = await call(fake.handle, "POST", "/api/chat", chat())
        assert (failed.status, failed.json) == (500, {"error": "llama runner process has terminated"})
        assert (await call(fake.handle, "POST", "/api/chat", chat())).status == 200

    virtually(scenario)


@pytest.mark.parametrize(("after", "pieces"), [(0, 0), (3, 3), (50, 10)])
def test_dying_in_mid_stream_cuts_the_answer_and_gives_the_slot_back(after: int, pieces: int) -> None:
    async def scenario(fake: FakeOllama) -> None:
        fake.die_mid_stream(after)
        broken = await call(fake.handle, "POST", "/api/chat", chat())
        assert (len(broken.pieces), broken.aborted, broken.finished) == (pieces, True, False)
        assert fake.running == 0
        assert (await call(fake.handle, "POST", "/api/chat", chat())).finished

    virtually(scenario)


def test_a_wedged_server_accepts_and_never_answers() -> None:
    async def scenario(fake: FakeOllama) -> None:
        fake.wedge()
        task = asyncio.create_task(call(fake.handle, "GET", "/api/version"))
        await asyncio.sleep(1e6)
        assert fake.requests == {"/api/version": 1}
        task.cancel()
        await asyncio.wait([task])
        assert fake.cancelled == 1

    virtually(scenario)


def test_requests_are_counted_by_path_and_unknown_ones_together() -> None:
    async def scenario(fake: FakeOllama) -> None:
        for path in ("/api/ps", "/api/ps", "/nowhere", "/nothing"):
            await call(fake.handle, "GET", path)
        assert fake.requests == {"/api/ps": 2, "": 2}
        assert repr(fake) == "<FakeOllama mini-pc [0 running, 0 waiting]>"

    virtually(scenario)


def test_an_endless_answer_ends_at_ten_times_the_context() -> None:
    async def scenario(fake: FakeOllama) -> None:
        answer = await call(fake.handle, "POST", "/api/chat", chat(tokens=10**9, stream=False, options={"num_ctx": 8}))
        assert answer.json["eval_count"] == 80

    virtually(scenario)
