"""How far a pull is, as state: of every part of the model the latest line that its server said.

Whoever follows a pull keeps nothing but a number, up to which it has been told. However slow it is, it misses only what
has been said anew since, and the lines that it gets are the server's own, in its order, the last one always among them.
"""

from typing import Any

import orjson

from herd.types import Bytes, KiB

# A line of Ollama's has under 200 bytes.
MAX_LINE = Bytes(16 * KiB)
# A model has a handful of parts, and a pull as many other things to say.
MAX_PARTS = 512

TOO_LONG = b'{"error":"the model server told its progress in no way that is known"}\n'


class Progress:
    """The lines of one pull."""

    def __init__(self) -> None:
        self._rest = b""
        self._said = 0  # lines so far; numbers them
        self._lines: dict[str, tuple[int, bytes]] = {}  # by what they tell of, the latest last
        self.last = b""  # the latest line of all

    def feed(self, data: bytes) -> bool:
        """Take the next bytes, cut anywhere; whether there is news."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                self.say(line + b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest = b""
            self.say(TOO_LONG)
            return True
        return bool(lines)

    def end(self) -> bool:
        """Nothing more comes: what stands after the last line end is a line too, if it is a whole one."""
        rest, self._rest = self._rest, b""
        if _document(rest) is None:
            return False
        self.say(rest + b"\n")
        return True

    def say(self, line: bytes) -> None:
        """Take a whole line, its end included."""
        self._said += 1
        self.last = line
        part = _part(line)
        self._lines.pop(part, None)
        self._lines[part] = (self._said, line)
        if len(self._lines) > MAX_PARTS:
            del self._lines[next(iter(self._lines))]

    def since(self, told: int) -> tuple[list[bytes], int]:
        """What whoever was told up to here has not been told yet, in order; and up to where it then is told."""
        news: list[bytes] = []
        for number, line in reversed(self._lines.values()):
            if number <= told:
                break
            news.append(line)
        return news[::-1], self._said

    @property
    def error(self) -> str:
        """Why the pull failed, by its last line; empty when that is no error."""
        error = (_document(self.last) or {}).get("error")
        return error if isinstance(error, str) else ""

    @property
    def succeeded(self) -> bool:
        """The last line says that the model is there."""
        return is_success(self.last)


def is_success(line: bytes) -> bool:
    """The line with which Ollama ends what went well."""
    return b'"success"' in line and (_document(line) or {}).get("status") == "success"


def _part(line: bytes) -> str:
    """What a line tells of: a part of the model by its digest, else what is being done."""
    document = _document(line) or {}
    digest, status = document.get("digest"), document.get("status")
    if isinstance(digest, str) and digest:
        return f"digest {digest}"
    return f"status {status}" if isinstance(status, str) else ""


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
