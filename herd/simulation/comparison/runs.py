"""All runs of a comparison: every policy over the same fleets, owners and requests, on all cores."""

import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import active_children, get_context
from pathlib import Path

from herd.errors import ConfigError, HerdError
from herd.simulation.comparison.figures import Figures, figures_of
from herd.simulation.comparison.loads import loaded
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.processes import end_with_the_parent
from herd.simulation.runs.households import Household

GENERATOR, TRACE = "generator", "trace"

_MOST_PROCESSES = 61  # that Windows can wait for


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared.

    Raises:
        ConfigError: it makes no comparison.
    """

    policies: tuple[str, ...]  # names in POLICIES
    loads: tuple[float, ...]  # shares of the fleet's capacity
    seeds: int = 20
    first_seed: int = 0
    hours: float = 4.0
    size: Household = field(default_factory=Household)  # its requests, days and start are the comparison's own
    trace: Path | None = None  # beside the generator

    def __post_init__(self) -> None:
        unknown = [name for name in self.policies if name not in POLICIES]
        # A run keeps all of its requests: a load of ten times what a fleet can bear says nothing that three does not.
        wrong = [load for load in self.loads if not 0.01 <= load <= 3]
        rules = (
            (not unknown, f"there is no policy {', '.join(unknown)}: take all, or some of {', '.join(POLICIES)}"),
            (bool(self.policies), f"nothing is compared: take all, or some of {', '.join(POLICIES)}"),
            (bool(self.loads) and not wrong, "a load makes no sense: take 1 to 300, in percent of the capacity"),
            (1 <= self.seeds <= 1000, f"{self.seeds} seeds make no sense: take 1 to 1000"),
            (
                0 < self.hours <= 168,
                f"{self.hours:g} hours make no sense: take more than none and at most a week's 168",
            ),
            (self.trace is None or self.trace.is_file(), f"{self.trace} is no file, and each process reads the trace"),
        )
        for holds, sentence in rules:
            if not holds:
                raise ConfigError(sentence)

    @property
    def workloads(self) -> tuple[str, ...]:
        return (GENERATOR,) if self.trace is None else (GENERATOR, TRACE)


def percent(share: float) -> str:
    """For a person."""
    return f"{100 * share:.4g} %"


@dataclass(frozen=True, slots=True)
class Cell:
    """Which run it is."""

    workload: str
    load: float
    seed: int
    policy: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.workload} at {percent(self.load)}, {self.policy}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and what came of it."""

    cell: Cell
    figures: Figures


def cells(plan: Plan) -> list[Cell]:
    """All runs, those that take longest first, so that no core waits for one at the end; a cell's policies together."""
    seeds = range(plan.first_seed, plan.first_seed + plan.seeds)
    loads = sorted(plan.loads, reverse=True)
    # The policies last: each process keeps the requests of the run before.
    found = product(loads, plan.workloads, seeds, plan.policies)
    return [Cell(workload, load, seed, policy) for load, workload, seed, policy in found]


def run(plan: Plan, cell: Cell) -> Run:
    """One run, whole."""
    made = loaded(cell.seed, cell.load, plan.hours, plan.size, plan.trace if cell.workload == TRACE else None)
    result = POLICIES[cell.policy].run(made.scenario)
    return Run(cell, figures_of(made.scenario, result, made.load))


def measured(plan: Plan, *, processes: int | None = None) -> Generator[Run, None, None]:
    """All runs, as they end. To close it, or an error, stops what runs.

    Args:
        plan: what is compared.
        processes: that run at once; one is this one. None: as many as there are processors.

    Raises:
        ConfigError: there is no such fleet, or the trace cannot be read or is too short.
        HerdError: a run failed: which one, and why.
    """
    wanted = cells(plan)
    if plan.trace is not None:  # what is wrong with it is said before hours of other runs, not after
        traced = next(cell for cell in wanted if cell.workload == TRACE)
        with _named(traced):
            loaded(traced.seed, traced.load, plan.hours, plan.size, plan.trace)
    count = min(processes or os.cpu_count() or 1, len(wanted), _MOST_PROCESSES)
    if count == 1:
        for cell in wanted:
            with _named(cell):
                ended = run(plan, cell)
            yield ended
        return
    with _pool(count) as pool:
        with _deaf_children():
            futures = {pool.submit(run, plan, cell): cell for cell in wanted}
        for future in as_completed(futures):
            yield _outcome(future, futures, count)


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are ended when it is left by an error, whatever they are at."""
    others = active_children()
    try:
        # Started afresh on every system: a process with threads in it cannot be copied safely.
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_deaf)
    except (OSError, NotImplementedError) as error:
        raise HerdError(f"this system grants no processes to run in: {error}") from error
    whole = False
    try:
        yield pool
        whole = True
    finally:
        if not whole:
            for child in active_children():
                if child not in others:
                    child.terminate()
        pool.shutdown(cancel_futures=True)


def _outcome(future: Future[Run], futures: dict[Future[Run], Cell], processes: int) -> Run:
    try:
        with _named(futures[future]):
            return future.result()
    except BrokenProcessPool as error:
        # All that was not done fails alike; begun were those at the front.
        lost = [cell for one, cell in futures.items() if one.done() and isinstance(one.exception(), BrokenProcessPool)]
        names = "; ".join(map(str, lost[:processes]))
        raise HerdError(f"a process was killed, perhaps for want of memory, in one of these runs: {names}") from error


@contextmanager
def _named(cell: Cell) -> Iterator[None]:
    """What fails says in which run."""
    try:
        yield
    except BrokenProcessPool:
        raise
    except ConfigError as error:
        raise ConfigError(f"{cell}: {error}") from error
    except Exception as error:
        raise HerdError(f"{cell} failed: {type(error).__name__}: {error}") from error


def _deaf() -> None:
    """A terminal sends Ctrl-C to every process; the one that started this one ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_the_parent()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile are deaf from their first moment on, where that is inherited."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
