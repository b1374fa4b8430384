"""What an actor costs: a bare asyncio task and queue, `herd.runtime`, Pykka's threads, and xoscar and Ray if installed.

    python benchmarks/runtime.py [--quick] [--json [FILE]] [--only NAME] [--rounds N] [--loop asyncio|uvloop]

In every round each contender gets a new process, and each measure is taken from all of them in turn, so that whatever
else the machine does falls on all alike. What counts is the ratio to the bare way in the same round.
With xoscar and Ray a run takes some ten minutes, without them two.
"""

import argparse
import importlib.metadata
import importlib.util
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, Python looks only beside it

import msgspec

from benchmarks.programs import BenchmarkFailed
from benchmarks.runtime_contenders import Contender, Herd
from benchmarks.runtime_figures import NAMES, VIRTUAL_DAY, Figures
from benchmarks.runtime_guests import CONTENDERS
from benchmarks.runtime_processes import ContenderProcess
from benchmarks.talk import machine, progress, writable

DEF_CALLS = {"ask": "ask", "in-flight": "ask_together", "tell": "tell"}  # the worker's names for them
DEF_NAMES = {*DEF_CALLS, "create", "stop", "memory"}

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a run does."""

    rounds: int
    actors: tuple[int, ...]
    calls: int  # of each measure, by the fastest contenders
    created: int  # actors, at least, by the fastest contenders, for the time that it takes to create one
    slow_start: bool  # may a contender take seconds to start?


FULL = Size(rounds=5, actors=(10, 1_000, 100_000), calls=20_000, created=1_000, slow_start=True)
QUICK = Size(rounds=1, actors=(10, 200), calls=500, created=20, slow_start=False)


def main(arguments: Sequence[str]) -> int:
    """The command; its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        parser.error("uvloop is not installed")
    size = QUICK if options.quick else FULL
    rounds = size.rounds if options.rounds is None else options.rounds
    if rounds < 1:
        parser.error("at least one round")
    names = options.only or NAMES
    left_out = _left_out(size)
    contenders = [each for each in CONTENDERS if each.name not in left_out]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with tempfile.TemporaryDirectory(prefix="herd-benchmark-") as home:
            figures = Run(Path(home), options.loop, size, rounds, contenders, names).measure()
    except BenchmarkFailed as failure:
        print(f"failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    where = f"{machine()}, {options.loop} loop, {rounds} rounds"
    report = {
        "machine": where,
        "loop": options.loop,
        "rounds": rounds,
        "left_out": left_out,
        "rows": figures.rows(),
        "virtual_day_s": figures.day_s,
    }
    if options.json == STDOUT:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return 0
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    notes = [*(f"{name}: left out, {why}" for name, why in left_out.items()), *_notes(contenders, size)]
    print(where, "\n".join(notes), figures.table([each.name for each in contenders]), sep="\n\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runtime.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="only show that it works; the figures mean nothing")
    parser.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        type=writable,
        metavar="FILE",
        help="write all that was found to FILE, or print it",
    )
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"instead of {FULL.rounds}")
    parser.add_argument(
        "--loop", choices=["asyncio", "uvloop"], default="asyncio", help="the event loop of all contenders"
    )
    return parser


@dataclass(slots=True)
class Run:
    """All rounds of all sizes."""

    home: Path
    loop: str
    size: Size
    rounds: int
    contenders: Sequence[type[Contender]]
    names: Sequence[str]
    found: Figures = field(default_factory=Figures)

    def measure(self) -> Figures:
        """Measure what is named. Raises BenchmarkFailed."""
        if set(self.names) != {VIRTUAL_DAY}:
            for actors in self.size.actors:
                # Where all take part, those that cannot bear as many have fewer; they would repeat themselves later.
                able = [each for each in self.contenders if each.most >= actors or actors == self.size.actors[0]]
                for number in range(self.rounds):
                    progress(f"{actors:,} actors, round {number + 1} of {self.rounds}")
                    first = number % len(able)  # nobody is always the one that comes after another
                    self._round([*able[first:], *able[:first]], actors)
        if VIRTUAL_DAY in self.names:
            for number in range(self.rounds):
                progress(f"virtual day, round {number + 1} of {self.rounds}")
                with ContenderProcess(Herd, "asyncio", self.home) as herd:
                    self.found.day_s.append(herd.do("virtual_day")["seconds"])
        return self.found

    def _round(self, able: Sequence[type[Contender]], actors: int) -> None:
        with ExitStack() as stack:
            processes = [stack.enter_context(ContenderProcess(each, self.loop, self.home)) for each in able]
            for process in processes:
                process.do("ready")
            if DEF_NAMES & set(self.names):
                self._create(processes, "def", actors)
                for name, way in DEF_CALLS.items():
                    if name in self.names:
                        self._call(processes, name, way, actors)
                for process in processes:
                    self._note(process, "stop", actors, process.do("stop")["stop"])
            if "ask-async" in self.names:
                awaiting = [process for process in processes if "async" in process.contender.kinds]
                self._create(awaiting, "async", actors)
                self._call(awaiting, "ask-async", "ask", actors)

    def _create(self, processes: Sequence[ContenderProcess], kind: str, actors: int) -> None:
        for process in processes:
            count = min(actors, process.contender.most)
            share = process.contender.share if kind == "def" else 0.0  # of the second kind only the calls are measured
            repeats = max(1, int(self.size.created / count * share))
            found = process.do("create", kind=kind, count=count, repeats=repeats)
            if kind == "def":
                self._note(process, "create", actors, found["create"])
                if actors >= process.contender.weighed_from:
                    self._note(process, "memory", actors, found["memory"])

    def _call(self, processes: Sequence[ContenderProcess], name: str, way: str, actors: int) -> None:
        for process in processes:
            self._note(process, name, actors, process.do("call", way=way, calls=self.size.calls)[way])

    def _note(self, process: ContenderProcess, name: str, actors: int, value: float) -> None:
        if name in self.names:
            contender = process.contender
            self.found.add(name, actors, contender.name, min(actors, contender.most), value)


def _left_out(size: Size) -> dict[str, str]:
    """Which contenders take no part, and why."""
    why = {}
    for each in CONTENDERS:
        if each.package is not None and importlib.util.find_spec(each.package) is None:
            why[each.name] = f"{each.package} is not installed"
        elif each.slow_start and not size.slow_start:
            why[each.name] = "it takes seconds to start, and --quick is quick"
    return why


def _notes(contenders: Sequence[type[Contender]], size: Size) -> list[str]:
    """What a reader has to know of each contender."""
    notes = []
    for each in contenders:
        version = f" {importlib.metadata.version(each.package)}" if each.package else ""
        limit = "" if each.most >= max(size.actors) else f"; at most {each.most:,} actors"
        if each.most < size.actors[0]:
            limit += f", which is what it has where the others have {size.actors[0]}"
        notes.append(f"{each.name}{version}: {each.note}{limit}")
    return notes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
