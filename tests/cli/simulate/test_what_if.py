"""`herd simulate --what-if`: one table of what changes for whom, and what it says when it cannot."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from herd.cli.simulate.what_if import Answered
from herd.simulation.comparison.changes import change_of
from herd.simulation.comparison.what_if import (
    COMPLETION,
    DISTURBANCE,
    FIRST_TOKEN,
    NOT_SERVED,
    Kind,
    Question,
    Row,
    Shift,
    Word,
    answer,
)
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.households import Household
from herd.types import ScorerKind
from tests.cli.command_line import CommandLine
from tests.cli.simulate.test_command import AZURE, SMALL, TERMINAL

USUAL = ScorerKind.SEVEN_SIGNALS
FIGURES = ("first_token_s", "completion_s", "not_served")
COLUMNS = 80  # of a plain terminal


def document(run: CommandLine, line: str) -> dict[str, Any]:
    """What a run says in JSON, and nothing else."""
    ended = run(f"herd simulate --json {line}")
    assert (ended.code, ended.err) == (0, "")
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_the_answer_in_json(run: CommandLine) -> None:
    line = f"--seed 4 --seeds 2 {SMALL} --what-if +rtx-4090 --what-if -gaming-pc"
    size = Household(nodes=2, models=2, clients=2, requests=12, days=0.1)
    rows = answer(Question(size, None, USUAL, (change_of("+rtx-4090"), change_of("-gaming-pc"))), range(4, 6))
    assert document(run, line) == {
        "what_if": ["+rtx-4090", "-gaming-pc"],
        "first": 4,
        "seeds": 2,
        "scorer": USUAL,
        "rows": [row.document() for row in rows],
    }


def test_rows_say_for_whom_what_changes_and_how_sure_that_is(run: CommandLine) -> None:
    told = document(run, f"--seeds 2 {SMALL} --what-if +rtx-4090")
    assert told["rows"][0]["name"] == "everybody"
    assert [row["kind"] for row in told["rows"]][-1] == "owner"
    for row in told["rows"]:
        for name in FIGURES if row["kind"] != "owner" else ("owner_disturbance_s",):
            assert list(row[name]) == ["before", "after", "change", "low", "high", "word"]
            assert row[name]["word"] in {"better", "worse", "open", "same"}


def test_a_trace_takes_the_place_of_made_up_requests(run: CommandLine) -> None:
    told = document(run, f"--nodes 1 --trace {AZURE} --requests 4 --seeds 3 --what-if +pc-3090")
    assert told["rows"][0]["requests"] == 12


@pytest.mark.parametrize("words", ["scorer=", "--scorer="])
def test_a_scorer_is_a_change_too(run: CommandLine, words: str) -> None:
    told = document(run, f"--seeds 1 {SMALL} --what-if {words}{USUAL}")
    assert {figure["word"] for row in told["rows"] for figure in row.values() if isinstance(figure, dict)} == {"same"}


def test_a_machine_less_is_written_with_its_dash(run: CommandLine) -> None:
    told = document(run, f"--seeds 1 {SMALL} --what-if -gam")
    assert told["what_if"] == ["-gam"]


# --- As a table -------------------------------------------------------------------------------------------------------


def test_a_table_fits_a_plain_terminal_and_ends_in_words(run: CommandLine) -> None:
    ended = run(f"herd simulate --seeds 2 {SMALL} --what-if +rtx-4090 --what-if -gaming-pc", {"COLUMNS": str(COLUMNS)})
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].strip() == "what changes with +rtx-4090 and -gaming-pc"
    assert max(map(len, lines)) <= COLUMNS
    assert "…" not in ended.out
    for words in ("everybody", "time to first token, s", "whole answer, s", "not served, %", "95 % interval"):
        assert words in ended.out
    assert "the owner of gaming-pc" in ended.out
    assert lines[-1] == "means over seeds 0 to 1; open: it may be chance"
    assert [line.partition(" for ")[0] for line in lines if line.startswith(("worse for", "better for"))] == [
        "worse",
        "better",
    ]


def shift(word: Word, change: float = 1.0) -> Shift:
    return Shift(1.0, 1.0 + change, change, change - 0.5, change + 0.5, word)


def test_who_loses_is_named_as_who_wins_is_and_before() -> None:
    rows = [
        Row(Kind.MODEL, "qwen3:8b", 9, {FIRST_TOKEN: shift(Word.BETTER), COMPLETION: shift(Word.OPEN)}),
        Row(Kind.CLASS, "jobs", 9, {FIRST_TOKEN: shift(Word.WORSE), NOT_SERVED: shift(Word.WORSE, 0.25)}),
        Row(Kind.OWNER, "dev", 0, {DISTURBANCE: shift(Word.BETTER, -1.0)}),
    ]
    out = io.StringIO()
    Answered(rows, ["+x"], range(2), USUAL).show(Console(file=out, width=COLUMNS), None)
    told = out.getvalue()
    cells = " ".join(told.split())
    assert "not served, % 100.00 125.00 +25.00 -25.00 to +75.00 worse" in cells
    assert "in its way, s 1 0 -1 -2 to -0 better" in cells
    assert told.endswith(
        "worse for jobs (time to first token, not served)\n"
        "better for qwen3:8b (time to first token); the owner of dev (in its way)\n"
        "means over seeds 0 to 1; open: it may be chance\n"
    )


def test_what_cannot_be_said_is_a_dash() -> None:
    out = io.StringIO()
    rows = [Row(Kind.ALL, "everybody", 9, {FIRST_TOKEN: Shift(None, None)})]
    Answered(rows, ["-x"], range(3, 4), USUAL).show(Console(file=out, width=COLUMNS), None)
    assert "time to first token, s - - - open" in " ".join(out.getvalue().split())


def test_one_house_is_told_as_one(run: CommandLine) -> None:
    ended = run(f"herd simulate --seeds 1 --seed 7 {SMALL} --what-if +rtx-4090")
    assert ended.out.endswith("means over seed 7; open: it may be chance\n")
    assert "better for nobody" in ended.out


def test_a_terminal_shows_how_far_it_is_and_in_the_end_the_table_alone(run: CommandLine) -> None:
    ended = run(f"herd simulate --seeds 2 {SMALL} --what-if +rtx-4090", TERMINAL)
    before, _, table = ended.out.partition("what changes with")
    assert "houses, before and after" in before
    assert "100%" in before
    assert "houses, before and after" not in table
    assert json.loads(run(f"herd simulate --seeds 1 --json {SMALL} --what-if +rtx-4090", TERMINAL).out)


# --- What it cannot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--what-if rtx-4090", "--what-if takes +PROFILE, -MACHINE or scorer=NAME, not 'rtx-4090'"),
        ("--what-if +toaster", f"+toaster is no kind of machine: take one of {', '.join(PROFILES)}"),
        ("--what-if -toaster --nodes 1", "-toaster is no machine of the house: take one of studio (mac-studio)"),
        ("--what-if -studio --nodes 1", "without studio no machine is left: add one first"),
        ("--what-if scorer=dice", "there is no scorer dice: take seven-signals or completion-time"),
        ("--what-if +pc-3090 --decisions log", "--what-if is many runs in virtual time: leave --decisions out"),
        ("--what-if +pc-3090 --wall-clock", "--what-if is many runs in virtual time: leave --wall-clock out"),
        ("--what-if +pc-3090 --chaos 1", "--chaos has houses and requests of its own: leave --what-if out"),
        ("--seeds 3", "--seeds goes with --what-if and --compare: one run has one --seed"),
    ],
)
def test_what_makes_no_answer_is_refused_in_a_sentence(run: CommandLine, words: str, sentence: str) -> None:
    ended = run(f"herd simulate {words}")
    assert (ended.code, ended.out, ended.err) == (2, "", f"error: {sentence}\n")


def test_a_plain_run_takes_the_scorer_that_is_named(run: CommandLine) -> None:
    usual = document(run, SMALL)
    assert document(run, f"{SMALL} --scorer {USUAL}") == usual
    other = document(run, f"{SMALL} --scorer completion-time")
    assert other["decisions"] != usual["decisions"]
