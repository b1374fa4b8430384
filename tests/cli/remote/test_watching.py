"""Watching a router: its events as they come, and what a person is told where there are none."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from herd.cli.remote import watching
from herd.cli.remote.watching import watched
from herd.errors import HerdError, StreamFailed
from herd.net.http_client import AiohttpServers
from herd.protocols.live import Topic

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def router(answer: Answer) -> AsyncIterator[tuple[AiohttpServers, str]]:
    """A client, and the URL of something that answers so at `/herd/v1/events`."""
    application = web.Application()
    application.router.add_get("/herd/v1/events", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with AiohttpServers() as servers:
            yield servers, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def streaming(*pieces: bytes, ends: bool = True) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.query_string == "topics=status,log"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if not ends:
            await asyncio.Event().wait()
        return response

    return answer


async def seen(answer: Answer) -> list[tuple[Topic, object]]:
    async with router(answer) as (servers, url):
        return [event async for event in watched(servers, url, (Topic.STATUS, Topic.LOG))]


async def test_events_come_with_their_topics_and_others_are_passed_over() -> None:
    pieces = (b": here\n\neven", b't: status\ndata: {"a":1}\n\nevent: weather\ndata: 1\n\nevent: log\ndata: [2]\n\n')
    assert await seen(streaming(*pieces)) == [(Topic.STATUS, {"a": 1}), (Topic.LOG, [2])]


async def test_a_refusal_is_in_the_routers_own_words() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.json_response({"error": "this router has keys"}, status=401)

    with pytest.raises(HerdError, match=r"^this router has keys$"):
        await seen(refuse)


async def test_who_is_no_router_is_told_apart() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=404, text="404 page not found")

    with pytest.raises(HerdError, match=r"does not answer this as a router does \(404\): is it of another version"):
        await seen(answer)


async def test_events_that_are_no_json_are_no_routers() -> None:
    with pytest.raises(HerdError, match="is no JSON"):
        await seen(streaming(b"event: status\ndata: {\n\n"))


async def test_a_router_that_falls_silent_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SILENT_S", 0.05)
    with pytest.raises(StreamFailed, match="has said nothing"):
        await seen(streaming(b": here\n\n", ends=False))


async def test_a_router_that_is_not_there_is_said_to_be_so() -> None:
    async with router(streaming()) as (servers, url):
        pass
    async with AiohttpServers() as servers:
        with pytest.raises(StreamFailed, match="no connection"):
            await anext(aiter(watched(servers, url, (Topic.STATUS,))))
