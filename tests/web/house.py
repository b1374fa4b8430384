"""A house for a browser: a router that can be started again, and simulated nodes beside it, all in this process."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import aiohttp

import herd
from herd.actors import names
from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, running_router
from herd.cli.loopback import LOOPBACK, served
from herd.cli.talk import wait_for_models
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.net.http_server import AiohttpServer
from herd.net.link_client import LinkDialer
from herd.net.link_server import LinkServer
from herd.protocols.access import Access
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.runtime import get_actor
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, Bytes, MiB, NodeId, NodeName, RouterId, Seconds

SPEED = 200.0
LLAMA = "llama3.2:3b"
NUMBERS = count(1)


class House:
    """The router and what is around it."""

    def __init__(self, access: Access) -> None:
        self._id = RouterId(f"web-{next(NUMBERS)}")  # two routers of one process are not called the same
        self._access = access
        self._running = AsyncExitStack()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start the router; after a `stop`, at the same port as before."""
        links = LinkServer(LOOPBACK, 0)
        identity = RouterIdentity(self._id, herd.__version__)
        options = RouterOptions(identity, 0, Seconds(30.0), Bytes(MiB), join_grace=Seconds(0.0), access=self._access)
        http = AiohttpServer(LOOPBACK, self.port, grace=Seconds(1.0))
        ports = RouterPorts(SystemClock(), http, links, links, links, advertiser=None)
        router = await self._running.enter_async_context(running_router(options, ports))
        self.port = router.http_port

    async def stop(self) -> None:
        """Stop the router."""
        await self._running.aclose()

    async def chat(self, model: str = LLAMA, **headers: str) -> None:
        """Ask a model something."""
        question = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": False}
        await self.post("/api/chat", question | {"options": {"num_predict": 5}}, **headers)

    def tell(self, text: str) -> None:
        """Something has happened."""
        happening = Happening(HappeningKind.JOINED, time.time(), "", "", text)
        get_actor(names.FEED, f"router-{self._id}").happened.tell(happening)

    async def post(self, path: str, body: Any = None, **headers: str) -> None:
        """POST what has to succeed."""
        url = self.url + path
        async with aiohttp.ClientSession(headers=headers) as client, client.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def web_house(disks: Mapping[str, Sequence[str]], access: Access | None = None) -> AsyncIterator[House]:
    """A house whose nodes have joined.

    Args:
        disks: names of the nodes, and the models that each has; those that no catalogue has are small.
        access: who may do what; None is a fresh start.
    """
    house = House(access or Access())
    async with AsyncExitStack() as stack:
        await house.start()
        stack.push_async_callback(house.stop)
        servers = await stack.enter_async_context(AiohttpServers())
        for name, disk in disks.items():
            profile = PROFILES["mac-studio"].faster(SPEED)
            models = [CATALOG.get(model) or replace(CATALOG[LLAMA], name=model) for model in disk]
            fake = FakeOllama(profile, models)
            base_url = await stack.enter_async_context(served(fake.handle))
            machine = IdleMachine(profile, fake)
            hello = Hello(PROTOCOL_VERSIONS, NodeId(f"node-{next(NUMBERS)}"), NodeName(name), machine=machine.machine())
            backends = (BackendSettings(BackendId("loopback"), base_url, None),)
            options = AgentOptions(hello, backends, router_url=house.url, grace=Seconds(0.0))
            ports = AgentPorts(servers, LinkDialer(servers), None, machine, lambda _: None, SystemClock())
            await stack.enter_async_context(running_agent(options, ports))
        if disks:
            await wait_for_models(servers, house.url, {model for disk in disks.values() for model in disk})
        yield house
