"""The log of what the router decided: every line of it, and nothing that is left behind."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator

import pytest

from herd.runtime.testing import virtual_time
from herd.simulation.runs.decisions import LOGGERS, decisions

SCORER = logging.getLogger("herd.actors.scorer")


class Elsewhere(logging.Handler):
    """Keeps what comes to it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture(name="elsewhere", params=["root", "herd", "herd.actors.scorer"])
def handler_elsewhere(request: pytest.FixtureRequest) -> Iterator[Elsewhere]:
    """A handler that was there before."""
    logger, handler = logging.getLogger(request.param), Elsewhere()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def states() -> list[tuple[int, bool, list[logging.Handler]]]:
    """How the loggers are set up."""
    return [(one.level, one.propagate, list(one.handlers)) for one in map(logging.getLogger, LOGGERS)]


@virtual_time
async def test_every_line_has_its_time_and_is_in_the_digest() -> None:
    written: list[str] = []
    with decisions(written.append) as log:
        empty = log.digest
        SCORER.debug("placed %s on %s", "r1", "studio")
        await asyncio.sleep(1.25)
        for name in LOGGERS:
            logging.getLogger(name).info("of %s", name)
        logging.getLogger("herd.actors.request").debug("too small to be a decision")
        logging.getLogger("herd.actors.fleet").warning("of somebody else")
    assert written == [
        "0.000000 placed r1 on studio\n",
        "1.250000 of herd.actors.scorer\n",
        "1.250000 of herd.actors.request\n",
        "1.250000 of herd.actors.surface\n",
    ]
    assert log.lines == 4
    assert log.digest == hashlib.sha256("".join(written).encode()).hexdigest()
    assert empty == hashlib.sha256().hexdigest()


@virtual_time
async def test_without_a_reader_the_digest_is_the_same() -> None:
    digests: list[str] = []
    lines: list[str] = []
    for write in (None, lines.append):
        with decisions(write) as log:
            SCORER.debug("placed")
        digests.append(log.digest)
    assert digests[0] == digests[1]


@virtual_time
async def test_another_word_is_another_digest() -> None:
    with decisions() as one:
        SCORER.debug("placed on studio")
    with decisions() as other:
        SCORER.debug("placed on air")
    assert one.digest != other.digest


def test_it_goes_nowhere_else(elsewhere: Elsewhere) -> None:
    @virtual_time
    async def scenario() -> None:
        with decisions():
            SCORER.error("a decision")
            SCORER.debug("another")

    scenario()
    assert elsewhere.heard == []
    SCORER.error("afterwards")
    assert elsewhere.heard == ["afterwards"]


@pytest.mark.parametrize("level", [logging.NOTSET, logging.ERROR])
@pytest.mark.parametrize("error", [None, KeyError("a bug")])
def test_loggers_are_as_they_were(level: int, error: Exception | None, elsewhere: Elsewhere) -> None:
    SCORER.setLevel(level)
    SCORER.propagate = False
    before = states()

    @virtual_time
    async def scenario() -> None:
        with decisions():
            SCORER.debug("a decision")
            assert states() != before
            if error is not None:
                raise error

    try:
        if error is None:
            scenario()
        else:
            with pytest.raises(KeyError):
                scenario()
        assert states() == before
    finally:
        SCORER.setLevel(logging.NOTSET)
        SCORER.propagate = True


@virtual_time
async def test_a_log_in_a_log_hands_back_to_the_outer_one() -> None:
    outer: list[str] = []
    with decisions(outer.append):
        SCORER.debug("one")
        with decisions():
            SCORER.debug("two")
        SCORER.debug("three")
    assert outer == ["0.000000 one\n", "0.000000 three\n"]
