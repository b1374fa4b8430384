"""Floods of connections and of bytes on the HTTP port: the router stays small, and serves whoever comes after."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest

from herd.net.bodies import SHARED_MEMORY
from herd.types import KiB, MiB
from tests.e2e.battered import all_given_back, status_until
from tests.e2e.hostile_cases import CHAT, CHUNKED, COMPLETIONS, GET, QUESTION, post, with_headers
from tests.e2e.house import ONLY, House, question
from tests.e2e.processes import PATIENCE_S, Program, Programs, command
from tests.net.http_house import RawClient, connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What aiohttp, the loop and the link hold of a request that passes, a few times over; of 200 MB it would be all.
PASSING = 48 * MiB
# Of an idle connection: objects of aiohttp's and the loop's, some 20 KiB.
IDLE = 64 * KiB


def memory(program: Program) -> int:
    """Bytes of a process's resident memory."""
    return int(psutil.Process(program.process.pid).memory_info().rss)


def descriptors(program: Program) -> int:
    return int(psutil.Process(program.process.pid).num_fds())


async def peak_of(program: Program, flood: AsyncIterator[None]) -> int:
    """The most memory that a process has while a flood comes in, looked at after each wave."""
    peak = memory(program)
    async for _ in flood:
        peak = max(peak, memory(program))
    return peak


async def waves(client: RawClient, head: bytes, wave: bytes, count: int, last: bytes) -> AsyncIterator[None]:
    """Send a head, so many waves, and the end."""
    client.send(head)
    for _ in range(count):
        client.send(wave)
        await client.writer.drain()
        yield
    client.send(last)
    await client.writer.drain()


@pytest.mark.slow
async def test_a_body_of_200_mb_is_served_from_a_file(house: House) -> None:
    opening, closing = QUESTION[:-1] + b',"picture":"', b'"}'
    wave = b"QUJD" * (MiB // 4)
    head = post(b"", length=len(opening) + 200 * MiB + len(closing))
    before = memory(house.router)
    async with connection(house.router_port) as client, connection(house.router_port) as other:
        peak = await peak_of(house.router, waves(client, head + opening, wave, 200, closing))
        assert (await other.ask(GET)).status == 200
        assert (await client.reply()).status == 200
    assert max(peak, memory(house.router)) - before < PASSING
    await all_given_back(house)


@pytest.mark.slow
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_a_body_of_300_mb_in_chunks_is_refused_at_the_limit_in_the_words_of_the_dialect(
    house: House, path: str
) -> None:
    wave = b"%x\r\n%b\r\n" % (MiB, bytes(MiB))
    before = memory(house.router)
    async with connection(house.router_port) as client:
        peak = await peak_of(house.router, waves(client, with_headers(b"", CHUNKED, path=path), wave, 300, b""))
        reply = await client.reply()
    assert peak - before < PASSING
    error = json.loads(reply.body)["error"]
    sentence = error if path == CHAT else error["message"]
    assert (reply.status, sentence) == (413, "request body too large: the limit is 268435456 bytes (herd --max-body)")


@pytest.mark.slow
async def test_the_bodies_of_400_requests_that_wait_share_the_memory_for_bodies(house: House) -> None:
    """Each is just short enough to be held in memory, and 400 MB would be."""
    server = house.servers["attic"]
    padded = question(ONLY["attic"], tokens=2, padding="x" * (MiB - 300))
    ask = post(json.dumps(padded).encode())
    before = memory(house.router)
    server.gate.clear()
    async with idle(house.router_port, 400) as clients:
        for client in clients:
            client.send(ask)
        await status_until(house, lambda status: status["totals"]["running"] + status["totals"]["waiting"] == 400)
        # As much again for what passes: pieces of bodies on their way to files, and what the allocator keeps of them.
        assert memory(house.router) - before < 2 * SHARED_MEMORY + PASSING
        server.gate.set()
        assert {(await client.reply()).status for client in clients} == {200}
    await all_given_back(house)


@asynccontextmanager
async def idle(port: int, count: int) -> AsyncIterator[list[RawClient]]:
    """So many connections that say nothing."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connection(port)) for _ in range(count)]


@pytest.mark.slow
async def test_2000_idle_connections_cost_little_and_disturb_nobody(house: House) -> None:
    before, open_before = memory(house.router), descriptors(house.router)
    async with idle(house.router_port, 2000):
        async with house.chat(stream=False) as answer:
            assert answer.status == 200
        assert memory(house.router) - before < 2000 * IDLE
    async with asyncio.timeout(PATIENCE_S):
        while descriptors(house.router) > open_before + 10:  # noqa: ASYNC110 - the router tells nobody
            await asyncio.sleep(0.01)
    await all_given_back(house)


@asynccontextmanager
async def small_router(programs: Programs, limits: str) -> AsyncIterator[tuple[Program, int]]:
    """A router alone, under limits that the shell sets."""
    words = command(
        "herd", "--host", "127.0.0.1", "--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", "small"
    )
    program = await programs.start("small", ["sh", "-c", f'{limits}; exec "$@"', "sh", *words])
    yield program, int((await program.says(r"is up: http://\S+:(\d+)"))[1])
    assert await program.stop() == 0


async def test_400_connections_to_a_router_with_256_file_descriptors_leave_room_for_what_must_be(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Who has a connection is served, who has none is told to come again, and the log says it once for each flood."""
    async with (
        asyncio.timeout(PATIENCE_S),
        Programs(tmp_path_factory.mktemp("small")) as programs,
        small_router(programs, "ulimit -n 256") as (router, port),
        connection(port) as neighbour,
    ):
        for _ in range(2):
            async with idle(port, 400) as clients:
                assert (await neighbour.ask(GET)).status == 200
                assert (await clients[-1].reply()).status == 503
                assert descriptors(router) < 256 - 30  # left to agents, the store, and files of long bodies
            while descriptors(router) > 60:  # noqa: ASYNC110 - the router tells nobody
                await asyncio.sleep(0.01)
            async with connection(port) as later:
                assert (await later.ask(GET)).status == 200
        told = [line for line in router.lines if "connections are open" in line]
        assert len(told) == 2
        assert len(router.lines) < 10


async def test_a_body_that_cannot_be_stored_is_refused_in_the_dialect_and_the_next_is_served(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A limit on the size of files stands for a full disk: both are an error of a write."""
    async with (
        asyncio.timeout(PATIENCE_S),
        Programs(tmp_path_factory.mktemp("full")) as programs,
        small_router(programs, "ulimit -f 2048") as (router, port),
        connection(port) as client,
    ):
        for path in (CHAT, COMPLETIONS):
            reply = await client.ask(post(bytes(8 * MiB), path=path))
            error = json.loads(reply.body)["error"]
            sentence = error if path == CHAT else error["message"]
            assert (reply.status, sentence) == (507, "the router cannot store this request body: File too large")
            assert reply.headers["x-request-id"]
            assert (await client.ask(GET)).status == 200
        assert [line for line in router.lines if "could not be stored" in line]
