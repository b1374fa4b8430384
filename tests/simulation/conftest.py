"""What no simulation may do."""

import logging
from collections.abc import Iterator

import pytest


class _Failures(logging.Handler):
    """What the loop says of a callback that raised, or of a task that nobody asked."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@pytest.fixture(autouse=True)
def _no_callback_raises() -> Iterator[None]:
    """An exception in a timer reaches nobody but the loop's log: here it fails the test."""
    failures, logger = _Failures(), logging.getLogger("asyncio")
    logger.addHandler(failures)
    try:
        yield
    finally:
        logger.removeHandler(failures)
    assert failures.texts == []
