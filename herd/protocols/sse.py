"""Server-sent events, read from bytes that are cut anywhere (https://html.spec.whatwg.org/#server-sent-events)."""

import re
from typing import NamedTuple

from herd.errors import StreamFailed
from herd.types import MiB

# A whole tool call or a long list of probabilities takes kilobytes; Ollama's own clients take lines of 8 MiB at most.
MAX_EVENT = 8 * MiB

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a CR at the end of what there is may be half of CR LF
_ERROR = b"error"  # a field of llama.cpp's own, up to 2025: `error: {...}` in the place of `data: {"error": ...}`


class ServerSentEvent(NamedTuple):
    """A whole event."""

    name: str  # empty where it has none
    data: bytes


class EventReader:
    """Told the bytes of a stream, it gives the whole events. Comments are passed over."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0  # of the rest: no line ends in there
        self._name = ""
        self._data: list[bytes] = []
        self._held = 0  # bytes of data

    @property
    def empty(self) -> bool:
        """Nothing of a further event has come."""
        return not self._rest.strip() and not self._data

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that end within `data`.

        Raises:
            StreamFailed: an event is longer than `MAX_EVENT`.
        """
        self._rest += data
        events: list[ServerSentEvent] = []
        start = 0
        for match in _LINE_END.finditer(self._rest, self._searched):
            self._line(bytes(self._rest[start : match.start()]), events)
            start = match.end()
        del self._rest[:start]
        self._searched = max(0, len(self._rest) - 1)
        if len(self._rest) + self._held > MAX_EVENT:
            raise StreamFailed(f"the stream has an event of more than {MAX_EVENT // MiB} MiB")
        return events

    def _line(self, line: bytes, events: list[ServerSentEvent]) -> None:
        if not line:
            if self._data:
                events.append(ServerSentEvent(self._name, b"\n".join(self._data)))
            self._name, self._data, self._held = "", [], 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == _ERROR:
            value = b'{"error":' + value + b"}"
        elif name == b"event":
            self._name = value.decode(errors="replace")
            return
        elif name != b"data":
            return
        self._data.append(value)
        self._held += len(value) + 1
