"""Rows of a screen, cell by cell: nothing that a stranger writes may be wider than the place it is given.

A Rich table of a hundred rows takes tens of milliseconds to lay out; a dashboard draws one up to four times a second.
So its rows are put together here, as Rich's segments, and their widths are known before.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style

from herd.cli.process import printable

Row = tuple[Segment, ...]
Piece = tuple[str, str]  # a text and its role
T = TypeVar("T")

# Texts that are cut to their place once and not in every frame: as many as 200 nodes have in their lines.
_CACHED = 4096

# What things look like by what they mean, with colours and without.
_COLOURED = {
    "": None,
    "dim": Style(dim=True),
    "bold": Style(bold=True),
    "good": Style(color="green"),
    "warn": Style(color="yellow"),
    "bad": Style(color="red"),
    "info": Style(color="cyan"),
    "title": Style(color="cyan", bold=True),
    "alarm": Style(color="red", bold=True),
    "cursor": Style(reverse=True),
}
_COLOURLESS = {
    role: Style(bold=style.bold, dim=style.dim, reverse=style.reverse) if style and not style.color else None
    for role, style in _COLOURED.items()
} | {"title": Style(bold=True), "alarm": Style(bold=True)}


def role_of(colour: str) -> str:
    """The role of what is said in one of these colours elsewhere."""
    return {"green": "good", "yellow": "warn", "red": "bad", "cyan": "info"}.get(colour, "")


class Size(NamedTuple):
    """Of a screen, in cells."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show."""

    plain: bool = False  # ASCII only
    colour: bool = True

    def style(self, role: str) -> Style | None:
        """How a role looks."""
        return (_COLOURED if self.colour else _COLOURLESS)[role]

    def glyph(self, nice: str, plain: str) -> str:
        """A sign, or its stand-in of ASCII."""
        return plain if self.plain else nice


class Line:
    """A row in the making. What does not fit is cut off with a sign that it was."""

    __slots__ = ("_look", "_role", "_segments", "left")

    def __init__(self, look: Look, width: int, role: str | None = None) -> None:
        self._look = look
        self._role = role  # of all of it, whatever its pieces are
        self._segments: list[Segment] = []
        self.left = width

    def add(self, text: str, role: str = "", width: int | None = None, *, right: bool = False) -> "Line":
        """Add a text; to be exactly `width` cells wide if that is given, as far as there is room."""
        place = self.left if width is None else min(width, self.left)
        if place > 0:
            shown = fitted(text, place, self._look.plain, width is not None, right)
            if not shown:
                return self
            self.left -= cell_len(shown)
            self._segments.append(Segment(shown, self._look.style(role if self._role is None else self._role)))
        return self

    def row(self, *, whole: bool = False) -> Row:
        """What was put together; with blanks up to the end of the row if it is to be `whole`."""
        if whole and self.left > 0:
            self.add("", width=self.left)
        return tuple(self._segments)


@lru_cache(maxsize=_CACHED)
def fitted(text: str, width: int, plain: bool, pad: bool = False, right: bool = False) -> str:
    """`text` as it may stand in so many cells: clean, cut, and with blanks beside it if it is to be padded."""
    text = clean(text, plain=plain)
    taken = cell_len(text)
    if taken > width:
        text = _cut(text, width, "~" if plain else "…")
        taken = cell_len(text)
    if not pad:
        return text
    blanks = " " * (width - taken)
    return blanks + text if right else text + blanks


def clean(text: str, *, plain: bool = False) -> str:
    """A stranger's text on one line, without what some terminals take for another width than others."""
    text = printable(text)
    if text.isascii():
        return text
    # Letters with their accents in one (names from macOS come in two); no choice of how an emoji is drawn.
    text = unicodedata.normalize("NFC", text).replace("\ufe0e", "").replace("\ufe0f", "")
    return text.encode("ascii", "replace").decode() if plain else text


def _cut(text: str, width: int, mark: str) -> str:
    kept, room = [], width - 1
    for letter in text:
        room -= cell_len(letter)
        if room < 0:
            break
        kept.append(letter)
    return "".join(kept) + mark


# --- columns ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """A column of a table, as wide as there is room between `least` and `most`."""

    title: str
    cell: Callable[[T, int], Sequence[Piece]]  # of a thing, for a width: one piece is made to fit, several are so wide
    least: int
    most: int
    rank: int  # the columns with the highest ones are left out first
    right: bool = False
    marked: bool = False  # it is what the table is sorted by


Placed = tuple[Column[T], int]  # with its width


def placed(columns: Iterable[Column[T]], width: int, gap: int) -> tuple[Placed[T], ...]:
    """The columns that a width has room for, in their order, and how wide each is."""
    all_of_them = tuple(columns)
    kept: list[Column[T]] = []
    left = width + gap
    for column in sorted(all_of_them, key=lambda column: column.rank):
        if column.least + gap > left and kept:
            break  # and not a less important one in its place: columns would come and go with each cell of the width
        kept.append(column)
        left -= column.least + gap
    asked = sum(column.most - column.least for column in kept)
    share = min(1.0, left / asked) if asked else 0.0
    widths = {column.title: min(column.least, width) + int((column.most - column.least) * share) for column in kept}
    return tuple((column, widths[column.title]) for column in all_of_them if column in kept)


def table_line(line: Line, columns: Iterable[Placed[T]], thing: T, gap: int) -> Line:
    """Add a thing's cells to a line."""
    between = ""
    for column, width in columns:
        line.add(between)
        pieces = column.cell(thing, width)
        for text, role in pieces:
            line.add(text, role, width if len(pieces) == 1 else None, right=column.right)
        between = " " * gap
    return line


def title_line(line: Line, columns: Iterable[Placed[T]], gap: int) -> Line:
    """Add the titles of columns to a line."""
    between = ""
    for column, width in columns:
        line.add(between).add(column.title, "bold" if column.marked else "dim", width, right=column.right)
        between = " " * gap
    return line


# --- parts of a screen ------------------------------------------------------------------------------------------------


def parts_line(line: Line, parts: Sequence[tuple[int, Sequence[Piece]]], between: str) -> Line:
    """Add those parts of a sentence that fit, in their order: those of the highest rank are left out first."""
    kept = list(parts)
    while len(kept) > 1 and _width(kept, between) > line.left:
        kept.remove(max(kept, key=lambda part: part[0]))
    for number, (_, pieces) in enumerate(kept):
        if number:
            line.add(between, "dim")
        for text, role in pieces:
            line.add(text, role)
    return line


def _width(parts: Sequence[tuple[int, Sequence[Piece]]], between: str) -> int:
    texts = sum(cell_len(clean(text)) for _, pieces in parts for text, _ in pieces)
    return texts + cell_len(between) * (len(parts) - 1)


def beside(left: Sequence[Row], right: Sequence[Row], width: int, look: Look) -> list[Row]:
    """Two blocks side by side, the left one `width` cells wide; rows that one has more stand alone."""
    wall = Segment(look.glyph(" │ ", " | "), look.style("dim"))
    rows: list[Row] = []
    for number in range(max(len(left), len(right))):
        row = left[number] if number < len(left) else ()
        blanks = width - sum(cell_len(segment.text) for segment in row)
        rows.append((*row, Segment(" " * blanks), wall, *(right[number] if number < len(right) else ())))
    return rows


def rule(look: Look, width: int, title: str, note: str = "") -> Row:
    """The line above a block: what it is, and at its right end what there is to say of it."""
    dash = look.glyph("─", "-")
    line = Line(look, width).add(dash, "dim").add(f" {title} ", "title")
    blanks = line.left - cell_len(clean(note)) - 3
    if not note or blanks < 1:
        return line.add(dash * line.left, "dim").row()
    return line.add(dash * blanks, "dim").add(f" {note} ").add(dash, "dim").row()
