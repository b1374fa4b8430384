"""What an agent is told of its owner's week, and when."""

import asyncio
from typing import Any

from herd.actors import names
from herd.actors.capacity_learner import LearnedHour
from herd.actors.node import Node
from herd.actors.week_telling import LEAST_S
from herd.policy.capacity import SLOTS, Expected
from herd.policy.liveness import HEARTBEAT_S
from herd.protocols.messages import Machine, Result
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import NodeId, NodeName
from tests.actors.doubles import Witness, model, report, settled

STUDIO = NodeId("studio")


class Learner:
    """In place of the CapacityLearner."""

    def reported(self, *_: Any) -> None:
        """Other tests are about that."""

    def week(self, node: NodeId) -> tuple[LearnedHour, ...]:
        known = LearnedHour(Expected(0.12345, 0.9))
        return (known, *(LearnedHour(Expected(0.0, 0.0)) for _ in range(SLOTS - 1)))


class Proxy:
    """In place of the NodeProxy: keeps the commands, and answers when it is let."""

    def __init__(self) -> None:
        self._given: list[tuple[str, dict[str, Any]]] = []
        self._answers = True

    def hang(self) -> None:
        self._answers = False

    async def command(self, name: str, args: dict[str, Any]) -> Result:
        self._given.append((name, args))
        if not self._answers:
            await asyncio.Event().wait()
        return Result(len(self._given), False, text="this agent knows no command 'week'")

    def given(self) -> list[tuple[str, dict[str, Any]]]:
        given, self._given = self._given, []
        return given


class House:
    """A Node, and who is asked and told."""

    def __init__(self) -> None:
        self.scorer = remote(Witness).remote()
        self.learner = remote(Learner).options(name=names.CAPACITY_LEARNER).remote()
        self.proxy = remote(Proxy).options(name=names.node_proxy(STUDIO)).remote()
        self.node: ActorHandle = remote(Node).remote(STUDIO, self.scorer, LoopClock())

    def join(self, *, shows_week: bool = True) -> None:
        self.node.link_up.tell(NodeName("studio"), Machine(), "0.1", shows_week=shows_week)

    async def told(self, slot: int = 7) -> int:
        """How often the agent was told, once it has said that it is in an hour."""
        self.node.reported.tell(report(model("m"), week_slot=slot))
        await settled()
        return len(await self.proxy.given.remote())

    async def end(self) -> None:
        for actor in (self.node, self.proxy, self.learner, self.scorer):
            await stop(actor)


@virtual_time
async def test_an_agent_is_told_when_it_has_joined_and_when_an_hour_has_ended() -> None:
    house = House()
    house.join()
    house.node.reported.tell(report(week_slot=7))
    await settled()
    ((name, args),) = await house.proxy.given.remote()
    assert name == "week"
    assert args == {"load": [0.123] + [None] * 167, "confidence": [0.9] + [0.0] * 167}
    for _ in range(100):
        await asyncio.sleep(HEARTBEAT_S)
        assert await house.told(7) == 0
    assert await house.told(8) == 1
    assert await house.told(8) == 0
    await house.end()


@virtual_time
async def test_a_link_that_flaps_is_told_once_a_minute_and_the_last_of_its_agents_too() -> None:
    house, told = House(), 0
    for _ in range(int(LEAST_S)):
        house.join()
        told += await house.told()
        await asyncio.sleep(0.5)
    assert told == 1
    await asyncio.sleep(LEAST_S / 2)
    assert await house.told() == 1
    await house.end()


@virtual_time
async def test_an_agent_that_does_not_ask_for_it_is_not_told() -> None:
    house = House()
    house.join(shows_week=False)
    assert await house.told() == 0
    await house.end()


@virtual_time
async def test_an_agent_that_does_not_answer_is_asked_nothing_more() -> None:
    house = House()
    house.proxy.hang.tell()
    house.join()
    assert await house.told(7) == 1
    await asyncio.sleep(3600)
    assert await house.told(8) == 0
    await house.end()


@virtual_time
async def test_without_a_link_or_a_learner_nothing_happens() -> None:
    house = House()
    house.join()
    await stop(house.proxy)
    house.node.reported.tell(report(week_slot=7))
    await settled()
    assert (await house.node.view.remote()).name == "studio"
    await stop(house.node)
    await stop(house.learner)
    await stop(house.scorer)
