"""The router does what its own description says, and nothing that can be asked by it makes the router fail.

Requests are made up by schemathesis from the description: those that it allows, and those that it does not.
"""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.request import Request, urlopen
from zlib import crc32

import pytest
import schemathesis
from hypothesis import settings

import herd
from herd.actors.fleet import RouterIdentity
from herd.actors.router import RouterOptions, RouterPorts, running_router
from herd.cli.loopback import LOOPBACK, loopback_agent, served
from herd.cli.talk import wait_for_models
from herd.net.clock import SystemClock
from herd.net.http_client import AiohttpServers
from herd.net.http_server import AiohttpServer
from herd.net.link_server import LinkServer
from herd.net.metrics import Metrics
from herd.protocols.openapi import document, template
from herd.protocols.paths import ENDPOINTS
from herd.simulation.fleet.occupancy import IdleMachine
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.server import FakeOllama
from herd.types import Bytes, KiB, RouterId, Seconds
from tests.loop_thread import elsewhere

DISKS = {"attic": ("llama3.2:3b", "nomic-embed-text:latest"), "cellar": ("llama3.2:3b", "qwen3:8b")}
MODELS = sorted({model for disk in DISKS.values() for model in disk})
SPEED = 1e6  # what is made up here is not read
ORDER = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "herd.order")
LIMITS = ("num_predict", "max_tokens", "max_completion_tokens", "max_output_tokens")
TOKENS = 20  # an answer may be as long as a model's context, and each token is a write
HOLD_S = Seconds(0.1)  # an order may leave no node for a model: that is a 503 in the end


@asynccontextmanager
async def small_house() -> AsyncIterator[str]:
    """A router and two nodes, in this process; the router's URL."""
    http, links = AiohttpServer(LOOPBACK, 0), LinkServer(LOOPBACK, 0)
    identity = RouterIdentity(RouterId("r"), herd.__version__)
    options = RouterOptions(identity, 0, HOLD_S, Bytes(64 * KiB), join_grace=Seconds(0.0))
    ports = RouterPorts(SystemClock(), http, links, links, links, advertiser=None, meter=Metrics(links.traffic))
    async with AsyncExitStack() as stack:
        router = await stack.enter_async_context(running_router(options, ports))
        url = f"http://{LOOPBACK}:{router.http_port}"
        servers = await stack.enter_async_context(AiohttpServers())
        for name, disk in DISKS.items():
            profile = PROFILES["mac-studio"].faster(SPEED)
            fake = FakeOllama(profile, [CATALOG[model] for model in disk])
            base_url = await stack.enter_async_context(served(fake.handle))
            await stack.enter_async_context(loopback_agent(name, base_url, url, servers, IdleMachine(profile, fake)))
        await wait_for_models(servers, url, set(MODELS))
        yield url


@pytest.fixture(name="url", scope="module")
def url_of_a_small_house() -> Iterator[str]:
    with elsewhere(small_house()) as house:
        yield house.value


SCHEMA = schemathesis.openapi.from_dict(
    json.loads(document(herd.__version__)), config=schemathesis.Config.from_dict({"seed": 0})
).exclude(operation_id="herd.events")  # which has no end to wait for: tests/actors/test_feed.py


@SCHEMA.parametrize()  # type: ignore[untyped-decorator] # the package is not looked into
@settings(max_examples=10, derandomize=True)
def test_nothing_that_is_asked_by_the_description_makes_the_router_fail(case: Any, url: str) -> None:
    answer = aimed(case).call(base_url=url, timeout=20)
    told = answer.headers
    assert (
        answer.status_code < 500 or "x-herd-node" in told or (answer.status_code, "retry-after" in told) == (503, True)
    )
    assert "x-request-id" in told
    # What is said of paths and methods that are none is plain text.
    if told.get("content-type", [""])[0].startswith("application/json"):
        case.operation.validate_response(answer, case=case)
    if case.operation.path == template(ORDER):
        for node in DISKS:
            urlopen(Request(f"{url}/herd/v1/nodes/{node}/resume", method="POST")).close()


def aimed(case: Any) -> Any:
    """The same request, for a short answer, which mostly names what there is where it names a model or a node."""
    body, path = case.body, case.path_parameters or {}
    if isinstance(body, dict):
        if isinstance(body.get("model"), str) and case.operation.path != "/api/delete":  # there are others to come
            body["model"] = one_of(MODELS, body["model"])
        for fields in (body, body.get("options")):
            shorten(fields)
    for name, known in (("model", MODELS), ("name", sorted(DISKS))):
        if isinstance(path.get(name), str):
            path[name] = one_of(known, path[name])
    return case


def shorten(fields: Any) -> None:
    """Bound the answer where these are fields that do."""
    for name in LIMITS if isinstance(fields, dict) else ():
        if isinstance(fields.get(name), int):
            fields[name] = min(fields[name], TOKENS)


def one_of(known: Sequence[str], made_up: str) -> str:
    """One of those that are known, or the made-up one."""
    return (*known, made_up)[crc32(made_up.encode(errors="replace")) % (len(known) + 1)]
