"""What is written to a terminal is what makes it show the picture, and no more."""

import asyncio
import io
import os
import tty
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import ColorSystem
from rich.segment import Segment
from rich.style import Style

from herd.cli.live.cells import Size
from herd.cli.live.screen import Canvas, Screen
from herd.cli.live.terminal import Terminal
from tests import terminal as vt

SIZE = Size(12, 5)
BOLD, RED = Style(bold=True), Style(color="red", bgcolor="blue")

texts = st.text(st.sampled_from("ab ─中é"), max_size=9)
segments = st.tuples(texts, st.sampled_from([None, BOLD, RED])).map(lambda both: Segment(*both))
rows = st.lists(segments, max_size=3)
pictures = st.tuples(st.lists(rows, max_size=7), st.sampled_from([SIZE, SIZE, Size(9, 3), Size(1, 1)]))


def canvas() -> Canvas:
    return Canvas(ColorSystem.STANDARD)


def plain(*lines: str) -> list[list[Segment]]:
    return [[Segment(line)] for line in lines]


@given(st.lists(pictures, max_size=5))
def test_a_terminal_shows_the_last_picture_whatever_it_showed_before(
    shown: list[tuple[list[list[Segment]], Size]],
) -> None:
    drawing, screen = canvas(), vt.Screen(*SIZE)
    before = SIZE
    for picture, size in shown:
        if size != before:
            screen.resize(*size)
            before = size
        screen.feed(drawing.changes(picture, size).decode())
        anew = vt.Screen(*size)
        anew.feed(canvas().changes(picture, size).decode())
        assert (screen.rows, screen.styles) == (anew.rows, anew.styles)
        for row, line in zip(picture, screen.rows, strict=False):
            assert "".join(segment.text for segment in row).startswith(line)
        assert screen.complete


def test_only_rows_that_differ_are_written() -> None:
    drawing = canvas()
    first = drawing.changes(plain("one", "two", "three"), SIZE)
    assert all(word in first for word in (b"one", b"two", b"three", b"\x1b[2J"))
    assert drawing.changes(plain("one", "two", "three"), SIZE) == b""
    assert drawing.changes(plain("one", "TWO", "three"), SIZE) == b"\x1b[?2026h\x1b[2;1HTWO\x1b[K\x1b[?2026l"
    assert drawing.changes(plain("one", "TWO"), SIZE) == b"\x1b[?2026h\x1b[3;1H\x1b[K\x1b[?2026l"
    drawing.forget()
    again = drawing.changes(plain("one", "TWO"), SIZE)
    assert all(word in again for word in (b"one", b"TWO", b"\x1b[2J"))


def test_a_full_row_keeps_its_last_letter() -> None:
    assert canvas().changes(plain("x" * 20), SIZE).endswith(b"x" * 12 + b"\x1b[?2026l")
    screen = vt.Screen(*SIZE)
    screen.feed(canvas().changes(plain("x" * 11 + "中"), SIZE).decode())
    assert screen.rows[0] == "x" * 11  # half of a wide letter is none


def test_colours_are_left_out_where_there_are_none_and_the_rest_stays() -> None:
    row = [[Segment("a", RED), Segment("b", Style(color="red", bold=True))]]
    assert b"\x1b[31;44ma\x1b[0m\x1b[1;31mb" in canvas().changes(row, SIZE)
    assert b"a\x1b[1mb\x1b[0m" in Canvas(ColorSystem.STANDARD, colour=False).changes(row, SIZE)


def test_what_strangers_write_does_not_steer_the_terminal() -> None:
    picture = [[Segment("a\x1b[2Jb\x07c\x9b5n\u202ed", BOLD)]]
    screen = vt.Screen(*SIZE)
    screen.feed(canvas().changes(picture, SIZE).decode())
    assert screen.rows[0] == "a[2Jbc5nd"


def test_letters_that_a_terminal_cannot_show_keep_their_place() -> None:
    narrow = Canvas(ColorSystem.STANDARD, encoding="ascii")
    assert b"?a??b" in narrow.changes(plain("─a中b"), SIZE)
    assert "é?".encode("latin-1") in Canvas(ColorSystem.STANDARD, encoding="iso8859-1").changes(plain("é─"), SIZE)


class Line:
    """A terminal, and the other end of its line."""

    def __init__(self) -> None:
        self.far, self.near = os.openpty()
        tty.setraw(self.near)
        os.set_blocking(self.near, False)
        os.set_blocking(self.far, False)
        self.terminal = Terminal(self.near, io.TextIOWrapper(io.BytesIO(), "utf-8"))
        self.drained, self.gone = asyncio.Event(), asyncio.Event()
        self.screen = Screen(self.terminal, self.drained.set, self.gone.set)

    def read(self) -> bytes:
        read = b""
        try:
            while True:
                read += os.read(self.far, 65536)
        except BlockingIOError:
            return read


@pytest.fixture(name="line")
async def a_line() -> AsyncIterator[Line]:
    line = Line()
    yield line
    line.screen.start_over()
    line.terminal.close()
    if not line.gone.is_set():
        os.close(line.far)


LARGE = Size(400, 200)  # more than any system keeps of a terminal's output


async def test_a_terminal_that_takes_its_time_gets_all_of_a_picture(line: Line) -> None:
    line.screen.draw(plain(*["x" * LARGE.width] * LARGE.height), LARGE)
    was_busy = line.screen.busy
    read = line.read()
    while not read.endswith(b"\x1b[?2026l"):
        readable = asyncio.Event()
        asyncio.get_running_loop().add_reader(line.far, readable.set)
        await readable.wait()
        read += line.read()
    asyncio.get_running_loop().remove_reader(line.far)
    await line.drained.wait()
    assert read.count(b"x") == LARGE.width * LARGE.height
    assert (was_busy, line.screen.busy) == (True, False)
    line.screen.draw(plain(*["x" * LARGE.width] * LARGE.height), LARGE)
    assert line.read() == b""


async def test_a_picture_that_is_not_through_can_be_dropped(line: Line) -> None:
    line.screen.draw(plain(*["x" * LARGE.width] * LARGE.height), LARGE)
    line.screen.start_over()
    assert not line.screen.busy
    assert b"x" in line.read()
    line.screen.draw(plain("new"), Size(20, 2))
    screen = vt.Screen(20, 2)
    screen.feed(line.read().decode())
    assert screen.rows == ["new", ""]
    assert not line.drained.is_set()


async def test_a_line_that_was_hung_up_is_told(line: Line) -> None:
    os.close(line.far)
    line.screen.draw(plain("x"), Size(20, 2))
    assert line.gone.is_set()
    assert not line.screen.busy
