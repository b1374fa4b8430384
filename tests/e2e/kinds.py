"""A house with every kind of model: two machines, each with an Ollama, and different things beside it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.e2e.house import House, models_listed
from tests.e2e.media_servers import EDITS, PICTURES, SPEECH, MediaServer
from tests.e2e.model_servers import ModelServer
from tests.e2e.processes import Programs

VECTORS = "nomic-embed-text:latest"
SEES = "gemma3:4b"
CHATS = "llama3.2:3b"
SPOKEN = "whisper-1"
DRAWN = "sd-cpp-local"
PAINTED = "z-image-turbo"

_CLIENT = aiohttp.ClientTimeout(total=50)


class KindsHouse(House):
    """A router, and two machines.

    Attributes:
        ollamas: by the name of the machine.
        listener: the server of speech, on `attic`.
        painter: the server of pictures, there too.
    """

    ollamas: dict[str, ModelServer]
    listener: MediaServer
    painter: MediaServer


@asynccontextmanager
async def kinds_house(home: Path) -> AsyncIterator[KindsHouse]:
    """All of it runs, and the router knows every model."""
    async with AsyncExitStack() as stack:
        programs = await stack.enter_async_context(Programs(home))
        client = await stack.enter_async_context(aiohttp.ClientSession(timeout=_CLIENT))
        house = KindsHouse(programs, {}, client)
        house.ollamas = {"attic": ModelServer("attic", (SEES, VECTORS)), "cellar": ModelServer("cellar", (CHATS,))}
        house.listener = MediaServer((SPOKEN,), (SPEECH,))
        house.painter = MediaServer((DRAWN, PAINTED), (PICTURES, EDITS))
        servers: list[ModelServer | MediaServer] = [*house.ollamas.values(), house.listener, house.painter]
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        await house.start_router()
        beside = (house.ollamas["attic"].url, house.listener.url, house.painter.url)
        await house.start_agent_beside("attic", *beside)
        await house.start_agent_beside("cellar", house.ollamas["cellar"].url)
        await models_listed(client, house.url, (SEES, VECTORS, CHATS, SPOKEN, DRAWN, PAINTED))
        yield house
