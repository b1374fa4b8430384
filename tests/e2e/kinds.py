"""A house with every kind of model: two machines, each with an Ollama, and different things beside it."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp

from tests.e2e.house import LOOK_EVERY_S, House, models_listed
from tests.e2e.media_servers import EDITS, PICTURES, SPEECH, MediaServer
from tests.e2e.model_servers import ModelServer
from tests.e2e.processes import PATIENCE_S, ROOT, Programs
from tests.net.tools.speech import cache_with
from tests.net.tools.weights import put_weights

VECTORS = "nomic-embed-text:latest"
SEES = "gemma3:4b"
CHATS = "llama3.2:3b"
SPOKEN = "whisper-1"
SPOKEN_ON_DEMAND = "qwen3-asr:0.6b"  # by a server that the agent starts when it is asked
SPOKEN_TWICE = "whisper-large-v3"  # on both machines
DRAWN = "flux1-kontext-dev"  # by a server
PAINTED = "schnell"  # by mflux
EITHER = "z-image-turbo"  # on both machines

_CLIENT = aiohttp.ClientTimeout(total=50)
_STAND_INS = ROOT / "tests" / "net" / "tools" / "stand_ins"


class Tools:
    """The commands of mflux and mlx-qwen3-asr as a machine has them: stand-ins that behave like them.

    Attributes:
        variables: with which an agent finds them.
    """

    def __init__(self, home: Path) -> None:
        cache, self._tells, self._holds = home / "hub", home / "tells", home / "holds"
        cache_with(home, "Qwen/Qwen3-ASR-0.6B")
        for model in (PAINTED, EITHER):
            put_weights(cache, model)
        os.mkfifo(self._tells)
        self._told = os.open(self._tells, os.O_RDWR | os.O_NONBLOCK)  # nobody who writes waits for a reader
        self.let_go()
        self.variables = {
            "PATH": f"{_STAND_INS}{os.pathsep}{os.environ['PATH']}",
            "HF_HUB_CACHE": str(cache),
            "MFLUX_TELLS": str(self._tells),
            "MFLUX_HOLDS": str(self._holds),
        }

    def hold(self) -> None:
        """From now on a run of mflux stops at its second step, for ever. Earlier runs are forgotten."""
        self._holds.unlink()
        os.mkfifo(self._holds)
        self._read()

    def let_go(self) -> None:
        """From now on a run of mflux goes through."""
        self._holds.unlink(missing_ok=True)
        self._holds.touch()  # there is nothing to wait for in a file

    async def runs(self) -> list[int]:
        """Wait for a run that is at its second step; its processes."""
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._told, readable.set)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await readable.wait()
        finally:
            loop.remove_reader(self._told)
        own, child, _words = json.loads(self._read().splitlines()[0])
        return [own, child]

    def close(self) -> None:
        os.close(self._told)

    def _read(self) -> bytes:
        try:
            return os.read(self._told, 2**16)
        except BlockingIOError:
            return b""


class KindsHouse(House):
    """A router, and two machines.

    Attributes:
        ollamas: by the name of the machine.
        listener: the server of speech, on `attic`.
        other_listener: one more, on `cellar`.
        painter: the server of pictures, there too.
        tools: the commands on `cellar`.
    """

    ollamas: dict[str, ModelServer]
    listener: MediaServer
    other_listener: MediaServer
    painter: MediaServer
    tools: Tools

    async def until_both_have(self, *models: str) -> None:
        """Wait until both machines have told that they have these models."""
        async with asyncio.timeout(PATIENCE_S):
            while True:  # the router is asked again and again, as by `models_listed`
                nodes = (await self.get("/herd/v1/status"))["nodes"]
                if all({each["name"] for each in node["models"]}.issuperset(models) for node in nodes):
                    return
                await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def kinds_house(home: Path) -> AsyncIterator[KindsHouse]:
    """All of it runs, and the router knows every model."""
    async with AsyncExitStack() as stack:
        programs = await stack.enter_async_context(Programs(home))
        client = await stack.enter_async_context(aiohttp.ClientSession(timeout=_CLIENT))
        house = KindsHouse(programs, {}, client)
        house.tools = Tools(home)
        stack.callback(house.tools.close)
        house.ollamas = {"attic": ModelServer("attic", (SEES, VECTORS)), "cellar": ModelServer("cellar", (CHATS,))}
        house.listener = MediaServer((SPOKEN, SPOKEN_TWICE), (SPEECH,))
        house.other_listener = MediaServer((SPOKEN_TWICE,), (SPEECH,))
        house.painter = MediaServer((DRAWN, EITHER), (PICTURES, EDITS))
        listeners = (house.listener, house.other_listener)
        servers: list[ModelServer | MediaServer] = [*house.ollamas.values(), *listeners, house.painter]
        for server in servers:
            await server.start()
            stack.push_async_callback(server.stop)
        await house.start_router()
        beside = (house.ollamas["attic"].url, house.listener.url, house.painter.url)
        await house.start_agent_beside("attic", *beside)
        there = (house.ollamas["cellar"].url, house.other_listener.url)
        await house.start_agent_beside("cellar", *there, variables=house.tools.variables)
        await models_listed(client, house.url, (SEES, VECTORS, CHATS, SPOKEN, SPOKEN_ON_DEMAND, DRAWN, PAINTED))
        await house.until_both_have(SPOKEN_TWICE, EITHER)
        yield house
