import asyncio
import logging
import resource
import subprocess
import sys

import pytest

from herd.cli import process
from herd.cli.process import JsonFormatter, LineFormatter, printable, raise_file_limit, until_told
from herd.errors import HerdError
from herd.runtime import RestartLimitExceeded

FORGED = "no model 'x\n22:00:00 INFO    evil joined\x1b[31m' here"


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("herd", logging.INFO, "here", 1, "%s", (message,), None)


@pytest.mark.parametrize(
    "formatter", [LineFormatter("%(levelname)s %(message)s"), JsonFormatter()], ids=["text", "json"]
)
def test_what_strangers_say_can_neither_forge_a_line_nor_drive_the_terminal(formatter: logging.Formatter) -> None:
    line = formatter.format(record(FORGED))

    assert "\n" not in line
    assert "\x1b" not in line
    assert "evil joined" in line


def test_what_strangers_say_cannot_fill_the_disk() -> None:
    line = LineFormatter("%(message)s").format(record("x" * 10_000_000))

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
