"""Looking at a router's link without joining it, and at who has a port of this machine."""

import asyncio
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from herd.net.known_routers import KnownRouters
from herd.net.probing import Link, Listener, listeners, look_at_link
from herd.net.tls import fingerprint, server_context
from herd.protocols.discovery import RouterAddress
from herd.types import RouterId
from tests.between import somebody_between
from tests.certificates import HOUSE, OTHER
from tests.net.link_house import LOOPBACK, House, house

TOKEN = "sesame"


async def seen(home: House, token: str = "", known: KnownRouters | None = None, **other: object) -> Link:
    """What is seen of a house's link; nobody joins, and nothing is left there."""
    address = replace(home.address, router_id=RouterId("r-1"), **other)  # type: ignore[arg-type]
    link = await look_at_link(address, token, known)
    assert home.fleet.news.empty()
    return replace(link, place="")


@pytest.mark.parametrize("certificate", ["", HOUSE], ids=["plain", "tls"])
async def test_a_link_that_is_as_the_router_says_has_no_trouble(
    certificate: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with house(TOKEN, certificate) as home:
        assert await seen(home) == Link("")
        assert await seen(home, TOKEN) == Link("")
    assert caplog.records == []  # the router has nothing to complain of


@pytest.mark.parametrize("certificate", ["", HOUSE], ids=["plain", "tls"])
async def test_a_token_that_is_not_the_routers_is_found_out_before_it_is_proven(certificate: str) -> None:
    async with house("another", certificate) as home:
        link = await seen(home, TOKEN)
    assert "The router does not hold this agent's join token" in link.wrong_token
    assert (link.unreachable, link.wrong_tls, link.stranger) == ("", "", "")


async def test_who_stands_between_is_found_out_too() -> None:
    async with house(TOKEN, HOUSE) as home, somebody_between(home.server.port, OTHER) as (port, _):
        link = await seen(home, TOKEN, link_port=port)
    assert "somebody stands between the two" in link.wrong_token


async def test_where_nothing_listens_there_is_no_connection() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
    link = await look_at_link(RouterAddress((LOOPBACK,), 0, port, RouterId("")), TOKEN, None)
    assert link == Link(f"{LOOPBACK} port {port}", unreachable="Connection refused")
    nowhere = RouterAddress(("nowhere.invalid",), 0, port, RouterId(""))
    assert (await look_at_link(nowhere, "", None)).unreachable


async def test_a_link_that_speaks_no_tls_where_it_should_is_said_to() -> None:
    async with house(TOKEN, "") as home:
        link = await seen(home, TOKEN, tls=True)
    assert link.wrong_tls.startswith("it does not speak TLS (")


async def test_a_link_that_speaks_tls_where_it_should_not_is_said_to() -> None:
    async with house(TOKEN, HOUSE) as home:
        assert "TLS" in (await seen(home, TOKEN, tls=False)).wrong_token


async def test_another_certificate_than_the_known_one_is_a_strangers_unless_the_token_is_proven(tmp_path: Path) -> None:
    known = KnownRouters(tmp_path / "known-routers.json")
    context = server_context(OTHER, OTHER)
    assert context is not None
    known.remember(["id r-1"], fingerprint(context))
    async with house(TOKEN, HOUSE) as home:
        assert "another certificate" in (await seen(home, known=known)).stranger
        assert (await seen(home, TOKEN, known)).stranger == ""
    async with house(TOKEN, OTHER) as home:
        assert (await seen(home, known=known)).stranger == ""


async def test_what_answers_nothing_or_nonsense_ends_in_a_sentence() -> None:
    said = [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said[0])
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        address = RouterAddress((LOOPBACK,), 0, server.sockets[0].getsockname()[1], RouterId(""))
        troubles = [(await look_at_link(address, TOKEN, None)).wrong_token]
        said.pop(0)
        troubles.append((await look_at_link(address, TOKEN, None)).wrong_token)
    assert all(troubles)


def test_who_listens_on_a_port_of_this_machine() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, socket.create_server((LOOPBACK, 0)) as other:
        port, unasked = taken.getsockname()[1], other.getsockname()[1]
        found = {each.port: each for each in listeners([port])}
        assert unasked not in found
        if not found:
            pytest.skip("this system tells root alone who listens")
        assert (found[port].pid, found[port].of_herd) == (os.getpid(), False)
        assert found[port].program
    assert listeners([port]) == ()


def test_where_a_system_tells_little_less_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = SimpleNamespace(status=psutil.CONN_LISTEN, pid=None, laddr=SimpleNamespace(port=5))
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [entry])
    assert listeners([5]) == (Listener(5, "", None),)
    entry.pid = 2**31 - 1  # it has ended since
    assert listeners([5]) == (Listener(5, "", 2**31 - 1),)

    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert listeners([5]) == ()
