"""Fake Ollamas on real sockets, which remember what they were sent and can be held in the middle of an answer.

    python -m tests.e2e.model_servers NAME [MODEL ...]

serves one at Ollama's usual address, 127.0.0.1:11434, until its standard input closes.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from herd.actors.ports import Body, Headers, HttpRequest, Sink
from herd.actors.sinks import PassingSink
from herd.net.http_server import AiohttpServer
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, Seconds

LOOPBACK = "127.0.0.1"
OLLAMA_PORT = 11434

# Tests wait for events, not for tokens: whatever the machine takes a minute for shall take a moment.
SPEED = 200.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the model server got it."""

    method: str
    target: str  # path and query
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


class ModelServer:
    """A fake Ollama on a socket.

    Args:
        name: of the machine; each token it says carries it.
        models: what is on its disk.

    Attributes:
        fake: the Ollama.
        sent: the POSTs it got, in order.
        gate: answers wait at it after their first write; open unless a test closes it.
    """

    def __init__(self, name: str, models: Sequence[str]) -> None:
        profile = replace(PROFILES["mac-studio"], name=name).faster(SPEED)
        self.fake = FakeOllama(profile, [CATALOG[model] for model in models], num_parallel=4)
        self.sent: list[Sent] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0))

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self._server.port}"

    async def start(self, port: int = 0) -> None:
        """Listen; after a `stop`, at the same port as before."""
        self._server = AiohttpServer(LOOPBACK, port or self._server.port, grace=Seconds(0.0))
        await self._server.start(self._handle)

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        await self._server.stop()

    async def _handle(self, request: HttpRequest, sink: Sink) -> None:
        await self.fake.handle(_Watched(request, self.sent), _Gated(sink, self.gate))


class _Watched:
    """A request that is remembered once its body is read."""

    def __init__(self, request: HttpRequest, sent: list[Sent]) -> None:
        self._request = request
        self._sent = sent
        self.method, self.path, self.query = request.method, request.path, request.query
        self.headers, self.peer, self.size = request.headers, request.peer, request.size

    async def read_body(self, limit: Bytes, *, inflate: bool = False) -> Body:
        body = await self._request.read_body(limit, inflate=inflate)
        target = f"{self.path}?{self.query}" if self.query else self.path
        self._sent.append(Sent(self.method, target, self.headers, await body.examine(_copy)))
        return body

    def stream_body(self) -> AsyncGenerator[bytes]:
        return self._request.stream_body()


class _Gated(PassingSink):
    """A sink that lets one write through and holds the next until the gate is open."""

    def __init__(self, sink: Sink, gate: asyncio.Event) -> None:
        super().__init__(sink)
        self._gate = gate
        self._wrote = False

    async def write(self, data: bytes) -> None:
        if self._wrote:
            await self._gate.wait()
        self._wrote = True
        await super().write(data)


def _copy(data: bytes | memoryview) -> bytes:
    return bytes(data)


async def _main(name: str, models: Sequence[str]) -> None:
    server = ModelServer(name, models)
    await server.start(OLLAMA_PORT)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2:]))
