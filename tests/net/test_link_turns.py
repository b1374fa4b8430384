"""How long a token waits behind an upload: counted in bytes on a real socket, not in seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from herd.actors.ports import Serving
from herd.net.http_client import AiohttpServers
from herd.net.link import NOTSENT_LOWAT, WRITE_AT_ONCE, WRITE_HIGH_WATER
from herd.net.link_client import LinkDialer
from herd.protocols.framing import MAX_PIECE, encode
from herd.protocols.messages import FrameType, Welcome
from herd.types import GiB, KiB, NodeName, RouterId, StreamId
from tests.net.hostile import MALLORY, Peer, frame, peer
from tests.net.link_house import HEAD, HELLO, House, house, raw_port, request
from tests.net.loops import on_every_loop, turns_until

pytestmark = pytest.mark.usefixtures("plain_and_tls")

F = FrameType
BULK, TALK = StreamId(1), StreamId(2)
RECEIVE_BUFFER = 32 * KiB  # of the paced reader; the system doubles it for its own book-keeping

# The reader's own: asyncio stops reading at 128 KiB, which one more read may pass, and a piece is being taken apart.
READER = 256 * KiB
# And what asyncio's TLS of the reader takes in before it lets the socket be (FLOW_CONTROL_HIGH_WATER_SSL_READ).
TLS_READER = 256 * KiB
# What may lie between a word and who reads it: what the system has sent and the reader has not read, what it has not
# sent, what the loop's transport holds, the round of frames in which it was filled, and the frame on its way. Without
# these bounds it is 4 MiB and more.
IN_FRONT = READER + TLS_READER + 2 * RECEIVE_BUFFER + NOTSENT_LOWAT + WRITE_HIGH_WATER + WRITE_AT_ONCE + MAX_PIECE


async def bulk_before(reader: Peer, kind: FrameType, stream: StreamId) -> int:
    """Read on until a frame of this kind and stream; the bytes of bulk that came before it."""
    size = 0
    while (found := await reader.next())[:2] != [kind, stream]:
        if found[1] == BULK and found[0] in {F.DATA, F.BODY}:
            size += len(found[2])
    return size


async def grant(reader: Peer) -> None:
    """All the credit that there is: nothing but the socket shall hold the bulk back."""
    reader.send(frame(F.WINDOW, 0, GiB) + frame(F.WINDOW, BULK, GiB // 2))


@asynccontextmanager
async def upload(home: House, reader: Peer) -> AsyncIterator[None]:
    """A request body without end on its way to an agent that reads slowly."""
    exchange = home.server.attach(BULK)

    async def send() -> None:
        while True:
            await exchange.send(bytes(64 * KiB))

    sending = asyncio.create_task(send())
    try:
        await grant(reader)
        for _ in range(100):  # the window of the connection has long opened by then
            await reader.until(F.BODY)
        yield
    finally:
        sending.cancel()
        await asyncio.wait([sending])


@on_every_loop
async def test_a_request_and_its_end_overtake_an_upload_by_all_that_is_not_in_the_socket() -> None:
    async with house() as home, peer(home.server.port, receive_buffer=RECEIVE_BUFFER) as reader:
        await reader.join()
        link = home.fleet.links[MALLORY.node_id]
        home.server.open(link, BULK, request("bulk", size=-1))
        async with upload(home, reader):
            for number in range(20):
                await turns_until(lambda: home.server._agents[link]._paused)
                talk = StreamId(TALK + number)
                home.server.open(link, talk, request("talk", size=-1))
                await home.server.attach(talk).send(b"a short question")
                await home.server.attach(talk).end()
                assert await bulk_before(reader, F.OPEN, talk) <= IN_FRONT
                assert await bulk_before(reader, F.BODY, talk) <= IN_FRONT
                home.server.close(talk)
                assert await bulk_before(reader, F.CANCEL, talk) <= IN_FRONT
        home.server.close(BULK)


@on_every_loop
async def test_streams_that_are_ready_take_turns_frame_by_frame() -> None:
    async with house() as home, peer(home.server.port, receive_buffer=RECEIVE_BUFFER) as reader:
        await reader.join()
        link = home.fleet.links[MALLORY.node_id]
        others = [StreamId(TALK + number) for number in range(10)]
        for stream in (BULK, *others):
            home.server.open(link, stream, request(size=-1))
            reader.send(frame(F.WINDOW, stream, GiB))
        async with upload(home, reader):
            await turns_until(lambda: home.server._agents[link]._paused)
            sending = [asyncio.create_task(home.server.attach(talk).send(bytes(3 * MAX_PIECE))) for talk in others]
            await asyncio.sleep(0)  # each has taken its first step, and none of their frames has found room
            seen: list[int] = []
            while len(seen) < 3 * len(others):
                stream = (await reader.until(F.BODY))[1]
                if stream != BULK:
                    seen.append(stream)
            assert seen == 3 * others
            await asyncio.gather(*sending)
        for stream in (BULK, *others):
            home.server.close(stream)


@on_every_loop
async def test_a_token_overtakes_a_long_answer_by_all_that_is_not_in_the_socket() -> None:
    tokens: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(serving: Serving) -> None:
        await serving.send_head(HEAD)
        while True:
            await serving.send(bytes(64 * KiB) if serving.head.request_id == "bulk" else await tokens.get())

    peers: asyncio.Queue[Peer] = asyncio.Queue()
    over = asyncio.Event()

    async def paced(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.put_nowait(Peer(reader, writer))
        await over.wait()

    async with raw_port(paced, receive_buffer=RECEIVE_BUFFER) as address:
        dialling = asyncio.create_task(LinkDialer(AiohttpServers()).dial(address, HELLO, serve))
        router = await peers.get()
        router.send(encode(F.WELCOME, 0, Welcome(1, RouterId("r-1"), NodeName("studio"))))
        router.send(encode(F.OPEN, BULK, request("bulk")) + encode(F.OPEN, TALK, request("talk")))
        agent = await dialling
        try:
            await grant(router)
            for _ in range(100):
                await router.until(F.DATA)
            for _ in range(20):
                await turns_until(lambda: agent._paused)
                tokens.put_nowait(b"token")
                assert await bulk_before(router, F.DATA, TALK) <= IN_FRONT
                router.send(frame(F.PING, 0, 1))
                assert await bulk_before(router, F.PONG, StreamId(0)) <= IN_FRONT
        finally:
            over.set()
            agent.hang_up("the test is over")
            await agent.wait_closed()
