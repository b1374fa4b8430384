"""The view of herd-node on a real terminal: what comes down the pipe is shown, and keys do what they say."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from herd.actors.desk import AgentDocument
from herd.cli.agent.top import AgentTop, agent_top
from herd.cli.live.cells import Look, Size
from herd.errors import HerdError
from herd.net.agent_files import AgentFiles
from tests.cli.agents import CUPBOARD, STUDIO
from tests.cli.snapshot import text_of
from tests.terminal import Terminal, on_terminal

VIEW = [sys.executable, "-m", "herd.cli.agent.top", "--data-dir"]


class Pipe:
    """The agent's end, and the one that its view reads."""

    def __init__(self) -> None:
        self.view, self._agent = os.pipe()

    def say(self, document: AgentDocument) -> None:
        self.write(json.dumps(asdict(document)).encode() + b"\n")

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._agent, data) :]

    def end(self) -> None:
        with suppress(OSError):
            os.close(self._agent)

    def close(self) -> None:
        self.end()
        os.close(self.view)


@pytest.fixture(name="pipe")
def a_pipe() -> Iterator[Pipe]:
    with closing(Pipe()) as pipe:
        yield pipe


@pytest.fixture(name="terminal")
async def a_view_on_a_terminal(pipe: Pipe, tmp_path: Path) -> AsyncIterator[Terminal]:
    async with on_terminal([*VIEW, str(tmp_path)], tmp_path, (80, 24), stdin=pipe.view) as terminal:
        yield terminal


async def is_left(terminal: Terminal) -> None:
    assert await terminal.ended() == 0
    assert terminal.screen.untouched
    assert not terminal.screen.alternate


async def test_what_the_agent_says_is_shown_at_every_size_until_the_person_has_seen_enough(
    pipe: Pipe, terminal: Terminal
) -> None:
    modes = terminal.found
    await terminal.shows("waiting for the agent", "q quit")
    pipe.say(STUDIO)
    await terminal.shows("^ herd-node 0.1.0 · studio-2 · 2 running", "paused$", "llama3.3:70b", r"^> Fri")
    terminal.resize(120, 40)
    await terminal.shows("gemma11:27b", "│ > Fri")
    terminal.resize(40, 12)
    await terminal.shows("^ studio-2", "requests: 2 running", but="gemma")
    terminal.press("?")
    await terminal.shows("ctrl-c    stop the agent", but="llama")
    terminal.press("?")
    await terminal.shows("requests: 2 running")
    pipe.write(b"not what an agent says\n")
    await terminal.shows("this is not what an agent tells")
    pipe.say(CUPBOARD)
    await terminal.shows("cupboard", "looking for", but="studio-2")
    terminal.press("q")
    await is_left(terminal)
    assert terminal.modes == modes


async def test_this_machine_is_paused_as_by_the_commands_and_ctrl_c_is_for_the_agent(
    pipe: Pipe, terminal: Terminal, tmp_path: Path
) -> None:
    with closing(AgentFiles(tmp_path, {})) as files:
        pipe.say(STUDIO)
        await terminal.shows("studio-2")
        terminal.press("x")
        await terminal.shows("this machine pauses within 3 s")
        assert await files.pause() is not None
        terminal.press("e")
        await terminal.shows("is not paused by hand any more")
        assert await files.pause() is None
        terminal.press("ctrl-c")
        pipe.say(replace(STUDIO, pauses=()))
        await terminal.shows("● linked$")
        pipe.end()
        await is_left(terminal)


def test_where_nothing_can_be_drawn_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(HerdError, match="no terminal that a view could be drawn on"):
        agent_top(tmp_path)


def test_a_pause_that_cannot_be_asked_for_is_said(tmp_path: Path) -> None:
    top = AgentTop(tmp_path / "gone", Look())
    assert top.pressed("x")
    assert "cannot write" in text_of(top.rows(Size(200, 5)))
    (tmp_path / "pause.json").mkdir()
    top = AgentTop(tmp_path, Look())
    assert top.pressed("e")
    assert "cannot remove" in text_of(top.rows(Size(200, 5)))
