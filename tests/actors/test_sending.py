"""Sending a request: while its answer comes in, and no longer than anybody wants the answer."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from herd.actors.delivery import Attempt, Delivery
from herd.actors.sending import SEND_SIZE, STALL_S, carried
from herd.errors import LinkClosed, RequestError, StreamFailed
from herd.protocols.messages import Failure, Head, Usage
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamEvent, StreamReset
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import RecordingSink
from herd.types import Dialect, KiB, StreamId
from tests.actors.doubles import settled

ONE = StreamId(1)
WHOLE = Usage(complete=True)
HEAD = HeadReceived(ONE, Head(200, (("Content-Type", "application/x-ndjson"),)))
LONG = 4 * SEND_SIZE


class Wire:
    """An `Exchange`: takes so many pieces without waiting, and hands out the events it is given."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.ended = False
        self.gone = False
        self._events: asyncio.Queue[StreamEvent] = asyncio.Queue()

    def comes(self, *events: StreamEvent) -> None:
        for event in events:
            self._events.put_nowait(event)

    async def send(self, data: bytes) -> None:
        if self.gone:
            raise LinkClosed("the node's link is gone")
        self.sent.append(data)
        if len(self.sent) > self.room:
            await asyncio.get_running_loop().create_future()

    async def end(self) -> None:
        self.ended = True

    async def receive(self) -> StreamEvent:
        return await self._events.get()


class Source:
    """A request body, and whether anybody still reads it."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.being_read = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        self.being_read = True
        try:
            for piece in self._pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.being_read = False


def delivery(wire: Wire, sink: RecordingSink) -> Delivery:
    return Delivery(wire, sink, Attempt(Dialect.OLLAMA, True, ()))


@pytest.mark.parametrize("size", [3, SEND_SIZE, SEND_SIZE + 1, -1])
def test_a_request_of_any_length_is_sent_to_its_end_and_answered(size: int) -> None:
    async def story() -> None:
        wire, source, sink = Wire(), Source(b"abc", b"def"), RecordingSink()
        running = asyncio.create_task(carried(wire, source.pieces(), size, delivery(wire, sink)))
        await settled()
        assert (wire.sent, wire.ended, source.being_read) == ([b"abc", b"def"], True, False)
        wire.comes(HEAD, DataReceived(ONE, b"{}\n"), StreamEnded(ONE, WHOLE))
        assert await running == WHOLE
        assert (sink.body, sink.finished) == (b"{}\n", True)

    run_virtual(story())


@virtual_time
async def test_an_answer_is_delivered_while_a_long_request_still_waits_for_room() -> None:
    wire, source, sink = Wire(room=1), Source(*[bytes(64 * KiB)] * 4), RecordingSink()
    running = asyncio.create_task(carried(wire, source.pieces(), LONG, delivery(wire, sink)))
    wire.comes(HEAD, DataReceived(ONE, b'{"error":"too long"}\n'))
    await settled()
    assert sink.body == b'{"error":"too long"}\n'
    assert not running.done()
    wire.comes(StreamEnded(ONE, WHOLE))
    assert await running == WHOLE
    assert (len(wire.sent), wire.ended, source.being_read) == (2, False, False)  # nobody wants the rest


@pytest.mark.parametrize("size", [3, LONG])
def test_a_link_that_is_gone_is_told_by_the_exchange_alone(size: int) -> None:
    async def story() -> None:
        wire, source, sink = Wire(), Source(b"abc"), RecordingSink()
        wire.gone = True
        failure = Failure("link", "the link to the node was lost")
        wire.comes(StreamReset(ONE, failure))
        failed = await carried(wire, source.pieces(), size, delivery(wire, sink))
        assert getattr(failed, "failure", None) == failure
        assert not source.being_read

    run_virtual(story())


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_that_breaks_off_breaks_its_answer_off(begun: bool) -> None:
    async def story() -> None:
        wire, sink = Wire(), RecordingSink()
        if begun:
            wire.comes(HEAD, DataReceived(ONE, b"{}\n"))
        source = Source(b"abc", RequestError("the client left in the middle of its body"))
        with pytest.raises(RequestError, match="left in the middle"):
            await carried(wire, source.pieces(), -1, delivery(wire, sink))
        assert (wire.ended, sink.finished, source.being_read) == (False, False, False)

    run_virtual(story())


@virtual_time
async def test_an_answer_that_breaks_ends_the_sending_and_is_raised_as_itself() -> None:
    wire, source, sink = Wire(room=1), Source(*[b"x"] * 4), RecordingSink()
    wire.comes(HEAD, DataReceived(ONE, b"{"), StreamReset(ONE, Failure("reset", "it broke off")))
    with pytest.raises(StreamFailed, match="it broke off"):
        await carried(wire, source.pieces(), LONG, delivery(wire, sink))
    assert (sink.aborted, source.being_read) == (True, False)


@virtual_time
async def test_a_server_that_takes_nothing_of_a_long_request_is_given_up_in_the_end() -> None:
    wire, source, sink = Wire(room=2), Source(*[b"x"] * 4), RecordingSink()
    began = asyncio.get_running_loop().time()
    with pytest.raises(RequestError, match="took nothing of the request for 900 s"):
        await carried(wire, source.pieces(), LONG, delivery(wire, sink))
    assert asyncio.get_running_loop().time() - began == STALL_S
    assert (sink.started, source.being_read) == (False, False)


@pytest.mark.parametrize("turn", range(12))
@pytest.mark.parametrize("size", [3, LONG])
def test_a_hang_up_in_any_turn_ends_both(size: int, turn: int) -> None:
    async def story() -> None:
        wire, source, sink = Wire(room=2), Source(b"a", b"b", b"c", b"d"), RecordingSink()
        wire.comes(HEAD, DataReceived(ONE, b"{}\n"))
        running = asyncio.create_task(carried(wire, source.pieces(), size, delivery(wire, sink)))
        for _ in range(turn):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (source.being_read, sink.finished) == (False, False)

    run_virtual(story())
