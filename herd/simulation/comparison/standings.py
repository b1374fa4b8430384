"""How the policies stand to each other, under each workload and load."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from herd.simulation.comparison.figures import HEADLINE, NOTHING, Column, Figures
from herd.simulation.comparison.policies import BASELINES, POLICIES
from herd.simulation.comparison.resampling import Estimate, mean, ratio
from herd.simulation.comparison.runs import Plan, Run, percent

REFERENCE = next(iter(POLICIES))  # the router as it is
CANDIDATE = "completion-time"
ORACLE = "oracle"


@dataclass(frozen=True, slots=True)
class Standing:
    """One workload at one load: the figures of all policies, each in order of the seeds."""

    workload: str
    load: float
    runs: dict[str, list[Figures]]
    _ratios: dict[tuple[str, str, str], Estimate | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.workload} at {percent(self.load)}"

    @property
    def offered(self) -> list[float]:
        """The load that each seed's requests really came to."""
        return [one.offered for one in next(iter(self.runs.values()))]

    @property
    def best_baseline(self) -> str | None:
        """Of the simple routers that ran, the one with the least mean headline."""
        means = {name: known for name in BASELINES if (known := self._known(name)) is not None}
        return min(means, key=lambda name: (means[name], name), default=None)

    def _known(self, policy: str) -> float | None:
        values = [value for one in self.runs.get(policy, []) if (value := HEADLINE.of(one)) is not None]
        return fmean(values) if values else None

    def ratio(self, own: str, other: str, column: Column = HEADLINE) -> Estimate | None:
        """The mean of `own` over that of `other`, paired by seed; None where either has none, or the other's is 0."""
        key = own, other, column.key
        if key not in self._ratios:
            pairs = [
                (mine, theirs)
                for one, two in zip(self.runs.get(own, []), self.runs.get(other, []), strict=False)
                if (mine := column.of(one)) is not None and (theirs := column.of(two)) is not None
            ]
            self._ratios[key] = ratio([one for one, _ in pairs], [two for _, two in pairs]) if pairs else None
        return self._ratios[key]

    def ratios(self, own: str, other: str) -> list[float]:
        """The headline of `own` over that of `other`, seed by seed, where both are there."""
        return [
            mine / theirs
            for one, two in zip(self.runs[own], self.runs[other], strict=True)
            if (mine := HEADLINE.of(one)) is not None and (theirs := HEADLINE.of(two))
        ]

    def mean(self, policy: str) -> Estimate | None:
        """Of the headline."""
        values = [value for one in self.runs[policy] if (value := HEADLINE.of(one)) is not None]
        return mean(values) if values else None


def standings(plan: Plan, runs: Sequence[Run]) -> list[Standing]:
    """All workloads and loads, the least load first."""
    found = []
    for workload in plan.workloads:
        for load in sorted(plan.loads):
            own = sorted(
                (one for one in runs if (one.cell.workload, one.cell.load) == (workload, load)),
                key=lambda one: one.cell.seed,
            )
            by_policy = {name: [one.figures for one in own if one.cell.policy == name] for name in plan.policies}
            found.append(Standing(workload, load, by_policy))
    return found


# --- Aims -------------------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """Of an aim."""

    MET = "met"
    NOT_MET = "not met"
    OPEN = "open"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Aim:
    """What is aimed for, and what came of it."""

    text: str
    outcome: Outcome
    number: str


# An aim is for ratios of the headline; the mean over what was served alone stands beside it.
_GAIN_AT, _GAIN, _NEVER_ABOVE, _NEAR_ORACLE = 0.6, 0.7, 1.1, 1.1


def aims(found: Sequence[Standing], columns: Sequence[Column]) -> list[Aim]:
    """Every aim, by each of these figures."""
    wanted = []
    for column in columns:
        # The best of some of the baselines would be too easy to beat.
        beside_best = [
            (one, best, one.ratio(REFERENCE, best, column) if all(name in one.runs for name in BASELINES) else None)
            for one in found
            for best in (one.best_baseline or "",)
        ]
        wanted += [
            _aim(
                f"`{REFERENCE}` at least 30 % better than the best baseline at 60 % ({column.label})",
                [one for one in beside_best if abs(one[0].load - _GAIN_AT) < 1e-9],
                _GAIN,
            ),
            _aim(
                f"`{REFERENCE}` never worse than {_NEVER_ABOVE} times the best baseline ({column.label})",
                beside_best,
                _NEVER_ABOVE,
            ),
            _aim(
                f"`{CANDIDATE}` within 10 % of the oracle everywhere ({column.label})",
                [(one, ORACLE, one.ratio(CANDIDATE, ORACLE, column)) for one in found],
                _NEAR_ORACLE,
            ),
        ]
    return wanted


def _aim(text: str, ratios: Sequence[tuple[Standing, str, Estimate | None]], most: float) -> Aim:
    """Met: no interval goes beyond `most`. Not met: one is wholly beyond it."""
    known = [(one, other, estimate) for one, other, estimate in ratios if estimate is not None]
    if not known or len(known) < len(ratios):
        return Aim(text, Outcome.NOT_RUN, NOTHING)
    if any(estimate.low > most for _, _, estimate in known):
        outcome = Outcome.NOT_MET
    else:
        outcome = Outcome.MET if all(estimate.high <= most for _, _, estimate in known) else Outcome.OPEN
    worst = max(known, key=lambda one: one[2].value)
    where = "" if len(known) == 1 else "at worst "
    return Aim(text, outcome, f"{where}{times(worst[2])} of `{worst[1]}`, {worst[0]}; at most {most} is aimed for")


# --- For a person -----------------------------------------------------------------------------------------------------


def times(estimate: Estimate) -> str:
    """A ratio and its interval."""
    if not math.isfinite(estimate.low):
        return f"{estimate.value:.2f} (too few seeds)"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: where, and what came of it."""

    group: str  # under which it is told
    where: Standing
    ratio: Estimate


def by_other(found: Sequence[Standing], own: str) -> list[Case]:
    """The headline of `own` beside that of each other policy."""
    return [
        Case(f"against `{other}`", one, estimate)
        for one in found
        for other in one.runs
        if other != own and (estimate := one.ratio(own, other)) is not None
    ]


def by_figure(found: Sequence[Standing], columns: Sequence[Column]) -> list[Case]:
    """Further figures of the reference beside those of the best baseline."""
    return [
        Case(column.label, one, estimate)
        for column in columns
        for one in found
        if (estimate := one.ratio(REFERENCE, one.best_baseline or "", column)) is not None
    ]
