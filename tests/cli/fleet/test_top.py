"""`herd top` as a person has it: on terminals of three sizes, in a pipe, and with a router that goes and comes back."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from herd.cli.loopback import LOOPBACK, loopback_agent, loopback_router, served
from herd.cli.talk import once, wait_for_models
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import BackendId, RequestId
from tests.cli.command_line import CommandLine
from tests.e2e.processes import Programs, command
from tests.loop_thread import Elsewhere, elsewhere
from tests.terminal import Terminal, on_terminal

DISKS = {"attic": ("llama3.2:3b", "qwen3:8b"), "cellar": ("gemma3:4b",), "studio": ("llama3.3:70b",)}
MACHINES = {"attic": "gaming-pc", "cellar": "mini-pc", "studio": "mac-studio"}
SPEED = 50.0  # times that of the real machines


class House:
    """A router, at the same port always, and three machines."""

    def __init__(self, servers: AiohttpServers) -> None:
        self.servers = servers
        self.url = ""
        self._router = AsyncExitStack()

    async def start_router(self) -> None:
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        router = await self._router.enter_async_context(loopback_router("top", port))
        self.url = f"http://{LOOPBACK}:{router.http_port}"

    async def stop_router(self) -> None:
        await self._router.aclose()

    async def ask(self, model: str) -> None:
        """Have an answer given."""
        question = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": False})
        head = RequestHead(RequestId(""), BackendId(""), "POST", "/v1/chat/completions", size=len(question))
        answer = await self.servers.exchange(self.url, head, once(question))
        assert answer.status == 200
        while await answer.read():
            pass
        answer.close()


@asynccontextmanager
async def running_house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(AiohttpServers())
        house = House(servers)
        stack.push_async_callback(house.stop_router)
        await house.start_router()
        for name, disk in DISKS.items():
            fake = FakeOllama(PROFILES[MACHINES[name]].faster(SPEED), [CATALOG[model] for model in disk])
            base_url = await stack.enter_async_context(served(fake.handle))
            machine = IdleMachine(PROFILES[MACHINES[name]], fake)
            await stack.enter_async_context(loopback_agent(name, base_url, house.url, servers, machine))
        await wait_for_models(servers, house.url, {model for disk in DISKS.values() for model in disk})
        yield house


@pytest.fixture(name="house", scope="module")
def a_house() -> Iterator[Elsewhere[House]]:
    with elsewhere(running_house()) as house:
        yield house


def top(house: Elsewhere[House], *words: str) -> list[str]:
    return command("herd", "top", "--router-url", house.value.url, *words)


async def answered(house: Elsewhere[House], model: str) -> None:
    await asyncio.to_thread(house.run, house.value.ask(model))


NODES = (r"\battic\b", r"\bcellar\b", r"\bstudio\b")
BLOCKS = ("─ nodes ", "─ requests ", "─ queues ", "─ happenings ")


class Walk(NamedTuple):
    """Through all keys, on a terminal of some size; three go on at once, each with a node of its own."""

    size: tuple[int, int]
    node: str
    choose: tuple[str, ...]  # keys that choose it
    model: str
    end: str


WALKS = (
    Walk((80, 24), "attic", ("home",), "llama3.2:3b", "q"),
    Walk((120, 40), "cellar", ("home", "down"), "gemma3:4b", "ctrl-c"),
    Walk((200, 60), "studio", ("end",), "llama3.3:70b", "SIGTERM"),
)


async def heeds_its_keys(terminal: Terminal, house: Elsewhere[House], walk: Walk) -> None:
    """Each key does what the help says."""
    press, shows = terminal.press, terminal.shows
    await shows("herd", "3 nodes", *NODES, *BLOCKS)
    press("?")
    await shows("sort by the next column", but=BLOCKS[0])
    press("?")
    await shows(*NODES, but="sort by the next column")
    press("down", "j")
    await shows("^▸ cellar")
    press("k")
    await shows("^▸ attic")
    press("end")
    await shows("^▸ studio")
    press("home", "enter")
    await shows("attic is ", "model server loopback")
    press("right")
    await shows("cellar is ", "model server loopback", but="attic is ")
    press("esc")
    await shows(*BLOCKS, but="cellar is ")
    press("s")
    await shows("by state")
    press("r")
    await shows("by state, turned")
    press("/", "s", "t", "u", "x")
    await shows("filter: stux")
    press("backspace", "enter")
    await shows("1 of 3 match 'stu'", but="filter:")
    press("esc", *["s"] * 5)
    await shows(*NODES, but="match|by ")
    for block in BLOCKS:
        press("tab")
        await shows(block, but="|".join(other for other in BLOCKS if other != block))
    press("tab")
    await shows(*BLOCKS)
    press(*walk.choose, "d")
    await shows(rf"\(y/n\) drain {walk.node}\?")
    press("n")
    await shows(f"{walk.node} stays as it is")
    press("d", "y")
    await shows(f"{walk.node} is drained by hand", rf"^▸ {walk.node} .*draining")
    press("u", "y")
    await shows(f"{walk.node} is ready", rf"^▸ {walk.node} .*ready")
    press("p")
    served = rf"served +{walk.node} +{walk.model}"
    await shows("paused", but=served)
    await answered(house, walk.model)
    press("?", "?")
    await shows("paused", but=f"{served}|sort by the next")
    press(" ")
    await shows(served, but="paused")


async def test_it_heeds_its_keys_and_leaves_the_terminal_as_it_was(house: Elsewhere[House], tmp_path: Path) -> None:
    async def walked(walk: Walk) -> None:
        async with on_terminal(top(house), tmp_path, walk.size) as terminal:
            modes = terminal.found
            await heeds_its_keys(terminal, house, walk)
            for width, height in ((40, 10), (walk.size[1], walk.size[0]), walk.size):
                terminal.resize(width, height)
                text = await terminal.shows(walk.node, "q quit|help")
                assert len(text.splitlines()) == height
            if walk.end == "SIGTERM":
                terminal.process.send_signal(signal.SIGTERM)
            else:
                terminal.press(walk.end)
            assert await terminal.ended() == 0
            assert terminal.screen.untouched
            assert terminal.modes == modes
            assert terminal.screen.text.strip() == ""

    await asyncio.gather(*(walked(walk) for walk in WALKS))


async def test_a_shell_can_stop_it_and_have_it_go_on(house: Elsewhere[House], tmp_path: Path) -> None:
    variables = {"PS1": "prompt> ", "ENV": "", "HERD_ROUTER_URL": house.value.url}
    async with on_terminal(["/bin/sh", "-i"], tmp_path, (80, 24), variables) as terminal:
        await terminal.shows("^prompt>$")
        modes = terminal.found
        terminal.press(f"{sys.executable} -m herd top", "enter")
        await terminal.shows("● live", *NODES)
        terminal.press("ctrl-z")
        await terminal.shows("^prompt>$")
        assert terminal.screen.untouched
        assert terminal.modes[:4] == modes[:4]
        terminal.press("fg", "enter")
        await terminal.shows("● live", *NODES)
        terminal.press("q")
        await terminal.shows("prompt>$", but="live")
        assert terminal.screen.untouched


async def test_when_the_router_goes_it_waits_for_it_and_says_so(house: Elsewhere[House], tmp_path: Path) -> None:
    async with Programs(tmp_path) as programs:
        lines = await programs.start("lines", top(house))
        documents = await programs.start("json", top(house, "--json"))
        async with on_terminal(top(house), tmp_path, (80, 24), {"NO_COLOR": "1"}) as terminal:
            await terminal.shows("● live", *NODES)
            await lines.says(f"watching {house.value.url}$")
            await documents.says("nodes")
            await answered(house, "llama3.2:3b")
            await lines.says(r"llama3.2:3b for 127.0.0.1 at attic: served after \d\.\d\d s \(waited .*first token")
            await asyncio.to_thread(house.run, house.value.stop_router())
            await terminal.shows("lost", *NODES)
            await lines.says("trying again")
            await documents.says("trying again")
            await asyncio.to_thread(house.run, house.value.start_router())
            await terminal.shows("● live", "3 serving", *NODES, but="lost")
            await lines.says(f"watching {house.value.url} again$")
            assert not any(re.search(r"(^|;)(3|4)\d", style) for style in terminal.screen.styles)
            await asyncio.to_thread(house.run, house.value.stop_router())
            await terminal.shows("lost")
            terminal.press("q")
            assert await terminal.ended() == 0
            assert terminal.screen.untouched
            await asyncio.to_thread(house.run, house.value.start_router())
        assert await lines.stop(signal.SIGINT) == 0
        assert not any("\x1b" in line for line in lines.lines)
        assert await documents.stop(signal.SIGINT) == 0
        told = [json.loads(line) for line in documents.lines if "trying again" not in line]
        assert [node["name"] for node in told[0]["nodes"]] == list(DISKS)


@pytest.mark.parametrize("flags", ["", " --json"])
def test_without_a_router_at_the_start_it_says_what_to_do(run: CommandLine, flags: str) -> None:
    ended = run(f"herd top --router-url http://127.0.0.1:9{flags}")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("error: no connection to the router at http://127.0.0.1:9")
    assert ended.err.endswith("is the router running? --router-url names another\n")


def test_what_cannot_be_a_router_or_its_certificate_is_wrong_usage(run: CommandLine) -> None:
    assert run("herd top --router-url nowhere").code == 2
    ended = run("herd top", {"HERD_ROUTER_FINGERPRINT": "00ff"})
    assert (ended.code, "64 hexadecimal digits" in ended.err) == (2, True)
