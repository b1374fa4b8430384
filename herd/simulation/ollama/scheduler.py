"""The decisions of Ollama's scheduler, without its clock and its work: events in, decisions out.

What it obeys (Ollama's `server/sched.go`): a request for a model that is loaded with the same options goes to its
runner and waits there for a slot. Every other request waits in one queue, whose head alone is looked at: a head that
waits for a load or for an eviction holds up all behind it, whatever they want. One model loads at a time. Room is made
by unloading an idle runner, that with the shortest keep-alive first; if none is idle, the runner with the shortest
keep-alive is told to go when it becomes so. Until it has gone, or another has, the queue stands still, even if its head
has left and if others become idle meanwhile.

Every event first unloads what has been idle long enough; between events `expire` does.
"""

import math
from collections import deque
from dataclasses import dataclass, field, replace

from herd.simulation.machine.catalog import SimulatedModel
from herd.types import Bytes, GiB, Seconds, Tokens

BUSY = "server busy, please try again.  maximum pending requests exceeded"  # the two spaces are Ollama's


@dataclass(frozen=True, slots=True)
class Limits:
    """What the scheduler may use. Defaults are Ollama's own."""

    memory: Bytes  # that all runners together may take
    num_parallel: int = 1  # slots of a runner
    max_loaded: int = 3  # runners
    max_queue: int = 512  # requests that wait for a load
    keep_alive_s: float = 300.0  # of a runner whose requests name none


@dataclass(frozen=True, slots=True)
class Job:
    """One request, as the scheduler sees it."""

    id: int
    model: SimulatedModel
    num_ctx: Tokens
    keep_alive: float | None = None  # seconds, infinite for ever; None keeps what the runner has
    load_only: bool = False  # it wants the model loaded, and needs no slot
    options: tuple[tuple[str, int], ...] = ()  # others of its runner that are not Ollama's defaults, by name


@dataclass(frozen=True, slots=True)
class Load:
    """Begin to load the model; say `loaded` when it is done."""

    model: SimulatedModel


@dataclass(frozen=True, slots=True)
class AbortLoad:
    """Nobody waits for this load any more."""

    model: SimulatedModel


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The model left the memory."""

    model: SimulatedModel


@dataclass(frozen=True, slots=True)
class Granted:
    """The job holds a slot (or, if it is `load_only`, the model) until it leaves."""

    job: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The job gets no slot, and is forgotten."""

    job: int
    status: int
    text: str


Decision = Load | AbortLoad | Unloaded | Granted | Refused


@dataclass(slots=True, eq=False)
class Runner:
    """One loaded, or loading, model."""

    model: SimulatedModel
    num_ctx: Tokens
    size: Bytes
    keep_alive: float
    options: tuple[tuple[str, int], ...] = ()
    ready_since: float | None = None  # None while it loads
    idle_since: float | None = None  # None while it has jobs
    running: dict[int, None] = field(default_factory=dict)  # a set in order of arrival
    holding: dict[int, None] = field(default_factory=dict)  # jobs that are `load_only`
    # Not bounded, as Ollama's is not: the connections that its HTTP server accepts are the bound.
    waiting: deque[int] = field(default_factory=deque)

    def suits(self, job: Job) -> bool:
        """The job can run here: no reload is needed. One that names no layers for the GPU takes what there is."""
        named = {name for name, _ in job.options}
        own = tuple(option for option in self.options if option[0] != "num_gpu" or "num_gpu" in named)
        return (self.num_ctx, own) == (job.num_ctx, job.options)

    def expires_at(self, now: Seconds) -> float:
        """When it is unloaded if nothing more comes, and all that it has were to end now."""
        return (now if self.idle_since is None else self.idle_since) + self.keep_alive


class Scheduler:
    """The state: runners, and jobs that wait for one. Times are monotonic seconds and never go back.

    Every method returns the decisions that follow, in order.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._runners: dict[str, Runner] = {}
        self._pending: deque[Job] = deque()  # at most max_queue
        self._homes: dict[int, Runner] = {}  # job -> the runner that it runs on or waits for
        self._loading: Runner | None = None
        self._leaving: Runner | None = None  # busy, and told to go: the queue waits for that

    @property
    def runners(self) -> tuple[Runner, ...]:
        """Ready and loading ones, oldest first."""
        return tuple(self._runners.values())

    @property
    def memory(self) -> Bytes:
        """What all runners together may take now."""
        return self._limits.memory

    @property
    def pending(self) -> int:
        """Jobs that wait for a load or an eviction."""
        return len(self._pending)

    def home(self, job: int) -> Runner | None:
        """The runner that the job runs on or waits for."""
        return self._homes.get(job)

    # --- Events -----------------------------------------------------------------------------------------------------

    def arrive(self, job: Job, now: Seconds) -> list[Decision]:
        out = self.expire(now)
        runner = self._runners.get(job.model.name)
        if runner is not None and runner.suits(job):
            self._attach(job, runner, out)
        elif len(self._pending) >= self._limits.max_queue:
            out.append(Refused(job.id, 503, BUSY))
        else:
            self._pending.append(job)
            self._pump(out)
        return out

    def loaded(self, now: Seconds) -> list[Decision]:
        """The load under way is done."""
        out = self.expire(now)
        runner, self._loading = self._loading, None
        if runner is None:
            raise ValueError("loaded() without a load under way")
        runner.ready_since = now
        out.extend(Granted(job) for job in runner.holding)
        self._grant(runner, out)
        self._pump(out)
        return out

    def leave(self, job: int, now: Seconds) -> list[Decision]:
        """The job ended, or was given up, wherever it stands."""
        out = self.expire(now)
        runner = self._homes.pop(job, None)
        if runner is None:
            self._pending = deque(other for other in self._pending if other.id != job)
        else:
            self._detach(job, runner, now, out)
        self._pump(out)
        return out

    def unload(self, name: str, now: Seconds) -> list[Decision]:
        """A client wants the model gone: at once if it is idle, else when it becomes so."""
        out = self.expire(now)
        runner = self._runners.get(name)
        if runner is not None:
            self._evict(runner, out)
            self._pump(out)
        return out

    def set_memory(self, memory: Bytes, now: Seconds) -> list[Decision]:
        """From now on all runners together may take so much; those that are loaded stay until room is needed."""
        out = self.expire(now)
        self._limits = replace(self._limits, memory=memory)
        self._leaving = None  # there may be room without
        self._pump(out)
        return out

    def expire(self, now: Seconds) -> list[Decision]:
        """Unload what has been idle for its keep-alive."""
        out: list[Decision] = []
        for runner in self.runners:
            if runner.idle_since is not None and runner.expires_at(now) <= now:
                self._drop(runner, out)
        if out:
            self._pump(out)
        return out

    # --- Steps ------------------------------------------------------------------------------------------------------

    def _pump(self, out: list[Decision]) -> None:
        """Look at the head of the queue until it has to wait."""
        while self._pending:
            job = self._pending[0]
            runner = self._runners.get(job.model.name)
            if runner is not None and runner.suits(job):
                self._pending.popleft()
                self._attach(job, runner, out)
                continue
            if self._loading is not None:
                return
            size = job.model.resident(job.num_ctx, self._limits.num_parallel)
            if size > self._limits.memory:
                self._pending.popleft()
                out.append(Refused(job.id, 500, _too_large(size, self._limits.memory)))
                continue
            victim = self._leaving or runner or self._victim(size)
            if victim is None:
                self._pending.popleft()
                self._load(job, size, out)
            elif not self._evict(victim, out):
                self._leaving = victim
                return

    def _victim(self, size: Bytes) -> Runner | None:
        """Who has to go so that `size` bytes fit; None when they fit already."""
        taken = sum(runner.size for runner in self._runners.values())
        if len(self._runners) < self._limits.max_loaded and taken + size <= self._limits.memory:
            return None
        return min(self._runners.values(), key=lambda runner: (runner.idle_since is None, runner.keep_alive))

    def _load(self, job: Job, size: Bytes, out: list[Decision]) -> None:
        runner = Runner(job.model, job.num_ctx, size, self._limits.keep_alive_s, job.options)
        self._runners[job.model.name] = self._loading = runner
        out.append(Load(job.model))
        self._attach(job, runner, out)

    def _attach(self, job: Job, runner: Runner, out: list[Decision]) -> None:
        if job.keep_alive is not None:
            runner.keep_alive = job.keep_alive
        runner.idle_since = None
        self._homes[job.id] = runner
        if not job.load_only:
            runner.waiting.append(job.id)
            self._grant(runner, out)
            return
        runner.holding[job.id] = None
        if runner.ready_since is not None:
            out.append(Granted(job.id))

    def _grant(self, runner: Runner, out: list[Decision]) -> None:
        while runner.ready_since is not None and runner.waiting and len(runner.running) < self._limits.num_parallel:
            job = runner.waiting.popleft()
            runner.running[job] = None
            out.append(Granted(job))

    def _detach(self, job: int, runner: Runner, now: Seconds, out: list[Decision]) -> None:
        if job in runner.waiting:
            runner.waiting.remove(job)
        else:
            runner.running.pop(job, None)
            runner.holding.pop(job, None)
        self._grant(runner, out)
        if runner.running or runner.waiting or runner.holding:
            return
        if runner is self._loading:
            self._loading = None
            del self._runners[runner.model.name]
            out.append(AbortLoad(runner.model))
            return
        runner.idle_since = now
        if runner.keep_alive <= 0:
            self._drop(runner, out)

    def _evict(self, runner: Runner, out: list[Decision]) -> bool:
        """Unload the runner, or let it go once it is idle; True when it is gone."""
        if runner.idle_since is None:
            runner.keep_alive = 0.0
            return False
        self._drop(runner, out)
        return True

    def _drop(self, runner: Runner, out: list[Decision]) -> None:
        self._leaving = None
        del self._runners[runner.model.name]
        out.append(Unloaded(runner.model))


def _too_large(size: Bytes, memory: Bytes) -> str:
    needed = math.ceil(size / GiB * 10) / 10  # upwards, so that the two figures never look equal
    return f"model requires more system memory ({needed:.1f} GiB) than is available ({memory / GiB:.1f} GiB)"
