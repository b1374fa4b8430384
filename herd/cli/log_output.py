"""Where log lines go while a live view has the terminal: into a file, so that they do not tear the picture."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from herd.cli.process import LineFormatter
from herd.errors import HerdError
from herd.types import MiB

# Together some 40,000 lines: a day of a busy house, and nothing that anybody misses on a disk.
MAX_FILE = MiB
OLD_FILES = 2


class LogFile(RotatingFileHandler):
    """A file that only its owner reads, for it says who asks for what; at most so long, with as long ones before it."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, maxBytes=MAX_FILE, backupCount=OLD_FILES, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(descriptor, "a", encoding=self.encoding)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Where the disk is full a line is lost: a traceback on the terminal would tear the picture."""


@contextmanager
def logs_in(file: Path | None) -> Iterator[None]:
    """Have what would be logged to the terminal go into `file` (None: nowhere), in the same form but for colours.

    Raises:
        HerdError: the file cannot be written.
    """
    root = logging.getLogger()
    shown = [handler for handler in root.handlers if _on_terminal(handler)]
    if not shown:
        yield
        return
    try:
        aside = LogFile(file) if file is not None else logging.NullHandler()
    except OSError as error:
        raise HerdError(f"cannot write {file}: {error.strerror or error}") from error
    for handler in shown:
        root.removeHandler(handler)
        coloured = isinstance(handler.formatter, LineFormatter)
        aside.setFormatter(LineFormatter() if coloured else handler.formatter)
        aside.setLevel(handler.level)
        aside.filters = handler.filters
    root.addHandler(aside)
    try:
        yield
    finally:
        root.removeHandler(aside)
        for handler in shown:
            root.addHandler(handler)
        with suppress(OSError):  # a full disk
            aside.close()


def _on_terminal(handler: logging.Handler) -> bool:
    """Whether it writes to standard error, and that is a terminal."""
    return isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr and sys.stderr.isatty()
