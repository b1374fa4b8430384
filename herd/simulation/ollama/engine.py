"""The work of a simulated model server: the scheduler's decisions carried out in the loop's time.

Nothing here has a task of its own, and nothing happens token by token: all that the machine computes is a `Work` that
goes on at a rate, and the rates change when something begins or ends. One timer waits for the work that is done next,
another for the model that expires next.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from herd.simulation.machine.pace import MachineProfile, Running, rates
from herd.simulation.ollama.asks.ask import OllamaError
from herd.simulation.ollama.prefix_cache import Prefix, PrefixCache
from herd.simulation.ollama.scheduler import (
    AbortLoad,
    Decision,
    Granted,
    Job,
    Load,
    Refused,
    Runner,
    Scheduler,
    Unloaded,
)
from herd.types import Bytes, Seconds, Tokens

# Seconds. A timer may fire a clock tick early, and sums of floats are not exact: what is left then is nothing.
_NEARLY = 1e-6

# How far a runner goes on beyond what its reader has taken, in seconds: Ollama's own buffer is 100 tokens, so that on a
# busy machine a reader that wakes late does not hold the model up.
_AHEAD_S = 1.0


@dataclass(slots=True, eq=False)
class Work:
    """One thing that takes the machine's time. `rate`, `done` and `goal` are in tokens, or for a load in seconds."""

    running: Running | None  # None: a load
    reached: Callable[[], None]  # called when the goal is, once for each `aim`
    goal: float = 0.0
    awaited: bool = False  # somebody waits for the goal
    done: float = 0.0
    rate: float = 0.0

    @property
    def left_s(self) -> float:
        """Seconds until the goal, at the present rate; infinite when nobody waits for it."""
        return (self.goal - self.done) / self.rate if self.awaited and self.rate else math.inf


class Engine:
    """Loads models, hands out slots, and lets time pass for those who hold one.

    Args:
        machine: says how long things take.
        scheduler: decides who runs; owned from here on.
        num_parallel: slots of a runner.
        changed: called after every event, so after every change of who runs and what is loaded.
    """

    def __init__(
        self, machine: MachineProfile, scheduler: Scheduler, num_parallel: int, changed: Callable[[], None]
    ) -> None:
        self.machine = machine
        self.loads: Counter[str] = Counter()  # model -> loads begun
        self._scheduler = scheduler
        self._num_parallel = num_parallel
        self._changed = changed
        self._grants: dict[int, asyncio.Future[None]] = {}
        self._works: dict[Work, None] = {}  # in order of their beginning
        self._load: Work | None = None
        self._loading_s = 0.0
        self._caches: dict[str, PrefixCache] = {}  # of loaded models
        self._compute, self._disk = 1.0, 1.0
        self._settled = 0.0  # when `done` of every work was right
        self._next: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        """Slots in use, those of clients that are gone included."""
        return sum(len(runner.running) for runner in self._scheduler.runners)

    @property
    def waiting(self) -> int:
        """Requests without a slot."""
        return self._scheduler.pending + sum(len(runner.waiting) for runner in self._scheduler.runners)

    @property
    def at_work(self) -> bool:
        """The machine computes or loads."""
        return self._load is not None or self.running > 0

    @property
    def loading_s(self) -> float:
        """Seconds in which a model was being loaded; those in which the machine stood still are none."""
        self._settle()
        return self._loading_s

    def runners(self) -> tuple[Runner, ...]:
        """What is loaded or loading now."""
        return self._scheduler.runners

    @property
    def memory(self) -> Bytes:
        """What all that is loaded may take now."""
        return self._scheduler.memory

    def unload(self, name: str) -> None:
        """Unload a model when it is idle."""
        self.apply(self._scheduler.unload(name, _now()))

    def set_power(self, compute: float, disk: float) -> None:
        """From now on the machine computes and loads at these shares of its speed; at 0 it stands still."""
        self._settle()
        self._compute, self._disk = compute, disk
        self._pace()

    def set_memory(self, memory: Bytes) -> None:
        """From now on loads have so much memory; what is loaded stays."""
        self.apply(self._scheduler.set_memory(memory, _now()))

    def slot(self, job: Job, text: str = "") -> "Slot":
        """A slot for `job`: `async with` waits for it, and raises OllamaError when there will be none.

        Args:
            job: what the scheduler is to know.
            text: the prompt, for the prefix cache.
        """
        return Slot(self, self._scheduler, job, text)

    def apply(self, decisions: list[Decision]) -> None:
        """Do what the scheduler decided."""
        for decision in decisions:
            match decision:
                case Load(model):
                    self.loads[model.name] += 1
                    self._caches[model.name] = PrefixCache(self._num_parallel)
                    self._load = Work(None, self._loaded)
                    self.begin(self._load)
                    self.aim(self._load, self.machine.load_s(model))
                case AbortLoad():
                    self._end_load()
                case Unloaded(model):
                    self._caches.pop(model.name, None)
                case Granted(job):
                    self._answer(job, None)
                case Refused(job, status, text):
                    self._answer(job, OllamaError(status, text))
        self._watch_expiry()
        self._changed()

    def await_grant(self, job: int) -> asyncio.Future[None]:
        """Done once the job holds a slot; OllamaError if it gets none."""
        future = self._grants[job] = asyncio.get_running_loop().create_future()
        return future

    def forget(self, job: int) -> None:
        """Nobody waits for the job's grant any more."""
        self._grants.pop(job, None)

    def prefix_for(self, model: str, text: str) -> tuple[Prefix, Tokens]:
        """A slot of a loaded model for this prompt, and how many tokens of it the slot holds."""
        return self._caches[model].take(text)

    # --- Work ---------------------------------------------------------------------------------------------------------

    def begin(self, work: Work) -> None:
        """The machine has this to do from now on."""
        self._settle()
        self._works[work] = None
        self._pace()

    def end(self, work: Work) -> None:
        """It is done, or nobody wants it. Idempotent."""
        self._settle()
        if self._works.pop(work, work) is None:
            self._pace()

    def aim(self, work: Work, goal: float) -> None:
        """Call `work.reached` when so much is done; at a later turn, even if it is already."""
        self._settle()
        work.goal, work.awaited = goal, True
        self._set_timer()

    def cut_short(self, work: Work) -> None:
        """Nobody waits for the goal any more: a prompt is read to its end, an answer ends at its next token."""
        self._settle()
        decoding = work.running is not None and not work.running.prefilling
        # Aimed at anew even if it is reached: this may be the moment in which it was, and the waiter was gone already.
        self.aim(work, min(work.goal, math.floor(work.done + _NEARLY) + 1) if decoding else work.goal)

    def turn(self, work: Work, running: Running) -> None:
        """The work is of another kind from now on, and begins anew at 0."""
        self._settle()
        work.running, work.goal, work.done = running, 0.0, 0.0
        self._pace()

    def _settle(self) -> None:
        """Bring every work up to now. One whose goal nobody sets anew runs ahead a little, then stands still."""
        now = _now()
        passed, self._settled = now - self._settled, now
        for work in self._works:
            ahead = work.rate * _AHEAD_S if work.running is not None else 0.0
            work.done = max(work.done, min(work.done + work.rate * passed, work.goal + ahead))
        if self._load is not None and self._load.rate:
            self._loading_s += passed

    def _pace(self) -> None:
        """Who works, or what they do, has changed: every rate anew."""
        computing = [(work, work.running) for work in self._works if work.running is not None]
        for (work, _), rate in zip(computing, rates(self.machine, [one for _, one in computing]), strict=True):
            work.rate = rate * self._compute
        if self._load is not None:
            self._load.rate = self._disk
        self._set_timer()

    def _set_timer(self) -> None:
        """Wake up when the next goal is reached."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        left = min([work.left_s for work in self._works], default=math.inf)
        if left < math.inf:
            self._next = asyncio.get_running_loop().call_later(max(0.0, left), self._tick)

    def _tick(self) -> None:
        self._next = None
        self._settle()
        for work in [work for work in self._works if work.left_s <= _NEARLY]:
            work.awaited = False
            work.reached()
        self._set_timer()

    # --- Loads and grants ---------------------------------------------------------------------------------------------

    def _loaded(self) -> None:
        self._end_load()
        self.apply(self._scheduler.loaded(_now()))

    def _end_load(self) -> None:
        if self._load is not None:
            self.end(self._load)
            self._load = None

    def _answer(self, job: int, refusal: OllamaError | None) -> None:
        future = self._grants.pop(job, None)
        if future is None or future.done():
            return  # its client has just gone, and its caller is about to leave
        if refusal is None:
            future.set_result(None)
        else:
            future.set_exception(refusal)

    def _watch_expiry(self) -> None:
        """Look again when the next idle model is to go."""
        now = _now()
        idle = [runner.expires_at(now) for runner in self._scheduler.runners if runner.idle_since is not None]
        at = min(idle, default=math.inf)
        if self._expiry is not None:
            if self._expiry.when() == at:
                return
            self._expiry.cancel()
            self._expiry = None
        if at < math.inf:
            self._expiry = asyncio.get_running_loop().call_at(at, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        self.apply(self._scheduler.expire(_now()))


class Slot:
    """One request on the machine: entered when it may run, left when it is over.

    When the caller is cancelled in `prefill` or `make`, the slot is given back only at the end of what was being
    computed: a runner looks for hung-up clients when it has a token to write.

    Attributes:
        job: whose slot it is.
        arrived: when it was asked for, in loop time.
        load_s: how long the model was not there while the job waited for it.
        cached: tokens of the prompt that the slot held already.
    """

    def __init__(self, engine: Engine, scheduler: Scheduler, job: Job, text: str) -> None:
        self.job = job
        self.arrived = _now()
        self.load_s = Seconds(0.0)
        self.cached = Tokens(0)
        self._engine = engine
        self._scheduler = scheduler
        self._text = text
        self._prefix: Prefix | None = None
        self._work = Work(None, self._wake)
        self._made = 0
        self._waiter: asyncio.Future[None] | None = None

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
        runner = self._scheduler.home(self.job.id)
        ready = runner.ready_since if runner is not None else None
        if ready is not None and ready > self.arrived:
            self.load_s = Seconds(ready - self.arrived)
        if not self.job.load_only:
            self._prefix, self.cached = self._engine.prefix_for(self.job.model.name, self._text)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiter is None:
            self._leave()
        else:
            self._work.reached = self._leave

    @property
    def rate(self) -> float:
        """Tokens a second, as things stand."""
        return self._work.rate

    async def prefill(self, prompt: Tokens) -> None:
        """Read a prompt, but for what the slot holds of it already; its last token is always read."""
        self._work.running = Running(self.job.model, prefilling=True)
        self.cached = Tokens(max(0, min(self.cached, prompt - 1)))
        if self._prefix is not None:
            self._prefix.text = self._text  # the slot is busy until all of it is read, whoever leaves
        self._engine.begin(self._work)
        await self._until(prompt - self.cached)

    def start_painting(self) -> None:
        """Patches of a picture from now on: all of them are gone over in each step, as a prompt is once."""
        self._work.running = Running(self.job.model, prefilling=True)
        self._engine.begin(self._work)

    def start_decoding(self, context: float) -> None:
        """The prompt is read: tokens from now on, for which `context` tokens of keys and values are held on average."""
        self._engine.turn(self._work, Running(self.job.model, prefilling=False, context=context))

    async def make(self, tokens: int) -> None:
        """Make so many tokens, or patches."""
        self._made += tokens
        await self._until(self._made)

    async def _until(self, goal: float) -> None:
        """Wait until so much of the work is done. Whoever is cancelled here leaves the work to end by itself."""
        self._waiter = asyncio.get_running_loop().create_future()
        self._engine.aim(self._work, goal)
        try:
            await self._waiter
        except asyncio.CancelledError:
            if self._waiter.cancelled():
                self._engine.cut_short(self._work)
            else:  # the token is made, but nobody is there to take it
                self._waiter = None
            raise
        self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _leave(self) -> None:
        if self._prefix is not None:
            self._prefix.busy = False
        self._engine.end(self._work)
        self._engine.apply(self._scheduler.leave(self.job.id, _now()))


def _now() -> Seconds:
    return Seconds(asyncio.get_running_loop().time())
