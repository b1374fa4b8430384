"""A stand-in for an OpenTelemetry collector: takes OTLP over HTTP, and remembers the spans."""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.e2e.processes import PATIENCE_S


class Collector:
    """Takes traces at a free port of this machine, in the protocol's own encoding.

    Attributes:
        spans: all that came, as the protocol has them.
        resource: what was said of whoever sent them.
        away: 503 is what it answers.
        gate: answers wait at it; open unless a test closes it.
        batches: that were sent to it, whatever it answered.
    """

    def __init__(self, request_of: Callable[[], Any]) -> None:
        self.spans: list[Any] = []
        self.resource: dict[str, Any] = {}
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self._request_of = request_of
        self._news = asyncio.Event()
        self.batches = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._port or site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        self.gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def asked(self, times: int) -> None:
        """Wait until so many batches have come, whatever was answered."""
        await self._until(lambda: self.batches >= times)

    async def trace_of(self, request_id: str) -> dict[str, Any]:
        """The spans of a request's trace by name, once its own is there."""

        def found() -> list[Any]:
            return [span for span in self.spans if attributes(span).get("herd.request_id") == request_id]

        await self._until(lambda: bool(found()))
        [root] = found()
        return {span.name: span for span in self.spans if span.trace_id == root.trace_id}

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.batches += 1
        self._news.set()
        await self.gate.wait()
        if self.away:
            return web.Response(status=503)
        message = self._request_of()
        message.ParseFromString(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)
        for resource in message.resource_spans:
            self.resource = attributes(resource.resource)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        self._news.set()
        return web.Response(content_type="application/x-protobuf")


def attributes(span: Any) -> dict[str, Any]:
    """What is said of a span, or of a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}
