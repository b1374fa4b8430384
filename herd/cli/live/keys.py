"""Keys by name, from the bytes that a terminal sends for them; Rich reads none.

What terminals send: ECMA-48, section 5.4 (control sequences), and "Special Keys" in xterm's ctlseqs.
"""

import asyncio
import codecs
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import ClassVar

from herd.cli.live.terminal import Terminal

if sys.platform == "win32":
    import msvcrt

# A terminal sends a key's bytes in one piece, and they stay in one on all but the worst lines: an ESC that is alone for
# so long is the key. Editors wait from 50 ms (Vim's ttimeoutlen) to half a second (Readline), and nobody notices this.
ALONE_S = 0.1

PIECE = 1024  # bytes of one read: more than a person types, and as much as may be pasted before the loop goes on

_ESC = 0x1B
_CANCEL = (0x18, 0x1A)  # CAN and SUB end any sequence (ECMA-48, 8.3.6)
_CONTROLS = {
    0x08: "backspace",
    0x09: "tab",
    0x0A: "enter",
    0x0C: "ctrl-l",
    0x0D: "enter",
    0x7F: "backspace",
}
# The last letter of CSI and SS3 sequences; modifiers before it (Shift, Ctrl) change nothing.
_LETTERS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "F": "end",
    "H": "home",
    "M": "enter",  # of the keypad, as SS3
    "Z": "shift-tab",
}
# The number in `CSI number ~`: by VT220, and by rxvt and the Linux console.
_NUMBERS = {"1": "home", "4": "end", "5": "page-up", "6": "page-down", "7": "home", "8": "end"}
# What Windows gives as the second of two characters, after NUL or U+00E0.
_SCAN_CODES = {
    "H": "up",
    "P": "down",
    "K": "left",
    "M": "right",
    "G": "home",
    "O": "end",
    "I": "page-up",
    "Q": "page-down",
}
_PREFIXES = ("\x00", "\xe0")

# Numbers and their separators: longer ones are those of no key, and are read to their end without being kept.
_MAX_PARAMETERS = 16


class _Within(Enum):
    """Of what the next byte is a part."""

    NOTHING = auto()
    ESCAPE = auto()
    CSI = auto()
    CONSOLE = auto()  # CSI [ and one more: the function keys of the Linux console
    SS3 = auto()
    STRING = auto()  # OSC, DCS and the like: what terminals answer to questions that nobody asked here


class KeyDecoder:
    """Bytes in, names of keys out: `up`, `enter`, `page-down`, or the printable character itself.

    What is no key that is named here is swallowed. It keeps a few bytes at most, whatever comes.
    """

    def __init__(self) -> None:
        self._within = _Within.NOTHING
        self._parameters = ""
        self._text = codecs.getincrementaldecoder("utf-8")(errors="ignore")

    @property
    def pending(self) -> bool:
        """Whether it is within a sequence, which may be one or the key Esc: `alone` says that nothing follows."""
        return self._within is not _Within.NOTHING

    def feed(self, data: bytes) -> list[str]:
        """The keys that end with these bytes."""
        return [key for byte in data for key in self._next(byte)]

    def alone(self) -> list[str]:
        """Nothing has followed for a while: an ESC was the key, and what else has begun is given up."""
        keys = ["esc"] if self._within is _Within.ESCAPE else []
        self._within = _Within.NOTHING
        return keys

    def _next(self, byte: int) -> list[str]:
        within, self._within = self._within, _Within.NOTHING
        if byte == _ESC:
            return self._escape(within)
        if byte in _CANCEL and within is not _Within.NOTHING:
            return []
        return self._parts[within](self, byte)

    def _in_ss3(self, byte: int) -> list[str]:
        key = _LETTERS.get(chr(byte))
        return [key] if key else []

    def _in_console(self, _: int) -> list[str]:
        return []

    def _in_string(self, byte: int) -> list[str]:
        if byte != 0x07:  # BEL ends it as well as ESC and a backslash
            self._within = _Within.STRING
        return []

    def _escape(self, within: _Within) -> list[str]:
        self._text.reset()
        self._within = _Within.ESCAPE
        # The key was pressed twice, or before one that begins with it.
        return ["esc"] if within is _Within.ESCAPE else []

    def _plain(self, byte: int) -> list[str]:
        if byte < 0x20 or byte == 0x7F:
            self._text.reset()
            key = _CONTROLS.get(byte)
            return [key] if key else []
        return [letter for letter in self._text.decode(bytes((byte,))) if letter.isprintable()]

    def _after_escape(self, byte: int) -> list[str]:
        match byte:
            case 0x5B:  # [
                self._within, self._parameters = _Within.CSI, ""
            case 0x4F:  # O
                self._within = _Within.SS3
            case 0x5D | 0x50 | 0x58 | 0x5E | 0x5F:  # ] P X ^ _
                self._within = _Within.STRING
            case 0x5C:  # the backslash that ends a string
                pass
            case _:
                # No key of ours goes with Alt: over a slow line Esc and the next key came as one.
                return ["esc", *self._plain(byte)]
        return []

    def _in_csi(self, byte: int) -> list[str]:
        if 0x20 <= byte < 0x40:
            self._within = _Within.CSI
            if len(self._parameters) < _MAX_PARAMETERS:
                self._parameters += chr(byte)
            return []
        if byte == 0x5B and not self._parameters:
            self._within = _Within.CONSOLE
            return []
        if not 0x40 <= byte < 0x7F:  # broken off: what comes now is something else
            return self._plain(byte)
        if byte == 0x7E:
            key = _NUMBERS.get(self._parameters.partition(";")[0])
        else:
            key = _LETTERS.get(chr(byte)) if byte != 0x4D else None  # CSI M is a mouse
        return [key] if key else []

    _parts: ClassVar[Mapping[_Within, Callable[["KeyDecoder", int], list[str]]]] = {
        _Within.NOTHING: _plain,
        _Within.ESCAPE: _after_escape,
        _Within.CSI: _in_csi,
        _Within.CONSOLE: _in_console,
        _Within.SS3: _in_ss3,
        _Within.STRING: _in_string,
    }


def console_key(character: str, second: str = "") -> str | None:
    """The name of a key of a Windows console: its character, or NUL or U+00E0 and the `second` that says which."""
    if character in _PREFIXES and second:
        return _SCAN_CODES.get(second)
    if character == "\x1b":
        return "esc"
    if len(character) == 1 and ord(character) in _CONTROLS:
        return _CONTROLS[ord(character)]
    return character if character.isprintable() else None


class Keyboard:
    """Tells of each key that is pressed at a terminal, from `start` to `stop`.

    Args:
        terminal: that has been taken.
        pressed: told of each key.
        gone: told once when the terminal is there no longer.
    """

    def __init__(self, terminal: Terminal, pressed: Callable[[str], None], gone: Callable[[], None]) -> None:
        self._terminal = terminal
        self._pressed = pressed
        self._gone = gone
        self._decoder = KeyDecoder()
        self._alone: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Listen."""
        if sys.platform == "win32":
            self._stopped.clear()
            # It waits for the next key as long as the process lives, and cannot be told to stop.
            threading.Thread(target=self._listen, name="keys", daemon=True).start()
        else:
            self._loop.add_reader(self._terminal.descriptor, self._read)

    def stop(self) -> None:
        """Listen no longer. Idempotent."""
        self._stopped.set()
        self._wait_no_longer()
        if sys.platform != "win32":
            self._loop.remove_reader(self._terminal.descriptor)

    def _read(self) -> None:
        try:
            data = self._terminal.read(PIECE)
        except BlockingIOError:
            return
        except OSError:  # EIO: the line was hung up
            data = b""
        if not data:
            self.stop()
            self._gone()
            return
        self._wait_no_longer()
        self._tell(self._decoder.feed(data))
        if self._decoder.pending:
            self._alone = self._loop.call_later(ALONE_S, lambda: self._tell(self._decoder.alone()))

    def _wait_no_longer(self) -> None:
        if self._alone is not None:
            self._alone.cancel()
            self._alone = None

    def _tell(self, keys: list[str]) -> None:
        for key in keys:
            self._pressed(key)

    if sys.platform == "win32":

        def _listen(self) -> None:
            while not self._stopped.is_set():
                character = msvcrt.getwch()
                if character == "\x03":  # Ctrl-C, which is no signal while a key is waited for
                    os.kill(0, signal.CTRL_C_EVENT)  # to all on this console
                key = console_key(character, msvcrt.getwch() if character in _PREFIXES else "")
                if key is not None and not self._stopped.is_set():
                    self._loop.call_soon_threadsafe(self._pressed, key)
