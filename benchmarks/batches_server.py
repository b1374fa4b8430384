"""A simulated Ollama on a socket, at its true speed.

    python -m benchmarks.batches_server NAME MODEL

prints its port and serves until it is ended. A vector takes next to no time to make up here: what the simulated machine
takes for it is waited for.
"""

import asyncio
import math
import sys
from dataclasses import replace

from herd.net.http_server import AiohttpServer
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Seconds


async def serve(name: str, model: str) -> None:
    """Listen on a free port of loopback, say which, and serve for ever."""
    profile = replace(PROFILES["mac-studio"], name=name)
    fake = FakeOllama(profile, [CATALOG[model]], keep_alive_s=math.inf)
    server = AiohttpServer("127.0.0.1", 0, grace=Seconds(0.0))
    await server.start(fake.handle)
    print(f"port {server.port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
