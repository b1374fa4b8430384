"""A house of three processes: a router, two agents, and a fake Ollama beside each agent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import PATIENCE_S, Program, Programs

BOTH = "llama3.2:3b"  # both machines have it
DISKS = {"attic": (BOTH, "qwen3:8b"), "cellar": (BOTH, "gemma3:4b")}
ONLY = {"attic": "qwen3:8b", "cellar": "gemma3:4b"}

LOOK_EVERY_S = 0.05  # a node reports within a tenth of a second of its start

# As long as anything here may take; requests to a router without a ready node are held for 30 s.
_CLIENT = aiohttp.ClientTimeout(total=50)


class House:
    """The three processes and what is around them."""

    def __init__(
        self,
        programs: Programs,
        servers: Mapping[str, ModelServer],
        client: aiohttp.ClientSession,
        agent_words: Sequence[str] = (),
        router_words: Sequence[str] = (),
    ) -> None:
        self.programs = programs
        self.servers = servers
        self.client = client
        self.agent_words = agent_words
        self.router_words = router_words
        self.agents: dict[str, Program] = {}
        self.router: Program
        self.url = ""
        self._ports = ("0", "0")

    @property
    def router_port(self) -> int:
        return int(self._ports[0])

    async def start_router(self) -> None:
        """Start the router: on free ports, and after that always on the same ones."""
        http, link = self._ports
        words = ("--host", LOOPBACK, "--port", http, "--link-port", link, "--no-mdns", "--data-dir", "router")
        self.router = await self.programs.herd(*words, *self.router_words)
        self.url = (await self.router.says(r"is up: (http://\S+)"))[1]
        link = (await self.router.says(r"agents connect to port (\d+)"))[1]
        self._ports = (self.url.rpartition(":")[2], link)

    async def start_agent(self, name: str) -> None:
        """Start the agent of one machine, and wait until it has joined."""
        await self.start_agent_at(name, self.url)

    async def start_agent_at(self, name: str, router_url: str) -> None:
        """The same, where something else stands in front of the router."""
        await self.start_agent_beside(name, self.servers[name].url, router_url=router_url)

    async def start_agent_beside(
        self, name: str, *servers: str, router_url: str = "", variables: Mapping[str, str] | None = None
    ) -> None:
        """The same, for the model servers at these URLs."""
        words = ("--router-url", router_url or self.url, *(f"--backend-url={url}" for url in servers), "--no-mdns")
        own = ("--name", name, "--data-dir", name, *self.agent_words)
        self.agents[name] = await self.programs.herd_node(*words, *own, name=name, variables=variables)
        await self.agents[name].says("joined router")

    async def settled(self) -> None:
        """Wait until the router knows the models of both nodes."""
        await models_listed(self.client, self.url, ONLY.values())

    def chat(self, model: str = BOTH, *, path: str = "/api/chat", **fields: Any) -> Any:
        """Ask a short question; an async context manager of the answer."""
        return self.post(path, json=question(model, **fields))

    def post(self, path: str, **options: Any) -> Any:
        """POST; an async context manager of the answer."""
        return self.client.post(self.url + path, **options)

    async def get(self, path: str) -> Any:
        """The JSON at a path that answers with 200."""
        async with self.client.get(self.url + path) as answer:
            assert answer.status == 200
            return await answer.json()


def question(model: str = BOTH, *, tokens: int = 5, **fields: Any) -> dict[str, Any]:
    """A chat request that every dialect understands, for an answer of so many tokens."""
    messages = [{"role": "user", "content": "Which machine are you?"}]
    return {"model": model, "messages": messages, "max_tokens": tokens, "options": {"num_predict": tokens}} | fields


async def models_listed(client: aiohttp.ClientSession, url: str, models: Iterable[str]) -> None:
    """Wait until a router lists these models. It does not tell so by itself, so it is asked again and again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with client.get(f"{url}/v1/models") as answer:
                listed = {model["id"] for model in (await answer.json())["data"]}
            if listed.issuperset(models):
                return
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def running_house(
    home: Path,
    make_server: Callable[[str, Sequence[str]], ModelServer] = ModelServer,
    agent_words: Sequence[str] = (),
    router_words: Sequence[str] = (),
) -> AsyncIterator[House]:
    """A house in which everything runs and both nodes are ready.

    Args:
        home: directory for what the programs remember.
        make_server: makes the model server of a machine, of its name and its models.
        agent_words: further arguments of the agents.
        router_words: and of the router.
    """
    servers = {name: make_server(name, models) for name, models in DISKS.items()}
    async with Programs(home) as programs, aiohttp.ClientSession(timeout=_CLIENT) as client:
        for server in servers.values():
            await server.start()
        try:
            house = House(programs, servers, client, agent_words, router_words)
            await house.start_router()
            for name in servers:
                await house.start_agent(name)
            await house.settled()
            yield house
        finally:
            for server in servers.values():
                server.gate.set()
                await server.stop()
