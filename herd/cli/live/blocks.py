"""Blocks of a screen: lists under their titles."""

from collections.abc import Callable
from dataclasses import dataclass

from herd.cli.live.cells import Line, Look, Row, Size, rule

_TITLED = 4  # rows from which on there is one for the names of the columns


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
