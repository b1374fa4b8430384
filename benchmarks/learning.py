"""What a fleet's knowledge is worth: the same week of traffic with what a router knows after 30 days, and after one.

    python benchmarks/learning.py [--seeds N] [--first-seed N] [--requests N] [--days D] [--json FILE]

Simulated: the machine that it runs on is not in the figures, only in how long they take, some five minutes on two
cores. For each seed the generator's fleet and owners live through 30 days, with traffic of their own; another router
is there for the last of them only. Then both meet the same week: same requests, same owners, who keep their hours but
not to the minute. A third run of the week has no owners at all: no knowledge of owners can be worth more than that.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.talk import progress, writable
from herd.simulation.comparison.resampling import student
from herd.simulation.fleet.house import Disk
from herd.simulation.machine.owners import DAY, HOUR, SLOTS
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import Sample, SampleOutcome, owner_disturbance
from herd.simulation.runs.run import Result, Scenario, simulate
from herd.types import Priority, Seconds

SEEDS, FIRST_SEED = 10, 1
REQUESTS = 2000  # of the week: some 300 a day, as a house of a few people asks
DAYS = 30
WEEK = 5  # the number of the week that is measured: there is room for 30 days before it
LEARNING = 0.3  # of a day's requests: so much is asked on the days before, which say enough of speeds


@dataclass(frozen=True, slots=True)
class Week:
    """What the clients of one week got. Times in seconds, of whole answers that were served."""

    mean: float  # of what people wait for
    everything: float  # jobs that nobody waits for included
    first_token: float  # as `mean`
    not_served: int
    cold_loads: int
    disturbed: float  # seconds in which a machine computed while its owner was in a meeting, or used half of it or more


@dataclass(frozen=True, slots=True)
class Found:
    """One seed."""

    seed: int
    day_1: Week
    day_30: Week
    no_owners: Week

    @property
    def gain(self) -> float:
        """By how much the later knowledge is better, as a share of the mean latency."""
        return _less(self.day_1.mean, self.day_30.mean)

    @property
    def most(self) -> float:
        """The same for owners who are not there."""
        return _less(self.day_1.mean, self.no_owners.mean)


def measured_week(seed: int, requests: int) -> Scenario:
    """The week that every router meets."""
    return replace(household(seed, Household(days=7, requests=requests)), start_week=WEEK)


def knowledge(week: Scenario, days: int, requests: int) -> Disk:
    """What a router remembers that was there for so many days before the week."""
    began = WEEK * SLOTS - days * (DAY // HOUR)
    count = max(1, round(LEARNING * requests / 7 * days))
    size = Household(days=days, requests=count, start_slot=began % SLOTS)
    before = household(week.seed, size)
    # A run ends with its last answer: this one lasts to the end.
    last = replace(week.requests[0], at=Seconds(before.duration - 60.0))
    disk = Disk()
    lived = replace(
        before,
        nodes=week.nodes,
        requests=sorted([*before.requests, last], key=lambda one: one.at),
        start_week=began // SLOTS,
    )
    simulate(lived, open_store=disk.open)
    return disk


def run(seed: int, requests: int, days: int) -> Found:
    """All three runs of a seed's week."""
    week = measured_week(seed, requests)
    deserted = replace(week, nodes=tuple(replace(node, habits="server") for node in week.nodes))
    weeks = []
    for scenario, learned in ((week, 1), (week, days), (deserted, 1)):
        disk = knowledge(week, learned, requests)
        try:
            weeks.append(week_of(simulate(scenario, open_store=disk.open)))
        finally:
            disk.throw_away()
    return Found(seed, *weeks)


def week_of(result: Result) -> Week:
    """The figures of a run; those who hung up of their own choice are left out."""
    served = [one for one in result.samples if one.outcome is SampleOutcome.SERVED]
    people = [one for one in served if one.priority is Priority.INTERACTIVE]
    stayed = sum(one.outcome is not SampleOutcome.HUNG_UP for one in result.samples)
    return Week(
        _mean(people),
        _mean(served),
        fmean(one.first_token for one in people) if people else 0.0,
        stayed - len(served),
        sum(node.loads.count for node in result.nodes),
        sum(owner_disturbance(node.working, node.owned).total for node in result.nodes),
    )


def _less(before: float, after: float) -> float:
    """By how much, as a share; none of nothing."""
    return 1.0 - after / before if before else 0.0


def _mean(samples: Sequence[Sample]) -> float:
    return fmean(one.completion for one in samples) if samples else 0.0


def measured(seeds: Sequence[int], requests: int, days: int) -> Iterator[Found]:
    """All seeds, as they end: one at a time on each core."""
    with ProcessPoolExecutor() as pool:
        for done, ended in enumerate(as_completed([pool.submit(run, seed, requests, days) for seed in seeds]), 1):
            found = ended.result()
            progress(f"{done} of {len(seeds)}: seed {found.seed}, {found.gain:+.1%}")
            yield found


def table(found: Sequence[Found], days: int) -> str:
    """For a person, in Markdown."""
    later = f"after {days} days (s)"
    names = (
        "seed",
        "after 1 day (s)",
        later,
        "better by",
        "no owners (s)",
        "not served",
        "cold loads",
        "disturbed (s)",
    )
    lines = [
        "Mean latency of what people wait for, to the end of the answer; for how long owners were disturbed.",
        "Of several figures in a column: after 1 day, later, no owners.",
        "",
        f"| {' | '.join(names)} |",
        "|---|" + "---:|" * (len(names) - 1),
    ]
    for one in found:
        weeks = (one.day_1, one.day_30, one.no_owners)
        lines.append(
            f"| {one.seed} | {one.day_1.mean:.2f} | {one.day_30.mean:.2f} | {one.gain:+.1%} | {one.no_owners.mean:.2f} "
            f"| {' / '.join(str(week.not_served) for week in weeks)} "
            f"| {' / '.join(str(week.cold_loads) for week in weeks)} "
            f"| {one.day_1.disturbed:.0f} / {one.day_30.disturbed:.0f} |"
        )
    knowledge_s = f"knowledge of {days} days in place of one"
    figures = (
        (f"Latency, {knowledge_s}", [one.gain for one in found]),
        ("Latency, owners who are not there at all", [one.most for one in found]),
        (f"Latency with jobs, {knowledge_s}", [_less(one.day_1.everything, one.day_30.everything) for one in found]),
        (f"To the first token, {knowledge_s}", [_less(one.day_1.first_token, one.day_30.first_token) for one in found]),
        (f"Disturbance, {knowledge_s}", [_less(one.day_1.disturbed, one.day_30.disturbed) for one in found]),
    )
    for name, gains in figures:
        mean, half = difference([0.0] * len(gains), gains)
        lines += ["", f"{name}: less by {mean:.1%} ± {half:.1%} (mean of the seeds, paired 95 % interval)."]
    return "\n".join(lines)


def difference(ours: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The mean of others - ours, seed by seed, and half the width of its 95 % interval (Student's t).

    Not a number where a value is infinite, and a width of infinity for a single seed.
    """
    found = [other - own for own, other in zip(ours, others, strict=True)]
    if not all(map(math.isfinite, found)):
        return math.nan, math.nan
    if len(found) < 2:
        return found[0], math.inf
    return fmean(found), student(len(found) - 1) * stdev(found) / math.sqrt(len(found))


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = sorted(measured(seeds, options.requests, options.days), key=lambda one: one.seed)
    print(table(found, options.days))
    if options.json:
        document = {"requests": options.requests, "days": options.days, "seeds": [asdict(one) for one in found]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="learning.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=_count(1000), default=SEEDS, metavar="N", help=f"so many fleets ({SEEDS})")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, metavar="N", help=f"of the first ({FIRST_SEED})")
    parser.add_argument(
        "--requests", type=_count(100_000), default=REQUESTS, metavar="N", help=f"of the week ({REQUESTS})"
    )
    parser.add_argument("--days", type=_count(WEEK * 7), default=DAYS, metavar="D", help=f"to learn ({DAYS})")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write every seed's figures to FILE")
    return parser


class _count:  # noqa: N801 - it is used as a function
    """A whole number from 1 to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, text: str) -> int:
        number = int(text)
        if not 1 <= number <= self._most:
            raise argparse.ArgumentTypeError(f"{text} makes no sense: take 1 to {self._most:,}")
        return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
