"""What a router that starts again knows of its earlier life, in whole houses."""

import asyncio
from typing import Any

import pytest

from herd.actors.pre_warmer import HOMES_EVERY_S
from herd.policy import homes
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House
from herd.simulation.machine.profiles import PROFILES
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat, now, scenario

LONGER_S = 330.0  # than Ollama keeps a model that nobody uses


async def until(moment: float) -> None:
    await asyncio.sleep(moment - now())


async def decision(home: House, model: str, wanted: str) -> dict[str, Any]:
    """Where a request goes now, and every part of every score."""
    answer = await home.ask(CHAT, chat(model, tokens=5), headers=(("X-Request-Id", wanted),))
    assert answer.status == 200
    story = (await home.ask(f"/herd/v1/requests/{wanted}", method="GET")).json
    placed = next(event for event in story["events"] if event["kind"] == "placed")
    return {one["node"]: {"score": one["score"], **one["signals"]} for one in placed["candidates"]}


def decisions(*, restarts: bool) -> list[dict[str, Any]]:
    """What a fleet that has worked for a while decides, whether or not its router starts again in between."""
    found: list[dict[str, Any]] = []

    async def story() -> None:
        async with scenario() as home:
            await home.node("studio", [LLAMA, QWEN], parallel=2)
            await home.node("gamer", [LLAMA, QWEN], profile=PROFILES["pc-3070"], parallel=2)
            await home.node("air", [LLAMA], profile=PROFILES["macbook-air"])
            for number in range(12):
                models = (LLAMA, QWEN, LLAMA)
                asked = [home.send(CHAT, chat(model, tokens=30 + number, text="word " * 90)) for model in models]
                await asyncio.gather(*(one.task for one in asked))
            await until(200.0)
            if restarts:
                await home.restart_router(away=5.0)
            await until(260.0)
            busy = [home.send(CHAT, chat(LLAMA, tokens=600, text="word " * 500)) for _ in range(8)]
            await asyncio.sleep(0.5)
            found.extend([await decision(home, model, f"last-of-{model}") for model in (LLAMA, QWEN)])
            await asyncio.gather(*(one.task for one in busy))

    run_virtual(story())
    return found


def test_after_a_restart_the_same_decisions_come_out() -> None:
    straight, restarted = decisions(restarts=False), decisions(restarts=True)

    assert [list(scores) for scores in restarted] == [list(scores) for scores in straight]
    for one, other in zip(restarted, straight, strict=True):
        for node, signals in one.items():
            assert signals == pytest.approx(other[node], abs=0.01), node


def test_a_model_that_was_kept_before_a_restart_is_let_go_when_nobody_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA])
            await home.ask(CHAT, chat())
            await asyncio.sleep(HOMES_EVERY_S + 1)
            await home.restart_router()
            await asyncio.sleep(LONGER_S)
            assert a.ollama.resident == (LLAMA,)  # it is kept, and nobody has to load it
            await home.restart_router()
            monkeypatch.setattr(homes, "FORGOTTEN_S", 60.0)  # in place of a day
            await asyncio.sleep(LONGER_S + HOMES_EVERY_S)
            assert not a.ollama.resident

    run_virtual(story())


@virtual_time
async def test_a_home_is_still_one_after_a_restart() -> None:
    """The edit of `keep_alive` is made for a model at its home alone."""
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA])
        first = await home.ask(CHAT, chat())
        await asyncio.sleep(HOMES_EVERY_S + 1)
        await home.restart_router(away=20.0)
        await asyncio.sleep(HOMES_EVERY_S + 1)
        again = await home.ask(CHAT, chat())
        assert (again.header("X-Herd-Node"), again.header("X-Herd-Edited")) == (
            first.header("X-Herd-Node"),
            "keep_alive",
        )


@virtual_time
async def test_requests_of_before_a_restart_are_listed_and_have_a_story() -> None:
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA])
        await home.ask(CHAT, chat(tokens=7), headers=(("X-Request-Id", "of-before"),))
        path = "/herd/v1/requests/of-before"
        whole = (await home.ask(path, method="GET")).json
        listed = (await home.ask("/herd/v1/requests", method="GET")).json
        await home.restart_router(away=60.0)
        assert (await home.ask("/herd/v1/requests", method="GET")).json == listed
        left = (await home.ask(path, method="GET")).json
        events, kept = whole.pop("events"), left.pop("events")
        assert left == whole
        assert (left["completion"], left["outcome"]) == (7, "served")
        assert [event["kind"] for event in kept] == ["placed", "first-byte", "ended"]
        (placed,) = [event for event in events if event["kind"] == "placed"]
        best, second = kept[0]["candidates"]
        assert best["node"] == placed["candidates"][0]["node"] == left["node"]
        assert best["signals"] == pytest.approx(placed["candidates"][0]["signals"], abs=0.0101)
        assert (second["node"], second["signals"]) == (placed["candidates"][1]["node"], {})
