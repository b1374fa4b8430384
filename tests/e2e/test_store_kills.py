"""A process that is killed while it remembers things: the file is sound, and what is lost is of the last second."""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import pytest

from herd.store.database import Database
from herd.store.records import KnownUnload
from tests.e2e.processes import PATIENCE_S, ROOT
from tests.e2e.store_writer import BATCH

LINES = 800  # more than a second and a half of them


async def started(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.e2e.store_writer", *words), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )


async def line_of(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().split()


async def killed(process: asyncio.subprocess.Process) -> list[list[str]]:
    """Kill it; what it had still said."""
    process.kill()
    assert process.stdout is not None
    rest = (await process.stdout.read()).decode().splitlines()
    assert await process.wait() == -signal.SIGKILL
    return [line.split() for line in rest]


def remembered(path: Path) -> list[int]:
    """What is in the file, which is sound."""
    database = Database(path)
    try:
        assert database._db.execute("pragma integrity_check").fetchall() == [("ok",)]
        return [int(one.model) for one in database.all(KnownUnload)]
    finally:
        database.close()


async def test_whoever_is_killed_loses_what_is_of_the_last_second_at_most(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path, first = tmp_path / "herd.db", 0
    for _ in range(2):  # the second goes on with what the first has left behind
        async with asyncio.timeout(PATIENCE_S):
            writer = await started(str(path), str(first))
            said = [await line_of(writer) for _ in range(LINES)]
            said += [line for line in await killed(writer) if len(line) == 2]
        told = {int(number): float(at) for number, at in said}
        last = max(told.values())
        known = remembered(path)
        assert known == list(range(max(known) + 1))  # nothing in between is missing
        lost = [number for number in told if number > max(known)]
        assert all(told[number] > last - 1.0 for number in lost)
        assert max(known) > first  # and much is there
        first = max(known) + 1
    assert not caplog.records  # nothing was set aside


async def test_of_a_batch_that_was_being_written_there_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "herd.db"
    async with asyncio.timeout(PATIENCE_S):
        writer = await started(str(path), "batch")
        assert await line_of(writer) == ["writing"]
        while not path.with_name("herd.db-wal").stat().st_size > 1_000_000:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0)
        assert await killed(writer) == []
    assert len(remembered(path)) in {0, BATCH}
