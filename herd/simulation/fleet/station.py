"""A simulated node: a machine with a model server and an owner, and what its agent would tell the router."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from herd.actors.commands import Commands
from herd.actors.owner_watch import with_owner
from herd.actors.shape_book import ShapeBook
from herd.policy.owner import Terms, Watched, turns_in, watch
from herd.protocols.apis import native
from herd.protocols.messages import PROTOCOL_VERSIONS, BackendInfo, Hello, ModelInfo, Report
from herd.protocols.model_shapes import read_ollama_show
from herd.protocols.servers import merge_ollama_ps, read_ollama_tags
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.occupancy import Occupancy, OccupiedMachine, owner_sample
from herd.simulation.fleet.switchboard import Line, Switchboard
from herd.simulation.http import InMemoryServers, call
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, OwnerState, week
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, BackendKind, Dialect, NodeId, NodeName, Seconds

OLLAMA = BackendId("ollama")
VERSION = "0.33.0"

HEARTBEAT_S = Seconds(300.0)  # a month of one every 5 s would be half a million messages a node that say nothing new
PROBE_S = 5.0  # what an agent gives its model server to answer
# An agent looks at its server every 2 s, and at its owner every 3: what it tells is half of that old.
SERVER_LAG_S, OWNER_LAG_S = 1.0, 1.5
ROUNDING_S = 0.001  # by which a look at the very moment at which something turns might come too early
GIVEN_UP_S = 30.0  # what a router that hears its nodes every 5 s gives one that fell silent
REJOIN_S = 1.5  # an agent dials again within 3 s
PROGRESS_S = Seconds(1.0)  # between two pieces of an answer


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One machine of a simulated fleet."""

    name: str
    machine: MachineProfile
    models: tuple[str, ...]  # on its disk, by their names in the catalogue
    habits: str = "server"  # of its owner, by their name in `owners.HABITS`
    parallel: int = 1  # requests that each model runs at once
    owner: int | None = None  # who of all owners sits there; None: the one of its place in the fleet


class Station:
    """One node of a simulated fleet, from `start` to `stop`.

    Args:
        plan: the machine.
        board: where it joins the router.
        seed: of its owner.
        duration: how long its owner goes on changing.
        start_slot: hour of the local week at which the run begins.
        start_week: number of that week in its owner's life.

    Attributes:
        ollama: the model server.
        occupancy: the owner, and when the machine worked.
    """

    def __init__(
        self,
        plan: NodePlan,
        board: Switchboard,
        seed: int,
        duration: Seconds,
        *,
        start_slot: int = 0,
        start_week: int = 0,
    ) -> None:
        self.plan = plan
        models = [CATALOG[name] for name in plan.models]
        self.ollama = FakeOllama(plan.machine, models, num_parallel=plan.parallel, progress=PROGRESS_S)
        self.ollama.wall = LoopClock().wall
        self.ollama.observe(self._server_changed)
        habits = HABITS[plan.habits]
        changes = week(habits, plan.machine, seed, start_slot=start_slot, start_week=start_week, duration=duration)
        self.occupancy = Occupancy(self.ollama, plan.machine, changes, self._owner_changed)
        self._probe = OccupiedMachine(plan.machine, self.ollama, self.occupancy, start_slot)
        base_url = f"http://{plan.name}"
        servers = InMemoryServers()
        servers.serve(base_url, self.ollama.handle)
        self._commands = Commands({OLLAMA: base_url}, servers, _is_ollama, changed=lambda _: None)
        self._board = board
        self._line: Line | None = None
        self._disk: tuple[ModelInfo, ...] = ()
        self._told: tuple[str, ...] = ()  # models in memory, as last reported
        self._terms = Terms(memory=plan.machine.memory)
        self._watched = Watched()
        self._timers: dict[str, asyncio.TimerHandle] = {}  # by what they are for
        self._tasks: dict[asyncio.Task[None], None] = {}

    def __repr__(self) -> str:
        return f"<Station {self.plan.name} {'joined' if self._line else 'away'} {self.ollama!r}>"

    async def start(self) -> None:
        """Join the router, and let the owner begin the day."""
        tags = await call(self.ollama.handle, "GET", "/api/tags")
        shapes = ShapeBook()
        for model in read_ollama_tags(tags.json, OLLAMA):
            shown = await call(self.ollama.handle, "POST", "/api/show", {"model": model.name})
            shapes.learned(model, read_ollama_show(shown.json))
        self._disk = shapes.described(read_ollama_tags(tags.json, OLLAMA))
        self.occupancy.start()
        await self._join()

    def stop(self) -> None:
        """Leave, and let nothing happen any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for task in list(self._tasks):
            task.cancel()
        if self._line is not None:
            self._board.drop(self._line, "the node leaves")
            self._line = None
        self.occupancy.stop()

    # --- The link -----------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        if self.occupancy.owner.asleep:
            return  # it dials when it wakes
        name, machine = self.plan.name, self._probe.machine()
        hello = Hello(PROTOCOL_VERSIONS, NodeId(name), NodeName(name), "simulated", machine=machine)
        self._line = await self._board.join(hello, self.ollama.handle, self._lost, self._commands)
        if self._line is None:
            self._lost()
        else:
            self._watch_owner()
            await self._report()

    def _lost(self) -> None:
        """The line is gone: dial again, unless the machine is asleep."""
        self._line = None
        if not self.occupancy.owner.asleep:
            self._after("join", REJOIN_S, lambda: self._spawn("join", self._join()))

    async def _report(self) -> None:
        """Tell the router how things stand; and again when nothing has changed for long."""
        line = self._line
        if line is None or self.occupancy.owner.asleep:
            return
        self._after("report", HEARTBEAT_S, lambda: self._spawn("report", self._report()))
        models = await self._models()
        parallel, dialects = self.plan.parallel, (Dialect.OLLAMA, Dialect.OPENAI)
        apis = native(BackendKind.OLLAMA, VERSION)
        backend = BackendInfo(OLLAMA, BackendKind.OLLAMA, VERSION, dialects, parallel, slots=parallel, apis=apis)
        sample = self._probe.sample()
        report = Report(
            backends=(backend,) if models else (),
            models=models,
            cpu=sample.cpu,
            memory_total=sample.memory_total,
            memory_free=sample.memory_free,
            week_slot=sample.week_slot,
            gpus=sample.gpus,
        )
        self._board.report(line, with_owner(report, self._watched.owner))

    async def _models(self) -> tuple[ModelInfo, ...]:
        """What is on the disk and in memory; nothing when the server does not answer."""
        self._told = self.ollama.listed
        try:
            async with asyncio.timeout(PROBE_S):
                processes = await call(self.ollama.handle, "GET", "/api/ps")
        except TimeoutError:
            return ()
        return merge_ollama_ps(self._disk, processes.json, OLLAMA)

    # --- What happens to the machine ----------------------------------------------------------------------------------

    def _server_changed(self) -> None:
        """The server may have loaded or unloaded something."""
        if self.ollama.listed != self._told:
            self._report_in(SERVER_LAG_S)

    def _report_in(self, seconds: float) -> None:
        """Report then, unless that happens earlier anyway."""
        if self._line is not None and self._is_sooner("report", seconds):
            self._after("report", seconds, lambda: self._spawn("report", self._report()))

    def _is_sooner(self, what: str, seconds: float) -> bool:
        """Whether nothing happens for this purpose until then."""
        timer = self._timers.get(what)
        return timer is None or timer.when() > _now() + seconds

    def _owner_changed(self, before: OwnerState, now: OwnerState) -> None:
        """The owner does something else from now on."""
        if now.asleep and not before.asleep:
            self._fall_asleep()
        elif before.asleep and not now.asleep:
            self._wake_up()
        if not now.asleep and self._is_sooner("look", OWNER_LAG_S):
            self._after("look", OWNER_LAG_S, self._look)

    def _look(self) -> None:
        """Look at the owner, and report what is seen."""
        self._watch_owner()
        self._report_in(0.0)

    def _watch_owner(self) -> None:
        """See what the owner does, and look again when that has gone on for long enough to mean something else.

        A real agent looks every 3 s; until something turns or changes it would see the same again and again.
        """
        clock, owner = LoopClock(), self.occupancy.owner
        now = clock.monotonic()
        sample = owner_sample(owner, self.plan.machine)
        self._watched = watch(self._watched, sample, self._terms, now, clock.wall())
        turns = turns_in(self._watched, now)
        if turns is not None:
            self._after("look", turns + ROUNDING_S, self._look)

    def _fall_asleep(self) -> None:
        self._watched = Watched()
        for name in ("report", "join", "look"):
            if name in self._timers:
                self._timers.pop(name).cancel()
        self._after("given up", GIVEN_UP_S, self._given_up)

    def _given_up(self) -> None:
        """The router has heard nothing for too long."""
        if self._line is not None:
            self._board.drop(self._line, f"nothing was heard from the node for {GIVEN_UP_S:.0f} s")
            self._line = None

    def _wake_up(self) -> None:
        if "given up" in self._timers:
            self._timers.pop("given up").cancel()
        if self._line is None:
            self._lost()

    def _after(self, what: str, seconds: float, callback: Callable[[], None]) -> None:
        """One timer for each purpose, which is forgotten when it fires."""
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = asyncio.get_running_loop().call_later(seconds, self._fire, what, callback)

    def _fire(self, what: str, callback: Callable[[], None]) -> None:
        del self._timers[what]
        callback()

    def _spawn(self, what: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine, name=f"{self.plan.name}: {what}")
        self._tasks[task] = None
        task.add_done_callback(self._tasks.pop)


async def _is_ollama(_backend: BackendId) -> str:
    return BackendKind.OLLAMA


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
