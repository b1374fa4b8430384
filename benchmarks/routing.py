"""Where requests go, and what their clients get of it: Herd's router against simpler ones, over the same fleets.

    python benchmarks/routing.py [--seeds N] [--first-seed N] [--hours H] [--only LOAD|ROUTER] [--json FILE]

Simulated: the machine that it runs on is not in the figures, only in how long they take, some ten minutes on two cores.
For each seed and load every router gets the generator's fleet, owners and requests of that seed, the same ones.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.routing_figures import Run, run_of, tables
from benchmarks.routing_load import START_SLOT, loaded
from benchmarks.talk import progress, writable
from herd.policy.baselines import least_connections, round_robin
from herd.policy.placement import Ranking, place
from herd.simulation.runs.run import simulate

OURS = "herd"
# How nodes are ranked, and whether models are loaded ahead and kept, and what waits is moved.
ROUTERS: Mapping[str, tuple[Ranking, bool]] = {
    OURS: (place, True),
    "seven signals alone": (place, False),
    "round robin": (round_robin, False),
    "least connections": (least_connections, False),
}
LOADS = (0.3, 0.6, 0.9)
SEEDS, FIRST_SEED = 10, 1
HOURS = 4.0


def run(seed: int, load: float, router: str, hours: float) -> Run:
    """One run, whole."""
    made = loaded(seed, load, hours)
    ranking, acts = ROUTERS[router]
    scenario = replace(made.scenario, pre_warm=acts, homes=acts, rebalance=acts)
    result = simulate(scenario, ranking=ranking)
    return run_of(seed, load, router, made.load, result.samples, sum(node.loads.count for node in result.nodes))


def measured(cells: Sequence[tuple[int, float, str]], hours: float) -> Iterator[Run]:
    """All runs, as they end: one at a time on each core."""
    with ProcessPoolExecutor() as pool:
        # The longest first, so that no core waits for one at the end.
        longest_first = sorted(cells, key=lambda cell: -cell[1])
        for done, ended in enumerate(as_completed([pool.submit(run, *cell, hours) for cell in longest_first]), 1):
            found = ended.result()
            progress(f"{done} of {len(cells)}: seed {found.seed}, {found.load:.0%}, {found.router}")
            yield found


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    options = _parser().parse_args(arguments)
    loads = [load for load in LOADS if f"{load:.0%}" in options.only] or list(LOADS)
    routers = [router for router in ROUTERS if router in options.only] or list(ROUTERS)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    cells = list(product(seeds, loads, routers))
    ended = {(one.seed, one.load, one.router): one for one in measured(cells, options.hours)}
    runs = [ended[cell] for cell in cells]
    what = f"seeds {seeds.start} to {seeds.stop - 1}, {options.hours:g} hours from hour {START_SLOT} of the week"
    print(what, tables(runs, OURS), sep="\n\n")
    if options.json:
        found = {"hours": options.hours, "start_slot": START_SLOT, "runs": [asdict(one) for one in runs]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="routing.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=_count, default=SEEDS, metavar="N", help=f"so many fleets ({SEEDS})")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, metavar="N", help=f"of the first ({FIRST_SEED})")
    parser.add_argument("--hours", type=_hours, default=HOURS, metavar="H", help=f"of each run ({HOURS:g})")
    choices = (*(f"{load:.0%}" for load in LOADS), *ROUTERS)
    only = f"some of {', '.join(choices)}"
    parser.add_argument("--only", action="append", default=[], choices=choices, metavar="WHAT", help=only)
    parser.add_argument("--json", type=writable, metavar="FILE", help="write every run's figures to FILE")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} seeds make no sense: take 1 to 1,000")
    return number


def _hours(text: str) -> float:
    number = float(text)
    if not 0 < number <= 168:
        raise argparse.ArgumentTypeError(f"{text} hours make no sense: take more than none and at most a week")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
