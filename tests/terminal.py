"""A terminal for programs under test: a pseudo-terminal, and the screen that a person would see on it.

The screen understands what Herd and Rich write, and no more: a sequence that it does not know fails the test.
"""

import asyncio
import codecs
import contextlib
import fcntl
import os
import re
import struct
import termios
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from tests.e2e.processes import PATIENCE_S, environment

KEYS = {
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "page-up": b"\x1b[5~",
    "page-down": b"\x1b[6~",
    "enter": b"\r",
    "tab": b"\t",
    "esc": b"\x1b",
    "backspace": b"\x7f",
    "ctrl-c": b"\x03",
    "ctrl-l": b"\x0c",
    "ctrl-z": b"\x1a",
}

_SEQUENCE = re.compile(r"\x1b(?:\[([?0-9;]*)([A-Za-z])|[=>78])")
_ALTERNATE, _CURSOR, _WRAP, _SYNCHRONISED = "?1049", "?25", "?7", "?2026"
_KNOWN_MODES = {_ALTERNATE, _CURSOR, _WRAP, _SYNCHRONISED}
_MAX_SEQUENCE = 64


class Cells:
    """The cells of one screen. The second cell of a wide letter is empty."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.letters = [[" "] * width for _ in range(height)]
        self.styles = [[""] * width for _ in range(height)]
        self.row = self.column = 0

    def put(self, letter: str, style: str, *, wrap: bool) -> None:
        cells = cell_len(letter)
        if cells == 0:
            return
        if self.column + cells > self.width:
            if wrap:
                self.column = 0
                self.down()
            else:
                self.column = self.width - cells
        self.letters[self.row][self.column] = letter
        self.styles[self.row][self.column : self.column + cells] = [style] * cells
        if cells == 2:
            self.letters[self.row][self.column + 1] = ""
        self.column += cells

    def down(self) -> None:
        if self.row < self.height - 1:
            self.row += 1
            return
        self.letters = [*self.letters[1:], [" "] * self.width]
        self.styles = [*self.styles[1:], [""] * self.width]

    def clear(self, row: int, column: int = 0) -> None:
        self.letters[row][column:] = [" "] * (self.width - column)
        self.styles[row][column:] = [""] * (self.width - column)


class Screen:
    """What bytes make of a terminal of some size."""

    def __init__(self, width: int, height: int) -> None:
        self._usual, self._alternate = Cells(width, height), Cells(width, height)
        self._text = ""
        self._style = ""
        self.modes = {_CURSOR, _WRAP}

    @property
    def alternate(self) -> bool:
        """Whether it shows the alternate screen."""
        return _ALTERNATE in self.modes

    @property
    def untouched(self) -> bool:
        """Whether all modes are those that a shell expects."""
        return self.modes == {_CURSOR, _WRAP} and self._style == ""

    @property
    def rows(self) -> list[str]:
        """What a person reads."""
        return ["".join(letters).rstrip() for letters in self._cells.letters]

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def styles(self) -> set[str]:
        """Parameters of all select-graphic-rendition sequences in force somewhere."""
        return {style for row in self._cells.styles for style in row if style}

    @property
    def complete(self) -> bool:
        """Whether it is between two pictures."""
        return _SYNCHRONISED not in self.modes and self._text == ""

    def resize(self, width: int, height: int) -> None:
        """The window has another size; what it showed is as good as lost, as on most terminals."""
        self._usual, self._alternate = Cells(width, height), Cells(width, height)

    def feed(self, text: str) -> None:
        """Obey. Raises AssertionError for what it does not understand."""
        self._text += text
        while self._text:
            if self._text[0] != "\x1b":
                self._letter(self._text[0])
                self._text = self._text[1:]
                continue
            match = _SEQUENCE.match(self._text)
            if match is None:
                assert len(self._text) < _MAX_SEQUENCE, f"no sequence that is known here: {self._text!r}"
                return
            self._text = self._text[match.end() :]
            self._sequence(match[1] or "", match[2] or "", match[0])

    @property
    def _cells(self) -> Cells:
        return self._alternate if self.alternate else self._usual

    def _letter(self, letter: str) -> None:
        cells = self._cells
        match letter:
            case "\r":
                cells.column = 0
            case "\n":
                cells.down()
            case "\b":
                cells.column = max(cells.column - 1, 0)
            case "\t":
                cells.column = min(cells.column // 8 * 8 + 8, cells.width - 1)
            case "\x07":
                pass
            case _:
                assert letter.isprintable(), f"a control character: {letter!r}"
                cells.put(letter, self._style, wrap=_WRAP in self.modes)

    def _sequence(self, parameters: str, final: str, whole: str) -> None:
        cells = self._cells
        match final:
            case "":  # saves the cursor, say: this screen does not scroll behind a view's back
                pass
            case "m":
                self._style = "" if parameters in {"", "0"} else parameters
            case "H":
                row, _, column = parameters.partition(";")
                cells.row = min(int(row or 1), cells.height) - 1
                cells.column = min(int(column or 1), cells.width) - 1
            case "K" if parameters in {"", "0"}:
                cells.clear(cells.row, min(cells.column, cells.width - 1))
            case "J" if parameters == "2":
                for row_number in range(cells.height):
                    cells.clear(row_number)
            case "J" if parameters in {"", "0"}:
                cells.clear(cells.row, min(cells.column, cells.width - 1))
                for row_number in range(cells.row + 1, cells.height):
                    cells.clear(row_number)
            case "h" if parameters in _KNOWN_MODES:
                self._enter(parameters)
            case "l" if parameters in _KNOWN_MODES:
                self.modes.discard(parameters)
            case _:
                raise AssertionError(f"a sequence that is not known here: {whole!r}")

    def _enter(self, mode: str) -> None:
        if mode == _ALTERNATE and not self.alternate:
            self._alternate = Cells(self._usual.width, self._usual.height)
        self.modes.add(mode)


class Terminal:
    """A program on a pseudo-terminal of its own. Use `on_terminal`."""

    def __init__(
        self, master: int, slave: int, found: list[Any], process: asyncio.subprocess.Process, screen: Screen
    ) -> None:
        self._master, self._slave = master, slave
        self.found = found  # its settings before the program began
        self.process = process
        self.screen = screen
        self.everything = b""  # that was written
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._news = asyncio.Event()
        self._failed: AssertionError | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(master, self._read)

    def press(self, *keys: str) -> None:
        """Press keys, by their names or as characters."""
        os.write(self._master, b"".join(KEYS.get(key, key.encode()) for key in keys))

    def resize(self, width: int, height: int) -> None:
        """Have the window take another size."""
        self.screen.resize(width, height)
        set_size(self._master, width, height)

    async def shows(self, *patterns: str, but: str | None = None) -> str:
        """Wait for a complete picture in which each pattern is found, and `but` is not; its text."""

        def there() -> bool:
            text = self.screen.text
            found = all(re.search(pattern, text, re.MULTILINE) for pattern in patterns)
            return self.screen.complete and found and (but is None or not re.search(but, text, re.MULTILINE))

        await self.until(there, f"{patterns} but {but!r}")
        return self.screen.text

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until something is true of the screen."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not true():
                    if self._failed is not None:
                        raise self._failed
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"the screen never showed {what}:\n{self.screen.text}") from None

    async def ended(self) -> int:
        """Wait until the program has ended, and read the rest of what it wrote; its exit code."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        self._read()
        if self._failed is not None:
            raise self._failed
        return code

    @property
    def modes(self) -> list[Any]:
        """Its settings now."""
        return termios.tcgetattr(self._slave)

    def stop_reading(self) -> asyncio.Event:
        """Take nothing more from the program: a line that stands still. The event: the program has written."""
        written = asyncio.Event()

        def seen() -> None:
            self._loop.remove_reader(self._master)
            written.set()

        self._loop.add_reader(self._master, seen)
        return written

    def read_on(self) -> None:
        """Take again what the program writes."""
        self._loop.add_reader(self._master, self._read)

    def hang_up(self) -> None:
        """The window is closed."""
        self._loop.remove_reader(self._master)
        os.close(self._master)
        self._master = -1

    async def close(self) -> None:
        """End the program, if it still runs, and the terminal."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
        os.close(self._slave)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except (BlockingIOError, OSError):
                break
            self.everything += data
            try:
                self.screen.feed(self._decoder.decode(data))
            except AssertionError as error:
                self._failed = error
                break
        self._news.set()


def set_size(descriptor: int, width: int, height: int) -> None:
    """Set the size of a terminal; whoever is in its foreground hears of it."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


@asynccontextmanager
async def on_terminal(
    words: Sequence[str],
    home: Path,
    size: tuple[int, int] = (80, 24),
    variables: Mapping[str, str] | None = None,
    *,
    stdin: int | None = None,
) -> AsyncIterator[Terminal]:
    """Run a command line on a terminal that is its controlling one, in colour unless the variables say otherwise.

    Args:
        words: of the command line.
        home: the home and working directory.
        size: columns and rows.
        variables: of its environment.
        stdin: where its standard input comes from, if not from the terminal.
    """
    master, slave = os.openpty()
    set_size(slave, *size)
    os.set_blocking(master, False)
    found = termios.tcgetattr(slave)
    own = environment(home, {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(variables or {})})
    for unwanted in ({"NO_COLOR", "COLUMNS"} - set(variables or ())) | {"COLORTERM"}:
        own.pop(unwanted, None)
    # The first terminal that the leader of a session opens is the one that controls it.
    script = 'exec <>"$0" >&0 2>&0; exec "$@"' if stdin is None else 'exec 1<>"$0" 2>&1; exec "$@"'
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", script, os.ttyname(slave), *words),
        stdin=asyncio.subprocess.DEVNULL if stdin is None else stdin,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=home,
        env=own,
        start_new_session=True,
    )
    terminal = Terminal(master, slave, found, process, Screen(*size))
    try:
        yield terminal
    finally:
        await terminal.close()
