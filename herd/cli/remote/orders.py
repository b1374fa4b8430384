"""`herd drain`, `herd pause` and `herd resume`: what people tell a node."""

import json
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer
from rich.console import Console
from rich.text import Text

from herd.cli.process import printable
from herd.cli.remote.asking import AdminKey, AsJson, RouterUrl, asked
from herd.cli.remote.completion import node_names
from herd.cli.words import clock_time
from herd.errors import RequestError
from herd.protocols.control import duration
from herd.types import Seconds

_Node = Annotated[
    str, typer.Argument(metavar="NODE", help="Its name, or its id; herd nodes lists them.", autocompletion=node_names)
]


def drain_command(
    node: _Node, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Send a node nothing new: what runs there ends, what waits there goes elsewhere at once.

    Example: herd drain studio
    """
    _tell(node, "drain", {}, _Asking(router_url, as_json, admin_key))


def resume_command(
    node: _Node, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Let a node that was drained or paused by hand take requests again.

    What its own agent pauses it for, a meeting say, stays.

    Example: herd resume studio
    """
    _tell(node, "resume", {}, _Asking(router_url, as_json, admin_key))


def pause_command(
    node: _Node,
    lasts: Annotated[
        str | None, typer.Option("--for", help="For so long, such as 30m or 2h; else until herd resume.")
    ] = None,
    router_url: RouterUrl = None,
    as_json: AsJson = False,
    admin_key: AdminKey = None,
) -> None:
    """Send a node nothing new for some time.

    Example: herd pause studio --for 2h
    """
    if lasts is not None:
        seconds_of(lasts)
    _tell(node, "pause", {} if lasts is None else {"for": lasts}, _Asking(router_url, as_json, admin_key))


def seconds_of(lasts: str) -> Seconds:
    """What `--for` says. Raises typer.BadParameter."""
    try:
        return duration(lasts)
    except RequestError as error:
        raise typer.BadParameter(printable(str(error)), param_hint="--for") from error


class _Asking(NamedTuple):
    """Which router is asked, and how."""

    router_url: str | None
    as_json: bool
    admin_key: str | None


def _tell(node: str, order: str, body: dict[str, str], how: _Asking) -> None:
    if not node:
        raise typer.BadParameter("a node's name is not empty")
    path = f"/herd/v1/nodes/{quote(node, safe='')}/{order}"
    document = asked(how.router_url, path, body, admin_key=how.admin_key)
    if how.as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    Console(highlight=False).print(standing(document))


def standing(document: dict[str, Any]) -> Text:
    """`studio is paused by hand until 17:30; 2 requests run there`."""
    name = printable(str(document.get("name")))
    reasons = [_reason(reason) for reason in document.get("reasons") or []]
    stands = ", and ".join(reasons) or f"is {printable(str(document.get('state')))}"
    running = document.get("running") or 0
    still = f"; {running} {'request runs' if running == 1 else 'requests run'} there" if running else ""
    return Text.assemble((name, "bold"), f" {stands}{still}")


def _reason(reason: dict[str, Any]) -> str:
    until = reason.get("until")
    when = f" until {clock_time(until)}" if isinstance(until, int | float) else ""
    return printable(str(reason.get("text"))) + when
