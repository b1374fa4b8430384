"""What came of a run, in figures."""

from dataclasses import dataclass
from typing import Any

from herd.simulation.runs.measures import Disturbance, Loads, Summary, owner_disturbance, summary, to_json
from herd.simulation.runs.run import Result, Scenario
from herd.types import Seconds


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One machine's part."""

    name: str
    machine: str
    chip: str
    served: int
    loads: Loads
    working_s: float
    disturbance: Disturbance


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run."""

    seed: int
    summary: Summary
    disturbance: Disturbance
    nodes: tuple[NodeReport, ...]
    decisions: str  # SHA-256 of the decision log; empty where chance has a part in it
    ended: float  # seconds

    def document(self) -> dict[str, Any]:
        """For JSON: the same to the letter for the same run."""
        return {
            "seed": self.seed,
            "ended_s": round(self.ended, 6),
            "decisions": self.decisions,
            "summary": to_json(self.summary),
            "owner_disturbance_s": to_json(self.disturbance),
            "nodes": [
                {
                    "name": node.name,
                    "machine": node.machine,
                    "chip": node.chip,
                    "served": node.served,
                    "cold_loads": node.loads.count,
                    "loading_s": round(node.loads.seconds, 6),
                    "working_s": round(node.working_s, 6),
                    "owner_disturbance_s": to_json(node.disturbance),
                }
                for node in self.nodes
            ],
        }


def report(scenario: Scenario, result: Result) -> Report:
    """The figures of a run of `scenario`."""
    total = Loads(
        sum(node.loads.count for node in result.nodes), Seconds(sum(node.loads.seconds for node in result.nodes))
    )
    summed = summary(result.samples, loads=total)
    nodes: list[NodeReport] = []
    for plan, node in zip(scenario.nodes, result.nodes, strict=True):
        counts = summed.nodes.get(plan.name)
        nodes.append(
            NodeReport(
                plan.name,
                plan.machine.name,
                plan.machine.chip,
                counts.served if counts is not None else 0,
                node.loads,
                sum(until - since for since, until in node.working),
                owner_disturbance(node.working, node.owned),
            )
        )
    disturbed = sum((node.disturbance for node in nodes), Disturbance())
    return Report(scenario.seed, summed, disturbed, tuple(nodes), result.decisions, result.ended)
