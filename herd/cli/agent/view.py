"""The dashboard of one machine as a picture: what its agent tells, what is wanted and a size in; rows of cells out.

What does not fit is left out, the least important first. From `WIDE_SCREEN` columns on, the owner's week stands beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from herd.actors.desk import AgentDocument
from herd.cli.agent.facts import facts
from herd.cli.agent.lists import models_block, requests_block
from herd.cli.agent.state import AgentState
from herd.cli.live.bars import figure
from herd.cli.live.blocks import Block, Sheet, first_row
from herd.cli.live.cells import Line, Look, Piece, Row, Size, beside, parts_line, rule
from herd.cli.live.week import DAYS, HOURS, NARROW, ROWS, UNKNOWN, WIDE, legend, week_rows

WIDE_SCREEN = 110
_WALL = 3  # cells between what stands side by side
_LEAST = 3  # rows of a list that say anything

_KEYS = (
    ("q", "close this view; the agent goes on"),
    ("?", "these keys, or the agent again"),
    ("p", "hold the view as it is, or let it go on"),
    ("x", "pause this machine: what runs ends, nothing new comes"),
    ("e", "end that pause"),
    ("up, down", "see the models that there is no room for"),
    ("ctrl-l", "draw everything anew"),
    ("ctrl-c", "stop the agent"),
)


@dataclass(frozen=True, slots=True)
class AgentFrame(Sheet):
    """The dashboard, and what it could not show."""

    hidden: int = 0  # models that there was no room for


class _Scene(NamedTuple):
    """What a picture is made of."""

    document: AgentDocument
    scroll: int
    size: Size  # of what is between the first and the last row
    now: float
    look: Look


def frame(
    state: AgentState,
    document: AgentDocument | None,
    size: Size,
    *,
    now: float,
    look: Look = Look(),  # noqa: B008 - a value
) -> AgentFrame:
    """The dashboard.

    Args:
        state: what the person wants.
        document: the latest that the agent has told; None: nothing yet.
        size: of the screen.
        now: wall clock, seconds since the Unix epoch.
        look: of the terminal.
    """
    shown = state.held or document
    inner = Size(size.width, max(0, size.height - 2))
    body, hidden = [_text("  waiting for the agent", size.width, look, "dim")], 0
    if state.helping:
        body = [Line(look, size.width).add(f"  {key:<10}", "bold").add(what).row() for key, what in _KEYS]
    elif shown is not None:
        body, hidden = _body(_Scene(shown, state.scroll, inner, now, look))
    body = [*body[: inner.height], *[()] * (inner.height - len(body))]
    rows = (_title(state, shown, size.width, look), *body, _footer(state, size.width, look))
    return AgentFrame(rows[: size.height], hidden)


# --- first and last row -----------------------------------------------------------------------------------------------


def _title(state: AgentState, document: AgentDocument | None, width: int, look: Look) -> Row:
    right: list[Piece] = [("view held  ", "alarm")] if state.held is not None else []
    right.append(_standing(document, look))
    return first_row(_title_parts(document), right, width, look)


def _standing(document: AgentDocument | None, look: Look) -> Piece:
    if document is None:
        return "", ""
    if not document.linked:
        return look.glyph("○ ", "") + "looking for a router", "alarm"
    if document.pauses:
        return look.glyph("◐ ", "") + "paused", "warn"
    return look.glyph("● ", "") + "linked", "good"


def _title_parts(document: AgentDocument | None) -> list[tuple[int, Sequence[Piece]]]:
    """In their order, each with its rank."""
    if document is None:
        return [(0, (("herd-node", "title"),))]
    parts: list[tuple[int, Sequence[Piece]]] = [
        (2, (("herd-node", "title"), (f" {document.version}", "dim"))),
        (0, ((f"{document.name or document.wanted_name}", "bold"),)),
    ]
    work = document.work
    if work.under_way:
        parts.append((1, ((f"{work.under_way} running", "good"),)))
    if work.tokens_per_s:
        parts.append((3, ((f"{figure(work.tokens_per_s)} tok/s", ""),)))
    return parts


def _footer(state: AgentState, width: int, look: Look) -> Row:
    line = Line(look, width).add(" ")
    if state.message:
        return line.add(state.message, "bold").row()
    keys = (
        (0, "q", "quit"),
        (1, "?", "keys"),
        (2, "x", "pause this machine"),
        (3, "e", "resume it"),
        (4, "p", "go on" if state.held is not None else "hold"),
    )
    parts = [(rank, ((key, "bold"), (f" {what}", "dim"))) for rank, key, what in keys]
    return parts_line(line, parts, "  ").row()


def _text(text: str, width: int, look: Look, role: str = "") -> Row:
    return Line(look, width).add(text, role).row()


# --- what is between --------------------------------------------------------------------------------------------------


def _body(scene: _Scene) -> tuple[list[Row], int]:
    """The rows, and how many models have none."""
    document, _, size, now, look = scene
    rows = facts(document, size, now, look)
    left = size.height - len(rows)
    if left <= 0:
        return rows, len(document.models)
    if size.width >= WIDE_SCREEN and left > ROWS and not document.dedicated:
        width = size.width - WIDE - _WALL
        lists, hidden = _lists(scene, Size(width, left))
        return [*rows, *beside(lists, _week(document, WIDE, look, explained=True), width, look)], hidden
    week = _week(document, size.width, look, explained=False)
    if left < len(week) + 2 * _LEAST or size.width < NARROW:
        week = []
    lists, hidden = _lists(scene, Size(size.width, left - len(week)))
    blanks: list[Row] = [()] * (left - len(week) - len(lists))
    return [*rows, *lists, *blanks, *week], hidden


def _lists(scene: _Scene, size: Size) -> tuple[list[Row], int]:
    """Requests above models, each with the rows that it wants as far as the other leaves them."""
    document, scroll, _, now, look = scene
    requests = requests_block(document, size.width, now, look)
    models = models_block(document, size.width, now, look)
    upper = min(requests.wanted, max(_LEAST, size.height // 2, size.height - models.wanted))
    if size.height < 2 * _LEAST:  # one of them: what runs, if anything does
        upper = size.height if document.work.running else 0
    lower = size.height - upper
    rows = requests.rows(Size(size.width, upper), look) if upper else []
    if lower:
        rows += models.rows(Size(size.width, lower), look, scroll)
    return rows, _hidden(models, lower)


def _hidden(block: Block, height: int) -> int:
    return max(0, block.count - block.room(height))


def _week(document: AgentDocument, width: int, look: Look, *, explained: bool) -> list[Row]:
    """What the owner is expected to take, by the hour. Of a machine that has none there is nothing to tell."""
    if document.dedicated:
        return []
    known = document.week
    if known is None or not len(known.load) == len(known.confidence) == len(DAYS) * HOURS or not any(known.confidence):
        note = "no router has told yet what is known of it" if known is None else "nothing is known of it yet"
        return [rule(look, width, "the owner's week"), _text(f"  {note}", width, look, "dim")]
    meaning = legend(look, " ")
    note = "" if explained else f"{meaning} {UNKNOWN} unknown"
    rows = [rule(look, width, "the owner's week", note)]
    rows += week_rows(known.load, known.confidence, document.week_slot, width, look)
    if explained:
        rows += [_text(f"  {meaning}", width, look, "dim"), _text(f"  {UNKNOWN} not known yet", width, look, "dim")]
    return rows
