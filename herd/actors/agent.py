"""The agent process on one screen: the Agent actor, and every actor around it, supervised, started in order and stopped
in reverse.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from herd.actors import names
from herd.actors.backend import Backend, BackendSettings, BackendState
from herd.actors.collector import Collector
from herd.actors.commands import Commands
from herd.actors.desk import (
    AgentDesk,
    AgentStatus,
    ShownGpu,
    ShownMachine,
    ShownModel,
    ShownRequest,
    ShownServer,
    ShownWeek,
)
from herd.actors.noted import NotedRelay, RequestEnd, Work
from herd.actors.owner_watch import OwnerPorts, OwnerWatch, with_owner
from herd.actors.ports import Clock, Dialer, Finder, ModelServers
from herd.actors.relay import Relay
from herd.actors.router_link import GRACE_S, NO_WAY, LinkPorts, RouterLink, Way
from herd.actors.sensor_ports import GpuProbe, MachineProbe, MachineSample, OwnerProbe, ServerProcesses
from herd.actors.showing import Showing, Shown
from herd.errors import HerdError
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.owner import Owner, Terms
from herd.protocols.messages import Hello, ModelInfo, Report, Welcome
from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    ActorUnavailableError,
    RestartLimitExceeded,
    RestartPolicy,
    Strategy,
    Supervisor,
    context,
    get_actor,
    remote,
    stop,
)
from herd.types import BackendId, Bytes, NodeId, RouterId, Seconds

logger = logging.getLogger(__name__)

# A sensor that fails today may work tomorrow, and the node serves without it.
FOR_EVER = RestartPolicy(max_restarts=-1, max_backoff=30.0)

MAX_MODELS = 1500  # with names of 72 letters some 780 KB of a frame's 1 MiB

NOT_SAMPLED = MachineSample(0.0, Bytes(0), Bytes(0), 0)


class Agent:
    """Owns what this node reports: puts together what the Backends, the Collector and the OwnerWatch say.

    Args:
        joined: called with the id of each router that lets this agent in, to remember it.
        backends: the model servers, each an actor of its own.
        clock: since when things are as they are shown to people at the machine.
        dedicated: the machine has no owner.
        desk: where people at the machine see how it stands.
    """

    def __init__(
        self,
        joined: Callable[[RouterId], None],
        backends: tuple[BackendSettings, ...],
        clock: Clock,
        *,
        dedicated: bool = False,
        desk: AgentDesk | None = None,
    ) -> None:
        self._joined = joined
        self._urls = {settings.id: settings.base_url for settings in backends}
        self._clock = clock
        self._dedicated = dedicated
        self._link: ActorHandle | None = None
        self._collector: ActorHandle | None = None
        self._backends: dict[BackendId, BackendState] = {}
        self._sample = NOT_SAMPLED
        self._owner = Owner()
        self._welcome: Welcome | None = None  # the latest
        self._way = NO_WAY  # to the router of that
        self._linked = False
        self._trouble = ""  # why there is no link
        self._link_since = Seconds(clock.wall())  # as it is: linked or away
        self._lost: tuple[str, Seconds | None] = ("", None)  # why the last link ended, and when
        self._work = Work()
        self._week: ShownWeek | None = None  # of the owner, as the router has learned it
        self._showing = Showing(desk, clock, self._status, lambda delay, then: context(self).after(delay, then))

    def on_start(self) -> None:
        """After a crash, have the model servers and the machine shown again."""
        if context(self).restarts:
            get_actor(names.COLLECTOR).introduce.tell()
            with suppress(ValueError):  # nobody watches
                get_actor(names.OWNER_WATCH).introduce.tell()
            for backend in self._urls:
                get_actor(names.backend(backend)).introduce.tell()

    def start_reporting(self, link: ActorHandle) -> None:
        """Every actor is up, or this one and the link are again: report to the router from now on."""
        self._link = link
        self.report()
        context(self).every(HEARTBEAT_S, self.report)

    def stop_reporting(self) -> None:
        """The link is about to go: what changes from now on is for nobody."""
        self._link = None

    def sensed_by(self, collector: ActorHandle) -> None:
        """The Collector is up: it is who looks at the machine's memory when models came or went."""
        self._collector = collector

    def sampled(self, sample: MachineSample, urgent: bool = False) -> None:
        """The machine as it is now. The next heartbeat carries it: one at once if it is urgent or GPUs came or went."""
        before, self._sample = self._sample, sample
        self._showing.moved()
        if urgent or [gpu.id for gpu in before.gpus] != [gpu.id for gpu in sample.gpus]:
            self.report()

    def backend_changed(self, state: BackendState) -> None:
        """A model server came, went, loaded or unloaded: the router hears of it at once.

        And again as soon as it is seen how much memory is left, or the memory of what was just loaded would count as
        free for some seconds.
        """
        before = self._backends.get(state.id)
        self._backends[state.id] = state
        self.report()
        if self._collector is not None and _taken(before) != _taken(state):
            self._collector.look.tell()

    def owner_changed(self, owner: Owner) -> None:
        """The owner does something else; a pause that begins or ends, or another class of workload, is told at once."""
        before, self._owner = self._owner, owner
        if (before.pauses, before.workload, before.thermal) != (owner.pauses, owner.workload, owner.thermal):
            self.report()
        else:
            self._showing.moved()

    def link_up(self, welcome: Welcome, way: Way = NO_WAY) -> None:
        """A router let this agent in."""
        self._linked, self._welcome, self._way, self._trouble = True, welcome, way, ""
        self._link_since = Seconds(self._clock.wall())
        self._showing.changed()
        logger.info("joined router %s as %s", welcome.router_id, welcome.name)
        try:
            self._joined(welcome.router_id)
        except HerdError as error:  # a full disk, say: this agent serves all the same, and looks anew after a restart
            logger.warning("the router is not remembered: %s", error)

    def link_down(self, why: str) -> None:
        """The link is gone, or did not come about; the RouterLink goes on looking for the router."""
        if self._linked:
            self._linked, self._link_since = False, Seconds(self._clock.wall())
            self._lost = (why, self._link_since)
        self._trouble = why
        self._showing.changed()

    def request_began(self, number: int, request: ShownRequest) -> None:
        """A model server is being asked."""
        self._work.began(number, request)
        self._showing.worked()

    def request_ended(self, number: int, end: RequestEnd) -> None:
        """It has answered, or will not."""
        self._work.ended(number, end, self._clock.monotonic())
        self._showing.worked()

    def week_learned(self, week: ShownWeek) -> None:
        """The router has told what it expects of the owner."""
        self._week = week
        self._showing.changed()

    async def status_after(self, number: int) -> Shown:
        """How this agent stands: at once with 0, else when it is not as it was at that number of an answer before."""
        return await self._showing.after(number)

    def report(self) -> None:
        """Send a heartbeat."""
        self._showing.changed()
        if self._link is None:
            return
        models = tuple(model for state in self._backends.values() for model in state.models)
        if len(models) > MAX_MODELS:
            logger.warning("this node has %d models: only the first %d are reported", len(models), MAX_MODELS)
        up = [state for state in self._backends.values() if state.info is not None]
        report = Report(
            backends=tuple(state.info for state in up if state.info is not None),
            models=models[:MAX_MODELS],
            cpu=self._sample.cpu,
            memory_total=self._sample.memory_total,
            memory_free=self._sample.memory_free,
            week_slot=self._sample.week_slot,
            gpus=self._sample.gpus,
            dedicated=self._dedicated,
        )
        self._link.report.tell(with_owner(report, self._owner))

    def _status(self) -> AgentStatus:
        """How this agent stands, for people at its machine."""
        states, sample, owner = self._backends.values(), self._sample, self._owner
        welcome, sampled = self._welcome, sample != NOT_SAMPLED
        gpus = tuple(ShownGpu(gpu.name, gpu.memory_total, gpu.memory_free) for gpu in sample.gpus)
        machine = ShownMachine(sample.cpu, sample.memory_total, sample.memory_free, gpus)
        return AgentStatus(
            linked=self._linked,
            router_id=welcome.router_id if welcome is not None else None,
            name=welcome.name if welcome is not None else None,
            backends=tuple(state.id for state in states if state.info is not None),
            models=tuple(_model(model) for state in states for model in state.models),
            pauses=owner.pauses,
            workload=owner.workload or "",
            thermal=owner.thermal or "",
            dedicated=self._dedicated,
            trouble=self._trouble,
            router_url=self._way.url,
            router_peer=self._way.peer,
            router_version=welcome.router_version if welcome is not None else "",
            link_since=self._link_since,
            lost=self._lost[0],
            lost_at=self._lost[1],
            servers=tuple(_server(state, self._urls.get(state.id, "")) for state in states),
            work=self._work.shown(self._clock.monotonic()),
            machine=machine if sampled else None,
            owner_load=owner.load,
            week_slot=sample.week_slot if sampled else None,
            week=self._week,
            at=Seconds(self._clock.wall()),
        )


def _model(model: ModelInfo) -> ShownModel:
    return ShownModel(
        model.name,
        model.backend,
        model.resident,
        model.size,
        model.size_resident,
        model.size_vram,
        model.context_length,
        model.expires_at,
        model.step,
        model.steps,
    )


def _server(state: BackendState, url: str) -> ShownServer:
    info = state.info
    if info is None:
        return ShownServer(state.id, url, trouble=state.trouble or "it does not answer")
    return ShownServer(state.id, url, info.kind, info.version)


def _taken(state: BackendState | None) -> list[tuple[str, Bytes]]:
    """What a server has in memory."""
    return [(model.name, model.size_resident) for model in state.models if model.resident] if state is not None else []


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an agent is told."""

    hello: Hello
    backends: tuple[BackendSettings, ...]
    router_url: str = ""
    grace: Seconds = GRACE_S
    dedicated: bool = False  # the machine has no owner


@dataclass(frozen=True, slots=True)
class AgentPorts:
    """What an agent needs of the outside world."""

    servers: ModelServers
    dialer: Dialer
    finder: Finder | None  # None: mDNS is off
    probe: MachineProbe
    joined: Callable[[RouterId], None]
    clock: Clock
    processes: ServerProcesses | None = None
    gpus: GpuProbe | None = None  # None: what `probe` says of them is all
    owner: OwnerProbe | None = None  # None: nothing can be said of the owner
    desk: AgentDesk | None = None  # None: nobody asks this agent for anything on its own machine


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent that is up. `failed` is done when an actor that it cannot do without crashes again and again."""

    node_id: NodeId
    agent: ActorHandle
    failed: "asyncio.Future[RestartLimitExceeded]"


@asynccontextmanager
async def running_agent(options: AgentOptions, ports: AgentPorts) -> AsyncIterator[RunningAgent]:
    """Run an agent until the block ends."""
    namespace = f"agent-{options.hello.node_id}"
    failed: asyncio.Future[RestartLimitExceeded] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        vital = Supervisor(Strategy.ONE_FOR_ALL, give_up=failed.set_result)  # what one knows, the other was told
        sensors = Supervisor(restarts=FOR_EVER)

        def start(supervisor: Supervisor, kind: type[Any], name: str, *args: Any, **kwargs: Any) -> ActorHandle:
            actor = supervisor.start(remote(kind).options(name=name, namespace=namespace), *args, **kwargs)
            stack.push_async_callback(stop, actor)
            return actor

        settled = (ports.joined, options.backends, ports.clock)
        agent = start(vital, Agent, names.AGENT, *settled, dedicated=options.dedicated, desk=ports.desk)
        start(sensors, Collector, names.COLLECTOR, ports.probe, agent, ports.gpus)
        if ports.owner is not None or ports.desk is not None:
            terms = Terms(options.dedicated, options.hello.machine.memory_total)
            watched = OwnerPorts(ports.clock, ports.owner, ports.desk)
            start(sensors, OwnerWatch, names.OWNER_WATCH, watched, terms, agent)
        base_urls = {settings.id: settings.base_url for settings in options.backends}
        backends: dict[BackendId, ActorHandle] = {}
        relay = Relay(base_urls, backends, ports.servers, ports.clock)
        for settings in options.backends:
            told = partial(relay.recognised, settings.id)
            watching = (settings, ports.servers, agent, ports.processes, told)
            busy = partial(relay.busy, settings.id)
            backends[settings.id] = start(sensors, Backend, names.backend(settings.id), *watching, busy=busy)
        commands = Commands(
            base_urls,
            ports.servers,
            partial(_kind_of, backends),
            changed=lambda backend: backends[backend].poll.tell(),
            week=agent.week_learned.tell,
        )
        # Where nobody is shown what runs, nothing is told of it.
        relayed = relay if ports.desk is None else NotedRelay(relay, agent, ports.clock)
        link_ports = LinkPorts(ports.dialer, ports.finder, relayed, commands)
        start(vital, RouterLink, names.ROUTER_LINK, options.hello, options.router_url, link_ports, agent, options.grace)
        stack.push_async_callback(_fall_silent, agent)
        yield RunningAgent(options.hello.node_id, agent, failed)


async def _kind_of(backends: Mapping[BackendId, ActorHandle], backend: BackendId) -> str:
    """Which program a model server is; empty when nobody can say."""
    try:
        kind: str = await backends[backend].kind.remote()
    except (ActorDiedError, ActorUnavailableError):
        return ""
    return kind


async def _fall_silent(agent: ActorHandle) -> None:
    """Have the Agent report no more, if it still does: the process may be ending because its actors will not live."""
    with suppress(ActorDiedError, ActorUnavailableError):
        await agent.stop_reporting.remote()
