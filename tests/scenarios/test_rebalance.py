"""Who waits for long is moved to a node that serves it sooner; results are its, wherever they show."""

import asyncio
from collections import Counter
from typing import Any

from herd.runtime.testing import virtual_time
from herd.simulation.fleet.house import House, Sent
from tests.scenarios.helpers import CHAT, LLAMA, begun, chat, now, scenario, served_by, until_waiting


async def story(home: House, sent: Sent) -> list[dict[str, Any]]:
    """The events of a request's story."""
    answer = await home.ask(f"/herd/v1/requests/{sent.sink.header('X-Request-Id')}", method="GET")
    events: list[dict[str, Any]] = answer.json["events"]
    return events


@virtual_time
async def test_rebalance_attributes_results_to_the_node_that_served() -> None:
    """Failure 1: moved requests counted, and named in headers, for the queue they left."""
    async with scenario() as home:
        await home.node("busy", [LLAMA], resident=[LLAMA])
        began = now()
        sent = [home.send(CHAT, chat(tokens=300)) for _ in range(12)]
        await until_waiting(home, "busy", 11)
        late = await home.node("late", [LLAMA], resident=[LLAMA])
        await asyncio.gather(*(one.task for one in sent))
        served = Counter(served_by(one.sink) for one in sent)
        print(served, now() - began, late.ollama.loads)
        for one in sent:
            print(one.sink.headers)
        for e in await story(home, sent[5]):
            print(e)
