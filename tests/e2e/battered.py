"""A house for tests that break things: 25 slots on each machine, and a look at whether everything was given back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.house import LOOK_EVERY_S, House, running_house
from tests.e2e.processes import PATIENCE_S
from tests.e2e.reciters import SLOTS, Reciter


@asynccontextmanager
async def battered_house(home: Path) -> AsyncIterator[House]:
    """A house whose machines run 25 requests of a model at once."""
    async with running_house(home, Reciter, ("--parallel", str(SLOTS))) as house:
        yield house


def reciter(house: House, name: str) -> Reciter:
    """A machine's model server, as what it is in a battered house."""
    server = house.servers[name]
    assert isinstance(server, Reciter)
    return server


async def status_until(house: House, condition: Any) -> Any:
    """The router's status once `condition` holds of it; nothing tells, so it is asked again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            status = await house.get("/herd/v1/status")
            if condition(status):
                return status
            await asyncio.sleep(LOOK_EVERY_S)


async def node_until(house: House, name: str, state: str) -> None:
    """Wait until the router has a node in this state."""
    await status_until(
        house, lambda status: (name, state) in {(node["name"], node["state"]) for node in status["nodes"]}
    )


def quiet(status: Any) -> bool:
    """Not one lease is out, and nobody waits."""
    busy = [queue for queue in status["queues"] if queue["running"] or queue["waiting"]]
    return not busy and not status["totals"]["held"]


async def all_given_back(house: House) -> None:
    """Wait until no lease is out, nobody waits anywhere, and the model servers run nothing."""
    await status_until(house, quiet)
    async with asyncio.timeout(PATIENCE_S):
        for server in house.servers.values():
            await server.fake.until(lambda fake: not fake.running and not fake.waiting)


async def answered_by(house: House, model: str, **fields: Any) -> str:
    """Who answers a question; waits as long as a router holds a request."""
    async with house.chat(model, stream=False, **fields) as answer:
        assert answer.status == 200, await answer.text()
        return str(answer.headers["X-Herd-Node"])


async def warm(house: House, name: str, model: str) -> None:
    """Load a model on one machine, and wait until the router has heard of it."""
    async with house.client.post(house.servers[name].url + "/api/chat", json={"model": model}) as answer:
        assert answer.status == 200
    await status_until(house, lambda status: (name, model) in resident(status))


def resident(status: Any) -> set[tuple[str, str]]:
    """Which nodes have which models in memory."""
    return {(node["name"], model["name"]) for node in status["nodes"] for model in node["models"] if model["resident"]}
