"""One URL for four kinds of models: each request goes to the machine that can do what it asks for.

    python examples/kinds.py

A router and two agents in this process, each beside a simulated Ollama: `den` has a model that sees and one that makes
vectors, `mini` one that draws and one that hears. The requests are those of docs/multimodal.md.
"""

import asyncio
import base64
import io
import wave
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from herd.cli.loopback import LOOPBACK, loopback_agent, loopback_router, served
from herd.cli.talk import wait_for_models
from herd.net.http_client import AiohttpServers
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG, SimulatedModel
from herd.simulation.machine.media import MEDIA
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama

SEES, VECTORS = "gemma3:4b", "nomic-embed-text:latest"
DRAWS, HEARS = "x/z-image-turbo:latest", "gemma4:e2b"

# What each machine has, and its Ollama's version: of those that hear, 0.32.5 is the last that also draws.
MACHINES: dict[str, tuple[str, Iterable[SimulatedModel]]] = {
    "den": ("0.33.0", (CATALOG[SEES], CATALOG[VECTORS])),
    "mini": ("0.32.5", (MEDIA[DRAWS], MEDIA[HEARS])),
}
SPEED = 1_000.0  # times that of a real machine: nobody wants to wait for a picture


def silence() -> bytes:
    """A second of it, as a WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    return file.getvalue()


async def asked(client: aiohttp.ClientSession, path: str, **body: Any) -> bytes:
    """Ask, and say who answered."""
    async with client.post(path, **body) as answer:
        data = await answer.read()
        assert answer.status == 200, data
        print(f"{path}: {answer.headers['X-Herd-Model']} on {answer.headers['X-Herd-Node']}, {len(data)} bytes")
        return data


async def ask_everything(client: aiohttp.ClientSession) -> None:
    """One request of each kind; what was drawn is looked at."""
    picture = await asked(
        client,
        "/api/generate-image",
        json={"model": DRAWS, "prompt": "a lighthouse at dawn", "width": 256, "height": 256, "steps": 4},
    )
    message = {"role": "user", "content": "What is this?", "images": [base64.b64encode(picture).decode()]}
    await asked(client, "/api/chat", json={"model": SEES, "messages": [message], "stream": False})
    await asked(client, "/api/embed", json={"model": VECTORS, "input": ["The sky is blue.", "Grass is green."]})
    form = aiohttp.FormData({"model": HEARS})
    form.add_field("file", silence(), filename="speech.wav")
    await asked(client, "/v1/audio/transcriptions", data=form)


async def main() -> None:
    """Start everything, ask, and stop it again."""
    profile = PROFILES["mac-studio"].faster(SPEED)
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(loopback_router("kinds"))
        url = f"http://{LOOPBACK}:{router.http_port}"
        servers = await stack.enter_async_context(AiohttpServers())
        for name, (version, models) in MACHINES.items():
            ollama = FakeOllama(profile, models, version=version)
            beside = await stack.enter_async_context(served(ollama.handle))
            machine = IdleMachine(PROFILES["mac-studio"], ollama)
            await stack.enter_async_context(loopback_agent(name, beside, url, servers, machine))
        await wait_for_models(servers, url, {SEES, VECTORS, DRAWS, HEARS})
        await ask_everything(await stack.enter_async_context(aiohttp.ClientSession(url)))


if __name__ == "__main__":
    asyncio.run(main())
