"""The Rebalancer: it looks while somebody waits, and tells the queues that tickets leave."""

import asyncio
from typing import Any

from herd.actors.moves import Move, Rebalanced
from herd.actors.rebalancer import Rebalancer
from herd.policy.rebalancing import REBALANCE_S
from herd.policy.values import SIGNALS, Candidate, Moved
from herd.runtime import ActorHandle, get_actor, kill, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, NodeId, NodeName, TicketId
from tests.actors.doubles import settled

THERE = Candidate(NodeId("b"), NodeName("b"), ModelName("m"), BackendId("o"), (0.0,) * len(SIGNALS), 0.0)


class Decider:
    """In place of the Scorer: answers what it is given, and nothing more."""

    def __init__(self, *answers: Rebalanced) -> None:
        self._answers = list(answers)
        self._asked = 0

    def rebalance(self) -> Rebalanced:
        self._asked += 1
        return self._answers.pop(0) if self._answers else Rebalanced((), waiting=False)

    def asked(self) -> int:
        return self._asked


class Queue:
    """A queue that keeps what it is told."""

    def __init__(self) -> None:
        self._told: list[tuple[Any, ...]] = []

    def move(self, ticket: TicketId, moved: Moved) -> None:
        self._told.append((ticket, moved))

    def told(self) -> list[tuple[Any, ...]]:
        return self._told


def move(queue: str) -> Move:
    return Move(TicketId("t1"), queue, Moved("queue:b/m", THERE))


async def started(*answers: Rebalanced) -> tuple[ActorHandle, ActorHandle]:
    """A Rebalancer, and who decides."""
    decider = remote(Decider).remote(*answers)
    return remote(Rebalancer).options(name="rebalancer").remote(decider, LoopClock()), decider


@virtual_time
async def test_it_looks_again_and_again_until_nobody_waits_and_when_somebody_does_again() -> None:
    rebalancer, decider = await started(Rebalanced((), waiting=True), Rebalanced((), waiting=True))
    await asyncio.sleep(10 * REBALANCE_S)
    assert await decider.asked.remote() == 3
    for _ in range(5):
        rebalancer.watch.tell()
    await asyncio.sleep(10 * REBALANCE_S)
    assert await decider.asked.remote() == 4
    await stop(rebalancer)
    await stop(decider)


@virtual_time
async def test_the_queue_that_a_ticket_leaves_is_told_where_it_goes_and_one_that_is_gone_need_not_be() -> None:
    queue = remote(Queue).options(name="queue:a/m").remote()
    rebalancer, decider = await started(Rebalanced((move("queue:gone/m"), move("queue:a/m")), waiting=False))
    await rebalancer.look.remote()
    await settled()
    assert await get_actor("queue:a/m").told.remote() == [("t1", Moved("queue:b/m", THERE))]
    for actor in (rebalancer, decider, queue):
        await stop(actor)


class SlowDecider(Decider):
    """It thinks for a second."""

    async def rebalance(self) -> Rebalanced:  # type: ignore[override]
        await asyncio.sleep(1.0)
        return super().rebalance()


@virtual_time
async def test_a_scorer_that_crashes_moves_nobody_and_takes_the_rebalancer_not_along() -> None:
    decider = remote(SlowDecider).options(max_restarts=1).remote()
    rebalancer = remote(Rebalancer).options(name="rebalancer").remote(decider, LoopClock())
    asked = rebalancer.look.remote()
    await asyncio.sleep(0.5)
    kill(decider, no_restart=False)
    assert await asked is None
    await rebalancer.look.remote()
    assert await decider.asked.remote() == 1
    await stop(rebalancer)
    await stop(decider)
