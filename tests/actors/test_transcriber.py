"""A stream of the link that asks what somebody said, beside servers that each want to be asked in another way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from herd.actors.ports import HttpRequest, Sink
from herd.actors.relay import Relay
from herd.actors.transcriber import FIRST_PAUSE_S, LONGEST_PAUSE_S
from herd.protocols.messages import Failure, Head, Usage
from herd.protocols.speech_servers import QWEN_ASR_HERE
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.http import InMemoryServers
from herd.types import Api, BackendId, BackendKind, Bytes, MiB
from tests.actors.doubles import FakeServing, Witness, request_head, settled
from tests.net.tools.speech import FORM, form, sound

HTTP = "http://127.0.0.1:8000"
KNOWN = BackendId("ollama")
JSON = (("Content-Type", "application/json"),)
SPOKEN = form(sound(0.5), model="whisper-1", language="en")
STANDS_IN = {
    BackendKind.WHISPERCPP: (Api.TRANSCRIBE, Api.TRANSCRIPTIONS),
    BackendKind.QWEN_ASR: (Api.TRANSCRIBE,),
    BackendKind.OPENAI: (Api.TRANSCRIBE,),
}


class Node:
    """A Relay, the server of speech beside it, and the Backend that it tells."""

    def __init__(self, kind: BackendKind = BackendKind.OPENAI, base_url: str = HTTP) -> None:
        self.servers = InMemoryServers()
        self.backend: ActorHandle = remote(Witness).remote()
        self.relay = Relay({KNOWN: base_url}, {KNOWN: self.backend}, self.servers, LoopClock())
        self.relay.recognised(KNOWN, kind, STANDS_IN[kind])
        self.asked: list[tuple[str, str, bytes]] = []
        self.times: list[float] = []  # of the questions
        self.answers: dict[str, list[tuple[int, Any]]] = {}  # by path; the last of each goes on
        self.takes = 0.0  # seconds that the answer to a form takes
        self.servers.serve(base_url, self._serve)

    async def _serve(self, request: HttpRequest, sink: Sink) -> None:
        body = await (await request.read_body(Bytes(MiB))).examine(bytes)
        self.asked.append((request.method, request.path, body))
        self.times.append(asyncio.get_running_loop().time())
        answers = self.answers.get(request.path, [(404, {})])
        status, value = answers.pop(0) if len(answers) > 1 else answers[0]
        if request.method == "POST":
            await asyncio.sleep(self.takes)
        await sink.start(status, (*JSON, ("Retry-After", "10")) if status == 503 else JSON)
        await sink.write(orjson.dumps(value))
        await sink.finish()

    def serving(self, body: bytes = SPOKEN, path: str = "/api/transcribe", **changes: Any) -> FakeServing:
        head = replace(request_head(len(body), streamed=False), path=path, headers=(("content-type", FORM),), model="m")
        return FakeServing(replace(head, **changes), *[body[at : at + 1000] for at in range(0, len(body), 1000)])

    async def ask(self, body: bytes = SPOKEN, path: str = "/api/transcribe", **changes: Any) -> list[Any]:
        serving = self.serving(body, path, **changes)
        await self.relay(serving)
        return serving.said

    async def suspected(self) -> bool:
        await settled()
        return "suspect" in [name for name, _ in await self.backend.heard.remote()]

    async def end(self) -> None:
        await stop(self.backend)


def answered(said: list[Any]) -> tuple[int, Any, Usage]:
    head, *pieces, usage = said
    assert isinstance(head, Head)
    assert isinstance(usage, Usage)
    return head.status, orjson.loads(b"".join(pieces)), usage


@virtual_time
async def test_a_server_with_openais_endpoint_is_asked_there_for_all_that_it_knows() -> None:
    node = Node()
    node.takes = 3.0
    segment = {"start": 0.0, "end": 0.5, "text": " Yes."}
    said = {"text": " Yes.", "language": "en", "duration": 0.5, "segments": [segment]}
    node.answers = {"/v1/audio/transcriptions": [(200, said)]}
    status, answer, usage = answered(await node.ask())
    assert (status, answer) == (
        200,
        {
            "model": "whisper-1",
            "text": "Yes.",
            "language": "en",
            "duration": 0.5,
            "segments": [{"start": 0.0, "end": 0.5, "text": "Yes."}],
        },
    )
    assert (usage.completion, usage.decode_s, usage.complete, usage.failed) == (50, 3.0, True, False)
    ((method, path, body),) = node.asked
    assert (method, path) == ("POST", "/v1/audio/transcriptions")
    assert b'name="response_format"\r\n\r\nverbose_json' in body
    assert sound(0.5) in body
    assert not await node.suspected()
    await node.end()


@pytest.mark.parametrize("path", ["/api/transcribe", "/v1/audio/transcriptions", "/v1/audio/transcriptions?x=1"])
@virtual_time
async def test_whispercpp_is_asked_at_its_own_path_whoever_asks(path: str) -> None:
    node = Node(BackendKind.WHISPERCPP)
    node.answers = {"/inference": [(200, {"text": "Yes.", "duration": 0.5})]}
    status, answer, usage = answered(await node.ask(path=path))
    assert (status, answer["text"], usage.complete) == (200, "Yes.", True)
    ((_, asked, body),) = node.asked
    assert asked == "/inference"
    assert (body == SPOKEN) is path.endswith(("transcriptions", "x=1"))  # OpenAI's form is understood as it is
    await node.end()


@virtual_time
async def test_a_job_is_asked_for_ever_more_rarely_until_it_has_ended() -> None:
    node = Node(BackendKind.QWEN_ASR)
    running = [(200, {"status": word}) for word in ("queued", *["processing"] * 8)]
    chunk = {"text": "Yes.", "start": 0.0, "end": 0.5}
    result = {"text": "Yes.", "language": "English", "chunks": [chunk]}
    node.answers = {
        "/transcribe": [(202, {"job_id": "j_1", "status": "queued"})],
        "/jobs/j_1": [*running, (200, {"status": "completed", "result": result})],
    }
    status, answer, usage = answered(await node.ask())
    assert (status, answer["text"], answer["duration"], answer["segments"]) == (200, "Yes.", 0.5, [chunk])
    assert (usage.completion, usage.complete) == (50, True)
    waits = [after - before for before, after in zip(node.times, node.times[1:], strict=False)]
    assert waits[0] == pytest.approx(FIRST_PAUSE_S)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LONGEST_PAUSE_S)
    assert usage.decode_s == pytest.approx(sum(waits))
    assert b'name="audio"; filename="a.wav"' in node.asked[0][2]
    await node.end()


@virtual_time
async def test_a_job_that_failed_is_an_answer_that_says_so() -> None:
    node = Node(BackendKind.QWEN_ASR)
    failed = {"status": "failed", "error": "ffmpeg not found on PATH."}
    node.answers = {"/transcribe": [(202, {"job_id": "j_1"})], "/jobs/j_1": [(200, failed)]}
    status, answer, usage = answered(await node.ask())
    assert (status, answer) == (500, {"error": "the model server failed: ffmpeg not found on PATH."})
    assert (usage.complete, usage.failed) == (False, True)
    await node.end()


@virtual_time
async def test_a_job_that_its_server_does_not_know_any_more_breaks_the_request() -> None:
    node = Node(BackendKind.QWEN_ASR)
    node.answers = {"/transcribe": [(202, {"job_id": "j_1"})]}
    assert await node.ask() == [
        Failure("reset", "the model server has lost the job that it took: it answered 404"),
    ]
    assert await node.suspected()
    await node.end()


@pytest.mark.parametrize(("base_url", "ended"), [(QWEN_ASR_HERE, True), (HTTP, False)])
@virtual_time
async def test_a_job_that_nobody_waits_for_is_ended_where_that_is_possible(base_url: str, ended: bool) -> None:
    node = Node(BackendKind.QWEN_ASR, base_url)
    node.answers = {
        "/transcribe": [(202, {"job_id": "j_1"})],
        "/jobs/j_1": [(200, {"status": "processing"})],
    }
    asking = asyncio.create_task(node.relay(node.serving()))
    await asyncio.sleep(10)
    assert node.relay.busy(KNOWN)
    asking.cancel()
    await settled()
    assert (
        node.asked[-1][:2] == ("DELETE", "/jobs/j_1") if ended else "DELETE" not in [asked[0] for asked in node.asked]
    )
    assert not node.relay.busy(KNOWN)
    await node.end()


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (503, {"detail": "Server at capacity"}, 503),
        (429, {"detail": "Rate limit exceeded"}, 503),
        (403, {"detail": "Invalid API key"}, 502),
        (413, {"detail": "File too large. Max: 2048 MB"}, 413),
    ],
)
@virtual_time
async def test_a_refusal_is_told_in_ollamas_form(status: int, said: Any, told: int) -> None:
    node = Node(BackendKind.QWEN_ASR)
    node.answers = {"/transcribe": [(status, said)]}
    answer_status, answer, usage = answered(await node.ask())
    assert (answer_status, list(answer), usage.failed) == (told, ["error"], True)
    await node.end()


@pytest.mark.parametrize(
    ("body", "changes", "words"),
    [
        (SPOKEN[:-20], {}, "the form is not whole"),
        (b"", {"size": 0}, "the form is empty"),
        (SPOKEN, {"headers": (("Content-Type", "application/json"),)}, "must be a form"),
        (SPOKEN, {"headers": ()}, "must be a form"),
    ],
)
@virtual_time
async def test_what_is_no_form_is_refused(body: bytes, changes: dict[str, Any], words: str) -> None:
    node = Node()
    node.answers = {"/v1/audio/transcriptions": [(200, {"text": ""})]}
    status, answer, _ = answered(await node.ask(body, **changes))
    assert status == 400
    assert words in answer["error"]
    assert not await node.suspected()  # it is not the server's fault
    await node.end()


@virtual_time
async def test_a_server_that_cannot_be_reached_breaks_the_request() -> None:
    node = Node()
    node.servers.stop(HTTP)
    (failure,) = await node.ask()
    assert isinstance(failure, Failure)
    assert failure.kind == "connect"
    assert await node.suspected()
    await node.end()


@virtual_time
async def test_an_answer_without_a_text_breaks_the_request() -> None:
    node = Node()
    node.answers = {"/v1/audio/transcriptions": [(200, {"segments": []})]}
    (failure,) = await node.ask()
    assert failure == Failure("reset", "the model server's answer has no text")
    await node.end()


@virtual_time
async def test_of_a_long_upload_no_more_is_read_than_the_server_takes() -> None:
    node = Node()
    read = 0
    enough = asyncio.Event()

    async def first_piece_only(base_url: str, head: Any, body: AsyncIterator[bytes]) -> Any:
        await anext(body)
        await enough.wait()

    node.servers.exchange = first_piece_only  # type: ignore[method-assign,assignment]
    serving = node.serving(form(bytes(MiB)))

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read
        async for piece in FakeServing.body(serving):
            read += len(piece)
            yield piece

    serving.body = counted  # type: ignore[method-assign]
    asking = asyncio.create_task(node.relay(serving))
    await settled()
    assert 0 < read <= 2000
    asking.cancel()
    await settled()
    await node.end()
