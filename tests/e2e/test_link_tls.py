"""A router with a certificate and its agent, as a person starts them; and those who would like to be the router."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.between import somebody_between
from tests.certificates import HOUSE, OTHER
from tests.e2e.house import BOTH, models_listed, question
from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import Program, Programs

KNOWN = "agent/known-routers.json"


class Home:
    """A router that may be started anew on the same ports, with another certificate or as another router."""

    def __init__(self, programs: Programs, server: ModelServer, client: aiohttp.ClientSession) -> None:
        self.programs = programs
        self.server = server
        self.client = client
        self.url = ""
        self.router: Program
        self.link_port = "0"
        self._port = "0"

    async def start_router(self, certificate: str, *, token: str = "", data_dir: str = "router") -> None:
        words = ("--host", LOOPBACK, "--port", self._port, "--link-port", self.link_port, "--no-mdns")
        tls = ("--tls-cert", certificate, "--tls-key", certificate) if certificate else ()
        variables = {"HERD_JOIN_TOKEN": token}
        self.router = await self.programs.herd(*words, "--data-dir", data_dir, *tls, variables=variables)
        self.url = (await self.router.says(r"is up: (https?://\S+)"))[1]
        self._port = self.url.rpartition(":")[2]
        self.link_port = (await self.router.says(r"agents connect to port (\d+)"))[1]

    async def start_agent(self, *words: str, url: str = "", name: str = "agent") -> Program:
        where = ("--router-url", url or self.url, "--backend-url", self.server.url, "--no-mdns")
        return await self.programs.herd_node(*where, "--data-dir", name, *words, name=name)

    async def chat(self) -> str:
        await models_listed(self.client, self.url, [BOTH])
        async with self.client.post(f"{self.url}/api/chat", json=question(stream=False)) as answer:
            assert answer.status == 200
            return str((await answer.json())["message"]["content"])


@pytest.fixture(name="home")
async def home_with_a_model_server(tmp_path: Path) -> AsyncIterator[Home]:
    server = ModelServer("studio", (BOTH,))
    await server.start()
    connector = aiohttp.TCPConnector(ssl=False)
    async with Programs(tmp_path) as programs, aiohttp.ClientSession(connector=connector) as client:
        try:
            yield Home(programs, server, client)
        finally:
            await server.stop()


async def test_with_a_join_token_the_certificate_may_change_and_nobody_has_to_know_it(home: Home) -> None:
    await home.start_router(HOUSE, token="s3same")
    agent = await home.start_agent("--join-token", "s3same")
    await agent.says("joined router")
    said = await home.chat()
    assert await home.router.stop() == 0
    await home.start_router(OTHER, token="s3same")
    await agent.says("joined router", times=2)
    assert await home.chat() == said
    guest = await home.start_agent("--join-token", "guess", name="guest")
    await guest.says("cannot join the router: .*join token")
    assert [await program.stop() for program in (agent, guest, home.router)] == [0, 0, 0]


@pytest.mark.slow
async def test_without_one_an_agent_stays_with_the_certificate_that_it_knows(home: Home) -> None:
    await home.start_router(HOUSE)
    agent = await home.start_agent()
    await agent.says("joined router")
    assert await home.chat()
    known = home.programs.home / KNOWN
    assert len(set(json.loads(known.read_text()).values())) == 1
    assert await home.router.stop() == 0

    await home.start_router(OTHER, data_dir="impostor")
    await agent.says(r"cannot join the router: .*another certificate .*agent/known-routers\.json on this machine")
    assert await home.router.stop() == 0
    assert await agent.stop() == 0

    await home.start_router(HOUSE)
    agent = await home.start_agent()
    await agent.says("joined router")
    assert await agent.stop() == 0
    assert await home.router.stop() == 0

    await home.start_router(OTHER)  # the true router, with its next certificate
    known.unlink()
    agent = await home.start_agent()
    await agent.says("joined router")
    assert await home.chat()
    assert await agent.stop() == 0


@pytest.mark.slow
async def test_a_router_that_has_lost_its_certificate_is_not_joined_in_plain_text(home: Home) -> None:
    await home.start_router(HOUSE)
    agent = await home.start_agent()
    await agent.says("joined router")
    assert await agent.stop() == 0
    assert await home.router.stop() == 0
    await home.start_router("")
    agent = await home.start_agent()
    await agent.says(r"cannot join the router: The router does not speak TLS.* delete .*agent/known-routers\.json")
    assert await agent.stop() == 0


async def test_an_agent_does_not_start_with_a_damaged_list_of_known_routers(home: Home) -> None:
    known = home.programs.home / KNOWN
    known.parent.mkdir()
    known.write_text("{")
    agent = await home.start_agent(url="http://127.0.0.1:1")
    await agent.says(r"error: agent/known-routers\.json is damaged\. Delete it")
    assert await agent.ended() == 2


@asynccontextmanager
async def false_front(info: dict[str, Any]) -> AsyncIterator[str]:
    """A URL where a router seems to be: its `/herd/v1/info`, changed."""
    body = json.dumps(info).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("shown", [OTHER, ""], ids=["tls", "plain"])
async def test_who_stands_between_gets_nowhere_with_who_holds_the_token(home: Home, shown: str) -> None:
    await home.start_router(HOUSE, token="s3same")
    async with home.client.get(f"{home.url}/herd/v1/info") as answer:
        info = await answer.json()
    assert info["link_tls"] is True
    async with (
        somebody_between(int(home.link_port), shown) as (port, _),
        false_front({**info, "link_port": port, "link_tls": shown != ""}) as url,
    ):
        agent = await home.start_agent("--join-token", "s3same", url=url)
        await agent.says("cannot join the router: The router does not hold this agent's join token")
        assert await agent.stop() == 0
    agent = await home.start_agent("--join-token", "s3same")
    await agent.says("joined router")
    assert await agent.stop() == 0
