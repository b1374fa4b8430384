"""What came of one run, in a few figures."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from herd.simulation.runs.measures import LIMITS, SampleOutcome, spread
from herd.simulation.runs.report import report
from herd.simulation.runs.run import Result, Scenario
from herd.types import Priority

# What a request of a person counts as that was not served, in seconds: when a person would have given it up.
COUNTED_S = LIMITS[Priority.INTERACTIVE].completion


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Seconds, unless a field says otherwise; None: there is no such thing, of percentiles: never."""

    requests: int
    offered: float  # share of the fleet's capacity that the requests ask for
    first_token_counted: float | None  # people's mean, in which what was not served counts as COUNTED_S
    first_token: float | None  # people's mean over what was served
    first_token_p50: float | None  # over all that people asked: None when so many were not served
    first_token_p95: float | None
    answer_counted: float | None  # to the whole answer, as above
    answer: float | None
    everybody: float | None  # mean to the first token over what was served, of people and jobs
    jobs: float | None  # the same of jobs alone
    slowdown: float | None  # mean of time to the whole answer / time alone on the best machine, over what was served
    not_served: float  # share of all requests
    goodput: float  # share of all requests that were served within their class's limit
    cold_loads: float  # for 1,000 requests
    fairness: float | None  # Jain's index over the clients' mean slowdowns; 1 is even
    in_the_way: (
        float  # seconds in which a machine computed while its owner was in a meeting, or used half of it or more
    )
    prediction: float | None  # median of |predicted - actual| / actual of completions


def figures_of(scenario: Scenario, result: Result, offered: float) -> Figures:
    """The figures of a run of `scenario`; clients who hung up of their own choice are left out."""
    whole = report(scenario, result)
    stayed = [one for one in result.samples if one.outcome is not SampleOutcome.HUNG_UP]
    people = [one for one in stayed if one.priority is Priority.INTERACTIVE]
    jobs = [one for one in stayed if one.priority is Priority.BATCH]
    first = spread([one.first_token for one in people])
    summary = whole.summary
    return Figures(
        requests=len(result.samples),
        offered=offered,
        first_token_counted=counted([one.first_token for one in people]),
        first_token=first.mean,
        first_token_p50=_finite(first.p50),
        first_token_p95=_finite(first.p95),
        answer_counted=counted([one.completion for one in people]),
        answer=spread([one.completion for one in people]).mean,
        everybody=summary.first_token.mean,
        jobs=spread([one.first_token for one in jobs]).mean,
        slowdown=summary.slowdown.mean,
        not_served=summary.first_token.not_served or 0.0,
        goodput=summary.goodput.share or 0.0,
        cold_loads=1000 * summary.loads.count / max(1, len(result.samples)),
        fairness=summary.fairness.slowdown,
        in_the_way=whole.disturbance.total,
        prediction=summary.prediction.median,
    )


def counted(seconds: Sequence[float]) -> float | None:
    """Their mean, none above COUNTED_S: whoever refuses what is slow gains nothing, nor who answers later than that."""
    return math.fsum(min(one, COUNTED_S) for one in seconds) / len(seconds) if seconds else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Column:
    """One figure, in tables."""

    key: str  # a field of Figures
    name: str
    style: Callable[[float], str]
    less_is_better: bool = True

    @property
    def label(self) -> str:
        """The name without the unit."""
        return self.name.removesuffix(" (s)")

    def of(self, figures: Figures) -> float | None:
        value: float | None = getattr(figures, self.key)
        return value

    def over(self, runs: Sequence[Figures]) -> str:
        """The mean over the seeds; a percentile that is never for some of them says for how many."""
        known = [value for one in runs if (value := self.of(one)) is not None]
        if len(known) < len(runs) and self.key in _NEVER:
            return f"never ({len(runs) - len(known)} of {len(runs)})"
        return self.style(fmean(known)) if known else NOTHING


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


_NEVER = ("first_token_p50", "first_token_p95")

# There is no such figure.
NOTHING = "-"

# By which policies are compared.
HEADLINE = Column("first_token_counted", "first token, counted (s)", _seconds)
COLUMNS = (
    HEADLINE,
    Column("first_token", "first token, served (s)", _seconds),
    Column("first_token_p50", "p50 (s)", _seconds),
    Column("first_token_p95", "p95 (s)", _seconds),
    Column("answer_counted", "whole answer, counted (s)", _seconds),
    Column("answer", "whole answer, served (s)", _seconds),
    Column("everybody", "first token, people and jobs (s)", _seconds),
    Column("jobs", "first token, jobs (s)", _seconds),
    Column("slowdown", "slowdown", _seconds),
    Column("not_served", "not served (%)", _percent),
    Column("goodput", "goodput (%)", _percent, less_is_better=False),
    Column("cold_loads", "cold loads per 1,000", lambda value: f"{value:.1f}"),
    Column("fairness", "fairness", lambda value: f"{value:.3f}", less_is_better=False),
    Column("in_the_way", "in owners' way (s)", lambda value: f"{value:.0f}"),
    Column("prediction", "prediction error (%)", lambda value: f"{100 * value:.0f}"),
)
