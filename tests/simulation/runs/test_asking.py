"""What a client makes of an answer: how it ended, when, and what its head said."""

import asyncio
import gc
import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import orjson
import pytest

from herd.actors.ports import Headers, HttpRequest, Sink
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.fleet.house import InMemoryListener
from herd.simulation.http import InMemoryRequest
from herd.simulation.runs.asking import Seen, ask, body_of, headers_of, patience
from herd.simulation.runs.measures import PredictionError, Sample, SampleOutcome, prediction_error
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Bytes, Priority, Seconds, Tokens
from tests.simulation.ollama.bench import now

REQUEST = SimulatedRequest(
    Seconds(5.0), "person-1", "llama3.2:3b", Tokens(40), Tokens(7), Priority.BATCH, "person-1/3", patience=60.0
)
INDEXING = replace(REQUEST, model="nomic-embed-text:latest", completion=Tokens(0))
HEADERS = (("X-Herd-Node", "studio"), ("X-HERD-Queue-Ms", "1500"), ("x-herd-attempts", "2"), ("Date", "today"))
PREDICTED = (("X-Herd-Placed-Ms", "500"), ("X-Herd-Predicted-Ms", "8000"))
LAST = b'{"model":"llama3.2:3b","done":true,"done_reason":"length","eval_count":7}\n'

Answer = Callable[[HttpRequest, Sink], Awaitable[None]]


async def asked(answer: Answer, request: SimulatedRequest = REQUEST) -> Sample:
    """A request, answered so."""
    listener = InMemoryListener()
    await listener.start(answer)
    sample = await ask(listener, request, ideal=2.0)
    await listener.stop()
    return sample


def says(
    *pieces: bytes,
    status: int = 200,
    pause: float = 0.0,
    finish: bool = True,
    abort: bool = False,
    headers: Headers = HEADERS,
) -> Answer:
    """An answer in these pieces, with a pause before each."""

    async def answer(request: HttpRequest, sink: Sink) -> None:
        await sink.start(status, headers)
        for piece in pieces:
            await asyncio.sleep(pause)
            await sink.write(piece)
        if finish:
            await sink.finish()
        if abort:
            sink.abort()

    return answer


@virtual_time
async def test_a_request_that_is_served() -> None:
    sample = await asked(says(b'{"done":false}\n', b'{"done":false}\n', LAST, pause=3.0))
    assert sample == Sample(
        at=Seconds(5.0),
        client="person-1",
        model="llama3.2:3b",
        priority=Priority.BATCH,
        outcome=SampleOutcome.SERVED,
        first_token=3.0,
        completion=9.0,
        prompt=Tokens(40),
        tokens=Tokens(7),
        node="studio",
        queue=1.5,
        attempts=2,
        ideal=2.0,
    )


@virtual_time
async def test_what_the_router_predicted_is_kept_with_when_it_did() -> None:
    sample = await asked(says(LAST, pause=9.0, headers=(*HEADERS, *PREDICTED)))
    assert (sample.placed, sample.predicted) == (0.5, 8.0)
    assert prediction_error([sample]) == PredictionError(1, 0.5 / 8.5, 0.5 / 8.5)
    assert (await asked(says(LAST))).predicted is None


@virtual_time
async def test_in_a_run_that_is_faster_than_time_seconds_are_those_of_the_run() -> None:
    seen = Seen()
    await says(LAST, pause=9.0, headers=(*HEADERS, *PREDICTED))(InMemoryRequest("POST", "/"), seen)
    sample = seen.sample(REQUEST, ideal=1.0, speed=60.0)
    assert (sample.completion, sample.placed, sample.predicted, sample.queue) == (540.0, 30.0, 480.0, 90.0)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (says(LAST), "served"),
        (says(b"a" * 10_000, LAST), "served"),
        (says(LAST, b" " * 100), "served"),
        (says(LAST, b'{"done":false}\n' * 500), "failed"),  # something came after the end
        (says(b'{"done":false}\n'), "failed"),  # a clean end, without the word
        (says(b'{"error":"it broke"}\n'), "failed"),
        (says(), "failed"),
        (says(LAST, finish=False), "failed"),
        (says(LAST, finish=False, abort=True), "failed"),
        (says(LAST, abort=True), "failed"),
        (says(LAST, status=500), "failed"),
        (says(LAST, status=404), "failed"),
        (says(b"later", status=503), "refused"),
        (says(b"later", status=429), "refused"),
        (says(status=503, finish=False), "refused"),
    ],
)
@virtual_time
async def test_how_a_request_ended(answer: Answer, outcome: str) -> None:
    sample = await asked(answer)
    assert sample.outcome == outcome
    assert (sample.completion < math.inf) == (sample.first_token < math.inf) == (outcome == "served")
    assert (sample.node, sample.queue, sample.attempts) == ("studio", 1.5, 2)


@pytest.mark.parametrize(
    ("answer", "outcome"), [(says(b'{"embeddings":[]}'), "served"), (says(finish=False), "failed")]
)
@virtual_time
async def test_vectors_are_whole_without_a_word(answer: Answer, outcome: str) -> None:
    assert (await asked(answer, INDEXING)).outcome == outcome


def test_the_last_words_may_come_in_any_pieces() -> None:
    for cut in range(len(LAST)):
        assert run_virtual(asked(says(b"x" * 3000, LAST[:cut], LAST[cut:]))).outcome is SampleOutcome.SERVED
    one_by_one = [LAST[index : index + 1] for index in range(len(LAST))]
    assert run_virtual(asked(says(*one_by_one))).outcome is SampleOutcome.SERVED


class Dawdles:
    """A server that answers after so many seconds, if its client is still there.

    Attributes:
        gone: its client went away.
    """

    def __init__(self, seconds: float, *, first: bytes = b"") -> None:
        self.gone = False
        self._seconds = seconds
        self._first = first

    async def __call__(self, request: HttpRequest, sink: Sink) -> None:
        try:
            if self._first:
                await sink.start(200, HEADERS)
                await sink.write(self._first)
            await asyncio.sleep(self._seconds)
        except asyncio.CancelledError:
            self.gone = True
            raise
        await sink.start(200, HEADERS)
        await sink.write(LAST)
        await sink.finish()


@pytest.mark.parametrize("first", [b"", b'{"done":false}\n'], ids=["nothing", "a beginning"])
@virtual_time
async def test_a_client_whose_patience_is_over_hangs_up(first: bytes) -> None:
    server = Dawdles(1000.0, first=first)
    sample = await asked(server)
    assert now() == 60.0
    assert server.gone
    assert sample.outcome is SampleOutcome.TIMED_OUT
    assert (sample.first_token, sample.completion) == (math.inf, math.inf)


@virtual_time
async def test_a_client_is_done_only_when_the_router_has_let_go_of_its_request() -> None:
    listener, server = InMemoryListener(), Dawdles(1000.0)
    await listener.start(server)
    await ask(listener, REQUEST, ideal=0.0)
    assert server.gone
    await listener.stop()


@virtual_time
async def test_patience_that_lasts_is_no_matter() -> None:
    assert (await asked(Dawdles(59.9))).completion == 59.9
    assert (await asked(Dawdles(9999.0), replace(REQUEST, patience=math.inf))).completion == 9999.0


@virtual_time
async def test_a_router_that_crashes_is_a_failed_request_and_the_loop_hears_of_it() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["exception"]))

    async def breaks(request: HttpRequest, sink: Sink) -> None:
        raise ZeroDivisionError

    sample = await asked(breaks)
    gc.collect()
    assert (sample.outcome, sample.node, sample.attempts) == (SampleOutcome.FAILED, "", 1)
    assert [type(one) for one in complaints] == [ZeroDivisionError]


@virtual_time
async def test_a_router_that_stops_under_a_request_has_failed_it() -> None:
    listener = InMemoryListener()
    await listener.start(Dawdles(50.0))
    asking = asyncio.create_task(ask(listener, REQUEST, ideal=0.0))
    await asyncio.sleep(1.0)
    await listener.stop()
    assert (await asking).outcome is SampleOutcome.FAILED


@virtual_time
async def test_times_are_those_of_a_run_that_passes_faster() -> None:
    seen = Seen()
    await seen.start(200, HEADERS)
    await asyncio.sleep(0.5)
    await seen.write(LAST)
    await asyncio.sleep(0.5)
    await seen.finish()
    sample = seen.sample(REQUEST, ideal=1.0, speed=60.0)
    assert (sample.first_token, sample.completion, sample.queue) == (30.0, 60.0, 90.0)


@virtual_time
async def test_what_is_asked_and_in_whose_name() -> None:
    got: list[HttpRequest] = []
    bodies: list[object] = []

    async def answer(request: HttpRequest, sink: Sink) -> None:
        got.append(request)
        body = await request.read_body(Bytes(10_000))
        bodies.append(orjson.loads(await body.examine(bytes)))
        await says(LAST)(request, sink)

    for request in (REQUEST, INDEXING, replace(REQUEST, session="")):
        await asked(answer, request)
    assert [(one.method, one.path) for one in got] == [
        ("POST", "/api/chat"),
        ("POST", "/api/embed"),
        ("POST", "/api/chat"),
    ]
    assert dict(got[0].headers) == {
        "X-OpenWebUI-User-Id": "person-1",
        "X-Herd-Priority": "batch",
        "X-Herd-Session": "person-1/3",
    }
    assert "X-Herd-Session" not in dict(got[2].headers)
    assert got[0].headers == headers_of(REQUEST)
    assert bodies[0] == orjson.loads(body_of(REQUEST))
    assert (patience(REQUEST), patience(replace(REQUEST, patience=math.inf))) == (60.0, None)
