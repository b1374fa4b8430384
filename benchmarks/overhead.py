"""What the two hops cost: straight to a backend, through one bare aiohttp hop, and through `herd` and `herd-node`.

    python benchmarks/overhead.py [--quick] [--json FILE] [--only NAME] [--profile]

The three ways are measured in turn, several rounds of it, so that whatever else the machine does falls on all alike.
Every answer is checked byte by byte; one that is wrong or missing ends the run with exit code 1.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.figures import Figures
from benchmarks.load import Found
from benchmarks.measures import (
    FULL,
    MEMORY,
    NAMES,
    QUICK,
    SMOKE,
    Size,
    apply,
    measures,
    watch_memory,
)
from benchmarks.profiling import describe, read_samples
from benchmarks.programs import BenchmarkFailed, Programs
from benchmarks.talk import machine, progress, writable
from benchmarks.targets import HERD, Target, start_backend, start_herd, start_hop, start_house

PROFILED = ("small-32", "flat-out", "streams-256")  # each the busiest of its kind; the others spend in the same places


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.profile and options.only == [MEMORY]:
        parser.error(f"there is no profile of {MEMORY}")
    size = SMOKE if options.smoke else QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="herd-benchmark-") as home, Programs(Path(home)) as programs:
        try:
            if options.profile:
                profile(programs, size, options.only or PROFILED)
                return 0
            figures = measure(programs, size, options.only or NAMES)
        except BenchmarkFailed as failure:
            print(f"failed: {failure}\n{programs.tails()}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(machine(), figures.markdown(), sep="\n\n")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="overhead.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round: under a minute")
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write all that was found to FILE")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--profile", action="store_true", help="show where the processor time of router and agent goes")
    return parser


def measure(programs: Programs, size: Size, names: Sequence[str]) -> Figures:
    """Measure what is named. Raises BenchmarkFailed."""
    direct = start_backend(programs)
    wanted = [each for each in measures(size) if each.name in names]
    found: dict[str, dict[str, list[Found]]] = {}
    if wanted:
        ways = (direct, start_hop(programs, direct), start_herd(programs, direct))
        for number in range(size.rounds):
            for each in wanted:
                progress(f"round {number + 1} of {size.rounds}: {each.title}")
                for way in ways:
                    rounds = found.setdefault(each.name, {}).setdefault(way.name, [])
                    rounds.append(apply(programs, each.plan, way))
    if MEMORY not in names:
        return Figures(wanted, found)
    progress(f"memory over {size.memory_requests:,} requests")
    return Figures(wanted, found, watch_memory(programs, start_herd(programs, direct), size.memory_requests))


def profile(programs: Programs, size: Size, names: Sequence[str]) -> None:
    """Print profiles of router and agent, each from fresh ones. Raises BenchmarkFailed."""
    direct = start_backend(programs)
    for each in measures(size):
        if each.name in names:
            progress(f"profile: {each.title}")
            plan = replace(each.plan, seconds=size.profiled_s) if each.plan.seconds else each.plan
            folder = programs.home / f"profiles-{each.name}"
            folder.mkdir()
            house = start_house(programs, direct, folder)
            pids = {"herd": house.router.pid, "herd-node": house.agent.pid}
            found = apply(programs, plan, Target(HERD, house.port, pids))
            house.agent.stop()
            house.router.stop()
            for name in pids:
                cost_us = found.cpu[name] / found.units * 1e6
                print(describe(f"{name}, {each.title}", read_samples(folder / name), each.unit, cost_us))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
