"""What a collector is told of requests, and what model servers are told of the trace that they are part of."""

import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from herd.protocols.trace_context import read_context
from tests.e2e.collectors import Collector, attributes
from tests.e2e.house import ONLY, House, running_house

pytest.importorskip("opentelemetry.sdk.trace", reason="the extra `otel` is not installed")
service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="the extra `otel` is not installed"
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVER, CLIENT, ERROR = 2, 3, 2  # of the protocol's enumerations
MODEL = ONLY["attic"]
QUESTION = "Which machine are you?"
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest_asyncio.fixture(name="collector", scope="module", loop_scope="module")
async def collector_of_this_file() -> AsyncIterator[Collector]:
    collector = Collector(service.ExportTraceServiceRequest)
    await collector.start()
    yield collector
    await collector.stop()


@pytest_asyncio.fixture(name="home", scope="module", loop_scope="module")
async def house_that_tells_it(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> AsyncIterator[House]:
    words = ("--otlp-endpoint", collector.url)
    patch = pytest.MonkeyPatch()
    patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # seconds for which a batch is tried again
    async with running_house(tmp_path_factory.mktemp("traced"), router_words=words) as house:
        yield house
    patch.undo()


async def ask(house: House, request_id: str, model: str = MODEL, **headers: str) -> int:
    """Ask for a short stream."""
    named = {"X-Request-Id": request_id, **headers}
    async with house.post("/api/chat", json=question_to(model), headers=named) as answer:
        await answer.read()
        status: int = answer.status
    return status


def question_to(model: str) -> dict[str, Any]:
    words = [{"role": "user", "content": QUESTION}]
    return {"model": model, "messages": words, "options": {"num_predict": 3}}


async def test_a_request_is_a_span_with_one_for_each_of_its_stages(home: House, collector: Collector) -> None:
    assert await ask(home, "whole") == 200
    spans = await collector.trace_of("whole")
    root, attempt = spans["POST /api/chat"], spans[f"chat {MODEL}"]
    stages = {"read body", "place", "queue", "open", "first byte", "stream"}
    assert set(spans) == {"POST /api/chat", f"chat {MODEL}", *stages}
    assert (root.kind, root.parent_span_id, attempt.kind, attempt.parent_span_id) == (SERVER, b"", CLIENT, root.span_id)
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano for span in spans.values())
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans.values())
    assert all(span.end_time_unix_nano <= root.end_time_unix_nano for span in spans.values())
    said = attributes(root)
    assert (said["herd.node"], said["herd.outcome"], said["http.response.status_code"]) == ("attic", "served", 200)
    assert (said["gen_ai.request.model"], said["gen_ai.usage.output_tokens"]) == (MODEL, 3)
    assert attributes(spans["read body"])["http.request.body.size"] > 50
    assert collector.resource["service.name"] == "herd"
    assert collector.resource["service.instance.id"] == (await home.get("/herd/v1/info"))["router_id"]


async def test_the_model_server_is_told_of_the_attempt_as_its_parent(home: House, collector: Collector) -> None:
    assert await ask(home, "onward") == 200
    context = read_context(home.servers["attic"].sent[-1].headers)
    attempt = (await collector.trace_of("onward"))[f"chat {MODEL}"]
    assert context is not None
    assert context.sampled
    assert context.trace.to_bytes(16) == attempt.trace_id
    assert context.span.to_bytes(8) == attempt.span_id


async def test_a_client_that_is_traced_has_the_request_in_its_own_trace(home: House, collector: Collector) -> None:
    parent = f"00-{TRACE}-{CALLER}-01"
    assert await ask(home, "within", traceparent=parent, tracestate="rojo=1,congo=2") == 200
    spans = await collector.trace_of("within")
    root = spans["POST /api/chat"]
    assert (root.trace_id.hex(), root.parent_span_id.hex(), root.trace_state) == (TRACE, CALLER, "rojo=1,congo=2")
    sent = home.servers["attic"].sent[-1]
    assert sent.header("traceparent") == f"00-{TRACE}-{spans[f'chat {MODEL}'].span_id.hex()}-01"
    assert sent.header("tracestate") == "rojo=1,congo=2"


async def test_what_a_client_does_not_want_traced_is_passed_on_and_told_to_nobody(
    home: House, collector: Collector
) -> None:
    parent = f"00-{TRACE}-{CALLER}-00"
    assert await ask(home, "unsampled", traceparent=parent) == 200
    assert home.servers["attic"].sent[-1].header("traceparent") == parent
    assert await ask(home, "next") == 200
    await collector.trace_of("next")
    assert not [span for span in collector.spans if attributes(span).get("herd.request_id") == "unsampled"]


async def test_failures_and_refusals_are_told_with_their_reason(home: House, collector: Collector) -> None:
    home.servers["attic"].fake.fail_next(503, "secret words of a model server")
    await ask(home, "failing")
    spans = await collector.trace_of("failing")
    attempt = spans[f"chat {MODEL}"]
    assert (attempt.status.code, attempt.status.message) == (ERROR, "the model server answered 503")
    assert await ask(home, "unknown", "nobody") == 404
    root = (await collector.trace_of("unknown"))["POST /api/chat"]
    assert (root.status.code, attributes(root)["error.type"]) == (0, "404")
    async with home.post("/api/chat", data=b"{no json", headers={"X-Request-Id": "wrong"}) as answer:
        assert answer.status == 400
    spans = await collector.trace_of("wrong")
    assert list(spans) == ["POST /api/chat"]
    assert attributes(spans["POST /api/chat"])["http.response.status_code"] == 400
    everything = "\n".join(map(str, collector.spans))
    assert "secret words" not in everything
    assert QUESTION not in everything


async def test_a_collector_that_is_away_is_nobodys_harm_and_is_told_again_once_it_is_back(
    home: House, collector: Collector
) -> None:
    await collector.stop()
    assert await ask(home, "lost") == 200
    await home.router.says("traces are lost: the collector at .* does not take them")
    assert await ask(home, "lost, too") == 200
    await collector.start()
    assert await ask(home, "found") == 200
    await collector.trace_of("found")
    await home.router.says("takes traces again")


@pytest.mark.slow
async def test_a_router_that_stops_sends_what_it_has_and_waits_for_no_collector_that_hangs(
    home: House, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    assert await ask(home, "last") == 200
    assert await home.router.stop() == 0
    assert await collector.trace_of("last")
    await home.start_router()
    collector.gate.clear()
    before = collector.batches
    async with home.post("/api/chat", data=b"{no json") as answer:
        assert answer.status == 400
    await collector.asked(before + 1)
    async with home.post("/api/chat", data=b"{no json") as answer:
        assert answer.status == 400
    assert await home.router.stop(signal.SIGINT) == 0
    await home.router.says("the last traces were not sent within 2 s")
