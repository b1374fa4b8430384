"""`herd simulate`: what its options mean, and what it says when it cannot."""

import errno
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from herd.simulation.chaos.run import Chaos
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.report import report
from herd.simulation.runs.run import LOOKS, simulate
from herd.types import ScorerKind
from tests.cli.command_line import CommandLine

SMALL = "--nodes 2 --models 2 --clients 2 --requests 12 --days 0.1"
DATA = Path(__file__).parents[2] / "simulation" / "data"
AZURE = DATA / "azure.csv"
FULL = Path("/dev/full")  # a disk with no room, on Linux
needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


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
    for words in ("time to first token", "studio", "gaming-pc", "seed 0, decision log "):
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
    ("words", "sentence"),
    [
        ("--nodes 0", "no household has 0 nodes: take 1 to 100"),
        ("--requests 1000000000000", "no household has 1000000000000 requests: take 1 to 1000000"),
        ("--clients 1000000000000", "no household has 1000000000000 clients: take 1 to 100000"),
        ("--days 1e-9", "no household has 3000 requests in 1e-09 days: take at most 100 a second"),
        ("--days nan", "no household has nan days: take more than none and at most a year"),
        ("--wall-clock --speed nan", "time cannot pass nan times as fast: take 0.01 to 1000"),
        ("--wall-clock --speed inf", "time cannot pass inf times as fast: take 0.01 to 1000"),
        ("--wall-clock --speed 0", "time cannot pass 0 times as fast: take 0.01 to 1000"),
        ("--speed 5", "virtual time takes no time: --speed goes with --wall-clock"),
        ("--wall-clock --decisions log", "--decisions goes with virtual time: on a wall clock chance decides too"),
        ("--chaos 1 --nodes 3", "--chaos has houses and requests of its own: leave --nodes out"),
        ("--chaos 1 --no-owners", "--chaos has houses and requests of its own: leave --no-owners out"),
        ("--chaos 1 --wall-clock", "--chaos has houses and requests of its own: leave --wall-clock out"),
        ("--rate 1", "--rate stretches a trace: name one with --trace, or say how many --requests"),
        ("--trace nowhere.csv", "nowhere.csv cannot be read: No such file or directory; name a trace's file"),
        ("--decisions nowhere/log", "cannot write nowhere/log: No such file or directory"),
    ],
)
def test_what_makes_no_run_is_refused_in_a_sentence(run: CommandLine, words: str, sentence: str) -> None:
    ended = run(f"herd simulate {words}")
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence}\n")


@pytest.mark.parametrize("words", ["--chaos 0", "--chaos -1", "--seed -1", "--nodes x"])
def test_what_is_no_number_for_an_option_is_refused(run: CommandLine, words: str) -> None:
    ended = run(f"herd simulate {words}")
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{words.partition(' ')[0]}'" in ended.err


def test_json_is_all_that_is_printed_and_the_same_for_the_same_seed(run: CommandLine, tmp_path: Path) -> None:
    first, again = (run(f"herd simulate {SMALL} --json --decisions log{number}") for number in (1, 2))
    assert (first.code, first.err) == (0, "")
    assert json.loads(first.out)["summary"]["counts"]["requests"] > 0
    assert again.out == first.out
    assert (tmp_path / "log1").read_bytes() == (tmp_path / "log2").read_bytes()


# --- Traces -----------------------------------------------------------------------------------------------------------


def counted(out: str) -> int:
    """Requests of a run, as its JSON tells."""
    count = json.loads(out)["summary"]["counts"]["requests"]
    assert isinstance(count, int)
    return count


def test_a_trace_goes_on_to_its_end_or_for_the_days_that_are_given(run: CommandLine) -> None:
    line = f"herd simulate --json --rate 0.001 --trace {AZURE}"
    assert counted(run(line).out) == 5
    assert counted(run(f"{line} --days 0.02").out) == 2  # 1728 s, of a request every 1000


def test_whoever_takes_only_a_part_of_a_trace_is_told(run: CommandLine) -> None:
    path = AZURE
    ended = run(f"herd simulate --requests 2 --trace {path}")
    assert ended.code == 0
    assert " ".join(ended.err.split()) == f"only 2 requests of {path} are taken: --requests takes more"
    assert run(f"herd simulate --requests 5 --trace {path}").err == ""


def test_a_trace_may_have_brackets_in_its_name(run: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "a[red]b").write_bytes(AZURE.read_bytes())
    ended = run("herd simulate --requests 2 --json --trace a[red]b")
    assert (ended.code, ended.err) == (0, "")
    assert run("herd simulate --requests 2 --trace a[red]b").err.startswith("only 2 requests of a[red]b are taken")


def test_what_comes_when_the_days_are_over_comes_no_more(run: CommandLine, tmp_path: Path) -> None:
    row = '{"timestamp": %d, "input_length": 6, "output_length": 5}\n'
    (tmp_path / "days").write_text(row % 0 + row % 86_400_000)
    assert counted(run("herd simulate --json --nodes 1 --trace days --days 1").out) == 1


@pytest.mark.parametrize("time", ["1e308", "18446744073709551615", "1e14"])
def test_a_trace_of_more_than_a_year_is_refused(run: CommandLine, tmp_path: Path, time: str) -> None:
    row = '{"timestamp": %s, "input_length": 6, "output_length": 5}\n'
    (tmp_path / "long").write_text(row % 0 + row % time)
    ended = run("herd simulate --trace long")
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(r"error: long goes on for \S+ days, more than a year: .*\n", ended.err)


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "1e-320", "1e-308"])
def test_a_rate_that_no_clock_can_be_stretched_to_is_refused(run: CommandLine, rate: str) -> None:
    ended = run(f"herd simulate --trace {AZURE} --rate {rate}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: a trace cannot be stretched to ")


@pytest.mark.parametrize("absolute", [False, True])
def test_decisions_are_not_written_over_the_trace(run: CommandLine, tmp_path: Path, absolute: bool) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_bytes(AZURE.read_bytes())
    ended = run(f"herd simulate --trace trace.csv --decisions {trace if absolute else 'trace.csv'}")
    assert (ended.code, ended.err) == (
        2,
        "error: --decisions would write over the trace trace.csv: name another file\n",
    )
    assert trace.read_bytes() == AZURE.read_bytes()


# --- Chaos ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which seeds were run; seed 6 breaks an invariant."""
    ran: list[int] = []

    def chaos(seed: int, *, scorer: ScorerKind) -> Chaos:
        ran.append(seed)
        return Chaos(seed, ("invariant 2: [a lease] is out",) if seed == 6 else (), (), {})

    monkeypatch.setattr("herd.cli.simulate.command.chaos", chaos)
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


def test_chaos_says_how_many_seeds_held(run: CommandLine) -> None:
    assert run("herd simulate --chaos 1 --seed 4").out == "1 seed of chaos, from 4: every invariant held\n"


def test_of_what_is_logged_errors_are_shown(run: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    def chaos(seed: int, *, scorer: ScorerKind) -> Chaos:
        for level in (logging.WARNING, logging.ERROR):
            logging.getLogger("herd.test").log(level, "said at %d", level)
        return Chaos(seed, (), (), {})

    monkeypatch.setattr("herd.cli.simulate.command.chaos", chaos)
    assert [line.partition(" ")[2] for line in run("herd simulate --chaos 1").err.splitlines()] == [
        f"ERROR   said at {logging.ERROR}"
    ]


# --- On a terminal ----------------------------------------------------------------------------------------------------

TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm"}
UP_AND_ERASE = "\x1b[1A\x1b[2K"


def test_a_terminal_shows_the_run_as_it_goes_and_in_the_end_its_figures_alone(run: CommandLine) -> None:
    ended = run(f"herd simulate {SMALL}", TERMINAL)
    before, _, after = ended.out.rpartition(" asked, ")
    assert before.count(" asked, ") > LOOKS / 4  # it ends before its days are over
    picture, _, figures = after.partition(UP_AND_ERASE)
    assert "studio" in picture
    assert "time to first token" not in picture
    assert "time to first token" in figures


@pytest.mark.parametrize("line", [SMALL, "--chaos 1 --seed 4"])
def test_json_is_json_on_a_terminal_too(run: CommandLine, line: str) -> None:
    ended = run(f"herd simulate --json {line}", TERMINAL)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)


# --- What cannot be written -------------------------------------------------------------------------------------------


@needs_a_full_disk
@pytest.mark.parametrize("requests", [12, 100])  # fewer lines than a file holds back, and more
def test_a_decision_log_that_is_not_whole_is_told_at_the_end(run: CommandLine, requests: int) -> None:
    line = f"herd simulate {SMALL} --requests {requests} --json"
    ended = run(f"{line} --decisions {FULL}")
    assert ended.code == 1
    assert ended.err == f"error: cannot write {FULL}: No space left on device; the decisions are not all there\n"
    assert ended.out == run(line).out


class Flaky(io.StringIO):
    """A file of which the second write fails, and its closing, too."""

    writes = 0
    whole = ""

    def write(self, text: str, /) -> int:
        self.writes += 1
        if self.writes == 2:
            raise OSError(errno.EIO, "Input/output error")
        self.whole += text
        return len(text)

    def close(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_decision_log_ends_where_it_first_failed_and_says_why_it_did(
    run: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(f"herd simulate {SMALL} --decisions whole")
    first = (tmp_path / "whole").read_text().splitlines(keepends=True)[0]
    file = Flaky()
    monkeypatch.setattr(Path, "open", lambda *_, **__: file)
    ended = run(f"herd simulate {SMALL} --decisions log")
    assert (ended.code, file.whole) == (1, first)
    assert ended.err == "error: cannot write log: Input/output error; the decisions are not all there\n"


@pytest.mark.parametrize("words", [f"{SMALL} --json", "--chaos 1"])
def test_a_reader_that_has_seen_enough_ends_the_run_quietly(
    run: CommandLine, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("herd.cli.simulate.command.typer.echo", gone)
    monkeypatch.setattr("herd.cli.simulate.command.Console.print", gone)
    ended = run(f"herd simulate {words}")
    assert (ended.code, ended.out, ended.err) == (1, "", "")


@needs_a_full_disk
@pytest.mark.parametrize("words", ["--requests 5 --days 0.1", "--requests 5 --days 0.1 --json", "--chaos 1"])
def test_a_full_disk_under_standard_output_is_told_in_a_sentence(tmp_path: Path, words: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HERD_")}
    with FULL.open("w") as out:
        ended = subprocess.run(
            [sys.executable, "-m", "herd", "simulate", *words.split()],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            env=environment | {"HOME": str(tmp_path)},
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        "error: cannot write to standard output: No space left on device\n",
    )
