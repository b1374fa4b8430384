"""What may be otherwise in a house: one machine more, one less, or another way to rank them. As `--what-if` has it.

Nobody else notices: the machines that stay keep their owners, with their hours, and their disks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

from herd.errors import ConfigError
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.households import fits, with_all
from herd.simulation.runs.run import Result, Scenario, simulate
from herd.types import ScorerKind

# Somebody who buys a machine for its models puts it where nobody sits.
NOBODY = "server"

_SCORER = re.compile(r"(?:--)?scorer[ =] *(\S+)")


@dataclass(frozen=True, slots=True)
class Setup:
    """A scenario, and how it is routed."""

    scenario: Scenario

    @classmethod
    def of(cls, scenario: Scenario, scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS) -> Self:
        """The scenario, each machine with its owner for good."""
        nodes = tuple(replace(plan, owner=number) for number, plan in enumerate(scenario.nodes))
        return cls(replace(scenario, nodes=nodes, scorer=scorer))

    def with_nodes(self, nodes: Sequence[NodePlan]) -> "Setup":
        """The same requests to other machines."""
        return Setup(replace(self.scenario, nodes=tuple(nodes)))

    def run(self) -> Result:
        """What comes of it."""
        return simulate(self.scenario)


class Change(Protocol):
    """What is to be otherwise."""

    def changed(self, base: Setup) -> Setup:
        """The house as it would be. Raises ConfigError when that makes no sense."""


@dataclass(frozen=True, slots=True)
class Added:
    """One machine more, of a profile, with every model on its disk that is asked for and fits it. Nobody sits at it."""

    profile: str

    def changed(self, base: Setup) -> Setup:
        nodes, machine = base.scenario.nodes, PROFILES[self.profile]
        parallel = nodes[0].parallel if nodes else 1
        models = tuple(name for name in _models(base.scenario) if fits(CATALOG[name], machine, parallel))
        if not models:
            raise ConfigError(
                f"{self.profile} has room for none of the models that are asked for: take another machine"
            )
        name = _unique(self.profile, [plan.name for plan in nodes])
        owner = 1 + max([plan.owner or 0 for plan in nodes], default=0)
        return base.with_nodes((*nodes, NodePlan(name, machine, models, NOBODY, parallel, owner)))


@dataclass(frozen=True, slots=True)
class Removed:
    """One machine less, by its name or the beginning of its name or its profile's.

    What no machine that never sleeps has now goes onto the largest of those that it fits, as in any household: whoever
    gives a machine away keeps its models.
    """

    name: str

    def changed(self, base: Setup) -> Setup:
        gone = self._found(base.scenario.nodes)
        nodes = [plan for plan in base.scenario.nodes if plan is not gone]
        if not nodes:
            raise ConfigError(f"without {gone.name} no machine is left: add one first")
        return base.with_nodes(with_all(nodes, [CATALOG[name] for name in gone.models]))

    def _found(self, nodes: Sequence[NodePlan]) -> NodePlan:
        """The machine that is meant: names are told apart, and so are beginnings."""
        named = [plan for plan in nodes if plan.name == self.name]
        begun = [plan for plan in nodes if plan.name.startswith(self.name) or plan.machine.name.startswith(self.name)]
        if len(found := named or begun) == 1:
            return found[0]
        meant = "may be several machines" if found else "is no machine of the house"
        there = ", ".join(_called(plan) for plan in found or nodes)
        raise ConfigError(f"-{self.name} {meant}: take one of {there}")


@dataclass(frozen=True, slots=True)
class Rescored:
    """Another scorer."""

    scorer: ScorerKind

    def changed(self, base: Setup) -> Setup:
        return Setup(replace(base.scenario, scorer=self.scorer))


def change_of(text: str) -> Change:
    """`+PROFILE`, `-NAME` or `scorer=NAME`.

    Raises:
        ConfigError: it is none of them, or there is no such profile or scorer.
    """
    wanted = text.strip()
    if scorer := _SCORER.fullmatch(wanted):
        if scorer[1] not in tuple(ScorerKind):
            raise ConfigError(f"there is no scorer {scorer[1]}: take {' or '.join(ScorerKind)}")
        return Rescored(ScorerKind(scorer[1]))
    name = wanted[1:].strip()
    if wanted.startswith("+"):
        return Added(_profile(name))
    if wanted.startswith("-"):
        return Removed(name)
    raise ConfigError(f"--what-if takes +PROFILE, -MACHINE or scorer=NAME, not {text!r}")


def _profile(name: str) -> str:
    """The profile of that name, or the only one that begins with it."""
    found = [name] if name in PROFILES else [known for known in PROFILES if known.startswith(name)]
    if len(found) == 1:
        return found[0]
    meant = "may be several kinds of machines" if found else "is no kind of machine"
    raise ConfigError(f"+{name} {meant}: take one of {', '.join(found or PROFILES)}")


def _models(scenario: Scenario) -> list[str]:
    """Every model that is asked for or on a disk, in the catalogue's order."""
    known = dict.fromkeys(model for plan in scenario.nodes for model in plan.models)
    known |= dict.fromkeys(request.model for request in scenario.requests)
    return [name for name in CATALOG if name in known]


def _unique(name: str, taken: Sequence[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def _called(plan: NodePlan) -> str:
    return plan.name if plan.name == plan.machine.name else f"{plan.name} ({plan.machine.name})"
