import asyncio
import hashlib
from contextlib import suppress

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.errors import BodyTooLarge, ConfigError, RequestError
from herd.net import http_server
from herd.net.http_server import AiohttpServer
from herd.types import Bytes, KiB, MiB, Seconds
from tests.net.http_house import GET, LOOPBACK, answer, client_of, connection, listening, read_all
from tests.net.loops import on_every_loop

CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(size: int) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()


async def echo(request: HttpRequest, sink: Sink) -> None:
    """Answers with the body of the request, at its length."""
    await answer(sink, await read_all(request))


async def path(request: HttpRequest, sink: Sink) -> None:
    await answer(sink, request.path.encode())


# --- What a request looks like ----------------------------------------------------------------------------------------


@on_every_loop
async def test_a_request_is_handed_on_as_it_was_sent() -> None:
    seen: list[HttpRequest] = []

    async def note(request: HttpRequest, sink: Sink) -> None:
        seen.append(request)
        await answer(sink, b"")

    async with client_of(note) as client:
        await client.ask(
            b"PATCH /api/a%2Fb%20c//d?x=1&y=%20?z HTTP/1.1\r\nHoSt: herd\r\nX-Ab: 1\r\nx-aB: \xc3\xa9\r\n\r\n"
        )
    (request,) = seen
    assert (request.method, request.path, request.query) == ("PATCH", "/api/a%2Fb%20c//d", "x=1&y=%20?z")
    assert request.headers == (("HoSt", "herd"), ("X-Ab", "1"), ("x-aB", "é"))
    assert request.peer == LOOPBACK


@pytest.mark.parametrize("size", [0, 1, MiB, MiB + 1, 3 * MiB])
@on_every_loop
async def test_a_body_comes_in_whole_with_a_length_and_in_chunks(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with client_of(echo) as client:
        assert (await client.ask(post(size) + body)).body == body
        client.send(CHUNKED)
        for start in range(0, size, 100_000):
            piece = body[start : start + 100_000]
            client.send(f"{len(piece):x};extension=1\r\n".encode() + piece + b"\r\n")
        assert (await client.ask(b"0\r\nTrailer: yes\r\n\r\n")).body == body


@on_every_loop
async def test_one_connection_carries_many_requests_and_pipelined_ones_in_order() -> None:
    async with client_of(path) as client:
        for number in range(3):
            assert (await client.ask(GET.replace(b"/ ", b"/%d " % number, 1))).body == b"/%d" % number
        client.send(b"".join(GET.replace(b"/ ", b"/%d " % number, 1) for number in range(20)))
        assert [(await client.reply()).body for _ in range(20)] == [b"/%d" % number for number in range(20)]


@on_every_loop
async def test_http_1_0_ends_with_the_connection_unless_asked_otherwise() -> None:
    async def stream(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"one,")
        await sink.write(b"two")
        await sink.finish()

    async with listening(stream) as port, connection(port) as client:
        reply = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert (reply.body, reply.whole) == (b"one,two", True)
        assert "transfer-encoding" not in reply.headers
        assert client.reader.at_eof()
    async with listening(echo) as port, connection(port) as client:
        for _ in range(2):
            reply = await client.ask(b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
            assert reply.body == b"hi"


@on_every_loop
async def test_a_head_is_answered_without_a_body_and_the_connection_goes_on() -> None:
    async def either(_: HttpRequest, sink: Sink) -> None:
        await answer(sink, b"Ollama is running")

    async def stream(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"never sent")
        await sink.finish()

    for handler in (either, stream):
        async with client_of(handler) as client:
            for _ in range(2):
                reply = await client.ask(GET.replace(b"GET", b"HEAD"), head_only=True)
                assert reply.status == 200
            if handler is either:
                assert reply.headers["content-length"] == "17"
                assert (await client.ask(GET)).body == b"Ollama is running"


@pytest.mark.parametrize("status", [204, 304])
@on_every_loop
async def test_an_answer_that_can_have_no_body_has_none(status: int) -> None:
    async def empty(_: HttpRequest, sink: Sink) -> None:
        await sink.start(status, (("ETag", "x"),))
        await sink.write(b"out of place")
        await sink.finish()

    async with client_of(empty) as client:
        for _ in range(2):
            reply = await client.ask(GET)
            assert (reply.status, reply.headers["etag"]) == (status, "x")


# --- Bodies that are asked for, too long, or broken -------------------------------------------------------------------


@on_every_loop
async def test_a_client_that_asks_first_is_told_to_go_on_only_when_the_body_is_wanted() -> None:
    async def limited(request: HttpRequest, sink: Sink) -> None:
        try:
            await answer(sink, await read_all(request, limit=10))
        except BodyTooLarge as error:
            await answer(sink, str(error).encode())

    ask = b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n"
    async with client_of(limited) as client:
        assert (await client.ask(ask % 5)).status == 100
        assert (await client.ask(b"hello")).body == b"hello"
        assert b"the limit is 10 bytes" in (await client.ask(ask % 11)).body


@pytest.mark.parametrize("declared", [True, False])
@on_every_loop
async def test_a_body_over_the_limit_is_refused_as_soon_as_that_is_known(declared: bool) -> None:
    async def limited(request: HttpRequest, sink: Sink) -> None:
        with pytest.raises(BodyTooLarge) as refused:
            await request.read_body(Bytes(1000))
        await sink.start(refused.value.status, (("Content-Length", "0"),))
        await sink.finish()

    async with client_of(limited) as client:
        client.send(post(10**12) if declared else CHUNKED + b"3e9\r\n" + bytes(1001))
        assert (await client.reply()).status == 413


@pytest.mark.parametrize("chunks", [b"xyz\r\n", b"-1\r\nx\r\n", b"5\r\nhelloXX"])
@on_every_loop
async def test_a_body_with_broken_chunks_is_an_error_of_the_request(chunks: bytes) -> None:
    reading = asyncio.Event()

    async def note(request: HttpRequest, sink: Sink) -> None:
        reading.set()
        try:
            await request.read_body(Bytes(MiB))
        except RequestError as error:
            await answer(sink, str(error).encode())

    async with client_of(note) as client:
        client.send(CHUNKED)
        await reading.wait()
        client.send(chunks)
        assert b"could not be read" in (await client.reply()).body
        assert await client.reader.read() == b""
    async with client_of(note) as client:  # all of it at once is not even a request
        assert (await client.ask(CHUNKED + chunks)).status == 400


@on_every_loop
async def test_a_client_that_falls_silent_in_its_body_is_told_and_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "BODY_SILENCE_S", 0.05)

    async def read(request: HttpRequest, sink: Sink) -> None:
        with pytest.raises(RequestError, match="nothing came for") as error:
            await request.read_body(Bytes(MiB))
        await sink.start(error.value.status, (*error.value.headers, ("Content-Length", "0")))
        await sink.finish()

    async with client_of(read) as client:
        client.send(post(100) + b"x")
        assert (await client.reply()).status == 408


@on_every_loop
async def test_a_client_that_takes_the_server_for_a_proxy_is_served() -> None:
    async with client_of(path) as client:
        client.send(b"GET http://herd:11435/api/tags?x=http://y HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await client.reply()).body == b"/api/tags"


@pytest.mark.parametrize("farewell", ["end", "reset"])
@pytest.mark.parametrize("head", [post(100), CHUNKED + b"64\r\n"], ids=["length", "chunks"])
@on_every_loop
async def test_a_client_that_leaves_in_the_middle_of_its_body_cancels_the_handler(head: bytes, farewell: str) -> None:
    outcome: asyncio.Queue[type[BaseException]] = asyncio.Queue()
    begun = asyncio.Event()

    async def read(request: HttpRequest, sink: Sink) -> None:
        begun.set()
        try:
            await request.read_body(Bytes(MiB))
        except BaseException as error:
            outcome.put_nowait(type(error))
            raise

    async with client_of(read) as client:
        client.send(head + b"only this")
        await begun.wait()
        if farewell == "end":
            client.writer.write_eof()
        else:
            client.hang_up()
        assert await outcome.get() in {asyncio.CancelledError, RequestError}
        with suppress(ConnectionError):
            assert await client.reader.read() == b"" or farewell == "end"


# --- Heads that are too long, or are none -----------------------------------------------------------------------------


@on_every_loop
async def test_a_header_of_30_kib_passes_and_one_of_40_kib_is_a_clean_error() -> None:
    async def size(request: HttpRequest, sink: Sink) -> None:
        await answer(sink, str(len(dict(request.headers)["Cookie"])).encode())

    ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: %b\r\n\r\n"
    async with listening(size) as port:
        async with connection(port) as client:
            assert (await client.ask(ask % (b"x" * 30 * KiB))).body == str(30 * KiB).encode()
        async with connection(port) as client:
            reply = await client.ask(ask % (b"x" * 40 * KiB))
            assert reply.status in {400, 431}
            assert b"Traceback" not in reply.body


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00" + bytes(300),
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"G" * 100_000,
    ],
)
@on_every_loop
async def test_bytes_that_are_no_request_get_a_clear_error_and_nobody_is_called(garbage: bytes) -> None:
    async def never(_: HttpRequest, __: Sink) -> None:
        raise AssertionError("there was no request")

    async with listening(never) as port, connection(port) as client:
        client.send(garbage)
        client.writer.write_eof()
        words = b""
        with suppress(ConnectionError):
            words = await client.reader.read()
        assert words == b"" or words.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 431"))
        assert b"Traceback" not in words


# --- Starting and stopping --------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_server_that_stops_lets_what_runs_end() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(_: HttpRequest, sink: Sink) -> None:
        begun.set()
        await go.wait()
        await answer(sink, b"after all")

    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(30.0))
    await server.start(wait)
    async with connection(server.port) as client, connection(server.port) as idle:
        client.send(GET)
        await begun.wait()
        stopping = asyncio.create_task(server.stop())
        assert await idle.reader.read() == b""  # who asked for nothing is let go of at once
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection(LOOPBACK, server.port)
        assert not stopping.done()
        go.set()
        assert (await client.reply()).body == b"after all"
        await stopping
    await server.stop()


@on_every_loop
async def test_what_does_not_end_within_the_grace_is_cut() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"a token")
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.05))
    await server.start(hang)
    async with connection(server.port) as client:
        client.send(GET)
        await begun.wait()
        await server.stop()
        assert cancelled.is_set()
        with suppress(ConnectionError):
            assert not (await client.reply()).whole


@on_every_loop
async def test_a_taken_port_is_a_wrong_setting() -> None:
    async with listening(echo) as port:
        with pytest.raises(ConfigError, match=f"cannot listen on {LOOPBACK} port {port}"):
            await AiohttpServer(LOOPBACK, port).start(echo)


@on_every_loop
async def test_an_address_that_is_not_ours_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        await AiohttpServer("203.0.113.1", 0).start(echo)


@on_every_loop
async def test_a_long_body_is_carried_to_the_byte_while_others_are_served() -> None:
    async def digest(request: HttpRequest, sink: Sink) -> None:
        await answer(sink, hashlib.sha256(await read_all(request)).hexdigest().encode())

    async with listening(digest) as port, connection(port) as long, connection(port) as short:
        body = bytes(range(251)) * 80_000  # 20 MB, without a period of any buffer's size
        long.send(post(len(body)) + body)
        assert (await short.ask(post(1) + b"x")).body == hashlib.sha256(b"x").hexdigest().encode()
        assert (await long.reply()).body == hashlib.sha256(body).hexdigest().encode()
