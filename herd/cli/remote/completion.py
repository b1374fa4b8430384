"""What the shell completes beside commands and flags: the nodes, models and requests of the running router.

Whoever presses Tab waits for it, and may not have a router at all: it is asked once, for a second, and says nothing if
it has nothing to say.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

import typer

from herd.cli.process import set_up_logs
from herd.cli.remote.asking import key_headers
from herd.config import asked_router
from herd.errors import HerdError
from herd.net.http_client import AiohttpServers
from herd.types import Seconds

ASKED_S = Seconds(1.0)
MAX_REQUESTS = 50  # the latest: nobody completes an older one's id from memory

_STATUS = "/herd/v1/status"

Complete = Callable[[typer.Context, str], list[str]]


def completing(path: str, names: Callable[[Any], Iterable[str]]) -> Complete:
    """A completion from what the router answers at `path`, from which `names` takes them."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            document = _asked(ctx.params.get("router_url"), path, ctx.params.get("admin_key"))
            found = [name for name in dict.fromkeys(names(document)) if name.startswith(incomplete)]
        except (HerdError, LookupError, TypeError, AttributeError):
            return []
        # A name that could not be typed is none to complete, and none to send to a terminal.
        return [name for name in found if name.isprintable()]

    return complete


def _asked(router_url: str | None, path: str, admin_key: str | None) -> Any:
    set_up_logs("critical")  # a line of a log would stand in the middle of what is being typed
    return asyncio.run(_fetched(f"{asked_router(router_url, os.environ)}{path}", admin_key))


async def _fetched(url: str, admin_key: str | None) -> Any:
    async with AiohttpServers(key_headers(admin_key)) as servers:
        return (await servers.fetch(url, timeout=ASKED_S))[1]


node_names = completing(_STATUS, lambda status: (node["name"] for node in status["nodes"]))
model_names = completing(
    _STATUS, lambda status: (model["name"] for node in status["nodes"] for model in node["models"])
)
request_ids = completing(
    f"/herd/v1/requests?limit={MAX_REQUESTS}", lambda document: (one["id"] for one in document["requests"])
)
