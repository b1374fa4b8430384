"""What changes for whom when a house changes: the same requests and owners, before and after, over several seeds."""

import math
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from multiprocessing import active_children
from statistics import fmean, stdev
from typing import Any

from herd.errors import HerdError
from herd.simulation.comparison.changes import Change, Setup
from herd.simulation.comparison.processes import end_with_the_parent
from herd.simulation.comparison.resampling import student
from herd.simulation.machine.owners import HABITS
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import Sample, SampleOutcome, owner_disturbance
from herd.simulation.runs.run import Result, Scenario
from herd.simulation.workload.traces import TraceRow
from herd.types import Priority, ScorerKind

# A process takes half a second to start, in which so many requests are simulated.
FEW_REQUESTS = 200

# Beyond so many degrees of freedom Student's t is taken for that of so many: a little too much, so intervals are a
# little too wide.
MOST_FREEDOM = 30


class Word(StrEnum):
    """What can be said of a change."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "open"  # it may be chance
    SAME = "same"  # nothing changed in any run


class Kind(StrEnum):
    """Whom a row of the table is about."""

    ALL = "all"
    MODEL = "model"  # those who ask for it
    CLASS = "class"  # people, or jobs
    OWNER = "owner"  # of a machine


EVERYBODY = "everybody"
CLASSES: Mapping[Priority, str] = {Priority.INTERACTIVE: "people", Priority.BATCH: "jobs"}
FIRST_TOKEN, COMPLETION, NOT_SERVED, DISTURBANCE = "first_token_s", "completion_s", "not_served", "owner_disturbance_s"

Whom = tuple[Kind, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """One seed, before and after.

    Of everybody the mean seconds to the first token and to the whole answer, over the requests that were served both
    times (None: none was), and the share that was not served. Of owners the seconds in their way. A mean over what was
    served each time would praise a fleet for no longer serving what is slow.
    """

    requests: Mapping[Whom, int]
    values: Mapping[Whom, Mapping[str, tuple[float | None, float | None]]]


@dataclass(frozen=True, slots=True)
class Shift:
    """One figure before and after, as means over the seeds; the less, the better. None: it cannot be said."""

    before: float | None
    after: float | None
    change: float | None = None
    low: float | None = None  # the change lies between these, with a confidence of 95 %
    high: float | None = None
    word: Word = Word.OPEN


@dataclass(frozen=True, slots=True)
class Row:
    """What changes for somebody."""

    kind: Kind
    name: str
    requests: int  # of all seeds; 0 for owners
    shifts: Mapping[str, Shift]

    def document(self) -> dict[str, Any]:
        """For JSON."""
        told: dict[str, Any] = {"kind": self.kind.value, "name": self.name}
        if self.kind is not Kind.OWNER:
            told["requests"] = self.requests
        return told | {name: _plain(shift) for name, shift in self.shifts.items()}


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be known."""

    size: Household
    rows: Sequence[TraceRow] | None  # of a trace, in place of generated requests
    scorer: ScorerKind
    changes: tuple[Change, ...]

    def setup(self, seed: int, *, changed: bool) -> Setup:
        """The house of a seed, as it is or as it would be. Raises ConfigError when a change makes no sense."""
        base = Setup.of(household(seed, self.size, self.rows), self.scorer)
        return reduce(lambda setup, change: change.changed(setup), self.changes, base) if changed else base


def answer(question: Question, seeds: range, told: Callable[[int, int], object] = lambda _done, _of: None) -> list[Row]:
    """What changes for whom.

    Args:
        question: what is to be known.
        seeds: of the houses; at least one.
        told: called with the seeds that are done, and how many there are.

    Raises:
        ConfigError: a change makes no sense.
        HerdError: the system ended a run.
    """
    runs = 2 * len(seeds) * len(question.setup(seeds[0], changed=True).scenario.requests)
    found: dict[int, Pair] = {}
    for seed, ended in _measured(question, seeds, alone=runs <= FEW_REQUESTS):
        found[seed] = ended
        told(len(found), len(seeds))
    return compared([found[seed] for seed in seeds])


def _measured(question: Question, seeds: range, *, alone: bool) -> Iterator[tuple[int, Pair]]:
    """All pairs, as they end: one run at a time on each core."""
    workers = min(len(seeds), os.cpu_count() or 1)
    if alone or workers == 1:
        yield from ((seed, measured(question, seed)) for seed in seeds)
        return
    others = active_children()
    pool = ProcessPoolExecutor(workers, initializer=_end_with_the_parent)
    try:
        under_way = {pool.submit(measured, question, seed): seed for seed in seeds}
        for ended in as_completed(under_way):
            yield under_way[ended], ended.result()
    except BaseException as error:
        for worker in active_children():  # nobody waits for what they do any more
            if worker not in others:
                worker.terminate()
        if isinstance(error, BrokenProcessPool):
            raise HerdError("the system ended a run, for want of memory, say: take fewer --requests") from error
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_the_parent() -> None:
    """In a worker: Ctrl-C, which reaches every process of a terminal, ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_the_parent()


def measured(question: Question, seed: int) -> Pair:
    """Both runs of a seed."""
    before, after = (question.setup(seed, changed=changed) for changed in (False, True))
    return pair((before.scenario, before.run()), (after.scenario, after.run()))


def pair(before: tuple[Scenario, Result], after: tuple[Scenario, Result]) -> Pair:
    """The figures of two runs of the same requests. A machine that is not there is in nobody's way."""
    groups: dict[Whom, list[tuple[Sample, Sample]]] = {}
    for both in zip(before[1].samples, after[1].samples, strict=True):
        first = both[0]
        for whom in ((Kind.ALL, EVERYBODY), (Kind.MODEL, first.model), (Kind.CLASS, CLASSES[first.priority])):
            groups.setdefault(whom, []).append(both)
    values = {whom: _of(samples) for whom, samples in groups.items()}
    then, now = _disturbed(*before), _disturbed(*after)
    for name in then | now:
        values[Kind.OWNER, name] = {DISTURBANCE: (then.get(name, 0.0), now.get(name, 0.0))}
    return Pair({whom: len(samples) for whom, samples in groups.items()}, values)


def _of(samples: Sequence[tuple[Sample, Sample]]) -> dict[str, tuple[float | None, float | None]]:
    served = [both for both in samples if all(one.outcome is SampleOutcome.SERVED for one in both)]
    missing = [sum(both[side].outcome is not SampleOutcome.SERVED for both in samples) for side in (0, 1)]
    return {
        FIRST_TOKEN: (_mean([one.first_token for one, _ in served]), _mean([one.first_token for _, one in served])),
        COMPLETION: (_mean([one.completion for one, _ in served]), _mean([one.completion for _, one in served])),
        NOT_SERVED: (missing[0] / len(samples), missing[1] / len(samples)),
    }


def _disturbed(scenario: Scenario, result: Result) -> dict[str, float]:
    """Seconds in the way of each owner, by the machine."""
    return {
        plan.name: float(owner_disturbance(node.working, node.owned).total)
        for plan, node in zip(scenario.nodes, result.nodes, strict=True)
        if HABITS[plan.habits].sessions
    }


def compared(pairs: Sequence[Pair]) -> list[Row]:
    """Everybody, the models by how much they are asked for, people and jobs, and the owners."""
    requests: Counter[Whom] = Counter()
    for one in pairs:
        requests.update(one.requests)
    classes = [whom for whom in requests if whom[0] is Kind.CLASS]
    if len(classes) == 1:  # which is everybody
        del requests[classes[0]]
    asked = sorted(requests, key=lambda whom: (list(Kind).index(whom[0]), -requests[whom], whom[1]))
    owners = [whom for whom in dict.fromkeys(whom for one in pairs for whom in one.values) if whom[0] is Kind.OWNER]
    return [Row(*whom, requests[whom], _shifts(pairs, whom)) for whom in (*asked, *owners)]


def _shifts(pairs: Sequence[Pair], whom: Whom) -> dict[str, Shift]:
    found = [one.values[whom] for one in pairs if whom in one.values]
    shifts = {name: paired([values[name] for values in found]) for name in found[0]}
    if NOT_SERVED in shifts:
        shifts[NOT_SERVED] = _beyond_chance(shifts[NOT_SERVED])
    return shifts


def _beyond_chance(shift: Shift) -> Shift:
    """A share that was not served, or is not: when that is nobody in any house, it is no chance."""
    if shift.word is Word.OPEN and shift.change and 1.0 in {shift.before, shift.after}:
        return replace(shift, word=Word.WORSE if shift.after == 1.0 else Word.BETTER)
    return shift


def paired(pairs: Sequence[tuple[float | None, float | None]]) -> Shift:
    """A figure whose less is better, of the same seeds before and after.

    The interval is that of Student's t over the differences of the pairs, which takes them as normally distributed;
    seeds in which it is not known are left out.
    """
    both = [(first, then) for first, then in pairs if first is not None and then is not None]
    if not both:
        return Shift(None, None)
    before, after = (fmean(side) for side in zip(*both, strict=True))
    differences = [then - first for first, then in both]
    change = fmean(differences)
    if not any(differences):
        return Shift(before, after, 0.0, 0.0, 0.0, Word.SAME)
    if len(differences) == 1:
        return Shift(before, after, change)
    reach = student(min(len(differences) - 1, MOST_FREEDOM)) * stdev(differences) / math.sqrt(len(differences))
    low, high = change - reach, change + reach
    word = Word.BETTER if high < 0 else Word.WORSE if low > 0 else Word.OPEN
    return Shift(before, after, change, low, high, word)


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _plain(shift: Shift) -> dict[str, Any]:
    numbers = {name: getattr(shift, name) for name in ("before", "after", "change", "low", "high")}
    return {name: None if value is None else round(value, 6) for name, value in numbers.items()} | {
        "word": shift.word.value
    }
