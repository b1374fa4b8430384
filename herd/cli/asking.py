"""How commands talk to a running router: one question, its JSON, or a sentence that says why there is none."""

import asyncio
import os
from typing import Annotated, Any

import typer

from herd.cli.process import printable, set_up_logs
from herd.config import asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.types import Seconds

# A router answers within milliseconds; one that takes longer is in trouble, and so is its fleet.
ANSWER_S = Seconds(10.0)

RouterUrl = Annotated[
    str | None,
    typer.Option(help="URL of the router (HERD_ROUTER_URL; default: http://127.0.0.1:11435).", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the router's JSON, and nothing else.")]


def asked(router_url: str | None, path: str, body: Any = None) -> Any:
    """The router's answer to a GET, or with a `body` to a POST.

    Raises:
        HerdError: there is none, or it says why it has none.
    """
    set_up_logs("error")
    url = asked_router(router_url, os.environ)
    try:
        status, document = asyncio.run(_fetched(f"{url}{path}", body))
    except StreamFailed as error:
        raise HerdError(f"{error}; is the router running? --router-url names another") from error
    if status == 200 and isinstance(document, dict):
        return document
    said = document.get("error") if isinstance(document, dict) else None
    if isinstance(said, str):
        raise HerdError(printable(said))
    raise HerdError(f"{url} does not answer this as a router does ({status}): is it of another version?")


async def _fetched(url: str, body: Any) -> tuple[int, Any]:
    async with AiohttpServers() as servers:
        return await servers.fetch(url, body, timeout=ANSWER_S)
