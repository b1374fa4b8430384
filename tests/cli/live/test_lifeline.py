"""A view and the process that started it: what is said through the pipe between them, and its end."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from herd.cli.live.lifeline import MAX_LINE, PARENT, PIECE, has_parent, listen_to_parent
from tests.e2e.processes import PATIENCE_S


@pytest.fixture(name="pipe")
def pipe_of_a_parent() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


class View:
    """What a view hears."""

    def __init__(self, descriptor: int) -> None:
        self.lines: list[bytes] = []
        self.heard, self.ended = asyncio.Event(), asyncio.Event()
        listen_to_parent(self.ended.set, self._hear, descriptor=descriptor)

    def _hear(self, line: bytes) -> None:
        self.lines.append(line)
        self.heard.set()

    async def until(self, event: asyncio.Event) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await event.wait()


async def test_a_view_hears_the_latest_line_and_then_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"one\ntwo\nthr")
    view = View(reading)
    await view.until(view.heard)
    assert view.lines == [b"two"]
    view.heard.clear()
    os.write(writing, b"ee\n")
    await view.until(view.heard)
    assert view.lines == [b"two", b"three"]
    assert not view.ended.is_set()
    os.close(writing)
    await view.until(view.ended)


async def test_a_line_without_end_is_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    view = View(reading)
    await asyncio.to_thread(_flood, writing)
    await view.until(view.ended)
    assert view.lines == []
    os.close(writing)


def _flood(writing: int) -> None:
    left = MAX_LINE + PIECE
    while left:
        left -= os.write(writing, b"x" * min(left, PIECE))


async def test_a_pipe_that_cannot_be_read_is_the_end() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    os.close(reading)
    view = View(reading)
    await view.until(view.ended)


def test_only_a_view_that_was_told_so_has_a_parent() -> None:
    assert has_parent({PARENT: "stdin"})
    assert not has_parent({})
    assert not has_parent({PARENT: ""})
