"""A model server with which something is wrong, as told by a scenario."""

import json
from collections.abc import Callable
from typing import Any

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.simulation.fleet.house import House, SimulatedNode
from herd.types import Bytes, MiB
from tests.scenarios.helpers import CHAT, LLAMA, now


class Trouble:
    """Stands before a model server, and answers chats in its place as long as something is wrong with it.

    Attributes:
        wrong: says by a request's text with which status it fails: 0 breaks the connection off, None lets it pass.
        asked: when chats came.
    """

    def __init__(self, wrong: Callable[[str], int | None] = lambda _: None) -> None:
        self.wrong = wrong
        self.asked: list[float] = []

    def around(self, server: Handler) -> Handler:
        async def handle(request: HttpRequest, sink: Sink) -> None:
            status: int | None = None
            if request.path == CHAT:
                self.asked.append(now())
                body = await request.read_body(Bytes(MiB))
                status = self.wrong(json.loads(await body.examine(bytes))["messages"][0]["content"])
            if status is None:
                await server(request, sink)
            elif status:
                await sink.start(status, (("Content-Type", "application/json"),))
                await sink.write(b'{"error":"in trouble"}')
                await sink.finish()

        return handle


async def add(home: House, name: str, trouble: Trouble, **options: Any) -> SimulatedNode:
    return await home.node(name, [LLAMA], resident=[LLAMA], around=trouble.around, **options)
