"""A fleet whose router ranks by seconds: everything around the ranking is as with the seven signals."""

import asyncio
from typing import Any

import pytest

from herd.policy.values import SIGNALS
from herd.runtime.testing import serialize_messages, virtual_time
from herd.simulation.fleet.house import House, Sent, house
from herd.simulation.machine.profiles import PROFILES
from herd.types import ScorerKind
from tests.scenarios.helpers import CHAT, LLAMA, chat, served_by, story_of, until_waiting


def by_seconds() -> Any:
    return house(seed=1, join_grace=0.0, scorer=ScorerKind.COMPLETION_TIME)


async def events(home: House, sent: Sent) -> list[dict[str, Any]]:
    """What happened to a request that has ended."""
    found: list[dict[str, Any]] = (await story_of(home, sent))["events"]
    return found


@virtual_time
async def test_the_story_has_seconds_and_the_same_seven_signals() -> None:
    async with by_seconds() as home:
        with serialize_messages():
            await home.node("studio", [LLAMA], resident=[LLAMA])
            await home.node("mini", [LLAMA])
            sent = home.send(CHAT, chat(tokens=50))
            await sent.task
        placed = next(event for event in await events(home, sent) if event["kind"] == "placed")
    best, other = placed["candidates"]
    assert served_by(sent.sink) == best["node"] == "studio"
    for candidate in (best, other):
        assert list(candidate["signals"])[:7] == list(SIGNALS[:7])
        assert candidate["score"] == pytest.approx(-sum(candidate["seconds"].values()))
        shares = [candidate["seconds"][part] for part in ("wait", "load", "prefill", "decode")]
        assert candidate["predicted_s"] == pytest.approx(sum(shares), abs=1e-5)
    assert best["seconds"]["load"] == 0.0 < other["seconds"]["load"]
    assert sent.sink.header("X-Herd-Score") == f"{best['score']:.1f}"


@virtual_time
async def test_an_idle_cold_machine_is_taken_as_soon_as_it_answers_sooner() -> None:
    async with by_seconds() as home:
        await home.node("slow", [LLAMA], resident=[LLAMA], profile=PROFILES["office-pc"])
        await home.node("fast", [LLAMA], profile=PROFILES["rtx-4090"])
        sent = home.send(CHAT, chat(tokens=600))
        await sent.task
        assert served_by(sent.sink) == "fast"


@virtual_time
async def test_requests_are_fitted_to_what_their_node_has_loaded() -> None:
    async with by_seconds() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        sent = home.send(CHAT, chat(options={"num_ctx": 2048, "num_predict": 2}))
        await sent.task
        assert "options.num_ctx" in (sent.sink.header("X-Herd-Edited") or "")


@virtual_time
async def test_what_waits_is_moved_to_where_it_is_served_sooner() -> None:
    async with by_seconds() as home:
        await home.node("busy", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(tokens=300)) for _ in range(8)]
        await until_waiting(home, "busy", 7)
        await asyncio.sleep(1.5)
        await home.node("late", [LLAMA], resident=[LLAMA])
        await asyncio.gather(*(one.task for one in sent))
        assert {served_by(one.sink) for one in sent} == {"busy", "late"}
        moved = [event for one in sent for event in await events(home, one) if event["kind"] == "moved"]
    assert moved
    assert all(event["candidate"]["score"] < 0 for event in moved)


@virtual_time
async def test_the_next_turn_of_a_talk_is_expected_to_read_only_what_is_new() -> None:
    async with by_seconds() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        said = [{"role": "user", "content": "word " * 2000}]
        answers = []
        for turn in range(2):
            sent = home.send(CHAT, {"model": LLAMA, "messages": said, "options": {"num_predict": 5}})
            await sent.task
            answers.append(sent)
            said = [*said, {"role": "assistant", "content": "yes"}, {"role": "user", "content": f"and {turn}?"}]
        first, second = [next(e for e in await events(home, one) if e["kind"] == "placed") for one in answers]
    reads = [placed["candidates"][0]["seconds"]["prefill"] for placed in (first, second)]
    assert reads[1] < reads[0] / 20


@pytest.mark.parametrize("scorer", ScorerKind)
@virtual_time
async def test_equal_machines_that_are_much_slower_than_their_data_sheets_share_evenly(scorer: ScorerKind) -> None:
    async with house(seed=1, join_grace=0.0, scorer=scorer) as home:
        for name in "ab":
            machine = await home.node(name, [LLAMA], resident=[LLAMA])
            machine.ollama.slow(10.0)
        served = []
        for number in range(20):  # the first ones teach how slow they are
            sent = home.send(CHAT, chat(tokens=60, text=f"question {number}"))
            await sent.task
            served.append(served_by(sent.sink))
        assert served.count("a") == served.count("b")


@virtual_time
async def test_a_machine_that_was_never_asked_is_tried_though_another_beats_its_data_sheet_by_a_little() -> None:
    async with by_seconds() as home:
        await home.node("known", [LLAMA], resident=[LLAMA])
        for number in range(5):
            await home.send(CHAT, chat(tokens=60, text=f"question {number}")).task
        await home.node("new", [LLAMA], resident=[LLAMA])
        served = []
        for number in range(6):
            sent = home.send(CHAT, chat(tokens=60, text=f"and {number}"))
            await sent.task
            served.append(served_by(sent.sink))
        assert served.count("new") >= 3
