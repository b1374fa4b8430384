"""Nodes by the dozen, in a process of their own: agents with simulated machines and model servers.

    python -m benchmarks.crowd ROUTER_URL COUNT

says when all have joined and runs until it is ended.
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from herd.cli.loopback import loopback_agent, served
from herd.cli.process import raise_file_limit
from herd.net.http_client import AiohttpServers
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

# What is measured is the router: its nodes answer at once.
SPEED = 100_000.0
# As many as people have on a disk; all fit into the memory of the smallest machine.
DISK = ("llama3.2:3b", "llama3.2:1b", "gemma3:4b", "gemma3:1b", "qwen3:1.7b", "nomic-embed-text:latest")
ASKED_FOR = DISK[:2]


async def main(router_url: str, count: int) -> None:
    """Run them."""
    machines = [PROFILES[name] for name in ("mac-studio", "gaming-pc", "mini-pc")]
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(AiohttpServers())
        for number in range(count):
            machine = machines[number % len(machines)]
            fake = FakeOllama(machine.faster(SPEED), [CATALOG[model] for model in DISK])
            base_url = await stack.enter_async_context(served(fake.handle))
            name = f"{machine.name}-{number}"
            await stack.enter_async_context(
                loopback_agent(name, base_url, router_url, servers, IdleMachine(machine, fake), parallel=8)
            )
        print(f"{count} nodes run", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    raise_file_limit()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
