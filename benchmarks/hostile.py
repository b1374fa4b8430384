"""What hostile clients cost an honest one: its answers alone, and beside them, in turn.

    python benchmarks/hostile.py [--quick] [--json FILE] [--rate N]

A router with keys and a join token, and its agent; a probe that asks small questions one after another with its key;
and, in every second round, the hostile cases of the tests beside it, played N times a second. Aim: the probe's p99
stays within 3 times what it is without them.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks import hostile_load
from benchmarks.load import Found, Plan
from benchmarks.measures import apply
from benchmarks.programs import BenchmarkFailed, Programs, module
from benchmarks.talk import machine, progress, writable
from benchmarks.targets import Guard, Target, start_backend, start_house

AIM = 3.0
# Attacks a second: a script that tries things one after another, and waits for each, manages about as many.
RATE = 100.0
GUARD = Guard(api_key="probe-secret-0001", join_token="a token of the benchmark")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a run does."""

    rounds: int
    seconds: float  # of each round


FULL = Size(rounds=5, seconds=10.0)
QUICK = Size(rounds=2, seconds=4.0)
SMOKE = Size(rounds=1, seconds=0.2)


@dataclass
class Figures:
    """What was found, round by round."""

    rate: float
    calm: list[Found] = field(default_factory=list)
    hostile: list[Found] = field(default_factory=list)
    attacks: int = 0
    answers: dict[str, int] = field(default_factory=dict)

    def ratio(self, share: str) -> float:
        """How many times as long the probe waited beside hostile clients: the median over the rounds."""
        pairs = zip(self.hostile, self.calm, strict=True)
        ratios: list[float] = [getattr(beside, share) / getattr(alone, share) for beside, alone in pairs]
        return median(ratios)

    def markdown(self) -> str:
        """The table, and what became of the aim."""
        rows = ["| the probe's answers | alone | beside hostile clients | ratio |", "|---|---:|---:|---:|"]
        for share in ("p50", "p99"):
            alone, beside = (median(getattr(found, share) for found in way) * 1e3 for way in (self.calm, self.hostile))
            rows.append(f"| {share} (ms) | {alone:.2f} | {beside:.2f} | {self.ratio(share):.2f} |")
        seen = ", ".join(f"{count:,} times {what}" for what, count in sorted(self.answers.items()))
        met = "met" if self.ratio("p99") < AIM else "missed"
        said = f"{self.attacks:,} attacks, at most {self.rate:g} a second, were answered {seen}."
        return "\n".join([*rows, "", said, "", f"aim: p99 within {AIM:g} times: {met}, {self.ratio('p99'):.2f}"])


def measure(programs: Programs, size: Size, rate: float) -> Figures:
    """Calm and hostile rounds in turn, so that whatever else the machine does falls on both. Raises BenchmarkFailed."""
    direct = start_backend(programs)
    house = start_house(programs, direct, guard=GUARD)
    target = Target("herd", house.port, {"router": house.router.pid})
    probe = Plan(connections=1, seconds=size.seconds, key=GUARD.api_key)
    link = int(house.router.says(r"agents connect to port (\d+)"))
    plan = hostile_load.Plan(house.port, link, rate, GUARD.api_key, GUARD.join_token)
    words = [*module("hostile_load"), msgspec.json.encode(plan).decode()]
    figures = Figures(rate)
    for number in range(size.rounds):
        progress(f"round {number + 1} of {size.rounds}")
        figures.calm.append(apply(programs, probe, target))
        load = programs.start("hostile", words)
        load.says("(attacking)")
        figures.hostile.append(apply(programs, probe, target))
        load.stop()
        suffered = msgspec.json.decode(load.log.read_text().splitlines()[-1], type=hostile_load.Suffered)
        if suffered.complaints:
            raise BenchmarkFailed("\n".join(suffered.complaints))
        figures.attacks += suffered.attacks
        for what, count in suffered.answers.items():
            figures.answers[what] = figures.answers.get(what, 0) + count
    return figures


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(prog="hostile.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--smoke", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write all that was found to FILE")
    parser.add_argument("--rate", type=float, default=RATE, metavar="N", help=f"attacks a second (default: {RATE:g})")
    options = parser.parse_args(arguments)
    size = SMOKE if options.smoke else QUICK if options.quick else FULL
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="herd-benchmark-") as home, Programs(Path(home)) as programs:
        try:
            figures = measure(programs, size, options.rate)
        except BenchmarkFailed as failure:
            print(f"failed: {failure}\n{programs.tails()}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(machine(), figures.markdown(), sep="\n\n")
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
