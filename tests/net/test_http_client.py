import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from herd.errors import StreamFailed, Unreachable
from herd.net import http_client
from herd.net.http_client import AiohttpServers
from herd.protocols.messages import RequestHead
from herd.types import BackendId, KiB, MiB, RequestId, Seconds
from tests.net.http_house import LOOPBACK, backend, read_request
from tests.net.loops import on_every_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def head(method: str = "POST", path: str = "/api/chat", size: int = 0, *headers: tuple[str, str]) -> RequestHead:
    return RequestHead(RequestId("q-1"), BackendId("b"), method, path, headers, size=size)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read_to_end(answer: http_client.AiohttpAnswer) -> list[bytes]:
    got = []
    try:
        while data := await answer.read():
            got.append(data)
    finally:
        answer.close()
    return got


# --- What is sent -----------------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_model_server_gets_what_the_client_sent_and_nothing_of_the_librarys() -> None:
    seen: list[Any] = []

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    async with backend(script) as server, AiohttpServers() as servers:
        sent = head("POST", "/api/a%2Fb%20c?x=%31&y", 5, ("x-Odd", "1"), ("X-oDD", "é"))
        answer = await servers.exchange(f"{server.url}/", sent, pieces(b"he", b"llo"))
        assert (answer.status, answer.headers) == (200, (("Content-Length", "2"),))
        assert await read_to_end(answer) == [b"ok"]
    ((first, headers, body),) = seen
    assert first == "POST /api/a%2Fb%20c?x=%31&y HTTP/1.1"
    assert body == b"hello"
    assert sorted(headers) == [
        ("Accept-Encoding", "identity"),
        ("Content-Length", "5"),
        ("Host", server.url.removeprefix("http://")),
        ("x-Odd", "1"),
        ("x-Odd", "é"),
    ]


async def test_a_servers_key_goes_with_every_request_to_it_and_to_nobody_else() -> None:
    seen: list[Any] = []

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent_headers = (await read_request(reader))[1]
        seen.append([value for name, value in sent_headers if name.lower() == "authorization"])
        writer.write(OK)

    async with backend(script) as server, backend(script) as other:
        servers = AiohttpServers(keys={server.url: "k-1", f"{server.url}/deep": "k-2"})
        async with servers:
            for url in (server.url, f"{server.url}/deep", other.url):
                sent = head("GET", "/v1/models", 0, ("authorization", "Bearer of-the-client"))
                await read_to_end(await servers.exchange(url, sent, None))
                await servers.fetch(f"{url}/v1/models", timeout=Seconds(5))
    assert seen == [["Bearer k-1"]] * 2 + [["Bearer k-2"]] * 2 + [["Bearer of-the-client"], []]


@pytest.mark.parametrize(
    ("size", "framing"),
    [(0, ("Content-Length", "0")), (-1, ("Transfer-Encoding", "chunked")), (4 * MiB, ("Content-Length", str(4 * MiB)))],
)
@on_every_loop
async def test_a_body_goes_out_in_the_framing_that_its_size_asks_for(size: int, framing: tuple[str, str]) -> None:
    seen: list[Any] = []

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    data = bytes(range(256)) * (max(0, size) // 256) if size >= 0 else b"of unknown length"
    async with backend(script) as server, AiohttpServers() as servers:
        body = pieces(*(data[at : at + 64 * KiB] for at in range(0, len(data), 64 * KiB))) if size else None
        await read_to_end(await servers.exchange(server.url, head(size=size), body))
    ((_, headers, body_seen),) = seen
    assert framing in headers
    assert len({name for name, _ in headers} & {"Content-Length", "Transfer-Encoding"}) == 1
    assert body_seen == data


@on_every_loop
async def test_a_big_body_is_streamed_as_it_comes() -> None:
    half = asyncio.Event()

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(MiB)
        half.set()
        await reader.readexactly(MiB)
        writer.write(OK)

    async def body() -> AsyncIterator[bytes]:
        yield bytes(MiB)
        await half.wait()  # comes only when the first half has arrived
        yield bytes(MiB)

    async with backend(script) as server, AiohttpServers() as servers:
        answer = await servers.exchange(server.url, head(size=2 * MiB), body())
        assert await read_to_end(answer) == [b"ok"]


# --- What comes back --------------------------------------------------------------------------------------------------


@on_every_loop
async def test_a_chunk_comes_at_once_and_chunks_that_piled_up_come_together() -> None:
    read = asyncio.Event()

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await read.wait()
        writer.write(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")

    async with backend(script) as server, AiohttpServers() as servers:
        answer = await servers.exchange(server.url, head(), None)
        assert await answer.read() == b"one"
        read.set()
        assert b"".join(await read_to_end(answer)) == b"twothree"


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500, 503])
@on_every_loop
async def test_every_status_is_an_answer_and_redirects_are_not_followed(status: int) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 %d X\r\nLocation: /elsewhere\r\nContent-Length: 1\r\n\r\nx" % status)

    async with backend(script) as server, AiohttpServers() as servers:
        answer = await servers.exchange(server.url, head("GET"), None)
        assert answer.status == status
        assert await read_to_end(answer) == [b"x"]
        assert server.connections == 1


@pytest.mark.parametrize("words", [b"200 OK\r\nContent-Length: 0", b"204 No Content"])
@on_every_loop
async def test_an_answer_without_a_body_ends_at_once_however_often_it_comes(words: bytes) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(b"HTTP/1.1 " + words + b"\r\n\r\n")

    async with backend(script) as server, AiohttpServers() as servers:
        for method in ("POST", "HEAD", "POST", "HEAD"):
            answer = await servers.exchange(server.url, head(method), None)
            assert [await answer.read(), await answer.read()] == [b"", b""]
            answer.close()
        assert server.connections == 1


@on_every_loop
async def test_compressed_answers_pass_as_they_are() -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00!")

    async with backend(script) as server, AiohttpServers() as servers:
        assert await read_to_end(await servers.exchange(server.url, head(), None)) == [b"\x1f\x8b\x00!"]


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n40\r\nof",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nnonsense\r\n",
    ],
)
@on_every_loop
async def test_an_answer_that_breaks_off_is_never_taken_for_whole(broken: bytes) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(broken)

    async with backend(script) as server, AiohttpServers() as servers:
        with pytest.raises(StreamFailed):
            await read_to_end(await servers.exchange(server.url, head(), None))


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZZ private words\r\n",
        b"HTTP/1.1 200 OK\r\nX: \x00private words\r\n\r\n",
        b"private words\r\n\r\n",
        b"HTTP/1.1 private words\r\n\r\n",
    ],
)
@on_every_loop
async def test_what_a_server_says_is_not_quoted_when_it_cannot_be_read(words: bytes) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(words)

    async with backend(script) as server, AiohttpServers() as servers:
        with pytest.raises(StreamFailed) as caught:
            await read_to_end(await servers.exchange(server.url, head(), None))
        assert "private" not in str(caught.value)


@pytest.mark.parametrize("words", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", b"\x00" * 100])
@on_every_loop
async def test_a_fresh_connection_that_breaks_before_the_head_is_not_tried_again(words: bytes) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(words)

    async with backend(script) as server, AiohttpServers() as servers:
        with pytest.raises(StreamFailed, match=f"no answer from the model server at {server.url}") as caught:
            await servers.exchange(server.url, head(), None)  # (a GET does no harm twice, and aiohttp sends it again)
        assert not isinstance(caught.value, Unreachable)
        assert server.connections == 1


@on_every_loop
async def test_nobody_at_the_address_says_so() -> None:
    async with backend(lambda *_: asyncio.sleep(0)) as server:
        pass
    async with AiohttpServers() as servers:
        with pytest.raises(Unreachable, match=r"no connection to the model server at .*: "):
            await servers.exchange(server.url, head(), None)
        with pytest.raises(StreamFailed, match=f"no answer from {server.url}"):
            await servers.fetch(server.url, timeout=Seconds(20.0))
    with pytest.raises(StreamFailed, match="closed"):
        await servers.exchange(server.url, head(), None)
    with pytest.raises(StreamFailed, match="closed"):
        await servers.fetch(server.url, timeout=Seconds(20.0))


# --- Kept connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("farewell", ["end", "reset"])
@on_every_loop
async def test_kept_connections_that_break_in_use_are_no_failure(farewell: str, method: str) -> None:
    """A server that was restarted: each of its old connections breaks when it is used, and new ones are well."""
    kept = 5
    together = asyncio.Barrier(kept)
    requests: list[tuple[int, bytes]] = []

    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append((number, (await read_request(reader))[2]))
        if number <= kept:
            await together.wait()  # so that there are as many connections
            writer.write(OK)
            requests.append((number, (await read_request(reader))[2]))
            if farewell == "reset":
                writer.transport.abort()
            return
        writer.write(OK)

    body = b"" if method == "GET" else b"hello"

    async def ask() -> list[bytes]:
        content = None if method == "GET" else pieces(body)
        return await read_to_end(await servers.exchange(server.url, head(method, size=len(body)), content))

    async with backend(script) as server, AiohttpServers() as servers:
        await asyncio.gather(*(ask() for _ in range(kept)))
        requests.clear()
        assert await ask() == [b"ok"]
        assert [number for number, _ in requests][-1] > kept
        assert len(requests) <= 3
        assert {sent for _, sent in requests} == {body}


@on_every_loop
async def test_a_second_attempt_on_a_fresh_connection_is_the_last() -> None:
    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        if number == 1:
            writer.write(OK)
            await read_request(reader)

    async with backend(script) as server, AiohttpServers() as servers:
        await read_to_end(await servers.exchange(server.url, head(), None))
        with pytest.raises(StreamFailed, match="closed the connection"):
            await servers.exchange(server.url, head(), None)
        assert server.connections == 2


@on_every_loop
async def test_nothing_is_sent_twice_after_a_byte_came_back() -> None:
    async def script(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-")

    async with backend(script) as server, AiohttpServers() as servers:
        await read_to_end(await servers.exchange(server.url, head(), None))
        with pytest.raises(StreamFailed):
            await servers.exchange(server.url, head(), None)
        assert server.connections == 1


@on_every_loop
async def test_a_streamed_body_is_never_sent_twice() -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await reader.readexactly(10)

    async with backend(script) as server, AiohttpServers() as servers:
        await read_to_end(await servers.exchange(server.url, head(), None))
        with pytest.raises(StreamFailed):
            await servers.exchange(server.url, head(size=-1), pieces(b"once", b"only"))
        assert server.connections == 1


@on_every_loop
async def test_an_answer_that_was_read_to_its_end_leaves_its_connection_for_the_next() -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(OK)

    async with backend(script) as server, AiohttpServers() as servers:
        for _ in range(3):
            await read_to_end(await servers.exchange(server.url, head(), None))
        assert server.connections == 1


# --- fetch ------------------------------------------------------------------------------------------------------------


@on_every_loop
async def test_fetch_gives_status_and_json_or_none_where_there_is_none() -> None:
    answers = [(200, b'{"models": []}'), (404, b'{"error": "x"}'), (200, b"<html>"), (200, b""), (200, b"\xff")]

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for status, body in answers:
            await read_request(reader)
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await reader.read()

    async with backend(script) as server, AiohttpServers() as servers:
        got = [await servers.fetch(f"{server.url}/api/tags", timeout=Seconds(20.0)) for _ in answers]
    assert got == [(200, {"models": []}), (404, {"error": "x"}), (200, None), (200, None), (200, None)]


@on_every_loop
async def test_fetch_posts_json_and_says_so() -> None:
    seen: list[Any] = []

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(OK)

    async with backend(script) as server, AiohttpServers() as servers:
        assert await servers.fetch(f"{server.url}/api/show", {"model": "x"}, timeout=Seconds(20.0)) == (200, None)
    ((first, headers, body),) = seen
    assert (first, body) == ("POST /api/show HTTP/1.1", b'{"model":"x"}')
    assert ("Content-Type", "application/json") in headers


@on_every_loop
async def test_fetch_stops_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "FETCH_LIMIT", 64 * KiB)

    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 64 * KiB)
            await writer.drain()

    async with backend(script) as server, AiohttpServers() as servers:
        with pytest.raises(StreamFailed, match="answered more than"):
            await servers.fetch(server.url, timeout=Seconds(20.0))


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
@on_every_loop
async def test_fetch_gives_up_in_time(said: bytes) -> None:
    async def script(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with backend(script) as server, AiohttpServers() as servers:
        with pytest.raises(StreamFailed, match="took too long"):
            await servers.fetch(server.url, timeout=Seconds(0.05))


@pytest.mark.parametrize("url", ["", "not a url", "http://", "ftp://x/", f"http://{LOOPBACK}:99999/"])
@on_every_loop
async def test_fetch_of_what_is_no_url_is_a_failure_like_any_other(url: str) -> None:
    async with AiohttpServers() as servers:
        with pytest.raises(StreamFailed, match="no answer from"):
            await servers.fetch(url, timeout=Seconds(20.0))
