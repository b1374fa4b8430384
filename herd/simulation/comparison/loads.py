"""What a fleet can bear, and scenarios that ask for a share of it."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

from herd.errors import ConfigError
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, OwnerState, speed_left, week
from herd.simulation.runs.households import DAY, MOST_RATE, MOST_REQUESTS, Household, household
from herd.simulation.runs.run import Scenario, owner_seed
from herd.simulation.workload.requests import SimulatedRequest
from herd.simulation.workload.traces import TraceRow, read_trace, stretched

# Monday from nine: people ask, laptops are open, compilers run and there are meetings.
START_SLOT = 9
# Enough requests for the mix of models and lengths to be that of the generator within some percent.
SAMPLE = 4000
SAMPLE_RATE = 1.0  # a second: what a fleet can bear, about, and a faster one takes long to generate for a short run
# A run's load is this near to the one that was asked for, unless no set of requests of so many tries is: a morning of a
# few people asks for half as much as another, or for twice as much of the largest model.
NEAR, TRIES = 0.01, 60
# How far apart the seeds of those sets are: farther than anybody takes seeds for fleets.
APART = 1_000_003
# A window of a trace is made longer or shorter so many times; then models and clients are drawn anew for it.
ADJUSTED = 6
NOTHING = 1e-12  # what rounding leaves of zero


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scenario, and the share of its fleet's capacity that its requests ask for."""

    scenario: Scenario
    load: float


@lru_cache(maxsize=4)  # a few seconds each, and some MB
def loaded(seed: int, load: float, hours: float, size: Household, trace: Path | None = None) -> Loaded:
    """The fleet for `seed`, with requests that ask for `load` of its capacity, as nearly as can be had.

    Kept for the next policy, which gets the very same.

    Args:
        seed: of the fleet, its owners and its requests.
        load: share of the capacity.
        hours: how long requests come, from START_SLOT on.
        size: of the household; its requests, days and start are not used.
        trace: takes times and lengths from a window of this file, which begins where the seed says. None: requests of
            the generator.

    Raises:
        ConfigError: there is no such household, nobody asks for anything in so short a time, the trace cannot be read,
            or it is shorter than a window.
    """
    lasting = replace(size, days=hours * 3600 / DAY, start_slot=START_SLOT)
    usual = household(seed, replace(lasting, requests=max(1, min(SAMPLE, int(SAMPLE_RATE * hours * 3600)))))
    if not usual.requests:
        raise ConfigError(f"nobody asks for anything in {hours:g} hours: take more --hours")
    left = shares_left(usual)
    most = max(1, min(MOST_REQUESTS, int(MOST_RATE * usual.duration)))
    wanted = load * best_rate(works(usual), left) * usual.duration
    found: list[tuple[float, int, Loaded]] = []
    asked_by_one: list[float] = []  # the share of the capacity that one request asks for, in each set
    for number in range(TRIES):
        count = min(most, max(1, round(wanted)))
        requests = (
            _of_trace(_rows(trace), seed, (number // ADJUSTED) * APART, lasting, count)
            if trace is not None
            else household(seed + number * APART, replace(lasting, requests=count)).requests
        )
        if requests:
            scenario = replace(usual, requests=requests)
            asked = len(requests) / usual.duration / best_rate(works(scenario), left)
            found.append((abs(asked - load), number, Loaded(scenario, asked)))
            if abs(asked - load) <= NEAR * load:
                break
            asked_by_one.append(asked / count)
            # The next window of a trace is this one, longer or shorter; the next morning of the generator is another.
            wanted = load / (asked_by_one[-1] if trace is not None else math.fsum(asked_by_one) / len(asked_by_one))
    if not found:
        raise ConfigError(f"nobody asks for anything in {hours:g} hours at this load: take more --hours")
    return min(found, key=lambda one: one[:2])[-1]


def _of_trace(
    rows: Sequence[TraceRow], seed: int, apart: int, size: Household, count: int
) -> Sequence[SimulatedRequest]:
    """So many rows of a trace from where the seed says, over the whole of the time; what they lack from apart of it."""
    if count > len(rows):
        raise ConfigError(
            f"the trace has {len(rows)} requests, and {count} are needed in {size.days * 24:g} hours: "
            "take fewer --hours, or a longer trace"
        )
    # A window of half the trace at most begins in the same place whatever the load, and holds what a lesser one holds.
    place = random.Random(f"{seed} window").random()  # noqa: S311 - it is to be repeatable
    first = min(int(place * len(rows) / 2), len(rows) - count)
    window = rows[first : first + count]
    window = stretched(window, rate=count / (size.days * DAY))
    return household(seed + apart, size, window).requests


@lru_cache(maxsize=1)
def _rows(trace: Path) -> Sequence[TraceRow]:
    return read_trace(trace)


def capacity(scenario: Scenario) -> float:
    """Requests a second at which the fleet would be busy every second, if nothing in it were ever wasted.

    That is: requests of the scenario's mix go to the machines that suit the whole best, in a fluid; every model that is
    on a machine's disk is in its memory; no prompt is cached, and no two requests share a step. What owners take, of
    machines that are asleep or in a meeting all, is not there. No router can reach it.
    """
    return best_rate(works(scenario), shares_left(scenario))


def shares_left(scenario: Scenario) -> list[float]:
    """What `available` says of each machine."""
    return [available(scenario, number) for number in range(len(scenario.nodes))]


def available(scenario: Scenario, number: int) -> float:
    """The share of a machine's speed over the scenario that its owner leaves, 0 to 1."""
    plan = scenario.nodes[number]
    seed, duration = owner_seed(scenario, number), scenario.duration
    states = week(HABITS[plan.habits], plan.machine, seed, start_slot=scenario.start_slot, duration=duration)
    left = partial(_left, plan)
    spans = pairwise([*states, (duration, OwnerState())])
    return math.fsum([(until - since) * left(state) for (since, state), (until, _) in spans]) / duration


def _left(plan: NodePlan, state: OwnerState) -> float:
    return 0.0 if state.meeting else speed_left(state, plan.machine)


def works(scenario: Scenario) -> list[dict[int, float]]:
    """For each model that is asked for: seconds of each machine that has it, for the model's part of one request."""
    requests = scenario.requests
    count = Counter(request.model for request in requests)
    prompts, answers, contexts = Counter[str](), Counter[str](), Counter[str]()
    for one in requests:
        prompts[one.model] += one.prompt
        answers[one.model] += one.completion
        contexts[one.model] += one.prompt + one.completion // 2
    found = []
    for name in sorted(count):
        model, context = CATALOG[name], contexts[name] / count[name]
        found.append(
            {
                number: (
                    plan.machine.prefill_s(model, prompts[name])
                    + answers[name] * plan.machine.decode_step_s(model, context=context)
                )
                / len(requests)
                for number, plan in enumerate(scenario.nodes)
                if name in plan.models
            }
        )
    return found


def best_rate(work: Sequence[Mapping[int, float]], hours: Sequence[float]) -> float:
    """The greatest rate at which machines with these hours can do this work, each kind of it split as is best.

    A linear program: each kind's seconds on each machine that can do it, and the rate, which is to be as great as it
    can be; no kind gets less than the rate asks, no machine gives more than it has. Solved by the simplex method, with
    Bland's rule (of what helps or binds equally always the first), under which it ends.

    Args:
        work: for each kind, seconds that a machine takes for its part of one request, by the machine's number.
        hours: the share of its time that each machine has.
    """
    pairs = [(kind, number, seconds) for kind, times in enumerate(work) for number, seconds in times.items()]
    columns = 1 + len(pairs)  # the rate first
    table = [
        [1.0, *[-1.0 / seconds if kind == own else 0.0 for own, _, seconds in pairs], *_unit(kind, work, hours), 0.0]
        for kind in range(len(work))
    ]
    table += [
        [0.0, *[float(number == own) for _, own, _ in pairs], *_unit(len(work) + number, work, hours), have]
        for number, have in enumerate(hours)
    ]
    gains = [1.0, *[0.0] * (columns - 1 + len(table) + 1)]
    basis = [columns + number for number in range(len(table))]
    while (column := next((at for at, gain in enumerate(gains[:-1]) if gain > NOTHING), None)) is not None:
        steps = [(row[-1] / row[column], basis[at], at) for at, row in enumerate(table) if row[column] > NOTHING]
        binds = min([(own, at) for step, own, at in steps if step <= min(steps)[0] + NOTHING])[1]
        basis[binds] = column
        pivot = table[binds] = [value / table[binds][column] for value in table[binds]]
        for row in (*table, gains):
            if row is not pivot and (factor := row[column]):
                row[:] = [value - factor * own for value, own in zip(row, pivot, strict=True)]
    return -gains[-1]


def _unit(place: int, work: Sequence[object], hours: Sequence[object]) -> list[float]:
    """The columns of what is left over, one for each row."""
    return [float(place == at) for at in range(len(work) + len(hours))]
