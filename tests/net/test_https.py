"""HTTPS: the same listener behind TLS, and what becomes of those who do not speak it."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.errors import ConfigError, StreamFailed, Unreachable
from herd.net import http_connections, tls_listener
from herd.net.http_client import AiohttpServers
from herd.net.http_server import AiohttpServer
from herd.net.tls import fingerprint, server_context
from herd.protocols.messages import RequestHead
from herd.types import BackendId, KiB, RequestId, Seconds
from tests.certificates import AUTHORITY, VOUCHED
from tests.net.http_house import GET, LOOPBACK, RawClient, answer, connection, listening, read_all
from tests.net.loops import on_every_loop, turns_until


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's."""
    server = server_context(VOUCHED, VOUCHED)
    assert server is not None
    return server, ssl.create_default_context(cafile=AUTHORITY)


async def echo(request: HttpRequest, sink: Sink) -> None:
    await answer(sink, await read_all(request))


async def never(_: HttpRequest, __: Sink) -> None:
    raise AssertionError("there was no request")


def post(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@on_every_loop
async def test_requests_are_carried_to_the_byte(version: ssl.TLSVersion) -> None:
    server, client = contexts()
    client.maximum_version = version
    body = bytes(range(251)) * 20_000  # 5 MB, without a period of any buffer's size
    async with listening(echo, server) as port, connection(port, client) as long, connection(port, client) as short:
        long.send(post(body))
        assert (await short.ask(post(b"x"))).body == b"x"
        assert (await long.reply()).body == body
        assert (await long.ask(post(b"again"))).body == b"again"


@on_every_loop
async def test_the_client_of_agents_and_commands_believes_whom_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    server, _ = contexts()
    head = RequestHead(RequestId(""), BackendId(""), "GET", "/")
    async with listening(echo, server) as port, AiohttpServers() as servers:
        with pytest.raises(Unreachable, match=r"its certificate is not trusted: unable to get .*SSL_CERT_FILE"):
            await servers.exchange(f"https://localhost:{port}", head, None)
        with pytest.raises(Unreachable):
            await servers.exchange("https://localhost:1", head, None)
    async with listening(echo) as port, AiohttpServers() as servers:
        with pytest.raises(Unreachable, match="it does not speak HTTPS"):
            await servers.exchange(f"https://localhost:{port}", head, None)


@on_every_loop
async def test_a_client_can_be_told_the_one_certificate_to_accept() -> None:
    """Whatever names are in it: the address here is in none."""
    server, _ = contexts()
    head = RequestHead(RequestId(""), BackendId(""), "GET", "/")
    async with listening(echo, server) as port:
        url = f"https://127.0.0.1:{port}"
        async with AiohttpServers(certificate=fingerprint(server)) as servers:
            assert (await servers.fetch(url, timeout=Seconds(30.0)))[0] == 200
            answer = await servers.exchange(url, head, None)
            assert answer.status == 200
            answer.close()
        async with AiohttpServers(certificate=bytes(32), whom="the router") as servers:
            with pytest.raises(StreamFailed, match="its certificate is not the one that was expected"):
                await servers.fetch(url, timeout=Seconds(30.0))
            with pytest.raises(
                StreamFailed, match=r"the router at .* its certificate is not the one that was expected"
            ):
                await servers.exchange(url, head, None)


@pytest.mark.parametrize("farewell", ["end", "reset"])
@pytest.mark.parametrize("sent", [GET, post(b"x" * 100)[:-10]], ids=["whole", "in its body"])
@on_every_loop
async def test_a_client_that_leaves_cancels_its_request(sent: bytes, farewell: str) -> None:
    outcome: asyncio.Queue[str] = asyncio.Queue()
    begun = asyncio.Event()

    async def wait(request: HttpRequest, sink: Sink) -> None:
        begun.set()
        try:
            await read_all(request)
            await asyncio.Event().wait()
        finally:
            outcome.put_nowait("over")

    server, tls = contexts()
    async with listening(wait, server) as port, connection(port, tls) as client:
        client.send(sent)
        await begun.wait()
        if farewell == "end":
            client.writer.close()
        else:
            client.hang_up()
        assert await outcome.get() == "over"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@on_every_loop
async def test_a_cut_answer_looks_cut(version: bytes) -> None:
    async def cut(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"half an answ")
        sink.abort()

    server, tls = contexts()
    async with listening(cut, server) as port, connection(port, tls) as client:
        client.send(b"GET / HTTP/%b\r\nHost: localhost\r\n\r\n" % version)
        whole = False
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            whole = (await client.reply()).whole
        assert not whole


@on_every_loop
async def test_a_client_that_reads_nothing_holds_up_nobody_and_is_missed_when_it_leaves() -> None:
    gone = asyncio.Event()

    async def pour(request: HttpRequest, sink: Sink) -> None:
        if request.path == "/short":
            await answer(sink, b"short")
            return
        await sink.start(200, ())
        try:
            while True:
                await sink.write(bytes(64 * KiB))
        finally:
            gone.set()

    server, tls = contexts()
    async with listening(pour, server) as port, connection(port, tls) as other, connection(port, tls) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(GET)
        for _ in range(3):
            assert (await other.ask(GET.replace(b"/ ", b"/short ", 1))).body == b"short"
        client.hang_up()
        await gone.wait()


@on_every_loop
async def test_bytes_that_are_no_http_get_their_sentence_and_the_end() -> None:
    server, tls = contexts()
    async with listening(never, server) as port, connection(port, tls) as client:
        reply = await client.ask(b"GARBAGE\r\n\r\n")
        assert reply.status == 400
        assert await client.reader.read() == b""


# --- those who do not shake hands -------------------------------------------------------------------------------------


@pytest.mark.skipif("sys.platform == 'win32'", reason="there the handshake itself refuses it")
@on_every_loop
async def test_plain_http_is_told_what_to_speak() -> None:
    server, _ = contexts()
    async with listening(never, server) as port, connection(port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))
        reply = await client.reply()
        assert (reply.status, reply.body) == (400, b"This port speaks HTTPS: ask with https:// in place of http://.\n")
        assert await client.reader.read() == b""


@pytest.mark.parametrize(
    "sent", [b"\x16", b"\x16\x03\x01\x00\x05hello", bytes.fromhex("16030100c8010000c40303") + bytes(190)]
)
@on_every_loop
async def test_a_broken_handshake_ends_the_connection_and_nothing_else(
    sent: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.3)
    server, tls = contexts()
    async with listening(echo, server) as port, connection(port, tls) as other:
        for end in (True, False):
            async with connection(port) as client:
                client.send(sent)
                if end:
                    client.writer.write_eof()
                with suppress(ConnectionError):
                    await client.reader.read()  # an alert of TLS, or nothing
        assert (await other.ask(post(b"x"))).body == b"x"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@asynccontextmanager
async def silent(port: int, count: int) -> AsyncIterator[list[RawClient]]:
    """So many connections that say nothing."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connection(port)) for _ in range(count)]


@on_every_loop
async def test_connections_that_say_nothing_count_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connections, "most_connections", lambda: 10)
    tls, client_tls = contexts()
    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0), tls=tls)
    await server.start(echo)
    listener = server._listener
    assert listener is not None
    try:
        async with connection(server.port, client_tls) as early, silent(server.port, 30):
            assert (await early.ask(post(b"x"))).body == b"x"
            await turns_until(lambda: listener.greeting == 9)
            with pytest.raises(OSError, match=r".*"):  # one too many is let go of before a handshake
                await asyncio.open_connection(LOOPBACK, server.port, ssl=client_tls)
            assert (await early.ask(post(b"y"))).body == b"y"
        await turns_until(lambda: listener.greeting == 0)
        async with connection(server.port, client_tls) as late:
            assert (await late.ask(post(b"z"))).body == b"z"
    finally:
        await server.stop()


@on_every_loop
async def test_who_falls_silent_in_the_handshake_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_S", 0.05)
    server, _ = contexts()
    async with listening(never, server) as port, connection(port) as mute, connection(port) as half:
        half.send(b"\x16\x03\x01")
        for client in (mute, half):
            with suppress(ConnectionError):
                assert await client.reader.read() == b""


@on_every_loop
async def test_a_server_that_stops_lets_go_of_those_that_shake_hands() -> None:
    tls, client_tls = contexts()
    server = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0), tls=tls)
    await server.start(never)
    async with connection(server.port) as client, connection(server.port, client_tls) as idle:
        await server.stop()
        assert await client.reader.read() == b""
        assert await idle.reader.read() == b""
    await server.stop()


@on_every_loop
async def test_a_taken_port_is_a_wrong_setting() -> None:
    server, _ = contexts()
    async with listening(echo, server) as port:
        with pytest.raises(ConfigError, match=f"cannot listen on {LOOPBACK} port {port}: Address"):
            await AiohttpServer(LOOPBACK, port, tls=server).start(echo)


@on_every_loop
async def test_all_addresses_of_a_name_are_listened_on() -> None:
    tls, client_tls = contexts()
    server = AiohttpServer("localhost", 0, grace=Seconds(0.0), tls=tls)
    await server.start(echo)
    try:
        async with connection(server.port, client_tls) as client:
            assert (await client.ask(post(b"x"))).body == b"x"
    finally:
        await server.stop()
