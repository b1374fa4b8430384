"""Two simulated Ollamas of one kind: one is asked straight, the other through a router and its agent."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

from herd.cli.loopback import LOOPBACK, loopback_agent, loopback_router, served
from herd.net.http_client import AiohttpServers
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from tests.e2e.house import models_listed

# A model that chats, one that thinks, one that sees, one that completes code, one that embeds.
MODELS = ("llama3.2:3b", "qwen3:8b", "gemma3:4b", "qwen2.5-coder:7b", "nomic-embed-text:latest")

SPEED = 1e6  # of the machine: what is compared is what it says, not how long it takes
PATIENCE_S = 30.0

# Times differ from one answer to the next, and so do ids, of the simulated Ollama as of the real one.
_VARIES = re.compile(
    rb'"(?P<key>created_at|modified_at|expires_at|total_duration|load_duration|prompt_eval_duration|eval_duration'
    rb'|created|completed_at|id|item_id|call_id|request_id)":(?:"[^"]*"|[0-9]+)'
)

# One field more than Ollama has in its list for OpenAI's clients.
_MORE = re.compile(rb',"capabilities":\[[^\]]*\]')

# Herd's own, those that every server writes as it likes, and how the length of a body is told.
_OWN = re.compile(
    r"(?:x-herd-.*|x-request-id|request-id|date|server|content-length|transfer-encoding|connection)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, to the byte."""

    method: str
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of it, without what differs between any two answers."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    own: dict[str, str] = field(default_factory=dict, compare=False)  # the headers that only Herd sends


class Pair:
    """Asks both."""

    def __init__(self, client: aiohttp.ClientSession, straight: str, through: str) -> None:
        self._client = client
        self._urls = (straight, through)

    async def ask(self, call: Call) -> tuple[Answer, Answer]:
        """What the Ollama says, and what the router says that stands before the other one."""
        straight, through = self._urls
        return await self._answer(straight, call), await self._answer(through, call)

    async def _answer(self, url: str, call: Call) -> Answer:
        request = self._client.request(
            call.method,
            url + call.path,
            data=call.body or None,
            headers=call.headers,
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
        )
        async with asyncio.timeout(PATIENCE_S), request as answer:
            body = await answer.read()
        if call.path.startswith("/v1/models"):
            body = _MORE.sub(b"", body)
        pairs = [(name.lower(), value) for name, value in answer.headers.items()]
        return Answer(
            answer.status,
            tuple(sorted(pair for pair in pairs if not _OWN.fullmatch(pair[0]))),
            _VARIES.sub(rb'"\g<key>":0', body),
            {name: value for name, value in pairs if _OWN.fullmatch(name)},
        )


async def soon_the_same(pair: Pair, call: Call) -> None:
    """Compare what a node takes a moment to report: another build of a model, one that was loaded, or has expired."""
    straight, through = await pair.ask(call)
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            while through != straight:
                straight, through = await pair.ask(call)
    assert through == straight, call


@asynccontextmanager
async def running_pair() -> AsyncIterator[Pair]:
    """The two, a router and an agent, over real sockets in this process."""
    profile = PROFILES["mac-studio"].faster(SPEED)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        straight, behind = (FakeOllama(profile, [CATALOG[model] for model in MODELS]) for _ in range(2))
        straight_url, behind_url = await enter(served(straight.handle)), await enter(served(behind.handle))
        router = await enter(loopback_router("differential"))
        url = f"http://{LOOPBACK}:{router.http_port}"
        servers = await enter(AiohttpServers())
        await enter(loopback_agent("node", behind_url, url, servers, IdleMachine(PROFILES["mac-studio"], behind)))
        client = await enter(aiohttp.ClientSession())
        await models_listed(client, url, MODELS)
        yield Pair(client, straight_url, url)
