import asyncio
import hashlib
import random

import pytest

from herd.actors.ports import Serving
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.messages import Head
from herd.protocols.session import DataReceived, StreamEnded, StreamReset
from herd.types import KiB, MiB, StreamId
from tests.net.link_house import (
    HEAD,
    HELLO,
    USAGE,
    carry,
    house,
    linked,
    pour,
    request,
    reset_of,
)
from tests.net.loops import on_every_loop, turns_until

pytestmark = pytest.mark.usefixtures("plain_and_tls")


async def fingerprint_and_noise(serving: Serving) -> None:
    """Answers with the fingerprint of what came in, and noise that the request's name seeds."""
    seen = hashlib.sha256()
    async for piece in serving.body():
        seen.update(piece)
    dice = random.Random(serving.head.request_id)
    await serving.send_head(Head(200, (("fingerprint", seen.hexdigest()),)))
    noise = noise_for(str(serving.head.request_id))
    start = 0
    while start < len(noise):
        end = start + dice.randint(1, 100 * KiB)
        await serving.send(noise[start:end])
        start = end
    serving.end(USAGE)


def noise_for(name: str) -> bytes:
    """Mostly little, now and then a lot, sometimes nothing."""
    dice = random.Random(f"noise {name}")
    return dice.randbytes(int(dice.choice([0, 1, 100, 8 * KiB, 8 * KiB + 1, 70_000]) * dice.random() * 3))


@on_every_loop
async def test_two_hundred_streams_at_once_are_carried_to_the_byte() -> None:
    async with linked(fingerprint_and_noise) as joined:

        async def one(number: int) -> None:
            name = f"q-{number}"
            body = noise_for(f"body of {name}")
            stream = joined.open(number, request(name, size=-1 if number % 2 else len(body)))
            head, answer = await carry(joined, stream, body, random.Random(number))
            assert head == Head(200, (("fingerprint", hashlib.sha256(body).hexdigest()),))
            assert answer == noise_for(name)

        await asyncio.gather(*(one(number) for number in range(1, 201)))
        assert joined.server._stream_links == {}
        assert joined.agent.session.streams == ()


@on_every_loop
async def test_small_pieces_that_wait_are_joined_but_never_reordered() -> None:
    pieces = [bytes([number % 256]) for number in range(3000)]

    async def drip(serving: Serving) -> None:
        await serving.send_head(HEAD)
        for piece in pieces:
            await serving.send(piece)
        serving.end(USAGE)

    async with linked(drip) as joined:
        stream = joined.open(1)
        # All of it is here before anybody looks.
        await turns_until(lambda: not joined.server._stream_links[stream].session.streams)
        _, answer = await carry(joined, stream, b"", random.Random(0))
        assert answer == b"".join(pieces)


@on_every_loop
async def test_a_reader_who_does_not_read_stalls_nobody_else() -> None:
    async with linked(pour) as joined:
        for stream in range(1, 21):
            joined.open(stream)  # twenty that are never read
        _, answer = await carry(joined, joined.open(99, request(f"q:{4 * MiB}")), b"", random.Random(0))
        assert len(answer) == 4 * MiB
        waiting = sum(
            len(event.data)
            for exchange in joined.server._stream_links[StreamId(1)].exchanges.values()
            for event in exchange._events
            if isinstance(event, DataReceived)
        )
        assert waiting <= 20 * 8 * KiB  # a window each, and not a byte more
        for stream in range(1, 21):
            joined.server.close(StreamId(stream))


@on_every_loop
async def test_a_backend_that_does_not_read_makes_the_sender_wait_and_stalls_nobody_else() -> None:
    async def ignore_the_first(serving: Serving) -> None:
        if serving.head.request_id == "stuck":
            await asyncio.Event().wait()
        await fingerprint_and_noise(serving)

    async with linked(ignore_the_first) as joined:
        stuck = joined.server.attach(joined.open(1, request("stuck", size=-1)))
        await stuck.send(bytes(64 * KiB))  # what its buffer takes
        sending = asyncio.create_task(stuck.send(bytes(64 * KiB)))
        body = random.Random(1).randbytes(2 * MiB)
        head, _ = await carry(joined, joined.open(2, request("q-2", size=-1)), body, random.Random(2))
        assert head.headers == (("fingerprint", hashlib.sha256(body).hexdigest()),)
        assert not sending.done()
        joined.server.close(StreamId(1))  # gives up, and frees whoever waits for room
        await sending


@on_every_loop
async def test_an_answer_may_end_before_the_request_was_read() -> None:
    async def refuse(serving: Serving) -> None:
        await serving.send_head(HEAD)
        serving.end(USAGE)

    async with linked(refuse) as joined:
        exchange = joined.server.attach(joined.open(1, request(size=-1)))
        for _ in range(40):  # waits while there is no room, and is let go once the answer is complete
            await exchange.send(bytes(64 * KiB))
        await exchange.end()
        await exchange.receive()
        assert await exchange.receive() == StreamEnded(StreamId(1), USAGE)
        joined.server.close(StreamId(1))


@pytest.mark.parametrize("when", ["reading", "waiting", "sending"])
@on_every_loop
async def test_a_stream_given_up_by_the_router_cancels_its_relay(when: str) -> None:
    reached, cancelled = asyncio.Event(), asyncio.Event()

    async def relay(serving: Serving) -> None:
        try:
            reached.set()
            if when == "reading":
                async for _ in serving.body():
                    pass
            elif when == "sending":
                await pour(serving)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            with pytest.raises(LinkClosed):  # there is nobody to send to any more
                await serving.send(b"late")
            raise

    async with linked(relay) as joined:
        stream = joined.open(1, request(size=-1))
        await reached.wait()
        joined.server.close(stream)
        joined.server.close(stream)
        await cancelled.wait()
        with pytest.raises(LinkClosed):
            joined.server.attach(stream)
        assert joined.server.silence(joined.link) < 30  # the link itself is well


@on_every_loop
async def test_a_stream_can_be_given_up_before_anybody_attached() -> None:
    async with linked(pour) as joined:
        joined.server.close(joined.open(1))
        _, answer = await carry(joined, joined.open(2, request(f"q:{64 * KiB}")), b"", random.Random(0))
        assert len(answer) == 64 * KiB


@pytest.mark.parametrize("how", ["raises", "returns"])
@on_every_loop
async def test_a_relay_that_leaves_its_answer_open_breaks_it(how: str) -> None:
    async def give_up(serving: Serving) -> None:
        await serving.send_head(HEAD)
        await serving.send(b"half of")
        if how == "raises":
            raise RuntimeError("a bug")

    async with linked(give_up) as joined:
        assert (await reset_of(joined, joined.open(1))).kind == "internal"
        assert (await reset_of(joined, joined.open(2))).kind == "internal"  # and the link goes on


@on_every_loop
async def test_a_cut_link_resets_every_stream_at_both_ends() -> None:
    cancelled: asyncio.Queue[str] = asyncio.Queue()

    async def relay(serving: Serving) -> None:
        try:
            await pour(serving)
        except asyncio.CancelledError:
            cancelled.put_nowait(serving.head.request_id)
            raise

    async with house() as home, home.agent(relay) as joined:
        streams = [joined.open(number, request(f"q-{number}:")) for number in range(1, 6)]
        first = joined.server.attach(streams[0])
        await first.receive()  # at least this one is in full swing
        blocked = joined.server.attach(joined.open(9, request("q-9:", size=-1)))
        sending = asyncio.create_task(blocked.send(bytes(MiB)))
        joined.cut()
        for stream in streams:
            assert (await reset_of(joined, stream)).kind == "link"
        await sending  # who waits for room does not wait for ever
        with pytest.raises(LinkClosed):
            await blocked.send(b"more")
        await blocked.end()
        joined.server.close(StreamId(9))
        down = await home.fleet.news.get()
        assert down[:3] == ("down", HELLO.node_id, joined.link)
        for _ in range(len(streams)):
            await cancelled.get()
        with pytest.raises(LinkClosed):
            joined.open(10)
        assert joined.server._stream_links == {}


@on_every_loop
async def test_two_receivers_of_a_lost_link_are_both_told() -> None:
    async with linked(pour) as joined:
        exchange = joined.server.attach(joined.open(1))
        joined.cut()
        while not isinstance(event := await exchange.receive(), StreamReset):
            pass
        assert event.failure.kind == "link"
        assert "lost" in event.failure.text


@on_every_loop
async def test_a_cancelled_receive_loses_nothing() -> None:
    go = asyncio.Event()

    async def wait_first(serving: Serving) -> None:
        await go.wait()
        await serving.send_head(HEAD)
        await serving.send(b"all of it")
        serving.end(USAGE)

    async with linked(wait_first) as joined:
        stream = joined.open(1)
        waiting = asyncio.create_task(joined.server.attach(stream).receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        go.set()
        assert await carry(joined, stream, b"", random.Random(0)) == (HEAD, b"all of it")


@on_every_loop
async def test_a_link_carries_so_many_streams_and_no_more() -> None:
    async def wait(_: Serving) -> None:
        await asyncio.Event().wait()

    async with linked(wait) as joined:
        for stream in range(1, 1025):
            joined.open(stream)
        with pytest.raises(StreamFailed, match="1024"):
            joined.open(2000)
        joined.server.close(StreamId(5))
        joined.open(2001)
        for stream in [*range(1, 1025), 2001]:
            joined.server.close(StreamId(stream))
