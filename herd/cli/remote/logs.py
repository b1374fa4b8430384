"""`herd logs`: the latest lines of a running router's log, and those that come."""

import asyncio
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from herd.cli.logbook import KEPT
from herd.cli.process import printable
from herd.cli.remote.asking import AdminKey, RouterUrl, asked, away, key_headers, understood
from herd.cli.remote.watching import watched
from herd.config import asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.live import Topic

DEFAULT_LIMIT = 100  # two screens

_Line = dict[str, Any]


class Level(StrEnum):
    """How grave a line is, the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_GRAVITY = {level.value: number for number, level in enumerate(Level)}
_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}


def logs_command(
    *,
    limit: Annotated[int, typer.Option(min=1, max=KEPT, help="Lines, at most, that were.")] = DEFAULT_LIMIT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged, until Ctrl-C.")] = False,
    level: Annotated[Level, typer.Option(help="Leave out what is less grave.")] = Level.DEBUG,
    router_url: RouterUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the router's JSON; with --follow an object a line.")
    ] = False,
    admin_key: AdminKey = None,
) -> None:
    """Show the latest lines of the router's log, of what its own --log-level lets into it.

    Example: herd logs --follow --level warning
    """
    # What is left out is left out of what the router still has, and the limit is one of what is shown.
    document = asked(router_url, f"/herd/v1/logs?limit={limit if level is Level.DEBUG else KEPT}", admin_key=admin_key)
    with understood("log"):
        kept = [line for line in document["lines"] if _counts(line, level)][-limit:]
        last = max((line["number"] for line in document["lines"]), default=0)
    if as_json and not follow:
        typer.echo(json.dumps({"lines": kept}, indent=2))
        return
    screen = _Screen(level, as_json)
    screen.show(kept)
    if follow:
        asyncio.run(_follow(asked_router(router_url, os.environ), admin_key, last, screen))


async def _follow(url: str, admin_key: str | None, last: int, screen: "_Screen") -> None:
    """Show what comes behind the line of the number `last`. Raises HerdError at the end, which is the router's."""
    async with AiohttpServers(key_headers(admin_key)) as servers:
        try:
            async for _, document in watched(servers, url, [Topic.LOG]):
                with understood("log"):
                    news = [line for line in document["lines"] if line["number"] > last]  # type: ignore[index]
                    last = max((line["number"] for line in news), default=last)
                screen.show(news)
        except StreamFailed as error:
            raise away(url, error) from error
    raise HerdError("the router has stopped")


class _Screen:
    """Where lines are shown.

    Args:
        level: what is less grave is left out.
        as_json: an object a line.
    """

    def __init__(self, level: Level, as_json: bool) -> None:
        self._level = level
        self._as_json = as_json
        self._console = Console(highlight=False, soft_wrap=True)

    def show(self, lines: Iterable[_Line]) -> None:
        """Show them, the oldest first."""
        with understood("log"):
            for line in lines:
                if _counts(line, self._level):
                    self._say(line)

    def _say(self, line: _Line) -> None:
        if self._as_json:
            typer.echo(json.dumps(line))
        else:
            self._console.print(Text.assemble(*_words(line)))


def _counts(line: _Line, level: Level) -> bool:
    """A level of a newer router's is shown rather than lost."""
    return _GRAVITY.get(line["level"], _GRAVITY[Level.CRITICAL]) >= _GRAVITY[level]


def _words(line: _Line) -> Iterator[tuple[str, str]]:
    """`11-29 10:00:00 warning  the link to the router is gone`."""
    level = printable(line["level"])
    local = datetime.fromisoformat(line["time"]).astimezone()
    yield f"{local:%m-%d %H:%M:%S} ", "dim"
    yield f"{level:<8} ", _STYLES.get(level, "")
    yield printable(line["message"]), ""
