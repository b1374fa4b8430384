"""The table: medians over the rounds, and ratios to the bare way."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.runtime_contenders import Bare, Herd

ASK_AIM = 1.5
TELL_AIM = 2.5
MEMORY_AIM_B = 4096
DAY_AIM_S = 1.0


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that all contenders do."""

    name: str
    title: str
    unit: str  # "us" for each call or actor, or "B" for each actor
    aim: str = ""  # that herd has


MEASURES = (
    Measure("ask", "ask, `def` handler, one at a time", "us", f"at most {ASK_AIM}x"),
    Measure("ask-async", "ask, `async def` handler that returns at once, one at a time", "us", f"at most {ASK_AIM}x"),
    Measure("in-flight", "ask, `def` handler, 50 in flight", "us", f"at most {ASK_AIM}x"),
    Measure("tell", "tell, `def` handler", "us", f"at most {TELL_AIM}x"),
    Measure("create", "create an actor, up to its first answer", "us"),
    Measure("stop", "stop an actor", "us"),
    Measure("memory", "memory of an idle actor", "B", f"at most {MEMORY_AIM_B:,} B"),
)
VIRTUAL_DAY = "virtual-day"
NAMES = (*(measure.name for measure in MEASURES), VIRTUAL_DAY)


@dataclass(slots=True)
class Row:
    """What one contender did with so many actors."""

    measure: str
    size: int  # actors that the contenders were to have
    contender: str
    actors: int  # that it had: fewer if it cannot bear more
    values: list[float] = field(default_factory=list)  # microseconds or bytes, by round
    median: float = 0.0
    ratio: float | None = None  # the median, over the rounds, of the ratio to the bare way; None where that has none


class Figures:
    """All that a run finds."""

    def __init__(self) -> None:
        self.day_s: list[float] = []
        self._rows: dict[tuple[str, int, str], Row] = {}

    def add(self, measure: str, size: int, contender: str, actors: int, value: float) -> None:
        """One contender's value in one round: seconds or bytes."""
        unit = next(each.unit for each in MEASURES if each.name == measure)
        row = self._rows.setdefault((measure, size, contender), Row(measure, size, contender, actors))
        row.values.append(value * 1e6 if unit == "us" else value)

    def rows(self) -> list[Row]:
        """By measure, in the order of the table."""
        for (measure, size, _), row in self._rows.items():
            row.median = median(row.values)
            base = self._rows.get((measure, size, Bare.name))
            if base is not None:
                # Round by round, so that what else the machine did weighs on both.
                row.ratio = median(own / bare for own, bare in zip(row.values, base.values, strict=True))
        order = {measure.name: number for number, measure in enumerate(MEASURES)}
        return sorted(self._rows.values(), key=lambda row: (order[row.measure], row.size))

    def table(self, contenders: Sequence[str]) -> str:
        """For a person."""
        rows = self.rows()
        blocks = []
        for measure in MEASURES:
            mine = [row for row in rows if row.measure == measure.name]
            if mine:
                blocks.append(_block(measure, mine, contenders))
        if self.day_s:
            spread = f"{min(self.day_s):.2f} to {max(self.day_s):.2f} s"
            blocks.append(
                "a virtual day of one actor's 5-second timer, 17,280 ticks "
                f"(aim for {Herd.name}: about {DAY_AIM_S:g} s)\n  {median(self.day_s):.2f} s ({spread})"
            )
        return "\n\n".join(blocks)


def _block(measure: Measure, rows: Sequence[Row], contenders: Sequence[str]) -> str:
    cells = {(row.size, row.contender): _cell(row, measure.unit) for row in rows}
    names = [name for name in contenders if any(row.contender == name for row in rows)]
    width = max(map(len, [*cells.values(), *names]))
    aim = f" (aim for {Herd.name}: {measure.aim})" if measure.aim else ""
    lines = [f"{measure.title}{aim}", f"{'actors':>9}" + "".join(f"  {name:>{width}}" for name in names)]
    for size in sorted({row.size for row in rows}):
        line = f"{size:>9,}" + "".join(f"  {cells.get((size, name), ''):>{width}}" for name in names)
        lines.append(line.rstrip())
    return "\n".join(lines)


def _cell(row: Row, unit: str) -> str:
    absolute = f"{row.median:,.{2 if unit == 'us' else 0}f} {unit}"
    return absolute if row.ratio is None else f"{row.ratio:,.2f}x {absolute:>11}"
