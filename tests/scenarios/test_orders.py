"""Nodes that take nothing new: lost, drained or paused. What waits there goes elsewhere at once, what runs ends."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from herd.protocols.messages import Pause
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import House, Sent, SimulatedNode
from herd.types import NodeState, Seconds
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    begun,
    broken,
    chat,
    now,
    queue_of,
    scenario,
    served_by,
    turns,
    until_held,
    until_waiting,
)

SLOW = Seconds(0.5)  # between two writes: one a token costs the test the most
HOUR = 3600.0
SMALL = "gemma3:1b"  # eight contexts of it fit


async def tell(home: House, node: str, order: str, body: Any = None) -> dict[str, Any]:
    """What the router says of the node that was told something."""
    answer = await home.ask(f"/herd/v1/nodes/{node}/{order}", body)
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json
    return told


async def node_of(home: House, name: str) -> dict[str, Any]:
    """A node in the status."""
    nodes = (await home.ask("/herd/v1/status", method="GET")).json["nodes"]
    return next(node for node in nodes if node["name"] == name)


def kinds(node: dict[str, Any]) -> list[str]:
    return [reason["kind"] for reason in node["reasons"]]


async def two_nodes(
    home: House, waiting: int, *, parallel: int = 1, model: str = LLAMA, tokens: int = 200
) -> tuple[SimulatedNode, list[Sent]]:
    """Node `a`, at which as many run as it can and so many wait, and an idle node `b`."""
    a = await home.node("a", [model], resident=[model], parallel=parallel, progress=SLOW)
    sent = [home.send(CHAT, chat(model, tokens=tokens)) for _ in range(parallel + waiting)]
    await until_waiting(home, "a", waiting, model)
    for one in sent[:parallel]:
        await begun(one.sink)
    await home.node("b", [model], resident=[model], parallel=parallel, progress=SLOW)
    return a, sent


@pytest.fixture(name="settled", autouse=True)
def nobody_is_moved_for_the_wait_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.actors.moves.better_place", lambda *_, **__: None)


@virtual_time
async def test_a_node_is_lost_with_40_waiting_and_8_running() -> None:
    async with scenario() as home:
        a, sent = await two_nodes(home, 40, parallel=8, model=SMALL, tokens=1000)
        lost = now()
        home.links.cut(a.id)
        home.links.freeze(a.id)
        home.links.unplug(a.id)
        await turns(60)
        assert await queue_of(home, "b", SMALL) == (8, 32)  # at once
        assert now() == lost
        await a.stop_agent()
        home.links.thaw(a.id)
        await asyncio.wait([one.task for one in sent])
        assert all(broken(one.sink) for one in sent[:8])  # nothing again after a first byte
        assert Counter(served_by(one.sink) for one in sent[8:]) == {"b": 40}
        assert {one.sink.header("X-Herd-Attempts") for one in sent[8:]} == {"1"}
        assert all(int(one.sink.header("X-Herd-Queue-Ms") or 0) >= 0 for one in sent[8:])


@virtual_time
@pytest.mark.parametrize(("order", "state", "kind"), [("drain", "draining", "drained"), ("pause", "paused", "manual")])
async def test_what_waits_at_a_drained_node_moves_at_once(order: str, state: str, kind: str) -> None:
    async with scenario() as home:
        _, sent = await two_nodes(home, 3)
        began = now()
        told = await tell(home, "a", order)
        assert (told["name"], told["state"], kinds(told)) == ("a", state, [kind])
        await turns(30)
        assert (await queue_of(home, "a"), await queue_of(home, "b")) == ((1, 0), (1, 2))
        assert now() == began
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "b"  # nothing new, though `a` is idle by now
        await asyncio.gather(*(one.task for one in sent))
        assert [served_by(one.sink) for one in sent] == ["a", "b", "b", "b"]
        waits = [int(one.sink.header("X-Herd-Queue-Ms") or 0) for one in sent]
        assert 0 < waits[1] < waits[2] < waits[3]  # in both queues together
        await tell(home, "a", "resume")
        assert (await node_of(home, "a"))["state"] == "ready"
        await home.ask("/herd/v1/nodes/b/drain")
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"


@virtual_time
async def test_who_waited_at_a_drained_node_with_nobody_else_to_go_to_is_held_until_it_is_resumed() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA], progress=SLOW)
        running, waiting = (home.send(CHAT, chat(tokens=200)) for _ in range(2))
        await until_waiting(home, "a", 1)
        await tell(home, "a", "drain")
        await until_held(home, 1)
        await running.task
        await tell(home, "a", "resume")
        await waiting.task
        assert served_by(waiting.sink) == "a"
        await tell(home, "a", "drain")
        await asyncio.sleep(1.0)
        refused = await home.ask(CHAT, chat())
        assert refused.status == 503
        assert "a is drained by hand" in refused.json["error"]


@virtual_time
async def test_a_paused_node_resumes_by_itself() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA], resident=[LLAMA])
        wall = home.clock.wall()
        told = await tell(home, "a", "pause?for=10s")
        (reason,) = told["reasons"]
        assert (reason["kind"], reason["since"], reason["until"]) == ("manual", wall, wall + 10)
        began = now()
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "a"
        assert now() - began == pytest.approx(10, abs=0.5)
        assert (await node_of(home, "a"))["reasons"] == []


@virtual_time
async def test_a_new_pause_takes_the_place_of_the_one_before() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        await tell(home, "a", "pause", {"for": "10s"})
        await tell(home, "a", "pause", {"for": "1h"})
        await asyncio.sleep(60)
        assert (await node_of(home, "a"))["state"] == "paused"
        await tell(home, "a", "pause")
        await asyncio.sleep(2 * HOUR / 10)
        assert kinds(await node_of(home, "a")) == ["manual"]
        await tell(home, "a", "resume")
        assert (await node_of(home, "a"))["state"] == "ready"


@virtual_time
async def test_to_resume_a_node_does_not_end_its_owners_meeting() -> None:
    async with scenario() as home:
        owner = Owner(home.links)
        await home.node("a", [LLAMA], dialer=owner)
        owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        await home.until_node("a", NodeState.PAUSED)
        assert kinds(await tell(home, "a", "drain")) == ["drained", "meeting"]
        assert kinds(await tell(home, "a", "resume")) == ["meeting"]
        owner.pause()
        await home.until_node("a", NodeState.READY)


@virtual_time
async def test_what_a_node_was_told_by_hand_survives_its_reconnection_and_the_routers_restart() -> None:
    async with scenario() as home:
        nodes = [await home.node(name, [LLAMA], resident=[LLAMA]) for name in ("a", "b")]
        await tell(home, "a", "drain")
        await tell(home, "b", "pause", {"for": "20s"})
        for node in nodes:
            home.links.cut(node.id)
        await home.until_node("b", NodeState.PAUSED)
        await home.until_node("a", NodeState.DRAINING)
        await home.restart_router(away=5.0)
        await home.until_node("a", NodeState.DRAINING)
        assert kinds(await node_of(home, "a")) == ["drained"]
        await home.until_node("b", NodeState.PAUSED)
        assert served_by(await home.ask(CHAT, chat(tokens=1))) == "b"  # whose time is over by itself
        await tell(home, "a", "resume")
        await home.restart_router(away=1.0)
        await home.until_node("a", NodeState.READY)


@virtual_time
async def test_a_pause_whose_time_is_over_while_the_router_is_away_is_over_when_it_is_back() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA])
        await tell(home, "a", "pause", {"for": "10s"})
        await home.restart_router(away=15.0)
        await home.until_node("a", NodeState.READY)
