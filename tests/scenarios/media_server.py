"""A model server for pictures and speech in virtual time: it notes what it is asked, and answers as it is told."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from herd.actors.agent import AgentOptions, AgentPorts, running_agent
from herd.actors.backend import BackendSettings
from herd.actors.ports import Headers, HttpRequest, Sink
from herd.protocols.messages import PROTOCOL_VERSIONS, Hello
from herd.simulation.clock import LoopClock
from herd.simulation.fleet.house import House
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, Bytes, GiB, NodeId, NodeName, NodeState

JSON: Headers = (("Content-Type", "application/json"),)


@dataclass(slots=True)
class MediaServer:
    """Its `handle` is an HTTP handler.

    Args:
        models: that it lists.
        paths: the endpoints that it has.
    """

    models: Sequence[str]
    paths: Sequence[str]
    status: int = 200
    headers: Headers = JSON
    body: bytes = b'{"text": "hello"}'
    breaks_at: int | None = None  # bytes of the body after which the connection is cut
    asked: list[tuple[str, Headers, bytes]] = field(default_factory=list)  # path, headers and body of every request

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """Answer one request."""
        if request.path == "/v1/models":
            await self._say(sink, {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})
        elif request.path == "/openapi.json":
            await self._say(sink, {"paths": {path: {} for path in self.paths}})
        elif request.path in self.paths:
            body = await request.read_body(Bytes(4 * GiB))
            self.asked.append((request.path, request.headers, await body.examine(bytes)))
            await sink.start(self.status, self.headers)
            await sink.write(self.body[: self.breaks_at])
            if self.breaks_at is None:
                await sink.finish()
            else:
                sink.abort()
        else:
            await self._say(sink, {"detail": "Not Found"}, 404)

    async def _say(self, sink: Sink, answer: object, status: int = 200) -> None:
        await sink.start(status, JSON)
        await sink.write(json.dumps(answer).encode())
        await sink.finish()


@asynccontextmanager
async def media_node(home: House, name: str, server: MediaServer) -> AsyncIterator[None]:
    """A machine with such a server, which the router knows as ready until the block ends."""
    base_url = f"http://{name}:8000"
    home.servers.serve(base_url, server.handle)
    profile = PROFILES["mac-studio"]
    probe = IdleMachine(profile, FakeOllama(profile, []))
    hello = Hello(PROTOCOL_VERSIONS, NodeId(name), NodeName(name), "simulated", machine=probe.machine())
    options = AgentOptions(hello, (BackendSettings(BackendId("media"), base_url),), "http://router")
    ports = AgentPorts(home.servers, home.links, None, probe, joined=lambda _: None, clock=LoopClock())
    async with running_agent(options, ports):
        await home.until_node(name, NodeState.READY)
        yield
