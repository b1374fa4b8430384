"""A whole house in memory: a production router, production agents, simulated model servers, and no socket anywhere.

    async with house(seed=1) as home:
        studio = await home.node("studio", ["llama3.2:3b"], resident=["llama3.2:3b"])
        answer = await home.ask("/api/chat", {"model": "llama3.2:3b", "messages": [...]})

Made for virtual time: every clock in it is the loop's.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.fleet import RouterIdentity
from herd.actors.node import NodeStatus
from herd.actors.ports import Dialer, Handler, Headers, MachineSample
from herd.actors.router import JOIN_GRACE_S, RouterOptions, RouterPorts, RunningRouter, in_memory, running_router
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello, Machine
from herd.simulation.catalog import CATALOG
from herd.simulation.links import InMemoryLinks
from herd.simulation.ollama import FakeOllama
from herd.simulation.pace import MachineProfile
from herd.simulation.profiles import PROFILES
from herd.simulation.wire import InMemoryRequest, InMemoryServers, RecordingSink, call
from herd.store.database import Database
from herd.types import BackendId, Bytes, GiB, MiB, NodeId, NodeName, NodeState, RouterId, Seconds

EPOCH = 1_780_272_000.0  # 2026-06-01 00:00 UTC, when every simulation begins
LOOK_S = 0.05  # between two looks at the fleet while somebody waits for a state of it
PATIENCE_S = 120.0  # a state that has not come after so long in virtual time never comes

OLLAMA = BackendId("ollama")


class LoopClock:
    """The loop's time as the port `Clock`."""

    def monotonic(self) -> Seconds:
        return Seconds(asyncio.get_running_loop().time())

    def wall(self) -> Seconds:
        return Seconds(EPOCH + asyncio.get_running_loop().time())


class IdleMachine:
    """The port `MachineProbe` of a machine on which nothing else happens."""

    def __init__(self, profile: MachineProfile) -> None:
        self._profile = profile

    def machine(self) -> Machine:
        return Machine("simulated", "", self._profile.chip, 8, self._profile.memory)

    def sample(self) -> MachineSample:
        return MachineSample(0.1, self._profile.memory, Bytes(self._profile.memory - 2 * GiB), 0)


class InMemoryListener:
    """The port `HttpServer` for requests that are handed in."""

    port = 11435  # for those who want to see a number

    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._running: dict[asyncio.Task[None], None] = {}

    async def start(self, handler: Handler) -> None:
        self._handler = handler

    async def stop(self) -> None:
        """Cuts at once: a simulation that wants its answers awaits them."""
        self._handler = None
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    def send(self, request: InMemoryRequest, sink: RecordingSink) -> "asyncio.Task[None]":
        """Answer a request in a task of its own; to cancel it is to hang up."""
        if self._handler is None:
            raise RuntimeError("the listener does not listen")

        async def answer(handler: Handler) -> None:
            await handler(request, sink)

        task = asyncio.create_task(answer(self._handler), name=f"{request.method} {request.path}")
        self._running[task] = None
        task.add_done_callback(self._running.pop)
        return task


@dataclass(slots=True)
class SimulatedNode:
    """A machine with a model server and an agent."""

    id: NodeId
    base_url: str
    ollama: FakeOllama
    servers: InMemoryServers
    stack: AsyncExitStack  # holds the agent

    def stop_server(self) -> None:
        """The model server's process ends."""
        self.servers.stop(self.base_url)

    def start_server(self) -> None:
        """The model server is back, with what it had in memory."""
        self.servers.serve(self.base_url, self.ollama.handle)

    async def load(self, model: str) -> None:
        """Have the server load a model and keep it."""
        await call(self.ollama.handle, "POST", "/api/generate", {"model": model, "keep_alive": -1})

    async def stop_agent(self) -> None:
        """The agent leaves in order. Idempotent."""
        await self.stack.aclose()


@dataclass(slots=True)
class Sent:
    """A request under way. Cancel the task to hang up."""

    task: "asyncio.Task[None]"
    sink: RecordingSink

    async def hang_up(self) -> None:
        """The client goes away; returns once the router has let go."""
        self.task.cancel()
        await asyncio.wait([self.task])


class House:
    """A router that is up, and the nodes that are added to it."""

    def __init__(self, router: RunningRouter, http: InMemoryListener, links: InMemoryLinks) -> None:
        self.router = router
        self.links = links
        self.servers = InMemoryServers()
        self.nodes: list[SimulatedNode] = []
        self._http = http

    # --- nodes --------------------------------------------------------------------------------------------------------

    async def node(
        self,
        name: str,
        models: Sequence[str],
        *,
        resident: Sequence[str] = (),
        parallel: int = 1,
        profile: MachineProfile = PROFILES["mac-studio"],
        dialer: Dialer | None = None,
        grace: Seconds = Seconds(10.0),
    ) -> SimulatedNode:
        """Add a machine, and wait until the router knows it as ready with its models.

        Args:
            name: the node's name and id.
            models: on disk, from the catalogue.
            resident: of those, what is in memory.
            parallel: requests that each model runs at once.
            profile: the machine.
            dialer: how its agent reaches the router; the house's own links if None.
            grace: what running requests get when the agent stops.
        """
        base_url = f"http://{name}:11434"
        ollama = FakeOllama(profile, [CATALOG[model] for model in models], num_parallel=parallel)
        ollama.wall = LoopClock().wall
        node = SimulatedNode(NodeId(name), base_url, ollama, self.servers, AsyncExitStack())
        node.start_server()
        for model in resident:
            await node.load(model)
        probe = IdleMachine(profile)
        hello = Hello(PROTOCOL_VERSIONS, node.id, NodeName(name), "simulated", machine=probe.machine())
        settings = BackendSettings(OLLAMA, base_url, parallel)
        options = AgentOptions(hello, (settings,), router_url="http://router", grace=grace)
        ports = AgentPorts(self.servers, dialer or self.links, None, probe, joined=lambda _: None)
        await node.stack.enter_async_context(running_agent(options, ports))
        self.nodes.append(node)
        await self.until_node(name, NodeState.READY)
        await self.until(
            lambda fleet: any(
                status.name == name and sum(model.resident for model in status.report.models) >= len(resident)
                for status in fleet
            )
        )
        return node

    async def fleet(self) -> tuple[NodeStatus, ...]:
        """Every node as the router sees it now."""
        found: tuple[NodeStatus, ...] = await self.router.fleet.snapshot.remote()
        return found

    async def until(self, condition: Callable[[tuple[NodeStatus, ...]], bool]) -> None:
        """Wait until the fleet is as described. Raises TimeoutError when it never is."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(await self.fleet()):  # noqa: ASYNC110 - the router has no event for it, and this is cheap
                await asyncio.sleep(LOOK_S)

    async def until_node(self, name: str, state: NodeState, *, models: bool = True) -> None:
        """Wait until a node is in this state, and (unless `models` is False) has reported a model."""
        await self.until(
            lambda fleet: any(
                status.name == name and status.state is state and (not models or bool(status.report.models))
                for status in fleet
            )
        )

    # --- requests -----------------------------------------------------------------------------------------------------

    def send(self, target: str, body: Any = None, headers: Headers = (), method: str = "POST") -> Sent:
        """Begin a request; `body` is sent as it is if it is bytes, else as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sink = RecordingSink()
        return Sent(self._http.send(InMemoryRequest(method, target, data, headers), sink), sink)

    async def ask(self, target: str, body: Any = None, headers: Headers = (), method: str = "POST") -> RecordingSink:
        """A request, answered."""
        sent = self.send(target, body, headers, method)
        await sent.task
        return sent.sink


@asynccontextmanager
async def house(
    *,
    seed: int = 0,
    hold_timeout: float = 30.0,
    join_grace: float = JOIN_GRACE_S,
    open_store: Callable[[], Database] = in_memory,
) -> AsyncIterator[House]:
    """Run a router in memory until the block ends; its nodes stop before it.

    Args:
        seed: of the request ids.
        hold_timeout: seconds a request waits for a node.
        join_grace: seconds in which a model that nobody has is waited for while known nodes are missing.
        open_store: what the router remembers of earlier days.
    """
    links, http = InMemoryLinks(), InMemoryListener()
    options = RouterOptions(
        RouterIdentity(RouterId("simulated"), "simulated"),
        seed,
        Seconds(hold_timeout),
        Bytes(256 * MiB),
        Seconds(join_grace),
    )
    ports = RouterPorts(LoopClock(), http, links, links, links, advertiser=None, open_store=open_store)
    async with running_router(options, ports) as router:
        home = House(router, http, links)
        try:
            yield home
        finally:
            for node in reversed(home.nodes):
                await node.stop_agent()
