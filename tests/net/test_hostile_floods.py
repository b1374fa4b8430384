"""Floods, crowds and impostors on the link port: what they cost, while an honest agent is served to the byte."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import msgpack
import pytest

from herd.cli.process import raise_file_limit
from herd.net import link_server
from herd.net.link import MERGE_FROM
from herd.protocols.framing import encode
from herd.protocols.messages import FrameType, Hello, Report
from herd.protocols.session import AgentSession, DataReceived, HeadReceived, StreamReset
from herd.types import KiB, MiB, NodeId, StreamId
from tests.net.hostile import (
    MALLORY,
    ONE,
    TWO,
    bounded_memory,
    bystander,
    close_all,
    echo,
    frame,
    goodbye,
    idle_connection,
    joined_with_streams,
    models,
    no_traceback,
    packed,
    peer,
)
from tests.net.link_house import House, house, request
from tests.net.loops import on_every_loop, turns_until

F = FrameType
TOKEN = "open sesame"  # the join token of these tests
BACKLOG = 100  # connections that one turn of the loop may accept before it can close any


# --- Floods -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [frame(F.HEARTBEAT, 0, {}) * 10_000, models(2000) * 5, frame(F.HEARTBEAT, 0, {"x": "y" * 1_000_000}) * 20],
    ids=["tiny", "of 2,000 models", "of a megabyte"],
)
@on_every_loop
async def test_of_a_flood_of_heartbeats_the_fleet_hears_a_few_and_the_last(flood: bytes) -> None:
    async with house() as home, bystander(home) as other, peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        began = asyncio.get_running_loop().time()
        with bounded_memory(20 * MiB):
            flooding = asyncio.create_task(mallory.flood(flood))
            await other.served()
            await flooding
            mallory.send(frame(F.HEARTBEAT, 0, {"cpu": 0.75}))
            heard = 0
            while (news := await home.fleet.news.get())[2] != Report(cpu=0.75):
                assert news[0] == "report"
                heard += 1
        lasted = asyncio.get_running_loop().time() - began
        assert heard <= 1 + lasted / link_server.REPORT_EVERY_S
        close_all(home)


@pytest.mark.slow  # until no socket takes any more
@on_every_loop
async def test_a_flood_of_pings_whose_answers_are_not_read_costs_little_and_then_the_link() -> None:
    async with house() as home, bystander(home) as other, peer(home.server.port, receive_buffer=4 * KiB) as mallory:
        await joined_with_streams(mallory, home)
        flood = frame(F.PING, 0, 2**63) * 1_000_000  # 16 MB of PONGs: more than any socket takes
        with bounded_memory(20 * MiB):
            flooding = asyncio.create_task(mallory.flood(flood))
            await other.served()
            down = await home.fleet.news.get()
            await flooding
        assert down[:2] == ("down", MALLORY.node_id)
        assert "does not read" in str(down[3])
        close_all(home)


@on_every_loop
async def test_a_flood_of_frames_of_one_byte_costs_a_window_and_stalls_nobody() -> None:
    async with house() as home, bystander(home) as other, peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        with bounded_memory(2 * MiB):
            await mallory.flood(frame(F.DATA, 2, b"x") * (8 * KiB))
            await mallory.answered()
            await other.served()
        exchange = home.server.attach(TWO)
        assert len(exchange._events) <= 2 + MERGE_FROM
        assert isinstance(await exchange.receive(), HeadReceived)
        answer = b""
        while len(answer) < 8 * KiB:
            event = await exchange.receive()
            assert isinstance(event, DataReceived)
            answer += event.data
        assert answer == b"x" * 8 * KiB
        close_all(home)


@on_every_loop
async def test_an_agent_that_resets_every_request_at_once_costs_nobody_else() -> None:
    async with house() as home, bystander(home) as other, peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        link = home.fleet.links[MALLORY.node_id]
        with bounded_memory(8 * MiB):
            for stream in map(StreamId, range(10, 500)):
                home.server.open(link, stream, request())
                await mallory.until(F.OPEN)
                mallory.send(frame(F.RESET, stream, {"kind": "\x1b[2J" * 9999, "text": "x\r\n" * 9999}) * 2)
                exchange = home.server.attach(stream)
                event = await exchange.receive()
                assert isinstance(event, StreamReset)
                assert len(event.failure.text) == len(event.failure.kind) == 300
                assert (event.failure.kind + event.failure.text).isprintable()
                home.server.close(stream)
            await other.served()
        close_all(home)
        assert home.server._agents[link].exchanges == {}


@on_every_loop
async def test_the_last_words_of_an_agent_are_cut_and_cleaned() -> None:
    async with house() as home, bystander(home), peer(home.server.port) as mallory:
        await joined_with_streams(mallory, home)
        mallory.send(frame(F.GOODBYE, 0, {"code": "x", "text": "\x1b[2J\r\n" + "bye" * 300_000}))
        why = str((await home.fleet.news.get())[3])
        assert len(why) == 300
        assert why.isprintable()
        close_all(home)


# --- Who is who -------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_hellos_of_one_id_over_and_over_leave_one_link_and_starve_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house() as home, bystander(home) as other, AsyncExitStack() as stack:
        with bounded_memory():
            for _ in range(200):  # as fast as they come, and none of them reads its GOODBYE
                mallory = await stack.enter_async_context(peer(home.server.port))
                mallory.send(encode(F.HELLO, 0, MALLORY))
            await mallory.until(F.WELCOME)
            await other.served()
        await turns_until(lambda: len(home.server._agents) == 2 and not home.server._strangers)
        link = home.fleet.links[MALLORY.node_id]
        assert link in home.server._agents
        home.server.open(link, ONE, request())
        await mallory.until(F.OPEN)  # the last one is in service
        close_all(home)
    assert no_traceback(caplog)


async def recorded(home: House, hello: Hello) -> bytes:
    """All that an honest agent says until it is welcomed."""
    session = AgentSession(hello, TOKEN)
    async with peer(home.server.port) as mallory:
        said = b""
        while not session.ready:
            words = session.take(MiB)
            said += words
            mallory.send(words)
            heard = await mallory.next()
            session.receive(packed(msgpack.packb(heard)))
    return said


@on_every_loop
async def test_a_conversation_that_was_overheard_opens_no_door() -> None:
    async with house(TOKEN) as home:
        overheard = await recorded(home, MALLORY)
        while (await home.fleet.news.get())[0] != "down":
            pass
        async with peer(home.server.port) as mallory:
            mallory.send(overheard)
            said = await mallory.rest()
        assert goodbye(said).code == "token"
        await turns_until(lambda: not home.server._strangers)
        assert home.server._agents == {}
        assert home.fleet.news.empty()


@pytest.mark.parametrize("proof", [b"", b"x" * 32, b"x" * 60_000], ids=["empty", "wrong", "60,000 bytes"])
@on_every_loop
async def test_a_wrong_proof_gets_a_goodbye_and_nobody_hears_of_it(proof: bytes) -> None:
    async with house(TOKEN) as home, peer(home.server.port) as mallory:
        mallory.send(encode(F.HELLO, 0, MALLORY))
        await mallory.until(F.CHALLENGE)
        mallory.send(frame(F.PROOF, 0, proof))
        assert goodbye(await mallory.rest()).code == "token"
        await turns_until(lambda: not home.server._strangers)
        assert home.fleet.news.empty()


# --- Those who say nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [b"\x00", b"\x00\x00\x00\x09\x93", encode(F.HELLO, 0, MALLORY)[:-1]])
@on_every_loop
async def test_half_a_frame_and_silence_is_closed_in_time(half: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "JOIN_S", 0.02)
    async with house() as home, peer(home.server.port) as mallory:
        mallory.send(half)
        assert "no valid hello" in goodbye(await mallory.rest()).text
        await turns_until(lambda: not home.server._strangers)


@pytest.mark.slow  # two thousand sockets, each with two ends
@on_every_loop
async def test_two_thousand_idle_connections_keep_no_honest_agent_out() -> None:
    raise_file_limit()
    async with house() as home, bystander(home) as other, AsyncExitStack() as stack:
        with bounded_memory():
            for _ in range(2000):
                stack.enter_context(await idle_connection(home.server.port))
            assert len(home.server._strangers) <= link_server.MAX_STRANGERS + BACKLOG
            await other.served()
            async with home.agent(echo, hello=replace(MALLORY, node_id=NodeId("late"))):
                pass
