"""A router and agents in this process, over real sockets that nobody outside this machine can reach."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import herd
from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.fleet import RouterIdentity
from herd.actors.ports import Handler
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, running_router
from herd.actors.sensor_ports import MachineProbe
from herd.config import RouterSettings
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.net.http_server import AiohttpServer
from herd.net.link_client import LinkDialer
from herd.net.link_server import LinkServer
from herd.net.metrics import Metrics
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.types import BackendId, Bytes, NodeId, NodeName, RouterId, ScorerKind, Seconds

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def loopback_router(
    name: str, port: int = 0, scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS
) -> AsyncIterator[RunningRouter]:
    """A router that forgets everything at its end. Raises ConfigError when the port is taken; 0 picks a free one."""
    links = LinkServer(LOOPBACK, 0)
    options = RouterOptions(
        identity=RouterIdentity(RouterId(name), herd.__version__),
        seed=0,
        hold_timeout=Seconds(RouterSettings().hold_timeout),
        json_limit=Bytes(RouterSettings().json_limit),
        join_grace=Seconds(0.0),
        scorer=scorer,
    )
    http = AiohttpServer(LOOPBACK, port)
    ports = RouterPorts(SystemClock(), http, links, links, links, advertiser=None, meter=Metrics(links.traffic))
    async with running_router(options, ports) as router:
        yield router


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A model server on a free port; its URL. Connections are cut at the end."""
    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0))
    await server.start(handler)
    try:
        yield f"http://{LOOPBACK}:{server.port}"
    finally:
        await server.stop()


@asynccontextmanager
async def loopback_agent(
    name: str,
    base_url: str,
    router_url: str,
    servers: AiohttpServers,
    probe: MachineProbe,
    *,
    parallel: int | None = None,
) -> AsyncIterator[None]:
    """An agent for one model server.

    Args:
        name: of its node.
        base_url: of the model server.
        router_url: where the router is.
        servers: the HTTP client.
        probe: the machine's sensors.
        parallel: requests that a model runs at once; None for what the server declares.
    """
    node = NodeId(name)
    hello = Hello(PROTOCOL_VERSIONS, node, NodeName(name), herd.__version__, machine=probe.machine())
    backend = BackendSettings(BackendId("loopback"), base_url, parallel)
    options = AgentOptions(hello, (backend,), router_url=router_url, grace=Seconds(0.0))
    ports = AgentPorts(servers, LinkDialer(servers), None, probe, joined=lambda _: None, clock=SystemClock())
    async with running_agent(options, ports):
        yield
