"""One scenario on two clocks: in virtual time, and over real sockets on the wall clock.

What speeds the wall clock up makes it less exact: beside the simulated machine's time a request takes a few
milliseconds of HTTP, link and actors, and at a speed of 30 each of them counts for 30. Agents look at their servers
every 2 s whatever the speed, so the router learns of a load up to a minute of the scenario late, and now and then
places a request elsewhere; the rest of its conversation then stays there. The processor would allow more speed: every
token is a write through both hops, and at a speed of 100 they take a quarter of a core.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.fidelity_fit import Error, error, quantile
from benchmarks.talk import progress
from herd.cli.simulate.wall_clock import simulate_on_wall_clock
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.simulation.runs.run import simulate

AIM = 0.10  # of the medians


@dataclass(frozen=True, slots=True)
class Length:
    """How much a run compares."""

    size: Household
    speed: float  # seconds of the scenario in one of the wall clock's


# 200 wanted, and what comes with them: a client that talks says more than once. The days are so short that machines
# wait for each other now and then, and so long that most requests find one at rest.
FULL = Length(Household(nodes=4, requests=200, days=0.05, owners=False), speed=30.0)
QUICK = Length(Household(nodes=4, requests=60, days=0.0125, owners=False), speed=30.0)
SMOKE = Length(Household(nodes=2, requests=6, days=0.005, owners=False), speed=300.0)


@dataclass(frozen=True, slots=True)
class Times:
    """Of one kind, on both clocks. Seconds of the scenario: (mean, median, 90th percentile)."""

    virtual: tuple[float, float, float]
    wall: tuple[float, float, float]
    each: Error  # of the wall clock, request by request
    alike: Error | None  # the same of those that the same machine served; None: there are none
    added_ms: float  # median milliseconds, not scaled, that the wall clock takes more for one of those


@dataclass(frozen=True, slots=True)
class Compared:
    """Both runs."""

    requests: int
    compared: int  # served on both clocks
    served: tuple[int, int]  # virtual, wall
    same_node: int  # of those compared
    loads: tuple[int, int]
    speed: float
    seconds: float  # that the wall clock's took
    cores: float  # of them this process was busy with
    first_token: Times
    completion: Times


def compare(seed: int, length: Length) -> Compared:
    """Run one scenario on both clocks."""
    scenario = household(seed, length.size)
    virtual = simulate(scenario)
    progress(f"{len(scenario.requests)} requests on the wall clock: {virtual.ended / length.speed:.0f} s")
    began, busy = time.monotonic(), time.process_time()
    wall = asyncio.run(simulate_on_wall_clock(scenario, speed=length.speed))
    seconds, busy = time.monotonic() - began, time.process_time() - busy
    pairs = served(virtual.samples, wall.samples)
    return Compared(
        requests=len(scenario.requests),
        compared=len(pairs),
        served=(_served(virtual.samples), _served(wall.samples)),
        same_node=sum(one.node == other.node for one, other in pairs),
        loads=(sum(node.loads.count for node in virtual.nodes), sum(node.loads.count for node in wall.nodes)),
        speed=length.speed,
        seconds=seconds,
        cores=busy / seconds,
        first_token=times(pairs, "first_token", length.speed),
        completion=times(pairs, "completion", length.speed),
    )


def served(virtual: Sequence[Sample], wall: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The samples of one request in both runs, where it was served in both."""
    wanted = SampleOutcome.SERVED
    pairs = zip(virtual, wall, strict=True)
    return [(one, other) for one, other in pairs if one.outcome is wanted and other.outcome is wanted]


def times(pairs: Sequence[tuple[Sample, Sample]], what: str, speed: float) -> Times:
    """Compare `first_token` or `completion`. Raises ValueError when there is nothing to compare."""
    both = [(getattr(one, what), getattr(other, what), one.node == other.node) for one, other in pairs]
    alike = [(virtual, wall) for virtual, wall, same in both if same]
    return Times(
        virtual=_spread([virtual for virtual, _, _ in both]),
        wall=_spread([wall for _, wall, _ in both]),
        each=error([(wall, virtual) for virtual, wall, _ in both]),
        alike=error([(wall, virtual) for virtual, wall in alike]) if alike else None,
        added_ms=median([(wall - virtual) / speed * 1000 for virtual, wall in alike] or [0.0]),
    )


def report(found: Compared) -> str:
    """For a person."""
    head = ["| seconds of the scenario | virtual | wall clock | difference |", "|---|---:|---:|---:|"]
    rows = [row for what, one in _both(found) for row in _rows(what, one)]
    again = [
        "| request by request | median | p90 | leans | median, on the same machine | added on it |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what, one in _both(found):
        alike = f"{one.alike.median:.1%}" if one.alike is not None else ""
        cells = [f"{one.each.median:.1%}", f"{one.each.p90:.1%}", f"{one.each.lean:+.1%}", alike]
        again.append(f"| {what} | " + " | ".join(cells) + f" | {one.added_ms:.1f} ms |")
    same = found.same_node / found.compared
    served = (
        f"{found.requests} requests, {found.compared} of them served on both clocks "
        f"({found.served[0]} in virtual time, {found.served[1]} on the wall clock), "
        f"{same:.0%} by the same machine; {found.loads[0]} and {found.loads[1]} loads."
    )
    speed = f"Speed {found.speed:g}: {found.seconds:.0f} s, in which this process took {found.cores:.0%} of a core."
    notes = [served, speed, f"Aim: medians within {AIM:.0%}."]
    return "\n\n".join(["\n".join([*head, *rows]), "\n".join(again), "\n".join(notes)])


def _both(found: Compared) -> tuple[tuple[str, Times], tuple[str, Times]]:
    return ("first token", found.first_token), ("completion", found.completion)


def _rows(what: str, one: Times) -> list[str]:
    names = ("mean", "median", "p90")
    return [
        f"| {what}, {name} | {virtual:.2f} | {wall:.2f} | {wall / virtual - 1:+.1%} |"
        for name, virtual, wall in zip(names, one.virtual, one.wall, strict=True)
    ]


def _spread(seconds: Sequence[float]) -> tuple[float, float, float]:
    return mean(seconds), median(seconds), quantile(seconds, 0.9)


def _served(samples: Sequence[Sample]) -> int:
    return sum(one.outcome is SampleOutcome.SERVED for one in samples)
