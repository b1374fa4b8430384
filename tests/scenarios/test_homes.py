"""Homes and pins, in whole houses: what is in use stays loaded, and what is pinned stays whatever else is asked for."""

import asyncio

import pytest

from herd.actors.pre_warmer import HOMES_EVERY_S
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import Disk, house
from herd.simulation.machine.profiles import PROFILES
from tests.scenarios.helpers import CHAT, LLAMA, OPENAI_CHAT, QWEN, chat, openai_chat, scenario, served_by

SMALL = PROFILES["pc-3070"]  # has room for either of the models, not for both
LONGER_S = 330.0  # than Ollama keeps a model that nobody uses
PIN = f"/herd/v1/pins/{LLAMA}"


@virtual_time
async def test_a_model_in_use_stays_loaded_at_its_home() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        shown = await home.ask(CHAT, chat())
        assert shown.header("X-Herd-Edited") == "keep_alive"
        await asyncio.sleep(LONGER_S)
        await home.ask(CHAT, chat())
        assert a.ollama.loads[LLAMA] == 1


@virtual_time
async def test_it_stays_for_clients_of_openais_api_too_and_their_requests_are_not_edited() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        for _ in range(2):
            answer = await home.ask(OPENAI_CHAT, openai_chat())
            assert answer.header("X-Herd-Edited") is None
            await asyncio.sleep(LONGER_S)
        assert a.ollama.loads[LLAMA] == 1


@virtual_time
async def test_a_client_that_says_how_long_is_heeded() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        answer = await home.ask(CHAT, chat(keep_alive="1m"))
        assert answer.header("X-Herd-Edited") is None


@virtual_time
async def test_a_model_is_loaded_again_at_its_home_when_there_is_room() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        await a.unload()
        await asyncio.sleep(2 * HOMES_EVERY_S)
        assert a.ollama.resident == (LLAMA,)


@virtual_time
async def test_a_pinned_model_is_loaded_at_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "herd.actors.pre_warmer")
    async with scenario() as home:
        a = await home.node("a", [LLAMA, QWEN])
        assert (await home.ask(PIN)).json == {"model": LLAMA, "pinned": True, "home": "a"}
        await asyncio.sleep(10)
        assert a.ollama.resident == (LLAMA,)
        (node,) = (await home.ask("/herd/v1/status", method="GET")).json["nodes"]
        assert {model["name"]: model["pinned"] for model in node["models"]} == {LLAMA: True, QWEN: False}
        told = (await home.ask("/herd/v1/nodes/a/resume")).json
        assert told["models"] == node["models"]
        assert caplog.messages == [f"{LLAMA} is loaded on a and stays"]
        await asyncio.sleep(LONGER_S)
        assert a.ollama.resident == (LLAMA,)
        assert (await home.ask(PIN, method="DELETE")).json == {"model": LLAMA, "pinned": False, "home": None}
        await asyncio.sleep(LONGER_S)
        assert not a.ollama.resident


@virtual_time
async def test_a_pinned_model_is_not_evicted_by_herds_placements() -> None:
    async with scenario(hold_timeout=5.0) as home:
        a = await home.node("a", [LLAMA, QWEN], profile=SMALL)
        assert served_by(await home.ask(CHAT, chat(QWEN))) == "a"
        await home.ask(PIN)
        await asyncio.sleep(10)
        assert a.ollama.resident == (LLAMA,)  # the other one was idle
        refused = await home.ask(CHAT, chat(QWEN))
        assert refused.status == 503
        assert "of memory for it" in refused.json["error"]
        assert a.ollama.resident == (LLAMA,)
        await home.node("b", [QWEN], profile=SMALL)
        assert served_by(await home.ask(CHAT, chat(QWEN))) == "b"


@virtual_time
async def test_a_pin_outlives_the_router() -> None:
    disk = Disk()
    async with house(open_store=disk.open) as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA])
        await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)  # it lives where it was served
        await home.ask(PIN)
        await asyncio.sleep(10)
        before = [node.ollama.resident for node in home.nodes]
        assert sorted(before) == [(), (LLAMA,)]
        await home.stop_router()
        for node in home.nodes:
            await node.unload()
        await home.start_router()
        await asyncio.sleep(2 * HOMES_EVERY_S)
        assert [node.ollama.resident for node in home.nodes] == before
    disk.throw_away()


@virtual_time
async def test_what_cannot_be_pinned_is_refused_in_a_sentence() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        unknown = await home.ask("/herd/v1/pins/nobody:1b")
        assert (unknown.status, unknown.json["error"]) == (404, "no node has 'nobody:1b'")
        not_pinned = await home.ask(PIN, method="DELETE")
        assert (not_pinned.status, not_pinned.json["error"]) == (404, f"'{LLAMA}' is not pinned")
        page = await home.ask(PIN, headers=(("Origin", "http://localhost:3000"),))
        assert (page.status, "web pages" in page.json["error"]) == (403, True)


@virtual_time
async def test_a_pinned_model_that_fits_nowhere_has_no_home_and_whoever_pins_it_is_told() -> None:
    async with scenario() as home:
        await home.node("a", ["llama3.3:70b"], profile=SMALL)
        pinned = await home.ask("/herd/v1/pins/llama3.3:70b")
        assert pinned.json == {"model": "llama3.3:70b", "pinned": True, "home": None}
