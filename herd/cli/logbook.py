"""The latest lines of the process's log, kept for those who ask the router for them."""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from itertools import islice

from herd.cli.process import iso_time, printable, request_of
from herd.protocols.live import LogLine

KEPT = 1000  # lines: of 1,000 characters at most, so a megabyte


_Kept = tuple[int, float, str, str, str, str | None]  # a LogLine to be: they are written more often than read


class LogBook(logging.Handler):
    """A handler that keeps lines; implements the port `LogBook`. Tracebacks are for the router's own log."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[_Kept] = deque(maxlen=KEPT)
        self._count = 0
        self._heard: Callable[[], object] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, and tell whoever listens; under the handler's lock."""
        self._count += 1
        line = (record.created, record.levelname, record.name, printable(record.getMessage()), request_of(record))
        self._lines.append((self._count, *line))
        heard, self._heard = self._heard, None
        if heard is not None:
            heard()

    def latest(self, limit: int) -> tuple[LogLine, ...]:
        """At most so many, the latest last."""
        with self.lock or nullcontext():
            lines = self._last(limit)
        return _told(lines)

    def since(self, number: int) -> tuple[LogLine, ...]:
        """Those behind `number` that are kept, in their order."""
        with self.lock or nullcontext():  # with one that another thread adds meanwhile they would be one more
            lines = self._last(self._count - number)
        return _told(lines)

    def _last(self, limit: int) -> tuple[_Kept, ...]:
        return tuple(islice(self._lines, max(0, len(self._lines) - max(0, limit)), None))

    def tell_of_next(self, heard: Callable[[], object]) -> None:
        """Call `heard` once, from any thread, when there is a further line; whoever was to be called before is not."""
        with self.lock or nullcontext():
            self._heard = heard


def _told(lines: tuple[_Kept, ...]) -> tuple[LogLine, ...]:
    return tuple(
        LogLine(number, iso_time(created), level.lower(), logger, text, request)
        for number, created, level, logger, text, request in lines
    )
