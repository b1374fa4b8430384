"""A line between an agent and its router that keeps the router's end open when the agent's is gone."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from herd.actors.ports import HttpRequest, Sink
from herd.net.http_server import AiohttpServer
from herd.types import Seconds
from tests.e2e.house import House
from tests.e2e.model_servers import LOOPBACK

PIECE = 64 * 1024


class HeldLine:
    """A TCP relay. What the router says is taken to the end, also when there is no agent any more to hear it.

    Attributes:
        agent_gone: set once the agent's end was closed.
        router_gone: set once the router has closed its end.
    """

    def __init__(self, router_port: int) -> None:
        self._router_port = router_port
        self.agent_gone = asyncio.Event()
        self.router_gone = asyncio.Event()

    async def carry(self, agent: asyncio.StreamReader, to_agent: asyncio.StreamWriter) -> None:
        """Carry one connection until the router closes it."""
        router, to_router = await asyncio.open_connection(LOOPBACK, self._router_port)
        forth = asyncio.create_task(self._forth(agent, to_router))
        with contextlib.suppress(ConnectionError):
            while data := await router.read(PIECE):
                if not self.agent_gone.is_set():
                    to_agent.write(data)
        self.router_gone.set()
        forth.cancel()
        to_router.close()
        to_agent.close()

    async def _forth(self, agent: asyncio.StreamReader, to_router: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await agent.read(PIECE):
                to_router.write(data)
                await to_router.drain()
        self.agent_gone.set()


@asynccontextmanager
async def held_line(house: House) -> AsyncIterator[tuple[HeldLine, str]]:
    """The line, and the URL that an agent takes for the router's: it names the line in place of the link port."""
    info = await house.get("/herd/v1/info")
    line = HeldLine(info["link_port"])
    listener = await asyncio.start_server(line.carry, LOOPBACK, 0)
    body = json.dumps(info | {"link_port": listener.sockets[0].getsockname()[1]}).encode()

    async def tell(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, (("Content-Type", "application/json"), ("Content-Length", str(len(body)))))
        await sink.write(body)
        await sink.finish()

    door = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0))
    await door.start(tell)
    try:
        yield line, f"http://{LOOPBACK}:{door.port}"
    finally:
        await door.stop()
        listener.close()
        await listener.wait_closed()
