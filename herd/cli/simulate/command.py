"""`herd simulate`: a fleet that does not exist, its owners and its clients, under the router that does."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import track

from herd.cli.process import raise_file_limit, set_up_logs
from herd.cli.simulate import compare as comparing
from herd.cli.simulate.recorded import DataDir, FromHistory, hour_of_week, recorded_traffic
from herd.cli.simulate.view import picture, span, tables
from herd.cli.simulate.wall_clock import simulate_on_wall_clock
from herd.cli.simulate.what_if import SEEDS, WhatIf, ask_what_if
from herd.errors import ConfigError, HerdError
from herd.simulation.chaos.run import chaos, replay
from herd.simulation.comparison.changes import change_of
from herd.simulation.comparison.what_if import Question
from herd.simulation.runs.households import DAY, YEAR, Household, household, playable
from herd.simulation.runs.report import report
from herd.simulation.runs.run import Result, Scenario, Watcher, simulate
from herd.simulation.workload.history import Recorded
from herd.simulation.workload.traces import TraceRow, read_trace, stretched
from herd.types import ScorerKind

DEFAULT = Household()

# Agents look at their servers every 2 s at any speed. Beyond the greatest one that is half an hour of the scenario, and
# the clients' patience is over before a socket has opened.
SLOWEST, FASTEST = 0.01, 1000.0

_Days = Annotated[float, typer.Option(help="How long; a trace goes on to its end unless this is given.")]
_Trace = Annotated[
    Path | None, typer.Option(help="Take times and lengths from a trace: Azure's CSV or Mooncake's JSON lines.")
]
_Rate = Annotated[
    float | None, typer.Option(help="Stretch the trace or history to so many requests a second, on average.")
]
_WallClock = Annotated[
    bool, typer.Option("--wall-clock", help="Over real sockets and behind real agents, in real time.")
]
_Chaos = Annotated[
    int | None,
    typer.Option("--chaos", min=1, help="In place of a day, run so many seeds of chaos and check the invariants."),
]

_Seeds = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1000,
        help=f"So many fleets, from --seed on ({comparing.SEEDS} with --compare, {SEEDS} with --what-if).",
        show_default=False,
    ),
]

_CHAOS_HEEDS = ("seed", "chaos_seeds", "scorer", "as_json")


def simulate_command(
    context: typer.Context,
    *,
    seed: Annotated[int, typer.Option(min=0, help="Of owners, disks and requests: the same seed, the same run.")] = 0,
    nodes: Annotated[int, typer.Option(help="Machines.")] = DEFAULT.nodes,
    models: Annotated[int, typer.Option(help="Models that are asked for.")] = DEFAULT.models,
    clients: Annotated[int, typer.Option(help="People who ask; half as many programs ask, too.")] = DEFAULT.clients,
    requests: Annotated[int, typer.Option(help="Requests, about; of a trace, at most.")] = DEFAULT.requests,
    days: _Days = DEFAULT.days,
    start_hour: Annotated[int, typer.Option(help="Of the week at which it begins; 0 is Monday 00:00.")] = 0,
    parallel: Annotated[int, typer.Option(help="Requests that a model runs at once.")] = DEFAULT.parallel,
    owners: Annotated[bool, typer.Option(help="People use the machines, too.")] = DEFAULT.owners,
    trace: _Trace = None,
    from_history: FromHistory = False,
    data_dir: DataDir = None,
    rate: _Rate = None,
    scorer: Annotated[ScorerKind, typer.Option(help="What nodes are ranked by.")] = ScorerKind.SEVEN_SIGNALS,
    what_if: WhatIf = None,
    seeds: _Seeds = None,
    wall_clock: _WallClock = False,
    speed: Annotated[float, typer.Option(help="With --wall-clock: pass time so many times as fast.")] = 60.0,
    decisions: Annotated[Path | None, typer.Option(help="Write what the router decided into this file.")] = None,
    chaos_seeds: _Chaos = None,
    compare: comparing.Compared = None,
    load: comparing.Loads = comparing.LOADS,
    hours: comparing.Hours = comparing.HOURS,
    report: comparing.ReportFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON, and nothing else.")] = False,
) -> None:
    """Simulate a fleet: production router, made-up machines, owners and clients; a day takes seconds.

    Example: herd simulate --seed 7 --days 7
    """
    set_up_logs("error")
    console = Console(highlight=False)
    if chaos_seeds is not None:
        _refuse(context, "--chaos has houses and requests of its own", heeds=_CHAOS_HEEDS)
        with _printing():
            _chaos(range(seed, seed + chaos_seeds), scorer, console, as_json=as_json)
        return
    _refuse_combinations(context)
    if not SLOWEST <= speed <= FASTEST:
        raise ConfigError(f"time cannot pass {speed:g} times as fast: take {SLOWEST:g} to {FASTEST:g}")
    size = Household(nodes, models, clients, requests, days, parallel, owners, start_hour)
    if compare is not None:
        chosen = comparing.Comparison(compare, load, seeds or comparing.SEEDS, hours, report)
        told = comparing.compare(chosen, chosen.plan(size, seed, trace), as_json=as_json)
        with _printing():
            typer.echo(told, nl=False)
        return
    remarks = Console(stderr=True, highlight=False, quiet=as_json)
    history = recorded_traffic(data_dir, playable(size), remarks) if from_history else None
    if history is not None and rate is None and not _given(context, "start_hour"):
        size = replace(size, start_slot=hour_of_week(history.began))
    duration = days * DAY if _given(context, "days") else None
    rows = _rows(trace, rate, requests, duration, remarks, history=history)
    more = {} if history is None else {"history": history.document()}
    if what_if:
        question = Question(size, rows, scorer, tuple(map(change_of, what_if)))
        houses = range(seed, seed + (seeds or SEEDS))
        answered = ask_what_if(question, what_if, houses, console, as_json=as_json)
        with _printing():
            answered.show(console, more if as_json else None)
        return
    scenario = replace(household(seed, size, rows), scorer=scorer)
    with _decisions(decisions, trace) as file:
        with _view(console, shown=console.is_terminal and not as_json) as watch:
            if wall_clock:
                result = _over_sockets(scenario, speed, watch, remarks)
            else:
                write = file.write if file is not None else None
                result = simulate(scenario, watch=watch, write=write)
        with _printing():
            _show(scenario, result, console, more if as_json else None)


def _given(context: typer.Context, name: str) -> bool:
    """Whether an option was on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _refuse(context: typer.Context, why: str, *names: str, heeds: Sequence[str] = ()) -> None:
    """Raise ConfigError when one of these options is given (without names: any but `heeds`): it would be ignored."""
    for name in names or [name for name in context.params if name not in heeds]:
        if _given(context, name):
            flag = ("--no-" if name == "owners" and not context.params[name] else "--") + name.replace("_", "-")
            raise ConfigError(f"{why}: leave {flag} out" if flag not in why else why)


def _refuse_combinations(context: typer.Context) -> None:
    """Raise ConfigError when an option is given that would be ignored beside others."""
    given = context.params
    if given["compare"] is not None:
        _refuse(context, "--compare has hours and requests of its own", heeds=comparing.HEEDS)
        return
    _refuse(context, "--load, --hours and --report go with --compare", *comparing.OWN)
    if given["wall_clock"]:
        _refuse(context, "--decisions goes with virtual time: on a wall clock chance decides too", "decisions")
    else:
        _refuse(context, "virtual time takes no time: --speed goes with --wall-clock", "speed")
    if given["from_history"]:
        _refuse(context, "a history has requests, models and clients of its own", "trace", "models", "clients")
    else:
        _refuse(context, "--data-dir says whose history is replayed: it goes with --from-history", "data_dir")
    if given["what_if"]:
        _refuse(context, "--what-if is many runs in virtual time", "wall_clock", "decisions")
    else:
        _refuse(context, "--seeds goes with --what-if and --compare: one run has one --seed", "seeds")


def _rows(
    trace: Path | None,
    rate: float | None,
    limit: int,
    duration: float | None,
    remarks: Console,
    *,
    history: Recorded | None = None,
) -> Sequence[TraceRow] | None:
    """What is taken of a trace or a history; None where there is none. Raises ConfigError when it makes no run."""
    if trace is None and history is None:
        if rate is not None:
            raise ConfigError("--rate stretches a trace: name one with --trace, or say how many --requests")
        return None
    name = "the history" if trace is None else str(trace)
    rows: Sequence[TraceRow] = history.rows if history is not None else ()
    if trace is not None:
        rows = read_trace(trace, limit=limit + 1)
    if len(rows) > limit:
        remarks.print(f"only {limit} requests of {name} are taken: --requests takes more", markup=False)
        rows = rows[:limit]
    if rate is not None:
        rows = stretched(rows, rate=rate)
    if duration is not None:
        rows = [row for row in rows if row.at < duration]
    if rows[-1].at > YEAR:
        days = rows[-1].at / DAY
        raise ConfigError(f"{name} goes on for {days:.4g} days, more than a year: cut it with --days, or give a --rate")
    return rows


def _over_sockets(scenario: Scenario, speed: float, watch: Watcher | None, remarks: Console) -> Result:
    """Raises HerdError when the system does not grant the sockets, or the nodes do not join."""
    remarks.print(f"over sockets at {speed:g} times the speed: {span(scenario.duration / speed)} to go")
    raise_file_limit()
    try:
        return asyncio.run(simulate_on_wall_clock(scenario, speed=speed, watch=watch))
    except OSError as error:
        raise HerdError(f"this machine cannot hold the fleet: {error.strerror or error}; take fewer nodes") from error


class _DecisionFile:
    """Takes the decision log; a disk that is full ends no run in its middle, but is told at its end.

    Args:
        file: open.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, line: str) -> None:
        if self.failure is None:
            try:
                self._file.write(line)
            except OSError as error:
                self.failure = error

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # what was still to be written
            self.failure = self.failure or error


@contextmanager
def _decisions(path: Path | None, trace: Path | None) -> Iterator[_DecisionFile | None]:
    """The file of the decision log. Raises ConfigError when there can be none, HerdError when it is not whole."""
    if path is None:
        yield None
        return
    try:
        if trace is not None and path.exists() and path.samefile(trace):
            raise ConfigError(f"--decisions would write over the trace {trace}: name another file")
        file = _DecisionFile(path.open("w", encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield file
    finally:
        file.close()
    if file.failure is not None:
        raise HerdError(
            f"cannot write {path}: {file.failure.strerror or file.failure}; the decisions are not all there"
        )


@contextmanager
def _printing() -> Iterator[None]:
    """Raises HerdError when standard output takes nothing more; a reader that has seen enough ends the run quietly."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HerdError(f"cannot write to standard output: {error.strerror or error}") from error


def _show(scenario: Scenario, result: Result, console: Console, more: dict[str, Any] | None) -> None:
    """As JSON with `more` in it; as tables where that is None."""
    figures = report(scenario, result)
    if more is not None:
        typer.echo(json.dumps(figures.document() | more, indent=2))
    else:
        for part in tables(figures):
            console.print(part)


@contextmanager
def _view(console: Console, *, shown: bool) -> Iterator[Watcher | None]:
    """A picture that changes with the run, and goes when it ends."""
    if not shown:
        yield None
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda moment: live.update(picture(moment), refresh=True)


def _chaos(seeds: range, scorer: ScorerKind, console: Console, *, as_json: bool) -> None:
    """Run seeds of chaos. Raises HerdError when one of them breaks an invariant."""
    broken: dict[int, tuple[str, ...]] = {}
    shown = console.is_terminal and not as_json
    for seed in track(seeds, "seeds of chaos", console=console, transient=True, disable=not shown):
        violations = chaos(seed, scorer=scorer).violations
        if violations:
            broken[seed] = violations
            if not as_json:
                console.print(f"[red]seed {seed}[/red], again with: {replay(seed, scorer)}")
                for violation in violations:
                    console.print(f"  {violation}", markup=False)
    if as_json:
        document = {
            "seeds": len(seeds),
            "first": seeds.start,
            "broken": {str(seed): why for seed, why in broken.items()},
        }
        typer.echo(json.dumps(document, indent=2))
    elif not broken:
        console.print(f"{_seeds(len(seeds))} of chaos, from {seeds.start}: every invariant held")
    if broken:
        raise HerdError(f"{len(broken)} of {_seeds(len(seeds))} broke an invariant")


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
