"""A month with an owner who works on Tuesday mornings: what the fleet learns of it, and still knows after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, running_router
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import Disk, InMemoryListener
from herd.simulation.fleet.station import HEARTBEAT_S, NodePlan, Station
from herd.simulation.fleet.switchboard import Switchboard
from herd.simulation.http import InMemoryRequest, RecordingSink, call
from herd.simulation.machine.owners import OwnerState
from herd.simulation.machine.profiles import PROFILES
from herd.types import Bytes, MiB, RouterId, Seconds
from tests.scenarios.helpers import LLAMA, chat

HOUR, DAY = 3600.0, 86_400.0
WEEK = 7 * DAY
# Of a week: before the owner sits down, when that may happen at any moment, and shortly before noon.
MONDAY_0850, TUESDAY_0800, TUESDAY_0850, TUESDAY_1130 = 8.83 * HOUR, 32 * HOUR, 32.83 * HOUR, 35.5 * HOUR
LATE = (4, 1, 9, 2, 6)  # minutes after nine at which the owner sits down, week by week

MONTH = 4  # weeks

LAPTOP, MINI = "laptop", "mini"


def tuesdays() -> Iterator[tuple[Seconds, OwnerState]]:
    """Every Tuesday the owner's builds take the laptop from about nine to twelve."""
    yield Seconds(0.0), OwnerState()
    for number, late in enumerate(LATE):
        nine = number * WEEK + DAY + 9 * HOUR
        yield Seconds(nine + 60 * late), OwnerState(cpu=0.95)
        if number == MONTH:  # a break of eight minutes
            yield Seconds(number * WEEK + TUESDAY_1130 - 180), OwnerState()
            yield Seconds(number * WEEK + TUESDAY_1130 + 300), OwnerState(cpu=0.95)
        yield Seconds(nine + 3 * HOUR), OwnerState()


@dataclass(frozen=True, slots=True)
class Decided:
    """Where a request went, and what the habits of the owners had to do with it."""

    node: str | None
    trends: dict[str, float]  # points, of the nodes that could have served it
    out: dict[str, str]  # the kinds of reasons of those that could not


class Home:
    """Two machines that outlive their router, each with the model in memory; the laptop is the quicker one."""

    def __init__(self) -> None:
        self._board, self._listener = Switchboard(), InMemoryListener()
        laptop = NodePlan(LAPTOP, PROFILES["macbook-pro-m3"], (LLAMA,))
        mini = NodePlan(MINI, PROFILES["mac-mini"], (LLAMA,))
        self._stations = [Station(plan, self._board, 0, Seconds(WEEK)) for plan in (laptop, mini)]
        self._stations[0].occupancy._changes = tuesdays()

    @asynccontextmanager
    async def router(self, disk: Disk) -> AsyncIterator[None]:
        """The router, with what is on this disk. Homes are not looked for: it takes a look every 30 s."""
        identity = RouterIdentity(RouterId("r"), "r")
        options = RouterOptions(identity, 0, Seconds(30.0), Bytes(MiB), heartbeat=HEARTBEAT_S, homes=False)
        ports = RouterPorts(LoopClock(), self._listener, self._board, self._board, self._board, None, disk.open)
        async with running_router(options, ports):
            await asyncio.sleep(2)  # the machines dial again within 1.5 s
            yield

    async def start(self) -> None:
        for station in self._stations:
            await call(station.ollama.handle, "POST", "/api/generate", {"model": LLAMA, "keep_alive": -1})
            await station.start()

    def stop(self) -> None:
        for station in self._stations:
            station.stop()

    async def ask(self, method: str, path: str, body: Any = None) -> RecordingSink:
        sink = RecordingSink()
        data = b"" if body is None else json.dumps(body).encode()
        await self._listener.send(InMemoryRequest(method, path, data), sink)
        assert sink.status == 200, sink.body
        return sink

    async def decided(self) -> Decided:
        """A request is served now."""
        answer = await self.ask("POST", "/api/chat", chat())
        story = (await self.ask("GET", f"/herd/v1/requests/{answer.header('X-Request-Id')}")).json
        placed = next(event for event in story["events"] if event["kind"] == "placed")
        return Decided(
            answer.header("X-Herd-Node"),
            {one["node"]: one["signals"]["availability_trend"] for one in placed["candidates"]},
            {one["node"]: one["reason"]["kind"] for one in placed["eliminated"]},
        )

    async def load(self) -> float:
        """What the laptop's owner takes, as its agent says."""
        load: float = (await self.ask("GET", f"/herd/v1/nodes/{LAPTOP}")).json["owner_load"]
        return load


async def until(at: float) -> None:
    await asyncio.sleep(at - asyncio.get_running_loop().time())


@virtual_time
async def test_a_month_of_tuesday_mornings_keeps_requests_off_the_laptop_before_its_owner_comes() -> None:
    home, disk, empty = Home(), Disk(), Disk()
    async with home.router(disk):
        await home.start()
        await asyncio.sleep(1)
        await until(TUESDAY_0850)
        assert (await home.decided()).node == LAPTOP  # nothing is known yet
        month = MONTH * WEEK
        await until(month + MONDAY_0850)
        assert await home.decided() == Decided(LAPTOP, {LAPTOP: 10.0, MINI: 10.0}, {})
        await until(month + TUESDAY_0800)
        assert (await home.decided()).node == LAPTOP
        await until(month + TUESDAY_0850)
        before = await home.decided()
        assert (before.node, before.trends[LAPTOP] < 5.0, await home.load()) == (MINI, True, 0.0)

    async with home.router(disk):
        again = await home.decided()
        assert (again.node, again.trends[MINI], again.out) == (before.node, before.trends[MINI], before.out)
        # The laptop joins anew and so reports at once; before, it had done so up to 300 s ago.
        assert before.trends[LAPTOP] - 1.0 <= again.trends[LAPTOP] <= before.trends[LAPTOP]

    async with home.router(empty):  # it is what was learned that decides
        assert (await home.decided()).node == LAPTOP

    async with home.router(disk):
        await until(month + TUESDAY_1130)
        in_a_break = await home.decided()
        assert in_a_break == Decided(MINI, {MINI: 10.0}, {LAPTOP: "availability"})
        assert await home.load() == 0.0
    async with home.router(disk):
        assert await home.decided() == in_a_break
    home.stop()
    for used in (disk, empty):
        used.throw_away()
