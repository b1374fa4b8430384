"""A house in which requests stop at a stage that a test chooses, and clients that leave in every way there is."""

import asyncio
import enum
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from herd.actors.ports import Headers, HttpRequest, Sink
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.store.database import DATABASE, Database
from herd.store.records import KnownNode
from herd.types import NodeId, NodeName, Seconds
from tests.e2e.house import LOOK_EVERY_S, House, models_listed, question
from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import PATIENCE_S, Programs

BOTH = "llama3.2:3b"  # on two machines
ALONE = "qwen3:8b"  # on one
NEVER_LOADED = "gemma3:4b"  # on a model server that takes the best part of an hour to load it
LOST = "qwen3:30b"  # on a machine that the router has met and that is not there


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's model servers, and how many requests of a model it runs at once."""

    servers: tuple[str, ...]
    limit: int


MACHINES = {"attic": Machine(("attic", "barn"), 1), "cellar": Machine(("cellar",), 2)}

# It takes some milliseconds; a bound for a machine that is busy with everything else, too.
NOTICED_S = 20.0
CLIENT_MARK = "X-Client"  # who asks, all the way to the model server

_SLOTH = 1e-3  # times the speed of a real machine
ENDLESS = 10**6  # tokens

# struct linger {on, 0 seconds}: close sends RST
_RESET = struct.pack("ii", 1, 0)


class Way(enum.StrEnum):
    """How a client goes away."""

    CLOSE = "close"
    RESET = "reset"
    HALF = "half-close"


class Point(enum.StrEnum):
    """Where a model server waits in the middle of its answer."""

    BEFORE_HEAD = "before the head"
    BEFORE_BODY = "before the first byte"
    MIDDLE = "mid-stream"
    BEFORE_END = "after the last byte, before the end"


class StagedServer(ModelServer):
    """A model server whose answers wait at a point, when told to, and that keeps what it said to whom.

    Attributes:
        hold_at: where answers wait from now on.
        reached: set when one does.
        said: the bytes of each answer's body, by the client's mark.
    """

    def __init__(self, name: str, models: tuple[str, ...], speed: float = 200.0) -> None:
        super().__init__(name, models)
        profile = replace(PROFILES["mac-studio"], name=name).faster(speed)
        self.fake = FakeOllama(profile, [CATALOG[model] for model in models], num_parallel=4)
        self.hold_at: Point | None = None
        self.reached = asyncio.Event()
        self.said: dict[str, bytes] = {}

    def hold(self, point: Point) -> None:
        self.hold_at = point
        self.reached.clear()

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        if request.method == "GET":  # what the agent wants to know for itself
            await self.fake.handle(request, sink)
        else:
            await self.fake.handle(request, _Staged(sink, self, _mark(request.headers)))


class _Staged:
    """A sink that stops where its server says."""

    def __init__(self, sink: Sink, server: StagedServer, mark: str) -> None:
        self._sink = sink
        self._server = server
        self._mark = mark
        self._writes = 0

    @property
    def started(self) -> bool:
        return self._sink.started

    async def start(self, status: int, headers: Headers) -> None:
        await self._pass(Point.BEFORE_HEAD)
        await self._sink.start(status, headers)

    async def write(self, data: bytes) -> None:
        self._writes += 1
        if self._writes == 1:
            await self._pass(Point.BEFORE_BODY)
        if self._writes == 3:
            await self._pass(Point.MIDDLE)
        await self._sink.write(data)
        self._server.said[self._mark] = self._server.said.get(self._mark, b"") + data

    async def finish(self) -> None:
        await self._pass(Point.BEFORE_END)
        await self._sink.finish()

    def abort(self) -> None:
        self._sink.abort()

    async def _pass(self, point: Point) -> None:
        if self._server.hold_at is point:
            self._server.reached.set()
            await asyncio.get_running_loop().create_future()  # until the client is gone


def _mark(headers: Headers) -> str:
    return next((value for name, value in headers if name.lower() == CLIENT_MARK.lower()), "")


class SmallHouse(House):
    """A house whose machines run few requests of a model at once, and of which one has two model servers."""

    staged: Mapping[str, StagedServer]

    async def start_agent(self, name: str) -> None:
        backends = [f"--backend-url={self.staged[server].url}" for server in MACHINES[name].servers]
        words = ("--router-url", self.url, "--no-mdns", "--name", name, "--data-dir", name, *backends)
        limit = str(MACHINES[name].limit)
        self.agents[name] = await self.programs.herd_node(*words, "--parallel", limit, name=name)
        await self.agents[name].says("joined router")

    async def totals(self) -> dict[str, int]:
        """Requests by what they are at: `held`, `waiting`, `running`."""
        totals = (await self.get("/herd/v1/status"))["totals"]
        return {key: totals[key] for key in ("held", "waiting", "running")}

    async def until_totals(self, **wanted: int) -> None:
        """Wait until so many requests are held, waiting or running. The router has no event for it."""
        async with asyncio.timeout(PATIENCE_S):
            while not wanted.items() <= (await self.totals()).items():  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(LOOK_EVERY_S)

    async def nothing_is_out(self) -> None:
        """Wait until every lease is back and no queue has anybody waiting; then each model serves again, at once."""
        async with asyncio.timeout(NOTICED_S):
            await self.until_totals(held=0, waiting=0, running=0)
            queues = (await self.get("/herd/v1/status"))["queues"]
        assert [queue for queue in queues if queue["running"] or queue["waiting"]] == []
        for server in self.staged.values():
            server.hold_at = None
        for model in (ALONE, BOTH):
            async with asyncio.timeout(PATIENCE_S), self.chat(model, stream=False, tokens=1) as answer:
                assert answer.status == 200, await answer.text()
                assert (
                    int(answer.headers["X-Herd-Queue-Ms"]) < 1000
                )  # nobody holds the lease; a busy machine may take a while


class Client:
    """A client that speaks HTTP by hand, so that it can go away as it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self.heard = b""

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def hears(self, words: bytes, times: int = 1) -> None:
        """Read until the answer holds these words so many times; EOFError when it ends before."""
        while self.heard.count(words) < times:
            data = await self._loop.sock_recv(self._sock, 65536)
            if not data:
                raise EOFError(self.heard)
            self.heard += data

    async def rest(self) -> bytes:
        """All that still comes until the router closes."""
        rest = b""
        try:
            while data := await self._loop.sock_recv(self._sock, 65536):
                rest += data
        except ConnectionError:
            pass  # a close with a reset is a close
        return rest

    def hang_up(self, way: Way) -> None:
        if way is Way.HALF:
            self._sock.shutdown(socket.SHUT_WR)
            return
        if way is Way.RESET:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._sock.close()


def request(path: str, model: str, *, mark: str = "", tokens: int = ENDLESS, **fields: Any) -> bytes:
    """A whole request, for an answer of so many tokens."""
    body = json.dumps(question(model, tokens=tokens, **fields)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{CLIENT_MARK}: {mark}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@asynccontextmanager
async def client(house: House) -> AsyncIterator[Client]:
    with closing(socket.socket()) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (LOOPBACK, house.router_port))
        yield Client(sock)


@asynccontextmanager
async def small_house(home: Path) -> AsyncIterator[SmallHouse]:
    """A router, and machines with small limits. The server `barn` never has its model loaded; one machine is gone."""
    staged = {
        "attic": StagedServer("attic", (BOTH, ALONE)),
        "cellar": StagedServer("cellar", (BOTH,)),
        "barn": StagedServer("barn", (NEVER_LOADED,), _SLOTH),
    }
    (home / "router").mkdir()
    with closing(Database(home / "router" / DATABASE)) as database:
        database.save([KnownNode(NodeId("gone"), NodeName("gone"), (LOST,), Seconds(time.time()))])
    async with Programs(home) as programs, aiohttp.ClientSession() as session:
        for server in staged.values():
            await server.start()
        try:
            house = SmallHouse(programs, staged, session)
            house.staged = staged
            await house.start_router()
            await asyncio.gather(*(house.start_agent(name) for name in MACHINES))
            await models_listed(session, house.url, (BOTH, ALONE, NEVER_LOADED))
            yield house
        finally:
            for server in staged.values():
                await server.stop()
