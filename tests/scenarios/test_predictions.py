"""How long a request was to take, how long it took, and what is made of the two: wherever that shows."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from herd.policy import rebalancing
from herd.runtime.testing import serialize_messages, virtual_time
from herd.simulation.comparison.baselines import ranked_by, round_robin
from herd.simulation.fleet.house import House, Sent
from herd.types import NodeState
from tests.scenarios.helpers import CHAT, LLAMA, chat, scenario, served_by, story_of, until_held, until_waiting

PLACED, PREDICTED = "X-Herd-Placed-Ms", "X-Herd-Predicted-Ms"


async def shown(home: House, node: str) -> dict[str, Any]:
    document: dict[str, Any] = (await home.ask(f"/herd/v1/nodes/{node}", method="GET")).json
    return document


def events(story: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in story["events"] if event["kind"] == kind]


def in_headers(sent: Sent) -> tuple[float, float]:
    """Seconds until it was placed, and that were predicted from then on."""
    return tuple(int(sent.sink.header(name) or -1) / 1000 for name in (PLACED, PREDICTED))  # type: ignore[return-value]


@virtual_time
async def test_a_prediction_and_what_came_are_in_the_story_in_headers_and_with_the_node() -> None:
    async with scenario() as home:
        with serialize_messages():
            await home.node("studio", [LLAMA], resident=[LLAMA])
            await home.node("mini", [LLAMA])
            sent = home.send(CHAT, chat(tokens=200))
            await sent.task
        story, studio, mini = await story_of(home, sent), await shown(home, "studio"), await shown(home, "mini")
    placed, served = events(story, "placed")[0], events(story, "served")[0]
    best, other = placed["candidates"]
    assert 0 < best["predicted_s"] < other["predicted_s"]  # which would have to load it
    assert served["predicted_s"] == story["predicted_s"] == best["predicted_s"]
    assert served["took_s"] == story["took_s"] == pytest.approx(served["at"] - placed["at"], abs=1e-4)
    assert in_headers(sent) == pytest.approx((0.0, best["predicted_s"]), abs=0.001)
    (speed,) = studio["learned"]
    assert speed["calibration"] == studio["calibration"]
    assert speed["calibration"] == {
        "ratio": pytest.approx(story["took_s"] / story["predicted_s"], rel=1e-3),
        "spread": 0.0,
        "weight": 1.0,
    }
    assert mini["calibration"] is None


@virtual_time
async def test_the_prediction_of_a_held_request_counts_from_its_placement() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA], resident=[LLAMA])
        home.links.freeze(studio.id)
        home.links.cut(studio.id)
        await home.until_node("studio", NodeState.OFFLINE)
        held = home.send(CHAT, chat())
        await until_held(home, 1)
        await asyncio.sleep(10)
        home.links.thaw(studio.id)
        await held.task
        story = await story_of(home, held)
    assert story["waited_s"] > 9.9
    assert story["took_s"] < 2.0
    assert in_headers(held)[0] == pytest.approx(events(story, "placed")[1]["at"], abs=0.001)


@virtual_time
async def test_the_prediction_of_a_request_that_failed_somewhere_is_that_of_where_it_was_served() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA], resident=[LLAMA])
        await home.node("mini", [LLAMA])
        studio.ollama.fail_next(503, "busy")
        sent = home.send(CHAT, chat())
        await sent.task
        story, studio_shown, mini = await story_of(home, sent), await shown(home, "studio"), await shown(home, "mini")
    second = events(story, "placed")[1]
    assert (second["node"], story["predicted_s"]) == ("mini", second["candidates"][0]["predicted_s"])
    assert story["took_s"] == pytest.approx(story["total_s"] - second["at"], abs=1e-4)
    assert studio_shown["calibration"] is None
    assert mini["calibration"]["weight"] == 1.0


@virtual_time
async def test_the_prediction_of_a_request_that_was_moved_is_that_of_the_move() -> None:
    async with scenario() as home:
        await home.node("busy", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(tokens=300)) for _ in range(8)]
        await until_waiting(home, "busy", 7)
        await asyncio.sleep(rebalancing.SETTLED_S)
        await home.node("late", [LLAMA], resident=[LLAMA])
        await asyncio.gather(*(one.task for one in sent))
        moved = [await story_of(home, one) for one in sent if served_by(one.sink) == "late"]
        late = await shown(home, "late")
    assert moved
    for story in moved:
        move, served = events(story, "moved")[-1], events(story, "served")[0]
        assert story["predicted_s"] == move["candidate"]["predicted_s"]
        assert story["took_s"] == pytest.approx(served["at"] - move["at"], abs=1e-4)
    assert late["calibration"]["weight"] == pytest.approx(len(moved), abs=0.01)


@virtual_time
async def test_an_answer_that_is_not_whole_checks_nothing() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA], resident=[LLAMA])
        studio.ollama.die_mid_stream(3)
        sent = home.send(CHAT, chat())
        await sent.task
        story, document = await story_of(home, sent), await shown(home, "studio")
    assert story["predicted_s"] > 0
    assert (story["took_s"], document["calibration"]) == (None, None)


@virtual_time
async def test_a_router_that_predicts_nothing_says_so_and_checks_nothing() -> None:
    async with scenario() as home:
        await home.stop_router()
        home._options = replace(home._options, ranking=ranked_by(round_robin))
        await home.start_router()
        await home.node("studio", [LLAMA], resident=[LLAMA])
        sent = home.send(CHAT, chat())
        await sent.task
        story, document = await story_of(home, sent), await shown(home, "studio")
    assert served_by(sent.sink) == "studio"
    assert (sent.sink.header(PLACED), sent.sink.header(PREDICTED)) == (None, None)
    assert events(story, "placed")[0]["candidates"][0]["predicted_s"] is None
    assert (story["predicted_s"], story["took_s"]) == (None, None)
    assert document["learned"][0]["decode"] > 0
    assert document["calibration"] is None


@virtual_time
async def test_what_was_predicted_and_what_came_outlives_the_router() -> None:
    async with scenario() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        sent = home.send(CHAT, chat())
        await sent.task
        before, known = await story_of(home, sent), (await shown(home, "studio"))["calibration"]
        await home.stop_router()
        await home.start_router()
        await home.until_node("studio", NodeState.READY)
        after, document = await story_of(home, sent), await shown(home, "studio")
    assert (after["predicted_s"], after["took_s"]) == (before["predicted_s"], before["took_s"])
    assert events(after, "placed")[0]["candidates"][0]["predicted_s"] == before["predicted_s"]
    assert document["calibration"]["ratio"] == known["ratio"]
