import asyncio
from collections.abc import AsyncIterator

import pytest

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.errors import BodyTooLarge, StreamFailed
from herd.protocols.messages import RequestHead
from herd.simulation.http import InMemoryRequest, InMemoryServers
from herd.types import BackendId, Bytes, MiB, RequestId, Seconds

BASE = "http://127.0.0.1:11434"
GET = RequestHead(RequestId("r1"), BackendId("ollama"), "GET", "/path?a=b")


def serving(handler: Handler) -> InMemoryServers:
    servers = InMemoryServers()
    servers.serve(BASE, handler)
    return servers


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_request_arrives_whole_and_each_write_is_one_piece() -> None:
    async def echo(request: HttpRequest, sink: Sink) -> None:
        body = await request.read_body(Bytes(MiB))
        await sink.start(200, (("X-Path", f"{request.method} {request.path} {request.query}"),))
        async for chunk in body.chunks(2):
            await sink.write(chunk)
        await sink.finish()

    answer = await serving(echo).exchange(BASE, GET, pieces(b"ab", b"cde"))
    assert (answer.status, answer.headers) == (200, (("X-Path", "GET /path a=b"),))
    assert [await answer.read() for _ in range(5)] == [b"ab", b"cd", b"e", b"", b""]


async def test_a_body_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        await InMemoryRequest("POST", "/", b"12345").read_body(Bytes(4))


async def test_a_writer_waits_for_its_reader() -> None:
    written: list[int] = []

    async def endless(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        for number in range(100):
            await sink.write(b"x")
            written.append(number)
        await sink.finish()

    answer = await serving(endless).exchange(BASE, GET, None)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(written) == 4
    read = 0
    while await answer.read():
        read += 1
    assert read == 100


async def test_nobody_listens_at_an_unknown_or_stopped_address() -> None:
    async def never(request: HttpRequest, sink: Sink) -> None:
        raise AssertionError("called")

    servers = serving(never)
    with pytest.raises(StreamFailed, match="connection refused"):
        await servers.exchange("http://127.0.0.1:1", GET, None)
    servers.stop(BASE)
    with pytest.raises(StreamFailed, match="connection refused"):
        await servers.exchange(BASE, GET, None)


async def test_closing_an_answer_cancels_its_handler() -> None:
    gone = asyncio.Event()

    async def patient(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            gone.set()

    answer = await serving(patient).exchange(BASE, GET, None)
    answer.close()
    await gone.wait()


async def test_cancelling_an_exchange_before_its_head_cancels_its_handler() -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def silent(request: HttpRequest, sink: Sink) -> None:
        came.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            gone.set()

    task = asyncio.create_task(serving(silent).exchange(BASE, GET, None))
    await came.wait()
    task.cancel()
    await gone.wait()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stopping_a_server_cuts_its_answers() -> None:
    async def patient(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"begun")
        await asyncio.get_running_loop().create_future()

    servers = serving(patient)
    answer = await servers.exchange(BASE, GET, None)
    assert await answer.read() == b"begun"
    servers.stop(BASE)
    with pytest.raises(StreamFailed):
        await answer.read()


async def test_an_aborted_answer_fails_after_what_was_written() -> None:
    async def dying(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"half")
        sink.abort()

    answer = await serving(dying).exchange(BASE, GET, None)
    assert await answer.read() == b"half"
    with pytest.raises(StreamFailed):
        await answer.read()


async def test_a_handler_that_fails_breaks_its_answer_and_is_named_as_the_cause() -> None:
    async def wrong(request: HttpRequest, sink: Sink) -> None:
        raise ValueError("a bug")

    with pytest.raises(StreamFailed) as failed:
        await serving(wrong).exchange(BASE, GET, None)
    assert isinstance(failed.value.__cause__, ValueError)


async def test_a_handler_that_does_not_finish_breaks_its_answer() -> None:
    async def forgetful(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())

    answer = await serving(forgetful).exchange(BASE, GET, None)
    with pytest.raises(StreamFailed, match="without finishing"):
        await answer.read()


async def test_fetch_gets_and_posts_json() -> None:
    async def answering(request: HttpRequest, sink: Sink) -> None:
        body = await (await request.read_body(Bytes(MiB))).examine(bytes)
        await sink.start(200, ())
        await sink.write(body or b'{"method":"GET"}')
        await sink.finish()

    servers = serving(answering)
    assert await servers.fetch(f"{BASE}/api/tags", timeout=Seconds(5)) == (200, {"method": "GET"})
    assert await servers.fetch(f"{BASE}/api/show", {"model": "x"}, timeout=Seconds(5)) == (200, {"model": "x"})


async def test_fetch_gives_none_for_what_is_not_json() -> None:
    async def answering(request: HttpRequest, sink: Sink) -> None:
        await sink.start(404, ())
        await sink.write(b"404 page not found")
        await sink.finish()

    assert await serving(answering).fetch(f"{BASE}/nowhere", timeout=Seconds(5)) == (404, None)


async def test_fetch_gives_up_on_a_silent_server() -> None:
    async def silent(request: HttpRequest, sink: Sink) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(StreamFailed, match="no answer"):
        await serving(silent).fetch(f"{BASE}/api/ps", timeout=Seconds(0.0))
