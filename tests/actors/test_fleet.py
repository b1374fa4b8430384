"""The Fleet: who may join, under which name, and over which link."""

import pytest

from herd.actors import fleet as fleet_module
from herd.actors import names
from herd.actors.capacity_learner import CapacityLearner
from herd.actors.commands import WEEK
from herd.actors.fleet import Fleet, RouterIdentity
from herd.actors.node import NodeStatus
from herd.protocols.messages import Goodbye, Hello, Machine, Welcome
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.clock import LoopClock
from herd.types import LinkId, NodeId, NodeName, NodeState, RouterId
from tests.actors.doubles import FakeLinks, Witness, model, report, settled


class Joined:
    """A Fleet with fake links."""

    def __init__(self) -> None:
        self.links = FakeLinks()
        self.scorer = remote(Witness).remote()
        identity = RouterIdentity(RouterId("r1"), "1.2")
        self.fleet: ActorHandle = (
            remote(Fleet).options(name="fleet").remote(identity, self.links, self.scorer, LoopClock())
        )
        self._last = 0

    async def join(self, node: str, name: str, *capabilities: str) -> Welcome | Goodbye:
        """A hello over a new link."""
        self._last += 1
        hello = Hello((1,), NodeId(node), NodeName(name), capabilities=capabilities, machine=Machine(os="linux"))
        answer: Welcome | Goodbye = await self.fleet.join.remote(LinkId(self._last), hello, "192.0.2.1")
        self.links.hear(self._last)
        return answer

    async def states(self) -> dict[str, NodeState]:
        await settled()
        found: tuple[NodeStatus, ...] = await self.fleet.snapshot.remote()
        return {status.name: status.state for status in found}

    async def end(self) -> None:
        await stop(self.fleet)
        await stop(self.scorer)


@virtual_time
async def test_a_name_that_is_taken_gets_a_number_and_a_node_keeps_its_own() -> None:
    joined = Joined()
    names = []
    for node, name in (("1", "mac"), ("2", "mac"), ("3", "mac"), ("2", "mac"), ("1", "mac"), ("4", "")):
        answer = await joined.join(node, name)
        assert isinstance(answer, Welcome)
        names.append(answer.name)
    assert names == ["mac", "mac-2", "mac-3", "mac-2", "mac", "4"]
    assert list(await joined.states()) == ["4", "mac", "mac-2", "mac-3"]
    await joined.end()


@virtual_time
async def test_only_an_agent_that_says_it_can_show_its_owners_week_is_told_of_it() -> None:
    learner = remote(CapacityLearner).options(name=names.CAPACITY_LEARNER).remote(LoopClock())
    joined = Joined()
    for link, capabilities in ((1, ()), (2, ("dance",)), (3, ("dance", WEEK))):
        await joined.join("1", "mac", *capabilities)
        joined.fleet.report.tell(LinkId(link), NodeId("1"), report(model("m")))
        await settled()
        assert len(joined.links.commands) == (WEEK in capabilities)
    await joined.end()
    await stop(learner)


@virtual_time
async def test_the_welcome_says_who_the_router_is() -> None:
    joined = Joined()
    assert await joined.join("1", "mac") == Welcome(1, RouterId("r1"), NodeName("mac"), "1.2")
    await joined.end()


@virtual_time
async def test_a_newer_hello_of_the_same_node_replaces_its_link() -> None:
    joined = Joined()
    await joined.join("1", "mac")
    joined.fleet.report.tell(LinkId(1), NodeId("1"), report(model("m")))
    assert await joined.states() == {"mac": NodeState.READY}
    await joined.join("1", "mac")
    assert await joined.states() == {"mac": NodeState.JOINING}
    assert joined.links.goodbyes == [(LinkId(1), "replaced")]
    joined.fleet.link_down.tell(LinkId(1), NodeId("1"), "replaced")
    joined.fleet.report.tell(LinkId(2), NodeId("1"), report(model("m")))
    assert await joined.states() == {"mac": NodeState.READY}
    joined.fleet.link_down.tell(LinkId(2), NodeId("1"), "gone")
    assert await joined.states() == {"mac": NodeState.OFFLINE}
    await joined.end()


@pytest.mark.parametrize("what", ["report", "draining"])
def test_what_an_older_link_still_says_is_not_believed(what: str) -> None:
    async def story() -> None:
        joined = Joined()
        await joined.join("1", "mac")
        await joined.join("1", "mac")
        if what == "report":
            joined.fleet.report.tell(LinkId(1), NodeId("1"), report(model("gone")))
        else:
            joined.fleet.draining.tell(LinkId(1), NodeId("1"))
        assert await joined.states() == {"mac": NodeState.JOINING}
        await joined.end()

    run_virtual(story())


@virtual_time
async def test_an_agent_that_says_it_leaves_is_draining() -> None:
    joined = Joined()
    await joined.join("1", "mac")
    joined.fleet.report.tell(LinkId(1), NodeId("1"), report(model("m")))
    joined.fleet.draining.tell(LinkId(1), NodeId("1"))
    assert await joined.states() == {"mac": NodeState.DRAINING}
    await joined.end()


@virtual_time
async def test_there_is_room_for_so_many_nodes_and_those_that_are_known_may_return(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_module, "MAX_NODES", 2)
    joined = Joined()
    await joined.join("1", "a")
    await joined.join("2", "b")
    refused = await joined.join("3", "c")
    assert isinstance(refused, Goodbye)
    assert refused.code == "full"
    assert isinstance(await joined.join("1", "a"), Welcome)
    await joined.end()
