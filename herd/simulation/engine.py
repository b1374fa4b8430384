"""The work of a simulated model server: the scheduler's decisions carried out in the loop's time.

Nothing here has a task of its own: a load is a timer, and the time of a request passes in its caller's `await`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from herd.simulation.asks import OllamaError
from herd.simulation.profiles import MachineProfile
from herd.simulation.scheduler import AbortLoad, Decision, Granted, Job, Load, Refused, Runner, Scheduler
from herd.types import Seconds, Tokens


class Engine:
    """Loads models and hands out slots.

    Args:
        profile: the machine, which says how long things take.
        scheduler: decides who runs; owned from here on.
        changed: called after every event, so after every change of who runs and what is loaded.
    """

    def __init__(self, profile: MachineProfile, scheduler: Scheduler, changed: Callable[[], None]) -> None:
        self.profile = profile
        self.loads: Counter[str] = Counter()  # model -> loads begun
        self._scheduler = scheduler
        self._changed = changed
        self._grants: dict[int, asyncio.Future[None]] = {}
        self._load: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Slots in use, those of clients that are gone included."""
        return sum(len(runner.running) for runner in self._scheduler.runners)

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return self._scheduler.pending + sum(len(runner.waiting) for runner in self._scheduler.runners)

    def runners(self) -> tuple[Runner, ...]:
        """What is loaded or loading now, without what has expired."""
        self.apply(self._scheduler.expire(_now()))
        return self._scheduler.runners

    def unload(self, name: str) -> None:
        """Unload a model when it is idle."""
        self.apply(self._scheduler.unload(name, _now()))

    def slot(self, job: Job) -> "Slot":
        """A slot for `job`: `async with` waits for it, and raises OllamaError when there will be none."""
        return Slot(self, self._scheduler, job)

    def apply(self, decisions: list[Decision]) -> None:
        """Do what the scheduler decided."""
        for decision in decisions:
            match decision:
                case Load(model):
                    self.loads[model.name] += 1
                    delay = self.profile.load_s(model)
                    self._load = asyncio.get_running_loop().call_later(delay, self._loaded)
                case AbortLoad():
                    if self._load is not None:
                        self._load.cancel()
                        self._load = None
                case Granted(job):
                    self._answer(job, None)
                case Refused(job, status, text):
                    self._answer(job, OllamaError(status, text))
        self._changed()

    def await_grant(self, job: int) -> asyncio.Future[None]:
        """Done once the job holds a slot; OllamaError if it gets none."""
        future = self._grants[job] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, job: int) -> None:
        """Nobody waits for the job's grant any more."""
        self._grants.pop(job, None)

    def busy_models(self) -> int:
        """How many models run something now: they share the memory's bandwidth."""
        return sum(1 for runner in self._scheduler.runners if runner.running)

    def _loaded(self) -> None:
        self._load = None
        self.apply(self._scheduler.loaded(_now()))

    def _answer(self, job: int, refusal: OllamaError | None) -> None:
        future = self._grants.pop(job, None)
        if future is None or future.done():
            return  # its client has just gone, and its caller is about to leave
        if refusal is None:
            future.set_result(None)
        else:
            future.set_exception(refusal)


class Slot:
    """One request on the machine: entered when it may run, left when it is over.

    When the caller is cancelled in `prefill` or `step`, the slot is given back only at the end of what was being
    computed: a runner looks for hung-up clients when it has a token to write.

    Attributes:
        job: whose slot it is.
        arrived: when it was asked for, in loop time.
        load_s: how long the model was not there while the job waited for it.
    """

    def __init__(self, engine: Engine, scheduler: Scheduler, job: Job) -> None:
        self.job = job
        self.arrived = _now()
        self.load_s = Seconds(0.0)
        self._engine = engine
        self._scheduler = scheduler
        self._computing_until: float | None = None

    async def __aenter__(self) -> Self:
        granted = self._engine.await_grant(self.job.id)
        self._engine.apply(self._scheduler.arrive(self.job, self.arrived))
        try:
            await granted
        except asyncio.CancelledError:
            self._leave()
            raise
        finally:
            self._engine.forget(self.job.id)
        ready = self._runner().ready_since
        if ready is not None and ready > self.arrived:
            self.load_s = Seconds(ready - self.arrived)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._computing_until is None:
            self._leave()
        else:
            asyncio.get_running_loop().call_at(self._computing_until, self._leave)

    async def prefill(self, prompt: Tokens) -> None:
        """Read the prompt."""
        profile, model = self._engine.profile, self.job.model
        await self._compute(profile.prefill_s(model, prompt, requests=self._engine.running))

    async def step(self) -> None:
        """Make one token."""
        profile, model = self._engine.profile, self.job.model
        batch = len(self._runner().running)
        await self._compute(profile.decode_step_s(model, batch=batch, models=self._engine.busy_models()))

    async def _compute(self, seconds: Seconds) -> None:
        self._computing_until = _now() + seconds
        await asyncio.sleep(seconds)
        self._computing_until = None

    def _runner(self) -> Runner:
        runner = self._scheduler.home(self.job.id)
        if runner is None:
            raise RuntimeError(f"job {self.job.id} holds no slot")
        return runner

    def _leave(self) -> None:
        self._engine.apply(self._scheduler.leave(self.job.id, _now()))


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
