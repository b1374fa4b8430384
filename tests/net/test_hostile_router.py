"""A router that breaks the rules: what it gets from an agent."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from herd.actors.ports import Serving
from herd.errors import HerdError
from herd.net.agent_connection import AgentConnection
from herd.net.http_client import AiohttpServers
from herd.net.link import MERGE_FROM
from herd.net.link_client import LinkDialer
from herd.protocols.framing import MAX_FRAME, MAX_FRAME_BEFORE_WELCOME, encode
from herd.protocols.messages import FrameType, Welcome
from herd.types import KiB, MiB, NodeName, RouterId, StreamId
from tests.net.hostile import Peer, bounded_memory, frame, goodbye, no_traceback, packed
from tests.net.link_house import HELLO, raw_port
from tests.net.loops import on_every_loop, turns_until

F = FrameType
NAN = float("nan")
HEAD = {"request_id": "q-1", "backend": "ollama", "method": "POST", "path": "/api/chat", "size": -1}
WELCOME = encode(F.WELCOME, 0, Welcome(1, RouterId("r-1"), NodeName("studio")))


def opened(stream: int, **changes: object) -> bytes:
    return frame(F.OPEN, stream, HEAD | changes)


# --- The table: bytes, and what the GOODBYE says of them --------------------------------------------------------------

BEFORE_WELCOME: dict[str, tuple[bytes, str]] = {
    "a frame of 4 GiB": (b"\xff\xff\xff\xff", "too long"),
    "a frame over the limit": ((MAX_FRAME_BEFORE_WELCOME + 1).to_bytes(4, "big"), "at most 65536"),
    "an empty frame": (bytes(4), "not valid msgpack"),
    "lists nested 60,000 deep": (packed(b"\x91" * 60_000), "not valid msgpack"),
    "HELLO from a router": (frame(F.HELLO, 0, {}), "HELLO is not allowed"),
    "OPEN before WELCOME": (opened(1), "OPEN is not allowed while the link is greeting"),
    "CHALLENGE without a token": (frame(F.CHALLENGE, 0, b"", b""), "wants a join token"),
    "a version of another age": (
        frame(F.WELCOME, 0, {"version": -1, "router_id": "r", "name": "n"}),
        "No common version",
    ),
    "WELCOME without fields": (frame(F.WELCOME, 0, {}), "missing required field"),
    "a heartbeat every NaN": (
        frame(F.WELCOME, 0, {"version": 1, "router_id": "r", "name": "n", "heartbeat_s": NAN}),
        "type float may not stand here",
    ),
}

# With a request of stream 1 whose body is not all there, one of stream 2 without one, and one of 3 that was cancelled.
AFTER_WELCOME: dict[str, tuple[bytes, str]] = {
    "a frame over the limit": ((MAX_FRAME + 1).to_bytes(4, "big"), "at most 1048576"),
    "a list of 4 billion": (packed(b"\xdd\xff\xff\xff\xff"), "not valid msgpack"),
    "lists nested 100,000 deep": (packed(b"\x91" * 100_000), "not valid msgpack"),
    "WELCOME twice": (WELCOME, "WELCOME is not allowed"),
    "HEARTBEAT from a router": (frame(F.HEARTBEAT, 0, {}), "HEARTBEAT is not allowed"),
    "DATA from a router": (frame(F.DATA, 1, b"x"), "DATA is not allowed"),
    "HEAD from a router": (frame(F.HEAD, 1, {"status": 200}), "HEAD is not allowed"),
    "OPEN of a stream in use": (opened(1), "OPEN names stream 1"),
    "OPEN of stream 0": (opened(0), "OPEN names stream 0"),
    "OPEN of a stream below nought": (opened(-1), "OPEN names stream -1"),
    "OPEN of a stream of 64 bits": (opened(2**64 - 1), "OPEN names stream 18446744073709551615"),
    "OPEN without fields": (frame(F.OPEN, 9, {}), "missing required field"),
    "1,025 requests at once": (b"".join(opened(n) for n in range(10, 1033)), "1024 streams are open"),
    "BODY of a stream that never was": (frame(F.BODY, 99, b"x", False), "never opened"),
    "BODY of a request that has none": (frame(F.BODY, 2, b"x", False), "BODY is not allowed on a stream"),
    "BODY behind the last": (frame(F.BODY, 1, b"x", True) * 2, "BODY is not allowed on a stream that is serving"),
    "more BODY than was granted": (frame(F.BODY, 1, bytes(8 * KiB + 1), False), "had credit for 8192"),
    "more BODY than was declared": (opened(9, size=3) + frame(F.BODY, 9, b"four", False), "as its OPEN declared"),
    "less BODY than was declared": (opened(9, size=3) + frame(F.BODY, 9, b"2!", True), "as its OPEN declared"),
    "CANCEL of a stream that never was": (frame(F.CANCEL, 99), "never opened"),
    "WINDOW of a stream beyond 31 bits": (frame(F.WINDOW, 1, 2**31), "beyond 2147483648"),
    "WINDOW of the link beyond 31 bits": (frame(F.WINDOW, 0, 2**31), "beyond 2147483648"),
    "a command of bytes": (frame(F.COMMAND, 0, {"id": 1, "name": "x", "args": {"a": b"x"}}), "type bytes"),
}

# The head of one request may be some client's doing: that request is refused, and the link goes on.
HEADS: dict[str, dict[str, object]] = {
    "a path that names another host": {"path": "@203.0.113.1/steal"},
    "a path that adds to the port": {"path": "5/api/chat"},
    "no path": {"path": ""},
    "a path of two lines": {"path": "/api/chat HTTP/1.1\r\nX-Injected: 1"},
    "a method of two words": {"method": "GET /etc"},
    "no method": {"method": ""},
    "a header of two lines": {"headers": [["X-A", "1\r\nX-Injected: 1"]]},
    "a header with a nought": {"headers": [["X-A", "\x00"]]},
    "a header without a name": {"headers": [["", "x"]]},
    "a name of two lines": {"headers": [["X-A: 1\r\nX-Injected", "1"]]},
    "a size below nought": {"size": -2},
}


async def waits(_: Serving) -> None:
    """A relay whose model server never answers."""
    await asyncio.Event().wait()


@asynccontextmanager
async def hostile_router() -> AsyncIterator[tuple[Peer, "asyncio.Task[AgentConnection]"]]:
    """A router that is played by hand, and an agent that has said its HELLO to it."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    over = asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        await peer.until(F.HELLO)
        peers.put_nowait(peer)
        await over.wait()

    async with raw_port(connected) as address:
        dialling = asyncio.create_task(LinkDialer(AiohttpServers()).dial(address, HELLO, waits))
        try:
            yield await peers.get(), dialling
        finally:
            over.set()
            with suppress(HerdError):
                agent = await dialling
                agent.hang_up("the test is over")
                await agent.wait_closed()


@pytest.mark.parametrize(("data", "complaint"), BEFORE_WELCOME.values(), ids=BEFORE_WELCOME)
@on_every_loop
async def test_a_router_that_breaks_the_rules_at_once_is_told_so_and_not_joined(
    data: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile_router() as (peer, dialling):
        with bounded_memory():
            peer.send(data)
            parting = goodbye(await peer.rest())
        assert re.search(complaint, parting.text), parting.text
        with pytest.raises(HerdError):
            await dialling
    assert no_traceback(caplog)


async def joined(peer: Peer, dialling: "asyncio.Task[AgentConnection]") -> AgentConnection:
    """An agent with three requests: of 1 the body is not all there, 2 has none, 3 is cancelled."""
    peer.send(WELCOME + opened(1) + opened(2, size=0) + opened(3) + frame(F.CANCEL, 3))
    agent = await dialling
    await peer.answered()
    return agent


@pytest.mark.parametrize(("data", "complaint"), AFTER_WELCOME.values(), ids=AFTER_WELCOME)
@on_every_loop
async def test_a_router_that_breaks_the_rules_later_is_told_so_and_left_with_nothing_running(
    data: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile_router() as (peer, dialling):
        agent = await joined(peer, dialling)
        with bounded_memory():
            peer.send(data)
            parting = goodbye(await peer.rest())
        assert re.search(complaint, parting.text), parting.text
        await agent.wait_closed()
        await turns_until(lambda: not agent._tasks)
        assert agent._streams == {}
    assert no_traceback(caplog)


@pytest.mark.parametrize("changes", HEADS.values(), ids=HEADS)
@on_every_loop
async def test_a_request_that_http_cannot_carry_is_refused_before_it_reaches_a_model_server(
    changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with hostile_router() as (peer, dialling):
        agent = await joined(peer, dialling)
        peer.send(opened(7, **changes) + frame(F.BODY, 7, b"x", True))
        refused = await peer.until(F.RESET)
        assert refused[1] == 7
        assert "cannot be passed on" in refused[2]["text"]
        assert list(agent._streams) == [1, 2]
        await peer.answered()
    assert no_traceback(caplog)


@on_every_loop
async def test_requests_that_are_opened_and_cancelled_over_and_over_leave_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with hostile_router() as (peer, dialling):
        agent = await joined(peer, dialling)
        with bounded_memory(20 * MiB):
            for start in (10, 10, 10_000):  # the same ids again, and others
                pairs = (opened(stream) + frame(F.CANCEL, stream) for stream in range(start, start + 2000))
                await peer.flood(b"".join(pairs))
            await peer.answered()
        await turns_until(lambda: list(agent._tasks) == [1, 2])
        assert list(agent._streams) == [1, 2]
        assert agent.session.streams == (1, 2)
    assert no_traceback(caplog)


@on_every_loop
async def test_bodies_in_pieces_of_one_byte_that_nobody_reads_cost_a_window() -> None:
    async with hostile_router() as (peer, dialling):
        agent = await joined(peer, dialling)
        with bounded_memory(MiB):
            await peer.flood(frame(F.BODY, 1, b"x", False) * (8 * KiB))
            await peer.answered()
        waiting = agent._streams[StreamId(1)]._body
        assert sum(len(event.data) for event in waiting) == 8 * KiB
        assert len(waiting) <= MERGE_FROM
