"""`herd simulate`: a fleet that does not exist, its owners and its clients, under the router that does."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from herd.cli.process import set_up_logs
from herd.cli.simulation_view import picture, tables
from herd.cli.wall_clock import simulate_on_wall_clock
from herd.errors import ConfigError, HerdError
from herd.simulation.chaos.run import chaos, replay
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.report import report
from herd.simulation.runs.run import Result, Scenario, Watcher, simulate
from herd.simulation.workload.traces import TraceRow, read_trace, stretched

DEFAULT = Household()


def simulate_command(
    *,
    seed: Annotated[int, typer.Option(min=0, help="Of owners, disks and requests: the same seed, the same run.")] = 0,
    nodes: Annotated[int, typer.Option(help="Machines.")] = DEFAULT.nodes,
    models: Annotated[int, typer.Option(help="Models that are asked for.")] = DEFAULT.models,
    clients: Annotated[int, typer.Option(help="People and programs that ask.")] = DEFAULT.clients,
    requests: Annotated[int, typer.Option(help="Requests, about; of a trace, at most.")] = DEFAULT.requests,
    days: Annotated[float, typer.Option(help="How long.")] = DEFAULT.days,
    start_hour: Annotated[int, typer.Option(help="Of the week at which it begins; 0 is Monday 00:00.")] = 0,
    parallel: Annotated[int, typer.Option(help="Requests that a model runs at once.")] = DEFAULT.parallel,
    owners: Annotated[bool, typer.Option(help="People use the machines, too.")] = DEFAULT.owners,
    trace: Annotated[
        Path | None, typer.Option(help="Take times and lengths from a trace: Azure's CSV or Mooncake's JSON lines.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Stretch the trace to so many requests a second, on average.")
    ] = None,
    wall_clock: Annotated[
        bool, typer.Option("--wall-clock", help="Over real sockets and behind real agents, in real time.")
    ] = False,
    speed: Annotated[float, typer.Option(help="With --wall-clock: pass time so many times as fast.")] = 60.0,
    decisions: Annotated[Path | None, typer.Option(help="Write what the router decided into this file.")] = None,
    chaos_seeds: Annotated[
        int, typer.Option("--chaos", help="In place of a day, run so many seeds of chaos and check the invariants.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as JSON, and nothing else.")] = False,
) -> None:
    """Simulate a fleet: production router, made-up machines, owners and clients; a day takes seconds.

    Example: herd simulate --seed 7 --days 7
    """
    set_up_logs("error")
    console = Console(highlight=False)
    if chaos_seeds:
        _chaos(range(seed, seed + chaos_seeds), console, as_json)
        return
    size = Household(nodes, models, clients, requests, days, parallel, owners, start_hour)
    scenario = household(seed, size, _rows(trace, rate, requests))
    if wall_clock and decisions is not None:
        raise ConfigError("--decisions goes with virtual time: on a wall clock chance decides too")
    with _view(console, shown=console.is_terminal and not as_json) as watch:
        result = _run(scenario, watch, decisions, speed if wall_clock else None)
    figures = report(scenario, result)
    if as_json:
        typer.echo(json.dumps(figures.document(), indent=2))
    else:
        for part in tables(figures):
            console.print(part)


def _rows(trace: Path | None, rate: float | None, limit: int) -> Sequence[TraceRow] | None:
    if trace is None:
        if rate is not None:
            raise ConfigError("--rate stretches a trace: name one with --trace, or say how many --requests")
        return None
    rows = read_trace(trace, limit=limit)
    return stretched(rows, rate=rate) if rate is not None else rows


def _run(scenario: Scenario, watch: Watcher | None, decisions: Path | None, speed: float | None) -> Result:
    if speed is not None:
        if speed <= 0:
            raise ConfigError(f"time cannot pass {speed:g} times as fast: take more than 0")
        return asyncio.run(simulate_on_wall_clock(scenario, speed=speed, watch=watch))
    with ExitStack() as stack:
        write: Callable[[str], object] | None = None
        if decisions is not None:
            try:
                write = stack.enter_context(decisions.open("w", encoding="utf-8")).write
            except OSError as error:
                raise ConfigError(f"cannot write {decisions}: {error.strerror or error}") from error
        return simulate(scenario, watch=watch, write=write)


@contextmanager
def _view(console: Console, *, shown: bool) -> Iterator[Watcher | None]:
    """A picture that changes with the run, and goes when it ends."""
    if not shown:
        yield None
        return
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda moment: live.update(picture(moment), refresh=True)


def _chaos(seeds: range, console: Console, as_json: bool) -> None:
    """Run seeds of chaos. Raises HerdError when one of them breaks an invariant."""
    broken: dict[int, tuple[str, ...]] = {}
    for seed in seeds:
        violations = chaos(seed).violations
        if violations:
            broken[seed] = violations
            if not as_json:
                console.print(f"[red]seed {seed}[/red], again with: {replay(seed)}")
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
        console.print(f"{len(seeds)} seeds of chaos, from {seeds.start}: every invariant held")
    if broken:
        raise HerdError(f"{len(broken)} of {len(seeds)} seeds broke an invariant")
