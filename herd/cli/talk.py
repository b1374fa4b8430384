"""Talking to a router from the command line: wait until it is ready, ask, and show the answer as it comes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from rich.console import Console

from herd.actors.ports import ModelServers
from herd.errors import HerdError, StreamFailed
from herd.protocols.headers import value_of
from herd.protocols.messages import RequestHead
from herd.types import BackendId, RequestId, Seconds

READY_S = 30.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Talk:
    """One question for one model."""

    model: str
    question: str
    max_tokens: int = 40


async def wait_for_models(servers: ModelServers, url: str, models: set[str]) -> None:
    """Wait until the router lists all of `models`. Raises StreamFailed when it does not in time."""
    missing = models
    try:
        async with asyncio.timeout(READY_S):
            while missing:
                _, answer = await servers.fetch(f"{url}/v1/models", timeout=Seconds(READY_S))
                missing = models - {entry["id"] for entry in answer["data"]}
                await asyncio.sleep(LOOK_EVERY_S if missing else 0)
    except TimeoutError as error:
        raise StreamFailed(f"the nodes did not report {', '.join(sorted(missing))} in {READY_S:.0f} s") from error


async def ask(servers: ModelServers, url: str, talk: Talk, console: Console) -> None:
    """Ask, and print the answer token by token, with the node that gave it."""
    body = orjson.dumps(
        {
            "model": talk.model,
            "messages": [{"role": "user", "content": talk.question}],
            "stream": True,
            "max_tokens": talk.max_tokens,
        }
    )
    head = RequestHead(RequestId(""), BackendId(""), "POST", "/v1/chat/completions", size=len(body))
    answer = await servers.exchange(url, head, once(body))
    try:
        console.print(f"\n[bold]{talk.model}[/bold] < {talk.question}")
        if answer.status != 200:
            raise HerdError(f"the router answered {answer.status} to the demo's question")
        rest = b""
        while data := await answer.read():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                console.print(_content(line), end="", style="green", markup=False, highlight=False)
        node, attempts = (value_of(answer.headers, f"x-herd-{name}") for name in ("node", "attempts"))
        console.print(f"\n  answered by [cyan]{node}[/cyan] on attempt {attempts}")
    finally:
        answer.close()


def _content(line: bytes) -> str:
    """The text in one line of an OpenAI stream; empty when it has none."""
    data = line.removeprefix(b"data: ")
    if data in {line, b"[DONE]"}:
        return ""
    choices = orjson.loads(data).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or ""


async def once(body: bytes) -> AsyncIterator[bytes]:
    """A body that is here already, in one piece."""
    yield body
