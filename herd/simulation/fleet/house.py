"""A whole house in memory: a production router, production agents, simulated model servers, and no socket anywhere.

    async with house(seed=1) as home:
        studio = await home.node("studio", ["llama3.2:3b"], resident=["llama3.2:3b"])
        answer = await home.ask("/api/chat", {"model": "llama3.2:3b", "messages": [...]})

Made for virtual time: every clock in it is the loop's. Each process in it can stop and start again: the router, an
agent, a model server.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from herd.actors.agent import AgentOptions, AgentPorts, RunningAgent, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.fleet import RouterIdentity
from herd.actors.node import NodeStatus
from herd.actors.ports import Dialer, Handler, Headers, Sink
from herd.actors.router import JOIN_GRACE_S, RouterOptions, RouterPorts, RunningRouter, running_router
from herd.actors.sensor_ports import OwnerProbe
from herd.names import Names
from herd.protocols.access import Access
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.links import InMemoryLinks
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.http import InMemoryRequest, InMemoryServers, RecordingSink, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.media import MEDIA
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.store.database import Database
from herd.types import BackendId, Bytes, MiB, NodeId, NodeName, NodeState, RouterId, ScorerKind, Seconds

LOOK_S = 0.05  # between two looks at the fleet while somebody waits for a state of it
PATIENCE_S = 120.0  # a state that has not come after so long in virtual time never comes

OLLAMA = BackendId("ollama")


class Disk(Database):
    """A router's database that outlives the router, as a file does. `open` is what it is opened with."""

    def __init__(self) -> None:
        super().__init__(None)

    def open(self) -> Database:
        return self

    def close(self) -> None:
        """It is there when the router comes back."""

    def throw_away(self) -> None:
        """Nobody will open it any more."""
        super().close()


class ServerEnvironment:
    """The port `ServerProcesses`: variables that model servers were started with, by their URL."""

    def __init__(self, variables: Mapping[str, Mapping[str, str]]) -> None:
        self._variables = variables

    async def variable(self, base_url: str, name: str) -> str | None:
        return self._variables.get(base_url, {}).get(name)


class InMemoryListener:
    """The port `HttpServer` for requests that are handed in.

    Attributes:
        grace: seconds that running requests have to end when it stops. None by default: a simulation that wants its
            answers awaits them.
    """

    port = 11435  # for those who want to see a number

    def __init__(self) -> None:
        self.grace = 0.0
        self._handler: Handler | None = None
        self._running: dict[asyncio.Task[None], None] = {}

    @property
    def listens(self) -> bool:
        """A request can be sent."""
        return self._handler is not None

    async def start(self, handler: Handler) -> None:
        self._handler = handler

    async def stop(self) -> None:
        """Take nothing new, give what runs its grace, then cut it."""
        self._handler = None
        if self._running and self.grace:
            await asyncio.wait(list(self._running), timeout=self.grace)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    def send(self, request: InMemoryRequest, sink: Sink) -> "asyncio.Task[None]":
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
    clock: LoopClock  # its wall clock is the machine's
    handler: Handler  # what listens at base_url while the server is up: the fake's own, or one around it
    agent: Callable[[], AbstractAsyncContextManager[RunningAgent]]
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)  # holds the agent

    def stop_server(self) -> None:
        """The model server's process ends."""
        self.servers.stop(self.base_url)

    def start_server(self) -> None:
        """The model server is back, with what it had in memory."""
        self.servers.serve(self.base_url, self.handler)

    async def load(self, model: str) -> None:
        """Have the server load a model and keep it."""
        await call(self.ollama.handle, "POST", "/api/generate", {"model": model, "keep_alive": -1})

    async def unload(self) -> None:
        """Have the server forget what it has in memory, as a new process does; what runs ends first."""
        for model in self.ollama.resident:
            await call(self.ollama.handle, "POST", "/api/generate", {"model": model, "keep_alive": 0})

    async def start_agent(self) -> None:
        """The agent begins. Raises RuntimeError when it has begun already."""
        await self.stack.enter_async_context(self.agent())

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
    """A router, and the nodes that are added to it."""

    def __init__(
        self, options: RouterOptions, ports: RouterPorts, http: InMemoryListener, links: InMemoryLinks
    ) -> None:
        self.links = links
        self._http = http
        self.clock = LoopClock()  # of the router
        self.servers = InMemoryServers()
        self.nodes: list[SimulatedNode] = []
        self._options = options
        self._ports = replace(ports, clock=self.clock)
        self._starts = 0
        self._stack = AsyncExitStack()  # holds the router
        self._router: RunningRouter | None = None

    # --- the router ---------------------------------------------------------------------------------------------------

    @property
    def router(self) -> RunningRouter:
        """The router. Raises RuntimeError while there is none."""
        if self._router is None:
            raise RuntimeError("the router is not up")
        return self._router

    @property
    def up(self) -> bool:
        """There is a router."""
        return self._router is not None

    @property
    def http(self) -> InMemoryListener:
        """Where clients connect."""
        return self._http

    async def start_router(self) -> None:
        """The router begins, with what it wrote down in its life before."""
        options = replace(self._options, seed=self._options.seed + self._starts)  # ids of its own in every life
        self._starts += 1
        self._router = await self._stack.enter_async_context(running_router(options, self._ports))

    async def stop_router(self) -> None:
        """The router leaves in order: agents dial in vain until it is back. Idempotent."""
        self._router = None
        await self._stack.aclose()

    async def restart_router(self, away: float = 0.0) -> None:
        """Stop the router, and start it again `away` seconds later at the same ports."""
        await self.stop_router()
        await asyncio.sleep(away)
        await self.start_router()

    # --- nodes --------------------------------------------------------------------------------------------------------

    async def node(
        self,
        name: str,
        models: Sequence[str],
        *,
        resident: Sequence[str] = (),
        parallel: int = 1,
        declared: bool = True,
        profile: MachineProfile = PROFILES["mac-studio"],
        dialer: Dialer | None = None,
        grace: Seconds = Seconds(10.0),
        progress: Seconds = Seconds(0.0),
        around: Callable[[Handler], Handler] | None = None,
        owner: OwnerProbe | None = None,
        dedicated: bool = False,
        version: str = "0.33.0",
    ) -> SimulatedNode:
        """Add a machine, and wait until the router knows it as ready with its models.

        Args:
            name: the node's name and id.
            models: on disk, from the catalogues.
            resident: of those, what is in memory.
            parallel: requests that each model runs at once.
            declared: the router is told so.
            profile: the machine.
            dialer: how its agent reaches the router; the house's own links if None.
            grace: what running requests get when the agent stops.
            progress: seconds between two writes of a stream, at least; 0 for one a token.
            around: what stands between the model server and those who ask it, if anything does.
            owner: what its agent's sensors say of its owner; nothing if None.
            dedicated: its agent is told that it has none.
            version: of its Ollama: what can be asked of one has come and gone.
        """
        base_url = f"http://{name}:11434"
        clock = LoopClock()
        disk = [(CATALOG | MEDIA)[model] for model in models]
        ollama = FakeOllama(profile, disk, version=version, num_parallel=parallel, progress=progress)
        ollama.wall = clock.wall
        probe = IdleMachine(profile, ollama)
        hello = Hello(PROTOCOL_VERSIONS, NodeId(name), NodeName(name), "simulated", machine=probe.machine())
        settings = BackendSettings(OLLAMA, base_url)
        processes = ServerEnvironment({base_url: {"OLLAMA_NUM_PARALLEL": str(parallel)}} if declared else {})
        options = AgentOptions(hello, (settings,), "http://router", grace, dedicated)
        ports = AgentPorts(
            self.servers,
            dialer or self.links,
            None,
            probe,
            joined=lambda _: None,
            clock=clock,
            processes=processes,
            owner=owner,
        )
        agent = partial(running_agent, options, ports)
        handler = around(ollama.handle) if around is not None else ollama.handle
        node = SimulatedNode(hello.node_id, base_url, ollama, self.servers, clock, handler, agent)
        node.start_server()
        for model in resident:
            await node.load(model)
        await node.start_agent()
        self.nodes.append(node)
        await self.until_node(name, NodeState.READY)
        await self.until(
            lambda fleet: any(
                status.name == name
                and sum(model.resident for model in status.report.models) >= len(resident)
                and all(model.context_max for model in status.report.models)  # they have told what they take
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

    def send(
        self,
        target: str,
        body: Any = None,
        headers: Headers = (),
        method: str = "POST",
        sink: RecordingSink | None = None,
    ) -> Sent:
        """Begin a request; `body` is sent as it is if it is bytes, else as JSON. `sink`: one that also watches."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = sink or RecordingSink()
        return Sent(self._http.send(InMemoryRequest(method, target, data, headers), answer), answer)

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
    open_store: Callable[[], Database] | None = None,
    links: InMemoryLinks | None = None,
    scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS,
    access: Access | None = None,
    names: Names | None = None,
) -> AsyncIterator[House]:
    """Run a router in memory until the block ends; its nodes stop before it.

    Args:
        seed: of the request ids.
        hold_timeout: seconds a request waits for a node.
        join_grace: seconds in which a model that nobody has is waited for while known nodes are missing.
        open_store: what the router remembers of earlier days. If None there were none, and what it writes down is there
            when it starts again.
        links: between the nodes and the router; some that also listen, say.
        scorer: what the router ranks nodes by.
        access: who may do what; None is a fresh start.
        names: aliases, and which models stand in for which; None: there are neither.
    """
    links, http, disk = links or InMemoryLinks(), InMemoryListener(), Disk()
    options = RouterOptions(
        RouterIdentity(RouterId("simulated"), "simulated"),
        seed,
        Seconds(hold_timeout),
        Bytes(256 * MiB),
        Seconds(join_grace),
        scorer=scorer,
        access=access or Access(),
        names=names or Names(),
    )
    ports = RouterPorts(LoopClock(), http, links, links, links, advertiser=None, open_store=open_store or disk.open)
    home = House(options, ports, http, links)
    try:
        await home.start_router()
        yield home
    finally:
        for node in reversed(home.nodes):
            await node.stop_agent()
        await home.stop_router()
        disk.throw_away()
