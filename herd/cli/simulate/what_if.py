"""`herd simulate --what-if`: one table of what changes for whom, and the same as JSON."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

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
from herd.types import ScorerKind

# So many houses show a change through chance in a minute, on two cores.
SEEDS = 5

WhatIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CHANGE",
        help="One table of what changes for whom with a machine more (+rtx-4090), one less (-mini-pc), or another "
        "scorer (scorer=NAME); repeatable.",
        show_default=False,
    ),
]

_STYLES = {Word.BETTER: "green", Word.WORSE: "red", Word.OPEN: "", Word.SAME: "dim"}

# What a figure is called, how many of its units it is shown in, and with how many digits after the point.
_MEASURES = {
    FIRST_TOKEN: ("time to first token, s", 1.0, 2),
    COMPLETION: ("whole answer, s", 1.0, 2),
    NOT_SERVED: ("not served, %", 100.0, 2),
    DISTURBANCE: ("in its way, s", 1.0, 0),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """What changes for whom, with the question."""

    rows: Sequence[Row]
    words: Sequence[str]
    seeds: range
    scorer: ScorerKind

    def show(self, console: Console, more: Mapping[str, Any] | None) -> None:
        """Print a table, or JSON with `more` in it unless that is None."""
        if more is None:
            console.print(_table(self.rows, self.words), _sums(self.rows, self.seeds), sep="")
            return
        told = {
            "what_if": list(self.words),
            "first": self.seeds.start,
            "seeds": len(self.seeds),
            "scorer": self.scorer,
            "rows": [row.document() for row in self.rows],
        }
        typer.echo(json.dumps({**told, **more}, indent=2))


def ask_what_if(question: Question, words: Sequence[str], seeds: range, console: Console, *, as_json: bool) -> Answered:
    """Find out; on a terminal a bar shows how far it is.

    Args:
        question: what is to be known.
        words: its changes, as they were given.
        seeds: of the houses.
        console: that may be a terminal.
        as_json: nothing but JSON is to be printed.

    Raises:
        ConfigError: a change makes no sense.
    """
    with _bar(console, shown=console.is_terminal and not as_json) as told:
        return Answered(answer(question, seeds, told), words, seeds, question.scorer)


@contextmanager
def _bar(console: Console, *, shown: bool) -> Iterator[Callable[[int, int], object]]:
    # It draws when it is told something: a thread that did would be copied into the processes that run.
    with Progress(console=console, transient=True, auto_refresh=False, disable=not shown) as progress:
        task = progress.add_task("houses, before and after", total=None)

        def told(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)
            progress.refresh()

        yield told


def _table(rows: Sequence[Row], words: Sequence[str]) -> RenderableType:
    """For a terminal of 80 columns."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("for whom", overflow="fold")
    for name in ("before", "after", "change", "95 % interval", ""):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        requests = "" if row.kind is Kind.OWNER else f"{row.requests} requests"
        table.add_row(Text(_whom(row), "bold"), "", "", "", requests)
        for name, shift in row.shifts.items():
            table.add_row(*_cells(name, shift))
    return Group(Text(f"what changes with {' and '.join(words)}", "bold"), table)


def _whom(row: Row) -> str:
    return f"the owner of {row.name}" if row.kind is Kind.OWNER else row.name


def _cells(name: str, shift: Shift) -> list[Text]:
    words, unit, digits = _MEASURES[name]

    def figure(value: float | None, sign: str = "") -> str:
        return "-" if value is None else f"{value * unit:{sign}.{digits}f}"

    known = shift.low is not None and shift.word is not Word.SAME
    interval = f"{figure(shift.low, '+')} to {figure(shift.high, '+')}" if known else ""
    figures = (figure(shift.before), figure(shift.after), figure(shift.change, "+"), interval)
    return [Text(f"  {words}"), *map(Text, figures), Text(shift.word.value, _STYLES[shift.word])]


def _sums(rows: Sequence[Row], seeds: range) -> Text:
    """Who loses stands where who wins does."""
    lines: list[tuple[str, str]] = []
    for word in (Word.WORSE, Word.BETTER):
        told = [(_whom(row), _named(row, word)) for row in rows]
        found = "; ".join(f"{whom} ({', '.join(names)})" for whom, names in told if names)
        lines.append((f"{word.value} for {found or 'nobody'}\n", _STYLES[word]))
    which = f"seed {seeds.start}" if len(seeds) == 1 else f"seeds {seeds.start} to {seeds.stop - 1}"
    lines.append((f"means over {which}; open: it may be chance", ""))
    return Text.assemble(*lines)


def _named(row: Row, word: Word) -> list[str]:
    """The figures of which this is said."""
    return [_MEASURES[name][0].partition(",")[0] for name, shift in row.shifts.items() if shift.word is word]
