import asyncio
import itertools
from dataclasses import replace

import pytest

from herd.actors.ports import Serving
from herd.errors import ConfigError, JoinRefused, LinkClosed
from herd.net import link as link_module
from herd.net.link_server import LinkServer
from herd.protocols.messages import Goodbye, Hello, Report, Welcome
from herd.protocols.session import DataReceived, GoodbyeReceived, HeadReceived, StreamEnded, StreamReset
from herd.types import KiB, NodeId, Seconds, StreamId
from tests.net.link_house import (
    HEAD,
    HELLO,
    LOOPBACK,
    USAGE,
    House,
    RawAgent,
    house,
    pour,
    request,
    welcome,
)
from tests.net.loops import on_every_loop, turns_until

pytestmark = pytest.mark.usefixtures("plain_and_tls")

# --- Joining ----------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_an_agent_joins_reports_drains_and_leaves() -> None:
    async with house() as home:
        agent = await home.dial()
        assert agent.welcome == await welcome(HELLO)
        up = await home.fleet.news.get()
        link = home.fleet.links[HELLO.node_id]
        assert up == ("up", HELLO.node_id, link)
        assert home.server.silence(link) < 30
        agent.report(Report(cpu=0.5))
        assert await home.fleet.news.get() == ("report", HELLO.node_id, Report(cpu=0.5))
        agent.drain()
        assert await home.fleet.news.get() == ("draining", HELLO.node_id)
        await agent.close(Goodbye("shutdown", "going to sleep"), Seconds(0.0))
        assert await home.fleet.news.get() == ("down", HELLO.node_id, link, "going to sleep")
        assert home.server.silence(link) == float("inf")


@on_every_loop
async def test_who_holds_the_token_is_let_in() -> None:
    async with house(token="secret") as home:
        agent = await home.dial(token="secret")
        assert (await home.fleet.news.get())[0] == "up"
        await agent.close(Goodbye("shutdown"), Seconds(0.0))


@pytest.mark.parametrize(
    ("routers", "agents"), [("secret", "guess"), ("secret", ""), ("", "secret")], ids=["wrong", "none", "unasked"]
)
@on_every_loop
async def test_who_does_not_hold_the_same_token_is_told_so(routers: str, agents: str) -> None:
    async with house(token=routers) as home:
        with pytest.raises(JoinRefused, match="join token") as refused:
            await home.dial(token=agents)
        assert refused.value.code == "token"
        # An unguarded router believes that the suspicious agent was in; that it left again is told as well.
        told = [home.fleet.news.get_nowait()[0] for _ in range(home.fleet.news.qsize())]
        assert told in ([], ["up"], ["up", "down"])


@on_every_loop
async def test_an_agent_of_another_age_is_told_which_versions_would_do() -> None:
    async with house() as home:
        with pytest.raises(JoinRefused, match="version") as refused:
            await home.dial(hello=replace(HELLO, versions=(97, 98)))
        assert refused.value.code == "version"


@on_every_loop
async def test_the_fleets_refusal_reaches_the_agent_in_its_own_words() -> None:
    async def refuse(hello: Hello) -> Goodbye:
        return Goodbye("wrong-router", f"{hello.name} belongs to another router")

    async with house() as home:
        home.fleet.verdict = refuse
        with pytest.raises(JoinRefused, match="studio belongs to another router") as refused:
            await home.dial()
        assert refused.value.code == "wrong-router"
        assert home.fleet.news.empty()


@on_every_loop
async def test_a_router_that_fails_at_the_hello_is_no_refusal_so_the_agent_tries_again() -> None:
    async def fail(_: Hello) -> Welcome:
        raise RuntimeError("the fleet is not there")

    async with house() as home:
        home.fleet.verdict = fail
        with pytest.raises(LinkClosed):
            await home.dial()
        home.fleet.verdict = welcome
        async with home.agent():
            pass


@on_every_loop
async def test_an_agent_that_leaves_while_the_fleet_makes_up_its_mind_is_reported_gone() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def think(hello: Hello) -> Welcome:
        asked.set()
        await answer.wait()
        return await welcome(hello)

    async with house() as home:
        home.fleet.verdict = think
        dialling = asyncio.create_task(home.dial())
        await asked.wait()
        connection = next(iter(home.server._strangers.values()))
        dialling.cancel()
        await asyncio.wait([dialling])
        await connection.wait_lost()
        answer.set()
        (up, _, link), down = await home.fleet.news.get(), await home.fleet.news.get()
        assert up == "up"
        assert down == ("down", HELLO.node_id, link, "the agent left while it joined")


@on_every_loop
async def test_a_newer_link_of_a_node_replaces_the_old_one() -> None:
    async with house() as home:
        old = await home.dial()
        _, _, old_link = await home.fleet.news.get()
        async with home.agent() as new:
            assert await old.wait_closed() == "a newer link of this node"
            assert await home.fleet.news.get() == ("down", HELLO.node_id, old_link, "a newer link of this node")
            assert new.link != old_link
            new.agent.report(Report())
            assert (await home.fleet.news.get())[0] == "report"


@on_every_loop
async def test_each_hello_has_a_nonce_of_its_own() -> None:
    nonces: list[bytes] = []

    async def note(hello: Hello) -> Welcome:
        nonces.append(hello.nonce)
        return await welcome(hello)

    async with house(token="secret") as home:
        home.fleet.verdict = note
        for _ in range(2):
            agent = await home.dial(token="secret")
            await agent.close(Goodbye("shutdown"), Seconds(0.0))
    assert len(set(nonces)) == 2


@on_every_loop
async def test_a_taken_port_is_a_wrong_setting() -> None:
    async with house() as home:
        with pytest.raises(ConfigError, match=f"port {home.server.port}"):
            await LinkServer(LOOPBACK, home.server.port).start(home.fleet)


# --- Leaving ----------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_router_that_stops_says_goodbye_and_lets_go_of_everybody() -> None:
    async with house() as home:
        agent = await home.dial(pour)
        _, _, link = await home.fleet.news.get()
        home.server.open(home.fleet.links[HELLO.node_id], StreamId(1), request())
        exchange = home.server.attach(StreamId(1))
        stranger, _ = await home.open_connection()
        await exchange.receive()
        await home.server.stop()
        assert await agent.wait_closed() == "the router is shutting down"
        assert await home.fleet.news.get() == ("down", HELLO.node_id, link, "the router is shutting down")
        while not isinstance(await exchange.receive(), StreamReset):
            pass
        assert b"shutting down" in await stranger.read()
        _.close()
        with pytest.raises(LinkClosed):
            await home.dial()
        await home.server.stop()


@on_every_loop
async def test_all_agents_are_sent_away_at_once_and_may_come_back() -> None:
    async with house() as home:
        agents = [await home.dial(hello=replace(HELLO, node_id=NodeId(name))) for name in ("node-1", "node-2")]
        for _ in agents:
            assert (await home.fleet.news.get())[0] == "up"
        home.server.disconnect_all(Goodbye("shutdown", "this part of the router starts anew"))
        for agent in agents:
            assert await agent.wait_closed() == "this part of the router starts anew"
        for _ in agents:
            assert (await home.fleet.news.get())[0] == "down"
        async with home.agent():
            pass


@on_every_loop
async def test_an_agent_that_leaves_lets_what_runs_end_within_its_grace() -> None:
    go = asyncio.Event()

    async def wait_first(serving: Serving) -> None:
        await go.wait()
        await serving.send_head(HEAD)
        serving.end(USAGE)

    async with house() as home:
        agent = await home.dial(wait_first)
        await home.fleet.news.get()
        home.server.open(home.fleet.links[HELLO.node_id], StreamId(1), request())
        exchange = home.server.attach(StreamId(1))
        await turns_until(lambda: bool(agent._tasks))
        leaving = asyncio.create_task(agent.close(Goodbye("shutdown", "bye"), Seconds(30.0)))
        await asyncio.sleep(0)
        go.set()
        await exchange.receive()
        assert await exchange.receive() == StreamEnded(StreamId(1), USAGE)
        await leaving
        home.server.close(StreamId(1))


@on_every_loop
async def test_an_agent_that_leaves_waits_until_a_slow_reader_has_all_of_an_answer() -> None:
    answer = bytes(range(256)) * 200
    relayed = asyncio.Event()

    async def whole(serving: Serving) -> None:
        await serving.send_head(HEAD)
        await serving.send(answer)
        serving.end(USAGE)
        relayed.set()

    async with house() as home, home.agent(whole) as joined:
        stream = joined.open(1)
        await relayed.wait()  # every byte is handed over, and most of them wait for the reader's credit
        leaving = asyncio.create_task(joined.agent.close(Goodbye("shutdown", "bye"), Seconds(30.0)))
        exchange = joined.server.attach(stream)
        got = bytearray()
        assert isinstance(await exchange.receive(), HeadReceived)
        while isinstance(event := await exchange.receive(), DataReceived):
            got += event.data
        await leaving

    assert event == StreamEnded(stream, USAGE)
    assert got == answer


@on_every_loop
async def test_the_goodbye_goes_out_although_the_agents_socket_is_full() -> None:
    async with house() as home:
        agent = await RawAgent.joined(home.server.port, receive_buffer=4 * KiB)
        _, _, _ = await home.fleet.news.get()
        link = home.fleet.links[HELLO.node_id]
        fill_up(home, 800)
        connection = home.server._agents[link]
        await turns_until(lambda: connection._paused)
        home.server.disconnect(link, Goodbye("replaced", "a newer link of this node"))
        events = await agent.read_to_end()
        assert events[-1] == GoodbyeReceived(Goodbye("replaced", "a newer link of this node"))
        agent.close()


@on_every_loop
async def test_an_agent_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "CLOSE_S", 0.05)
    async with house() as home:
        agent = await RawAgent.joined(home.server.port, receive_buffer=4 * KiB)
        await home.fleet.news.get()
        fill_up(home, 800)
        link = home.fleet.links[HELLO.node_id]
        await turns_until(lambda: home.server._agents[link]._paused)
        await home.server.stop()  # ends, although nobody reads
        assert (await home.fleet.news.get())[0] == "down"
        agent.close()


def fill_up(home: House, streams: int) -> None:
    """Heads of requests, until no buffer has room for more."""
    link = home.fleet.links[HELLO.node_id]
    padding = (("X-Padding", "x" * 4000),)
    for stream in range(1, streams):
        home.server.open(link, StreamId(stream), replace(request(), headers=padding))


@on_every_loop
async def test_an_agent_that_lets_too_much_pile_up_is_cut_and_its_streams_reset() -> None:
    async with house() as home:
        agent = await RawAgent.joined(home.server.port, receive_buffer=4 * KiB)
        await home.fleet.news.get()
        link = home.fleet.links[HELLO.node_id]
        head = replace(request(), headers=(("X-Padding", "x" * 30_000),))
        ids = itertools.count(1)

        def refuses_one_more() -> bool:
            try:
                home.server.open(link, StreamId(next(ids)), head)
            except LinkClosed:
                return True
            return False

        await turns_until(refuses_one_more)
        assert isinstance(await home.server.attach(StreamId(1)).receive(), StreamReset)
        down = await home.fleet.news.get()
        assert "does not read" in str(down[3])
        agent.close()
