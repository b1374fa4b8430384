"""Links that speak TLS: who is let in, whom an agent believes, and what strangers get."""

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from herd.errors import JoinRefused, LinkClosed
from herd.net import link as link_module
from herd.net import link_server
from herd.net.known_routers import KnownRouters
from herd.net.link_client import LinkDialer
from herd.net.tls import TlsLayer, client_context
from herd.protocols.discovery import RouterAddress
from herd.protocols.framing import MAX_FRAME, FrameDecoder, encode
from herd.protocols.messages import FrameType, Goodbye
from herd.types import KiB, RouterId, Seconds
from tests.between import somebody_between
from tests.certificates import AUTHORITY, HOUSE, OTHER, VOUCHED
from tests.net.hostile import Peer, goodbye
from tests.net.link_house import HELLO, LOOPBACK, House, house, no_http, nothing, raw_port
from tests.net.loops import on_every_loop, turns_until

LEFT = Goodbye("shutdown", "the test is over")


def dialer(known: KnownRouters | None = None, token: str = "") -> LinkDialer:
    """Of one agent; what it knows of routers lasts as long as `known`, or itself."""
    return LinkDialer(no_http(), token, known)


async def join(agent: LinkDialer, address: RouterAddress) -> None:
    """Join, and leave again."""
    connection = await agent.dial(address, HELLO, nothing)
    await connection.close(LEFT, Seconds(0.0))


def at(home: House, url: str = "", *, tls: bool | None = None) -> RouterAddress:
    """Where the router of a house is, as it says of itself, with the id that welcomes agents."""
    address = replace(home.address, router_id=RouterId("r-1"), url=url)
    return address if tls is None else replace(address, tls=tls)


# --- With a join token ------------------------------------------------------------------------------------------------


@on_every_loop
async def test_with_the_token_a_renewed_certificate_needs_nothing() -> None:
    agent = dialer(token="secret")
    for certificate in (HOUSE, OTHER):
        async with house("secret", certificate) as home:
            await join(agent, at(home))


@pytest.mark.parametrize("shown", [OTHER, ""], ids=["tls", "plain"])
@on_every_loop
async def test_with_the_token_nobody_stands_between_agent_and_router(shown: str) -> None:
    async with house("secret", HOUSE) as home, somebody_between(home.server.port, shown) as (port, read):
        address = replace(at(home, tls=shown != ""), link_port=port)
        with pytest.raises(JoinRefused, match="does not hold this agent's join token") as refused:
            await join(dialer(token="secret"), address)
        assert refused.value.code == "token"
        said = [frame[0] for frame in FrameDecoder(MAX_FRAME).feed(bytes(read))]
        assert said in ([FrameType.HELLO], [FrameType.HELLO, FrameType.GOODBYE])
        await turns_until(lambda: not home.server._strangers)
        assert home.fleet.news.empty()


@on_every_loop
async def test_with_the_token_a_plain_router_is_not_dressed_up_either() -> None:
    async with house("secret", "") as home, somebody_between(home.server.port, OTHER, router_tls=False) as (port, _):
        with pytest.raises(JoinRefused, match="somebody stands between the two"):
            await join(dialer(token="secret"), replace(at(home, tls=True), link_port=port))


@on_every_loop
async def test_who_stands_between_where_there_is_no_token_is_believed_once_and_never_by_who_knows_better() -> None:
    async with house(certificate=HOUSE) as home, somebody_between(home.server.port, OTHER) as (port, _):
        false = replace(at(home), link_port=port)
        await join(dialer(), false)  # trust on first use: it could be anybody's
        knows_better = dialer()
        await join(knows_better, at(home))
        with pytest.raises(JoinRefused, match="another certificate"):
            await join(knows_better, false)


# --- Without ----------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_an_agent_knows_its_router_by_its_certificate_and_tells_another_nothing(tmp_path: Path) -> None:
    file = tmp_path / "known-routers.json"
    async with house(certificate=HOUSE) as home:
        await join(dialer(KnownRouters(file)), at(home))
        async with somebody_between(home.server.port, OTHER) as (port, read):
            impostor = replace(at(home), link_port=port)
            with pytest.raises(JoinRefused, match=r"another certificate .*known-routers\.json") as refused:
                await join(dialer(KnownRouters(file)), impostor)
            assert refused.value.code == "certificate"
            assert read == b""
            file.unlink()
            await join(dialer(KnownRouters(file)), impostor)
            assert read != b""


@pytest.mark.parametrize("token", ["", "secret"], ids=["no token", "token"])
@on_every_loop
async def test_a_router_that_spoke_tls_is_not_even_dialled_in_plain_text(token: str) -> None:
    agent = dialer(token=token)
    async with house(token, HOUSE) as home:
        await join(agent, at(home))
    async with house(token, "") as home:
        met = home.server._last_link
        with pytest.raises(JoinRefused, match="does not speak TLS") as refused:
            await join(agent, at(home))
        assert refused.value.code == "tls"
        assert home.server._last_link == met


@on_every_loop
async def test_a_plain_stranger_that_turns_out_to_be_the_known_router_gets_no_answers() -> None:
    agent = dialer()
    async with house(certificate=HOUSE) as home:
        await join(agent, at(home))
    async with house(certificate="") as home:
        with pytest.raises(JoinRefused, match="does not speak TLS"):
            await join(agent, replace(at(home), router_id=RouterId("a stranger")))
        assert [(await home.fleet.news.get())[0] for _ in range(2)] == ["up", "down"]


@on_every_loop
async def test_a_renewed_certificate_of_an_authority_is_taken_for_the_name_in_the_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", AUTHORITY)
    agent = dialer()
    async with house(certificate=HOUSE) as home:
        await join(agent, replace(at(home, "https://localhost:11435"), hosts=("localhost",)))
        await join(agent, at(home, "https://127.0.0.1:11435"))
    async with house(certificate=VOUCHED) as home:
        with pytest.raises(JoinRefused, match="another certificate"):  # the certificate is for localhost
            await join(agent, at(home, "https://127.0.0.1:11435"))
        with pytest.raises(JoinRefused, match="another certificate"):  # nobody asked for an authority
            await join(agent, replace(at(home, "http://localhost:11435"), hosts=("localhost",)))
        await join(agent, replace(at(home, "https://localhost:11435"), hosts=("localhost",)))
        await join(agent, replace(at(home, "http://localhost:11435"), hosts=("localhost",)))  # known by now


# --- Who speaks another language --------------------------------------------------------------------------------------


@on_every_loop
async def test_a_plain_agent_at_a_tls_port_is_told_so_in_plain_text(caplog: pytest.LogCaptureFixture) -> None:
    async with house(certificate=HOUSE) as home:
        with pytest.raises(JoinRefused, match="speaks TLS only: update herd-node") as refused:
            await join(dialer(), at(home, tls=False))
        assert refused.value.code == "tls"
        assert "an agent at 127.0.0.1 did not join: This router's link speaks TLS only" in caplog.text
        assert home.fleet.news.empty()


@on_every_loop
async def test_a_tls_agent_at_a_plain_port_and_its_router_both_say_what_is_wrong(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with house(certificate="") as home:
        with pytest.raises(LinkClosed, match="said to speak TLS, and does not: has herd lost its --tls-cert"):
            await join(dialer(), at(home, tls=True))
        assert "did not join: This router's link does not speak TLS: start herd with --tls-cert" in caplog.text
        await turns_until(lambda: not home.server._strangers)


@pytest.mark.parametrize(
    "garbage",
    [bytes.fromhex("16030100c5010000c10303") + bytes(200), b"\x16" * 4096, b"\x15\x03\x01\x00\x02\x02\x28", b"\x16"],
    ids=["a hello of zeros", "noise", "an alert", "one byte"],
)
@on_every_loop
async def test_what_only_looks_like_tls_is_closed(garbage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "JOIN_S", 0.2)
    async with house(certificate=HOUSE) as home:
        reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
        writer.write(garbage)
        said = await reader.read()
        assert said == b"" or said[0] == 0x15  # nothing, or an alert
        writer.close()
        await turns_until(lambda: not home.server._strangers)
        async with home.agent():
            pass


@on_every_loop
async def test_an_agent_leaves_a_router_whose_tls_breaks(caplog: pytest.LogCaptureFixture) -> None:
    async def garble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"\x16\x03\x03\x00\x05hello")
        assert (await reader.read())[0] == 0x15

    async with raw_port(garble) as address:
        with pytest.raises(LinkClosed, match="TLS failed"):
            await join(dialer(), replace(address, tls=True))


# --- Who takes their time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 1, 100])
@on_every_loop
async def test_a_handshake_that_does_not_get_on_ends_in_time(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "JOIN_S", 0.05)
    async with house(certificate=HOUSE) as home:
        reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
        writer.write(TlsLayer(client_context()).take()[:part])
        assert await reader.read() == b""
        writer.close()
        await turns_until(lambda: not home.server._strangers)


@on_every_loop
async def test_half_open_handshakes_are_bounded_and_keep_nobody_out() -> None:
    async with house(certificate=HOUSE) as home, AsyncExitStack() as stack:
        readers = []
        for _ in range(link_server.MAX_STRANGERS + 20):
            reader, writer = await asyncio.open_connection(LOOPBACK, home.server.port)
            stack.callback(writer.close)
            writer.write(TlsLayer(client_context()).take())
            readers.append(reader)
        async with home.agent():
            await asyncio.gather(*(reader.read() for reader in readers[:20]))
            assert len(home.server._strangers) <= link_server.MAX_STRANGERS
            assert not readers[-1].at_eof()


@on_every_loop
async def test_an_agent_gives_up_a_router_that_never_shakes_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("herd.net.link_client.JOIN_S", 0.05)

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_port(listen) as address:
        with pytest.raises(LinkClosed, match="did not answer the hello"):
            await join(dialer(), replace(address, tls=True))


class _Answering(TlsLayer):
    """TLS with something of its own to say to whatever comes in, as to requests for new keys."""

    def take(self) -> bytes:
        return super().take() + bytes(64 * KiB if self.ready else 0)


@on_every_loop
async def test_a_peer_that_has_tls_answer_and_reads_none_of_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "TlsLayer", _Answering)
    async with house(certificate=HOUSE) as home:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KiB)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (LOOPBACK, home.server.port))
        tls = TlsLayer(client_context())
        while not tls.ready:
            await loop.sock_sendall(sock, tls.take())
            tls.receive(await loop.sock_recv(sock, 64 * KiB))
        (stranger,) = home.server._strangers.values()
        await loop.sock_sendall(sock, tls.seal((60_000).to_bytes(4, "big")))  # a hello, byte by byte
        while not stranger.is_lost:
            await loop.sock_sendall(sock, tls.seal(b"x"))
            assert stranger._transport is not None
            assert stranger._transport.get_write_buffer_size() <= link_module.MAX_UNREAD + 128 * KiB
            await asyncio.sleep(0)
        assert "does not read" in await stranger.wait_lost()
        sock.close()


# --- The end ----------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_peer_that_ends_tls_has_ended_the_link() -> None:
    async with house(certificate=HOUSE) as home:
        sock = socket.create_connection((LOOPBACK, home.server.port))
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        tls = TlsLayer(client_context())
        while not tls.ready:
            await loop.sock_sendall(sock, tls.take())
            tls.receive(await loop.sock_recv(sock, 64 * KiB))
        await loop.sock_sendall(sock, tls.seal(encode(FrameType.HELLO, 0, HELLO)) + tls.end())
        news = await home.fleet.news.get(), await home.fleet.news.get()
        assert [what for what, *_ in news] == ["up", "down"]
        sock.close()


@on_every_loop
async def test_the_last_word_reaches_an_agent_over_tls() -> None:
    async with house(certificate=HOUSE) as home:
        reader, writer = await home.open_connection()
        raw = Peer(reader, writer)
        raw.send(encode(FrameType.HEARTBEAT, 0, Goodbye("x")))
        assert goodbye(await raw.rest()).code == "protocol"
        writer.close()
