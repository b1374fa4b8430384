"""`herd pin MODEL` and `herd unpin MODEL`: keep a model loaded, whatever else is asked for."""

import asyncio
import json
import os
from typing import Annotated, Any
from urllib.parse import quote

import typer

from herd.cli.asking import AdminKey, AsJson, RouterUrl, key_headers, puzzled
from herd.cli.process import printable, set_up_logs
from herd.config import asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.types import BackendId, RequestId

ANSWER_S = 10.0  # a router answers within milliseconds
MOST = 64 * 1024  # bytes of its answer, which is a line

_Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model, as clients name it.")]


def pin_command(
    model: _Model, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Keep a model loaded on the machine that serves it most; nothing else makes it go.

    Example: herd pin llama3.2:3b
    """
    answer = _ordered(router_url, "POST", model, admin_key)
    typer.echo(json.dumps(answer, indent=2) if as_json else _pinned(printable(answer["model"]), answer.get("home")))


def _pinned(model: str, home: Any) -> str:
    if isinstance(home, str):
        return f"{model} stays loaded on {printable(home)} from now on"
    return f"{model} is pinned, but no machine can keep it loaded now: that takes one with Ollama that has room for it"


def unpin_command(
    model: _Model, router_url: RouterUrl = None, as_json: AsJson = False, admin_key: AdminKey = None
) -> None:
    """Let a pinned model go when it is not used, like any other.

    Example: herd unpin llama3.2:3b
    """
    answer = _ordered(router_url, "DELETE", model, admin_key)
    typer.echo(json.dumps(answer, indent=2) if as_json else f"{printable(answer['model'])} is like any other again")


def _ordered(router_url: str | None, method: str, model: str, admin_key: str | None) -> Any:
    """The router's answer. Raises HerdError when there is none, or it says why not."""
    if not model.strip():
        raise typer.BadParameter("a model's name is not empty")
    set_up_logs("error")
    url = asked_router(router_url, os.environ)
    path = f"/herd/v1/pins/{quote(model, safe='')}"
    head = RequestHead(RequestId(""), BackendId(""), method, path, headers=key_headers(admin_key))
    try:
        status, document = asyncio.run(_sent(url, head))
    except (StreamFailed, TimeoutError) as error:
        why = str(error) or "no answer"
        raise HerdError(f"is a router running at {url}? {why}; --router-url names another") from error
    if status == 200 and isinstance(document, dict) and isinstance(document.get("model"), str):
        return document
    said = document.get("error") if isinstance(document, dict) else None
    if isinstance(said, str):
        raise HerdError(printable(said))
    raise HerdError(puzzled(url, status))


async def _sent(url: str, head: RequestHead) -> tuple[int, Any]:
    """The status and the JSON of an answer; None for what is no JSON."""
    async with AiohttpServers() as servers, asyncio.timeout(ANSWER_S):
        answer = await servers.exchange(url, head, None)
        try:
            body = b""
            while len(body) < MOST and (data := await answer.read()):
                body += data
        finally:
            answer.close()
    try:
        return answer.status, json.loads(body)
    except ValueError:
        return answer.status, None
