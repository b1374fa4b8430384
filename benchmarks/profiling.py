"""Where the processor time of router and agent goes: samples of it, by room and by function."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.programs import ROOT

Function = tuple[str, int, str]  # file, line, name

# The event loop's own code, which is C: it waits, reads sockets, calls back.
LOOP: Function = ("", 0, "the event loop, reading of sockets included")

TOP = 25  # functions shown; what comes after them has less than a hundredth of the time each

_SITE = re.compile(r"[/\\]site-packages[/\\]([\w-]+)")
_STDLIB = re.compile(r"[/\\]python3\.\d+[/\\](\w+)")


@dataclass(frozen=True, slots=True)
class Samples:
    """How often each function was found running."""

    counts: Sequence[tuple[Function, int]]


def read_samples(file: Path) -> Samples:
    """The samples that a profiled process wrote when it ended."""
    return msgspec.json.decode(file.read_bytes(), type=Samples)


def describe(title: str, samples: Samples, each: str, cost_us: float) -> str:
    """Two Markdown tables, by group and by function.

    Args:
        title: what was profiled.
        samples: what was found.
        each: what was counted: request or token.
        cost_us: microseconds of processor time that each took, as the system counts them.
    """
    total = max(1, sum(count for _, count in samples.counts))
    groups: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for function, count in samples.counts:
        groups[_group(function)] += count
        functions[_described(function)] += count

    def table(head: str, counted: Counter[str]) -> list[str]:
        rows = [
            f"| {name} | {count / total * cost_us:.1f} | {count / total:.1%} |"
            for name, count in counted.most_common(TOP)
        ]
        return [f"| {head} | µs | share |", "|---|---:|---:|", *rows, ""]

    lines = [f"### {title}: {cost_us:.0f} µs of processor time for each {each} ({total:,} samples)", ""]
    return "\n".join([*lines, *table("group", groups), *table("function", functions)])


def _group(function: Function) -> str:
    """Whose a function is: a module of Herd, or a library."""
    file, _, name = function
    if function == LOOP:
        return name
    if Path(file).is_relative_to(ROOT):
        return ".".join(Path(file).relative_to(ROOT).with_suffix("").parts)
    if found := _SITE.search(file) or _STDLIB.search(file):
        return found[1]
    return Path(file).stem or name


def _described(function: Function) -> str:
    file, line, name = function
    return name if function == LOOP else f"{_group(function)} {Path(file).name}:{line} {name}"
