"""One node of a fleet, whole, on a dashboard: what `herd nodes NAME` prints, as rows of a screen."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from herd.cli.fleet.panels import requests_block
from herd.cli.fleet.seen import Seen
from herd.cli.live.cells import Column, Line, Look, Piece, Row, Size, fitted, placed, table_line, title_line
from herd.cli.remote import node_view

_ODD = "the router describes this node in another way: is it of another version?"
_GONE = "it is not in the fleet any more"

# Cells of the figures of a model, and which of them are left out first.
_WIDTHS = {"size": 9, "loads in": 8, "tok/s in": 8}
_RANKS = ("in memory", "tok/s out", "first token", "size", "at once", "loads in", "tok/s in", "off by")
_REQUESTS = 5  # of the node, the latest
_NAME = 24  # cells of a model's name: less says nothing of those that carry their publisher and their quantization

_Model = tuple[dict[str, Any], dict[str, Any]]  # with its speeds


def detail_rows(name: str, seen: Seen, width: int, look: Look) -> list[Row]:
    """All there is to say of a node, not cut in height."""
    entry = seen.entries.get(name)
    learned = seen.detail if seen.detail.get("name") == name else {}
    if entry is None and not learned:
        return _texts([Text(_GONE)], width, look)
    try:
        # What changes from moment to moment is fresher in the status.
        return _rows({**learned, **(entry or {})}, seen, width, look)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return _texts([Text(_ODD)], width, look)


def _rows(document: dict[str, Any], seen: Seen, width: int, look: Look) -> list[Row]:
    rows = _texts([node_view.heading(document)], width, look)
    for fact in node_view.facts(document):
        rows += _texts([Text(fact)], width, look, indent=2)
    columns = placed(_columns(), width, 2)
    rows += [(), title_line(Line(look, width), columns, 2).row()]
    rows += [table_line(Line(look, width), columns, model, 2).row() for model in node_view.models(document)]
    own = [request for request in seen.requests if request.node == document["name"]][:_REQUESTS]
    if own:
        block = requests_block(own, 10, width, look)
        rows += [(), *block.rows(Size(width, block.wanted), look)]
    if "week" in document:  # the answer of the router has come
        rows += [(), *_texts(node_view.week(document, plain=look.plain), width, look)]
    return rows


def _columns() -> list[Column[_Model]]:
    def figure(text: Callable[[dict[str, Any], dict[str, Any]], str], model: _Model, _: int) -> Sequence[Piece]:
        return ((text(*model), ""),)

    columns: list[Column[_Model]] = [
        Column("model", lambda model, _: ((model[0]["name"], ""),), _NAME, 2 * _NAME, 0),
    ]
    for title, text in node_view.FIGURES:
        width = _WIDTHS.get(title, len(title))
        columns.append(Column(title, partial(figure, text), width, width, 1 + _RANKS.index(title), True))
    return columns


def _texts(texts: Sequence[Text], width: int, look: Look, indent: int = 0) -> list[Row]:
    """Rich's texts as rows, broken where they are too long."""
    console = Console(file=io.StringIO(), width=width, color_system="truecolor", legacy_windows=False)
    lines = [line for text in texts for line in text.wrap(console, max(1, width - indent), overflow="fold")]
    return [_row(line, width, look, indent) for line in lines]


def _row(text: Text, width: int, look: Look, indent: int) -> Row:
    text.rstrip()
    text.end = ""
    segments = [Segment(" " * indent), *text.render(Console(file=io.StringIO(), color_system="truecolor"))]
    if not look.colour:
        segments = list(Segment.remove_color(segments))
    row: list[Segment] = []
    left = width
    for words, style, _ in segments:
        if words and left > 0:
            shown = fitted(words, left, look.plain)
            row.append(Segment(shown, style))
            left -= Segment(shown).cell_length
    return tuple(row)
