"""A model server's disk on which models come and go: what is not on the shelf the server neither lists nor serves.

Nor does it say when models in memory expire.
"""

import json
from collections.abc import Iterable
from typing import Any

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.simulation.http import call
from herd.types import Bytes, MiB

_LISTS = ("/api/tags", "/api/ps")
_INFERENCE = ("/api/chat", "/api/generate", "/v1/chat/completions")
_LONGEST = Bytes(16 * MiB)  # of a request in a simulation


class Shelf:
    """Stands before a fake server that has every model, and hides some.

    Args:
        server: the fake server.
        missing: models that are not there at first.
    """

    def __init__(self, server: Handler, missing: Iterable[str]) -> None:
        self._server = server
        self._missing = dict.fromkeys(missing)

    def take_away(self, model: str) -> None:
        """The model is deleted: what runs of it ends normally."""
        self._missing[model] = None

    def put_back(self, model: str) -> None:
        """The model is pulled."""
        self._missing.pop(model, None)

    async def handle(self, request: HttpRequest, sink: Sink) -> None:
        """The `Handler` of a server that has what is on the shelf."""
        if request.path in _LISTS:
            await _send(sink, 200, await self._listed(request.path))
            return
        if self._missing and request.path in _INFERENCE:
            body = await request.read_body(_LONGEST)
            model = await body.examine(_model_in)
            if model in self._missing:
                await _send(sink, 404, _not_found(request.path, model))
                return
        await self._server(request, sink)

    async def _listed(self, path: str) -> dict[str, Any]:
        answer = (await call(self._server, "GET", path)).json
        models = [model for model in answer["models"] if model["name"] not in self._missing]
        for model in models:
            # They are by the wall clock. When that is set they change, which is reported at once: one message more, and
            # timers that go off at the same moment do so in another order. So nothing could be compared.
            model.pop("expires_at", None)
        return {"models": models}


def _model_in(data: bytes | memoryview) -> str:
    """The model that a request is for."""
    return str(json.loads(bytes(data)).get("model"))


def _not_found(path: str, model: str) -> dict[str, Any]:
    text = f"model '{model}' not found"
    if path.startswith("/v1/"):
        return {"error": {"message": text, "type": "not_found_error", "param": None, "code": None}}
    return {"error": text}


async def _send(sink: Sink, status: int, value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    headers = (("Content-Type", "application/json; charset=utf-8"), ("Content-Length", str(len(body))))
    await sink.start(status, headers)
    await sink.write(body)
    await sink.finish()
