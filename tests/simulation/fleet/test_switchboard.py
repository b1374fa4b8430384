"""The router's end of simulated links: who joins, what is heard of them, and every way in which an answer ends."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from herd.actors.ports import Handler, HttpRequest, Sink
from herd.errors import LinkClosed, StreamFailed
from herd.protocols.messages import PROTOCOL_VERSIONS, Failure, Goodbye, Head, Hello, Report, RequestHead, Welcome
from herd.protocols.session import DataReceived, HeadReceived, StreamEnded, StreamEvent, StreamReset
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.switchboard import Line, Stream, Switchboard
from herd.types import BackendId, Bytes, LinkId, NodeId, NodeName, RequestId, RouterId, StreamId
from tests.simulation.ollama.bench import turns

HELLO = Hello(PROTOCOL_VERSIONS, NodeId("studio"), NodeName("studio"), "simulated")
WELCOME = Welcome(PROTOCOL_VERSIONS[-1], RouterId("router"), NodeName("studio"))
STREAM = StreamId(7)

Answer = Callable[[HttpRequest, Sink], Awaitable[None]]


class Router:
    """Implements `LinkEvents`: keeps what it is told."""

    def __init__(self, answer: Welcome | Goodbye = WELCOME) -> None:
        self.answer = answer
        self.gate = asyncio.Event()
        self.gate.set()
        self.told: list[tuple[str, LinkId]] = []

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        await self.gate.wait()
        self.told.append((f"hello {hello.name}", link))
        return self.answer

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        self.told.append((f"report of {node}", link))

    def draining(self, link: LinkId, node: NodeId) -> None:
        raise AssertionError("a simulated node leaves without a word")

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        self.told.append((f"{node} is down: {why}", link))


async def never(request: HttpRequest, sink: Sink) -> None:
    """A server that is asked nothing."""
    raise AssertionError(f"asked {request.method} {request.path}")


class Lost:
    """Counts how often a node was told that its line is gone."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


async def joined(
    router: Router, serve: Handler = never, lost: Callable[[], None] = lambda: None
) -> tuple[Switchboard, Line]:
    """A switchboard with one node."""
    board = Switchboard()
    await board.start(router)
    line = await board.join(HELLO, serve, lost)
    assert line is not None
    return board, line


def head(size: int = 0, path: str = "/api/chat") -> RequestHead:
    headers = (("X-Trace", "1"),)
    return RequestHead(RequestId("r1"), BackendId("ollama"), "POST", path, headers, streamed=True, size=size)


async def everything(stream: Stream) -> list[StreamEvent]:
    """All that comes on a stream, to its end."""
    events: list[StreamEvent] = []
    while not events or not isinstance(events[-1], StreamEnded | StreamReset):
        events.append(await stream.receive())
    return events


def reset(why: str, kind: str = "reset") -> StreamReset:
    return StreamReset(STREAM, Failure(kind, why))


# --- Lines ------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_nobody_joins_before_the_router_listens_or_after_it_stopped() -> None:
    board = Switchboard()
    assert await board.join(HELLO, never, lambda: None) is None
    await board.start(Router())
    await board.stop()
    assert await board.join(HELLO, never, lambda: None) is None


@virtual_time
async def test_a_node_that_the_router_will_not_have_has_no_line() -> None:
    board, router = Switchboard(), Router(Goodbye("version", "too old"))
    await board.start(router)
    assert await board.join(HELLO, never, lambda: None) is None
    assert repr(board) == "<Switchboard [0 nodes, 0 streams]>"


@virtual_time
async def test_a_node_that_knocks_while_the_router_stops_is_not_let_in() -> None:
    board, router, lost = Switchboard(), Router(), Lost()
    await board.start(router)
    router.gate.clear()
    joining = asyncio.create_task(board.join(HELLO, never, lost))
    await turns()
    await board.stop()
    router.gate.set()
    assert await joining is None
    assert repr(board) == "<Switchboard [0 nodes, 0 streams]>"


@virtual_time
async def test_reports_are_heard_until_the_line_is_gone() -> None:
    router = Router()
    board, line = await joined(router)
    await asyncio.sleep(100.0)
    assert board.silence(line.link) == 100.0
    board.report(line, Report())
    assert board.silence(line.link) == 0.0
    board.drop(line, "it fell asleep")
    board.drop(line, "again")
    board.report(line, Report())
    assert board.silence(line.link) == float("inf")
    told = [what for what, _ in router.told]
    assert told == ["hello studio", "report of studio", "studio is down: it fell asleep"]


@virtual_time
async def test_every_line_is_another_one() -> None:
    router = Router()
    board, line = await joined(router)
    board.drop(line, "gone")
    again = await board.join(HELLO, never, lambda: None)
    assert again is not None
    assert again.link != line.link
    board.drop(line, "its end comes late")
    assert board.silence(again.link) == 0.0


@pytest.mark.parametrize("how", ["stop", "disconnect", "disconnect_all"])
@virtual_time
async def test_a_node_is_told_when_the_router_hangs_up(how: str) -> None:
    router, lost = Router(), Lost()
    board, line = await joined(router, lost=lost)
    goodbye = Goodbye("replaced", "somebody else has its name")
    if how == "stop":
        await board.stop()
    elif how == "disconnect":
        board.disconnect(line.link, goodbye)
        board.disconnect(line.link, goodbye)
        board.disconnect(LinkId(99), goodbye)
    else:
        board.disconnect_all(goodbye)
    assert lost.times == 1
    assert line.gone == ("the router is shutting down" if how == "stop" else goodbye.text)
    assert router.told[-1] == (f"studio is down: {line.gone}", line.link)


@virtual_time
async def test_a_node_that_hangs_up_itself_is_not_told() -> None:
    lost = Lost()
    board, line = await joined(Router(), lost=lost)
    board.drop(line, "the node leaves")
    await board.stop()
    assert lost.times == 0


# --- Streams ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_request_arrives_whole_and_its_answer_in_order() -> None:
    asked: list[tuple[str, str, bytes, object]] = []

    async def serve(request: HttpRequest, sink: Sink) -> None:
        body = await (await request.read_body(Bytes(100))).examine(bytes)
        asked.append((request.method, request.path, body, request.headers))
        await sink.start(200, (("Content-Type", "text/plain"), ("Connection", "close")))
        for piece in (b"one", b"", b"two"):
            await sink.write(piece)
        await sink.finish()

    board, line = await joined(Router(), serve)
    board.open(line.link, STREAM, head(size=6))
    stream = board.attach(STREAM)
    await stream.send(b"abc")
    await turns()
    assert asked == []
    await stream.send(b"def")
    await stream.end()
    started, *pieces, end = await everything(stream)
    assert asked == [("POST", "/api/chat", b"abcdef", (("X-Trace", "1"),))]
    assert started == HeadReceived(STREAM, Head(200, (("Content-Type", "text/plain"),)))
    assert pieces == [DataReceived(STREAM, b"one"), DataReceived(STREAM, b"two")]
    assert isinstance(end, StreamEnded)
    assert repr(board) == "<Switchboard [1 nodes, 1 streams]>"
    board.close(STREAM)
    assert repr(board) == "<Switchboard [1 nodes, 0 streams]>"


@virtual_time
async def test_a_request_without_a_body_is_answered_at_once_and_only_once() -> None:
    served: list[str] = []

    async def serve(request: HttpRequest, sink: Sink) -> None:
        served.append(request.path)
        await sink.start(204, ())
        await sink.finish()

    board, line = await joined(Router(), serve)
    board.open(line.link, STREAM, head(path="/api/tags"))
    await board.attach(STREAM).end()
    assert len(await everything(board.attach(STREAM))) == 2
    assert served == ["/api/tags"]


async def fails(request: HttpRequest, sink: Sink) -> None:
    raise KeyError("a bug")


async def fails_midway(request: HttpRequest, sink: Sink) -> None:
    await sink.start(200, ())
    await sink.write(b"half")
    raise KeyError("a bug")


async def forgets_the_end(request: HttpRequest, sink: Sink) -> None:
    await sink.start(200, ())


async def aborts(request: HttpRequest, sink: Sink) -> None:
    await sink.start(200, ())
    sink.abort()
    await sink.write(b"too late")
    await sink.finish()


async def fails_after_the_end(request: HttpRequest, sink: Sink) -> None:
    await sink.start(200, ())
    await sink.finish()
    raise KeyError("a bug")


@pytest.mark.parametrize(
    ("serve", "why"),
    [
        (fails, "the handler failed: KeyError('a bug')"),
        (fails_midway, "the handler failed: KeyError('a bug')"),
        (forgets_the_end, "the server closed the connection"),
        (aborts, "the server closed the connection"),
        (fails_after_the_end, None),
    ],
)
@virtual_time
async def test_however_a_server_ends_so_does_the_stream(serve: Answer, why: str | None) -> None:
    board, line = await joined(Router(), serve)
    board.open(line.link, STREAM, head())
    stream = board.attach(STREAM)
    async with asyncio.timeout(1.0):
        end = (await everything(stream))[-1]
    assert isinstance(end, StreamEnded) if why is None else end == reset(why)
    await turns()
    assert not stream._events  # nothing comes after an end
    board.close(STREAM)


class Slow:
    """A server that answers for ever, until its client is gone.

    Attributes:
        gone: how often a client went.
    """

    def __init__(self) -> None:
        self.gone = 0

    async def __call__(self, request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        try:
            while True:
                await sink.write(b"more")
                await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            self.gone += 1
            raise


@virtual_time
async def test_a_server_sees_that_its_client_is_gone() -> None:
    slow = Slow()
    board, line = await joined(Router(), slow)
    board.open(line.link, STREAM, head())
    await asyncio.sleep(2.5)
    board.close(STREAM)
    board.close(STREAM)
    await turns()
    assert slow.gone == 1
    with pytest.raises(LinkClosed, match="the stream is not open"):
        board.attach(STREAM)
    assert line.gone == ""


@virtual_time
async def test_streams_break_with_their_line_after_what_had_come() -> None:
    slow = Slow()
    board, line = await joined(Router(), slow)
    other = await board.join(HELLO, slow, lambda: None)
    assert other is not None
    board.open(line.link, STREAM, head())
    board.open(other.link, StreamId(8), head())
    await asyncio.sleep(1.5)
    board.drop(line, "the lid is closed")
    stream = board.attach(STREAM)
    events = await everything(stream)
    assert events[1:3] == [DataReceived(STREAM, b"more")] * 2
    assert events[3:] == [reset("the link to the node was lost: the lid is closed", "link")]
    await turns()
    assert slow.gone == 1  # the other line's goes on
    board.close(STREAM)
    board.close(StreamId(8))
    await turns()
    assert slow.gone == 2


async def with_a_body_to_come() -> tuple[list[HttpRequest], Switchboard, Line]:
    """A stream is open, of whose body nothing is there; and what its model server is asked."""
    asked: list[HttpRequest] = []

    async def serve(request: HttpRequest, sink: Sink) -> None:
        asked.append(request)

    board, line = await joined(Router(), serve)
    board.open(line.link, STREAM, head(size=3))
    return asked, board, line


@virtual_time
async def test_a_stream_whose_line_goes_before_its_body_is_there_asks_nobody() -> None:
    asked, board, line = await with_a_body_to_come()
    stream = board.attach(STREAM)
    await stream.send(b"ab")
    board.drop(line, "gone")
    await stream.send(b"c")
    await stream.end()
    await turns()
    assert await everything(stream) == [reset("the link to the node was lost: gone", "link")]
    assert asked == []


@virtual_time
async def test_a_stream_that_is_given_up_before_its_body_is_there_asks_nobody() -> None:
    asked, board, _ = await with_a_body_to_come()
    stream = board.attach(STREAM)
    board.close(STREAM)
    await stream.end()
    await turns()
    assert asked == []


@virtual_time
async def test_a_router_that_stopped_has_left_no_server_at_work() -> None:
    slow = Slow()
    board, line = await joined(Router(), slow)
    board.open(line.link, STREAM, head())
    await asyncio.sleep(2.5)
    await board.stop()
    assert slow.gone == 1


@virtual_time
async def test_an_answer_that_was_whole_is_not_broken_by_its_line() -> None:
    async def serve(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.finish()

    board, line = await joined(Router(), serve)
    board.open(line.link, STREAM, head())
    await turns()
    board.drop(line, "gone")
    assert isinstance((await everything(board.attach(STREAM)))[-1], StreamEnded)


@virtual_time
async def test_a_reader_that_waits_is_woken_by_the_end_of_its_line() -> None:
    board, line = await joined(Router(), Slow())
    board.open(line.link, STREAM, head(size=1))
    waiting = asyncio.create_task(board.attach(STREAM).receive())
    await turns()
    board.drop(line, "gone")
    assert await waiting == reset("the link to the node was lost: gone", "link")


@virtual_time
async def test_on_a_line_that_is_gone_no_stream_opens() -> None:
    board, line = await joined(Router())
    board.drop(line, "gone")
    with pytest.raises(StreamFailed, match="the node's link is gone"):
        board.open(line.link, STREAM, head())
    with pytest.raises(StreamFailed, match="the node's link is gone"):
        board.open(LinkId(99), STREAM, head())
