"""The three ways that requests take: straight to the backend, through one aiohttp hop, through the two of Herd."""

import http.client
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import LOOK_EVERY_S, START_S, BenchmarkFailed, Program, Programs, module, script

LOOPBACK = "127.0.0.1"
PARALLEL = 1024  # the most that a node may be told: nothing here shall wait for a lease

DIRECT, HOP, HERD = "direct", "hop", "herd"


@dataclass(frozen=True, slots=True)
class Target:
    """One way, and the processes that stand in it."""

    name: str
    port: int
    watched: Mapping[str, int]  # name -> pid


@dataclass(frozen=True, slots=True)
class Guard:
    """What a router asks of those who come: nothing, unless said otherwise."""

    api_key: str = ""
    join_token: str = ""

    @property
    def serve_words(self) -> Sequence[str]:
        """For the router."""
        return [*(("--api-key", self.api_key) if self.api_key else ()), *self.node_words]

    @property
    def node_words(self) -> Sequence[str]:
        """For its agent."""
        return ["--join-token", self.join_token] if self.join_token else []


@dataclass(frozen=True, slots=True)
class House:
    """A router and its agent."""

    router: Program
    agent: Program
    port: int


OPEN = Guard()


def start_backend(programs: Programs) -> Target:
    """Start the fake backend: the direct way."""
    program = programs.start("backend", module("backend"))
    return Target(DIRECT, int(program.says(r"port (\d+)")), {"backend": program.pid})


def start_hop(programs: Programs, direct: Target) -> Target:
    """Start the aiohttp hop."""
    program = programs.start("hop", [*module("hop"), str(direct.port)])
    return Target(HOP, int(program.says(r"port (\d+)")), {"hop": program.pid, **direct.watched})


def start_herd(programs: Programs, direct: Target) -> Target:
    """Start router and agent, and wait until they serve."""
    house = start_house(programs, direct)
    return Target(HERD, house.port, {"router": house.router.pid, "agent": house.agent.pid, **direct.watched})


def start_house(programs: Programs, direct: Target, profiles: Path | None = None, guard: Guard = OPEN) -> House:
    """Start router and agent with their defaults, on free ports and in directories of their own; wait until they serve.

    Args:
        programs: where they are started.
        direct: the backend.
        profiles: directory for their profiles; None runs them as they are.
        guard: what the router asks of those who come.
    """
    number = sum(1 for _ in programs.home.glob("router*"))
    words = _serve_words(f"router{number}")
    router = programs.start("router", [*_runner("herd", profiles), *words, *guard.serve_words])
    url = router.says(r"is up: (http://\S+)")
    words = (*_node_words(f"agent{number}", url, direct), *guard.node_words)
    agent = programs.start("agent", [*_runner("herd-node", profiles), *words])
    agent.says(r"(joined router)")
    port = int(url.rpartition(":")[2])
    _wait_ready(port, router)
    return House(router, agent, port)


def _runner(name: str, profiles: Path | None) -> Sequence[str]:
    return script(name) if profiles is None else [*module("profiled"), str(profiles / name), name]


def _serve_words(data_dir: str) -> Sequence[str]:
    return ("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns", "--data-dir", data_dir)


def _node_words(data_dir: str, router_url: str, direct: Target) -> Sequence[str]:
    backend = ("--backend-url", f"http://{LOOPBACK}:{direct.port}", "--parallel", str(PARALLEL))
    return ("--router-url", router_url, "--no-mdns", "--data-dir", data_dir, "--name", "bench", *backend)


def _wait_ready(port: int, router: Program) -> None:
    """Ask until a node can serve: the router does not tell. Raises BenchmarkFailed."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=START_S)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        finally:
            connection.close()
        time.sleep(LOOK_EVERY_S)
    raise BenchmarkFailed(f"no node was ready within {START_S:.0f} s:\n{router.tail()}")
