"""A fleet that does not exist, under the router that does: an evening in seconds, then some of it over sockets.

    python examples/simulate.py

Five machines, their owners and eight clients. First in virtual time, where the same seed gives the same decisions to
the letter; then the same machines serve HTTP on this one, behind real agents. `herd simulate` does this with options.
"""

import asyncio
from dataclasses import replace

from rich.console import Console
from rich.live import Live

from herd.cli.simulate.view import picture, tables
from herd.cli.simulate.wall_clock import simulate_on_wall_clock
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.report import report
from herd.simulation.runs.run import Result, Scenario, simulate
from herd.simulation.workload.generator import WorkloadSettings, generate
from herd.types import Seconds

EVENING = 18  # hour of a Monday
HOURS = Seconds(2 * 3600.0)

# Who is in the house: a machine, what is on its disk, and the habits of whoever sits in front of it.
NODES = (
    NodePlan("studio", PROFILES["mac-studio"], ("llama3.3:70b", "qwen3:30b", "llama3.2:3b")),
    NodePlan("gaming-pc", PROFILES["gaming-pc"], ("qwen3:8b", "llama3.2:3b"), habits="gamer", parallel=2),
    NodePlan("air", PROFILES["macbook-air"], ("llama3.2:3b",), habits="office laptop"),
    NodePlan("family-mac", PROFILES["mac-mini-pro"], ("qwen3:8b", "llama3.2:3b"), habits="family mac"),
    NodePlan("mini-pc", PROFILES["mini-pc"], ("llama3.2:3b", "qwen3:8b")),
)
MODELS = {"llama3.2:3b": 5.0, "qwen3:8b": 3.0, "qwen3:30b": 2.0, "llama3.3:70b": 1.0}


def show(console: Console, title: str, scenario: Scenario, result: Result) -> None:
    """The figures of one run."""
    console.rule(title)
    for part in tables(report(scenario, result)):
        console.print(part)


def main() -> None:
    """Simulate twice."""
    console = Console(highlight=False)
    workload = WorkloadSettings(HOURS, requests=250, models=MODELS, start_slot=EVENING)
    evening = Scenario(NODES, generate(seed=1, settings=workload), HOURS, seed=1, start_slot=EVENING)

    with Live(console=console, auto_refresh=False, transient=True) as live:
        result = simulate(evening, watch=lambda moment: live.update(picture(moment), refresh=True))
    show(console, "an evening, in virtual time", evening, result)
    assert simulate(evening).decisions == result.decisions

    # Nobody wants to wait for an evening: the first requests of it, and time passes forty times as fast.
    beginning = replace(evening, requests=evening.requests[:10])
    with Live(console=console, auto_refresh=False, transient=True) as live:
        real = simulate_on_wall_clock(
            beginning, speed=40.0, watch=lambda moment: live.update(picture(moment), refresh=True)
        )
        result = asyncio.run(real)
    show(console, "its first requests, over sockets", beginning, result)


if __name__ == "__main__":
    main()
