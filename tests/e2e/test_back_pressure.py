"""Who does not read makes the one who sends wait, over both hops, and costs nobody else anything."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import psutil
import pytest
import pytest_asyncio

from herd.actors.ports import HttpRequest, Sink
from herd.protocols.credit import MAX_WINDOW
from herd.protocols.headers import value_of
from herd.types import KiB, MiB
from tests.e2e.house import ONLY, House, question, running_house
from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import Program

pytestmark = pytest.mark.asyncio(loop_scope="module")

LINE = b'{"message":{"content":"' + b"x" * (64 * KiB - 27) + b'"}}\n'
# What two hops of sockets may hold for one slow client: the system lets each of them grow to some MiB in either
# direction. An answer without end would be beyond it in a moment.
SOCKETS = 24 * MiB
# What a process may grow by in a test whatever it does: code that runs for the first time, pools, fragments.
SLACK = 24 * MiB


class OddServer(ModelServer):
    """An Ollama that obeys the header `X-Odd`.

    `pour N`: answers with N lines of 64 KiB, or without end. `deaf`: does not read the request until `hearing` is set.

    Attributes:
        poured: bytes of answers that it got rid of.
        held: requests that it does not read.
    """

    def __init__(self, name: str, models: Sequence[str]) -> None:
        super().__init__(name, models)
        self.poured = self.held = 0
        self.hearing = asyncio.Event()

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        odd, _, count = value_of(request.headers, "x-odd").partition(" ")
        if odd == "pour":
            await self._pour(sink, int(count or 10**9))
        elif odd == "deaf":
            self.held += 1
            await self.hearing.wait()
            await sink.start(200, ())
            await sink.finish()
        else:
            await super()._handle(request, sink)

    async def _pour(self, sink: Sink, lines: int) -> None:
        await sink.start(200, (("Content-Type", "application/x-ndjson"),))
        for _ in range(lines):
            await sink.write(LINE)
            self.poured += len(LINE)
        await sink.write(b'{"done":true}\n')
        await sink.finish()


@pytest_asyncio.fixture(name="house", scope="module", loop_scope="module")
async def house_with_odd_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with running_house(tmp_path_factory.mktemp("odd"), OddServer, ("--parallel", "256")) as house:
        yield house


@pytest.fixture(name="server")
def odd_server(house: House) -> OddServer:
    """The model server of the attic, with nothing poured yet."""
    server = house.servers["attic"]
    assert isinstance(server, OddServer)
    server.poured = server.held = 0
    return server


async def tokens_flow(house: House) -> None:
    """One whole stream of tokens from the machine that has the trouble."""
    async with house.chat(ONLY["attic"], tokens=20) as answer:
        assert (answer.status, answer.headers["X-Herd-Node"]) == (200, "attic")
        assert len((await answer.read()).splitlines()) == 21


async def at_rest(house: House, server: OddServer) -> int:
    """Wait until the server gets rid of nothing more while others are served; what it got rid of."""
    while True:
        before = server.poured
        for _ in range(5):
            await tokens_flow(house)
        if server.poured == before:
            return before


def memory(program: Program) -> int:
    """Bytes that a process holds in memory."""
    return int(psutil.Process(program.process.pid).memory_info().rss)


def upload(size: int) -> io.BytesIO:
    """A question with so many bytes that no model server looks at."""
    return io.BytesIO(json.dumps(question(ONLY["attic"], stream=False, x="x" * size)).encode())


@asynccontextmanager
async def slow_client(house: House) -> AsyncIterator[socket.socket]:
    """Asks for an answer without end; nothing of it is read but what the test reads."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KiB)
        sock.setblocking(False)
        await loop.sock_connect(sock, (LOOPBACK, house.router_port))
        body = f'{{"model":"{ONLY["attic"]}","messages":[]}}'.encode()
        head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nX-Odd: pour\r\nContent-Length: %d\r\n\r\n" % len(body)
        await loop.sock_sendall(sock, head + body)
        assert await loop.sock_recv(sock, 1) == b"H"
        yield sock


async def test_a_client_that_reads_a_byte_now_and_then_holds_the_model_server_back(
    house: House, server: OddServer
) -> None:
    router, agent = memory(house.router), memory(house.agents["attic"])
    async with slow_client(house) as client:
        assert await at_rest(house, server) <= SOCKETS
        for _ in range(10):
            await asyncio.get_running_loop().sock_recv(client, 1)
            await tokens_flow(house)
        assert await at_rest(house, server) <= SOCKETS  # a few bytes make no more room than there was
        assert memory(house.router) <= router + SLACK
        assert memory(house.agents["attic"]) <= agent + SLACK
    await server.fake.until(lambda fake: fake.running == 0)


@pytest.mark.slow  # a hundred answers without end fill a hundred times all buffers
async def test_a_hundred_slow_clients_cost_their_windows_and_nobody_else(house: House, server: OddServer) -> None:
    router, agent = memory(house.router), memory(house.agents["attic"])
    async with AsyncExitStack() as stack:
        for _ in range(100):
            await stack.enter_async_context(slow_client(house))
        assert await at_rest(house, server) <= 100 * SOCKETS
        # The link's own window is not eaten up: a stream that is read gets through, well beyond it.
        async with house.post("/api/chat", json=question(ONLY["attic"]), headers={"X-Odd": "pour 1000"}) as answer:
            assert len(await answer.read()) == 1000 * len(LINE) + len(b'{"done":true}\n')
        # As much again is in the buffers of aiohttp and the loop, and an allocator takes twice what it gives.
        windows = 100 * 4 * MAX_WINDOW
        assert memory(house.router) <= router + windows + SLACK
        assert memory(house.agents["attic"]) <= agent + windows + SLACK


async def test_a_model_server_that_does_not_read_makes_the_sender_wait_and_nobody_else(
    house: House, server: OddServer
) -> None:
    router, agent = memory(house.router), memory(house.agents["attic"])

    async def ask() -> None:
        async with house.post("/api/chat", data=upload(48 * MiB), headers={"X-Odd": "deaf"}):
            raise AssertionError("it answered what it never read")

    asking = asyncio.create_task(ask())
    try:
        while not server.held:
            assert not asking.done()
            await tokens_flow(house)
        for _ in range(20):
            await tokens_flow(house)
        assert memory(house.router) <= router + SLACK  # the body lies in a file
        assert memory(house.agents["attic"]) <= agent + SLACK
    finally:
        asking.cancel()
        await asyncio.wait([asking])
        server.hearing.set()


@pytest.mark.slow  # a gigabyte, over both hops
async def test_a_gigabyte_of_uploads_passes_beside_streams_of_tokens(house: House, server: OddServer) -> None:
    router, agent = memory(house.router), memory(house.agents["attic"])

    body = upload(100 * MiB).getvalue()

    async def ask() -> None:
        async with house.post("/api/chat", data=io.BytesIO(body)) as answer:
            assert answer.status == 200
            await answer.read()

    for _ in range(10):
        asking = asyncio.create_task(ask())
        while not asking.done():
            await tokens_flow(house)
        await asking
    assert memory(house.router) <= router + 128 * MiB  # the file is mapped while its keys are read
    assert memory(house.agents["attic"]) <= agent + SLACK
