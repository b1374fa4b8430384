"""What the shell completes beside commands and flags: the nodes, models and requests of the running router.

Whoever presses Tab waits for it, and may not have a router at all: it is asked once, for a second, and says nothing if
it has nothing to say.
"""

import asyncio
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import typer

from herd.cli.asking import key_headers
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
            found = list(dict.fromkeys(names(document)))
        except (HerdError, LookupError, TypeError, AttributeError):
            return []
        # A name that could not be typed is none to complete, and none to send to a terminal.
        return [name for name in found if name.startswith(incomplete) and name.isprintable()]

    return complete


def _asked(router_url: str | None, path: str, admin_key: str | None) -> Any:
    logging.disable()  # a line of a log would stand in the middle of what is being typed
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


# --- bash, and the colons of models -----------------------------------------------------------------------------------


def rejoined(words: Sequence[str], current: int) -> tuple[list[str], int, str]:
    """The words of a command line as a person sees them, for bash takes every colon for a word of its own.

    Args:
        words: as bash has them.
        current: index of the one that is completed.

    Returns:
        The words, the index among them, and what of that word bash will not replace: its completions begin behind it.
    """
    whole: list[str] = []
    index = current
    for number, word in enumerate(words):
        behind = number > 0 and words[number - 1] == ":" and word not in ("", ":") and not word.startswith("-")
        if whole and (word == ":" or behind):
            whole[-1] += word
        else:
            whole.append(word)
        if number == current:
            index = len(whole) - 1
    kept = whole[index].rpartition(":")[:2] if index < len(whole) and words[current] != "" else ("", "")
    return whole, index, "".join(kept)


@contextmanager
def whole_words(complete_variable: str) -> Iterator[None]:
    """Within the block the shell's words are whole, and what is printed for bash fits behind its last colon."""
    words, current = os.environ.get("COMP_WORDS", "").split(" "), os.environ.get("COMP_CWORD", "")
    bash = os.environ.get(complete_variable) == "complete_bash"
    if not bash or ":" not in words or not (current.isdecimal() and int(current) < len(words)):
        yield
        return
    whole, index, kept = rejoined(words, int(current))
    os.environ.update(COMP_WORDS=" ".join(whole), COMP_CWORD=str(index))
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:
        typer.echo("\n".join(line.removeprefix(kept) for line in said.getvalue().splitlines()))
