"""The terminal that a live view is on: opened anew, taken over, and given back as it was."""

import contextlib
import os
import select
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TextIO

from rich.color import ColorSystem
from rich.console import Console

from herd.cli.live.cells import Size

if sys.platform == "win32":
    import ctypes
else:
    import termios

# What terminals can do; Windows has none of it, nor has a Python that was built without.
terminfo: ModuleType | None
try:
    import curses as terminfo
except ImportError:
    terminfo = None

# Where a terminal does not say its size (a serial line, some consoles of containers).
USUAL_COLUMNS, USUAL_ROWS = 80, 24
# No screen has more; a terminal that claims so would have a picture of any size drawn.
MOST_COLUMNS, MOST_ROWS = 1000, 300

_CLOSED = -1  # no descriptor

# For the last words to a terminal that takes nothing: a line that is only slow takes a few hundred bytes in that time.
PARTING_S = 1.0

# The alternate screen, no cursor, and no wrapping: where a terminal takes a character for wider than it was thought to
# be, its own line suffers and no other. "DEC Private Mode Set" in xterm's ctlseqs.
TAKE = b"\x1b[?1049h\x1b[?25l\x1b[?7l"
# Its first ESC ends a sequence of which only a part went out before.
GIVE_BACK = b"\x1b[?2026l\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

_SYSTEMS = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT, "truecolor": ColorSystem.TRUECOLOR}


# Terminals that obey no sequences; Windows' have no TERM at all.
_DUMB = {"dumb", "unknown"} if sys.platform == "win32" else {"", "dumb", "unknown"}


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Whether the terminal of this environment can do nothing but print."""
    return environ.get("TERM", "").lower() in _DUMB


class Terminal:
    """A terminal to draw on and to read keys from.

    Args:
        descriptor: non-blocking, and of an open file of its own: what `O_NONBLOCK` does to one would else be done to
            all that share it, such as the shell and the process that started this one.
        output: the standard output that is on it, for its encoding and colours.
    """

    def __init__(self, descriptor: int, output: TextIO) -> None:
        self.descriptor = descriptor
        self.encoding = output.encoding
        console = Console(file=output, force_terminal=True)
        self.colours = _SYSTEMS.get(console.color_system or "", ColorSystem.STANDARD)
        self.colour = not console.no_color and _has_colours(descriptor)
        self.plain = console.options.ascii_only
        self._before: list[Any] | None = None

    @property
    def size(self) -> Size:
        """As it is now."""
        try:
            columns, rows = os.get_terminal_size(self.descriptor)
        except OSError:  # hung up
            columns = rows = 0
        return Size(min(columns or USUAL_COLUMNS, MOST_COLUMNS), min(rows or USUAL_ROWS, MOST_ROWS))

    @property
    def in_foreground(self) -> bool:
        """Whether this process may read its keys and set its modes."""
        return _in_foreground(self.descriptor)

    def read(self, size: int) -> bytes:
        """What was typed; empty when it hung up. Raises BlockingIOError for nothing, OSError when it is gone."""
        return os.read(self.descriptor, size)

    def write(self, data: bytes | memoryview) -> int:
        """How much of `data` it took. Raises BlockingIOError for nothing, OSError when it is gone."""
        return os.write(self.descriptor, data)

    def take(self) -> None:
        """Have keys come as they are pressed, without an echo, and show another screen; once more after a stop.

        Raises OSError.
        """
        if sys.platform == "win32":
            self._before = [_set_up_console(utf8=self.encoding.lower().startswith("utf"))]
        else:
            try:
                modes = termios.tcgetattr(self.descriptor)
                termios.tcsetattr(self.descriptor, termios.TCSANOW, _as_pressed(modes))
            except termios.error as error:
                raise OSError(*error.args) from error
            if self._before is None:
                self._before = modes
        self._say(TAKE)

    def give_back(self) -> None:
        """Leave it as it was found, as far as it is still there. Idempotent; waits PARTING_S at most."""
        before, self._before = self._before, None
        if before is None:
            return
        with contextlib.suppress(OSError):
            self._say(GIVE_BACK)
        if sys.platform == "win32":
            ctypes.windll.kernel32.SetConsoleOutputCP(before[0])
        else:
            # At once (TCSANOW): the other ways wait until all is written, and a line that stands still never does.
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.descriptor, termios.TCSANOW, before)

    def forget(self) -> None:
        """It belongs to another now: give nothing back."""
        self._before = None

    def close(self) -> None:
        """Give it back, and close it. Idempotent."""
        self.give_back()
        descriptor, self.descriptor = self.descriptor, _CLOSED
        if descriptor != _CLOSED:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _say(self, words: bytes) -> None:
        """Write a few bytes, waiting a little for a terminal that is busy. Raises OSError."""
        while words:
            try:
                words = words[self.write(words) :]
            except BlockingIOError:
                if not select.select((), (self.descriptor,), (), PARTING_S)[1]:
                    return


def open_terminal(environ: Mapping[str, str]) -> Terminal | None:
    """The terminal that standard output is on, if one can draw and press keys there.

    None: standard output is none, it is a dumb one, or this process is in its background.
    """
    output = sys.stdout
    try:
        number = output.fileno()
    except (OSError, ValueError):
        return None
    if not os.isatty(number) or is_dumb(environ):
        return None
    try:
        descriptor = _opened(number)
    except OSError:
        return None
    if not _in_foreground(descriptor):
        os.close(descriptor)
        return None
    return Terminal(descriptor, output)


if sys.platform == "win32":

    def _opened(number: int) -> int:
        return os.dup(number)

    def _in_foreground(descriptor: int) -> bool:
        return os.isatty(descriptor)

    def _has_colours(descriptor: int) -> bool:
        return os.isatty(descriptor)

    def _set_up_console(*, utf8: bool) -> int:
        """Have the console obey escape sequences, which it does not by itself before Windows Terminal, and read UTF-8:
        bytes that are written past `sys.stdout` are in its own code page, which is returned.
        """
        kernel = ctypes.windll.kernel32
        handle = kernel.GetStdHandle(-11)  # STD_OUTPUT_HANDLE
        mode = ctypes.c_ulong()
        if kernel.GetConsoleMode(handle, ctypes.byref(mode)):
            kernel.SetConsoleMode(handle, mode.value | 0x0004)  # ENABLE_VIRTUAL_TERMINAL_PROCESSING
        before: int = kernel.GetConsoleOutputCP()
        if utf8:
            kernel.SetConsoleOutputCP(65001)  # CP_UTF8
        return before

else:

    def _opened(number: int) -> int:
        """A new open file on the same terminal. Raises OSError."""
        flags = os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return os.open(os.ttyname(number), flags)
        except OSError:  # its name is that of another file system: a container that was given the terminal of its host
            return os.open("/dev/tty", flags)

    def _in_foreground(descriptor: int) -> bool:
        try:
            return os.tcgetpgrp(descriptor) == os.getpgrp()
        except OSError:  # not the terminal that controls this process, or none any more
            return False

    def _has_colours(descriptor: int) -> bool:
        """What terminfo says of TERM; a terminal that it does not know has them, for nearly all have."""
        if terminfo is None:
            return True
        try:
            terminfo.setupterm(fd=descriptor)
        except terminfo.error:
            return True
        colours: int = terminfo.tigetnum("colors")
        return colours >= 8

    def _as_pressed(modes: list[Any]) -> list[Any]:
        """Keys at once and unseen. Ctrl-C and Ctrl-Z stay signals; Ctrl-S would halt the picture, and does nothing."""
        inputs, output, control, local, *speeds, characters = modes
        inputs &= ~(termios.IXON | termios.IXOFF)
        local = (local | termios.ISIG) & ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        characters = list(characters)
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        return [inputs, output, control, local, *speeds, characters]
