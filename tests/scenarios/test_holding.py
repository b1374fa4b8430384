"""Requests for which nobody qualifies now."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors import holding_pen
from herd.policy.retrying import MAX_PLACEMENTS
from herd.protocols.messages import Pause
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, GiB, NodeState, Seconds
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    OPENAI_CHAT,
    QWEN,
    chat,
    now,
    openai_chat,
    scenario,
    served_by,
    turns,
    until_held,
)


@virtual_time
async def test_an_unknown_model_is_not_found_at_once_when_no_node_is_missing() -> None:
    async with scenario() as home:
        answer = await home.ask(CHAT, chat("nobody-has-it"))
        assert (answer.status, answer.json, now()) == (404, {"error": "model 'nobody-has-it' not found"}, 0.0)


@virtual_time
async def test_while_a_known_node_is_missing_an_unknown_model_is_not_found_only_after_the_join_grace() -> None:
    async with scenario(knows=("attic",)) as home:
        answer = await home.ask(CHAT, chat("nobody-has-it"))
        assert (answer.status, answer.json, now()) == (404, {"error": "model 'nobody-has-it' not found"}, 10.0)
        answer = await home.ask(OPENAI_CHAT, openai_chat("nobody-has-it"))
        assert (answer.status, now()) == (404, 10.0)
        assert answer.json["error"]["type"] == "not_found_error"


@virtual_time
async def test_a_model_of_a_node_of_earlier_days_is_waited_for_beyond_the_join_grace() -> None:
    async with scenario(knows=("attic",)) as home:
        answer = await home.ask(CHAT, chat("attic"))
        assert (answer.status, now()) == (503, 30.0)
        assert "attic has not joined since the router started" in answer.json["error"]


@virtual_time
async def test_a_model_that_comes_within_the_grace_is_served() -> None:
    async with scenario(knows=("attic",)) as home:
        early = home.send(CHAT, chat())
        await until_held(home, 1)
        await home.node("a", [LLAMA])
        await early.task
        assert served_by(early.sink) == "a"


@virtual_time
async def test_a_node_that_joins_with_other_models_does_not_end_the_wait() -> None:
    async with scenario(knows=("attic",)) as home:
        early = home.send(CHAT, chat())
        await home.node("a", [QWEN])
        assert not early.task.done()
        await early.task
        assert (early.sink.status, now()) == (404, 10.0)


@virtual_time
async def test_a_model_that_turns_out_to_be_on_a_paused_node_is_not_called_unknown() -> None:
    async with scenario(knows=("attic",)) as home:
        early = home.send(CHAT, chat())
        await until_held(home, 1)
        owner = Owner(home.links)
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        adding = asyncio.create_task(home.node("a", [LLAMA], dialer=owner))
        await home.until_node("a", NodeState.PAUSED)
        await asyncio.sleep(15)
        assert not early.task.done()
        owner.pause()
        await adding
        await early.task
        assert served_by(early.sink) == "a"


@virtual_time
async def test_a_request_is_held_until_its_node_is_back() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        home.links.freeze(a.id)
        home.links.cut(a.id)
        await home.until_node("a", NodeState.OFFLINE)
        held = [home.send(CHAT, chat(tokens=1)) for _ in range(3)]
        await until_held(home, 3)
        await asyncio.sleep(20)
        home.links.thaw(a.id)
        await asyncio.gather(*(one.task for one in held))
        assert [served_by(one.sink) for one in held] == ["a"] * 3


@virtual_time
async def test_a_held_request_is_served_by_whoever_comes_first() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await a.stop_agent()
        held = home.send(CHAT, chat())
        await until_held(home, 1)
        await home.node("b", [LLAMA])
        await held.task
        assert served_by(held.sink) == "b"


@virtual_time
async def test_after_the_hold_timeout_the_client_is_told_why_and_when_to_come_back() -> None:
    async with scenario(hold_timeout=7.0) as home:
        a = await home.node("a", [LLAMA])
        await home.node("b", [QWEN])
        await a.stop_agent()
        await home.until_node("a", NodeState.OFFLINE)
        began = now()
        answer = await home.ask(CHAT, chat())
        assert now() - began == 7.0
        assert answer.status == 503
        assert answer.header("Retry-After") == "5"
        assert f"no node can serve {LLAMA} now" in answer.json["error"]
        assert "a is offline: the agent is shutting down" in answer.json["error"]
        assert f"b does not have {LLAMA} on disk" in answer.json["error"]


@virtual_time
async def test_the_reasons_are_those_of_the_end_of_the_wait() -> None:
    async with scenario(hold_timeout=20.0) as home:
        owner = Owner(home.links)
        a = await home.node("a", [LLAMA], dialer=owner)
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await home.until_node("a", NodeState.PAUSED)
        held = home.send(CHAT, chat())
        await until_held(home, 1)
        await a.stop_agent()
        await held.task
        assert "a is offline" in held.sink.json["error"]


@virtual_time
async def test_without_a_hold_timeout_nobody_waits() -> None:
    async with scenario(hold_timeout=0.0, join_grace=0.0) as home:
        assert (await home.ask(CHAT, chat())).status == 404
        a = await home.node("a", [LLAMA])
        await a.stop_agent()
        await home.until_node("a", NodeState.OFFLINE)
        began = now()
        assert (await home.ask(CHAT, chat())).status == 503
        assert now() == began


@virtual_time
async def test_what_a_model_can_never_do_is_refused_at_once_in_its_servers_own_words() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        began = now()
        image = {"role": "user", "content": "what is this?", "images": ["aGVsbG8="]}
        answer = await home.ask(CHAT, {"model": LLAMA, "messages": [image]})
        assert (answer.status, answer.json["error"]) == (400, "this model is missing data required for image input")
        assert answer.header("X-Herd-Node") == "a"
        assert now() - began < 0.1


@virtual_time
async def test_a_router_that_holds_as_many_as_it_may_refuses_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding_pen, "MAX_HELD", 1)
    async with scenario(knows=("attic",)) as home:
        held = home.send(CHAT, chat("attic"))
        await until_held(home, 1)
        answer = await home.ask(CHAT, chat("attic"))
        assert answer.status == 503
        assert "holds as many requests as it may" in answer.json["error"]
        assert answer.header("Retry-After")
        await held.hang_up()


@virtual_time
async def test_who_is_woken_in_vain_again_and_again_waits_until_its_own_deadline_all_the_same() -> None:
    """Each answer of a small node wakes a request for the same model that only a large one has the memory for."""
    async with scenario() as home:
        owner = Owner(home.links)
        tiny = replace(PROFILES["macbook-air"], model_memory=Bytes(6 * GiB))
        await home.node("small", [LLAMA], resident=[LLAMA], profile=tiny)
        await home.node("large", [LLAMA], dialer=owner)
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await home.until_node("large", NodeState.PAUSED)
        held = home.send(CHAT, chat(options={"num_ctx": 100_000, "num_predict": 1}))
        await until_held(home, 1)
        for _ in range(MAX_PLACEMENTS + 1):
            assert served_by(await home.ask(CHAT, chat(tokens=1))) == "small"
        assert not held.task.done()
        owner.pause()
        await held.task
        assert served_by(held.sink) == "large"


@virtual_time
async def test_who_is_woken_in_vain_does_not_keep_those_behind_it_from_the_node() -> None:
    """The first of those who are held needs more memory than the node that comes back has; the others do not."""
    async with scenario() as home:
        owner = Owner(home.links)
        tiny = replace(PROFILES["macbook-air"], model_memory=Bytes(6 * GiB))
        await home.node("small", [LLAMA], resident=[LLAMA], profile=tiny, dialer=owner)
        large = await home.node("large", [LLAMA])
        await large.stop_agent()
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await home.until_node("small", NodeState.PAUSED)
        demanding = home.send(CHAT, chat(options={"num_ctx": 100_000, "num_predict": 1}))
        await until_held(home, 1)
        others = [home.send(CHAT, chat(tokens=1)) for _ in range(3)]
        await until_held(home, 4)
        back = now()
        owner.pause()
        await asyncio.gather(*(one.task for one in others))
        assert [served_by(one.sink) for one in others] == ["small"] * 3
        assert now() - back < 5.0
        await demanding.task
        assert demanding.sink.status == 503


def test_who_hangs_up_just_when_it_is_woken_leaves_its_turn_to_the_next() -> None:
    async def story(turn: int) -> None:
        async with scenario() as home:
            owner = Owner(home.links)
            await home.node("a", [LLAMA], resident=[LLAMA], dialer=owner)
            owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
            await home.until_node("a", NodeState.PAUSED)
            leaving = home.send(CHAT, chat(tokens=1))
            await until_held(home, 1)
            staying = home.send(CHAT, chat(tokens=1))
            await until_held(home, 2)
            back = now()
            owner.pause()
            await turns(turn)
            leaving.task.cancel()
            await staying.task
            assert (served_by(staying.sink), now() - back < 5.0) == ("a", True), turn
            await asyncio.wait([leaving.task])

    for turn in range(2, 10):
        run_virtual(story(turn))
