"""A run: a fleet, its owners and its clients, from the first request to the last answer, in virtual time."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, in_memory, running_router
from herd.policy.placement import Ranking
from herd.runtime.testing import run_virtual
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import InMemoryListener
from herd.simulation.fleet.occupancy import Occupancy
from herd.simulation.fleet.station import HEARTBEAT_S, NodePlan, Station
from herd.simulation.fleet.switchboard import Switchboard
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HOUR, SLOTS, OwnerState
from herd.simulation.ollama.server import FakeOllama
from herd.simulation.runs.asking import ask
from herd.simulation.runs.decisions import decisions
from herd.simulation.runs.measures import Loads, Sample
from herd.simulation.workload.requests import SimulatedRequest
from herd.store.database import Database
from herd.types import Bytes, MiB, RouterId, ScorerKind, Seconds

LOOKS = 100  # of a watcher, over a run
HOLD_S = Seconds(30.0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is to be run."""

    nodes: tuple[NodePlan, ...]
    requests: Sequence[SimulatedRequest]  # in order of their times
    duration: Seconds  # of the owners' weeks; requests may end later
    seed: int = 0  # of the request ids and the owners
    start_slot: int = 0  # hour of the local week at which the run begins
    start_week: int = 0  # number of that week: owners go on where they were, and so does the wall clock
    scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS
    pre_warm: bool = True  # models are loaded ahead
    homes: bool = True  # and kept where they live
    rebalance: bool = True  # what waits is moved
    edits: bool = True  # requests are fitted to what their nodes have loaded


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What one machine did in a run. Pairs and times are in seconds since its start."""

    name: str
    loads: Loads
    working: tuple[tuple[float, float], ...]
    owned: tuple[tuple[Seconds, OwnerState], ...]

    @classmethod
    def of(cls, plan: NodePlan, ollama: FakeOllama, occupancy: Occupancy, speed: float = 1.0) -> Self:
        loads = Loads(sum(ollama.loads.values()), Seconds(ollama.loading_s * speed))
        return cls(plan.name, loads, tuple(occupancy.working), tuple(occupancy.owned))


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    samples: tuple[Sample, ...]  # in order of their requests
    nodes: tuple[NodeResult, ...]
    decisions: str  # SHA-256 of the decision log
    ended: Seconds


@dataclass(frozen=True, slots=True)
class NodeMoment:
    """One machine at one moment of a run."""

    name: str
    chip: str
    running: int
    waiting: int
    loaded: tuple[str, ...]
    owner: OwnerState

    @classmethod
    def of(cls, plan: NodePlan, ollama: FakeOllama, owner: OwnerState) -> Self:
        return cls(plan.name, plan.machine.chip, ollama.running, ollama.waiting, ollama.listed, owner)


@dataclass(frozen=True, slots=True)
class Moment:
    """A run at one moment, for whoever watches."""

    scenario: Scenario
    at: Seconds
    sent: int
    samples: Sequence[Sample]  # of requests that have ended
    nodes: tuple[NodeMoment, ...]


Watcher = Callable[[Moment], None]


def simulate(
    scenario: Scenario,
    *,
    watch: Watcher | None = None,
    write: Callable[[str], object] | None = None,
    ranking: Ranking | None = None,
    heard: Callable[[Sample, float], object] | None = None,
    open_store: Callable[[], Database] = in_memory,
) -> Result:
    """Run a scenario to its end.

    Args:
        scenario: what is to be run.
        watch: called about `LOOKS` times on the way.
        write: takes the decision log, line by line.
        ranking: how the router ranks its nodes, in place of the scenario's scorer.
        heard: told of each request that has ended for its client, and when: for rankings that learn from that.
        open_store: what the router remembers of earlier days.
    """
    run = simulated(scenario, watch=watch, write=write, ranking=ranking, heard=heard, open_store=open_store)
    return run_virtual(run, allow_lost=True)


async def simulated(
    scenario: Scenario,
    *,
    watch: Watcher | None = None,
    write: Callable[[str], object] | None = None,
    ranking: Ranking | None = None,
    heard: Callable[[Sample, float], object] | None = None,
    open_store: Callable[[], Database] = in_memory,
) -> Result:
    """`simulate`, on a virtual loop that runs already."""
    with decisions(write) as log:
        async with _fleet(scenario, ranking, open_store) as fleet:
            samples = await fleet.serve(scenario, watch, heard)
            ended = Seconds(asyncio.get_running_loop().time())
        nodes = tuple(NodeResult.of(one.plan, one.ollama, one.occupancy) for one in fleet.stations)
        return Result(samples, nodes, log.digest, ended)


@dataclass(slots=True)
class _Fleet:
    router: RunningRouter
    listener: InMemoryListener
    stations: list[Station] = field(default_factory=list)

    async def serve(
        self, scenario: Scenario, watch: Watcher | None, heard: Callable[[Sample, float], object] | None
    ) -> tuple[Sample, ...]:
        """Send every request when its time has come, and wait for every answer."""
        loop = asyncio.get_running_loop()
        ended: list[Sample] = []
        tasks: list[asyncio.Task[Sample]] = []

        async def client(request: SimulatedRequest) -> Sample:
            sample = await ask(self.listener, request, ideal(scenario.nodes, request))
            ended.append(sample)
            if heard is not None:
                heard(sample, loop.time())
            return sample

        async def keep_watch(watch: Watcher) -> None:
            while True:
                nodes = [NodeMoment.of(one.plan, one.ollama, one.occupancy.owner) for one in self.stations]
                watch(Moment(scenario, Seconds(loop.time()), len(tasks), ended, tuple(nodes)))
                await asyncio.sleep(scenario.duration / LOOKS)

        watching = asyncio.create_task(keep_watch(watch), name="watcher") if watch is not None else None
        for request in scenario.requests:
            await asyncio.sleep(max(0.0, request.at - loop.time()))
            tasks.append(asyncio.create_task(client(request), name=f"client {request.client}"))
        samples = tuple(await asyncio.gather(*tasks))
        if watching is not None and not watching.cancel():
            watching.result()  # a watcher that failed says so
        return samples


@asynccontextmanager
async def _fleet(
    scenario: Scenario, ranking: Ranking | None, open_store: Callable[[], Database]
) -> AsyncIterator[_Fleet]:
    """A router, and the nodes of the scenario, all joined."""
    board, listener = Switchboard(), InMemoryListener()
    options = RouterOptions(
        RouterIdentity(RouterId("simulated"), "simulated"),
        scenario.seed,
        HOLD_S,
        Bytes(256 * MiB),
        heartbeat=HEARTBEAT_S,
        scorer=scenario.scorer,
        ranking=ranking,
        pre_warm=scenario.pre_warm,
        homes=scenario.homes,
        rebalance=scenario.rebalance,
        edits=scenario.edits,
    )
    clock = LoopClock()
    clock.ahead = (scenario.start_week * SLOTS + scenario.start_slot) * HOUR
    ports = RouterPorts(clock, listener, board, board, board, advertiser=None, open_store=open_store)
    async with running_router(options, ports) as router:
        fleet = _Fleet(router, listener)
        try:
            for number, plan in enumerate(scenario.nodes):
                seed = owner_seed(scenario, number)
                slot, week = scenario.start_slot, scenario.start_week
                station = Station(plan, board, seed, scenario.duration, start_slot=slot, start_week=week)
                fleet.stations.append(station)
                await station.start()
            yield fleet
        finally:
            for station in fleet.stations:
                station.stop()


def owner_seed(scenario: Scenario, number: int) -> int:
    """The seed of the owner of a scenario's node: another one for each machine.

    A machine that names its owner keeps it, whatever fleet it is in.
    """
    owner = scenario.nodes[number].owner if number < len(scenario.nodes) else None
    return scenario.seed * 1000 + (number if owner is None else owner)


def ideal(nodes: Sequence[NodePlan], request: SimulatedRequest) -> float:
    """Seconds that a request takes alone, on the machine that is quickest with its model in memory."""
    model = CATALOG[request.model]
    context = request.prompt + request.completion / 2
    return min(
        (
            plan.machine.prefill_s(model, request.prompt)
            + request.completion * plan.machine.decode_step_s(model, context=context)
            for plan in nodes
            if request.model in plan.models
        ),
        default=math.inf,
    )
