"""`herd requests` and `herd story ID`: what a running router did with its latest requests, and why."""

import json
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console

from herd.cli.remote import story_view
from herd.cli.remote.asking import AdminKey, AsJson, RouterUrl, asked
from herd.cli.remote.completion import request_ids
from herd.protocols.stories import DEFAULT_LIMIT, KEPT, read_requests, read_story


def requests_command(
    limit: Annotated[int, typer.Option(min=1, max=KEPT, help="Requests, at most.")] = DEFAULT_LIMIT,
    router_url: RouterUrl = None,
    as_json: AsJson = False,
    admin_key: AdminKey = None,
) -> None:
    """List the latest requests: those under way, then those that ended, the latest first.

    Example: herd requests --limit 20
    """
    document = asked(router_url, f"/herd/v1/requests?limit={limit}", admin_key=admin_key)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(story_view.requests(read_requests(document), console.width))


def story_command(
    request_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="X-Request-Id of its answer; herd requests lists it.", autocompletion=request_ids
        ),
    ],
    router_url: RouterUrl = None,
    as_json: AsJson = False,
    admin_key: AdminKey = None,
) -> None:
    """Tell the story of a request: machines, scores and reasons, waits, attempts, and how it ended.

    Example: herd story req_4f1d2c9a0b6e7d8c9f3a1b2c
    """
    if not request_id:
        raise typer.BadParameter("a request id is not empty")
    document = asked(router_url, f"/herd/v1/requests/{quote(request_id, safe='')}", admin_key=admin_key)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    Console(highlight=False).print(story_view.story(read_story(document)))
