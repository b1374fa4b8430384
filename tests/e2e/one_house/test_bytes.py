"""How clients put a request into bytes, and what they get back for it: every way that Ollama takes works here too."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.hostile_cases import CHAT, CHUNKED, COMPLETIONS, GET, QUESTION, get, post, with_headers
from tests.e2e.house import House
from tests.e2e.processes import PATIENCE_S
from tests.net.http_house import RawClient, connection

pytestmark = pytest.mark.asyncio(loop_scope="package")

STREAMED = QUESTION.replace(b'"stream":false', b'"stream":true')
FORM = b"Content-Type: application/x-www-form-urlencoded"  # curl -d
CONTINUE = b"Expect: 100-continue"


@pytest_asyncio.fixture(name="client", loop_scope="package")
async def a_connection(house: House) -> AsyncIterator[RawClient]:
    async with asyncio.timeout(PATIENCE_S), connection(house.router_port) as client:
        yield client


def chunked(body: bytes, size: int, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


SHAPES = {
    "no Content-Type": post(QUESTION),
    "a form's Content-Type": post(QUESTION, FORM),
    "text": post(QUESTION, b"Content-Type: text/plain"),
    "nonsense for a Content-Type": post(QUESTION, b"Content-Type: ;;;"),
    "chunks of one byte": with_headers(chunked(QUESTION, 1), CHUNKED),
    "one chunk": with_headers(chunked(QUESTION, 4096), CHUNKED),
    "chunks with extensions and trailers": with_headers(
        chunked(QUESTION, 50, b"0;last=1\r\nX-Sum: 1\r\n\r\n"), CHUNKED, b"Trailer: X-Sum"
    ),
    "doubled slashes": post(QUESTION, path="//api//chat"),
    "a slash at the end": post(QUESTION, path="/api/chat/"),
    "dots": post(QUESTION, path="/v1/../api/./chat"),
    "a query": post(QUESTION, path="/api/chat?beta=true"),
    "something after the JSON": post(QUESTION + b"\nand more"),
    "an identity coding": post(QUESTION, b"Content-Encoding: identity"),
    "an expectation that nobody knows": post(QUESTION, b"Expect: miracles"),
    "an offer of compression": post(QUESTION, b"Accept-Encoding: gzip, deflate, br, zstd"),
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_however_it_is_sent_it_is_served_and_the_connection_goes_on(
    client: RawClient, shape: bytes, path: str
) -> None:
    sent = shape.replace(b"/chat", b"/chat/completions", 1).replace(b"api", b"v1", 1) if path == COMPLETIONS else shape
    for _ in range(2):
        reply = await client.ask(sent)
        assert (reply.status, reply.whole) == (200, True)
        assert "content-encoding" not in reply.headers
        assert json.loads(reply.body)["model"] == "llama3.2:3b"


async def test_a_stream_comes_in_chunks_of_whole_lines(client: RawClient) -> None:
    reply = await client.ask(post(STREAMED))
    assert (reply.status, reply.headers["content-type"], reply.whole) == (200, "application/x-ndjson", True)
    assert all(chunk.endswith(b"\n") for chunk in reply.chunks)


async def test_http_1_0_gets_its_stream_without_chunks_and_its_end_by_the_connections(client: RawClient) -> None:
    length = b"Content-Length: %d" % len(STREAMED)
    reply = await client.ask(with_headers(STREAMED, length, version=b"1.0"))
    assert reply.status == 200
    assert "transfer-encoding" not in reply.headers
    assert [json.loads(line)["done"] for line in reply.body.splitlines()][-1] is True
    assert client.reader.at_eof()


async def test_a_body_that_is_asked_about_first_is_asked_for_when_it_is_wanted(client: RawClient) -> None:
    assert (await client.ask(post(b"", CONTINUE, length=len(QUESTION)))).status == 100
    assert (await client.ask(QUESTION)).status == 200
    assert (await client.ask(GET)).status == 200


@pytest.mark.parametrize(
    ("asks", "status"),
    [
        (post(b"", CONTINUE, path="/nowhere", length=10**9), 404),
        (post(b"", CONTINUE, length=10**12), 413),
        (post(b"", CONTINUE, b"Origin: null", length=10**9), 403),
        (post(b"", CONTINUE, b"Content-Encoding: br", length=1000), 415),
        (post(b"", CONTINUE, b"Origin: null", path="/herd/v1/pins/x", length=10**9), 403),
    ],
)
async def test_a_body_that_is_not_wanted_is_never_asked_for_and_the_connection_ends(
    client: RawClient, asks: bytes, status: int
) -> None:
    """A client may send it all the same or ask for something else, and nobody could tell the one from the other."""
    reply = await client.ask(asks)
    assert (reply.status, reply.headers["connection"], reply.whole) == (status, "close", True)
    client.writer.write_eof()
    assert await client.reader.read() == b""


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (post(b"{"), 400),
        (post(b'{"model":"nobody-has-it","messages":[]}'), 404),
        (post(QUESTION, path="/nowhere"), 404),
        (get(CHAT.encode()), 405),
        (post(QUESTION, b"Origin: null"), 403),
        (post(QUESTION, b"Content-Encoding: gzip"), 415),
        (post(b"x" * 100_000, path="/api/tags"), 405),
        (with_headers(chunked(b"x" * 100_000, 999), CHUNKED, path="/nowhere"), 404),
    ],
)
async def test_after_an_error_the_connection_goes_on(client: RawClient, wrong: bytes, status: int) -> None:
    for _ in range(3):
        assert (await client.ask(wrong)).status == status
        assert (await client.ask(post(QUESTION))).status == 200


@pytest.mark.parametrize("path", [b"/", b"/api/tags", b"/api/version"])
async def test_a_head_has_the_length_and_no_body(client: RawClient, path: bytes) -> None:
    whole = await client.ask(get(path))
    head = await client.ask(get(path, method=b"HEAD"), head_only=True)
    assert (head.status, head.headers["content-length"]) == (200, str(len(whole.body)))
    assert head.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize(
    ("path", "allow"), [(b"/api/ps", "GET"), (b"/v1/models", "GET"), (CHAT.encode(), "POST"), (b"/metrics", "GET")]
)
async def test_a_head_elsewhere_is_a_wrong_method(client: RawClient, path: bytes, allow: str) -> None:
    reply = await client.ask(get(path, method=b"HEAD"), head_only=True)
    assert (reply.status, reply.headers["allow"]) == (405, allow)
    assert (await client.ask(GET)).status == 200
