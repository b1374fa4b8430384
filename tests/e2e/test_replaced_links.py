"""An agent that is back while the router still believes in its old link: the new one counts, from the first moment."""

import asyncio
import signal

import pytest

from tests.e2e.battered import answered_by, reciter, status_until
from tests.e2e.held_line import held_line
from tests.e2e.house import ONLY, House
from tests.e2e.listeners import all_broken_off, listening
from tests.e2e.processes import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = ONLY["attic"]
ENDLESS = 1_000_000


async def test_a_new_link_of_the_same_agent_ends_the_old_one_and_its_streams(battered: House) -> None:
    attic = reciter(battered, "attic")
    await battered.agents["attic"].stop()
    async with held_line(battered) as (line, url), asyncio.timeout(PATIENCE_S):
        await battered.start_agent_at("attic", url)
        async with listening(battered, MODEL, 4, tokens=ENDLESS) as streams:
            await battered.agents["attic"].stop(signal.SIGKILL)
            await line.agent_gone.wait()
            # To the router nothing has happened: it sends this request into the void.
            lost = asyncio.create_task(answered_by(battered, MODEL))
            await status_until(battered, lambda status: status["totals"]["running"] == 5)
            assert not any(stream.over for stream in streams)

            await battered.start_agent("attic")
            assert await answered_by(battered, MODEL) == "attic"
            await all_broken_off(streams, attic, "the same node has connected anew")
        assert await lost == "attic"
        # The end of the old link comes after the begin of the new one, and is nothing to it.
        await line.router_gone.wait()
        assert await answered_by(battered, MODEL) == "attic"
    assert [node["state"] for node in (await battered.get("/herd/v1/status"))["nodes"]] == ["ready", "ready"]
