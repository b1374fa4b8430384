"""One node of a fleet, whole, on a dashboard: what `herd nodes NAME` prints, as rows of a screen."""

import io

from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.text import Text

from herd.cli import node_view
from herd.cli.cells import Look, Row, clean
from herd.cli.seen import Seen

_ODD = "the router describes this node in another way: is it of another version?"


def detail_rows(name: str, seen: Seen, width: int, look: Look) -> list[Row]:
    """All there is to say of a node, not cut in height."""
    entry = seen.entries.get(name)
    learned = seen.detail if seen.detail.get("name") == name else {}
    if entry is None and not learned:
        return _rows(Text("it is not in the fleet any more"), width, look)
    try:
        # What changes from moment to moment is fresher in the status.
        return _rows(node_view.node({**learned, **(entry or {})}, plain=look.plain), width, look)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return _rows(Text(_ODD), width, look)


def _rows(shown: RenderableType, width: int, look: Look) -> list[Row]:
    console = Console(file=io.StringIO(), width=width, color_system="truecolor", legacy_windows=False)
    options = console.options.update(width=width, height=None)
    if look.plain:
        options.encoding = "ascii"
    lines = console.render_lines(shown, options, pad=False)
    return [tuple(_safe(line, look)) for line in lines]


def _safe(line: list[Segment], look: Look) -> list[Segment]:
    if not look.colour:
        line = list(Segment.remove_color(line))
    return [Segment(clean(text, plain=look.plain), style) for text, style, control in line if text and not control]
