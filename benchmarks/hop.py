"""The yardstick: one pass-through hop of aiohttp, as bare and as good as it gets without leaving aiohttp.

    python -m benchmarks.hop BACKEND_PORT

prints its port and serves until it is ended. The low-level server (no routing, no middlewares), one client session
without limits, bytes streamed both ways as they come, uvloop, no log.
"""

import asyncio
import sys
from collections.abc import Mapping

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from benchmarks.backend import BACKLOG
from herd.cli.process import raise_file_limit

# RFC 9110, 7.6.1: they speak of one connection. Host names this hop, and is written anew for the next.
_HOP_BY_HOP = ("Connection", "Host", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade")


class Hop:
    """Hands every request to one server, and its answer back."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        async with self._session.request(
            request.method,
            URL(self._upstream + request.raw_path, encoded=True),
            headers=_passed(request.headers),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
            return response


def _passed(headers: Mapping[str, str]) -> CIMultiDict[str]:
    passed = CIMultiDict(headers)
    for name in _HOP_BY_HOP:
        passed.popall(name, None)
    return passed


async def serve(upstream_port: int) -> None:
    """Listen on a free port of loopback, say which, and serve for ever."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        server = web.Server(
            Hop(session, f"http://127.0.0.1:{upstream_port}"),
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
        )
        runner = web.ServerRunner(server)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=BACKLOG).start()
        print(f"port {runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(serve(int(sys.argv[1])))
