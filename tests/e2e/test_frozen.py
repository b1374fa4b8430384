"""Processes that stand still and keep every connection open: SIGSTOP, and SIGCONT much later."""

import asyncio
import json
import signal
import sys

import psutil
import pytest

from herd.types import MiB
from tests.e2e.battered import answered_by, node_until, reciter, status_until, warm
from tests.e2e.house import BOTH, ONLY, House, question
from tests.e2e.listeners import END_WITHIN_S, all_broken_off, all_whole, listening
from tests.e2e.processes import Program
from tests.e2e.reciters import fingerprint, stopped_taking

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = 1_000_000

LINES = 2000  # 94 MiB: the buffers of the system between a model server and a client take some 30 MiB
# What the router may hold for a client that does not read is its window and its sink: well under 1 MiB. The rest is
# for what an allocator does not give back.
SOME_MEMORY = 24 * MiB


async def frozen_reader(house: House, lines: int) -> Program:
    """A client process that has begun to read a long answer, and stands still (`readers`)."""
    headers = json.dumps({"X-Recite": str(lines)})
    body = json.dumps(question(ONLY["attic"], stream=True))
    words = [sys.executable, "-m", "tests.e2e.readers", f"{house.url}/api/chat", body, headers]
    reader = await house.programs.start("reader", words)
    await reader.says("begun")
    return reader


@pytest.mark.slow
async def test_a_frozen_client_delays_nobody_costs_little_and_loses_nothing(battered: House) -> None:
    attic = reciter(battered, "attic")
    router = psutil.Process(battered.router.process.pid)
    size, digest = fingerprint(LINES)
    before = router.memory_info().rss
    attic.recited = 0
    reader = await frozen_reader(battered, LINES)
    async with listening(battered, ONLY["attic"], 10, tokens=100) as others:
        await all_whole(others, attic)
    await stopped_taking(attic)
    held = router.memory_info().rss - before
    assert attic.recited < size
    assert held < SOME_MEMORY, f"the router grew by {held / MiB:.1f} MiB"
    assert await answered_by(battered, ONLY["attic"]) == "attic"

    reader.tell(signal.SIGCONT)
    assert (await reader.says(r"read (\d+) (\w+)")).groups() == (str(size), digest)
    assert await reader.ended() == 0


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_frozen_agent_is_given_up_and_is_back_by_itself(battered: House) -> None:
    attic = reciter(battered, "attic")
    await warm(battered, "cellar", BOTH)
    async with (
        listening(battered, ONLY["attic"], 10, tokens=ENDLESS) as stuck,
        listening(battered, ONLY["cellar"], 10, tokens=50) as going,
    ):
        battered.agents["attic"].tell(signal.SIGSTOP)
        await all_whole(going, reciter(battered, "cellar"))
        await node_until(battered, "attic", "degraded")
        assert not any(stream.over for stream in stuck)
        assert {await answered_by(battered, BOTH) for _ in range(5)} == {"cellar"}
        await all_broken_off(stuck, attic, "nothing was heard from the node for 30 s")
        await node_until(battered, "attic", "offline")
        assert {await answered_by(battered, BOTH) for _ in range(5)} == {"cellar"}
    waiting = asyncio.create_task(answered_by(battered, ONLY["attic"]))
    await status_until(battered, lambda status: status["totals"]["held"] == 1)
    battered.agents["attic"].tell(signal.SIGCONT)
    assert await waiting == "attic"


@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_a_frozen_client_keeps_a_router_that_leaves_no_longer_than_its_grace(battered: House) -> None:
    attic = reciter(battered, "attic")
    reader = await frozen_reader(battered, LINES)
    await stopped_taking(attic)
    battered.router.tell(signal.SIGTERM)
    async with asyncio.timeout(END_WITHIN_S):
        await battered.router.process.wait()
    assert await battered.router.ended() == 0
    reader.tell(signal.SIGKILL)
    await battered.start_router()
