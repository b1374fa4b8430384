"""Processes that are killed while 50 streams run: what the others notice of it, and how everything comes back."""

import asyncio
import signal

import aiohttp
import pytest

from tests.e2e.battered import answered_by, reciter, status_until
from tests.e2e.house import BOTH, ONLY, House, question
from tests.e2e.listeners import Ending, all_broken_off, all_whole, listening
from tests.e2e.reciters import PIECE, SLOTS

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINK_LOST = "the link to the node was lost"

LONG = 150  # tokens: more than a second, and what has to happen before the end takes some milliseconds
ENDLESS = 1_000_000

# A killed agent is to be back in service 10 s after its restart. It takes one; the factor is for a machine that is busy
# with something else.
BACK_S = 10.0
PATIENCE_FACTOR = 3


async def test_the_death_of_an_agent_harms_no_stream_of_the_other_and_it_comes_back(battered: House) -> None:
    attic, cellar = reciter(battered, "attic"), reciter(battered, "cellar")
    async with (
        listening(battered, ONLY["attic"], SLOTS, tokens=ENDLESS) as dying,
        listening(battered, ONLY["cellar"], SLOTS, tokens=LONG) as living,
    ):
        await asyncio.gather(*(listener.heard(5) for listener in (*dying, *living)))
        assert (attic.fake.running, cellar.fake.running) == (SLOTS, SLOTS)
        await battered.agents["attic"].stop(signal.SIGKILL)
        assert {await answered_by(battered, BOTH) for _ in range(3)} == {"cellar"}
        await all_broken_off(dying, attic, LINK_LOST)
        await all_whole(living, cellar)
    waiting = asyncio.create_task(answered_by(battered, ONLY["attic"]))
    async with asyncio.timeout(BACK_S * PATIENCE_FACTOR):
        await battered.start_agent("attic")
        assert await waiting == "attic"


async def test_an_answer_that_is_inside_an_event_when_its_agent_dies_is_cut_off(battered: House) -> None:
    attic = reciter(battered, "attic")
    attic.gate.clear()
    recital = {"json": question(ONLY["attic"], stream=True), "headers": {"X-Recite": "10"}}
    async with battered.post("/api/chat", **recital) as answer:
        assert b"\n" not in await answer.content.readexactly(PIECE)
        await battered.agents["attic"].stop(signal.SIGKILL)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    attic.gate.set()
    await battered.start_agent("attic")


async def test_the_death_of_the_router_frees_the_model_servers_and_its_agents_find_the_next_one(
    battered: House,
) -> None:
    async with (
        listening(battered, ONLY["attic"], SLOTS, tokens=ENDLESS) as above,
        listening(battered, ONLY["cellar"], SLOTS, tokens=ENDLESS) as below,
    ):
        reciter(battered, "attic").gate.clear()  # its agent waits for bytes, the other's is sending some
        await battered.router.stop(signal.SIGKILL)
        assert {await listener.ended() for listener in (*above, *below)} == {Ending.CUT}
        for name, listeners in (("attic", above), ("cellar", below)):
            told = reciter(battered, name).told
            assert all(told[listener.id].startswith(listener.said) for listener in listeners)
            await reciter(battered, name).fake.until(lambda fake: not fake.running)
    reciter(battered, "attic").gate.set()
    for agent in battered.agents.values():
        agent.tell(signal.SIGSTOP)  # so that requests are there before them
    await battered.start_router()
    early = [asyncio.create_task(answered_by(battered, model)) for model in (*ONLY.values(), BOTH) for _ in range(10)]
    await status_until(battered, lambda status: status["totals"]["held"] == len(early))
    for agent in battered.agents.values():
        agent.tell(signal.SIGCONT)
    served = await asyncio.gather(*early)
    assert served[:20] == ["attic"] * 10 + ["cellar"] * 10
    assert set(served[20:]) <= set(ONLY)
