"""`herd nodes` and `herd nodes NAME`: the machines of a running router, and what it has learned of one."""

import json
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from herd.cli.remote import node_view
from herd.cli.remote.asking import AdminKey, AsJson, RouterUrl, asked, understood
from herd.cli.remote.completion import node_names


def nodes_command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="One of them, by its name or id.", show_default=False, autocompletion=node_names
        ),
    ] = None,
    router_url: RouterUrl = None,
    as_json: AsJson = False,
    admin_key: AdminKey = None,
) -> None:
    """List the nodes; or show one, with its learned speeds and its owner's week.

    Example: herd nodes studio
    """
    if name == "":
        raise typer.BadParameter("a node's name is not empty")
    path = "/herd/v1/status" if name is None else f"/herd/v1/nodes/{quote(name, safe='')}"
    document = asked(router_url, path, admin_key=admin_key)
    if as_json:
        shown_as_json = document if name is not None else {"nodes": document.get("nodes")}
        typer.echo(json.dumps(shown_as_json, indent=2))
        return
    console = Console(highlight=False)
    with understood("nodes"):
        plain = console.options.ascii_only
        shown = node_view.nodes(document["nodes"]) if name is None else node_view.node(document, plain=plain)
    console.print(shown)
