"""The Relay: one stream of the link, served by a model server."""

import asyncio
from dataclasses import replace

import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.actors.relay import Relay
from herd.protocols.messages import Failure, Head, Usage
from herd.protocols.session import UnsendableError
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.http import InMemoryServers
from herd.types import BackendId, Bytes, MiB, Seconds
from tests.actors.doubles import FakeServing, Witness, request_head, settled

BASE = "http://127.0.0.1:11434"
LAST = b'{"done":true,"prompt_eval_count":3,"eval_count":2}\n'


class Node:
    """A Relay, its one model server, and the Backend actor that it tells."""

    def __init__(self) -> None:
        self.servers = InMemoryServers()
        self.backend: ActorHandle = remote(Witness).remote()
        self.relay = Relay({BackendId("ollama"): BASE}, {BackendId("ollama"): self.backend}, self.servers, LoopClock())
        self.closed = False

    async def suspected(self) -> int:
        await settled()
        return len(await self.backend.heard.remote())

    async def end(self) -> None:
        await stop(self.backend)


@virtual_time
async def test_bytes_go_through_unchanged_both_ways_and_the_usage_follows() -> None:
    node = Node()
    seen: list[bytes] = []

    async def serve(request: HttpRequest, sink: Sink) -> None:
        body = await request.read_body(Bytes(MiB))
        seen.append(await body.examine(bytes))
        await sink.start(200, (("Content-Type", "application/x-ndjson"), ("Connection", "close"), ("X-Herd-Node", "?")))
        for piece in (b'{"a"', b":1}\n", LAST):
            await sink.write(piece)
        await sink.finish()

    node.servers.serve(BASE, serve)
    serving = FakeServing(request_head(size=6), b"abc", b"def")
    await node.relay(serving)
    assert seen == [b"abcdef"]
    assert serving.said[:-1] == [
        Head(200, (("Content-Type", "application/x-ndjson"),)),
        *(b'{"a"', b":1}\n", LAST),
    ]
    usage = serving.said[-1]
    assert isinstance(usage, Usage)
    assert (usage.prompt, usage.completion, usage.complete) == (3, 2, True)
    assert await node.suspected() == 0
    await node.end()


@pytest.mark.parametrize(
    ("path", "told"), [("/api/pull", ["changed"]), ("/api/delete", ["changed"]), ("/api/chat", []), ("/api/show", [])]
)
@virtual_time
async def test_what_changes_the_disk_is_known_before_its_answer_has_ended(path: str, told: list[str]) -> None:
    node = Node()

    async def serve(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.finish()

    node.servers.serve(BASE, serve)
    serving = FakeServing(replace(request_head(), path=path))
    await node.relay(serving)
    await settled()
    assert [name for name, _ in await node.backend.heard.remote()] == told
    await node.end()


@virtual_time
async def test_a_server_that_cannot_be_reached_is_suspected() -> None:
    node = Node()
    serving = FakeServing(request_head())
    await node.relay(serving)
    (failure,) = serving.said
    assert isinstance(failure, Failure)
    assert failure.kind == "connect"
    assert await node.suspected() == 1
    await node.end()


@virtual_time
async def test_a_server_that_breaks_on_a_request_before_it_answers_had_the_request() -> None:
    node = Node()

    async def dies(request: HttpRequest, sink: Sink) -> None:
        sink.abort()

    node.servers.serve(BASE, dies)
    serving = FakeServing(request_head())
    await node.relay(serving)
    (failure,) = serving.said
    assert isinstance(failure, Failure)
    assert failure.kind == "reset"
    assert await node.suspected() == 1
    await node.end()


@virtual_time
async def test_an_answer_that_breaks_off_is_reset_and_its_server_suspected() -> None:
    node = Node()

    async def dies(request: HttpRequest, sink: Sink) -> None:
        await sink.start(200, ())
        await sink.write(b"half")
        sink.abort()

    node.servers.serve(BASE, dies)
    serving = FakeServing(request_head())
    await node.relay(serving)
    *said, failure = serving.said
    assert said == [Head(200, ()), b"half"]
    assert isinstance(failure, Failure)
    assert failure.kind == "reset"
    assert await node.suspected() == 1
    await node.end()


@virtual_time
async def test_an_answer_whose_head_fits_no_frame_is_reset_and_nobody_is_suspected() -> None:
    class Narrow(FakeServing):
        async def send_head(self, head: Head) -> None:
            raise UnsendableError("HEAD cannot be sent: it takes 2000000 bytes")

    async def serve(_: HttpRequest, sink: Sink) -> None:
        await sink.start(200, (("X-Long", "x" * 2_000_000),))
        await sink.finish()

    node = Node()
    node.servers.serve(BASE, serve)
    serving = Narrow(request_head())
    await node.relay(serving)
    (failure,) = serving.said
    assert isinstance(failure, Failure)
    assert (failure.kind, "cannot be passed on" in failure.text) == ("reset", True)
    assert await node.suspected() == 0
    await node.end()


@virtual_time
async def test_a_server_that_the_agent_does_not_have_is_not_asked() -> None:
    node = Node()
    serving = FakeServing(request_head(backend="another"))
    await node.relay(serving)
    (failure,) = serving.said
    assert isinstance(failure, Failure)
    assert failure.kind == "no-backend"
    await node.end()


@pytest.mark.parametrize("answers", [False, True])
def test_when_nobody_waits_any_more_the_server_sees_its_connection_closed(answers: bool) -> None:
    @virtual_time
    async def story() -> None:
        node = Node()
        closed = asyncio.Event()

        async def thinks(request: HttpRequest, sink: Sink) -> None:
            if answers:
                await sink.start(200, ())
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                closed.set()

        node.servers.serve(BASE, thinks)
        relay = asyncio.create_task(node.relay(FakeServing(request_head())))
        await settled()
        relay.cancel()
        await asyncio.wait([relay])
        await closed.wait()
        assert relay.cancelled()
        assert await node.suspected() == 0
        await node.end()

    story()


@virtual_time
async def test_what_a_picture_takes_is_measured_by_the_agent_where_the_answer_does_not_say() -> None:
    node = Node()

    async def serve(request: HttpRequest, sink: Sink) -> None:
        await request.read_body(Bytes(MiB))
        await asyncio.sleep(20.0)
        await sink.start(200, (("Content-Type", "application/json"), ("X-Herd-Load-Seconds", "8.0")))
        await sink.write(b'{"data":[{"b64_json":"AA=="}]}')
        await sink.finish()

    node.servers.serve(BASE, serve)
    serving = FakeServing(replace(request_head(size=3), path="/v1/images/generations"), b"abc")
    await node.relay(serving)
    assert serving.said[-1] == Usage(load_s=Seconds(8.0), decode_s=Seconds(12.0), complete=True)
    await node.end()


@virtual_time
async def test_a_refusal_of_a_picture_is_no_work() -> None:
    node = Node()

    async def serve(request: HttpRequest, sink: Sink) -> None:
        await asyncio.sleep(1.0)
        await sink.start(400, (("Content-Type", "text/plain"),))
        await sink.write(b"no")
        await sink.finish()

    node.servers.serve(BASE, serve)
    serving = FakeServing(replace(request_head(size=3), path="/v1/images/generations"), b"abc")
    await node.relay(serving)
    assert serving.said[-1] == Usage(failed=True)
    await node.end()
