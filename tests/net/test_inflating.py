"""Bodies in Zstandard: what comes out is what was put in, and nothing that a client sends costs more than it may."""

import random
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.actors.body import MemoryBody
from herd.actors.ports import HttpRequest, Sink
from herd.errors import BodyTooLarge, RequestError
from herd.net.bodies import MEMORY_LIMIT, Room
from herd.net.inflating import ALWAYS_TAKEN, MOST_TIMES, Inflater
from herd.types import Bytes, MiB
from tests.net.http_house import answer, client_of
from tests.net.loops import on_every_loop

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
BOMB = zstd.compress(bytes(300 * MiB))  # some ten thousand times as short


async def inflated(data: bytes, limit: int = 100 * MiB, room: Room | None = None) -> bytes:
    body = await Inflater(room or Room()).inflate(MemoryBody(data), limit)
    try:
        return await body.examine(bytes)
    finally:
        body.close()


async def refusal(data: bytes) -> str:
    with pytest.raises(RequestError) as caught:
        await inflated(data)
    assert caught.value.status == 400
    return str(caught.value).removeprefix("the request body cannot be decompressed: ")


@pytest.mark.parametrize("size", [0, 1, MEMORY_LIMIT + 1, ALWAYS_TAKEN])
async def test_a_body_comes_out_as_it_was(size: int) -> None:
    data = (CHAT * (size // len(CHAT) + 1))[:size]
    compressor = zstd.ZstdCompressor()  # as Codex does it: the length is not known beforehand
    for packed in (zstd.compress(data), compressor.compress(data) + compressor.flush()):
        assert await inflated(packed) == data


async def test_a_long_body_that_shrinks_as_texts_do_is_no_bomb() -> None:
    data = random.Random(0).randbytes(MiB) * 21 + bytes(MiB)
    assert len(zstd.compress(data)) * MOST_TIMES > len(data) > ALWAYS_TAKEN
    assert await inflated(zstd.compress(data)) == data


async def test_no_body_is_none_with_compression_too() -> None:
    assert await inflated(b"") == b""


@given(data=st.binary(max_size=300), level=st.integers(-5, 19))
async def test_any_body_comes_out_as_it_was(data: bytes, level: int) -> None:
    assert await inflated(zstd.compress(data, level)) == data


@given(st.binary(min_size=1, max_size=60))
async def test_what_is_no_zstandard_is_refused(data: bytes) -> None:
    try:
        expected = zstd.decompress(data)
    except zstd.ZstdError:
        await refusal(data)
    else:
        assert await inflated(data) == expected


async def test_what_is_cut_short_or_goes_on_is_refused() -> None:
    whole = zstd.compress(CHAT * 1000)
    assert await refusal(whole[:-1]) == "it ends too early"
    assert await refusal(whole + whole) == "something follows its first frame"
    assert await refusal(whole + b"x" * 200_000) == "something follows its first frame"


async def test_a_window_of_more_than_8_mib_is_refused() -> None:
    # A frame that wants 2 GiB of memory before its first byte: magic number, no length, window of 2 to the 31.
    assert "memory" in await refusal(b"\x28\xb5\x2f\xfd\x00\xa8" + bytes(20))


@pytest.mark.parametrize(
    ("limit", "words"),
    [(15 * MiB, "the limit is 15728640 bytes"), (100 * MiB, "decompressed it has over 100 times its size")],
)
async def test_a_bomb_is_given_up_soon(limit: int, words: str) -> None:
    room = Room()
    before = room.free
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match=words):
            await inflated(BOMB, limit=limit, room=room)
        assert tracemalloc.get_traced_memory()[1] < 16 * MiB
    finally:
        tracemalloc.stop()
    assert room.free == before


async def length(request: HttpRequest, sink: Sink) -> None:
    """Answers how long a body is without its compression, and what is wrong with one."""
    try:
        body = await request.read_body(Bytes(MiB), inflate=request.path == "/v1")
    except RequestError as error:
        await sink.start(error.status, (*error.headers, ("Content-Length", "0")))
        await sink.finish()
        return
    await answer(sink, str(body.size).encode())
    body.close()


@on_every_loop
async def test_only_zstandard_is_undone_and_only_where_it_may_be() -> None:
    packed = zstd.compress(CHAT)
    ask = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    async with client_of(length) as client:
        for coding in (b"zstd", b" ZSTD "):
            reply = await client.ask(ask % (b"/v1", coding, len(packed)) + packed)
            assert (reply.status, reply.body) == (200, str(len(CHAT)).encode())
        for path, coding in ((b"/api", b"zstd"), (b"/v1", b"gzip"), (b"/v1", b"zstd, gzip"), (b"/v1", b"zstd, zstd")):
            reply = await client.ask(ask % (path, coding, len(packed)) + packed)
            accepted = "identity" if path == b"/api" else "zstd, identity"
            assert (reply.status, reply.headers["accept-encoding"]) == (415, accepted)
