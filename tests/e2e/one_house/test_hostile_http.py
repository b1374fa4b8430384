"""Hostile bytes on the HTTP port of a router with two nodes: each gets its answer, and nobody else notices."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest

from herd.types import MiB
from tests.e2e.battered import all_given_back, status_until
from tests.e2e.hostile_cases import CASES, CHAT, COMPLETIONS, GET, QUESTION, Case, answers, post, sentence
from tests.e2e.hostile_forms import FORMS
from tests.e2e.house import ONLY, House, question
from tests.e2e.processes import PATIENCE_S
from tests.net.http_house import connection

pytestmark = pytest.mark.asyncio(loop_scope="package")

# No case sends more than 2 MB; what a hundred requests leave in the allocator's arenas is a few MiB. What fails to be
# bounded here would be the 100 MiB of the bomb, or more.
GROWTH = 64 * MiB


def memory(house: House) -> int:
    """Bytes of the router's resident memory."""
    return int(psutil.Process(house.router.process.pid).memory_info().rss)


@asynccontextmanager
async def others_served(house: House) -> AsyncIterator[None]:
    """Another client, on its own connection, is served before, meanwhile and afterwards; the memory is bounded."""
    async with asyncio.timeout(PATIENCE_S), connection(house.router_port) as neighbour:
        before = memory(house)
        assert (await neighbour.ask(post(QUESTION))).status == 200
        yield
        assert (await neighbour.ask(post(QUESTION))).status == 200
        assert memory(house) - before < GROWTH
    await all_given_back(house)


@pytest.mark.parametrize("case", [*CASES, *FORMS], ids=str)
async def test_whatever_comes_in_is_answered_or_let_go_and_others_are_served(house: House, case: Case) -> None:
    async with others_served(house), connection(house.router_port) as client:
        replies = await answers(client, case)
        assert tuple(reply.status for reply in replies) == case.statuses, case.why
        if case.error:
            assert case.error in sentence(replies[-1])
        if case.closes:
            assert await client.reader.read() == b"", case.why
        else:
            assert replies[-1].headers["x-request-id"]
            assert (await client.ask(GET)).status == 200
        assert all(b"Traceback" not in reply.body for reply in replies)
        assert not any("aiohttp" in reply.headers["server"] for reply in replies)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("padding", [0, 2 * MiB], ids=["parsed", "scanned"])
@pytest.mark.parametrize("first", ["model", "MODEL", "mo\\u0064el"])
async def test_of_two_models_the_node_gets_the_one_that_its_model_server_takes(
    house: House, path: str, padding: int, first: str
) -> None:
    """The last one, whatever their spelling. Else the node that was chosen for one is asked for the other."""
    rest = json.dumps(question(ONLY["cellar"], stream=False, padding="x" * padding))
    body = f'{{"{first}":"{ONLY["attic"]}",{rest[1:]}'.encode()
    async with connection(house.router_port) as client:
        reply = await client.ask(post(body, path=path))
    assert (reply.status, reply.headers["x-herd-node"]) == (200, "cellar")
    assert json.loads(reply.body)["model"] == ONLY["cellar"]


async def test_500_requests_of_which_no_answer_is_read_are_answered_in_turn(house: House) -> None:
    async with others_served(house), connection(house.router_port) as client:
        client.send(post(QUESTION) + GET * 499)
        async with others_served(house):
            pass
        replies = [await client.reply() for _ in range(500)]
        assert {reply.status for reply in replies} == {200}
        assert len({reply.headers["x-request-id"] for reply in replies}) == 500


async def test_clients_that_never_read_their_long_answers_hold_up_nobody_else(house: House) -> None:
    long = json.dumps(question(ONLY["attic"], tokens=10**6)).encode()
    async with others_served(house):
        async with AsyncExitStack() as stack:
            for _ in range(4):
                client = await stack.enter_async_context(connection(house.router_port))
                client.send(post(long))
            await status_until(house, lambda status: 4 in {q["running"] + q["waiting"] for q in status["queues"]})
            async with house.chat(ONLY["cellar"], stream=False) as answer:
                assert answer.status == 200
        await all_given_back(house)
