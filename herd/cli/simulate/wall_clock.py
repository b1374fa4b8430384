"""A simulated fleet over real sockets: the same machines, owners and requests, behind real agents and a real router.

What differs from virtual time: time cannot be skipped, only be made to pass faster; nothing is decided twice in the
same way, because sockets and the machine underneath have their say; agents see their server and their owner as often as
real ones do; and a machine whose owner closes the lid goes on heartbeating, while its model server answers nobody.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from herd.actors.ports import ModelServers
from herd.cli.loopback import LOOPBACK, loopback_agent, loopback_router, served
from herd.cli.talk import once, wait_for_models
from herd.errors import StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.simulation.fleet.occupancy import Occupancy, OccupiedMachine
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, OwnerState, week
from herd.simulation.ollama.server import FakeOllama
from herd.simulation.runs.asking import Seen, body_of, headers_of, patience
from herd.simulation.runs.measures import Sample
from herd.simulation.runs.run import LOOKS, Moment, NodeMoment, NodeResult, Result, Scenario, Watcher, ideal, owner_seed
from herd.simulation.workload.requests import SimulatedRequest, target
from herd.types import BackendId, RequestId, Seconds

KEEP_ALIVE_S = 300.0  # Ollama's default, which passes as fast as everything else


@dataclass(slots=True, eq=False)
class _Machine:
    plan: NodePlan
    ollama: FakeOllama
    occupancy: Occupancy
    probe: OccupiedMachine


async def simulate_on_wall_clock(scenario: Scenario, *, speed: float = 1.0, watch: Watcher | None = None) -> Result:
    """Run a scenario in real time, made to pass `speed` times as fast. All times in the result are the scenario's.

    Args:
        scenario: what is to be run.
        speed: seconds of the scenario that pass in one second.
        watch: called about `LOOKS` times on the way.

    Raises:
        StreamFailed: the nodes do not join.
    """
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(AiohttpServers())
        router = await stack.enter_async_context(loopback_router("simulated", scorer=scenario.scorer))
        url = f"http://{LOOPBACK}:{router.http_port}"
        machines = [_machine(scenario, number, speed) for number in range(len(scenario.nodes))]
        for machine in machines:
            base_url = await stack.enter_async_context(served(machine.ollama.handle))
            plan = machine.plan
            agent = loopback_agent(plan.name, base_url, url, servers, machine.probe, parallel=plan.parallel)
            await stack.enter_async_context(agent)
        await wait_for_models(servers, url, {model for node in scenario.nodes for model in node.models})
        return await _run(scenario, machines, _Clients(servers, url, scenario, speed), watch)


def _machine(scenario: Scenario, number: int, speed: float) -> _Machine:
    plan = scenario.nodes[number]
    models = [CATALOG[name] for name in plan.models]
    fake = FakeOllama(plan.machine.faster(speed), models, num_parallel=plan.parallel, keep_alive_s=KEEP_ALIVE_S / speed)

    def changed(_before: OwnerState, now: OwnerState) -> None:
        fake.faults.wedged = now.asleep

    seed = owner_seed(scenario, number)
    changes = week(HABITS[plan.habits], plan.machine, seed, start_slot=scenario.start_slot, duration=scenario.duration)
    occupancy = Occupancy(fake, plan.machine, changes, changed, speed)
    return _Machine(plan, fake, occupancy, OccupiedMachine(plan.machine, fake, occupancy, scenario.start_slot))


async def _run(scenario: Scenario, machines: list[_Machine], clients: "_Clients", watch: Watcher | None) -> Result:
    for machine in machines:
        machine.occupancy.start()
    watching = asyncio.create_task(_watch(scenario, machines, clients, watch)) if watch is not None else None
    samples = await clients.serve()
    if watching is not None and not watching.cancel():
        watching.result()  # a watcher that failed says so
    for machine in machines:
        machine.occupancy.stop()
    nodes = tuple(NodeResult.of(one.plan, one.ollama, one.occupancy, clients.speed) for one in machines)
    return Result(samples, nodes, "", clients.now)


async def _watch(scenario: Scenario, machines: list[_Machine], clients: "_Clients", watch: Watcher) -> None:
    while True:
        nodes = tuple(NodeMoment.of(one.plan, one.ollama, one.occupancy.owner) for one in machines)
        watch(Moment(scenario, clients.now, clients.sent, clients.ended, nodes))
        await asyncio.sleep(scenario.duration / LOOKS / clients.speed)


class _Clients:
    """Everybody who asks."""

    def __init__(self, servers: ModelServers, url: str, scenario: Scenario, speed: float) -> None:
        self._servers = servers
        self._url = url
        self._scenario = scenario
        self._began = asyncio.get_running_loop().time()
        self.speed = speed
        self.sent = 0
        self.ended: list[Sample] = []

    @property
    def now(self) -> Seconds:
        """Seconds of the scenario since its beginning."""
        return Seconds((asyncio.get_running_loop().time() - self._began) * self.speed)

    async def serve(self) -> tuple[Sample, ...]:
        """Send every request when its time has come, and wait for every answer."""
        self._began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Sample]] = []
            for request in self._scenario.requests:
                await asyncio.sleep(max(0.0, request.at - self.now) / self.speed)
                self.sent += 1
                tasks.append(group.create_task(self._ask(request)))
        return tuple([task.result() for task in tasks])

    async def _ask(self, request: SimulatedRequest) -> Sample:
        seen, waited = Seen(), True
        limit = patience(request)
        try:
            async with asyncio.timeout(limit / self.speed if limit is not None else None):
                await self._exchange(request, seen)
        except TimeoutError:
            waited = False
        except StreamFailed:
            seen.abort()
        sample = seen.sample(request, ideal=ideal(self._scenario.nodes, request), waited=waited, speed=self.speed)
        self.ended.append(sample)
        return sample

    async def _exchange(self, request: SimulatedRequest, seen: Seen) -> None:
        body = body_of(request)
        head = RequestHead(RequestId(""), BackendId(""), "POST", target(request), headers_of(request), size=len(body))
        answer = await self._servers.exchange(self._url, head, once(body))
        try:
            await seen.start(answer.status, answer.headers)
            while data := await answer.read():
                await seen.write(data)
            await seen.finish()
        finally:
            answer.close()
