"""What the router tells of its requests afterwards, and while they wait."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

from herd.runtime.testing import serialize_messages, virtual_time
from herd.simulation.fleet.house import House, Sent
from herd.types import NodeState
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, begun, chat, scenario, served_by, until_held, until_waiting

SECRET = "opensesame"  # of the prompt; simulated servers have words of their own


async def story_of(home: House, request_id: str) -> dict[str, Any]:
    answer = await home.ask(f"/herd/v1/requests/{quote(request_id, safe='')}", method="GET")
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


async def latest(home: House, limit: int = 100) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await home.ask(f"/herd/v1/requests?limit={limit}", method="GET")).json["requests"]
    return found


def named(home: House, request_id: str, **fields: Any) -> Sent:
    headers = (("X-Request-Id", request_id), ("Authorization", f"Bearer {SECRET}"))
    return home.send(CHAT, chat(text=SECRET, **fields), headers)


def kinds(story: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in story["events"]]


def event_of(story: dict[str, Any], kind: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = [event for event in story["events"] if event["kind"] == kind][number]
    return found


@virtual_time
async def test_a_request_that_is_served() -> None:
    async with scenario() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        await home.node("mini", [LLAMA])
        await home.node("attic", [QWEN])
        sent = named(home, "mine/1:2", tokens=9)
        await sent.task
        story = await story_of(home, "mine/1:2")
    assert kinds(story) == ["placed", "queued", "granted", "opened", "first-byte", "served", "ended"]
    placed = story["events"][0]
    assert [candidate["node"] for candidate in placed["candidates"]] == ["studio", "mini"]
    assert all(sum(one["signals"].values()) == one["score"] for one in placed["candidates"])
    [out] = placed["eliminated"]
    assert (out["node"], out["reason"]["kind"]) == ("attic", "no-model")
    assert (story["node"], story["outcome"], story["status"], story["attempts"]) == ("studio", "served", 200, 1)
    assert (story["completion"], story["client"], story["model"]) == (9, "127.0.0.1", LLAMA)
    assert f"{story['score']:.1f}" == sent.sink.header("X-Herd-Score")
    assert 0 < story["first_token_s"] < story["total_s"]


@virtual_time
async def test_a_request_that_failed_on_one_node_and_was_served_by_another() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA], resident=[LLAMA])
        await home.node("mini", [LLAMA])
        studio.ollama.fail_next(503, SECRET)
        await named(home, "twice").task
        story = await story_of(home, "twice")
    assert kinds(story) == [
        *("placed", "queued", "granted", "opened", "failed"),
        *("placed", "queued", "granted", "opened", "first-byte", "served", "ended"),
    ]
    failed = event_of(story, "failed")
    assert (failed["node"], failed["attempt"]) == ("studio", 1)
    assert failed["reason"] == {"kind": "status", "text": "the model server answered 503"}
    assert event_of(story, "placed", 1)["eliminated"][0]["reason"]["text"] == "already failed this request"
    assert (story["node"], story["attempts"], story["outcome"]) == ("mini", 2, "served")


@virtual_time
async def test_a_request_that_is_held_says_so_while_it_waits_and_afterwards() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA])
        home.links.freeze(studio.id)
        home.links.cut(studio.id)
        await home.until_node("studio", NodeState.OFFLINE)
        held = named(home, "patient")
        await until_held(home, 1)
        await asyncio.sleep(2)
        waiting = await story_of(home, "patient")
        home.links.thaw(studio.id)
        await held.task
        story = await story_of(home, "patient")
    assert (kinds(waiting), waiting["outcome"]) == (["placed", "held"], None)
    assert waiting["waited_s"] > 1.9
    assert "offline" in waiting["events"][0]["eliminated"][0]["reason"]["text"]
    assert kinds(story)[1:4] == ["held", "woken", "placed"]
    assert (event_of(story, "woken")["by"], story["outcome"]) == ("unlocked", "served")
    assert story["waited_s"] > 1.9


@virtual_time
async def test_a_client_that_hangs_up_while_its_request_is_queued_or_being_answered() -> None:
    async with scenario() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        running = named(home, "running", tokens=5000)
        await begun(running.sink, 3)
        queued = named(home, "queued")
        await until_waiting(home, "studio", 1)
        await asyncio.sleep(2)
        assert [(one["id"], one["outcome"]) for one in await latest(home)] == [("queued", None), ("running", None)]
        assert kinds(await story_of(home, "queued")) == ["placed", "queued"]
        await queued.hang_up()
        await running.hang_up()
        early, late = await story_of(home, "queued"), await story_of(home, "running")
    assert (early["outcome"], early["status"], kinds(early)[-1]) == ("cancelled", None, "ended")
    assert (late["outcome"], late["status"], kinds(late)[-2:]) == ("cancelled", 200, ["first-byte", "ended"])
    assert early["waited_s"] == early["total_s"] > 1


@virtual_time
async def test_requests_that_are_refused_or_expire() -> None:
    async with scenario(hold_timeout=5) as home:
        studio = await home.node("studio", [LLAMA])
        await named(home, "unknown", model="nobody-has-it").task
        home.links.freeze(studio.id)
        home.links.cut(studio.id)
        await named(home, "late").task
        unknown, late = await story_of(home, "unknown"), await story_of(home, "late")
        assert [one["id"] for one in await latest(home, limit=1)] == ["late"]
    assert (unknown["outcome"], unknown["status"], unknown["node"]) == ("rejected", 404, None)
    assert unknown["events"][-1]["text"] == "model 'nobody-has-it' not found"
    assert (late["outcome"], late["status"], event_of(late, "woken")["by"]) == ("expired", 503, "expired")


@virtual_time
async def test_an_answer_that_breaks_off_has_failed() -> None:
    async with scenario() as home:
        studio = await home.node("studio", [LLAMA], resident=[LLAMA])
        studio.ollama.die_mid_stream(3)
        await named(home, "broken").task
        story = await story_of(home, "broken")
    assert (story["outcome"], story["status"], kinds(story)[-2:]) == ("failed", 200, ["first-byte", "ended"])
    assert story["events"][-1]["text"]


@virtual_time
async def test_nothing_of_what_was_asked_or_answered_is_told_and_every_message_can_travel() -> None:
    async with scenario() as home:
        with serialize_messages():
            studio = await home.node("studio", [LLAMA], resident=[LLAMA])
            answered, broken = named(home, "answered"), named(home, "broken", tokens=500)
            await answered.task
            await begun(broken.sink, 3)
            await asyncio.sleep(1)
            studio.ollama.die_mid_stream(1)
            await broken.task
            stories = [await story_of(home, request_id) for request_id in ("answered", "broken")]
        text = "".join(json.loads(line)["message"]["content"] for line in answered.sink.body.splitlines())
    told, words = json.dumps(stories), text.split()
    assert SECRET not in told
    assert len(words) > 5
    assert [three for three in zip(words, words[1:], words[2:], strict=False) if " ".join(three) in told] == []


@virtual_time
async def test_requests_with_one_id_each_have_a_line() -> None:
    async with scenario() as home:
        await home.node("studio", [LLAMA], resident=[LLAMA])
        first, second = named(home, "same", tokens=2), named(home, "same", tokens=3)
        await asyncio.gather(first.task, second.task)
        assert served_by(first.sink) == served_by(second.sink) == "studio"
        assert [(one["id"], one["completion"]) for one in await latest(home)] == [("same", 3), ("same", 2)]
        assert (await story_of(home, "same"))["completion"] == 3
