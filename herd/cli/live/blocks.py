"""What both dashboards are put together of: a picture of rows, its first row, and lists under their titles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from herd.cli.live.cells import Line, Look, Piece, Row, Size, parts_line, rule

_TITLED = 4  # rows from which on there is one for the names of the columns


@dataclass(frozen=True, slots=True)
class Sheet:
    """A picture: as many rows as the screen has, none wider than it."""

    rows: tuple[Row, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """For a console, and for screenshots."""
        for number, row in enumerate(self.rows):
            if number:
                yield Segment.line()
            yield from row


def first_row(parts: Sequence[tuple[int, Sequence[Piece]]], right: Sequence[Piece], width: int, look: Look) -> Row:
    """What a picture is of, as far as there is room beside what stands at its right end."""
    room = sum(len(text) for text, _ in right) + 1
    line = Line(look, max(0, width - room)).add(" ")
    parts_line(line, parts, look.glyph(" · ", " | "))
    end = Line(look, min(room, width)).add(" ")
    for text, role in right:
        end.add(text, role)
    return (*line.row(whole=True), *end.row())


@dataclass(frozen=True, slots=True)
class Block:
    """A list under a title."""

    title: str
    count: int
    line: Callable[[int], Row]
    head: Row = ()
    empty: str = ""

    @property
    def wanted(self) -> int:
        """Rows that show all of it."""
        return 1 + bool(self.head and self.count) + max(1, self.count)

    def room(self, height: int) -> int:
        """Lines of the list that so many rows show."""
        return max(0, height - 1 - (bool(self.head) and height >= _TITLED))

    def rows(self, size: Size, look: Look, scroll: int = 0) -> list[Row]:
        """At most so many rows."""
        room = self.room(size.height)
        first = max(0, min(scroll, self.count - room))
        last = min(self.count, first + room)
        hidden = self.count - (last - first)
        rows = [rule(look, size.width, self.title, f"+{hidden} more" if hidden else "")]
        if self.head and self.count and size.height >= _TITLED:
            rows.append(self.head)
        rows += [self.line(number) for number in range(first, last)]
        if not self.count:
            rows.append(Line(look, size.width).add(f"  {self.empty}", "dim").row())
        return rows[: size.height]
