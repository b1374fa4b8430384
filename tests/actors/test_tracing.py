"""The trail of a request: which requests have one, what nodes are told of it, and how it ends."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest

from herd.actors.ids import Ids
from herd.actors.ports import Headers
from herd.actors.traces import Told
from herd.actors.tracing import NoTracer, Tracing, Trail, trail
from herd.errors import RequestError
from herd.protocols.spans import Trace
from herd.protocols.stories import Ended, RequestEntry
from herd.protocols.trace_context import TraceContext, read_context
from herd.simulation.http import InMemoryRequest
from herd.types import Api, Bytes, RequestId, Seconds, TicketId

TRACE, CALLER = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


class Kept(NoTracer):
    """A tracer that keeps what it is told."""

    on = True

    def __init__(self) -> None:
        self.traces: list[Trace] = []

    def ended(self, trace: Trace) -> None:
        self.traces.append(trace)


@dataclass(slots=True)
class Hands:
    """A clock that is set by hand."""

    now: float = 10.0

    def monotonic(self) -> Seconds:
        return Seconds(self.now)

    def wall(self) -> Seconds:
        return Seconds(1.8e9 + self.now)


@dataclass(frozen=True, slots=True)
class Bench:
    tracer: Kept
    clock: Hands

    def trail(self, headers: Headers = ()) -> Trail:
        tracing = Tracing(self.tracer, Ids(1), self.clock)
        begun = trail(tracing, InMemoryRequest("POST", "/api/chat", headers=headers), Api.OLLAMA_CHAT, RequestId("r1"))
        assert isinstance(begun, Trail)
        return begun


@pytest.fixture(name="bench")
def tracer_and_clock() -> Bench:
    return Bench(Kept(), Hands())


@pytest.mark.parametrize(("tracer", "headers"), [(NoTracer(), ()), (Kept(), (("traceparent", f"{PARENT}0"),))])
def test_what_nobody_wants_or_its_client_does_not_want_has_none(tracer: NoTracer, headers: Headers) -> None:
    request = InMemoryRequest("POST", "/api/chat", headers=headers)
    with trail(Tracing(tracer, Ids(1), Hands()), request, Api.OLLAMA_CHAT, RequestId("r1")) as begun:
        assert begun is None


def test_without_a_parent_a_trace_begins_and_each_attempt_is_a_parent_of_its_own(bench: Bench) -> None:
    begun = bench.trail((("traceparent", "nonsense"), ("tracestate", "a=1"), ("accept", "*/*")))
    first, second = (read_context(begun.onward((("accept", "*/*"),), attempt)) for attempt in (1, 2))
    assert first is not None
    assert second is not None
    assert (first.trace, first.state, first.sampled) == (second.trace, "", True)
    with begun:
        pass
    [trace] = bench.tracer.traces
    assert (trace.call.context.trace, trace.call.parent) == (first.trace, 0)
    assert len({first.span, second.span, trace.call.context.span}) == 3


def test_a_parent_is_that_of_the_request(bench: Bench) -> None:
    with bench.trail((("traceparent", f"{PARENT}1"), ("tracestate", "a=1"))) as begun:
        onward = read_context(begun.onward((), 1))
    [trace] = bench.tracer.traces
    assert (trace.call.parent, trace.spans[0].parent) == (CALLER, CALLER)
    assert onward == TraceContext(TRACE, trace.call.context.span + 1, 1, "a=1")


@pytest.mark.parametrize(
    ("error", "status", "failed"),
    [
        (None, 200, False),
        (RequestError("too long", status=413), 413, False),
        (KeyError("a bug"), 500, True),
        (asyncio.CancelledError(), None, False),
        (ConnectionResetError(), None, False),
    ],
)
def test_without_a_story_it_is_told_how_it_ended(
    error: BaseException | None, status: int | None, failed: bool, bench: Bench
) -> None:
    with suppress(RequestError, KeyError, asyncio.CancelledError, ConnectionError), bench.trail():
        bench.clock.now += 2.0
        if error is not None:
            raise error
    [trace] = bench.tracer.traces
    [span] = trace.spans
    assert (span.attributes.get("http.response.status_code"), span.failed) == (status, failed)
    assert (span.start, span.end) == (1.8e9 + 10.0, 1.8e9 + 12.0)
    assert "a bug" not in span.why


def test_a_story_is_told_once_from_when_the_request_came_in(bench: Bench) -> None:
    ended: Ended = {"kind": "ended", "at": 5.0, "outcome": "rejected", "status": 404, "text": "no such model"}
    request: RequestEntry = {
        "id": "r1",
        "model": "m",
        "client": "10.0.0.7",
        "arrived": 1.8e9,
        "node": None,
        "outcome": "rejected",
        "status": 404,
        "waited_s": 0.0,
        "first_token_s": None,
        "total_s": 5.0,
        "attempts": 0,
        "score": None,
        "prompt": None,
        "completion": None,
        "edited": (),
        "predicted_s": None,
        "took_s": None,
        "served_model": None,
    }
    with suppress(RequestError), bench.trail() as begun:
        begun.read(Bytes(77))
        begun.ended(Told(TicketId("t1"), Seconds(13.0), request, (ended,)))
        raise RequestError("no such model", status=404)
    [trace] = bench.tracer.traces
    root, body = trace.spans
    assert (root.start, root.end) == (1.8e9 + 10.0, 1.8e9 + 18.0)
    assert (body.name, body.start, body.end) == ("read body", 1.8e9 + 10.0, 1.8e9 + 13.0)
    assert body.attributes == {"http.request.body.size": 77}
