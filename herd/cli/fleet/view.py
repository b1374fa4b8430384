"""The dashboard of a fleet as a picture: what is wanted, what is known and a size in; rows of cells out.

What does not fit is left out, the least important first. From `WIDE` columns on, blocks stand side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from herd.cli.fleet.detail import detail_rows
from herd.cli.fleet.nodes import HEAD, NodeTable, longest_name, node_table
from herd.cli.fleet.panels import happenings_block, queues_block, requests_block
from herd.cli.fleet.seen import Connection, Seen
from herd.cli.fleet.state import Drain, Panel, Shown, TopState
from herd.cli.live.bars import age
from herd.cli.live.blocks import Block, Sheet, first_row
from herd.cli.live.cells import Line, Look, Piece, Row, Size, beside, parts_line, rule

WIDE = 110
_BESIDE = 0.58  # of the width for requests, whose lines are longer than those of queues and happenings
_LIST = 44  # cells of the list of nodes that stands beside one that is shown whole
_FEW = 3  # nodes that are shown before anything else is


@dataclass(frozen=True, slots=True)
class Frame(Sheet):
    """The dashboard, and what of it keys can move."""

    shown: Shown


class _Scene(NamedTuple):
    """What a picture is made of."""

    state: TopState
    seen: Seen
    size: Size  # of what is between the first and the last row
    now: float
    look: Look


def frame(state: TopState, seen: Seen, size: Size, *, now: float, look: Look = Look()) -> Frame:  # noqa: B008 - a value
    """The dashboard. `now`: wall clock, seconds since the Unix epoch."""
    scene = _Scene(state, state.picture(seen), Size(size.width, max(0, size.height - 2)), now, look)
    body, shown = _body(scene)
    body = [*body[: scene.size.height], *[()] * (scene.size.height - len(body))]
    rows = (_title(scene), *body, _footer(scene))
    return Frame(rows[: size.height], shown)


# --- first and last row -----------------------------------------------------------------------------------------------


def _title(scene: _Scene) -> Row:
    state, seen, size, now, look = scene
    right: list[Piece] = [("paused ", "alarm")] if state.held is not None else []
    role = {Connection.LIVE: "good", Connection.LOST: "alarm"}.get(seen.connection, "info")
    dot = look.glyph("● " if seen.connection is Connection.LIVE else "○ ", "")
    since = f" for {age(now - seen.since)}" if seen.connection is Connection.LOST and seen.since is not None else ""
    right.append((f"{dot}{seen.connection}{since}", role))
    return first_row(_title_parts(seen), right, size.width, look)


def _title_parts(seen: Seen) -> list[tuple[int, Sequence[Piece]]]:
    """In their order, each with its rank."""
    place = seen.url.partition("://")[2] or seen.url
    parts: list[tuple[int, Sequence[Piece]]] = [(0, (("herd", "title"),))]
    if place:
        parts.append((6, ((place, ""),)))
    if seen.status is None:
        return parts
    totals, version = seen.status.totals, seen.status.router.version
    if version:
        parts[0] = (0, (("herd", "title"), (f" {version}", "dim")))
    nodes = len(seen.nodes) if totals.nodes is None else totals.nodes
    serving = "" if totals.serving is None else f", {totals.serving} serving"
    parts.append((1, ((f"{nodes} node{'s' if nodes != 1 else ''}{serving}", ""),)))
    for rank, number, word, role in (
        (5, totals.models, "models", ""),
        (2, totals.running, "running", "good"),
        (3, totals.waiting, "waiting", "warn"),
        (4, totals.held or None, "held", "alarm"),
    ):
        if number is not None:
            parts.append((rank, ((f"{number} {word}", role if number else ""),)))
    speeds = [node.tokens_per_s for node in seen.nodes if node.tokens_per_s is not None]
    if speeds:
        parts.append((7, ((f"{sum(speeds):.0f} tok/s", ""),)))
    return parts


def _footer(scene: _Scene) -> Row:
    state, seen, look = scene.state, scene.seen, scene.look
    line = Line(look, scene.size.width).add(" ")
    if state.asking is not None:
        drains = isinstance(state.asking, Drain)
        meaning = "what runs there ends, nothing new comes" if drains else "it takes requests again"
        line.add("(y/n) ", "bold").add(f"{'drain' if drains else 'resume'} {state.asking.node}?", "warn")
        return line.add(f" {meaning}", "dim").row()
    if state.typing:
        line.add("filter: ", "bold").add(f"{state.filter}{look.glyph('▏', '_')}")
        return line.add("   enter keeps it, esc clears it", "dim").row()
    if state.message:
        return line.add(state.message, "info").row()
    if seen.connection is Connection.LOST and seen.why:
        return line.add(seen.why, "bad").row()
    return parts_line(line, _keys(state, look), "  ").row()


def _keys(state: TopState, look: Look) -> list[tuple[int, Sequence[Piece]]]:
    arrows = look.glyph("↑↓", "arrows")
    if state.help:
        keys: list[tuple[int, str, str]] = [(0, "any key", "back")]
    elif state.focused is not None:
        keys = [
            (2, "esc", "back"), (4, arrows, "scroll"), (5, look.glyph("←→", "left/right"), "other node"),
            (3, "d", "drain"), (3, "u", "resume"), (6, "p", "pause"), (1, "?", "help"), (0, "q", "quit"),
        ]  # fmt: skip
    else:
        keys = [
            (2, arrows, "select"), (3, "enter", "open"), (5, "s", f"sort: {state.sort}"), (8, "r", "turn"),
            (4, "/", "filter"), (6, "d", "drain"), (6, "u", "resume"), (7, "p", "pause"),
            (5, "tab", f"show: {state.panel}"), (1, "?", "help"), (0, "q", "quit"),
        ]  # fmt: skip
    return [(rank, ((key, "bold"), (f" {what}", "dim"))) for rank, key, what in keys]


# --- between ----------------------------------------------------------------------------------------------------------


def _body(scene: _Scene) -> tuple[list[Row], Shown]:
    state, seen, size, now, look = scene
    if state.help:
        return [Line(look, size.width).add(text).row() for text in HELP], Shown()
    if seen.status is None:
        return _waiting(scene), Shown()
    if state.focused is not None:
        return _whole_node(scene, state.focused)
    nodes = node_table(state, seen, size.width, now=now, look=look)
    if state.panel is Panel.NODES:
        return nodes.rows(size.height), Shown(nodes.page(size.height))
    if state.panel is not Panel.ALL:
        block = _block(scene, state.panel, size.width)
        room = block.room(size.height)
        return block.rows(size, look, state.scroll), Shown(max(1, room - 1), max(0, block.count - room))
    return _all(scene, nodes)


def _waiting(scene: _Scene) -> list[Row]:
    text = f"  waiting for what the router at {scene.seen.url} says" if scene.seen.url else "  waiting for the router"
    return [(), Line(scene.look, scene.size.width).add(text, "dim").row()]


def _block(scene: _Scene, panel: Panel, width: int) -> Block:
    longest = longest_name(scene.seen)
    if panel is Panel.REQUESTS:
        return requests_block(scene.seen.requests, longest, width, scene.look)
    if panel is Panel.QUEUES:
        queues = scene.seen.status.queues if scene.seen.status is not None else ()
        return queues_block(queues, longest, width, scene.look)
    return happenings_block(scene.seen.happenings, width, scene.look)


def _whole_node(scene: _Scene, name: str) -> tuple[list[Row], Shown]:
    """One node; beside the list of all where there is room."""
    state, seen, size, now, look = scene
    width = size.width - _LIST - 3 if size.width >= WIDE else size.width
    rows = [rule(look, width, "node"), *detail_rows(name, seen, width, look)]
    bottom = max(0, len(rows) - size.height)
    first = min(state.scroll, bottom)
    shown = rows[first : first + size.height]
    if width < size.width:
        others = node_table(state, seen, _LIST, now=now, look=look).rows(size.height)
        shown = beside(others, [*shown, *[()] * (size.height - len(shown))], _LIST, look)
    return shown, Shown(max(1, size.height - 1), bottom)


def _all(scene: _Scene, nodes: NodeTable) -> tuple[list[Row], Shown]:
    """The nodes above all the rest."""
    size, look = scene.size, scene.look
    width = int(size.width * _BESIDE) if size.width >= WIDE else size.width
    other = size.width - width - 3 if size.width >= WIDE else size.width
    requests = _block(scene, Panel.REQUESTS, width)
    queues, happenings = _block(scene, Panel.QUEUES, other), _block(scene, Panel.HAPPENINGS, other)
    tall = max(3, size.height // 8)
    if size.width < WIDE:
        wants = [(tall + 1, requests.wanted), (tall, queues.wanted), (tall, happenings.wanted)]
        above, heights = _heights(size.height, nodes, wants)
        rows = nodes.rows(above)
        for block, height in ((queues, heights[1]), (requests, heights[0]), (happenings, heights[2])):
            rows += block.rows(Size(size.width, height), look) if height else []
        return rows, Shown(nodes.page(above))
    most = max(requests.wanted, queues.wanted + happenings.wanted)
    above, (below,) = _heights(size.height, nodes, [(2 * tall, most)])
    rows = nodes.rows(above)
    if below:
        first, second = _grown(below, [(min(tall, queues.wanted), queues.wanted), (tall, happenings.wanted)])
        right = queues.rows(Size(other, first), look) if first else []
        right += happenings.rows(Size(other, second), look) if second else []
        left = requests.rows(Size(width, below), look)
        rows += beside(left, [*right, *[()] * (below - len(right))], width, look)
    return rows, Shown(nodes.page(above))


def _heights(total: int, nodes: NodeTable, wants: Sequence[tuple[int, int]]) -> tuple[int, list[int]]:
    """Rows for the nodes, and for the blocks below them, each of which has a least and a most.

    A few nodes come first, then something of every block, then all nodes with a line each, then with two, if that does
    for all of them; then the blocks grow.
    """
    short = nodes.short
    first = min(total, short, HEAD + _FEW)
    given = _least(total - first, wants)
    spare = total - first - sum(given)
    more = min(spare, short - first)
    first, spare = first + more, spare - more
    if first == short and nodes.wanted - short <= spare:
        first, spare = nodes.wanted, spare - (nodes.wanted - short)
    return first, _grown(sum(given) + spare, wants)


def _least(total: int, wants: Sequence[tuple[int, int]]) -> list[int]:
    """The least for each, the first ones first; nothing where that is not there."""
    given: list[int] = []
    for least, most in wants:
        need = min(least, most)
        given.append(need if need <= total else 0)
        total -= given[-1]
    return given


def _grown(total: int, wants: Sequence[tuple[int, int]]) -> list[int]:
    """The least for each, and row by row more for all that want it."""
    given = _least(total, wants)
    spare = total - sum(given)
    while spare > 0:
        hungry = [number for number, (_, most) in enumerate(wants) if 0 < given[number] < most]
        if not hungry:
            break
        for number in hungry[:spare]:
            given[number] += 1
        spare -= min(spare, len(hungry))
    return given


HELP = (  # what a terminal of 80 columns and 24 rows holds
    "",
    " up, down, k, j    choose a node; also page-up, page-down, home, end",
    " enter             all of that node: its reasons, speeds, its owner's week",
    " left, right       the node before it, the node after it",
    " esc               back: out of the node, the list, the filter, the choice",
    " s, r              sort by the next column; turn the order around",
    " /                 filter nodes by name, state or model in memory",
    " tab               only nodes, only requests, queues, happenings; all again",
    " d                 drain the node: nothing new goes there",
    " u                 undrain: let it take requests again",
    " p, space          pause the picture, or go on",
    " q                 close this view; the router goes on",
    "",
    " memory, gpu       in use, of all there is",
    " now, next h       what the owner leaves of the machine; ? is not known yet",
    " models in memory  * is pinned there, ! has failed and is left alone now",
    " tok/s             answer tokens a second, of a node in the last minute",
    " wait, first       seconds until its turn, seconds to the first token",
)
