"""Long requests over real sockets: they are streamed as fast as the model server reads them, and not a byte further."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from herd.types import MiB
from tests.e2e.house import House, models_listed
from tests.e2e.processes import PATIENCE_S
from tests.net.http_house import backend

pytestmark = pytest.mark.asyncio(loop_scope="package")

PIECE = bytes(range(256)) * (MiB // 256)

LOUD = "loud"  # the model of a server that answers without listening
ANSWER = b"x" * (32 * MiB)  # more than the system buffers for a reader that does not come


def digest_of(pieces: int) -> str:
    """Of so many times PIECE."""
    sha256 = hashlib.sha256()
    for _ in range(pieces):
        sha256.update(PIECE)
    return "sha256:" + sha256.hexdigest()


async def body_of(pieces: int) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield PIECE


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_blob_reaches_one_model_server_byte_for_byte(house: House, chunked: bool) -> None:
    pieces = 40 + chunked
    path = f"/api/blobs/{digest_of(pieces)}"
    async with house.client.head(house.url + path) as answer:
        assert answer.status == 404
    headers = {} if chunked else {"Content-Length": str(pieces * MiB)}
    async with house.post(path, data=body_of(pieces), headers=headers) as answer:
        assert (answer.status, await answer.read()) == (201, b"")
    async with house.client.head(house.url + path) as answer:
        assert answer.status == 200
        keeper = answer.headers["X-Herd-Node"]
    assert digest_of(pieces) in house.servers[keeper].fake.blobs


async def test_a_client_that_asks_before_it_sends_gets_the_answer_to_its_question(house: House) -> None:
    headers = {"Expect": "100-continue"}
    async with house.post(f"/api/blobs/{digest_of(3)}", data=body_of(3), headers=headers) as answer:
        assert answer.status == 201
    async with house.post("/api/blobs/sha256:beef", data=body_of(3), headers=headers) as answer:
        assert (answer.status, await answer.json()) == (400, {"error": "invalid digest format"})


async def test_a_client_that_leaves_in_the_middle_of_its_blob_leaves_no_blob(house: House) -> None:
    async with house.client.head(f"{house.url}/api/blobs/{digest_of(9)}") as answer:
        keeper = house.servers[answer.headers["X-Herd-Node"]].fake
    cancelled, received = keeper.cancelled, keeper.blobs.received
    _, writer = await asyncio.open_connection("127.0.0.1", house.router_port)
    head = f"POST /api/blobs/{digest_of(9)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {9 * MiB}\r\n\r\n"
    writer.write(head.encode() + PIECE * 4)
    async with asyncio.timeout(PATIENCE_S):
        while keeper.blobs.received == received:  # noqa: ASYNC110 - bytes make no event
            await asyncio.sleep(0.01)
    writer.transport.abort()
    await keeper.until(lambda fake: fake.cancelled > cancelled)
    assert digest_of(9) not in keeper.blobs


async def answers_without_listening(_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model server that reads the head of a question, and answers at length before it has read the rest."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/v1/chat/completions" in head:
            writer.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
            await writer.drain()
            while await reader.read(MiB):  # to close now would reset the connection, and the answer with it
                pass
            return
        models = json.dumps({"object": "list", "data": [{"id": LOUD, "object": "model"}]}).encode()
        known = b" /v1/models " in head
        body = models if known else b"{}"
        status = b"200 OK" if known else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def test_a_model_server_that_answers_before_it_has_read_the_request_is_heard(
    house: House, tmp_path: Path
) -> None:
    async with backend(answers_without_listening) as server:
        words = ("--router-url", house.url, "--backend-url", server.url, "--no-mdns", "--name", LOUD)
        agent = await house.programs.herd_node(*words, "--data-dir", str(tmp_path / "loud"), name=LOUD)
        try:
            await models_listed(house.client, house.url, [LOUD])
            question = {"model": LOUD, "messages": [{"role": "user", "content": "word " * (8 * MiB // 5)}]}
            async with house.post("/v1/chat/completions", data=io.BytesIO(json.dumps(question).encode())) as answer:
                assert answer.status == 413
                assert await answer.read() == ANSWER
        finally:
            assert await agent.stop() == 0
