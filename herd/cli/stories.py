"""`herd requests` and `herd story ID`: what a running router did with its latest requests, and why."""

import asyncio
import json
import os
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from herd.cli import story_view
from herd.cli.process import printable, set_up_logs
from herd.config import asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.stories import DEFAULT_LIMIT, KEPT, read_requests, read_story
from herd.types import Seconds

ANSWER_S = Seconds(
    10.0
)  # a router answers within milliseconds; one that takes longer is in trouble, and so is its fleet

_RouterUrl = Annotated[
    str | None,
    typer.Option(help="URL of the router (HERD_ROUTER_URL; default: http://127.0.0.1:11435).", show_default=False),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print the router's JSON, and nothing else.")]


def requests_command(
    limit: Annotated[int, typer.Option(min=1, max=KEPT, help="Requests, at most.")] = DEFAULT_LIMIT,
    router_url: _RouterUrl = None,
    as_json: _AsJson = False,
) -> None:
    """List the latest requests: those under way, then those that ended, the latest first.

    Example: herd requests --limit 20
    """
    document = _asked(router_url, f"/herd/v1/requests?limit={limit}")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(story_view.requests(read_requests(document), console.width))


def story_command(
    request_id: Annotated[
        str, typer.Argument(metavar="ID", help="X-Request-Id of its answer; herd requests lists it.")
    ],
    router_url: _RouterUrl = None,
    as_json: _AsJson = False,
) -> None:
    """Tell the story of a request: machines, scores and reasons, waits, attempts, and how it ended.

    Example: herd story req_4f1d2c9a0b6e7d8c9f3a1b2c
    """
    if not request_id:
        raise typer.BadParameter("a request id is not empty")
    document = _asked(router_url, f"/herd/v1/requests/{quote(request_id, safe='')}")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    Console(highlight=False).print(story_view.story(read_story(document)))


def _asked(router_url: str | None, path: str) -> Any:
    """The router's answer. Raises HerdError when there is none, or it says why it has none."""
    set_up_logs("error")
    url = asked_router(router_url, os.environ)
    try:
        status, document = asyncio.run(_fetched(f"{url}{path}"))
    except StreamFailed as error:
        raise HerdError(f"is a router running at {url}? {error}; --router-url names another") from error
    if status == 200 and isinstance(document, dict):
        return document
    said = document.get("error") if isinstance(document, dict) else None
    if isinstance(said, str):
        raise HerdError(printable(said))
    raise HerdError(f"{url} does not answer as a router that keeps stories does ({status}): is it a newer Herd?")


async def _fetched(url: str) -> tuple[int, Any]:
    async with AiohttpServers() as servers:
        return await servers.fetch(url, timeout=ANSWER_S)
