"""How commands talk to a running router: one question, its JSON, or a sentence that says why there is none."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
_UNKNOWN_KEY = "unauthorized"  # all that Ollama's clients are told, and so ours where they ask as one of those

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


class Refused(HerdError):
    """The router says no.

    Args:
        text: the sentence.
        status: of its answer.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def asked(
    router_url: str | None, path: str, body: Any = None, *, admin_key: str | None = None, method: str = ""
) -> Any:
    """The router's answer to a GET, with a `body` to a POST, or to a `method`; `admin_key` is what the flag says.

    Raises:
        HerdError: there is none, or it says why it has none.
    """
    set_up_logs("error")
    url = asked_router(router_url, os.environ)
    headers = key_headers(admin_key)
    try:
        status, document = asyncio.run(_fetched(f"{url}{path}", body, headers, method))
    except StreamFailed as error:
        raise away(url, error) from error
    return document_of(url, status, document, keyed=bool(headers))


def document_of(url: str, status: int, document: Any, *, keyed: bool) -> dict[str, Any]:
    """The document in a router's answer. Raises Refused where there is none. `keyed`: it was asked with a key."""
    if status == HTTPStatus.OK and isinstance(document, dict):
        return document
    raise refused(url, status, document, keyed=keyed)


def away(url: str, error: BaseException) -> HerdError:
    """What to say where no router answers."""
    why = str(error) or f"no answer from {url}"
    return HerdError(f"{why}; is the router running? --router-url names another")


def refused(url: str, status: int, document: Any, *, keyed: bool) -> Refused:
    """What to say of an answer that is none. `keyed`: it was asked with a key."""
    said = refusal_of(document)
    if status == HTTPStatus.UNAUTHORIZED and said == _UNKNOWN_KEY:
        said = f"{url} does not know this key" if keyed else f"{url} wants a key for this"
        said += ": give one of its own with --admin-key, or as HERD_ADMIN_KEY, which others on this machine do not see"
    return Refused(said or puzzled(url, status), status)


def refusal_of(document: Any) -> str:
    """What a router says that refuses something; empty where it says nothing."""
    said = document.get("error") if isinstance(document, dict) else None
    return printable(said) if isinstance(said, str) else ""


def puzzled(url: str, status: int) -> str:
    """What to make of an answer without a router's JSON."""
    # So answers a port that speaks HTTPS, this router's own and that of a proxy before it.
    why = "does it want https://" if status == HTTPStatus.BAD_REQUEST and url.startswith("http://") else _OLDER
    return f"{url} does not answer this as a router does ({status}): {why}?"


@contextmanager
def understood(what: str) -> Iterator[None]:
    """Within the block a router's document is read. Raises HerdError where it has not the form that is expected."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise HerdError(f"the router describes its {what} in another way: {_OLDER}?") from error


def key_headers(admin_key: str | None) -> Headers:
    """The header that a key goes into; none where none is given. Raises ConfigError for what no header can carry."""
    key = asked_with(admin_key, os.environ)
    if not (key.isascii() and key.isprintable()):
        raise ConfigError("the key (--admin-key, HERD_ADMIN_KEY) must consist of ASCII letters, digits and signs")
    return (("Authorization", f"Bearer {key}"),) if key else ()


async def _fetched(url: str, body: Any, headers: Headers, method: str) -> tuple[int, Any]:
    async with AiohttpServers(headers) as servers:
        return await servers.fetch(url, body, timeout=ANSWER_S, method=method)
