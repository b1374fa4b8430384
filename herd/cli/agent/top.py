"""The view that `herd-node` has on its terminal: `python -m herd.cli.agent.top --data-dir DIR`.

A process of its own, for drawing takes tens of milliseconds, in which tokens would wait. What the agent tells it comes
as lines of JSON on its standard input, whose end is its own; keys come from the terminal.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from herd.actors.desk import AgentDocument, HandPause, read_document
from herd.cli.agent import state as agent_state
from herd.cli.agent import view as agent_view
from herd.cli.agent.state import AgentState, Wish, told
from herd.cli.live.cells import Look, Row, Size
from herd.cli.live.lifeline import listen_to_parent
from herd.cli.live.terminal import Terminal, open_terminal
from herd.cli.live.view import QUICK_S, LiveView
from herd.cli.process import guarded, printable
from herd.errors import HerdError, ProtocolError
from herd.net.agent_files import ask_for_pause, take_pause_back
from herd.net.clock import SystemClock

_PAUSED = "this machine pauses within 3 s, until e is pressed; what runs here ends"
_RESUMED = "this machine is not paused by hand any more, within 3 s"


class AgentTop:
    """What the agent has told and what its person wants: a `Picture`.

    Args:
        data_dir: the agent's.
        look: what the terminal can show.
    """

    pause = QUICK_S

    def __init__(self, data_dir: Path, look: Look) -> None:
        self._data_dir = data_dir
        self._look = look
        self._clock = SystemClock()
        self._state = AgentState()
        self._document: AgentDocument | None = None
        self._hidden = 0
        self.changed: Callable[[], None] = lambda: None  # told when there is something else to see

    def rows(self, size: Size) -> Sequence[Row]:
        """The picture as it is now."""
        frame = agent_view.frame(self._state, self._document, size, now=self._clock.wall(), look=self._look)
        self._hidden = frame.hidden
        return frame.rows

    def pressed(self, key: str) -> bool:
        """A key came; False to end."""
        self._state, wish = agent_state.pressed(self._state, key, self._document, self._hidden)
        if wish in {Wish.PAUSE, Wish.RESUME}:
            self._order(pause=wish is Wish.PAUSE)
        return wish is not Wish.QUIT

    def _order(self, *, pause: bool) -> None:
        """As `herd-node pause` and `herd-node resume` do."""
        try:
            if pause:
                ask_for_pause(self._data_dir, HandPause(self._clock.wall()))
            else:
                take_pause_back(self._data_dir)
        except HerdError as error:
            self._state = told(self._state, printable(str(error)))
        else:
            self._state = told(self._state, _PAUSED if pause else _RESUMED)

    def heard(self, line: bytes) -> None:
        """The agent says how it stands."""
        try:
            self._document = read_document(line)
        except ProtocolError as error:
            self._state = told(self._state, printable(str(error)))
        self.changed()


def agent_top(
    data_dir: Annotated[Path, typer.Option(help="Data directory of the agent.")],
) -> None:
    """Show what an agent tells on standard input, until that ends."""
    terminal = open_terminal(os.environ)
    if terminal is None:
        raise HerdError("standard output is no terminal that a view could be drawn on")
    asyncio.run(_show(terminal, data_dir))


async def _show(terminal: Terminal, data_dir: Path) -> None:
    top = AgentTop(data_dir, Look(terminal.plain, terminal.colour))
    # Ctrl-C is for the agent, and its end is ours.
    live = LiveView(terminal, top, interruptible=False)
    top.changed = live.changed
    listen_to_parent(live.end, top.heard)
    try:
        await live.run()
    except OSError as error:
        raise HerdError(f"the terminal cannot be taken: {error.strerror or error}") from error


def main() -> None:
    """Entry point of `python -m herd.cli.agent.top`."""
    guarded(lambda: typer.run(agent_top))


if __name__ == "__main__":
    main()
