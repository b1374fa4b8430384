"""The bounds of a connection, each made short enough to be met."""

import asyncio
import logging
from contextlib import AsyncExitStack, suppress

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.errors import RequestError
from herd.net import http_connections, http_server
from herd.types import KiB, MiB
from tests.net.http_house import GET, RawClient, answer, client_of, connection, listening, read_all
from tests.net.loops import on_every_loop

SOON = 0.1  # seconds, in place of minutes


async def size(request: HttpRequest, sink: Sink) -> None:
    """Answers with the length of the request's body, or with what is wrong with it."""
    try:
        length = len(await read_all(request))
    except RequestError as error:
        text = str(error).encode()
        await sink.start(error.status, (("Content-Length", str(len(text))), *error.headers))
        await sink.write(text)
        await sink.finish()
    else:
        await answer(sink, str(length).encode())


async def trickle(client: RawClient, forever: bytes) -> None:
    """Send the same bytes again and again, a few at a time, until cancelled or cut off."""
    with suppress(ConnectionError):
        while not client.writer.is_closing():
            client.send(forever)
            await client.writer.drain()
            await asyncio.sleep(SOON / 20)  # the pace is what is tested


@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
@on_every_loop
async def test_a_head_that_comes_byte_by_byte_has_as_long_as_an_idle_connection(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not so long for each byte."""
    monkeypatch.setattr(http_server, "KEEPALIVE_S", SOON)
    async with client_of(size) as client:
        if first:
            assert (await client.ask(first)).status == 200
        client.send(GET.removesuffix(b"\r\n") + b"X: ")
        dripping = asyncio.create_task(trickle(client, b"a"))
        with suppress(ConnectionError):
            assert await client.reader.read() == b""
        dripping.cancel()
        await asyncio.wait([dripping])


CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a body": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n", b"a", "too slowly"),
    "a body in chunks": (CHUNKED, b"1\r\na\r\n", "too slowly"),
    "a chunk extension": (CHUNKED + b"1;", b"a", "nothing came"),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"a", "nothing came"),
}


@pytest.mark.parametrize(("head", "forever", "words"), ENDLESS.values(), ids=ENDLESS)
@on_every_loop
async def test_what_comes_byte_by_byte_for_ever_is_answered_and_let_go(
    head: bytes, forever: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "BODY_SILENCE_S", SOON)
    async with client_of(size) as client:
        client.send(head + forever)
        dripping = asyncio.create_task(trickle(client, forever))
        reply = await client.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert words in reply.body.decode()
        dripping.cancel()
        await asyncio.wait([dripping])


@on_every_loop
async def test_a_body_that_comes_slowly_but_fast_enough_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it may take grows with what has come."""
    monkeypatch.setattr(http_server, "BODY_SILENCE_S", 5 * SOON)
    monkeypatch.setattr(http_server, "SLOWEST_BODY", 1)
    async with client_of(size) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n")
        for _ in range(12):
            client.send(b"a")
            await asyncio.sleep(SOON / 2)  # longer in all than it may be silent
        assert (await client.reply()).body == b"12"


@on_every_loop
async def test_the_bytes_of_bodies_are_no_head_however_they_are_cut() -> None:
    """Many long bodies on one connection, some of them in the same segment as the next request's head."""
    body = b"a" * 200 * KiB
    request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with client_of(size) as client:
        client.send(request * 5)
        for _ in range(5):
            assert (await client.reply()).body == str(len(body)).encode()
        for start in range(0, len(request), 50_000):
            client.send(request[start : start + 50_000])
            await client.writer.drain()
        assert (await client.reply()).body == str(len(body)).encode()
        assert (await client.ask(GET)).status == 200


@on_every_loop
async def test_a_head_is_bounded_though_each_of_its_headers_is() -> None:
    async with client_of(size) as client:
        client.send(GET.removesuffix(b"\r\n"))
        for number in range(3):
            client.send(b"X-%d: %b\r\n" % (number, b"a" * 30 * KiB))
            await client.writer.drain()
        reply = await client.reply()
        assert reply.status == 431
        assert reply.headers["server"] == http_connections.SERVER
        assert await client.reader.read() == b""


@on_every_loop
async def test_a_client_that_sends_on_still_gets_to_read_why_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed over unread bytes is reset, and the answer may be lost with it.

    So it is closed for the client at once, and for the server when the client has done the same.
    """
    monkeypatch.setattr(http_server, "LINGER_S", 3600.0)
    async with client_of(size) as client:
        for _ in range(100):
            client.send(b"X" * 64 * KiB)
            await client.writer.drain()
        assert (await client.reply()).status == 400
        assert await client.reader.read() == b""


@on_every_loop
async def test_what_was_asked_before_the_garbage_is_answered_first() -> None:
    go = asyncio.Event()

    async def wait(_: HttpRequest, sink: Sink) -> None:
        await go.wait()
        await answer(sink, b"in time")

    async with client_of(wait) as client:
        client.send(GET)
        await asyncio.sleep(0)
        client.send(b"\x00garbage" * 1000)
        await client.writer.drain()
        go.set()
        statuses = [(await client.reply()).status]
        if statuses == [200]:  # unless both came in one piece: then there is no telling where garbage begins
            statuses.append((await client.reply()).status)
        assert statuses[-1] == 400
        assert await client.reader.read() == b""


@on_every_loop
async def test_a_client_that_never_reads_its_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "READ_SILENCE_S", SOON)
    cancelled = asyncio.Event()

    async def pour(_: HttpRequest, sink: Sink) -> None:
        try:
            await sink.start(200, ())
            while True:
                await sink.write(bytes(64 * KiB))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with client_of(pour) as client:
        client.send(GET)
        await cancelled.wait()


@on_every_loop
async def test_a_client_that_reads_in_the_end_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "READ_SILENCE_S", 5 * SOON)
    long = bytes(20 * MiB)

    async def pour(_: HttpRequest, sink: Sink) -> None:
        await answer(sink, long)

    async with client_of(pour) as client:
        client.send(GET)
        assert (await client.reply()).body == long
        await asyncio.sleep(6 * SOON)  # a timer that was left running would have cut the connection by now
        assert (await client.ask(GET)).whole


@on_every_loop
async def test_more_connections_than_there_may_be_are_turned_away_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="herd")
    monkeypatch.setattr(http_connections, "most_connections", lambda: 10)
    async with listening(size) as port:
        for flood in (1, 2):
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(connection(port)) for _ in range(10)]
                assert {(await client.ask(GET)).status for client in clients} == {200}
                for _ in range(20):
                    async with connection(port) as late:
                        reply = await late.reply()
                        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
                        assert await late.reader.read() == b""
                assert (await clients[0].ask(GET)).status == 200
            assert await served_again(port)
            assert [record.getMessage() for record in caplog.records] == [
                "10 HTTP connections are open, and more are refused until some have gone"
            ] * flood


async def served_again(port: int) -> bool:
    """Ask until a connection is let in: those that were closed are cleared away in the turns that follow."""
    while True:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            async with connection(port) as client:
                if (await client.ask(GET)).status == 200:
                    return True


@on_every_loop
async def test_a_compressed_body_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: %b\r\nContent-Length: 2\r\n\r\nhi"
    async with client_of(size) as client:
        assert (await client.ask(ask % b"Identity")).body == b"2"
        reply = await client.ask(ask % b"br, zstd")
        assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity")
        assert b"br, zstd" in reply.body
        assert (await client.ask(ask % (b"\xff" * 1000))).status == 415


@on_every_loop
async def test_a_request_that_the_disk_has_no_room_for_is_refused_and_the_next_one_served(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("herd.net.bodies.DISK_RESERVE", 2**62)  # more than any disk has
    async with client_of(size) as client:
        body = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (2 * MiB) + bytes(2 * MiB)
        reply = await client.ask(body)
        assert (reply.status, reply.body) == (
            507,
            b"the router cannot store this request body: No space left on device",
        )
        assert "could not be stored" in caplog.text
        assert (await client.ask(GET)).body == b"0"


def test_a_listener_leaves_file_descriptors_to_others() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 0 < http_connections.most_connections() < soft or soft == resource.RLIM_INFINITY
