"""What a fleet can bear, and scenarios that ask for a share of it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, OwnerState, speed_left, week
from herd.simulation.runs.households import MOST_RATE, Household, household
from herd.simulation.runs.run import Scenario, owner_seed

# Monday from nine: people ask, laptops are open, compilers run and there are meetings.
START_SLOT = 9
# Enough requests for the mix of models and lengths to be that of the generator within some percent.
SAMPLE = 4000
# Sets of requests of which the nearest to the load is taken, and how far apart their seeds are: farther than anybody
# takes seeds for fleets.
TRIES, APART = 20, 1_000_003
NOTHING = 1e-12  # what rounding leaves of zero


@dataclass(frozen=True, slots=True)
class Loaded:
    """A scenario, and the share of its fleet's capacity that its requests ask for."""

    scenario: Scenario
    load: float


def loaded(seed: int, load: float, hours: float) -> Loaded:
    """The generator's fleet for `seed`, with requests that ask for `load` of its capacity, as nearly as can be had.

    A morning of a few people asks for half as much as another, or for twice as much of the largest model: of several
    the generator's own one is taken that comes nearest.
    """
    size = Household(days=hours / 24, start_slot=START_SLOT)
    usual = household(seed, replace(size, requests=max(1, min(SAMPLE, int(MOST_RATE * hours * 3600)))))
    left = shares_left(usual)
    wanted = max(1, round(load * best_rate(works(usual), left) * usual.duration))
    found = []
    for number in range(TRIES):
        requests = household(seed + number * APART, replace(size, requests=wanted)).requests
        if requests:
            scenario = replace(usual, requests=requests)
            asked = len(requests) / usual.duration / best_rate(works(scenario), left)
            found.append((abs(asked - load), number, Loaded(scenario, asked)))
    return min(found)[-1]


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
