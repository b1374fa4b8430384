"""Who waits for long is moved to a node that serves it sooner, and its results are that node's wherever they show."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from herd.actors import model_queue, moves, names
from herd.actors.latency_learner import LatencyLearner
from herd.actors.model_queue import Completion, ModelQueue
from herd.policy import rebalancing
from herd.policy.pace import Observed
from herd.policy.rebalancing import MAX_MOVES, REBALANCE_S
from herd.policy.values import Candidate
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import House, Sent
from herd.types import Seconds, TicketId
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    QWEN,
    assert_nothing_is_out,
    begun,
    chat,
    now,
    queue_of,
    scenario,
    served_by,
    turns,
    until_waiting,
)

LONG = 300  # tokens: 1.7 s on the machine that nodes here are
SLOW = Seconds(0.5)  # between two writes: one a token costs the test the most


async def story_of(home: House, sent: Sent) -> dict[str, Any]:
    """A request that has ended, with its events."""
    answer = await home.ask(f"/herd/v1/requests/{sent.sink.header('X-Request-Id')}", method="GET")
    story: dict[str, Any] = answer.json
    return story


def moved(event: dict[str, Any]) -> bool:
    return bool(event["kind"] == "moved")


def kinds(story: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in story["events"]]


@asynccontextmanager
async def a_long_queue(count: int, tokens: int = LONG) -> AsyncIterator[tuple[House, list[Sent]]]:
    """One node, `busy`, with so many requests: one runs, the others wait, and are settled."""
    async with scenario() as home:
        await home.node("busy", [LLAMA], resident=[LLAMA], progress=SLOW)
        sent = [home.send(CHAT, chat(tokens=tokens)) for _ in range(count)]
        await until_waiting(home, "busy", count - 1)
        await asyncio.sleep(rebalancing.SETTLED_S)
        yield home, sent
        await asyncio.gather(*(one.task for one in sent))


@virtual_time
async def test_rebalance_attributes_results_to_the_node_that_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failure 1: moved requests counted, and named in headers, for the queue they left."""
    observed: list[Observed] = []
    completed: list[tuple[str, TicketId]] = []
    learn, complete = LatencyLearner.observed, ModelQueue.completed

    def noted(self: LatencyLearner, one: Observed) -> None:
        observed.append(one)
        learn(self, one)

    def counted(self: ModelQueue, done: Completion) -> None:
        completed.append((self._node, done.ticket))
        complete(self, done)

    monkeypatch.setattr(LatencyLearner, "observed", noted)
    monkeypatch.setattr(ModelQueue, "completed", counted)
    async with a_long_queue(12) as (home, sent):
        began = now()
        late = await home.node("late", [LLAMA], resident=[LLAMA], progress=SLOW)
        await asyncio.gather(*(one.task for one in sent))
        served = Counter(served_by(one.sink) for one in sent)
        assert served["late"] >= 4
        assert late.ollama.loads[LLAMA] == 1  # by hand, before it came
        for one in sent:
            story = await story_of(home, one)
            where = served_by(one.sink)
            assert story["node"] == where
            assert story["score"] == pytest.approx(float(one.sink.header("X-Herd-Score") or 0), abs=0.06)
            waited = sum(event["waited_s"] for event in story["events"] if event["kind"] in {"moved", "granted"})
            assert int(one.sink.header("X-Herd-Queue-Ms") or 0) == pytest.approx(1000 * waited, abs=2)
            ends = [event["node"] for event in story["events"] if event["kind"] in {"granted", "opened", "served"}]
            assert ends == [where] * 3
            if where == "late":
                assert kinds(story)[:3] == ["placed", "queued", "moved"]
                there = story["events"][2]
                assert there["queue"] == f"late/{LLAMA}"
                assert there["candidate"]["node"] == "late"
                assert there["candidate"]["score"] == pytest.approx(story["score"])
                assert there["candidate"]["signals"]["thermal"] == 50.0
        assert Counter(one.node for one in observed) == served
        assert Counter(node for node, _ in completed) == served
        assert now() - began < 12 * 1.7 / 2 + 4


@virtual_time
async def test_who_waits_moves_as_soon_as_its_model_is_there_on_another_node() -> None:
    async with a_long_queue(8) as (home, sent):
        late = await home.node("late", [LLAMA])
        await late.load(LLAMA)
        await home.until(lambda fleet: any(one.resident for node in fleet[1:] for one in node.report.models))
        loaded = home.clock.wall()
        await turns(30)
        assert (await queue_of(home, "late"))[0] == 1
        await asyncio.gather(*(one.task for one in sent))
        stories = [await story_of(home, one) for one in sent]
        times = [story["arrived"] + event["at"] for story in stories for event in story["events"] if moved(event)]
        assert len(times) >= 2
        assert min(times) == pytest.approx(loaded, abs=0.1)  # not at the next tick of the timer


@virtual_time
async def test_nobody_is_moved_to_a_node_that_would_have_to_load_the_model() -> None:
    async with a_long_queue(5) as (home, sent):
        cold = await home.node("cold", [LLAMA, QWEN], resident=[QWEN])
        await asyncio.gather(*(one.task for one in sent))
        assert {served_by(one.sink) for one in sent} == {"busy"}
        assert cold.ollama.loads[LLAMA] == 0


class Still:
    """Nobody is moved, until it is allowed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._right = rebalancing.better_place
        self.allowed = False
        patch.setattr(moves, "better_place", self._better_place)

    def _better_place(self, *args: Any, **named: Any) -> Candidate | None:
        return self._right(*args, **named) if self.allowed else None

    async def allow(self, home: House) -> None:
        """Look once, now."""
        self.allowed = True
        await home.router.parts.find(names.REBALANCER).look.remote()
        self.allowed = False


@pytest.fixture(name="still")
def nobody_moves(monkeypatch: pytest.MonkeyPatch) -> Still:
    return Still(monkeypatch)


@virtual_time
async def test_a_moved_ticket_keeps_its_place_by_arrival(still: Still) -> None:
    """Where it comes to it goes before what arrived later, though that was there first."""
    async with a_long_queue(8) as (home, sent):
        await home.node("late", [LLAMA], resident=[LLAMA], progress=SLOW)
        running, new = (home.send(CHAT, chat(tokens=tokens)) for tokens in (LONG, 5))
        await until_waiting(home, "late", 1)
        await still.allow(home)
        await asyncio.gather(running.task, new.task, *(one.task for one in sent))
        mine = [story for one in sent if (story := await story_of(home, one))["node"] == "late"]
        assert len(mine) >= 2
        begun_at = [story["arrived"] + story["first_token_s"] for story in mine]
        assert begun_at == sorted(begun_at)
        last = await story_of(home, new)
        assert (last["node"], kinds(last).count("moved")) == ("late", 0)
        assert last["arrived"] + last["first_token_s"] > begun_at[-1]


@virtual_time
async def test_a_moved_ticket_is_not_held_to_the_bound_of_the_queue_that_it_comes_to(
    still: Still, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_long_queue(8) as (home, sent):
        await home.node("late", [LLAMA], resident=[LLAMA], progress=SLOW)
        monkeypatch.setattr(model_queue, "MAX_WAITING", 1)
        there = [home.send(CHAT, chat(tokens=LONG)) for _ in range(2)]
        await until_waiting(home, "late", 1)
        await still.allow(home)
        await turns(10)
        assert (await queue_of(home, "late"))[1] >= 2
        await asyncio.gather(*(one.task for one in (*sent, *there)))
        assert [one.sink.status for one in sent] == [200] * 8


@virtual_time
async def test_a_ticket_moves_at_most_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much better it always is elsewhere."""
    monkeypatch.setattr(rebalancing, "clearly_sooner", lambda *_: True)
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA], progress=SLOW)
        running = [home.send(CHAT, chat(tokens=4_000)) for _ in range(2)]  # 22 s
        for one in running:
            await begun(one.sink)
        restless = home.send(CHAT, chat(tokens=1))
        await asyncio.gather(restless.task, *(one.task for one in running))
        assert kinds(await story_of(home, restless)).count("moved") == MAX_MOVES


@virtual_time
async def test_a_ticket_moves_at_most_twice_also_when_it_is_placed_anew_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rebalancing, "clearly_sooner", lambda *_: True)
    async with scenario() as home:
        for name in ("a", "b"):
            await home.node(name, [LLAMA], resident=[LLAMA], progress=SLOW)
        running = [home.send(CHAT, chat(tokens=6_000)) for _ in range(2)]
        for one in running:
            await begun(one.sink)
        restless = home.send(CHAT, chat(tokens=1))
        await asyncio.sleep(REBALANCE_S + 1)
        (where,) = [name for name in ("a", "b") if (await queue_of(home, name))[1]]
        await home.ask(f"/herd/v1/nodes/{where}/drain")
        await turns(30)
        await home.ask(f"/herd/v1/nodes/{where}/resume")
        await asyncio.gather(restless.task, *(one.task for one in running))
        story = await story_of(home, restless)
        assert kinds(story).count("placed") == 2
        assert kinds(story).count("moved") == MAX_MOVES
        assert story["total_s"] > 4 * REBALANCE_S


# --- in the turn of something else ------------------------------------------------------------------------------------

AROUND = range(-6, 7)


@pytest.mark.parametrize("leaving", [0, 2], ids=["who runs, and so grants a lease", "who waits, and is moved"])
def test_somebody_hangs_up_while_requests_are_moved(leaving: int) -> None:
    """So many turns before or after: those that stay are served, by the node that is named, and nothing is left out."""

    async def told(distance: int) -> None:
        async with a_long_queue(4) as (home, sent):
            look = home.router.parts.find(names.REBALANCER).look
            await home.node("late", [LLAMA], resident=[LLAMA], progress=SLOW)
            still.allowed = True
            if distance < 0:
                sent[leaving].task.cancel()
                await turns(-distance)
            look.tell()
            if distance >= 0:
                await turns(distance)
                sent[leaving].task.cancel()
            await asyncio.wait([sent[leaving].task])
            del sent[leaving]
            await asyncio.gather(*(one.task for one in sent))
            for one in sent:
                where = served_by(one.sink)
                ends = [event for event in (await story_of(home, one))["events"] if event["kind"] == "served"]
                assert [end["node"] for end in ends] == [where]
            await assert_nothing_is_out(home)

    for distance in AROUND:
        with pytest.MonkeyPatch.context() as patch:
            still = Still(patch)
            run_virtual(told(distance))
