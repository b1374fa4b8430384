import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from herd.net import link_server
from herd.net.link_server import LinkServer
from herd.protocols.framing import MAX_FRAME, FrameDecoder, encode
from herd.protocols.messages import FrameType, Goodbye, Report
from herd.types import KiB, NodeId
from tests.net.link_house import (
    HELLO,
    LOOPBACK,
    house,
    raw_port,
)
from tests.net.loops import on_every_loop

GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c5010000c10303") + bytes(200),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "too long": (MAX_FRAME + 1).to_bytes(4, "big") + b"x",
    "nested": (1000).to_bytes(4, "big") + b"\x91" * 1000,
    "wrong order": encode(FrameType.HEARTBEAT, 0, Report()),
    "twice": encode(FrameType.HELLO, 0, HELLO) + encode(FrameType.HELLO, 0, HELLO),
    "noise": random.Random(7).randbytes(200_000),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@on_every_loop
async def test_bytes_that_are_no_frames_get_a_goodbye_and_a_close(garbage: bytes) -> None:
    async with house() as home:
        reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
        writer.write(garbage)
        received = bytearray()
        try:
            while data := await reader.read(64 * KiB):
                received += data
        except ConnectionResetError:  # it closed on bytes that it had not read yet
            pass
        kinds = [frame[0] for frame in FrameDecoder(MAX_FRAME).feed(bytes(received))]
        assert kinds in ([], [FrameType.GOODBYE])
        writer.close()
        async with home.agent(hello=replace(HELLO, node_id=NodeId("another"))):
            pass


@on_every_loop
async def test_half_a_frame_and_then_nothing_is_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "JOIN_S", 0.02)
    async with house() as home:
        reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
        writer.write(b"\x00\x00")
        assert b"no valid hello" in await reader.read()
        writer.close()


@on_every_loop
async def test_connections_that_say_nothing_are_bounded_and_keep_nobody_out() -> None:
    async with house() as home, AsyncExitStack() as silent:
        readers = []
        for _ in range(300):
            reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
            silent.callback(writer.close)
            readers.append(reader)
        async with home.agent():
            oldest = await asyncio.gather(*(reader.read() for reader in readers[: 300 - link_server.MAX_STRANGERS]))
            assert all(b"do not join" in words for words in oldest)
            assert len(home.server._strangers) <= link_server.MAX_STRANGERS
            assert not readers[-1].at_eof()


@on_every_loop
async def test_a_crowd_that_knocks_in_one_moment_is_let_go_of_one_by_one() -> None:
    """Connections that are made in one turn of the loop, before any of them could be closed."""
    server = LinkServer(LOOPBACK, 0)
    crowd = [server._connection() for _ in range(link_server.MAX_STRANGERS + 40)]
    gone = [connection for connection in crowd if connection.is_lost]  # type: ignore[attr-defined]
    assert gone == crowd[:40]
    for connection in crowd:
        connection.connection_lost(None)
    assert server._strangers == {}


@on_every_loop
async def test_a_connection_given_up_before_it_was_made_is_closed_when_it_is() -> None:
    async with house() as home:
        connection = home.server._connection()
        connection.say_goodbye(Goodbye("protocol", "too many"))  # type: ignore[attr-defined]
        words: asyncio.Queue[bytes] = asyncio.Queue()

        async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            words.put_nowait(await reader.read())

        async with raw_port(listen) as address:
            await asyncio.get_running_loop().create_connection(lambda: connection, LOOPBACK, address.link_port)
            assert b"too many" in await words.get()
