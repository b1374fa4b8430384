"""Fleets as people have them at home, and what is asked of them: the scenarios of `herd simulate`."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

from herd.errors import ConfigError
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG, SimulatedModel
from herd.simulation.machine.owners import HABITS, SLOTS
from herd.simulation.machine.pace import MachineProfile
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.run import Scenario
from herd.simulation.workload.clients import zipf_mix
from herd.simulation.workload.generator import WorkloadSettings, generate
from herd.simulation.workload.requests import SimulatedRequest
from herd.simulation.workload.traces import TraceRow, requests_of
from herd.types import Capability, Seconds, Tokens

DAY = 86_400.0
YEAR = 366 * DAY

# Each request is kept to the end of a run: a million of them take a few GB and some hours. And what comes faster than
# the rate, no hundred machines would answer.
MOST_REQUESTS = 1_000_000
MOST_RATE = 100.0  # requests a second
MOST_CLIENTS = 100_000

# Machine by machine, as a house might come by them; of a larger house there are two of each, and so on. The first one
# never sleeps, so that every house has one that does not.
MACHINES = (
    ("studio", "mac-studio", "server"),
    ("gaming-pc", "gaming-pc", "gamer"),
    ("air", "macbook-air", "office laptop"),
    ("mini-pc", "mini-pc", "server"),
    ("dev", "macbook-pro-m3", "developer workstation"),
    ("family-mac", "mac-mini-pro", "family mac"),
    ("old-pro", "macbook-pro-m1", "night owl"),
    ("workstation", "pc-3090", "server"),
    ("laptop", "macbook-air", "office laptop"),
    ("office-pc", "office-pc", "developer workstation"),
)

# Nobody pulls every model onto every machine that could run it: an assumption.
ON_DISK = 0.7


@dataclass(frozen=True, slots=True)
class Household:
    """The size of a scenario.

    Raises:
        ConfigError: a figure makes no sense.
    """

    nodes: int = 5
    models: int = 6
    clients: int = 8
    requests: int = 3000
    days: float = 1.0
    parallel: int = 1  # requests that each model runs at once
    owners: bool = True  # people use the machines; else nobody does
    start_slot: int = 0  # hour of the week at which the run begins; 0 is Monday 00:00

    def __post_init__(self) -> None:
        chats = len(_chat_models())
        rules = (
            (1 <= self.nodes <= 100, f"{self.nodes} nodes", "take 1 to 100"),
            (1 <= self.models <= chats, f"{self.models} models", f"take 1 to {chats}"),
            (1 <= self.clients <= MOST_CLIENTS, f"{self.clients} clients", f"take 1 to {MOST_CLIENTS}"),
            (1 <= self.requests <= MOST_REQUESTS, f"{self.requests} requests", f"take 1 to {MOST_REQUESTS}"),
            (0 < self.days * DAY <= YEAR, f"{self.days:g} days", "take more than none and at most a year"),
            (self.start_slot in range(SLOTS), f"hour {self.start_slot} of its week", f"take 0 to {SLOTS - 1}"),
            (1 <= self.parallel <= 64, f"{self.parallel} requests at once", "take 1 to 64"),
        )
        for holds, what, advice in rules:
            if not holds:
                raise ConfigError(f"no household has {what}: {advice}")


def household(seed: int, size: Household, trace: Sequence[TraceRow] | None = None) -> Scenario:
    """A fleet and its requests; the same seed and size give the same.

    Args:
        seed: of owners, disks and requests.
        size: how much of everything.
        trace: when and how long the requests are, in place of generated ones; where it tells their models, those are
            on the disks. They are to be among those that the house can play (`playable`).

    Raises:
        ConfigError: no model fits onto any of the machines, or the requests come too fast for any.
    """
    told = dict.fromkeys(row.model for row in trace or () if row.model)
    models = [model for model in _chat_models() if model.name in told] or _chat_models()[: size.models]
    nodes = _with_disks(seed, size, models)
    there = dict.fromkeys(model for node in nodes for model in node.models)
    if not there:
        raise ConfigError(f"no machine of the household has room for {size.parallel} requests at once: take fewer")
    mix = zipf_mix([model.name for model in models if model.name in there])
    duration = Seconds(size.days * DAY)
    requests: list[SimulatedRequest]
    if trace is None:
        if size.requests > MOST_RATE * duration:
            raise ConfigError(
                f"no household has {size.requests} requests in {size.days:g} days: take at most {MOST_RATE:g} a second"
            )
        settings = WorkloadSettings(duration, size.requests, mix, size.clients, start_slot=size.start_slot)
        requests = generate(seed, settings)
    else:
        requests = requests_of(trace, seed=seed, models=mix, clients=size.clients)
        duration = Seconds(max(requests[-1].at, 1.0) if requests else 1.0)
    return Scenario(nodes, requests, duration, seed, size.start_slot)


def machines(seed: int, size: Household) -> tuple[NodePlan, ...]:
    """The fleet alone. Every model is on the disk of a machine that never sleeps, if it fits one of those."""
    return _with_disks(seed, size, _chat_models()[: size.models])


def playable(size: Household) -> list[SimulatedModel]:
    """The models that fit a machine that never sleeps, the most usual one first: all can be asked for, at any seed."""
    awake = [plan for plan in _bare(size) if not HABITS[plan.habits].lid]
    return [model for model in _chat_models() if any(fits(model, plan.machine, plan.parallel) for plan in awake)]


def _with_disks(seed: int, size: Household, models: Sequence[SimulatedModel]) -> tuple[NodePlan, ...]:
    dice = random.Random(seed)  # noqa: S311 - it is to be repeatable
    plans: list[NodePlan] = []
    for plan in _bare(size):
        fitting = [model.name for model in models if fits(model, plan.machine, plan.parallel)]
        disk = [model for model in fitting if dice.random() < ON_DISK]
        plans.append(replace(plan, models=tuple(disk or fitting[:1])))
    return tuple(with_all(plans, models))


def _bare(size: Household) -> Iterator[NodePlan]:
    """The machines with nothing on their disks."""
    for number, (name, kind, habits) in enumerate(islice(cycle(MACHINES), size.nodes)):
        copy = number // len(MACHINES)
        of_its_own = f"{name}-{copy + 1}" if copy else name
        yield NodePlan(of_its_own, PROFILES[kind], (), habits if size.owners else "server", size.parallel)


def with_all(plans: Sequence[NodePlan], models: Sequence[SimulatedModel]) -> list[NodePlan]:
    """The machines; what none that is awake has of these models is on the disk of the largest of those that it fits."""
    awake = [plan for plan in plans if not HABITS[plan.habits].lid]
    had = {model for plan in awake for model in plan.models}
    largest_first = sorted(awake, key=lambda plan: -plan.machine.model_memory)
    added: dict[str, list[str]] = {}
    for model in models:
        fitting = [plan for plan in largest_first if fits(model, plan.machine, plan.parallel)]
        if model.name not in had and fitting:
            added.setdefault(fitting[0].name, []).append(model.name)
    return [replace(plan, models=(*plan.models, *added.get(plan.name, ()))) for plan in plans]


def fits(model: SimulatedModel, machine: MachineProfile, parallel: int) -> bool:
    """Whether a machine has room for a model with so many requests at once."""
    context = min(machine.default_context, model.context)
    return model.resident(Tokens(context), parallel) <= machine.model_memory


def _chat_models() -> list[SimulatedModel]:
    return [model for model in CATALOG.values() if Capability.COMPLETION in model.capabilities]
