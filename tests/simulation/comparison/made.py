"""Comparisons as values, without a run."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

from herd.simulation.comparison.figures import Figures
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.runs import GENERATOR, Cell, Plan, Run

FIGURES = Figures(
    requests=100,
    offered=0.3,
    first_token_counted=2.0,
    first_token=1.5,
    first_token_p50=1.0,
    first_token_p95=9.0,
    answer_counted=8.0,
    answer=7.0,
    everybody=3.0,
    jobs=20.0,
    slowdown=2.5,
    not_served=0.01,
    goodput=0.95,
    cold_loads=80.0,
    fairness=0.9,
    in_the_way=12.0,
    prediction=None,
)
# The product's own policy, and two that any router could have.
OURS, ROUND_ROBIN, LEAST = next(iter(POLICIES)), "round-robin", "least-connections"


def runs_of(plan: Plan, seconds: Callable[[Cell], float]) -> list[Run]:
    """Runs in which the mean time to the first token, counted, is this; the other figures are the same in all."""
    cells = product((GENERATOR,), plan.loads, range(plan.first_seed, plan.first_seed + plan.seeds), plan.policies)
    return [
        Run(cell, replace(FIGURES, first_token_counted=seconds(cell), offered=cell.load + 0.001 * cell.seed))
        for workload, load, seed, policy in cells
        for cell in (Cell(workload, load, seed, policy),)
    ]
