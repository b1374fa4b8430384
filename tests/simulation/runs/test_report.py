"""The figures of a run, machine by machine and in all."""

import json
import math

from herd.simulation.machine.owners import OwnerState
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.measures import Disturbance, Loads, Sample, SampleOutcome
from herd.simulation.runs.report import NodeReport, Report, report
from herd.simulation.runs.run import NodeResult, Result, Scenario
from herd.types import Priority, Seconds, Tokens
from tests.simulation.fleet.fleets import AWAKE, LLAMA, MEETING, plan

GAME = OwnerState(gpu=0.9)
NODES = (plan("studio"), plan("gamer", machine="gaming-pc"), plan("idle", machine="mini-pc"))


def sample(at: float, node: str, outcome: SampleOutcome = SampleOutcome.SERVED) -> Sample:
    took = 2.0 if outcome is SampleOutcome.SERVED else math.inf
    return Sample(Seconds(at), "anna", LLAMA, Priority.INTERACTIVE, outcome, took, took, Tokens(9), Tokens(5), node)


def result() -> Result:
    owned = ((Seconds(0.0), AWAKE), (Seconds(5.0), MEETING), (Seconds(9.0), AWAKE))
    samples = (sample(1.0, "studio"), sample(2.0, "gamer"), sample(3.0, "studio", SampleOutcome.FAILED))
    nodes = (
        NodeResult("studio", Loads(2, Seconds(6.5)), ((0.0, 6.0), (8.0, 8.5)), owned),
        NodeResult("gamer", Loads(1, Seconds(1.25)), ((2.0, 4.0),), ((Seconds(3.0), GAME),)),
        NodeResult("idle", Loads(), (), ()),
    )
    return Result(samples, nodes, "abc", Seconds(12.0))


def made() -> Report:
    return report(Scenario(NODES, (), Seconds(10.0), seed=4), result())


def test_every_machine_has_its_part_of_the_run() -> None:
    studio, gamer, idle = made().nodes
    disturbed = Disturbance(meeting=Seconds(1.5))
    chip = PROFILES["mac-studio"].chip
    assert studio == NodeReport("studio", "mac-studio", chip, 1, Loads(2, Seconds(6.5)), 6.5, disturbed)
    assert (gamer.served, gamer.working_s, gamer.disturbance) == (1, 2.0, Disturbance(heavy_use=Seconds(1.0)))
    assert (idle.served, idle.working_s, idle.disturbance) == (0, 0.0, Disturbance())


def test_the_whole_is_the_sum_of_its_machines() -> None:
    figures = made()
    assert (figures.seed, figures.decisions, figures.ended) == (4, "abc", 12.0)
    assert figures.summary.loads == Loads(3, Seconds(7.75))
    assert figures.disturbance == Disturbance(Seconds(1.5), Seconds(1.0))
    assert (figures.summary.counts.served, figures.summary.counts.failed) == (2, 1)


def test_the_document_says_the_same_in_json() -> None:
    document = json.loads(json.dumps(made().document(), allow_nan=False))
    assert (document["seed"], document["ended_s"], document["decisions"]) == (4, 12.0, "abc")
    assert document["owner_disturbance_s"] == {"meeting": 1.5, "heavy_use": 1.0}
    assert document["summary"]["loads"] == {"count": 3, "seconds": 7.75}
    assert document["nodes"][0] == {
        "name": "studio",
        "machine": "mac-studio",
        "chip": PROFILES["mac-studio"].chip,
        "served": 1,
        "cold_loads": 2,
        "loading_s": 6.5,
        "working_s": 6.5,
        "owner_disturbance_s": {"meeting": 1.5, "heavy_use": 0.0},
    }
