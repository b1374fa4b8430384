import asyncio
from dataclasses import replace

import pytest

from herd.errors import LinkClosed, StreamFailed
from herd.net import agent_connection, link_client
from herd.net.http_client import AiohttpServers
from herd.net.tls import server_context
from herd.protocols.discovery import RouterAddress
from herd.protocols.framing import encode
from herd.protocols.messages import FrameType, Goodbye, Report
from herd.protocols.session import GoodbyeReceived, PongReceived
from herd.types import RouterId, Seconds
from tests.certificates import HOUSE
from tests.net.link_house import (
    HELLO,
    LOOPBACK,
    Info,
    house,
    no_http,
    nothing,
    raw_port,
    welcome_by_hand,
)
from tests.net.loops import on_every_loop

pytestmark = pytest.mark.usefixtures("plain_and_tls")

# --- Dialling what is no router ---------------------------------------------------------------------------------------


@on_every_loop
async def test_nobody_at_the_address_is_a_closed_link_with_a_reason() -> None:
    async with house() as home:
        address = home.address
    with pytest.raises(LinkClosed, match=r"no router on link port .*127\.0\.0\.1: "):
        await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)


@on_every_loop
async def test_the_next_address_of_a_router_is_tried_when_the_first_is_dead() -> None:
    async with house() as home:
        address = replace(home.address, hosts=("127.0.0.2", LOOPBACK))
        agent = await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)
        await agent.close(Goodbye("shutdown"), Seconds(0.0))


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 64, b"\xff" * 64, b"\x00\x00\x00\x01\xc0"]
)
@on_every_loop
async def test_something_that_is_no_router_is_left_at_once(words: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        if words:  # wait until the agent hangs up
            await reader.read()

    async with raw_port(speak) as address:
        with pytest.raises(LinkClosed):
            await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)


@on_every_loop
async def test_a_router_that_never_answers_the_hello_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_client, "JOIN_S", 0.02)

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_port(listen) as address:
        with pytest.raises(LinkClosed, match="did not answer the hello"):
            await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)


@on_every_loop
async def test_a_cancelled_dial_leaves_no_connection_behind() -> None:
    said, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        said.set()
        await reader.read()
        gone.set()

    async with raw_port(listen) as address:
        dialling = asyncio.create_task(link_client.LinkDialer(no_http()).dial(address, HELLO, nothing))
        await said.wait()
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        await gone.wait()


@on_every_loop
async def test_a_router_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_connection, "SILENCE_S", 0.05)

    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await welcome_by_hand(reader, writer)
        await reader.read()

    async with raw_port(fall_silent) as address:
        agent = await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)
        assert "silent" in await agent.wait_closed()


@on_every_loop
async def test_a_router_whose_words_lay_unread_while_this_machine_slept_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_connection, "DOUBT_S", 0.05)
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def speak_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = await welcome_by_hand(reader, writer)
        await asleep.wait()
        session.ping(1)
        writer.write(session.take(1024))
        while not any(isinstance(event, PongReceived) for event in session.receive(await reader.read(1024))):
            pass
        awake.set()
        await reader.read()

    async with raw_port(speak_late) as address:
        agent = await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)
        agent._heard -= 2 * agent_connection.SILENCE_S  # as a clock says that went on while the process did not
        agent._look()
        assert not agent.is_lost
        asleep.set()
        await awake.wait()
        agent._look()
        assert not agent.is_lost
        await agent.close(Goodbye("shutdown", "the test is over"), Seconds(0.0))


@on_every_loop
async def test_a_router_that_breaks_the_rules_is_told_so_and_left() -> None:
    told: asyncio.Queue[Goodbye] = asyncio.Queue()

    async def misbehave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = await welcome_by_hand(reader, writer)
        while not session.receive(await reader.read(4096)):
            pass  # the agent's first report
        writer.write(encode(FrameType.CANCEL, 77))
        while data := await reader.read(4096):
            for event in session.receive(data):
                assert isinstance(event, GoodbyeReceived)
                told.put_nowait(event.goodbye)

    async with raw_port(misbehave) as address:
        agent = await link_client.LinkDialer(no_http()).dial(address, HELLO, nothing)
        agent.report(Report())
        goodbye = await told.get()
        assert "stream 77" in goodbye.text
        assert await agent.wait_closed() == goodbye.text


# --- Where the link port is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "name"),
    [
        ("http://studio.local:11435", "studio.local", "http://studio.local:11435"),
        ("http://Studio.local:11435/", "studio.local", "http://studio.local:11435"),
        ("http://192.168.1.10", "192.168.1.10", "http://192.168.1.10:80"),
        ("https://192.168.1.10", "192.168.1.10", "https://192.168.1.10:443"),
        ("http://[fe80::1]:11435", "fe80::1", "http://[fe80::1]:11435"),
        ("http://user:word@studio:1/herd", "studio", "http://studio:1"),
    ],
)
async def test_the_link_port_is_where_the_routers_info_says(url: str, host: str, name: str) -> None:
    info = Info(200, {"link_port": 4711, "router_id": "r-1", "link_tls": True})
    address = await link_client.LinkDialer(info).locate(url)
    assert address == RouterAddress((host,), 0, 4711, RouterId("r-1"), tls=True, url=name)
    assert info.asked == f"{url.rstrip('/')}/herd/v1/info"


@pytest.mark.parametrize("more", [{}, {"link_tls": False}, {"link_tls": "yes"}, {"link_tls": None}])
async def test_a_link_is_plain_unless_the_router_says_otherwise_and_who_writes_https_does_not_get_one(
    more: dict[str, object],
) -> None:
    dialer = link_client.LinkDialer(Info(200, {"link_port": 4711, "router_id": "r-1", **more}))
    assert (await dialer.locate("http://studio:11435")).tls is False
    with pytest.raises(StreamFailed, match="has a plain link: start herd with --tls-cert, or name it by http://"):
        await dialer.locate("https://studio:11435")


async def test_a_router_at_https_is_asked_where_its_link_is_whoever_vouches_for_its_certificate() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"link_port": 4711, "router_id": "r-1", "link_tls": true}'
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()

    server = await asyncio.start_server(answer, LOOPBACK, 0, ssl=server_context(HOUSE, HOUSE))
    url = f"https://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    async with server, AiohttpServers() as servers:
        dialer = link_client.LinkDialer(servers)
        address = RouterAddress((LOOPBACK,), 0, 4711, RouterId("r-1"), tls=True, url=url)
        assert await dialer.locate(url) == address
        assert await dialer.locate(url.replace("https", "http")) == address  # written before it had a certificate
        with pytest.raises(StreamFailed, match="certificate"):  # of a model server it is expected
            await servers.fetch(f"{url}/api/tags", timeout=Seconds(5.0))


async def test_a_router_that_does_not_know_the_name_it_was_asked_by_is_quoted() -> None:
    refusal = "this router is not known by the name 'nas.lan'" + "!" * 1000
    with pytest.raises(StreamFailed, match=r"the router at http://nas\.lan refuses: this router is not") as failed:
        await link_client.LinkDialer(Info(403, {"error": refusal})).locate("http://nas.lan")
    assert len(str(failed.value)) < 400


@pytest.mark.parametrize(
    "info",
    [(404, None), (200, None), (200, []), (200, {}), (200, {"link_port": "1"}), (500, {"link_port": 1})],
)
async def test_whatever_does_not_answer_as_a_router_is_none(info: tuple[int, object]) -> None:
    with pytest.raises(StreamFailed, match="does not answer as a Herd router"):
        await link_client.LinkDialer(Info(*info)).locate("http://studio:11434")
