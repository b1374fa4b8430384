"""`herd pull MODEL`: fetch a model to a node, and watch how far that is."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from herd.cli.process import printable, set_up_logs
from herd.cli.remote.asking import ANSWER_S, AdminKey, RouterUrl, away, key_headers, refused
from herd.cli.remote.completion import model_names, node_names
from herd.cli.remote.pull_view import Bars, Lines, View
from herd.cli.talk import once
from herd.config import asked_router
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpAnswer, AiohttpServers
from herd.protocols.headers import Headers, value_of
from herd.protocols.messages import RequestHead
from herd.types import BackendId, Bytes, KiB, RequestId

MAX_LINE = 64 * KiB  # one of Ollama's has under 200 bytes

_AGAIN = "herd pull goes on where it has stopped"


def pull_command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="The model, as Ollama's library names it.", autocompletion=model_names),
    ],
    node: Annotated[
        str | None,
        typer.Option(
            help="Fetch it to this node (default: the one that suits best).",
            show_default=False,
            autocompletion=node_names,
        ),
    ] = None,
    router_url: RouterUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the router says, a JSON object a line.")] = False,
    admin_key: AdminKey = None,
) -> None:
    """Fetch a model to a node with Ollama, and show how far it is. Ctrl-C stops it, unless others wait for it too.

    Example: herd pull llama3.2:3b --node studio
    """
    if not model.strip() or node == "":
        raise typer.BadParameter("a model's name and a node's are not empty")
    set_up_logs("error")
    url, headers = asked_router(router_url, os.environ), key_headers(admin_key)
    path = "/api/pull" if node is None else f"/api/pull?node={quote(node, safe='')}"
    try:
        asyncio.run(_pull(_Wanted(url, path, model, headers), as_json))
    except KeyboardInterrupt:
        typer.echo(f"stopped: the pull ends, unless somebody else waits for it; {_AGAIN}", err=True)
        raise


class _Wanted:
    """What is asked, and of whom."""

    def __init__(self, url: str, path: str, model: str, headers: Headers) -> None:
        self.url = url
        self.body = json.dumps({"model": model, "stream": True}).encode()
        self.keyed = bool(headers)
        given = (*headers, ("Content-Type", "application/json"))
        self.head = RequestHead(RequestId(""), BackendId(""), "POST", path, given, size=Bytes(len(self.body)))


async def _pull(wanted: _Wanted, as_json: bool) -> None:
    """Follow the pull to its end. Raises HerdError when that is no success."""
    async with AiohttpServers() as servers:
        try:
            answer = await servers.exchange(wanted.url, wanted.head, once(wanted.body))
        except StreamFailed as error:
            raise away(wanted.url, error) from error
        try:
            await _follow(answer, wanted, as_json)
        finally:
            answer.close()


async def _follow(answer: AiohttpAnswer, wanted: _Wanted, as_json: bool) -> None:
    lines = _lines(answer)
    if answer.status != HTTPStatus.OK:
        async with asyncio.timeout(ANSWER_S), aclosing(lines):
            document = _document(b"\n".join([line async for line in lines]))
        raise refused(wanted.url, answer.status, document, keyed=wanted.keyed)
    console = Console(highlight=False)
    node = printable(value_of(answer.headers, "x-herd-node") or "")
    if not as_json and node:
        console.print(f"to {node}", markup=False)
    last: dict[str, Any] = {}
    view: View = Bars(console) if console.is_terminal and not as_json else Lines(console)
    with view:
        async with aclosing(lines):
            async for line in lines:
                last = _document(line) or {}
                if as_json:
                    typer.echo(line.decode(errors="replace"))
                elif "error" not in last:
                    view.show(last)
    error = last.get("error")
    if isinstance(error, str):
        raise HerdError(printable(error))
    if last.get("status") != "success":
        raise HerdError(f"the router ended the pull before the model was there; {_AGAIN}")


async def _lines(answer: AiohttpAnswer) -> AsyncGenerator[bytes]:
    """The lines that are not empty. Raises HerdError when they break off."""
    rest = b""
    try:
        while data := await answer.read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.strip():
                    yield line
            if len(rest) > MAX_LINE:
                raise HerdError("the router tells its progress in another way: is it of another version?")
    except StreamFailed as error:
        raise HerdError(f"the router is gone, and the pull with it; {_AGAIN}") from error
    if rest.strip():
        yield rest


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
