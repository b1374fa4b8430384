"""A live view on a real terminal: what it shows, which keys and signals it heeds, and how it leaves the terminal."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.processes import PATIENCE_S
from tests.terminal import Terminal, on_terminal

A_VIEW = [sys.executable, "-m", "tests.cli.a_view"]


@pytest.fixture(name="terminal")
async def a_view_on_a_terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    async with on_terminal(A_VIEW, tmp_path, (40, 10)) as terminal:
        yield terminal


async def is_left(terminal: Terminal, modes: object, *, by: str) -> None:
    """The view has ended with 0, and the terminal is as it was."""
    assert await terminal.ended() == 0
    assert terminal.screen.untouched
    assert terminal.modes == modes
    assert terminal.screen.rows[0] == f"ended by {by}"


async def test_it_shows_the_picture_and_heeds_keys_and_the_size(terminal: Terminal) -> None:
    modes = terminal.found
    await terminal.shows(r"^40 x 10 at", r"^keys: \.$", "^─{40}$")
    assert terminal.screen.alternate
    assert "?25" not in terminal.screen.modes
    terminal.press("up", "é", " ")
    await terminal.shows(r"keys: up é space\.")
    terminal.press("esc")
    await terminal.shows(r"keys: up é space esc\.")
    terminal.resize(60, 5)
    await terminal.shows(r"^60 x 5 at", r"space esc\.", "^─{60}$")
    assert terminal.screen.styles == {"1;31"}
    terminal.press("q")
    await is_left(terminal, modes, by="itself")


async def test_what_does_not_change_is_not_written_but_ctrl_l_has_all_drawn_anew(terminal: Terminal) -> None:
    await terminal.shows("40 x 10")
    before = len(terminal.everything)
    terminal.press("a")
    await terminal.shows(r"keys: a\.")
    assert "─" not in terminal.everything[before:].decode()  # the last row is always the same
    terminal.screen.resize(40, 10)  # something has spoiled what it showed
    terminal.press("ctrl-l")
    await terminal.shows("40 x 10", r"keys: a\.", "─{40}")


async def test_a_picture_that_holds_the_time_is_of_this_second(terminal: Terminal) -> None:
    text = await terminal.shows("40 x 10 at")
    before = int(text.partition(" at ")[2].split()[0])
    await terminal.shows(f"at {before + 1}$")
    await terminal.shows(f"at {before + 2}$")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT], ids=lambda number: number.name
)
async def test_signals_that_end_it_leave_the_terminal_as_it_was(terminal: Terminal, number: signal.Signals) -> None:
    modes = terminal.found
    await terminal.shows("40 x 10")
    terminal.process.send_signal(number)
    await is_left(terminal, modes, by=number.name)


async def test_ctrl_c_is_a_signal(terminal: Terminal) -> None:
    modes = terminal.found
    await terminal.shows("40 x 10")
    terminal.press("ctrl-c")
    await is_left(terminal, modes, by="SIGINT")


async def test_ctrl_c_can_be_left_to_another(tmp_path: Path) -> None:
    async with on_terminal([*A_VIEW, "deaf"], tmp_path, (40, 10)) as terminal:
        modes = terminal.found
        await terminal.shows("40 x 10")
        terminal.press("ctrl-c", "x")
        await terminal.shows(r"keys: x\.")
        terminal.press("q")
        await is_left(terminal, modes, by="itself")


async def test_a_picture_that_breaks_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    modes = terminal.found
    await terminal.shows("40 x 10")
    terminal.press("!")
    assert await terminal.ended() == 1
    assert terminal.screen.untouched
    assert terminal.modes == modes
    assert b"this picture cannot be drawn" in terminal.everything


async def test_a_window_that_is_closed_ends_it(tmp_path: Path) -> None:
    async with on_terminal([*A_VIEW, "quiet"], tmp_path, (40, 10)) as terminal:
        await terminal.shows("40 x 10")
        terminal.hang_up()
        async with asyncio.timeout(PATIENCE_S):
            assert await terminal.process.wait() == 0


async def test_a_line_that_stands_still_holds_nothing_up(tmp_path: Path) -> None:
    """A picture is on its way that nobody takes; the picture of a small terminal would find room on the line."""
    async with on_terminal([*A_VIEW, "quiet"], tmp_path, (400, 200)) as terminal:
        modes = terminal.found
        await terminal.shows("400 x 200")
        written = terminal.stop_reading()
        terminal.press("f")
        await written.wait()
        terminal.press("q")
        async with asyncio.timeout(PATIENCE_S):
            assert await terminal.process.wait() == 0
        assert terminal.modes == modes


async def test_after_a_while_on_a_slow_line_the_latest_picture_is_shown(terminal: Terminal) -> None:
    terminal.resize(400, 200)
    await terminal.shows("400 x 200")
    written = terminal.stop_reading()
    terminal.press("f")
    await written.wait()
    terminal.press("x")
    terminal.resize(40, 10)
    terminal.press("y")
    terminal.read_on()
    await terminal.shows("40 x 10", r"f x y\.", "[a-z]{40}")


async def test_a_shell_can_stop_it_and_have_it_go_on(tmp_path: Path) -> None:
    # Linux tells of Ctrl-Z before it looks whether to echo it: by then the view may have switched that on again.
    stopped, prompt = "[Ss]topped|[Ss]uspended", r"^prompt>( \^Z)?$"
    async with on_terminal(["/bin/sh", "-i"], tmp_path, (80, 24), {"PS1": "prompt> ", "ENV": ""}) as terminal:
        await terminal.shows("^prompt>$")
        modes = terminal.found
        terminal.press(" ".join(A_VIEW), "enter")
        await terminal.shows("^80 x 24")
        terminal.press("ctrl-z")
        await terminal.shows(stopped, prompt)
        assert terminal.screen.untouched
        assert terminal.modes[:4] == modes[:4]
        terminal.resize(70, 20)
        terminal.press("fg", "enter")
        await terminal.shows("^70 x 20", r"keys: \.")
        terminal.press("a")
        await terminal.shows(r"keys: a\.")
        terminal.press("ctrl-z")
        await terminal.shows(stopped, prompt)
        before = terminal.modes
        terminal.press("bg", "enter")
        await terminal.shows("ended by itself")
        assert terminal.screen.untouched
        assert terminal.modes == before
        terminal.press("exit", "enter")
        assert await terminal.ended() == 0


async def test_a_stop_that_nobody_could_end_is_none(terminal: Terminal) -> None:
    """The leader of a session has no shell above it that says `fg`."""
    modes = terminal.found
    await terminal.shows("40 x 10")
    terminal.press("ctrl-z")
    await terminal.until(lambda: terminal.everything.count(b"\x1b[?1049h") == 2, "the picture once more")
    terminal.press("a")
    await terminal.shows(r"keys: a\.")
    terminal.press("q")
    await is_left(terminal, modes, by="itself")


async def test_keys_come_from_the_terminal_where_standard_input_is_something_else(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        async with on_terminal(A_VIEW, tmp_path, (40, 10), stdin=reading) as terminal:
            os.write(writing, b"no key")
            await terminal.shows("40 x 10")
            terminal.press("x")
            await terminal.shows(r"keys: x\.")
            terminal.press("q")
            assert await terminal.ended() == 0
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    ("variables", "styles"),
    [
        ({"NO_COLOR": "1"}, {"1"}),
        ({"TERM": "vt100"}, {"1"}),
        ({"TERM": "never-heard-of"}, {"1;31"}),
    ],
    ids=lambda given: next(iter(given.values())) if isinstance(given, dict) else None,
)
async def test_terminals_without_colours_get_none(tmp_path: Path, variables: dict[str, str], styles: set[str]) -> None:
    async with on_terminal(A_VIEW, tmp_path, (40, 10), variables) as terminal:
        await terminal.shows("40 x 10")
        assert terminal.screen.styles == styles


async def test_a_terminal_that_reads_ascii_gets_ascii(tmp_path: Path) -> None:
    async with on_terminal(A_VIEW, tmp_path, (40, 10), {"PYTHONIOENCODING": "ascii"}) as terminal:
        await terminal.shows("40 x 10", r"^\?{40}$")


@pytest.mark.parametrize("name", ["dumb", ""])
async def test_a_terminal_that_cannot_be_drawn_on_is_left_alone(tmp_path: Path, name: str) -> None:
    async with on_terminal(A_VIEW, tmp_path, (40, 10), {"TERM": name}) as terminal:
        assert await terminal.ended() == 0
        assert b"\x1b" not in terminal.everything
        assert terminal.screen.rows[0] == "no terminal to draw on"


async def test_a_view_in_the_background_does_not_begin(tmp_path: Path) -> None:
    async with on_terminal(["/bin/sh", "-i"], tmp_path, (80, 24), {"PS1": "prompt> ", "ENV": ""}) as terminal:
        await terminal.shows("^prompt>$")
        terminal.press(" ".join(A_VIEW), " &", "enter")
        await terminal.shows("no terminal to draw on")
        assert terminal.screen.untouched
