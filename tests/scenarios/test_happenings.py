"""What happens to a fleet is told to those who watch: each thing once, in order, in sentences for people."""

import asyncio
from typing import Any

from herd.actors import names
from herd.actors.feed import NOTHING, Update
from herd.policy import rebalancing
from herd.policy.liveness import HEARTBEAT_S
from herd.protocols import live
from herd.protocols.live import Topic
from herd.protocols.messages import Pause
from herd.runtime.testing import virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import House
from herd.simulation.ollama.asks.ask import OllamaError
from herd.types import NodeState, Seconds
from tests.scenarios.helpers import CHAT, LLAMA, QWEN, chat, scenario, until_waiting
from tests.scenarios.trouble import Trouble, add

MEETING = Pause("meeting", "is in a meeting", Seconds(0.0))
LOAD = Pause("owner-load", "is needed by its owner", Seconds(0.0))
SLOW = Seconds(0.5)  # between two writes: one a token costs the test the most


async def documents(home: House) -> list[dict[str, Any]]:
    """All that was told so far."""
    update: Update = await home.router.parts.find(names.FEED).after.remote({Topic.HAPPENINGS: NOTHING})
    [(_, text)] = update.events
    document: Any = live.decode(text)
    told: list[dict[str, Any]] = document["happenings"]
    return told


async def told(home: House) -> list[tuple[str, str]]:
    """Kinds and sentences."""
    return [(one["kind"], one["text"]) for one in await documents(home)]


async def kinds(home: House) -> list[str]:
    return [kind for kind, _ in await told(home)]


@virtual_time
async def test_nodes_join_and_leave() -> None:
    async with scenario() as home:
        node = await home.node("studio", [LLAMA], resident=[LLAMA])
        assert await told(home) == [("joined", "studio has joined")]  # and nobody had to load what it came with
        await node.stop_agent()
        await asyncio.sleep(2 * HEARTBEAT_S)
        assert await kinds(home) == ["joined", "left"]
        [_, left] = await documents(home)
        assert left["text"].startswith("studio is offline: ")
        assert (left["node"], left["model"], left["cause"]) == ("studio", "", "")
        await node.start_agent()
        await home.until_node("studio", NodeState.READY)
        assert await kinds(home) == ["joined", "left", "joined"]


@virtual_time
async def test_a_node_that_is_back_at_once_was_not_away() -> None:
    async with scenario() as home:
        node = await home.node("studio", [LLAMA], resident=[LLAMA])
        for _ in range(5):
            home.links.cut(node.id)
            await home.until_node("studio", NodeState.OFFLINE)
            await home.until_node("studio", NodeState.READY)
        await asyncio.sleep(2 * HEARTBEAT_S)
        assert await kinds(home) == ["joined"]


@virtual_time
async def test_a_pause_is_told_with_its_reason_and_once_for_each() -> None:
    async with scenario() as home:
        owner = Owner(home.links)
        await home.node("studio", [LLAMA], dialer=owner)
        for pauses in ([MEETING], [MEETING], [LOAD], []):
            owner.pause(*pauses)
            await asyncio.sleep(1.0)
        assert await told(home) == [
            ("joined", "studio has joined"),
            ("paused", "studio is paused: it is in a meeting"),
            ("paused", "studio is paused: it is needed by its owner"),
            ("resumed", "studio takes requests again"),
        ]
        assert [one["cause"] for one in await documents(home)] == ["", "meeting", "owner-load", ""]


@virtual_time
async def test_what_is_told_a_node_by_hand_is_told_to_all() -> None:
    async with scenario() as home:
        node = await home.node("studio", [LLAMA])
        for order in ("drain", "drain", "resume", "pause", "resume", "drain"):
            await home.ask(f"/herd/v1/nodes/studio/{order}")
        await node.stop_agent()
        await asyncio.sleep(2 * HEARTBEAT_S)
        await node.start_agent()
        await home.until_node("studio", NodeState.DRAINING)
        assert [line for line in await told(home) if line[0] != "left"] == [
            ("joined", "studio has joined"),
            ("drained", "studio is drained by hand"),
            ("resumed", "studio takes requests again"),
            ("paused", "studio is paused by hand"),
            ("resumed", "studio takes requests again"),
            ("drained", "studio is drained by hand"),
            ("joined", "studio has joined"),
            ("drained", "studio is drained by hand"),
        ]


@virtual_time
async def test_models_come_into_memory_and_leave_it() -> None:
    async with scenario() as home:
        node = await home.node("studio", [LLAMA, QWEN])
        await home.ask(CHAT, chat(tokens=1))
        await asyncio.sleep(HEARTBEAT_S)
        await node.unload()
        await asyncio.sleep(HEARTBEAT_S)
        _, loaded, evicted = await documents(home)
        assert (loaded["kind"], loaded["text"]) == ("loaded", f"{LLAMA} is loaded on studio")
        assert (loaded["node"], loaded["model"], loaded["cause"]) == ("studio", LLAMA, "request")
        assert (evicted["kind"], evicted["text"]) == ("evicted", f"{LLAMA} has left the memory of studio")


@virtual_time
async def test_a_model_server_that_comes_and_goes_loads_and_evicts_nothing() -> None:
    async with scenario() as home:
        node = await home.node("studio", [LLAMA], resident=[LLAMA])
        node.stop_server()
        await home.until_node("studio", NodeState.DEGRADED, models=False)
        node.start_server()
        await home.until_node("studio", NodeState.READY)
        assert await kinds(home) == ["joined"]


@virtual_time
async def test_a_load_ahead_is_told_as_one() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        await home.node("b", [LLAMA])
        sent = [home.send(CHAT, chat(tokens=400)) for _ in range(6)]
        await asyncio.gather(*(one.task for one in sent))
        await asyncio.sleep(20.0)
        ahead = [one for one in await documents(home) if one["model"] and one["kind"] != "moved"]
        assert [(one["kind"], one["node"], one["cause"]) for one in ahead] == [("pre-warmed", "b", "queue")]
        assert ahead[0]["text"] == f"{LLAMA} is loaded on b ahead of those who wait"


@virtual_time
async def test_a_load_ahead_that_fails_is_told_with_its_reason() -> None:
    async with scenario() as home:
        await home.node("hot", [LLAMA], resident=[LLAMA])
        other = await home.node("b", [LLAMA])
        other.ollama.faults.failures.append(OllamaError(500, "out of memory\x1b[2J"))
        sent = [home.send(CHAT, chat(tokens=400)) for _ in range(6)]
        await asyncio.gather(*(one.task for one in sent))
        await asyncio.sleep(20.0)
        failed = [text for kind, text in await told(home) if kind == "load-failed"]
        assert len(failed) == 1
        assert failed[0].startswith(f"b did not load {LLAMA}: ")
        assert failed[0].isprintable()
        assert "pre-warmed" not in await kinds(home)


@virtual_time
async def test_a_pinned_model_is_loaded_where_it_is_at_home() -> None:
    async with scenario() as home:
        await home.node("studio", [LLAMA])
        await home.ask(f"/herd/v1/pins/{LLAMA}")
        await asyncio.sleep(60.0)
        [_, loaded] = await documents(home)
        assert (loaded["kind"], loaded["cause"]) == ("pre-warmed", "home")
        assert loaded["text"] == f"{LLAMA} is loaded on studio, its home"


@virtual_time
async def test_a_breaker_opens_once_however_often_it_is_tried_and_closes_once() -> None:
    async with scenario() as home:
        dead = Trouble(lambda _: 502)
        await add(home, "a", dead)
        await home.node("b", [LLAMA], resident=[LLAMA])
        for _ in range(30):
            await home.ask(CHAT, chat(tokens=1))
            await asyncio.sleep(1.0)
        opened = [line for line in await told(home) if line[0] != "joined"]
        assert opened == [("breaker-opened", f"a fails again and again with {LLAMA}: it is left alone for a while")]
        dead.wrong = lambda _: None
        for _ in range(30):
            await home.ask(CHAT, chat(tokens=1))
            await asyncio.sleep(1.0)
        closed = [line for line in await told(home) if line[0] != "joined"][1:]
        assert closed == [("breaker-closed", f"a serves {LLAMA} again")]


@virtual_time
async def test_requests_that_are_moved_are_told_together() -> None:
    async with scenario() as home:
        await home.node("busy", [LLAMA], resident=[LLAMA], progress=SLOW)
        sent = [home.send(CHAT, chat(tokens=300)) for _ in range(12)]
        await until_waiting(home, "busy", 11)
        await asyncio.sleep(rebalancing.SETTLED_S)
        await home.node("late", [LLAMA], resident=[LLAMA], progress=SLOW)
        await asyncio.gather(*(one.task for one in sent))
        moves = [one for one in await documents(home) if one["kind"] == "moved"]
        assert 1 <= len(moves) < 8  # rounds, not requests
        assert {(one["node"], one["model"]) for one in moves} == {("late", LLAMA)}
        assert moves[0]["text"].endswith(f"for {LLAMA} moved to late, to be served sooner")
