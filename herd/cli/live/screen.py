"""What a terminal shows: of each picture only the rows that differ from the last one go out."""

import asyncio
from collections.abc import Callable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.color import ColorSystem
from rich.segment import Segment

from herd.cli.live.cells import Size
from herd.cli.live.terminal import Terminal

Row = Sequence[Segment]

# Terminals that know synchronised updates show a picture at once, the others ignore what they do not know.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_CLEAR = "\x1b[0m\x1b[2J"
_CLEAR_REST = "\x1b[K"


class Canvas:
    """The rows that a terminal shows, and what has to be said to it to make it show others. Pure.

    Args:
        colours: how many there are.
        colour: whether any are wanted.
        encoding: that the terminal reads.
    """

    def __init__(self, colours: ColorSystem, *, colour: bool = True, encoding: str = "utf-8") -> None:
        self._colours = colours
        self._colour = colour
        self._encoding = encoding
        self._size = Size(0, 0)
        self._shown: list[tuple[Segment, ...]] | None = None

    def forget(self) -> None:
        """It may show anything now: the next picture is drawn whole."""
        self._shown = None

    def changes(self, rows: Sequence[Row], size: Size) -> bytes:
        """What makes it show these rows, the rest of it empty; nothing where it shows them already."""
        if size != self._size:
            self._size, self._shown = size, None
        wanted = [tuple(row) for row in rows[: size.height]]
        wanted += [()] * (size.height - len(wanted))
        parts = []
        if self._shown is None:
            parts.append(_CLEAR)
            self._shown = [()] * size.height
        for number, (row, shown) in enumerate(zip(wanted, self._shown, strict=True), 1):
            if row != shown:
                parts.append(f"\x1b[{number};1H{self._line(row, size.width)}")
        self._shown = wanted
        return "".join((_BEGIN, *parts, _END)).encode(self._encoding, "replace") if parts else b""

    def _line(self, row: Row, width: int) -> str:
        """A row with its sequences, cut at the width."""
        parts: list[str] = []
        left = width
        for text, style, control in row:
            if control or left == 0:
                continue
            shown = self._showable(text)
            cells = cell_len(shown)
            if cells > left:
                shown, cells = set_cell_size(shown, left), left
            left -= cells
            if style is not None:
                style = style if self._colour else style.without_color  # noqa: PLW2901 - of this piece
                shown = style.render(shown, color_system=self._colours)
            parts.append(shown)
        # In the last column the cursor stands on the last letter, and clearing would take that one.
        return "".join(parts) + (_CLEAR_REST if left else "")

    def _showable(self, text: str) -> str:
        """Without what would steer the terminal, whoever wrote it; what it cannot show becomes as many `?`."""
        if not text.isprintable():
            text = "".join(letter if letter.isprintable() else "?" * cell_len(letter) for letter in text)
        if not text.isascii() and not self._encoding.lower().startswith("utf"):
            text = "".join(letter if self._can(letter) else "?" * cell_len(letter) for letter in text)
        return text

    def _can(self, letter: str) -> bool:
        try:
            letter.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True


class Screen:
    """Draws pictures on a terminal without ever waiting for it: while one is not through, there is no other.

    Args:
        terminal: that is taken.
        drained: told when a picture is through that was not at once.
        gone: told once when the terminal is there no longer.
    """

    def __init__(self, terminal: Terminal, drained: Callable[[], None], gone: Callable[[], None]) -> None:
        self._terminal = terminal
        self._drained = drained
        self._gone = gone
        self._canvas = Canvas(terminal.colours, colour=terminal.colour, encoding=terminal.encoding)
        self._unsent = memoryview(b"")
        self._loop = asyncio.get_running_loop()

    @property
    def busy(self) -> bool:
        """Whether the last picture is not through yet."""
        return len(self._unsent) > 0

    def draw(self, rows: Sequence[Row], size: Size) -> None:
        """Show a picture. To be called only when it is not busy."""
        self._unsent = memoryview(self._canvas.changes(rows, size))
        self._write()
        if self.busy:
            self._loop.add_writer(self._terminal.descriptor, self._go_on)

    def start_over(self) -> None:
        """The terminal may show anything now: drop what is not sent, and draw the next picture whole."""
        self._canvas.forget()
        if self.busy:
            self._loop.remove_writer(self._terminal.descriptor)
            self._unsent = memoryview(b"")

    def _go_on(self) -> None:
        self._write()
        if not self.busy:
            self._loop.remove_writer(self._terminal.descriptor)
            self._drained()

    def _write(self) -> None:
        try:
            while self.busy:
                self._unsent = self._unsent[self._terminal.write(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # EIO: the line was hung up
            self._unsent = memoryview(b"")
            self._gone()
