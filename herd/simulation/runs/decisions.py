"""What the router decided, as a log that is the same to the letter whenever the same seed is run."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Whose words are decisions: where requests go and why, and how they end.
LOGGERS = {
    "herd.actors.scorer": logging.DEBUG,
    "herd.actors.request": logging.INFO,
    "herd.actors.surface": logging.INFO,
}


class DecisionLog(logging.Handler):
    """Keeps the digest of every line, and hands the lines on.

    Args:
        write: takes each line, with its end; None to keep the digest alone.
    """

    def __init__(self, write: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self._write = write
        self._digest = hashlib.sha256()
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One line: the seconds since the start, and what was said."""
        line = f"{asyncio.get_running_loop().time():.6f} {record.getMessage()}\n"
        self._digest.update(line.encode())
        self.lines += 1
        if self._write is not None:
            self._write(line)

    @property
    def digest(self) -> str:
        """SHA-256 over all lines so far, in hex."""
        return self._digest.hexdigest()


@contextmanager
def decisions(write: Callable[[str], object] | None = None) -> Iterator[DecisionLog]:
    """While this lasts, what is decided goes into a log, and nowhere else."""
    log = DecisionLog(write)
    loggers = [(logging.getLogger(name), level) for name, level in LOGGERS.items()]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger, _ in loggers]
    for logger, level in loggers:
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers[:] = [log]
    try:
        yield log
    finally:
        for logger, level, propagate, handlers in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
