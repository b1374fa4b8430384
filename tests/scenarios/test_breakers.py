"""Nodes that fail again and again are left alone, and tried with one request."""

import asyncio
from functools import partial
from typing import Any

import pytest

from herd.errors import StreamFailed
from herd.protocols.messages import RequestHead
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House
from herd.simulation.ollama.scheduler import BUSY
from herd.types import LinkId, StreamId
from tests.scenarios.helpers import CHAT, LLAMA, begun, chat, now, queue_of, scenario, served_by, until_held
from tests.scenarios.trouble import Trouble, add


def answer_with(status: int | None, _text: str) -> int | None:
    """Whatever the request."""
    return status


async def breaker(home: House, name: str) -> dict[str, Any] | None:
    """What the status says of the breaker of a node's model."""
    (node,) = [node for node in (await status(home))["nodes"] if node["name"] == name]
    (model,) = node["models"]
    found: dict[str, Any] | None = model["breaker"]
    return found


async def status(home: House) -> Any:
    return (await home.ask("/herd/v1/status", method="GET")).json


async def ask_in_turn(home: House, count: int) -> list[tuple[str | None, str | None]]:
    """Requests one after the other: who served each, on which attempt."""
    answers = [await home.ask(CHAT, chat(tokens=1)) for _ in range(count)]
    return [(served_by(answer), answer.header("X-Herd-Attempts")) for answer in answers]


@pytest.mark.parametrize("failure", [0, 502, 503, 504, 500])
def test_a_dead_backend_does_not_keep_winning(failure: int) -> None:
    async def story() -> None:
        async with scenario() as home:
            dead = Trouble(lambda _: failure)
            await add(home, "a", dead)  # has the model in memory, and always wins
            await home.node("b", [LLAMA])
            assert await ask_in_turn(home, 6) == [("b", "2")] * 3 + [("b", "1")] * 3
            assert len(dead.asked) == 3

    run_virtual(story())


@virtual_time
async def test_a_dead_backend_is_tried_with_one_request_after_5_10_20_and_then_every_30_seconds() -> None:
    async with scenario() as home:
        dead = Trouble(lambda _: 0)
        await add(home, "a", dead)
        await home.node("b", [LLAMA], parallel=3)
        while len(dead.asked) < 3 + 5:
            await asyncio.gather(*(home.send(CHAT, chat(tokens=1)).task for _ in range(3)))
            await asyncio.sleep(1)
        (*_, opened), trials = dead.asked[:3], dead.asked[3:]
        gaps = [later - earlier for earlier, later in zip([opened, *trials], trials, strict=False)]
        assert gaps == pytest.approx([5, 10, 20, 30, 30], abs=1.5)


@virtual_time
async def test_a_server_that_answers_503_fast_is_not_a_fast_server() -> None:
    async with scenario() as home:
        busy = Trouble(lambda _: 503)
        await add(home, "a", busy)
        await home.node("b", [LLAMA], resident=[LLAMA])
        sent = [home.send(CHAT, chat()) for _ in range(12)]
        await asyncio.gather(*(one.task for one in sent))
        assert [served_by(one.sink) for one in sent] == ["b"] * 12
        assert len(busy.asked) == 3, "those who waited there as well were placed again at once"


@virtual_time
async def test_what_runs_when_a_breaker_opens_ends_normally() -> None:
    async with scenario() as home:
        trouble = Trouble()
        await add(home, "a", trouble, parallel=2)
        running = home.send(CHAT, chat(tokens=2000))
        await begun(running.sink)
        trouble.wrong = lambda _: 503
        for _ in range(3):
            await home.ask(CHAT, chat())
        shown = await breaker(home, "a")
        assert shown is not None
        assert (shown["state"], shown["failures"], shown["until"] - shown["since"]) == ("open", 3, 5.0)
        trouble.wrong = lambda _: None
        assert served_by(await home.ask(CHAT, chat())) == "a", "and it does not stand in the way of the trial"
        assert not running.task.done()
        await running.task
        assert served_by(running.sink) == "a"


@virtual_time
async def test_a_breaker_opens_and_closes() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(3):
            a.ollama.fail_next(503, BUSY)
        for failures in (1, 2, 3):
            answer = await home.ask(CHAT, chat())
            assert (answer.status, answer.json) == (503, {"error": BUSY})
            assert (await breaker(home, "a") or {})["failures"] == failures
        opened = now()
        held = [home.send(CHAT, chat(tokens=1)) for _ in range(3)]
        await until_held(home, 3)
        await asyncio.gather(*(one.task for one in held))
        assert [served_by(one.sink) for one in held] == ["a"] * 3
        assert now() - opened == pytest.approx(5, abs=0.5)
        assert await breaker(home, "a") is None


@virtual_time
async def test_the_next_failures_open_it_for_5_seconds_again() -> None:
    async with scenario() as home:
        trouble = Trouble(lambda _: 503)
        await add(home, "a", trouble)
        for wrong in (503, None, 503):
            trouble.wrong = partial(answer_with, wrong)
            for _ in range(3):
                await home.ask(CHAT, chat(tokens=1))
        shown = await breaker(home, "a") or {}
        assert (shown["state"], shown["until"] - shown["since"]) == ("open", 5.0)


@virtual_time
async def test_while_it_is_tried_nobody_else_gets_there_and_all_follow_as_soon_as_it_answers() -> None:
    async with scenario() as home:
        trouble = Trouble(lambda _: 503)
        a = await add(home, "a", trouble, parallel=4)
        for _ in range(3):
            await home.ask(CHAT, chat())
        trouble.wrong = lambda _: None
        await a.unload()
        sent = [home.send(CHAT, chat(tokens=500)) for _ in range(4)]
        await a.ollama.until(lambda ollama: ollama.waiting == 1)  # it loads
        assert await queue_of(home, "a") == (1, 0)
        assert (await status(home))["totals"]["held"] == 3
        await asyncio.gather(*(begun(one.sink) for one in sent))
        assert await queue_of(home, "a") == (4, 0)
        assert (await breaker(home, "a") or {})["state"] == "closed"
        await asyncio.gather(*(one.task for one in sent))
        assert await breaker(home, "a") is None


@virtual_time
async def test_a_server_whose_answers_all_break_off_is_left_alone_for_longer_each_time() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        pauses = []
        for _ in range(6):
            a.ollama.die_mid_stream(5)
            await home.ask(CHAT, chat())
            shown = await breaker(home, "a") or {}
            if shown["state"] == "open":
                pauses.append(shown["until"] - shown["since"])
        assert pauses == [5.0, 10.0, 20.0, 30.0]


@virtual_time
async def test_a_trial_whose_client_leaves_makes_room_for_the_next() -> None:
    async with scenario() as home:
        trouble = Trouble(lambda _: 503)
        a = await add(home, "a", trouble)
        for _ in range(3):
            await home.ask(CHAT, chat())
        trouble.wrong = lambda _: None
        await a.unload()
        first, second = home.send(CHAT, chat()), home.send(CHAT, chat())
        await a.ollama.until(lambda ollama: ollama.waiting == 1)  # it loads
        assert await queue_of(home, "a") == (1, 0)
        await first.hang_up()
        await second.task
        assert served_by(second.sink) == "a"


@virtual_time
async def test_whoever_is_held_in_vain_is_told_of_the_breaker() -> None:
    async with scenario(hold_timeout=2.0) as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(3):
            a.ollama.fail_next(503, BUSY)
            await home.ask(CHAT, chat())
        answer = await home.ask(CHAT, chat())
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        assert f"a failed 3 times in a row with {LLAMA}; it is tried again after 5 s" in answer.json["error"]
        assert a.ollama.requests[CHAT] == 3


@virtual_time
async def test_streams_that_break_after_their_first_byte_open_it_too() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(3):
            a.ollama.die_mid_stream(5)
            assert b'"error"' in (await home.ask(CHAT, chat())).body
        assert (await breaker(home, "a") or {})["state"] == "open"


@virtual_time
async def test_clients_that_hang_up_open_nothing() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        for _ in range(5):
            sent = home.send(CHAT, chat(tokens=500))
            await begun(sent.sink)
            await sent.hang_up()
        assert await breaker(home, "a") is None


@virtual_time
async def test_a_breaker_is_not_opened_by_one_clients_bad_option() -> None:
    def picky(text: str) -> int | None:
        return 500 if text == "bad option" else None

    async with scenario() as home:
        servers = {name: Trouble(picky) for name in ("a", "b")}
        for name, trouble in servers.items():
            await add(home, name, trouble)
        for _ in range(5):
            answer = await home.ask(CHAT, chat(text="bad option"))
            assert (answer.status, answer.json) == (500, {"error": "in trouble"})
        assert [len(trouble.asked) for trouble in servers.values()] == [5, 5]
        assert [await breaker(home, name) for name in servers] == [None, None]


@virtual_time
async def test_one_request_that_breaks_its_only_server_again_and_again_does_not_take_it_from_the_others() -> None:
    async with scenario() as home:
        trouble = Trouble(lambda text: 0 if text == "poison" else None)
        await add(home, "a", trouble)
        assert (await home.ask(CHAT, chat(text="poison"))).status == 502
        assert len(trouble.asked) == 3
        assert (await breaker(home, "a") or {})["failures"] == 1
        assert served_by(await home.ask(CHAT, chat())) == "a"


@virtual_time
async def test_a_server_that_was_restarted_is_tried_as_soon_as_it_is_back() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA], parallel=3)
        running = [home.send(CHAT, chat(tokens=500)) for _ in range(3)]
        await begun(running[2].sink)
        a.stop_server()
        await asyncio.gather(*(one.task for one in running))
        await asyncio.sleep(1.0)
        a.start_server()
        broke = now()
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
        assert now() - broke < 3.0


@virtual_time
async def test_a_link_that_carries_nothing_is_left_alone_until_the_agent_joins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        opens, vain = home.links.open, list[LinkId]()

        def refuse_the_first(link: LinkId, stream: StreamId, head: RequestHead) -> None:
            if link == 1:
                vain.append(link)
                raise StreamFailed("nothing passes here")
            opens(link, stream, head)

        await asyncio.sleep(1)
        monkeypatch.setattr(home.links, "open", refuse_the_first)
        assert await ask_in_turn(home, 5) == [("b", "1")] * 5
        assert len(vain) == 3
        (shown,) = [node["breaker"] for node in (await status(home))["nodes"] if node["name"] == "a"]
        assert (shown["state"], shown["failures"]) == ("open", 3)
        home.links.cut(a.id)
        await home.until(lambda fleet: fleet[0].link.failures == 0)
        await home.until(lambda fleet: fleet[0].state.value == "ready")
        assert await ask_in_turn(home, 1) == [("a", "1")]


@virtual_time
async def test_a_link_that_is_lost_under_its_streams_says_nothing_of_the_model_server() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA], resident=[LLAMA], parallel=3)
        running = [home.send(CHAT, chat(tokens=500)) for _ in range(3)]
        await begun(running[2].sink)
        home.links.cut(a.id)
        await asyncio.gather(*(one.task for one in running))
        assert await breaker(home, "a") is None
        assert served_by(await home.ask(CHAT, chat())) == "a"
