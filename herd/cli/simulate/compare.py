"""`herd simulate --compare`: policies side by side, as a report."""

import importlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from herd.cli.simulate.view import span
from herd.errors import ConfigError, HerdError
from herd.simulation.comparison.policies import POLICIES
from herd.simulation.comparison.report import document, markdown
from herd.simulation.comparison.runs import Plan, Run, cells, measured
from herd.simulation.comparison.standings import Standing, standings
from herd.simulation.runs.households import Household

Compared = Annotated[
    str | None,
    typer.Option("--compare", metavar="all|NAME,...", help="In place of a day: routing policies side by side."),
]
Loads = Annotated[str, typer.Option("--load", help="With --compare: percents of what the fleet could bear.")]
Hours = Annotated[float, typer.Option("--hours", help="With --compare: of each run, from Monday 9:00 on.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", help="With --compare: write Markdown here, and plots beside it.")
]
LOADS, SEEDS, HOURS = "30,60,90,110", 20, 4.0

# Writes plots beside a report: what each shows, and its file.
Draw = Callable[[Plan, Sequence[Standing], Path], Iterator[tuple[str, str]]]

# What it heeds of the options of `herd simulate`, and what nothing else heeds.
OWN = ("load", "hours", "report")
HEEDS = ("compare", *OWN, "seed", "seeds", "nodes", "models", "clients", "parallel", "owners", "trace", "as_json")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the options say.

    Raises:
        ConfigError: they make no comparison.
    """

    names: str
    load: str
    seeds: int
    hours: float
    report: Path | None

    def plan(self, size: Household, seed: int, trace: Path | None) -> Plan:
        """What is to be run."""
        names = tuple(POLICIES) if self.names.strip() == "all" else tuple(dict.fromkeys(_listed(self.names)))
        loads = tuple(dict.fromkeys(_load(text) for text in _listed(self.load)))
        return Plan(names, loads, self.seeds, seed, self.hours, size, trace)


def compare(options: Comparison, plan: Plan, *, as_json: bool) -> str:
    """Run all, and write the report where there is to be one; what is to be printed: JSON, Markdown or nothing.

    Raises:
        ConfigError: the report cannot be written, or a run cannot be made.
        HerdError: a run failed.
    """
    remarks = Console(stderr=True, highlight=False, quiet=as_json, soft_wrap=True)
    if options.report is not None:
        _writable(options.report, plan.trace)
    draw = _plots() if options.report is not None else None
    runs: list[Run] = []
    total, began = len(cells(plan)), time.monotonic()
    with closing(measured(plan)) as ending:  # Ctrl-C ends what runs
        for run in ending:
            runs.append(run)
            left = (time.monotonic() - began) / len(runs) * (total - len(runs))
            remarks.print(f"{len(runs)} of {total}, some {span(left)} to go: {run.cell}", markup=False)
    found = standings(plan, runs)
    told = json.dumps(document(plan, runs, found), indent=2) + "\n" if as_json else markdown(plan, found)
    if options.report is None:
        return told
    try:
        _write(options.report, plan, found, draw)
    except HerdError:
        typer.echo(told, nl=False)  # what took hours is not lost with the file
        raise
    return told if as_json else ""


def _listed(text: str) -> Iterator[str]:
    return (word for part in text.split(",") if (word := part.strip()))


def _load(text: str) -> float:
    try:
        return float(text) / 100
    except ValueError:
        raise ConfigError(f"--load {text} is no number: give percents, as {LOADS}") from None


def _writable(report: Path, trace: Path | None) -> None:
    """Before anything is run: it takes hours."""
    if trace is not None and report.exists() and report.samefile(trace):
        raise ConfigError(f"--report would write over the trace {trace}: name another file")
    if report.is_dir() or not os.access(report if report.exists() else report.absolute().parent, os.W_OK):
        raise ConfigError(f"cannot write {report}: name a file in a directory that exists")


def _plots() -> Draw | None:
    """What draws the plots, before anything is run; None where that is missing or broken, which is said."""
    remarks = Console(stderr=True, highlight=False, soft_wrap=True)  # even beside JSON
    if importlib.util.find_spec("matplotlib") is None:
        remarks.print("no plots without matplotlib: pip install 'herd-fleet[plots]'", markup=False)
        return None
    try:
        # It takes a second, and is not there everywhere.
        draw: Draw = importlib.import_module("herd.simulation.comparison.plots").draw
    except Exception as error:  # noqa: BLE001 - of an installation that is not whole: it may be anything
        remarks.print(f"no plots, for matplotlib does not start: {type(error).__name__}: {error}", markup=False)
        return None
    return draw


def _write(report: Path, plan: Plan, found: Sequence[Standing], draw: Draw | None) -> None:
    try:
        drawn = list(draw(plan, found, report)) if draw is not None else []
        report.write_text(markdown(plan, found, report=_shown(report), plots=drawn), encoding="utf-8")
    except OSError as error:
        raise HerdError(f"cannot write {error.filename or report}: {error.strerror or error}") from error


def _shown(report: Path) -> str:
    """As it was named, unless that says where this machine keeps its files."""
    return report.name if report.is_absolute() else report.as_posix()
