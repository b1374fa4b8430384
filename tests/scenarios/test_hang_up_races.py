"""A hang-up in the same turn of the loop as something else, and in every turn just before and after it.

One request runs on a model with a limit of 1, two wait for it; something happens, and the first of the two hangs up.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from herd.actors import names
from herd.actors.model_queue import ModelQueue
from herd.policy.values import SIGNALS, Candidate, Moved
from herd.protocols.messages import Pause
from herd.runtime import ActorHandle, kill, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.chaos.between import Owner
from herd.simulation.fleet.house import OLLAMA, House, Sent, SimulatedNode, house
from herd.types import ModelName, NodeId, NodeName, NodeState, Seconds, TicketId
from tests.scenarios.helpers import (
    CHAT,
    LLAMA,
    QWEN,
    assert_nothing_is_out,
    begun,
    broken,
    chat,
    queue_of,
    scenario,
    served_by,
    turns,
    until_held,
    until_waiting,
)

# Turns between the two events, in either order. A message and its answer take two or three, and what follows from a
# broken link or a report that is told four actors has happened after ten.
AROUND = range(-12, 13)


@dataclass(slots=True)
class Scene:
    """One runs, two wait."""

    home: House
    node: SimulatedNode
    owner: Owner
    running: Sent
    leaving: Sent
    staying: Sent


def queue_handle(scene: Scene, model: str) -> ActorHandle:
    """The queue of a model on the node."""
    return scene.home.router.parts.find(names.model_queue(scene.node.id, model))


Event = Callable[[Scene], object]


def play(event: Event, then: Callable[[Scene], Awaitable[None]], *, whole: bool = True) -> None:
    """Tell the story once for each distance between `event` and the hang-up.

    Args:
        event: what happens.
        then: checks what must hold after it.
        whole: the router is whole in the end, and is asked for every lease.
    """

    async def story(distance: int) -> None:
        async with scenario() if whole else house() as home:
            owner = Owner(home.links)
            node = await home.node("a", [LLAMA, QWEN], resident=[LLAMA], dialer=owner)
            sent = [home.send(CHAT, chat(tokens=tokens)) for tokens in (50, 50, 2)]
            await until_waiting(home, "a", 2)
            await begun(sent[0].sink)  # until then it could be sent anew, and nothing would break it
            scene = Scene(home, node, owner, *sent)
            if distance < 0:
                scene.leaving.task.cancel()
                await turns(-distance)
                event(scene)
            else:
                event(scene)
                await turns(distance)
                scene.leaving.task.cancel()
            await asyncio.wait([scene.leaving.task])
            async with asyncio.timeout(120):
                await then(scene)

    for distance in AROUND:
        run_virtual(story(distance), allow_lost=not whole)  # what is told to a queue that has ended says nothing new


async def the_last_is_served(scene: Scene) -> None:
    """Whatever happened, the one that stays gets its answer, and a next one after it."""
    await scene.staying.task
    assert served_by(scene.staying.sink) == "a"
    await asyncio.wait([scene.running.task])
    await assert_nothing_is_out(scene.home)
    assert served_by(await scene.home.ask(CHAT, chat(tokens=1))) == "a"


async def the_first_is_broken_and_the_last_is_served(scene: Scene) -> None:
    await the_last_is_served(scene)
    assert broken(scene.running.sink)


def test_the_one_that_runs_hangs_up_too() -> None:
    play(lambda scene: scene.running.task.cancel(), the_last_is_served)


def test_all_three_hang_up() -> None:
    async def nothing_is_left(scene: Scene) -> None:
        await asyncio.wait([scene.running.task, scene.staying.task])
        await assert_nothing_is_out(scene.home)
        assert served_by(await scene.home.ask(CHAT, chat(tokens=1))) == "a"

    def both_others(scene: Scene) -> None:
        scene.staying.task.cancel()
        scene.running.task.cancel()

    play(both_others, nothing_is_left)


def test_the_link_to_the_node_breaks() -> None:
    """What waits is held, and served when the agent is back."""
    play(lambda scene: scene.home.links.cut(scene.node.id), the_first_is_broken_and_the_last_is_served)


def test_the_owner_pauses_the_node() -> None:
    """Who waits is turned away at once and held, what runs ends; after the pause there is room for who stayed."""

    async def paused_then_resumed(scene: Scene) -> None:
        await scene.home.until_node("a", NodeState.PAUSED)
        await until_held(scene.home, 1)
        await scene.running.task
        assert served_by(scene.running.sink) == "a"
        assert not scene.staying.task.done()
        scene.owner.pause()
        await the_last_is_served(scene)

    play(lambda scene: scene.owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0))), paused_then_resumed)


def test_the_owner_pauses_and_resumes_in_the_turn_of_the_grant() -> None:
    def all_at_once(scene: Scene) -> None:
        scene.running.task.cancel()
        scene.owner.pause(Pause("meeting", "is in a meeting", Seconds(0.0)))
        scene.owner.pause()

    play(all_at_once, the_last_is_served)


def test_the_model_server_stops() -> None:
    def restarts(scene: Scene) -> None:
        scene.node.stop_server()
        scene.node.start_server()

    play(restarts, the_first_is_broken_and_the_last_is_served)


def test_the_limit_grows() -> None:
    def grows(scene: Scene) -> None:
        queue_handle(scene, LLAMA).set_limit.tell(3)

    async def more_may_run(scene: Scene) -> None:
        await the_last_is_served(scene)
        (status,) = await scene.home.fleet()
        assert [queue.limit for queue in status.queues if queue.model == LLAMA] == [3]

    play(grows, more_may_run)


def test_the_agent_leaves() -> None:
    """In order: what runs may end, what waits is held until its time is over."""
    leaving: list[asyncio.Task[None]] = []

    async def refused(scene: Scene) -> None:
        await scene.running.task
        await scene.staying.task
        assert scene.staying.sink.status == 503
        await leaving[-1]
        await assert_nothing_is_out(scene.home)

    play(lambda scene: leaving.append(asyncio.create_task(scene.node.stop_agent())), refused)


def test_the_router_stops() -> None:
    """The listener goes first and cuts what is left; the queues are there until the last lease is back."""

    async def all_is_over(scene: Scene) -> None:
        await asyncio.wait([scene.running.task, scene.staying.task])
        await assert_nothing_is_out(scene.home)
        assert scene.node.ollama.running == 0

    play(lambda scene: stop(scene.home.router.parts.find(names.GATEWAY)), all_is_over)


@pytest.mark.parametrize("ends", ["the fleet is stopped", "the queue dies"])
def test_the_queue_ends_under_its_waiters(ends: str) -> None:
    """Nobody waits for ever, what runs needs no queue to end, and the ledger is clean."""

    def end(scene: Scene) -> None:
        if ends == "the queue dies":
            kill(queue_handle(scene, LLAMA))
        else:
            stop(scene.home.router.fleet)

    async def all_is_over(scene: Scene) -> None:
        await scene.running.task
        assert served_by(scene.running.sink) == "a"
        await scene.staying.task
        assert scene.staying.sink.status in {502, 503}
        parts = scene.home.router.parts
        await turns(30)
        assert (await parts.scorer.ledger.remote(), await parts.pen.count.remote()) == ({}, 0)
        assert (scene.home.links.router_streams, scene.home.links.agent_streams) == (0, 0)

    play(end, all_is_over, whole=False)


# --- Moved ------------------------------------------------------------------------------------------------------------


AT_A = Candidate(NodeId("a"), NodeName("a"), ModelName(LLAMA), OLLAMA, (0.0,) * len(SIGNALS), 0.0)


class MovingQueue(ModelQueue):
    """A queue that sends its waiters elsewhere when it is told to."""

    def move_all(self, queue: str) -> None:
        for ticket in list(self._leases.waiting):
            self.move(TicketId(ticket), Moved(queue, AT_A))


@pytest.fixture(name="moving")
def queues_that_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.actors.node.ModelQueue", MovingQueue)


@pytest.mark.usefixtures("moving")
@virtual_time
async def test_who_is_moved_takes_its_lease_where_it_was_sent() -> None:
    async with scenario() as home:
        await home.node("a", [LLAMA, QWEN], resident=[LLAMA])
        running, moved = (home.send(CHAT, chat(tokens=50)) for _ in range(2))
        await until_waiting(home, "a", 1)
        here, there = (names.model_queue(NodeId("a"), model) for model in (LLAMA, QWEN))
        home.router.parts.find(here).move_all.tell(there)
        await turns(30)
        assert (await queue_of(home, "a", LLAMA), await queue_of(home, "a", QWEN)) == ((1, 0), (1, 0))
        await asyncio.gather(running.task, moved.task)


@pytest.mark.usefixtures("moving")
@pytest.mark.parametrize("model", [LLAMA, QWEN, "gone"], ids=["to the same queue", "to another", "to one that is gone"])
def test_who_waits_is_moved(model: str) -> None:
    """The lease is taken where the ticket went, and comes back there; nothing is left where it was."""
    other = names.model_queue(NodeId("a"), model)

    async def all_leases_are_back(scene: Scene) -> None:
        await the_last_is_served(scene)
        assert await queue_of(scene.home, "a", QWEN) == (0, 0)

    play(lambda scene: queue_handle(scene, LLAMA).move_all.tell(other), all_leases_are_back)


@pytest.mark.usefixtures("moving")
def test_who_waits_is_moved_to_a_queue_that_moves_it_back_in_the_turn_of_the_grant() -> None:
    here, there = (names.model_queue(NodeId("a"), model) for model in (LLAMA, QWEN))

    def to_and_fro(scene: Scene) -> None:
        queue_handle(scene, LLAMA).move_all.tell(there)
        queue_handle(scene, QWEN).move_all.tell(here)
        scene.running.task.cancel()

    play(to_and_fro, the_last_is_served)
