import asyncio
import io
import json
import logging
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from herd.actors.log_context import logged_for
from herd.cli import process
from herd.cli.process import (
    JsonFormatter,
    LineFormatter,
    formatter_for,
    printable,
    raise_file_limit,
    set_up_logs,
    until_told,
)
from herd.errors import HerdError
from herd.runtime import RestartLimitExceeded

FORGED = "no model 'x\n22:00:00 INFO    evil joined\x1b[31m' here"


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("herd", logging.INFO, "here", 1, "%s", (message,), None)


@pytest.mark.parametrize(
    "formatter", [LineFormatter(), LineFormatter(coloured=True), JsonFormatter()], ids=["text", "coloured", "json"]
)
def test_what_strangers_say_can_neither_forge_a_line_nor_drive_the_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record(FORGED))

    assert "\n" not in line
    assert "\x1b[31m" not in line
    assert "evil joined" in line


def test_what_strangers_say_cannot_fill_the_disk() -> None:
    line = LineFormatter().format(record("x" * 10_000_000))

    assert len(line) < 2 * process.MAX_MESSAGE
    assert line.endswith("(10000000 characters)")


def test_ordinary_text_is_left_alone() -> None:
    assert printable("Küche joined from fe80::1%2 → ready") == "Küche joined from fe80::1%2 → ready"


def test_the_process_takes_the_file_descriptors_that_it_may_have() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        raise_file_limit()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == min(process.MAX_FILES, hard if hard != resource.RLIM_INFINITY else process.MAX_FILES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_process_without_standard_streams_gives_them_a_place_to_go() -> None:
    """A socket with the number of a standard stream is one that libuv refuses to close: the process would abort."""
    program = (
        "import os, sys; os.closerange(0, 3)\n"
        "from herd.cli import entry\n"
        "entry._open_standard_streams()\n"
        "sys.exit(0 if os.dup(0) >= 3 else 1)\n"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=30).returncode == 0


async def test_a_process_runs_until_it_is_told_to_stop() -> None:
    told = asyncio.Event()
    waiting = asyncio.create_task(until_told(told, asyncio.get_running_loop().create_future()))
    await asyncio.sleep(0)
    assert not waiting.done()
    told.set()
    await waiting


async def test_a_process_whose_actors_crash_again_and_again_ends_with_a_sentence() -> None:
    failed: asyncio.Future[RestartLimitExceeded] = asyncio.get_running_loop().create_future()
    failed.set_result(RestartLimitExceeded("Fleet crashed of ValueError(), after 5 restarts within 60 s"))
    with pytest.raises(HerdError, match=r"^Fleet crashed of .* within 60 s; the log says more$"):
        await until_told(asyncio.Event(), failed)


@pytest.fixture(name="logs")
def logs_as_they_were() -> Iterator[None]:
    """What a process does to its logs once is undone for the other tests."""
    root, factory = logging.getLogger(), logging.getLogRecordFactory()
    level, handlers = root.level, root.handlers[:]
    libraries = {name: logging.getLogger(name).level for name in ("asyncio", "zeroconf", "pykka", "aiohttp")}
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.setLogRecordFactory(factory)
    for name, before in libraries.items():
        logging.getLogger(name).setLevel(before)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = True


@pytest.mark.usefixtures("logs")
async def test_a_line_of_json_says_of_which_request_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("info", "json")
    logger = logging.getLogger("herd.test")

    async def work() -> None:
        logger.info("in a task of its own")

    with logged_for("r-1"):
        logger.warning("half %d", 50)
        await asyncio.create_task(work())
        with logged_for("r-2"):
            logger.info("within")
    logger.info("of nobody")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["message"], line.get("request_id")) for line in lines] == [
        ("half 50", "r-1"),
        ("in a task of its own", "r-1"),
        ("within", "r-2"),
        ("of nobody", None),
    ]
    assert (lines[0]["level"], lines[0]["logger"]) == ("warning", "herd.test")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", lines[0]["time"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "variables", "coloured"),
    [
        (Terminal(), {"TERM": "xterm-256color"}, True),
        (Terminal(), {"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm-256color"}, False),
        (io.StringIO(), {"TERM": "xterm-256color", "FORCE_COLOR": "1"}, False),
    ],
    ids=["terminal", "no colour", "dumb", "pipe", "pipe, forced"],
)
def test_a_level_is_coloured_only_on_a_terminal(
    stream: TextIO, variables: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    entry = record("joined")
    entry.levelname = "WARNING"
    line = formatter_for(stream).format(entry)
    assert re.sub(r"\x1b\[\d*m", "", line[9:]) == "WARNING joined"
    assert ("\x1b" in line) is coloured


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()], ids=["text", "json"])
def test_what_strangers_say_in_a_traceback_looks_like_no_line_of_the_log(formatter: logging.Formatter) -> None:
    entry, error = record("failed"), ValueError(FORGED)
    entry.exc_info = (ValueError, error, None)
    first, *rest = formatter.format(entry).splitlines()
    assert "failed" in first
    assert all(line.startswith("    ") for line in rest)
    assert "\x1b" not in formatter.format(entry)


def test_a_moment_is_written_in_utc_to_the_millisecond_that_has_begun() -> None:
    assert process.iso_time(1_796_029_200.0625) == "2026-11-30T09:00:00.062Z"
    assert process.iso_time(1_796_029_200.9996) == "2026-11-30T09:00:00.999Z"
