"""Where log lines go while a view has the terminal."""

import io
import logging
import stat
import sys
from collections.abc import Callable, Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pytest

from herd.cli import log_output
from herd.cli.log_output import OLD_FILES, logs_in
from herd.cli.process import set_up_logs
from herd.errors import HerdError

logger = logging.getLogger("herd.tests")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Keeper(logging.Handler):
    """One that keeps lines for whoever asks for them, as the router has one."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(name="keeper")
def own_logging() -> Iterator[Keeper]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield Keeper()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture(name="terminal")
def process_that_logs_to_a_terminal(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """To be called in the test: pytest gives each phase of it a standard error of its own."""

    def begin() -> None:
        monkeypatch.setattr(sys, "stderr", Terminal())
        for name, value in {"TERM": "xterm-256color", "FORCE_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("NO_COLOR", raising=False)
        set_up_logs("info", "text", keeper)

    return begin


def shown() -> str:
    assert isinstance(sys.stderr, Terminal)
    return sys.stderr.getvalue()


def test_lines_go_into_a_file_of_the_owners_and_back_to_the_terminal(
    keeper: Keeper, terminal: Callable[[], None], tmp_path: Path
) -> None:
    terminal()
    file = tmp_path / "herd.log"
    logger.warning("before")
    with logs_in(file):
        logger.warning("meanwhile, of\x1b[2J")
    logger.warning("after")
    assert [line.partition("WARNING")[2] for line in shown().splitlines()] == ["\x1b[0m before", "\x1b[0m after"]
    assert file.read_text("utf-8").endswith(" WARNING meanwhile, of\\x1b[2J\n")  # without colours
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keeper.lines == ["before", "meanwhile, of\x1b[2J", "after"]


def test_what_was_logged_before_stays_and_old_lines_make_room(
    terminal: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()
    monkeypatch.setattr(log_output, "MAX_FILE", 1000)
    file = tmp_path / "herd.log"
    for number in range(100):
        with logs_in(file):
            logger.info("line %d %s", number, "x" * 80)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + OLD_FILES
    assert all(each.stat().st_size <= 1000 and stat.S_IMODE(each.stat().st_mode) == 0o600 for each in files)
    assert "line 99 " in file.read_text("utf-8")


def test_without_a_file_they_are_for_nobody(keeper: Keeper, terminal: Callable[[], None]) -> None:
    terminal()
    with logs_in(None):
        logger.info("meanwhile")
    assert shown() == ""
    assert keeper.lines == ["meanwhile"]


def test_a_file_that_cannot_be_written_is_named_and_the_terminal_keeps_its_lines(
    terminal: Callable[[], None], tmp_path: Path
) -> None:
    terminal()
    with (
        pytest.raises(HerdError, match=r"^cannot write \S+/no/herd.log: No such file"),
        logs_in(tmp_path / "no/herd.log"),
    ):
        pass
    logger.info("after")
    assert "after" in shown()


def test_a_full_disk_is_no_line_on_the_terminal(
    terminal: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RotatingFileHandler, "shouldRollover", full)
    with logs_in(tmp_path / "herd.log"):
        logger.info("meanwhile")
    assert shown() == ""


def test_a_standard_error_that_is_no_terminal_keeps_its_lines(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    set_up_logs("info")
    with logs_in(tmp_path / "herd.log"):
        logger.info("meanwhile")
    assert "meanwhile" in stream.getvalue()
    assert list(tmp_path.iterdir()) == []
