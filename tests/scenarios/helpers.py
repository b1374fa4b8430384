"""What scenarios are told with: requests, and the check that nothing is left over."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from herd.names import Names
from herd.simulation.chaos.invariants import left_over
from herd.simulation.clock import EPOCH
from herd.simulation.fleet.house import Disk, House, Sent, house
from herd.simulation.http import RecordingSink
from herd.store.records import KnownNode
from herd.types import NodeId, NodeName, Seconds

LLAMA = "llama3.2:3b"
QWEN = "qwen3:8b"
CHAT = "/api/chat"
TOO_LONG_S = 900.0  # virtual: heartbeats go on for ever, so a scenario that waits in vain would too
OPENAI_CHAT = "/v1/chat/completions"


def chat(model: str = LLAMA, *, tokens: int = 20, text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A body for /api/chat."""
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "options": {"num_predict": tokens}, **fields}


def openai_chat(model: str = LLAMA, *, tokens: int = 20, stream: bool = True) -> dict[str, Any]:
    """A body for /v1/chat/completions."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": tokens,
        "stream": stream,
    }


def served_by(answer: RecordingSink) -> str | None:
    """The node that a whole answer names."""
    assert (answer.status, answer.finished, answer.aborted) == (200, True, False), (answer.status, answer.body)
    return answer.header("X-Herd-Node")


def broken(answer: RecordingSink) -> bool:
    """An answer that had begun broke off, and the client can tell."""
    return answer.aborted or b'"error"' in answer.body


def lines(answer: RecordingSink) -> list[dict[str, Any]]:
    """The events of an NDJSON stream."""
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def begun(answer: RecordingSink, pieces: int = 1) -> None:
    """Wait until an answer has begun."""
    async with asyncio.timeout(60):
        while len(answer.pieces) < pieces:  # noqa: ASYNC110 - in virtual time, and a sink is only a record
            await asyncio.sleep(0.001)


async def queue_of(home: House, node: str, model: str = LLAMA) -> tuple[int, int]:
    """Running and waiting requests of a node's model."""
    for status in await home.fleet():
        for queue in status.queues:
            if (status.name, queue.model) == (node, model):
                return queue.running, queue.waiting
    return 0, 0


async def until_waiting(home: House, node: str, waiting: int, model: str = LLAMA) -> None:
    """Wait until so many requests wait in a node's queue."""
    await home.until(
        lambda fleet: any(
            (status.name, queue.model, queue.waiting) == (node, model, waiting)
            for status in fleet
            for queue in status.queues
        )
    )


async def until_held(home: House, count: int) -> None:
    """Wait until so many requests are held."""
    async with asyncio.timeout(60):
        while await home.router.parts.pen.count.remote() != count:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)


async def assert_nothing_is_out(home: House) -> None:
    """Every lease is back, the ledger and the pen are empty, no stream is open at either end, no backend works."""
    assert await left_over(home) == []


def remembers(*nodes: str) -> Disk:
    """The disk of a router that has met these nodes, each with a model of the node's name."""
    disk = Disk()
    for node in nodes:
        disk.save([KnownNode(NodeId(node), NodeName(node), (f"{node}:latest",), Seconds(EPOCH))])
    return disk


@asynccontextmanager
async def scenario(
    *,
    seed: int = 0,
    hold_timeout: float = 30.0,
    join_grace: float = 10.0,
    knows: tuple[str, ...] = (),
    names: Names | None = None,
) -> AsyncIterator[House]:
    """A house in which, at the end of the scenario, nothing may be left over. `knows`: nodes of earlier days."""
    disk = remembers(*knows)
    try:
        options: dict[str, Any] = {"seed": seed, "hold_timeout": hold_timeout, "join_grace": join_grace, "names": names}
        async with house(**options, open_store=disk.open) as home:
            async with asyncio.timeout(TOO_LONG_S):
                yield home
                await assert_nothing_is_out(home)
    finally:
        disk.throw_away()


async def story_of(home: House, sent: Sent) -> dict[str, Any]:
    """A request that has ended, with its events."""
    answer = await home.ask(f"/herd/v1/requests/{sent.sink.header('X-Request-Id')}", method="GET")
    story: dict[str, Any] = answer.json
    return story
