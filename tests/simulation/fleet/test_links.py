"""The link in memory: order, room, cancellation, loss and silence, as over a socket."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from herd.actors.ports import AgentLink, Relay, Serving
from herd.errors import JoinRefused, LinkClosed, StreamFailed
from herd.protocols.messages import Failure, Goodbye, Head, Hello, Report, RequestHead, Usage, Welcome
from herd.protocols.session import (
    MAX_STREAMS,
    STREAM_BUFFER,
    DataReceived,
    HeadReceived,
    StreamEnded,
    StreamReset,
)
from herd.runtime.testing import virtual_time
from herd.simulation.fleet.links import InMemoryLinks
from herd.types import BackendId, KiB, LinkId, NodeId, NodeName, RequestId, RouterId, Seconds, StreamId

NODE = NodeId("n1")
HELLO = Hello((1,), NODE, NodeName("mac"))
WELCOME = Welcome(1, RouterId("r1"), NodeName("mac"))
ONE = StreamId(1)
ASK = RequestHead(RequestId("q"), BackendId("b"), "POST", "/", size=0)
ASK_WITH_BODY = RequestHead(RequestId("q"), BackendId("b"), "POST", "/", size=-1)
PIECE = b"x" * KiB
WHOLE = Usage(complete=True)


class Fleet:
    """The port `LinkEvents`: lets agents in, and keeps what it is told."""

    def __init__(self, answer: Welcome | Goodbye = WELCOME) -> None:
        self.answer = answer
        self.told: list[tuple[object, ...]] = []

    async def hello(self, link: LinkId, hello: Hello, peer: str) -> Welcome | Goodbye:
        await asyncio.sleep(0)
        return self.answer

    def report(self, link: LinkId, node: NodeId, report: Report) -> None:
        self.told.append(("report", link))

    def draining(self, link: LinkId, node: NodeId) -> None:
        self.told.append(("draining", link))

    def down(self, link: LinkId, node: NodeId, why: str) -> None:
        self.told.append(("down", link, why))


async def until_cancelled(serving: Serving) -> None:
    await asyncio.get_running_loop().create_future()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def linked(relay: Relay = until_cancelled) -> AsyncIterator[tuple[InMemoryLinks, AgentLink, Fleet]]:
    """One agent on one link; afterwards nothing is left of it."""
    links, fleet = InMemoryLinks(), Fleet()
    await links.start(fleet)
    agent = await links.dial(await links.locate("http://router"), HELLO, relay)
    yield links, agent, fleet
    links.close(ONE)
    await links.stop()
    await settled()
    assert (links.router_streams, links.agent_streams) == (0, 0)


@virtual_time
async def test_an_answer_comes_whole_and_in_order() -> None:
    async def count(serving: Serving) -> None:
        await serving.send_head(Head(200))
        for number in range(200):
            await serving.send(bytes([number]))
        serving.end(WHOLE)

    async with linked(count) as (links, _, _):
        links.open(LinkId(1), ONE, ASK)
        exchange = links.attach(ONE)
        assert await exchange.receive() == HeadReceived(ONE, Head(200))
        for number in range(200):
            assert await exchange.receive() == DataReceived(ONE, bytes([number]))
        assert await exchange.receive() == StreamEnded(ONE, WHOLE)


@virtual_time
async def test_a_request_body_comes_whole_and_its_sender_waits_for_room() -> None:
    got: list[bytes] = []
    go_on = asyncio.Event()

    async def read(serving: Serving) -> None:
        await go_on.wait()
        got.extend([piece async for piece in serving.body()])
        serving.end(WHOLE)

    async with linked(read) as (links, _, _):
        links.open(LinkId(1), ONE, ASK_WITH_BODY)
        exchange = links.attach(ONE)
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(200):
                await exchange.send(PIECE)
                sent += KiB
            await exchange.end()

        sending = asyncio.create_task(send())
        await settled()
        assert sent == STREAM_BUFFER
        go_on.set()
        await sending
        assert await exchange.receive() == StreamEnded(ONE, WHOLE)
        assert got == [PIECE] * 200


@virtual_time
async def test_an_agent_waits_for_a_slow_client_and_other_streams_do_not() -> None:
    sent: dict[str, int] = {"slow": 0, "quick": 0}

    async def pour(serving: Serving) -> None:
        for _ in range(200):
            await serving.send(PIECE)
            sent[serving.head.path] += KiB
        serving.end(WHOLE)

    def ask(path: str) -> RequestHead:
        return RequestHead(RequestId(path), BackendId("b"), "POST", path)

    async with linked(pour) as (links, _, _):
        links.open(LinkId(1), ONE, ask("slow"))
        links.open(LinkId(1), StreamId(2), ask("quick"))
        quick = links.attach(StreamId(2))
        while isinstance(await quick.receive(), DataReceived):
            pass
        assert sent == {"slow": STREAM_BUFFER, "quick": 200 * KiB}
        links.close(StreamId(2))


@virtual_time
async def test_giving_a_stream_up_cancels_its_relay_and_only_that() -> None:
    async with linked() as (links, _, _):
        for stream in (1, 2):
            links.open(LinkId(1), StreamId(stream), ASK)
        await settled()
        links.close(StreamId(2))
        links.close(StreamId(2))
        await settled()
        assert (links.router_streams, links.agent_streams) == (1, 1)
        with pytest.raises(LinkClosed):
            links.attach(StreamId(2))


@virtual_time
async def test_a_relay_that_fails_or_forgets_its_answer_resets_the_stream() -> None:
    async def fails(serving: Serving) -> None:
        if serving.head.size:
            raise RuntimeError("a mistake of the agent's")

    async with linked(fails) as (links, _, _):
        for number, head in enumerate((ASK, ASK_WITH_BODY), start=1):
            links.open(LinkId(1), StreamId(number), head)
            event = await links.attach(StreamId(number)).receive()
            assert isinstance(event, StreamReset)
            assert event.failure.kind == "internal"
            links.close(StreamId(number))


@virtual_time
async def test_a_cut_resets_every_stream_and_tells_both_ends() -> None:
    async with linked() as (links, agent, fleet):
        links.open(LinkId(1), ONE, ASK_WITH_BODY)
        exchange = links.attach(ONE)
        stuck = asyncio.create_task(exchange.send(b"x" * (STREAM_BUFFER + 1)))
        await settled()
        links.cut(NODE)
        await settled()
        assert stuck.done()
        assert await agent.wait_closed() == "the connection was closed"
        event = await exchange.receive()
        assert isinstance(event, StreamReset)
        assert event.failure == Failure("link", "the link to the node was lost: the connection was closed")
        assert fleet.told == [("down", LinkId(1), "the connection was closed")]
        assert links.silence(LinkId(1)) == float("inf")
        with pytest.raises(LinkClosed):
            await exchange.send(b"more")
        with pytest.raises(LinkClosed):
            links.open(LinkId(1), StreamId(2), ASK)


@virtual_time
async def test_silence_holds_everything_up_and_loses_nothing() -> None:
    async with linked() as (links, agent, fleet):
        links.freeze(NODE)
        agent.report(Report())
        links.open(LinkId(1), ONE, ASK)
        await asyncio.sleep(10)
        assert (fleet.told, links.agent_streams) == ([], 0)
        assert links.silence(LinkId(1)) == Seconds(10.0)
        links.thaw(NODE)
        await settled()
        assert (fleet.told, links.agent_streams) == ([("report", LinkId(1))], 1)
        assert links.silence(LinkId(1)) == Seconds(0.0)


@virtual_time
async def test_an_agent_gives_up_a_router_that_is_silent_for_15_seconds_and_cannot_dial_through_the_silence() -> None:
    async with linked() as (links, agent, fleet):
        links.freeze(NODE)
        assert await agent.wait_closed() == "the router has been silent for 15 s"
        assert asyncio.get_running_loop().time() == 15
        with pytest.raises(LinkClosed):
            await links.dial(await links.locate(""), HELLO, until_cancelled)
        links.thaw(NODE)
        await settled()
        assert fleet.told == [("down", LinkId(1), "the connection was closed")]


@virtual_time
async def test_an_agent_whose_heartbeats_are_answered_stays() -> None:
    async with linked() as (_, agent, _):
        waiting = asyncio.create_task(agent.wait_closed())
        for _ in range(20):
            await asyncio.sleep(5)
            agent.report(Report())
        assert not waiting.done()
        waiting.cancel()


@virtual_time
async def test_an_agent_that_leaves_lets_its_streams_end_first() -> None:
    async def slow(serving: Serving) -> None:
        await asyncio.sleep(3)
        serving.end(WHOLE)

    async with linked(slow) as (links, agent, fleet):
        links.open(LinkId(1), ONE, ASK)
        await settled()
        agent.drain()
        await agent.close(Goodbye("shutdown", "good night"), Seconds(10.0))
        await settled()
        assert asyncio.get_running_loop().time() == 3
        assert await links.attach(ONE).receive() == StreamEnded(ONE, WHOLE)
        assert fleet.told == [("draining", LinkId(1)), ("down", LinkId(1), "good night")]


@virtual_time
async def test_a_router_that_disconnects_says_why() -> None:
    async with linked() as (links, agent, fleet):
        links.disconnect(LinkId(1), Goodbye("replaced", "the same node has connected anew"))
        links.disconnect(LinkId(1), Goodbye("replaced", "again"))
        assert await agent.wait_closed() == "the same node has connected anew"
        await settled()
        assert fleet.told == [("down", LinkId(1), "the same node has connected anew")]


@virtual_time
async def test_an_agent_that_may_not_join_is_told_so() -> None:
    links = InMemoryLinks()
    with pytest.raises(StreamFailed):
        await links.locate("http://router")
    await links.start(Fleet(Goodbye("full", "no room")))
    with pytest.raises(JoinRefused, match="no room"):
        await links.dial(await links.locate(""), HELLO, until_cancelled)
    address = await links.locate("")
    await links.stop()
    with pytest.raises(LinkClosed):
        await links.dial(address, HELLO, until_cancelled)


@virtual_time
async def test_a_dial_that_is_given_up_leaves_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        links = InMemoryLinks()
        await links.start(Fleet())
        dialling = asyncio.create_task(links.dial(await links.locate("http://router"), HELLO, until_cancelled))
        await asyncio.sleep(0)
        dialling.cancel()
        await asyncio.wait([dialling])
        await links.stop()
        await settled()

    await story()
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@virtual_time
async def test_a_link_carries_so_many_streams() -> None:
    async with linked() as (links, _, _):
        for number in range(1, MAX_STREAMS + 1):
            links.open(LinkId(1), StreamId(number), ASK)
        with pytest.raises(StreamFailed, match="1024"):
            links.open(LinkId(1), StreamId(MAX_STREAMS + 1), ASK)
        for number in range(1, MAX_STREAMS + 1):
            links.close(StreamId(number))
