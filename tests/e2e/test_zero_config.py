"""Nobody says an address: router and agents, each in a network namespace of its own, find each other by themselves."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import HOUSE, OTHER
from tests.e2e.netns import Host, Network, available
from tests.e2e.processes import ROOT, command, environment

pytestmark = [pytest.mark.netns, pytest.mark.slow, pytest.mark.timeout(150)]

BOTH = "llama3.2:3b"
DISKS = {"attic": (BOTH, "qwen3:8b"), "cellar": (BOTH, "gemma3:4b")}
ONLY = {"attic": "qwen3:8b", "cellar": "gemma3:4b"}
PORT = 11435

# A host that moves is missed after 15 s of silence, and agents look for their router in rounds of 5 s.
BOUND_S = 60.0

FETCH = """
import sys, urllib.error, urllib.request
url, body = sys.argv[1], sys.argv[2].encode() or None
try:
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        print(answer.headers["X-Herd-Node"] or "-", answer.read().decode())
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(str(error))
"""


class Home:
    """Three hosts on one network: a router, and two agents with an Ollama each.

    Args:
        network: with the hosts "router", "attic" and "cellar".
        directory: for what the programs remember and what they print.
    """

    def __init__(self, network: Network, directory: Path) -> None:
        self._network = network
        self._directory = directory

    def start(self, host: str, words: list[str]) -> "subprocess.Popen[Any]":
        """Start a program on a host; what it prints goes to a file."""
        home = self._directory / host
        home.mkdir(exist_ok=True)
        with (self._directory / f"{host}.log").open("ab") as log:
            return self._network[host].run(
                words, cwd=ROOT, env=environment(home), stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def start_router(self, *words: str) -> "subprocess.Popen[Any]":
        return self.start("router", command("herd", *words))

    def start_node(self, host: str) -> None:
        self.start(host, [sys.executable, "-m", "tests.e2e.model_servers", host, *DISKS[host]])
        self.start(host, command("herd-node", "--name", host))

    def fetch(self, host: Host, path: str, body: Any = None) -> tuple[str, Any]:
        """Who answered, and what, when somebody on `host` asks the router; ConnectionError when nobody does."""
        url = f"http://{self._network['router'].address}:{PORT}{path}"
        asked = [sys.executable, "-c", FETCH, url, json.dumps(body) if body else ""]
        process = host.run(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=BOUND_S)
        if process.returncode:
            raise ConnectionError(err)
        node, _, document = out.partition(" ")
        return node, json.loads(document)

    async def until_joined(self, *, times: int) -> None:
        """Wait until both agents have joined so many times, and the router knows what they have.

        No event crosses from one namespace to another, so logs and router are looked at again and again.
        """
        async with asyncio.timeout(BOUND_S):
            while True:
                joined = {name for name in DISKS if self._log(name).count("joined router") >= times}
                if joined == self._ready() == set(DISKS):
                    return
                await asyncio.sleep(0.5)

    async def until_said(self, host: str, words: str) -> None:
        """Wait until a program on a host has printed something."""
        async with asyncio.timeout(BOUND_S):
            while words not in self._log(host):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.5)

    def _log(self, host: str) -> str:
        return (self._directory / f"{host}.log").read_text()

    def _ready(self) -> set[str]:
        try:
            _, status = self.fetch(self._network["router"], "/herd/v1/status")
        except ConnectionError:
            return set()
        return {node["name"] for node in status["nodes"] if node["state"] == "ready" and node["models"]}

    def chat(self, host: Host, model: str) -> str:
        """The node that answers a question which somebody on `host` has."""
        messages = [{"role": "user", "content": "Which machine are you?"}]
        node, answer = self.fetch(host, "/api/chat", {"model": model, "messages": messages, "stream": False})
        assert answer["done"]
        return node

    def show_logs(self) -> None:
        for log in sorted(self._directory.glob("*.log")):
            sys.stdout.write(f"--- {log.name}\n{log.read_text()}")


@pytest.fixture(name="network")
def three_hosts() -> Iterator[Network]:
    if reason := available():
        pytest.skip(reason)
    with Network(["router", "attic", "cellar"]) as network:
        yield network


@pytest.fixture(name="home")
def home_on_a_network(network: Network, tmp_path: Path) -> Iterator[Home]:
    home = Home(network, tmp_path)
    yield home
    home.show_logs()


async def test_agents_find_their_router_wherever_it_is(network: Network, home: Home) -> None:
    # The agents are there first: nobody has to start anything in an order.
    for host in DISKS:
        home.start_node(host)
    router = home.start_router()
    await home.until_joined(times=1)
    assert {home.chat(network["attic"], model) for model in ONLY.values()} == set(DISKS)
    assert home.chat(network["cellar"], BOTH) in DISKS

    network["router"].move("10.77.0.99")
    await home.until_joined(times=2)
    assert {home.chat(network["attic"], model) for model in ONLY.values()} == set(DISKS)

    router.kill()
    router.wait()
    home.start_router()
    await home.until_joined(times=3)
    assert {home.chat(network["cellar"], model) for model in ONLY.values()} == set(DISKS)


async def test_agents_see_by_themselves_that_their_router_speaks_tls_and_know_it_again(
    network: Network, home: Home
) -> None:
    home.start_node("attic")
    router = home.start_router("--tls-cert", HOUSE, "--tls-key", HOUSE)
    await home.until_said("attic", "joined router")
    assert "does not speak TLS" not in home._log("router")
    router.kill()
    router.wait()
    home.start_router("--tls-cert", OTHER, "--tls-key", OTHER)
    await home.until_said("attic", "shows another certificate")
