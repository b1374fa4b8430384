"""What came of the runs: means over the seeds, and differences between routers, with 95 % intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from herd.simulation.runs.measures import Sample, SampleOutcome, spread
from herd.types import Priority

# Student's t at 97.5 % by degrees of freedom, from any table; beyond them the normal distribution's, which is near.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_NORMAL = 1.960


@dataclass(frozen=True, slots=True)
class Run:
    """One router under one load of one seed. Times in seconds, of requests that people wait for."""

    seed: int
    load: float
    router: str
    requests: int
    offered: float  # share of the capacity that the requests took
    cold_loads: float  # for 1,000 requests
    mean: float  # to the first token, over the served ones
    p50: float  # infinite when so many were not served
    p95: float
    not_served: float  # share, of all requests
    batch_mean: float  # to the first token of jobs


@dataclass(frozen=True, slots=True)
class Figure:
    """One column of the tables; less is better in each."""

    name: str
    of: Callable[[Run], float]
    style: str = "{:.2f}"

    def show(self, value: float) -> str:
        """For a table."""
        return self.style.format(value) if math.isfinite(value) else "never"


FIGURES = (
    Figure("cold loads per 1,000", lambda run: run.cold_loads, "{:.1f}"),
    Figure("mean to first token (s)", lambda run: run.mean),
    Figure("p50 (s)", lambda run: run.p50),
    Figure("p95 (s)", lambda run: run.p95, "{:.1f}"),
    Figure("not served (%)", lambda run: 100 * run.not_served),
    Figure("jobs: mean to first token (s)", lambda run: run.batch_mean, "{:.1f}"),
)


def run_of(  # noqa: PLR0917 - what a run is, and what came of it
    seed: int, load: float, router: str, offered: float, samples: Sequence[Sample], loads: int
) -> Run:
    """The figures of a run from what its clients saw; those who hung up of their own choice are left out."""
    stayed = [one for one in samples if one.outcome is not SampleOutcome.HUNG_UP]
    people = spread([one.first_token for one in stayed if one.priority is Priority.INTERACTIVE])
    jobs = spread([one.first_token for one in stayed if one.priority is Priority.BATCH])
    everybody = spread([one.first_token for one in stayed])
    return Run(
        seed,
        load,
        router,
        len(samples),
        offered,
        1000 * loads / max(1, len(samples)),
        people.mean if people.mean is not None else math.inf,
        people.p50 if people.p50 is not None else math.inf,
        people.p95 if people.p95 is not None else math.inf,
        everybody.not_served or 0.0,
        jobs.mean if jobs.mean is not None else 0.0,
    )


def difference(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The mean of others - ours, seed by seed, and half the width of its 95 % interval (Student's t).

    Not a number where a value is infinite, and a width of infinity for a single seed.
    """
    found = [other - own for own, other in zip(ours, others, strict=True)]
    if not all(map(math.isfinite, found)):
        return math.nan, math.nan
    if len(found) < 2:
        return found[0], math.inf
    freedom = len(found) - 1
    quantile = _T[freedom - 1] if freedom <= len(_T) else _NORMAL
    return fmean(found), quantile * stdev(found) / math.sqrt(len(found))


def verdict(mean: float, half: float) -> str:
    """Whose difference it is: ours when the others have more, for less is better."""
    if math.isnan(mean) or mean - half <= 0 <= mean + half:
        return "open"
    return "better" if mean > 0 else "**worse**"


def tables(runs: Sequence[Run], ours: str) -> str:
    """For a person, in Markdown: how each router did, then how the others differ from ours."""
    cells = grouped(runs)
    loads = sorted({run.load for run in runs})
    routers = list(dict.fromkeys(run.router for run in runs))
    head = "| load | router | " + " | ".join(figure.name for figure in FIGURES) + " |"
    lines = ["Means over the seeds.", "", head, "|---|---|" + "---:|" * len(FIGURES)]
    for load in loads:
        offered = fmean(run.offered for run in runs if run.load == load)
        for router in routers:
            values = [figure.show(fmean(map(figure.of, cells[load, router]))) for figure in FIGURES]
            lines.append(f"| {load:.0%} ({offered:.0%}) | {router} | " + " | ".join(values) + " |")
    if ours not in routers or len(routers) < 2:
        return "\n".join(lines)
    lines += ["", f"What the others have more than {ours}, with a 95 % interval, and whether {ours} is better.", ""]
    lines += [head, "|---|---|" + "---:|" * len(FIGURES)]
    for load in loads:
        for router in [other for other in routers if other != ours]:
            shown = []
            for figure in FIGURES:
                mine, theirs = (list(map(figure.of, cells[load, name])) for name in (ours, router))
                mean, half = difference(mine, theirs)
                numbers = f"{figure.style.format(mean)} ± {figure.style.format(half)}, " if mean == mean else ""  # noqa: PLR0124
                shown.append(numbers + verdict(mean, half))
            lines.append(f"| {load:.0%} | {router} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def grouped(runs: Sequence[Run]) -> Mapping[tuple[float, str], list[Run]]:
    """By load and router, each in order of the seeds."""
    found: dict[tuple[float, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        found.setdefault((run.load, run.router), []).append(run)
    return found
