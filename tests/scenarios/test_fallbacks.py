"""Models that stand in for others."""

import asyncio

import pytest

from herd.actors import holding_pen, model_queue
from herd.names import Names
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.invariants import left_over
from herd.simulation.fleet.house import House
from herd.simulation.http import RecordingSink
from herd.simulation.ollama.scheduler import BUSY
from herd.types import NodeState
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    OPENAI_CHAT,
    QWEN,
    assert_nothing_is_out,
    begun,
    chat,
    now,
    openai_chat,
    queue_of,
    scenario,
    served_by,
    story_of,
    turns,
    until_held,
    until_waiting,
)

GEMMA = "gemma3:4b"
INSTEAD = Names(fallbacks={QWEN: [LLAMA]})


def by(answer: RecordingSink) -> tuple[str | None, str | None]:
    """The node and the model that served."""
    return served_by(answer), answer.header("X-Herd-Model")


async def order(home: House, node: str, word: str) -> None:
    """Drain, pause or resume a node."""
    assert (await home.ask(f"/herd/v1/nodes/{node}/{word}")).status == 200


@pytest.mark.parametrize("word", ["drain", "pause", "leave"])
def test_while_no_node_can_serve_it_another_model_does_at_once_and_the_answer_says_so(word: str) -> None:
    async def story() -> None:
        async with scenario(names=INSTEAD) as home:
            big = await home.node("big", [QWEN])
            await home.node("small", [LLAMA])
            assert by(await home.ask(CHAT, chat(QWEN))) == ("big", QWEN)
            if word == "leave":
                await big.stop_agent()
                await home.until_node("big", NodeState.OFFLINE)
            else:
                await order(home, "big", word)
            began = now()
            sent = home.send(CHAT, chat(QWEN))
            await turns(40)
            assert now() == began
            assert await queue_of(home, "small") == (1, 0)
            await sent.task
            assert by(sent.sink) == ("small", LLAMA)
            assert sent.sink.header("X-Herd-Edited") == "model"
            told = await story_of(home, sent)
            assert (told["model"], told["served_model"]) == (QWEN, LLAMA)
            placed = [event for event in told["events"] if event["kind"] == "placed"]
            assert [(one["model"], one["node"]) for one in placed] == [(QWEN, None), (LLAMA, "small")]
            if word == "leave":
                await big.start_agent()
                await home.until_node("big", NodeState.READY)
            else:
                await order(home, "big", "resume")
            assert by(await home.ask(CHAT, chat(QWEN))) == ("big", QWEN)

    run_virtual(story())


@virtual_time
async def test_a_busy_model_is_waited_for() -> None:
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN], resident=[QWEN])
        await home.node("small", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(QWEN, tokens=50)) for _ in range(4)]
        await until_waiting(home, "big", 3, QWEN)
        await asyncio.gather(*(one.task for one in sent))
        assert [by(one.sink) for one in sent] == [("big", QWEN)] * 4


@virtual_time
async def test_a_model_that_nobody_has_ever_had_is_passed_over() -> None:
    async with scenario(names=Names(fallbacks={"gpt-4o": ["nobody-has-it", LLAMA]})) as home:
        await home.node("a", [LLAMA])
        assert by(await home.ask(OPENAI_CHAT, openai_chat("gpt-4o"))) == ("a", LLAMA)


@virtual_time
async def test_a_request_none_of_whose_models_was_ever_known_is_not_found() -> None:
    async with scenario(names=Names(fallbacks={"x": ["y", "z"]})) as home:
        await home.node("a", [LLAMA])
        answer = await home.ask(CHAT, chat("x"))
        assert (answer.status, answer.json) == (404, {"error": "model 'x' not found"})


@virtual_time
async def test_the_requests_own_list_takes_the_place_of_the_owners() -> None:
    async with scenario(names=Names({"small": LLAMA}, {QWEN: [GEMMA]})) as home:
        await home.node("a", [LLAMA, GEMMA])
        assert by(await home.ask(CHAT, chat(QWEN))) == ("a", GEMMA)
        assert by(await home.ask(CHAT, chat(QWEN, fallback_models=["no-such", "small"]))) == ("a", LLAMA)
        assert by(await home.ask(CHAT, chat(QWEN, fallback_models=None))) == ("a", GEMMA)
        openai = openai_chat(QWEN) | {"fallback_models": [LLAMA]}
        assert by(await home.ask(OPENAI_CHAT, openai)) == ("a", LLAMA)
        assert (await home.ask(CHAT, chat(QWEN, fallback_models=[]))).status == 404


@virtual_time
async def test_to_load_or_unload_a_model_is_meant_for_that_one() -> None:
    async with scenario(names=INSTEAD) as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        answer = await home.ask("/api/generate", {"model": QWEN, "keep_alive": 0})
        assert (answer.status, a.ollama.resident) == (404, (LLAMA,))


@pytest.mark.parametrize("status", [500, 503, 404])
def test_when_all_who_have_it_fail_the_next_model_serves(status: int) -> None:
    async def story() -> None:
        async with scenario(names=INSTEAD) as home:
            big = await home.node("big", [QWEN], resident=[QWEN])
            other = await home.node("other", [QWEN], resident=[QWEN])
            await home.node("small", [LLAMA])
            for node in (big, other):
                node.ollama.fail_next(status, "out of order")
            answer = await home.ask(CHAT, chat(QWEN))
            assert by(answer) == ("small", LLAMA)
            assert answer.header("X-Herd-Attempts") == "3"

    run_virtual(story())


@virtual_time
async def test_a_node_that_failed_with_one_model_may_serve_with_another() -> None:
    async with scenario(names=INSTEAD) as home:
        a = await home.node("a", [QWEN, LLAMA], resident=[QWEN])
        a.ollama.fail_next(503, BUSY)
        answer = await home.ask(CHAT, chat(QWEN))
        assert by(answer) == ("a", LLAMA)
        assert answer.header("X-Herd-Attempts") == "2"


@virtual_time
async def test_one_request_is_sent_three_times_at_most_whichever_models_with() -> None:
    async with scenario(names=Names(fallbacks={QWEN: [LLAMA, GEMMA]})) as home:
        nodes = [await home.node(name, [QWEN, LLAMA, GEMMA]) for name in "ab"]
        for node in nodes:
            for _ in range(5):
                node.ollama.fail_next(500, f"{node.id} is out of order")
        answer = await home.ask(CHAT, chat(QWEN))
        assert (answer.status, answer.header("X-Herd-Attempts")) == (500, "1")  # the first one's own words
        assert sum(node.ollama.requests[CHAT] for node in nodes) == 3
        for node in nodes:
            node.ollama.faults.clear()


@virtual_time
async def test_a_full_queue_is_a_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_queue, "MAX_WAITING", 1)
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN], resident=[QWEN])
        await home.node("small", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat(QWEN, tokens=5)) for _ in range(5)]
        await asyncio.gather(*(one.task for one in sent))
        assert [one.sink.header("X-Herd-Model") for one in sent] == [QWEN, QWEN, LLAMA, LLAMA, None]
        refused = sent[-1].sink
        assert (refused.status, refused.json) == (503, {"error": BUSY})


@pytest.mark.parametrize(("comes", "model"), [("big", QWEN), ("small", LLAMA)])
def test_while_none_can_be_served_it_is_held_until_any_of_them_can(comes: str, model: str) -> None:
    async def story() -> None:
        async with scenario(names=INSTEAD) as home:
            await home.node("big", [QWEN], resident=[QWEN])
            await home.node("small", [LLAMA], resident=[LLAMA])
            for node in ("big", "small"):
                await order(home, node, "drain")
            held = home.send(CHAT, chat(QWEN, tokens=1))
            await until_held(home, 1)
            await asyncio.sleep(20)
            assert not held.task.done()
            came = now()
            await order(home, comes, "resume")
            await held.task
            assert now() - came < 5.0, "it was woken by its deadline"
            assert by(held.sink) == (comes, model)

    run_virtual(story())


@virtual_time
async def test_who_is_woken_by_a_node_and_goes_to_another_leaves_the_first_to_the_next_in_the_pen() -> None:
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN])
        await home.node("small", [LLAMA])
        for node in ("big", "small"):
            await order(home, node, "drain")
        either, other = home.send(CHAT, chat(QWEN, tokens=1000)), home.send(CHAT, chat(LLAMA, tokens=1))
        await until_held(home, 2)
        both = [home.send(f"/herd/v1/nodes/{node}/resume") for node in ("small", "big")]
        await asyncio.gather(*(one.task for one in both))
        began = now()
        await other.task
        assert now() - began < 15.0
        assert by(other.sink) == ("small", LLAMA)
        await either.task


@virtual_time
async def test_at_its_deadline_the_client_is_told_of_every_model() -> None:
    async with scenario(names=Names({"smart": QWEN}, {"smart": [LLAMA]}), hold_timeout=7.0) as home:
        await home.node("big", [QWEN])
        await home.node("small", [LLAMA])
        for node in ("big", "small"):
            await order(home, node, "drain")
        began = now()
        answer = await home.ask(CHAT, chat("smart"))
        assert (answer.status, now() - began, answer.header("Retry-After")) == (503, 7.0, "5")
        qwen = f"big is drained by hand; small does not have {QWEN} on disk"
        llama = f"big does not have {LLAMA} on disk; small is drained by hand"
        assert answer.json["error"] == f"no node can serve smart now: {QWEN} ({qwen}), {LLAMA} ({llama})"


@virtual_time
async def test_a_model_that_can_never_do_it_is_passed_over_and_refuses_when_there_is_no_other() -> None:
    async with scenario(names=INSTEAD) as home:
        await home.node("a", [QWEN])
        image = {"role": "user", "content": "what is this?", "images": ["aGVsbG8="]}
        began = now()
        refused = await home.ask(CHAT, {"model": QWEN, "messages": [image]})
        assert (refused.status, now(), refused.header("X-Herd-Model")) == (400, began, None)
        await home.node("b", [LLAMA, GEMMA])
        refused = await home.ask(CHAT, {"model": QWEN, "messages": [image]})
        assert (refused.status, refused.header("X-Herd-Model")) == (400, LLAMA)
        body = {"model": QWEN, "messages": [image], "fallback_models": [LLAMA, GEMMA]}
        assert by(await home.ask(CHAT, body)) == ("b", GEMMA)


@virtual_time
async def test_who_can_never_do_it_is_named_by_the_model_that_it_has() -> None:
    async with scenario() as home:
        await home.node("a", [QWEN])
        image = {"role": "user", "content": "what is this?", "images": ["aGVsbG8="]}
        body = {"model": "unknown:1b", "messages": [image], "fallback_models": [QWEN, "unknown:2b"]}
        refused = await home.ask(CHAT, body)
        assert refused.status == 400
        assert refused.json["error"].startswith(f"no node can do this with {QWEN}: the one that has it")


@virtual_time
async def test_each_turn_of_a_conversation_begins_with_the_first_model_again() -> None:
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN])
        await home.node("small", [LLAMA])
        session = (("X-Herd-Session", "one"),)
        served = []
        for word in ("drain", "resume", "drain"):
            await order(home, "big", word)
            served.append(by(await home.ask(CHAT, chat(QWEN), session)))
        assert served == [("small", LLAMA), ("big", QWEN), ("small", LLAMA)]


@virtual_time
async def test_a_hang_up_gives_everything_back_in_any_turn_of_a_request_that_falls_back() -> None:
    async with scenario(names=INSTEAD) as home:
        big = await home.node("big", [QWEN], resident=[QWEN])
        small = await home.node("small", [LLAMA], resident=[LLAMA])
        reached = [0, 0]
        for turn in range(80):
            before = big.ollama.requests[CHAT], small.ollama.requests[CHAT]
            big.ollama.fail_next(404, "not found")
            sent = home.send(CHAT, chat(QWEN, tokens=1000))
            await turns(turn)
            await sent.hang_up()
            await assert_nothing_is_out(home)
            reached[0] += big.ollama.requests[CHAT] - before[0]
            reached[1] += small.ollama.requests[CHAT] - before[1]
            big.ollama.faults.clear()
        assert 80 > reached[0] > reached[1] > 0, "the turns do not cover the whole way"
        assert by(await home.ask(CHAT, chat(QWEN, tokens=1))) == ("big", QWEN)


@virtual_time
async def test_a_hang_up_gives_everything_back_in_any_turn_around_the_waking_of_one_held_for_several_models() -> None:
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN], resident=[QWEN])
        await home.node("small", [LLAMA], resident=[LLAMA])
        for turn in range(40):
            for node in ("big", "small"):
                await order(home, node, "drain")
            sent = home.send(CHAT, chat(QWEN, tokens=1000))
            await until_held(home, 1)
            woken = [home.send(f"/herd/v1/nodes/{node}/resume") for node in ("big", "small")]
            await turns(turn)
            await sent.hang_up()
            await asyncio.gather(*(one.task for one in woken))
            await assert_nothing_is_out(home)
        assert by(await home.ask(CHAT, chat(QWEN, tokens=1))) == ("big", QWEN)


@virtual_time
async def test_it_counts_once_in_the_pen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding_pen, "MAX_HELD", 1)
    async with scenario(names=INSTEAD) as home:
        await home.node("big", [QWEN])
        await home.node("small", [LLAMA])
        for node in ("big", "small"):
            await order(home, node, "drain")
        held = home.send(CHAT, chat(QWEN))
        await until_held(home, 1)
        refused = await home.ask(CHAT, chat(QWEN))
        assert "holds as many requests as it may" in refused.json["error"]
        await held.hang_up()
        assert await left_over(home) == []


@virtual_time
async def test_an_answer_that_had_begun_is_never_begun_anew_with_another_model() -> None:
    async with scenario(names=INSTEAD) as home:
        big = await home.node("big", [QWEN], resident=[QWEN])
        small = await home.node("small", [LLAMA], resident=[LLAMA])
        big.ollama.die_mid_stream(5)
        sent = home.send(CHAT, chat(QWEN))
        await begun(sent.sink, 5)
        await sent.task
        assert b'"error"' in sent.sink.body
        assert small.ollama.requests[CHAT] == 0


@virtual_time
async def test_that_another_model_answers_says_nothing_of_a_node_where_the_first_one_did_not() -> None:
    async with scenario(names=INSTEAD) as home:
        big = await home.node("big", [QWEN], resident=[QWEN])
        await home.node("small", [LLAMA], resident=[LLAMA])
        for _ in range(5):  # more than a breaker takes
            big.ollama.fail_next(500, "this request is nothing for me")
            assert by(await home.ask(CHAT, chat(QWEN, tokens=1))) == ("small", LLAMA)
        assert by(await home.ask(CHAT, chat(QWEN, tokens=1))) == ("big", QWEN)
