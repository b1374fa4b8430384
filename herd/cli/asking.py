"""How commands talk to a running router: one question, its JSON, or a sentence that says why there is none."""

import asyncio
import os
from http import HTTPStatus
from typing import Annotated, Any

import typer

from herd.cli.process import printable, set_up_logs
from herd.config import asked_router, asked_with
from herd.errors import ConfigError, HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.headers import Headers
from herd.types import Seconds

# A router answers within milliseconds; one that takes longer is in trouble, and so is its fleet.
ANSWER_S = Seconds(10.0)

_OLDER = "is it of another version"

RouterUrl = Annotated[
    str | None,
    typer.Option(help="URL of the router (HERD_ROUTER_URL; default: http://127.0.0.1:11435).", show_default=False),
]
AdminKey = Annotated[
    str | None,
    typer.Option(
        help="Key to ask with, where the router wants one (HERD_ADMIN_KEY, which others on this machine do not see).",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the router's JSON, and nothing else.")]


def asked(router_url: str | None, path: str, body: Any = None, *, admin_key: str | None = None) -> Any:
    """The router's answer to a GET, or with a `body` to a POST; `admin_key` is what the flag says.

    Raises:
        HerdError: there is none, or it says why it has none.
    """
    set_up_logs("error")
    url = asked_router(router_url, os.environ)
    try:
        status, document = asyncio.run(_fetched(f"{url}{path}", body, key_headers(admin_key)))
    except StreamFailed as error:
        raise HerdError(f"{error}; is the router running? --router-url names another") from error
    if status == 200 and isinstance(document, dict):
        return document
    raise HerdError(refusal_of(document) or puzzled(url, status))


def refusal_of(document: Any) -> str:
    """What a router says that refuses something; empty where it says nothing."""
    said = document.get("error") if isinstance(document, dict) else None
    return printable(said) if isinstance(said, str) else ""


def puzzled(url: str, status: int) -> str:
    """What to make of an answer without a router's JSON."""
    # So answers a port that speaks HTTPS, this router's own and that of a proxy before it.
    why = "does it want https://" if status == HTTPStatus.BAD_REQUEST and url.startswith("http://") else _OLDER
    return f"{url} does not answer this as a router does ({status}): {why}?"


def key_headers(admin_key: str | None) -> Headers:
    """The header that a key goes into; none where none is given. Raises ConfigError for what no header can carry."""
    key = asked_with(admin_key, os.environ)
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the key (--admin-key, HERD_ADMIN_KEY) must consist of ASCII letters, digits and signs")
    return (("Authorization", f"Bearer {key}"),) if key else ()


async def _fetched(url: str, body: Any, headers: Headers) -> tuple[int, Any]:
    async with AiohttpServers(headers) as servers:
        return await servers.fetch(url, body, timeout=ANSWER_S)
