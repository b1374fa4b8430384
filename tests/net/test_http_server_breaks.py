import asyncio
import sys
from contextlib import suppress

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.errors import StreamFailed
from herd.net.http_server import READ_AHEAD
from herd.types import KiB, MiB
from tests.net.http_house import GET, client_of, connection, listening
from tests.net.loops import on_every_loop

# --- Clients that leave -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the answer", "in mid-stream"])
@pytest.mark.parametrize("farewell", ["close", "reset"])
@on_every_loop
async def test_a_client_that_hangs_up_cancels_the_handler(when: str, farewell: str) -> None:
    cancelled, begun = asyncio.Event(), asyncio.Event()

    async def wait(request: HttpRequest, sink: Sink) -> None:
        try:
            if when == "in mid-stream":
                await sink.start(200, ())
                await sink.write(b"a token")
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with client_of(wait) as client:
        client.send(GET)
        await begun.wait()
        if farewell == "close":
            client.writer.close()
        else:
            client.hang_up()
        await cancelled.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of it while nothing is read")
@pytest.mark.parametrize("stalled", ["its own body", "the request behind it"])
@pytest.mark.parametrize("farewell", ["close", "reset"])
@on_every_loop
async def test_a_client_that_hangs_up_is_missed_even_while_nothing_is_read_from_it(stalled: str, farewell: str) -> None:
    cancelled, begun = asyncio.Event(), asyncio.Event()
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    # More than is read ahead, and no more than the system takes at once: a farewell waits behind what it does not take.
    part = bytes(4 * READ_AHEAD)

    async def stall(request: HttpRequest, _: Sink) -> None:
        try:
            async for _piece in request.stream_body():  # as an upload to a model server that does not read on
                break
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with client_of(stall) as client:
        if stalled == "its own body":
            client.send(head % (4 * MiB) + part)
        else:
            client.send(head % 2 + b"hi" + head % (4 * MiB) + part)
        await begun.wait()
        if farewell == "close":
            client.writer.close()
        else:
            client.hang_up()
        await cancelled.wait()


@on_every_loop
async def test_a_client_that_leaves_while_it_is_written_to_makes_no_noise(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def pour(_: HttpRequest, sink: Sink) -> None:
        try:
            await sink.start(200, ())
            while True:
                await sink.write(bytes(64 * KiB))
        finally:
            ended.set()

    async with client_of(pour) as client:
        client.send(GET)
        await client.reader.readexactly(200_000)
        client.hang_up()
        await ended.wait()
    assert caplog.records == []


@on_every_loop
async def test_a_client_that_does_not_read_makes_the_writer_wait() -> None:
    written = 0

    async def pour(_: HttpRequest, sink: Sink) -> None:
        nonlocal written
        await sink.start(200, ())
        while True:
            await sink.write(bytes(64 * KiB))
            written += 1

    async with client_of(pour) as client:
        client.send(GET)  # and reads no more than its own small buffer
        before, still = -1, 0
        while still < 200:  # turns of the loop in which nothing moved
            still = still + 1 if written == before > 0 else 0
            before = written
            await asyncio.sleep(0)
        assert written * 64 * KiB < 64 * MiB  # the system's buffers, and not the whole answer
        while written < before + 3:
            await client.reader.read(MiB)


# --- Answers that break -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["abort", "raise"])
@pytest.mark.parametrize("head", [(), (("Content-Length", "100"),)], ids=["chunks", "length"])
@on_every_loop
async def test_a_broken_answer_never_looks_whole(
    head: tuple[tuple[str, str], ...], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def break_off(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, head)
        await sink.write(b"half of")
        if how == "raise":
            raise RuntimeError("a bug")
        sink.abort()
        sink.abort()

    async with client_of(break_off) as client:
        client.send(GET)
        with suppress(ConnectionError):
            reply = await client.reply()
            assert reply.status == 200
            assert not reply.whole
        assert client.reader.at_eof() or client.reader.exception()


@on_every_loop
async def test_a_broken_answer_is_a_reset_for_a_client_that_knows_no_other_sign() -> None:
    async def break_off(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"half of")
        sink.abort()

    async with client_of(break_off) as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


@on_every_loop
async def test_an_abort_before_the_head_gives_nothing() -> None:
    async def refuse(_: HttpRequest, sink: Sink) -> None:
        sink.abort()
        raise ConnectionResetError

    async with client_of(refuse) as client:
        client.send(GET)
        with suppress(ConnectionError):
            assert await client.reader.read() == b""


@pytest.mark.parametrize(("body", "said"), [(b"short", "shorter"), (b"long" * 10, "longer")])
@on_every_loop
async def test_an_answer_of_another_length_than_declared_is_cut_before_it_can_be_taken_for_two(
    body: bytes, said: str
) -> None:
    noted: asyncio.Queue[str] = asyncio.Queue()

    async def lie(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, (("Content-Length", "10"),))
        try:
            await sink.write(body)
            await sink.finish()
        except StreamFailed as error:
            noted.put_nowait(str(error))

    async with client_of(lie) as client:
        client.send(GET + GET)
        assert said in await noted.get()
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            reply = await client.reply()
            assert not reply.whole
        assert client.reader.at_eof() or client.reader.exception()


@on_every_loop
async def test_a_handler_that_fails_or_says_nothing_is_an_error_500_without_a_traceback_in_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(request: HttpRequest, _: Sink) -> None:
        if request.path == "/raise":
            raise RuntimeError("a secret of ours")

    async with listening(fail) as port:
        for target in (b"/raise", b"/silent"):
            async with connection(port) as client:
                reply = await client.ask(GET.replace(b"/ ", target + b" ", 1))
                assert reply.status == 500
                assert b"secret" not in reply.body
                assert b"Traceback" not in reply.body
