import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.cli.command_line import CommandLine
from tests.cli.stub_router import StubRouter, stub_router
from tests.e2e.processes import Programs


@pytest.fixture(name="run")
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for key in tuple(os.environ):
        if key.startswith(("HERD_", "OLLAMA_")):
            monkeypatch.delenv(key)
    for key, value in {"HOME": str(tmp_path), "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(name="programs")
async def programs_in_a_home(tmp_path: Path) -> AsyncIterator[Programs]:
    async with Programs(tmp_path) as programs:
        yield programs


@pytest.fixture(name="stub")
def router_that_is_none() -> Iterator[StubRouter]:
    with stub_router() as stub:
        yield stub


@pytest.fixture(name="in_utc")
def times_in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    if hasattr(time, "tzset"):  # not on Windows, where the reader's own zone shows
        time.tzset()
    yield
    monkeypatch.undo()
    if hasattr(time, "tzset"):
        time.tzset()
