"""Routers with keys and with a certificate: who is served, what the commands say, and that no key is ever shown."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.certificates import AUTHORITY, VOUCHED
from tests.e2e.hostile_cases import GET, KEYS, PHONE, QUESTION, Case, answers, post, sentence
from tests.e2e.house import LOOK_EVERY_S
from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import PATIENCE_S, Program, Programs
from tests.net.http_house import RawClient, connection

pytestmark = pytest.mark.asyncio(loop_scope="module")

LLAMA = "llama3.2:3b"
NAMELESS, ADMIN = "nameless-secret-0001", "admin-secret-0001"
SECRETS = (PHONE, NAMELESS, ADMIN)
WORDS = ("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", "router")
BEARER = b"Authorization: Bearer " + PHONE.encode()


@dataclass(frozen=True, slots=True)
class Keyed:
    """A router with keys, and a node that serves a model."""

    programs: Programs
    router: Program
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def command(self, *words: str, **variables: str) -> tuple[int, str]:
        """What a command of `herd` says, and its exit code."""
        program = await self.programs.herd(*words, "--router-url", self.url, variables=variables)
        return await program.ended(), "\n".join(program.lines)


@pytest_asyncio.fixture(name="keyed", scope="module", loop_scope="module")
async def a_router_with_keys(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Keyed]:
    home = tmp_path_factory.mktemp("keyed")
    (home / "router").mkdir()
    (home / "router" / "herd.toml").write_text(f'[herd]\napi-key = ["phone={PHONE}", "{NAMELESS}"]\n')
    server = ModelServer("den", (LLAMA,))
    await server.start()
    try:
        async with Programs(home) as programs:
            router = await programs.herd(*WORDS, "--log-level", "debug", variables={"HERD_ADMIN_KEY": ADMIN})
            keyed = Keyed(programs, router, (await router.says(r"is up: (http://\S+)"))[1])
            words = ("--router-url", keyed.url, "--backend-url", server.url, "--no-mdns", "--data-dir", "den")
            agent = await programs.herd_node(*words, "--name", "den", name="den")
            await agent.says("joined router")  # it needs no key of a client's
            async with asyncio.timeout(PATIENCE_S), connection(keyed.port) as client:
                while await asked(client, "/readyz") != 200:  # noqa: ASYNC110 - the router tells nobody
                    await asyncio.sleep(LOOK_EVERY_S)
            yield keyed
            kept = [path for path in home.rglob("*") if path.is_file() and path.name != "herd.toml"]
            assert "herd.db" in {path.name for path in kept}
            assert not [path for path in kept for key in SECRETS if key.encode() in path.read_bytes()]
            assert not [line for program in (router, agent) for line in program.lines for key in SECRETS if key in line]
    finally:
        await server.stop()


async def asked(client: RawClient, path: str, *headers: bytes) -> int:
    """The status of an answer."""
    head = b"\r\n".join((b"GET %b HTTP/1.1" % path.encode(), b"Host: localhost", *headers))
    return (await client.ask(head + b"\r\n\r\n")).status


@pytest.mark.parametrize("case", KEYS, ids=str)
async def test_whatever_is_given_as_a_key_opens_only_if_it_is_one(keyed: Keyed, case: Case) -> None:
    async with asyncio.timeout(PATIENCE_S), connection(keyed.port) as client, connection(keyed.port) as neighbour:
        (reply,) = await answers(client, case)
        assert (reply.status,) == case.statuses, case.why
        if case.error:
            assert case.error in sentence(reply)
        if reply.status == 401:
            assert reply.headers["www-authenticate"] == "Bearer"
            assert not any(key.encode() in reply.body for key in SECRETS)
        assert (await client.ask(post(QUESTION, BEARER))).status == 200  # keep-alive goes on, with the right key
        assert (await neighbour.ask(post(QUESTION, BEARER))).status == 200


async def test_openai_names_its_error_as_its_clients_know_it(keyed: Keyed) -> None:
    async with connection(keyed.port) as client:
        reply = await client.ask(post(QUESTION, path="/v1/chat/completions"))
    error = json.loads(reply.body)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_api_key", None)


async def test_what_watchdogs_and_agents_ask_is_open(keyed: Keyed) -> None:
    async with connection(keyed.port) as client:
        for path in ("/", "/healthz", "/readyz", "/herd/v1/info"):
            assert await asked(client, path) == 200
            assert await asked(client, path, b"X-Forwarded-For: 203.0.113.9") == 200
        for path in ("/api/tags", "/api/version", "/v1/models", "/api/ps"):
            assert await asked(client, path) == 401
            assert await asked(client, path, BEARER) == 200


async def test_the_keys_name_is_the_clients_in_its_stories(keyed: Keyed) -> None:
    async with connection(keyed.port) as client:
        for number, headers in enumerate(((BEARER,), (b"x-api-key: " + NAMELESS.encode(),))):
            assert (await client.ask(post(QUESTION, *headers, b"X-Request-Id: named-%d" % number))).status == 200
    code, said = await keyed.command("requests", "--json")
    clients = {one["id"]: one["client"] for one in json.loads(said)["requests"]}
    assert (code, clients["named-0"], clients["named-1"]) == (0, "phone", LOOPBACK)


@pytest.mark.slow
async def test_commands_need_no_key_on_this_machine_and_send_the_one_they_have(keyed: Keyed) -> None:
    assert (await keyed.command("nodes"))[0] == 0
    assert await keyed.command("drain", "den", HERD_ADMIN_KEY=ADMIN) == (0, "den is drained by hand")
    assert await keyed.command("resume", "den", "--admin-key", ADMIN) == (0, "den is ready")
    code, said = await keyed.command("nodes", "--admin-key", "sésame")
    assert (code, said) == (
        2,
        "error: the key (--admin-key, HERD_ADMIN_KEY) must consist of ASCII letters, digits and signs",
    )


async def test_the_admin_key_changes_the_fleet_from_elsewhere(keyed: Keyed) -> None:
    """A proxy's header stands for a client on another machine: what is behind it counts as far away."""
    far, order = b"X-Forwarded-For: 192.168.1.7", "/herd/v1/nodes/den/resume"
    async with connection(keyed.port) as client:
        assert (await client.ask(post(b"", far, path=order))).status == 403
        assert (await client.ask(post(b"", far, BEARER, path=order))).status == 403
        assert (await client.ask(post(b"", far, b"x-api-key: guess-guess", path=order))).status == 401
        assert (await client.ask(post(b"", far, b"x-api-key: " + ADMIN.encode(), path=order))).status == 200


async def test_a_router_with_a_certificate_is_asked_by_https(tmp_path: Path) -> None:
    words = ("--tls-cert", VOUCHED, "--tls-key", VOUCHED)
    trusted = {"SSL_CERT_FILE": AUTHORITY}
    async with asyncio.timeout(PATIENCE_S), Programs(tmp_path) as programs:
        router = await programs.herd(*WORDS, *words)
        url = (await router.says(r"is up: (https://\S+)"))[1].replace(LOOPBACK, "localhost")
        keyed = Keyed(programs, router, url)
        assert await keyed.command("nodes", "--json", **trusted) == (0, '{\n  "nodes": []\n}')
        assert (await keyed.command("pin", "x", **trusted))[1] == "error: no node has 'x'"
        for line in (("nodes",), ("pin", "x")):
            code, said = await keyed.command(*line)
            assert code == 1
            assert "its certificate is not trusted: unable to get local issuer certificate (SSL_CERT_FILE names" in said
            code, said = await Keyed(programs, router, url.replace("https", "http")).command(*line)
            assert (code, said.endswith("(400): does it want https://?")) == (1, True)
        context = ssl.create_default_context(cafile=AUTHORITY)
        async with connection(keyed.port, context) as client, connection(keyed.port) as plain:
            assert (await client.ask(GET)).status == 200
            assert (await plain.ask(GET)).body.startswith(b"This port speaks HTTPS")
        assert await router.stop() == 0
