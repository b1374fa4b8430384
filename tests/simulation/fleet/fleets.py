"""A production router over simulated nodes whose owners do what a test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from herd.actors.fleet import RouterIdentity
from herd.actors.node import NodeStatus
from herd.actors.ports import Headers
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, running_router
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import InMemoryListener
from herd.simulation.fleet.station import HEARTBEAT_S, NodePlan, Station
from herd.simulation.fleet.switchboard import Switchboard
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.simulation.machine.owners import OwnerState
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, MiB, NodeState, RouterId, Seconds

LLAMA = "llama3.2:3b"
QWEN = "qwen3:8b"
ASLEEP, AWAKE, MEETING = OwnerState(asleep=True), OwnerState(), OwnerState(meeting=True)

Changes = Sequence[tuple[float, OwnerState]]


def plan(name: str = "studio", *models: str, machine: str = "mac-studio", parallel: int = 1) -> NodePlan:
    """A machine with these models on its disk, `LLAMA` if none is named."""
    return NodePlan(name, PROFILES[machine], models or (LLAMA,), parallel=parallel)


def station(of: NodePlan, board: Switchboard, changes: Changes = ()) -> Station:
    """A node whose owner does nothing but these changes, at these seconds."""
    made = Station(of, board, 0, Seconds(1e9))
    made.occupancy._changes = _seconds(changes)
    return made


def _seconds(changes: Changes) -> Iterator[tuple[Seconds, OwnerState]]:
    return iter([(Seconds(at), state) for at, state in changes])


@dataclass(slots=True)
class Client:
    """A request under way. Cancel the task to hang up."""

    task: "asyncio.Task[None]"
    sink: RecordingSink


@dataclass(slots=True)
class TestFleet:
    """The router, its nodes, and their clients."""

    router: RunningRouter
    board: Switchboard
    listener: InMemoryListener
    stations: list[Station] = field(default_factory=list)

    async def status(self, name: str) -> NodeStatus:
        """A node as the router sees it now."""
        found: tuple[NodeStatus, ...] = await self.router.fleet.snapshot.remote()
        return next(status for status in found if status.name == name)

    async def state(self, name: str) -> NodeState:
        """How a node stands with the router."""
        return (await self.status(name)).state

    async def resident(self, name: str) -> list[str]:
        """The models that the router believes to be in the node's memory."""
        return sorted(model.name for model in (await self.status(name)).report.models if model.resident)

    def send(self, model: str = LLAMA, *, tokens: int = 20, headers: Headers = (), **fields: Any) -> Client:
        """Begin a chat."""
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": model, "messages": messages, "options": {"num_predict": tokens}, **fields}
        sink = RecordingSink()
        request = InMemoryRequest("POST", "/api/chat", json.dumps(body).encode(), headers)
        return Client(self.listener.send(request, sink), sink)

    async def ask(self, model: str = LLAMA, *, tokens: int = 20, **fields: Any) -> RecordingSink:
        """A chat, answered."""
        client = self.send(model, tokens=tokens, **fields)
        await client.task
        return client.sink


@asynccontextmanager
async def fleet(*nodes: tuple[NodePlan, Changes]) -> AsyncIterator[TestFleet]:
    """A router with these nodes, until the block ends."""
    board, listener = Switchboard(), InMemoryListener()
    options = RouterOptions(
        RouterIdentity(RouterId("simulated"), "simulated"), 0, Seconds(30.0), Bytes(64 * MiB), heartbeat=HEARTBEAT_S
    )
    ports = RouterPorts(LoopClock(), listener, board, board, board, advertiser=None)
    async with running_router(options, ports) as router:
        made = TestFleet(router, board, listener)
        try:
            for of, changes in nodes:
                made.stations.append(station(of, board, changes))
                await made.stations[-1].start()
            yield made
        finally:
            for one in made.stations:
                one.stop()
