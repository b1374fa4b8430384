"""Blobs, the parts of a model that a client makes itself: all on one machine, in Ollama's words, streamed once."""

import hashlib
from collections.abc import AsyncGenerator

import pytest

from herd.errors import RequestError
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.http import InMemoryRequest, RecordingSink
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.ollama.blobs import PATH
from herd.types import MiB, NodeState
from tests.scenarios.helpers import LLAMA, assert_nothing_is_out, scenario

BLOB = bytes(range(256)) * (2 * MiB // 256)
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()
OTHER = "sha256:" + "0" * 64
BIG, SMALL = PROFILES["mac-studio"], PROFILES["mini-pc"]


@virtual_time
async def test_every_blob_goes_to_the_machine_with_the_most_memory_and_is_found_there() -> None:
    async with scenario() as home:
        small = await home.node("a-small", [LLAMA], profile=SMALL)
        big = await home.node("big", [LLAMA], profile=BIG)
        missing = await home.ask(PATH + DIGEST, method="HEAD")
        assert (missing.status, missing.header("X-Herd-Node"), missing.finished) == (404, "big", True)
        made = await home.ask(PATH + DIGEST, BLOB)
        assert (made.status, made.header("X-Herd-Node"), made.header("X-Herd-Attempts")) == (201, "big", "1")
        assert (await home.ask(PATH + DIGEST, method="HEAD")).status == 200
        assert (DIGEST in big.ollama.blobs, DIGEST in small.ollama.blobs) == (True, False)


@virtual_time
async def test_a_blob_that_is_there_already_is_not_read_again() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        assert [(await home.ask(PATH + DIGEST, BLOB)).status for _ in range(2)] == [201, 200]
        assert a.ollama.blobs.received == len(BLOB)


@virtual_time
async def test_what_is_wrong_with_a_blob_is_said_in_ollamas_words() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        for name in ("sha256:12", "md5:" + "0" * 64, "..%2Fchat%2Fx", DIGEST + "0"):
            refused = await home.ask(PATH + name, BLOB)
            if name.startswith("."):
                assert refused.status == 404  # /api/chat/x, once it is cleaned: no endpoint
            else:
                assert (refused.status, refused.json) == (400, {"error": "invalid digest format"})
        mismatch = await home.ask(PATH + OTHER, BLOB)
        assert (mismatch.status, mismatch.json) == (
            400,
            {"error": f'digest mismatch, expected "{OTHER}", got "{DIGEST}"'},
        )
        assert OTHER not in a.ollama.blobs


@virtual_time
async def test_without_a_machine_to_take_it_the_client_is_told_to_come_again() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        await a.stop_agent()
        await home.until_node("a", NodeState.OFFLINE)
        refused = await home.ask(PATH + DIGEST, BLOB)
        assert (refused.status, refused.header("Retry-After")) == (503, "5")
        assert refused.json == {"error": "no machine with Ollama is ready to take a blob now"}


class Broken(InMemoryRequest):
    """A client that leaves in the middle of its upload."""

    async def stream_body(self) -> AsyncGenerator[bytes]:
        yield BLOB[:MiB]
        raise RequestError("the request body could not be read")


@virtual_time
async def test_an_upload_that_breaks_off_is_no_blob() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        sink = RecordingSink()
        await home._http.send(Broken("POST", PATH + DIGEST, BLOB), sink)
        assert (sink.status, sink.json) == (400, {"error": "the request body could not be read"})
        assert DIGEST not in a.ollama.blobs


@pytest.mark.parametrize("how", ["the link breaks", "the agent's server is gone"])
def test_an_upload_that_fails_is_an_error_and_is_not_tried_elsewhere(how: str) -> None:
    async def story() -> None:
        async with scenario() as home:
            a = await home.node("a", [LLAMA], profile=BIG)
            b = await home.node("b", [LLAMA], profile=SMALL)
            a.ollama.wedge()
            sent = home.send(PATH + DIGEST, BLOB)
            await a.ollama.until(lambda ollama: ollama.requests[PATH + DIGEST] > 0)
            if how == "the link breaks":
                home.links.cut(a.id)
            else:
                a.stop_server()
            await sent.task
            assert sent.sink.status == 502
            assert "the upload to a failed" in sent.sink.json["error"]
            assert b.ollama.blobs.received == 0

    run_virtual(story())


@virtual_time
async def test_a_client_that_hangs_up_leaves_nothing_behind() -> None:
    async with scenario() as home:
        a = await home.node("a", [LLAMA])
        a.ollama.wedge()
        sent = home.send(PATH + DIGEST, BLOB)
        await a.ollama.until(lambda ollama: ollama.requests[PATH + DIGEST] > 0)
        await sent.hang_up()
        await a.ollama.until(lambda ollama: ollama.cancelled > 0)
        await assert_nothing_is_out(home)
