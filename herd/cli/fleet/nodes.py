"""The nodes of a fleet, a line or two for each: how they stand, what they have, and what is there for requests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from rich.cells import cell_len

from herd.cli.fleet.seen import Gpu, Machine, Node, Reason, Seen
from herd.cli.fleet.state import Sort, TopState, listed
from herd.cli.live.bars import bar, count, figure, gib, percent
from herd.cli.live.cells import (
    Column,
    Line,
    Look,
    Piece,
    Placed,
    Row,
    clean,
    fitted,
    parts_line,
    placed,
    role_of,
    rule,
    table_line,
    title_line,
)
from herd.cli.words import STATES, hour
from herd.types import NodeState

_DOTS = {"ready": "●", "joining": "◌", "paused": "◐", "draining": "◐", "degraded": "◍"}

_DOTTED = 60  # from so many cells on there is room for a sign beside the word
_LABEL = 9  # cells of `960/1024G`
_SHORTEST_NAME, _LONGEST_NAME = 8, 28
_NODE = "  node"  # below it there is room for the mark of the chosen one
_MODELS, _WHY = "models in memory", "why"
_TITLES = {Sort.NAME: _NODE, Sort.RUNNING: "run", Sort.WAITING: "wait"}  # else they are called as what they sort by
_INDENT = 4  # of the second line of a node

_NOBODY = "  no node has joined: start herd-node on a machine with a model server"

HEAD = 2  # rows of a table that are no nodes: its title, and the names of the columns
# Below so many rows there is none for the title, or for the names of the columns, unless all nodes have theirs.
_RULED, _TITLED = 6, 4
# Of a name of a chip, what nobody needs to know it by.
_MARKS = re.compile(r"\(r\)|\(tm\)", re.IGNORECASE)
_CHAFF = re.compile(
    r"\b(nvidia|geforce|amd|radeon|intel|apple|corporation|processor|cpu|gpu|graphics|gen|generation|with"
    r"|core(?=\s*i\d)|\d+(st|nd|rd|th)|\d+-core|[a-z]+-channel)\b|@.*|,.*",
    re.IGNORECASE,
)
TREND_UNKNOWN, TREND_POINTS = 5.0, 10.0  # docs/contracts.md


@dataclass(frozen=True, slots=True)
class NodeTable:
    """The nodes that pass the filter, with the columns that a width has room for."""

    nodes: tuple[Node, ...]
    columns: tuple[Placed[Node], ...]
    few: tuple[Placed[Node], ...]  # where what is longest stands in a second line; none where one line has it all
    state: TopState
    total: int  # nodes of the fleet
    width: int
    now: float
    look: Look

    @property
    def wanted(self) -> int:
        """Rows that show all there is."""
        return HEAD + max(1, len(self.nodes) * (2 if self.few else 1))

    @property
    def short(self) -> int:
        """Rows that show all nodes with a line each, and the chosen one with two."""
        return HEAD + max(1, len(self.nodes)) + self._opened

    def page(self, height: int) -> int:
        """How many nodes so many rows show."""
        room = height - sum(self._head(height))
        return max(1, room // 2 if self._roomy(room) else room - self._opened)

    def rows(self, height: int) -> list[Row]:
        """At most so many rows."""
        ruled, titled = self._head(height)
        room, fits = height - ruled - titled, self.page(height)
        roomy = self._roomy(room)
        if not ruled and len(self.nodes) > fits > 1:
            fits -= 1  # for the line that says so
        columns = self.few if roomy else self.columns
        many = len(self.nodes)
        at = next((number for number, node in enumerate(self.nodes) if node.name == self.state.selected), 0)
        first = max(0, min(at // fits * fits, many - fits))
        hidden = many - min(fits, many)
        rows = [rule(self.look, self.width, "nodes", self._note(hidden))] if ruled else []
        if titled:
            rows.append(title_line(Line(self.look, self.width), columns, self._gap).row())
        for node in self.nodes[first : first + fits]:
            rows.append(self._row(node, columns))
            if roomy or (self._opened and node.name == self.state.selected and room > 1):
                rows.append(self._second(node, columns))
        if not many:
            rows.append(Line(self.look, self.width).add(self._none(), "dim").row())
        elif hidden and not ruled:
            rows.append(Line(self.look, self.width).add(f"  +{hidden} more", "dim").row())
        return rows[:height]

    @property
    def _opened(self) -> bool:
        """The chosen node has a line more, for there is not room for all columns."""
        return bool(self.few) and any(node.name == self.state.selected for node in self.nodes)

    def _head(self, height: int) -> tuple[bool, bool]:
        """Whether there is room for a title, and for the names of the columns."""
        return height >= min(_RULED, self.short), height >= min(_TITLED, self.short)

    @property
    def _gap(self) -> int:
        return gap(self.width)

    def _roomy(self, room: int) -> bool:
        return bool(self.few) and 2 * len(self.nodes) <= room

    def _none(self) -> str:
        return f"  none of {self.total} nodes matches the filter" if self.total else _NOBODY

    def _note(self, hidden: int) -> str:
        notes = []
        if self.state.filter:
            notes.append(f"{len(self.nodes)} of {self.total} match {clean(self.state.filter)!r}")
        if self.state.sort is not Sort.NAME or self.state.reverse:
            notes.append(f"by {self.state.sort}{', turned' if self.state.reverse else ''}")
        if hidden:
            notes.append(f"+{hidden} more")
        return self.look.glyph(" · ", " | ").join(notes)

    def _row(self, node: Node, columns: Sequence[Placed[Node]]) -> Row:
        chosen = node.name == self.state.selected
        role = "cursor" if chosen else "dim" if node.state == NodeState.OFFLINE else None
        line = table_line(Line(self.look, self.width, role), columns, node, self._gap)
        return line.row(whole=chosen)

    def _second(self, node: Node, columns: Sequence[Placed[Node]]) -> Row:
        """What has no column, or is cut there."""
        shown = {column.title for column, _ in columns}
        parts: list[tuple[int, Sequence[Piece]]] = []
        if reason := why(node, self.now):
            parts.append((0, ((reason, "warn"),)))
        parts.append((1, ((resident(node)[0], "dim"),)))
        if "machine" not in shown:
            parts.append((2, ((machine(node), "dim"),)))
        if "gpu" not in shown and node.gpus:
            parts.append((3, ((f"GPU {memory_label(*_gpu_memory(node))}", "dim"),)))
        if "now" not in shown:
            parts.append((4, ((f"{percent(node.availability)} free now, {next_hour(node)} next hour", "dim"),)))
        line = Line(self.look, self.width).add(" " * _INDENT)
        return parts_line(line, parts, self.look.glyph(" · ", " | ")).row()


def gap(width: int) -> int:
    """Blanks between columns."""
    return 2 if width >= 70 else 1


def node_table(state: TopState, seen: Seen, width: int, *, now: float, look: Look) -> NodeTable:
    """What there is to show of the nodes. `now`: wall clock."""
    longest = longest_name(seen)
    every = _columns(state, longest, width, now=now, look=look)
    columns = placed(every, width, gap(width))
    few: tuple[Placed[Node], ...] = ()
    if len(columns) == len(every):
        columns = placed(_columns(state, longest, width, now=now, look=look, both=True), width, gap(width))
    else:
        few = placed((column for column in every if column.title not in {_MODELS, _WHY}), width, gap(width))
    return NodeTable(listed(state, seen), columns, few, state, len(seen.nodes), width, now, look)


def longest_name(seen: Seen) -> int:
    """Cells that the names of nodes are given: they change less often than what stands beside them."""
    longest = max((cell_len(clean(node.name)) for node in seen.nodes), default=0)
    return min(max(longest, _SHORTEST_NAME), _LONGEST_NAME)


def _columns(
    state: TopState, longest: int, wide: int, *, now: float, look: Look, both: bool = False
) -> tuple[Column[Node], ...]:
    """All there are, of a table so `wide`; `both`: there is room for models and for reasons beside them."""
    dots = not look.plain
    mark = look.glyph("▸ ", "> ")

    def name(node: Node, width: int) -> Sequence[Piece]:
        chosen = node.name == state.selected
        return ((mark if chosen else "  ", ""), (fitted(node.name, max(0, width - 2), look.plain, True), "bold"))

    def standing(node: Node, width: int) -> Sequence[Piece]:
        dot = f"{_DOTS.get(node.state, '○')} " if dots and width >= 10 else ""
        return ((dot + node.state, role_of(STATES.get(node.state, "red"))),)

    def memory(node: Node, width: int) -> Sequence[Piece]:
        return _memory_bar(node.memory_total, node.memory_free, width, look)

    def gpu(node: Node, width: int) -> Sequence[Piece]:
        return _memory_bar(*_gpu_memory(node), width, look) if node.gpus else (("-", "dim"),)

    def models(node: Node, _: int) -> Sequence[Piece]:
        # A node that serves nothing is asked for the reason first; a column of its own is only in wide pictures.
        return (resident(node),) if both or not why(node, now) else reasons(node, _)

    def reasons(node: Node, _: int) -> Sequence[Piece]:
        return ((why(node, now), "warn"),)

    every: tuple[Column[Node], ...] = (
        Column(_NODE, name, longest + 2, longest + 2, 0),
        Column("state", standing, 8 if wide < _DOTTED else 10, 10, 1),
        Column("run", lambda node, _: ((count(node.running), "bold" if node.running else "dim"),), 3, 4, 2, True),
        Column("wait", lambda node, _: ((count(node.waiting), "warn" if node.waiting else "dim"),), 4, 4, 3, True),
        Column("tok/s", lambda node, _: ((figure(node.tokens_per_s or None), ""),), 5, 6, 5, True),
        Column("memory", memory, _LABEL + 5, _LABEL + 13, 4),
        Column("gpu", gpu, _LABEL + 5, _LABEL + 13, 8),
        Column("now", lambda node, _: ((percent(node.availability), ""),), 4, 5, 9, True),
        Column("next h", lambda node, _: ((next_hour(node), ""),), 6, 6, 10, True),
        Column("machine", lambda node, _: ((machine(node), ""),), 14, 20, 7),
        Column(_MODELS, models, 18, 60, 6),
        Column(_WHY, reasons, 20, 60, 11),
    )
    sorted_by = _TITLES.get(state.sort, state.sort.value)
    return tuple(replace(column, marked=True) if column.title == sorted_by else column for column in every)


# --- words ------------------------------------------------------------------------------------------------------------


def why(node: Node, now: float) -> str:
    """`in a meeting since 14:05`: why a node is not ready, loads nothing or is left alone; empty where it is not so."""
    reasons = [reason.text.removeprefix("is ") + _times(reason, now) for reason in node.reasons]
    if node.breaker is not None and node.breaker.open:
        until = "" if node.breaker.until is None else f" until {hour(node.breaker.until, now)}"
        reasons.append(f"its link fails: left alone{until}")
    return "; ".join(reasons)


def _times(reason: Reason, now: float) -> str:
    if reason.until is not None:
        return f" until {hour(reason.until, now)}"
    return f" since {hour(reason.since, now)}" if reason.since is not None else ""


def resident(node: Node) -> Piece:
    """`llama3.3:70b*, qwen3:32b!`: what is in memory; pinned ones have a star, those that fail a mark."""
    names = [
        f"{model.name}{'*' if model.pinned else ''}{'!' if model.breaker is not None and model.breaker.open else ''}"
        for model in node.models
        if model.resident
    ]
    return (", ".join(names), "") if names else ("nothing in memory", "dim")


def next_hour(node: Node) -> str:
    """What the next hour leaves of the machine: `75%`."""
    return percent(None if node.trend in {None, TREND_UNKNOWN} else (node.trend or 0.0) / TREND_POINTS)


def machine(node: Node) -> str:
    """The class of a machine in a word or two: `M2 Ultra 192G`, `2x RTX 4090 48G`, `Ryzen 9 7950X 64G`."""
    return _machine(node.machine, node.gpus, node.memory_total)


@lru_cache(maxsize=512)
def _machine(known: Machine, gpus: tuple[Gpu, ...], memory_total: int) -> str:
    own = [gpu for gpu in gpus if not gpu.unified]
    total = known.memory_total or memory_total
    if own:
        times = f"{len(own)}x " if len(own) > 1 else ""
        return f"{times}{_chip(own[0].name) or 'GPU'} {gib(sum(gpu.memory_total for gpu in own))}"
    chips = (*(gpu.name for gpu in gpus), known.cpu)
    chip = next(filter(None, map(_chip, chips)), "")
    if not chip:
        chip = f"{known.cores} cores" if known.cores else known.arch
    return f"{chip} {gib(total)}".strip() if total else chip or "?"


def _chip(name: str) -> str:
    return " ".join(_CHAFF.sub(" ", _MARKS.sub(" ", clean(name)[:100])).split())


def _gpu_memory(node: Node) -> tuple[int, int]:
    own = [gpu for gpu in node.gpus if not gpu.unified] or node.gpus
    return sum(gpu.memory_total for gpu in own), sum(gpu.memory_free for gpu in own)


def memory_label(total: int, free: int) -> str:
    """`96/192G` in use."""
    if total <= 0:
        return "?"
    return f"{gib(max(0, total - free)).removesuffix('G')}/{gib(total)}"


def _memory_bar(total: int, free: int, width: int, look: Look) -> Sequence[Piece]:
    label = fitted(memory_label(total, free), _LABEL, look.plain, True, True)
    share = (total - free) / total if total > 0 else None
    return (*bar(share, max(0, width - _LABEL), look), (label, ""))
