"""`herd-node pause`, `herd-node resume` and `herd-node status`: people at a node's own machine, and its agent."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from herd import config
from herd.actors.desk import HandPause
from herd.cli.agent import own_status
from herd.cli.options import config_file
from herd.cli.process import printable, set_up_logs
from herd.cli.remote.orders import seconds_of
from herd.cli.words import clock_time
from herd.config import NodeSettings
from herd.net.agent_files import agent_status, ask_for_pause, take_pause_back
from herd.net.clock import SystemClock
from herd.types import Seconds

_DataDir = Annotated[
    Path | None,
    typer.Option(help="Data directory of the agent (HERD_NODE_DATA_DIR; default: ~/.herd-node).", show_default=False),
]


def pause_command(
    lasts: Annotated[
        str | None, typer.Option("--for", help="For so long, such as 30m or 2h; else until herd-node resume.")
    ] = None,
    data_dir: _DataDir = None,
) -> None:
    """Have this machine get no new requests; what runs ends. It outlives a restart of the agent.

    Example: herd-node pause --for 2h
    """
    wanted = None if lasts is None else seconds_of(lasts)
    directory = _directory(data_dir)
    shown = agent_status(directory)
    now = SystemClock().wall()
    pause = HandPause(now, None if wanted is None else Seconds(now + wanted))
    ask_for_pause(directory, pause)
    until = "until herd-node resume" if pause.until is None else f"until {clock_time(pause.until)}"
    _say(Text.assemble((_name(shown), "bold"), f" is paused by hand {until}"))


def resume_command(data_dir: _DataDir = None) -> None:
    """Let this machine, if it was paused here by hand, get requests again.

    A meeting's pause ends with the meeting, and one of herd pause with herd resume.

    Example: herd-node resume
    """
    directory = _directory(data_dir)
    shown = agent_status(directory)
    take_pause_back(directory)
    others = [pause for pause in own_status.listed(shown, "pauses") if pause.get("kind") != "manual"]
    text = "".join(f", but {own_status.words(pause)}" for pause in others)
    _say(Text.assemble((_name(shown), "bold"), f" is not paused by hand any more{text}"))


def status_command(
    data_dir: _DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, and nothing else.")] = False,
) -> None:
    """Show how this machine's agent stands: its router, its models, and what pauses it.

    Example: herd-node status
    """
    shown = agent_status(_directory(data_dir))
    if as_json:
        typer.echo(json.dumps(shown, indent=2))
        return
    _say(Text(_name(shown), "bold"))
    console = Console(highlight=False, soft_wrap=True)
    for line in (*own_status.lines(shown), *own_status.week(shown, plain=console.options.ascii_only)):
        console.print(line)


def _directory(flag: Path | None) -> Path:
    """The agent's data directory: as given, else by environment, else by herd.toml, else the usual one."""
    set_up_logs("error")
    file = config_file(NodeSettings, None, flag)
    return config.load(NodeSettings, {"data_dir": flag}, os.environ, file).data_dir.expanduser()


def _name(shown: dict[str, Any]) -> str:
    """As its router calls it, else as it would like to be called."""
    return printable(str(shown.get("name") or shown.get("wanted_name")))


def _say(text: Text) -> None:
    Console(highlight=False, soft_wrap=True).print(text)
