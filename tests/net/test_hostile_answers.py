"""What a hostile agent can make a client of the whole router see: nothing but one answer, or a broken one."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, RunningRouter, running_router
from herd.cli.process import LineFormatter
from herd.net.clock import SystemClock
from herd.net.http_server import AiohttpServer
from herd.net.link_server import LinkServer
from herd.protocols.framing import encode
from herd.protocols.messages import BackendInfo, FrameType, Machine, ModelInfo, Report, Usage
from herd.types import BackendId, Bytes, MiB, ModelName, NodeId, NodeName, RouterId, Seconds
from tests.net.hostile import MALLORY, Peer, frame, no_traceback, peer
from tests.net.http_house import RawClient, connection
from tests.net.link_house import LOOPBACK
from tests.net.loops import on_every_loop

F = FrameType
BACKEND = BackendInfo(BackendId("b"), "ollama", dialects=("ollama",))
REPORT = Report((BACKEND,), (ModelInfo(ModelName("m"), BACKEND.id),))
SECOND = b"HTTP/1.1 200 OK\r\nX-Injected: 1\r\nContent-Length: 8\r\n\r\ninjected"

ASK = b'{"model":"m","messages":[],"stream":false}'
CHAT = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(ASK), ASK)
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

# Heads that HTTP does not know: the node has failed.
NO_HEADS: dict[str, tuple[int, list[list[str]]]] = {
    "a value of two lines": (200, [["X-A", "1\r\nX-Injected: 1"]]),
    "a value with a second answer in it": (200, [["X-A", "1\r\n\r\n" + SECOND.decode()]]),
    "a value with a line feed": (200, [["X-A", "1\nX-Injected: 1"]]),
    "a value with a carriage return": (200, [["X-A", "1\rX-Injected: 1"]]),
    "a value with a nought": (200, [["X-A", "\x00"]]),
    "a name of two lines": (200, [["X-A: 1\r\nX-Injected", "1"]]),
    "a name with a colon": (200, [["X-Injected: 1", ""]]),
    "a name with a blank": (200, [["Content-Length ", "1"]]),
    "no name": (200, [["", "1"]]),
    "a status below nought": (-1, []),
    "status 0": (0, []),
    "status 99": (99, []),
    "status 100, as if the answer were still to come": (100, []),
    "status 101, as if this were no HTTP any more": (101, []),
    "status 600": (600, []),
    "status 1000": (1000, []),
    "a status of 64 bits": (2**64 - 1, []),
    "two lengths": (200, [["Content-Length", "5"], ["content-length", "50"]]),
    "a list of lengths": (200, [["Content-Length", "5, 5"]]),
    "a length below nought": (200, [["Content-Length", "-5"]]),
    "a length with a sign": (200, [["Content-Length", "+5"]]),
    "a length with an underscore": (200, [["Content-Length", "1_0"]]),
    "a length of other digits": (200, [["Content-Length", "\u0665"]]),
    "a length of 64 bits and more": (200, [["Content-Length", "9" * 30]]),
}

# Headers that are not the agent's to set: they end at the router.
NOT_PASSED: dict[str, list[str]] = {
    "Transfer-Encoding": ["Transfer-Encoding", "chunked"],
    "Connection": ["Connection", "close, X-A"],
    "Upgrade": ["Upgrade", "websocket"],
    "Trailer": ["Trailer", "X-Injected"],
    "a node's name": ["X-Herd-Node", "somebody else"],
    "an edit": ["X-Herd-Edited", "model"],
    "who may read it": ["Access-Control-Allow-Origin", "*"],
    "who serves": ["Server", "mallory/1"],
}


@asynccontextmanager
async def whole_router() -> AsyncIterator[RunningRouter]:
    """A router with all its actors, on sockets."""
    identity, now = RouterIdentity(RouterId("r-1"), "0"), Seconds(0.0)
    options = RouterOptions(identity, seed=1, hold_timeout=now, json_limit=Bytes(MiB), join_grace=now)
    links = LinkServer(LOOPBACK, 0)
    http = AiohttpServer(LOOPBACK, 0, grace=Seconds(0.0))
    ports = RouterPorts(SystemClock(), http, listener=links, links=links, streams=links, advertiser=None)
    async with running_router(options, ports) as router:
        yield router


@asynccontextmanager
async def mallory_serves(status: int, headers: list[list[str]], body: bytes = b"") -> AsyncIterator[RawClient]:
    """A client of a router whose only node gives this answer to every request."""
    async with whole_router() as router, peer(router.link_port) as mallory, connection(router.http_port) as client:
        await mallory.join()
        mallory.send(encode(F.HEARTBEAT, 0, REPORT))
        while (await client.ask(READY)).status != 200:
            pass
        answering = asyncio.create_task(answer_all(mallory, status, headers, body))
        try:
            yield client
        finally:
            answering.cancel()
            with suppress(asyncio.CancelledError):
                await answering


async def answer_all(mallory: Peer, status: int, headers: list[list[str]], body: bytes) -> None:
    """Give one answer to whatever is asked."""
    while True:
        stream = (await mallory.until(F.OPEN))[1]
        mallory.send(frame(F.HEAD, stream, {"status": status, "headers": headers}))
        if body:
            mallory.send(frame(F.DATA, stream, body))
        mallory.send(encode(F.END, stream, Usage(complete=True)))


@pytest.mark.parametrize(("status", "headers"), NO_HEADS.values(), ids=NO_HEADS)
@on_every_loop
async def test_a_head_that_http_does_not_know_is_a_failure_of_the_node(
    status: int, headers: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    async with mallory_serves(status, headers, SECOND) as client:
        reply = await client.ask(CHAT)
        assert (reply.status, reply.whole) == (502, True)
        assert "cannot be passed on" in json.loads(reply.body)["error"]
        assert "x-injected" not in reply.headers
        # What comes next on this connection is the router's own answer to what is asked next.
        assert (await client.ask(HEALTH)).body == b'{"status":"alive"}'
    assert no_traceback(caplog)


@pytest.mark.parametrize("header", NOT_PASSED.values(), ids=NOT_PASSED)
@pytest.mark.parametrize("length", [[], [["Content-Length", "%d"]]], ids=["no length", "a length"])
@on_every_loop
async def test_a_header_that_is_not_the_nodes_to_set_ends_at_the_router(
    header: list[str], length: list[list[str]]
) -> None:
    body = b"0\r\n\r\n" + SECOND  # the end of a body in chunks, to whoever believes that it is one
    headers = [header, *([name, value % len(body)] for name, value in length)]
    async with mallory_serves(200, headers, body) as client:
        reply = await client.ask(CHAT)
        assert (reply.status, reply.whole, reply.body) == (200, True, body)
        if header[0] != "Transfer-Encoding" or length:  # without a length the router itself sends chunks
            assert reply.headers.get(header[0].lower()) != header[1]
        assert reply.headers["x-herd-node"] == "mallory"
        assert (await client.ask(HEALTH)).body == b'{"status":"alive"}'


@pytest.mark.parametrize("length", [0, 1, len(SECOND) - 1, len(SECOND) + 1, 10**15])
@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"], ids=["a document", "a stream"])
@on_every_loop
async def test_an_answer_that_is_not_as_long_as_it_says_is_cut_off(
    length: int, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with mallory_serves(200, [["Content-Length", str(length)], ["Content-Type", kind]], SECOND) as client:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            reply = await client.ask(CHAT)
            assert "x-injected" not in reply.headers
            assert not reply.whole or len(reply.body) == length
            client.send(HEALTH)
            assert b"injected" not in await client.reader.read()  # the connection is closed, not used again
    assert no_traceback(caplog)


@pytest.mark.parametrize("status", [204, 304])
@on_every_loop
async def test_an_answer_that_may_have_no_body_has_none(status: int) -> None:
    async with mallory_serves(status, [], SECOND) as client:
        reply = await client.ask(CHAT)
        assert (reply.status, reply.body) == (status, b"")
        assert (await client.ask(HEALTH)).body == b'{"status":"alive"}'


@on_every_loop
async def test_what_an_agent_calls_itself_reaches_neither_a_terminal_nor_a_header_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    evil = "\x1b]0;owned\x07\x9b2J\r\nX-Injected: 1\u202e" + "z" * 50_000
    hello = replace(
        MALLORY, name=NodeName(evil), agent_version="\x1b[2J\r\n", machine=Machine(os="\x00\x1b", cpu='"}]}\u2028')
    )
    async with whole_router() as router, peer(router.link_port) as mallory, connection(router.http_port) as client:
        await mallory.join(hello)
        mallory.send(encode(F.HEARTBEAT, 0, REPORT))
        while (await client.ask(READY)).status != 200:
            pass
        reply = await client.ask(b"GET /herd/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert not [byte for byte in reply.body if byte < 0x20]
        (node,) = json.loads(reply.body)["nodes"]
        assert (node["agent_version"], node["machine"]["cpu"]) == ("\x1b[2J\r\n", '"}]}\u2028')
        assert node["name"].isprintable()
        assert len(node["name"]) <= 64
        client.send(CHAT)
        await mallory.until(F.OPEN)
        mallory.send(frame(F.GOODBYE, 0, {"code": "x", "text": evil}))
        assert (await client.reply()).status in {502, 503}
    shown = [LineFormatter().format(record) for record in caplog.records]
    assert shown
    assert all(line.isprintable() and len(line) < 2000 for line in shown)
    assert no_traceback(caplog)


@on_every_loop
async def test_hellos_of_one_id_over_and_over_do_not_keep_another_node_from_serving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mallory_serves(200, [["Content-Type", "application/json"]], b"{}") as client:
        port = json.loads((await client.ask(b"GET /herd/v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n")).body)[
            "link_port"
        ]
        for _ in range(200):
            async with peer(port) as another:
                another.send(encode(F.HELLO, 0, replace(MALLORY, node_id=NodeId("other"), name=NodeName("other"))))
                await another.until(F.WELCOME)
            assert (await client.ask(CHAT)).body == b"{}"
        status = json.loads((await client.ask(b"GET /herd/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")).body)
        assert sorted(node["name"] for node in status["nodes"]) == ["mallory", "other"]
    assert no_traceback(caplog)
