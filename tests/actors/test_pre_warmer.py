"""The PreWarmer: one load for each cause, never again and again, and its memory given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from herd.actors import names
from herd.actors.pre_warmer import NO_ROOM_S, REST_S, PreWarmer
from herd.policy.prewarming import DeepQueue, LoadOrder
from herd.policy.values import NeededLoad
from herd.protocols.messages import Result
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, Bytes, ModelName, NodeId, Tokens
from tests.actors.doubles import settled

CAUSE = DeepQueue("m", NodeId("hot"))
LOAD_TAKES = 4.0


class Placer:
    """In place of the Scorer: gives out orders for the nodes that it was made with, the first that is not avoided."""

    def __init__(self, *nodes: str) -> None:
        self._nodes = nodes
        self._asked: list[tuple[str, tuple[str, ...]]] = []
        self._ended: list[tuple[str, str, bool]] = []

    def order_load(self, cause: DeepQueue, avoid: tuple[NodeId, ...]) -> LoadOrder | None:
        self._asked.append((cause.model, avoid))
        free = [node for node in self._nodes if node not in avoid]
        if not free:
            return None
        needed = NeededLoad(Tokens(4096), Bytes(1), 3.0)
        return LoadOrder(
            NodeId(free[0]), BackendId("ollama"), ModelName(cause.model), cause.model, Tokens(8192), needed
        )

    def load_ended(self, order: LoadOrder, ok: bool) -> None:
        self._ended.append((order.node, order.key, ok))

    def order_homes(self, avoid: tuple[tuple[str, NodeId], ...]) -> tuple[LoadOrder, ...]:
        busy = [node for model, node in avoid if not model]
        failed = [node for model, node in avoid if model == "lives"]
        needed = NeededLoad(Tokens(4096), Bytes(1), 3.0)
        backend, model = BackendId("ollama"), ModelName("lives")
        return tuple(
            LoadOrder(NodeId(node), backend, model, "lives", None, needed, -1)
            for node in self._nodes
            if node not in busy and node not in failed
        )

    def told(self) -> tuple[list[tuple[str, tuple[str, ...]]], list[tuple[str, str, bool]]]:
        return self._asked, self._ended


class Proxy:
    """In place of a NodeProxy: takes its time, and succeeds or not."""

    def __init__(self, ok: bool = True) -> None:
        self._ok = ok
        self._commands: list[tuple[str, dict[str, Any]]] = []

    async def command(self, name: str, args: dict[str, Any]) -> Result:
        self._commands.append((name, args))
        await asyncio.sleep(LOAD_TAKES)
        return Result(1, self._ok, text="" if self._ok else "no room")

    def commands(self) -> list[tuple[str, dict[str, Any]]]:
        return self._commands


@dataclass
class Fleet:
    """A PreWarmer, the Scorer that it asks, and the nodes that it commands."""

    warmer: ActorHandle
    scorer: ActorHandle
    proxies: dict[str, ActorHandle] = field(default_factory=dict)

    async def deep(self, cause: DeepQueue = CAUSE, *, after: float = 0.0) -> None:
        """A queue is found deep, some time later."""
        await asyncio.sleep(after)
        self.warmer.queue_deep.tell(cause)
        await settled()

    async def loads(self, node: str) -> int:
        return len(await self.proxies[node].commands.remote())

    async def ended(self) -> list[tuple[str, str, bool]]:
        ended: list[tuple[str, str, bool]] = (await self.scorer.told.remote())[1]
        return ended

    async def asked(self) -> list[tuple[str, tuple[str, ...]]]:
        asked: list[tuple[str, tuple[str, ...]]] = (await self.scorer.told.remote())[0]
        return asked


@asynccontextmanager
async def fleet(**nodes: bool) -> AsyncIterator[Fleet]:
    """Nodes by name, and whether they can load."""
    scorer = remote(Placer).options(name=names.SCORER).remote(*nodes)
    made = Fleet(remote(PreWarmer).options(name=names.PRE_WARMER).remote(LoopClock(), False), scorer)
    for name, ok in nodes.items():
        made.proxies[name] = remote(Proxy).options(name=names.node_proxy(NodeId(name))).remote(ok)
    try:
        yield made
    finally:
        for actor in (made.warmer, scorer, *made.proxies.values()):
            await stop(actor)


@virtual_time
async def test_pre_warm_happens_once_for_a_cause() -> None:
    async with fleet(a=True, b=True) as home:
        for _ in range(5):
            await home.deep()
        assert await home.loads("a") == 1
        await home.deep(after=LOAD_TAKES + 1)  # loaded: the queue has yet to become shorter
        assert (await home.loads("a"), await home.loads("b")) == (1, 0)
        assert await home.ended() == [("a", "m", True)]
        await home.deep(after=REST_S)  # that was not enough: another cause
        assert len(await home.asked()) == 2


@virtual_time
async def test_the_command_says_what_to_load() -> None:
    async with fleet(a=True) as home:
        await home.deep()
        (command,) = await home.proxies["a"].commands.remote()
        assert command == ("load", {"backend": "ollama", "model": "m", "keep_alive": 300, "num_ctx": 8192})


@virtual_time
async def test_one_load_per_node_at_a_time() -> None:
    async with fleet(a=True, b=True) as home:
        await home.deep()
        await home.deep(DeepQueue("n", NodeId("hot")))
        assert (await home.loads("a"), await home.loads("b")) == (1, 1)
        await home.deep(DeepQueue("o", NodeId("hot")))
        assert await home.asked() == [("m", ()), ("n", ("a",)), ("o", ("a", "b"))]


@virtual_time
async def test_a_load_that_fails_is_not_asked_for_again_and_again() -> None:
    async with fleet(a=False) as home:
        for _ in range(60):
            await home.deep(after=60.0)  # an hour of a queue that is found deep every minute
        assert 4 <= await home.loads("a") <= 6
        assert all(not ok for _, _, ok in await home.ended())


@virtual_time
async def test_where_one_node_fails_another_is_asked() -> None:
    async with fleet(a=False, b=True) as home:
        await home.deep()
        await home.deep(after=LOAD_TAKES + REST_S)
        await asyncio.sleep(LOAD_TAKES + 1)
        assert await home.ended() == [("a", "m", False), ("b", "m", True)]


@virtual_time
async def test_a_fleet_without_room_is_looked_at_now_and_then() -> None:
    async with fleet() as home:
        for _ in range(20):
            await home.deep(after=1.0)
        assert len(await home.asked()) <= 20 / NO_ROOM_S + 1


@virtual_time
async def test_the_end_of_a_node_gives_its_memory_back() -> None:
    async with fleet(a=True) as home:
        await home.deep()
        await stop(home.proxies.pop("a"))
        await asyncio.sleep(LOAD_TAKES + 1)
        ((node, _, _),) = await home.ended()
        assert node == "a"
    async with fleet(gone=True) as home:
        await stop(home.proxies.pop("gone"))
        await home.deep()
        assert await home.ended() == [("gone", "m", False)]


@virtual_time
async def test_homes_are_seen_to_and_a_node_that_hangs_holds_up_no_other() -> None:
    async with fleet(a=True, b=False) as home:
        home.warmer.see_to_homes.tell()
        await settled()
        home.warmer.see_to_homes.tell()
        home.warmer.see_to_homes.tell()
        await settled()
        assert (await home.loads("a"), await home.loads("b")) == (1, 1)  # each is busy
        await asyncio.sleep(LOAD_TAKES + 1)
        assert sorted(await home.ended()) == [("a", "lives", True), ("b", "lives", False)]
        home.warmer.see_to_homes.tell()
        await settled()
        assert (await home.loads("a"), await home.loads("b")) == (2, 1)  # one that failed is left alone


@virtual_time
async def test_a_node_that_is_asked_to_keep_a_model_is_not_asked_to_load_one() -> None:
    async with fleet(a=True, b=True) as home:
        home.warmer.see_to_homes.tell()
        await settled()
        await home.deep()
        assert await home.asked() == [("m", ("a", "b"))]
