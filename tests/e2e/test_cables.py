"""A cable is pulled out: no FIN, no RST, only silence. Each host is a network namespace of its own."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.battered import quiet
from tests.e2e.house import BOTH, DISKS, ONLY, question
from tests.e2e.netns import Network, available
from tests.e2e.processes import Program, Programs, command

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(300)]

ENDLESS = 1_000_000

# Both ends know after 15 and 30 s; the rest is for a machine that is busy elsewhere.
SILENT_S = 90.0
LOOK_EVERY_S = 0.5  # each look starts a process

# `read1` and not the answer's lines: these end quietly where a connection was cut.
CLIENT = """
import http.client, sys, urllib.request
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.argv[2].encode() or None)) as answer:
    print("begun by", answer.headers["X-Herd-Node"], "at attempt", answer.headers["X-Herd-Attempts"], flush=True)
    said = b""
    try:
        while more := answer.read1(65536):
            said = (said + more)[-65536:]
        print("ended with", said.decode().strip().splitlines()[-1], flush=True)
    except (http.client.IncompleteRead, OSError):
        print("cut off", flush=True)
"""


class Street:
    """Three hosts: a router, and two machines with an agent and a model server each.

    Args:
        network: with the hosts "router", "attic" and "cellar".
        programs: starts what runs on them.
    """

    def __init__(self, network: Network, programs: Programs) -> None:
        self.network = network
        self._programs = programs
        self._url = f"http://{network['router'].address}:11435"
        self.agents: dict[str, Program] = {}
        self.servers: dict[str, Program] = {}

    async def run(self, host: str, name: str, words: list[str]) -> Program:
        return await self._programs.start(name, self.network[host].words(words))

    async def start(self) -> None:
        """Start everything, and wait until both nodes are ready."""
        router = await self.run("router", "herd", command("herd", "--no-mdns", "--data-dir", "router"))
        await router.says("is up")
        for name, models in DISKS.items():
            words = [sys.executable, "-m", "tests.e2e.reciters", name, *models]
            self.servers[name] = await self.run(name, f"server of {name}", words)
            await self.servers[name].says("running 0")
            agent = ("--router-url", self._url, "--no-mdns", "--name", name, "--data-dir", name)
            self.agents[name] = await self.run(name, name, command("herd-node", *agent))
        await self.until(lambda status: [node["state"] for node in status["nodes"]] == ["ready", "ready"])

    async def ask(self, model: str, **fields: Any) -> Program:
        """A client beside the router with a question."""
        return await self._client("/api/chat", json.dumps(question(model, **fields)))

    async def until(self, condition: Any) -> None:
        """Wait until a condition holds of the router's status; it is asked again and again."""
        async with asyncio.timeout(SILENT_S):
            while True:
                client = await self._client("/herd/v1/status", "")
                status = json.loads((await client.says("ended with (.*)"))[1])
                await client.ended()
                if condition(status):
                    return
                await asyncio.sleep(LOOK_EVERY_S)

    async def _client(self, path: str, body: str) -> Program:
        return await self.run("router", "client", [sys.executable, "-c", CLIENT, self._url + path, body])


@pytest.fixture(name="street")
async def street_in_namespaces(tmp_path: Path) -> AsyncIterator[Street]:
    if reason := available():
        pytest.skip(reason)
    with Network(["router", "attic", "cellar"]) as network:
        async with Programs(tmp_path) as programs:
            street = Street(network, programs)
            await street.start()
            yield street
            await street.until(quiet)
            for server in street.servers.values():
                assert server.lines[-1] == "running 0"


async def served(client: Program) -> str:
    """Who served a client's question."""
    async with asyncio.timeout(SILENT_S):
        while client.running:
            await client.process.wait()
    await client.says('ended with .*"done":true')
    return (await client.says(r"begun by (\S+)"))[1]


async def test_a_cable_that_is_pulled_out_ends_streams_on_both_sides_and_the_agent_is_back_with_it(
    street: Street,
) -> None:
    broken = await street.ask(ONLY["attic"], tokens=ENDLESS)
    await broken.says("begun by attic")
    others = [await street.ask(ONLY["cellar"], tokens=6000) for _ in range(2)]
    await street.until(lambda status: (status["totals"]["running"], status["totals"]["waiting"]) == (2, 1))
    street.network.unplug("attic")

    # The attic has less to do, and nobody knows yet: this one is sent into the void, and then to the other node.
    early = await street.ask(BOTH, stream=False)
    assert [await served(client) for client in others] == ["cellar", "cellar"]
    assert await served(early) == "cellar"
    await early.says("at attempt 2")
    await broken.says("cut off|ended with .*nothing was heard from the node for 30 s")
    await street.agents["attic"].says("the router has been silent for 15 s")
    await street.servers["attic"].says("running 0", times=2)
    assert await served(await street.ask(BOTH, stream=False)) == "cellar"

    held = await street.ask(ONLY["attic"], stream=False)
    await street.until(lambda status: status["totals"]["held"] == 1)
    street.network.plug("attic")
    assert await served(held) == "attic"


async def test_an_agent_whose_cable_was_out_for_a_moment_is_back_before_the_router_has_given_it_up(
    street: Street,
) -> None:
    broken = await street.ask(ONLY["attic"], tokens=ENDLESS)
    await broken.says("begun by attic")
    street.network.unplug("attic")
    await street.agents["attic"].says("the router has been silent for 15 s")
    await street.until(lambda status: [node["state"] for node in status["nodes"]] == ["degraded", "ready"])
    street.network.plug("attic")
    # By the new link or by the end of the old one, whichever gets through first: both are on their way.
    await broken.says("cut off|ended with .*the link to the node was lost: (?!nothing was heard)")
    await street.agents["attic"].says("joined router", times=2)
    assert await served(await street.ask(ONLY["attic"], stream=False)) == "attic"
