"""`herd simulate`: what its options mean, and what it says when it cannot."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from herd.simulation.chaos.run import Chaos
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.report import report
from herd.simulation.runs.run import simulate
from tests.cli.command_line import CommandLine

SMALL = "--nodes 2 --models 2 --clients 2 --requests 8 --days 0.05"
AZURE = Path(__file__).parents[1] / "simulation" / "data" / "azure.csv"


def document(run: CommandLine, line: str) -> dict[str, Any]:
    """What a run says in JSON, and nothing else."""
    ended = run(f"herd simulate --json {line}")
    assert (ended.code, ended.err) == (0, "")
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_every_option_is_heeded(run: CommandLine) -> None:
    line = "--seed 3 --nodes 3 --models 4 --clients 5 --requests 30 --days 0.2 --parallel 2 --no-owners --start-hour 20"
    size = Household(3, 4, 5, 30, 0.2, 2, owners=False, start_slot=20)
    scenario = household(3, size)
    assert document(run, line) == json.loads(json.dumps(report(scenario, simulate(scenario)).document()))


def test_the_figures_come_as_tables_too(run: CommandLine) -> None:
    ended = run(f"herd simulate {SMALL}")
    assert (ended.code, ended.err) == (0, "")
    for words in ("time to first token", "studio", "gaming-pc", "of seed 0"):
        assert words in ended.out


def test_the_decisions_are_those_whose_digest_is_told(run: CommandLine, tmp_path: Path) -> None:
    told = document(run, f"{SMALL} --decisions log.txt")
    log = (tmp_path / "log.txt").read_bytes()
    assert log
    assert hashlib.sha256(log).hexdigest() == told["decisions"]


def test_a_trace_takes_the_place_of_made_up_requests(run: CommandLine) -> None:
    assert document(run, f"--nodes 1 --trace {AZURE}")["summary"]["counts"]["requests"] == 5
    assert document(run, f"--nodes 1 --trace {AZURE} --requests 3")["summary"]["counts"]["requests"] == 3


def test_a_trace_is_stretched_to_a_rate(run: CommandLine) -> None:
    quick, slow = (document(run, f"--nodes 1 --trace {AZURE} --rate {rate}") for rate in (1.0, 0.001))
    assert slow["ended_s"] > 1000 > quick["ended_s"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--nodes 0", "no household has 0 nodes: take 1 to 100"),
        ("--rate 1", "--rate stretches a trace: name one with --trace, or say how many --requests"),
        ("--wall-clock --speed 0", "time cannot pass 0 times as fast: take more than 0"),
        (
            "--wall-clock --decisions log.txt",
            "--decisions goes with virtual time: on a wall clock chance decides too",
        ),
        ("--decisions nowhere/log.txt", "cannot write nowhere/log.txt: No such file or directory"),
        ("--trace nowhere.csv", "nowhere.csv cannot be read: No such file or directory; name a trace's file"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(run: CommandLine, line: str, sentence: str) -> None:
    ended = run(f"herd simulate {line}")
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence}\n")


# --- Chaos ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which seeds were run; seed 6 breaks an invariant."""
    ran: list[int] = []

    def chaos(seed: int) -> Chaos:
        ran.append(seed)
        return Chaos(seed, ("invariant 2: [a lease] is out",) if seed == 6 else (), (), {})

    monkeypatch.setattr("herd.cli.simulate.chaos", chaos)
    return ran


def test_so_many_seeds_of_chaos_are_run_from_the_first_on(run: CommandLine, seeds: list[int]) -> None:
    ended = run("herd simulate --chaos 3 --seed 2")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "3 seeds of chaos, from 2: every invariant held\n"
    assert seeds == [2, 3, 4]


def test_a_seed_that_breaks_an_invariant_is_named_with_its_command_and_fails(
    run: CommandLine, seeds: list[int]
) -> None:
    ended = run("herd simulate --chaos 3 --seed 5")
    assert (ended.code, ended.err) == (1, "error: 1 of 3 seeds broke an invariant\n")
    assert ended.out == ("seed 6, again with: herd simulate --chaos 1 --seed 6\n  invariant 2: [a lease] is out\n")
    assert seeds == [5, 6, 7]  # what is broken does not hide what follows


def test_chaos_in_json_is_one_document_and_fails_as_well(run: CommandLine, seeds: list[int]) -> None:
    ended = run("herd simulate --chaos 2 --seed 6 --json")
    assert ended.code == 1
    assert json.loads(ended.out) == {"seeds": 2, "first": 6, "broken": {"6": ["invariant 2: [a lease] is out"]}}
