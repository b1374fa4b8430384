"""What a router counts and measures of its requests: the figures, their bounds, and that Prometheus can read them."""

from typing import Any

from prometheus_client import Metric

import herd
from herd.actors.figures import Figures
from herd.cli.loopback import loopback_router
from herd.net import metric_series
from herd.net.metric_series import OTHER
from herd.net.metrics import Metrics
from herd.protocols.framing import encode
from herd.protocols.herd_api import RouterEntry, StatusDocument, TotalsEntry
from herd.protocols.messages import BackendInfo, FrameType, ModelInfo, Report, Usage
from herd.protocols.stories import RequestEntry
from herd.types import Api, BackendId, ModelName, Outcome, Tokens
from tests.net.exposition import pairs, read, value
from tests.net.hostile import frame, peer
from tests.net.http_house import connection
from tests.net.loops import on_every_loop

ASK = b'{"model":"m","messages":[],"stream":false}'
CHAT = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(ASK), ASK)
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
BACKEND = BackendInfo(BackendId("b"), "ollama", dialects=("ollama",))
REPORT = Report((BACKEND,), (ModelInfo(ModelName("m"), BACKEND.id),))

REQUEST: RequestEntry = {
    "id": "r1",
    "model": "Llama3.2:3b",
    "client": "10.0.0.7",
    "arrived": 1.8e9,
    "node": "studio",
    "outcome": "served",
    "status": 200,
    "waited_s": 0.0,
    "first_token_s": 0.5,
    "total_s": 6.0,
    "attempts": 1,
    "score": 90.0,
    "prompt": 10,
    "completion": 20,
    "edited": (),
    "predicted_s": 4.0,
    "took_s": 6.0,
    "served_model": None,
}
NOTHING = Figures(StatusDocument(RouterEntry("r", "1", 0, (1,), {}), (), (), TotalsEntry(0, 0, 0, 0, 0, 0)), (), (), {})
HISTOGRAMS = (
    "herd_request_predicted_seconds",
    "herd_request_actual_seconds",
    "herd_request_actual_predicted_ratio",
)


async def told(*changes: dict[str, Any]) -> dict[str, Metric]:
    """What is exposed after requests that differ so from the one above."""
    meter = Metrics()
    for change in changes:
        ended(meter, **change)
    content_type, text = await meter.exposition(NOTHING)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    return read(text)


def ended(meter: Metrics, *, api: Api = Api.CHAT, held_s: float = 0.0, moves: int = 0, **change: Any) -> None:
    request: Any = {**REQUEST, **change}
    meter.request_ended(request, api, held_s=held_s, moves=moves)


async def test_requests_are_counted_by_how_they_ended_from_nought_on() -> None:
    families = await told({}, {"outcome": "failed", "took_s": None}, {}, {"outcome": None})
    counts = {outcome: value(families, "herd_requests", "_total", outcome=outcome) for outcome in Outcome}
    assert counts == {"served": 2, "failed": 1, "cancelled": 0, "expired": 0, "rejected": 0}


async def test_requests_are_counted_by_what_was_asked_and_answered() -> None:
    families = await told(
        {},
        {"api": Api.OLLAMA_EMBED},
        {"outcome": "failed", "status": 502},
        {"outcome": "cancelled", "status": None},
        {"outcome": "failed", "status": 999},
        {},
    )
    served = {"dialect": "openai", "api": "/v1/chat/completions", "outcome": "served", "status": "2xx"}
    assert value(families, "herd_api_requests", "_total", **served) == 2
    assert value(families, "herd_api_requests", "_total", dialect="ollama", api="/api/embed") == 1
    assert value(families, "herd_api_requests", "_total", status="5xx") == 1
    assert value(families, "herd_api_requests", "_total", outcome="cancelled", status="none") == 1
    assert value(families, "herd_api_requests", "_total", status="other") == 1


async def test_requests_and_tokens_are_counted_for_each_model_on_each_node() -> None:
    failed = {"outcome": "failed", "prompt": None, "completion": None, "took_s": None, "first_token_s": None}
    lies = {"prompt": -1000, "completion": -1, "outcome": "failed"}
    families = await told({}, {"prompt": 7}, failed, {"node": "mini"}, {"node": "nas", **lies})
    here = {"node": "studio", "model": "llama3.2:3b"}
    assert value(families, "herd_node_requests", "_total", outcome="served", **here) == 2
    assert value(families, "herd_node_requests", "_total", outcome="failed", **here) == 1
    assert value(families, "herd_node_requests", "_total", node="mini") == 1
    assert value(families, "herd_tokens", "_total", kind="prompt", **here) == 17
    assert value(families, "herd_tokens", "_total", kind="completion", **here) == 40
    assert value(families, "herd_tokens", "_total", kind="prompt", node="nas") == 0


async def test_a_request_in_parts_is_one_and_each_part_counts_where_it_ran() -> None:
    meter = Metrics()
    for node in ("studio", "mini"):
        part: Any = {**REQUEST, "node": node, "attempts": 2}
        meter.part_ended(part)
    ended(meter, api=Api.OLLAMA_EMBED, node=None)
    families = read((await meter.exposition(NOTHING))[1])
    assert value(families, "herd_requests", "_total", outcome="served") == 1
    assert value(families, "herd_api_requests", "_total", api="/api/embed") == 1
    assert value(families, "herd_request_retries", "_total") == 2
    for node in ("studio", "mini"):
        assert value(families, "herd_node_requests", "_total", node=node, outcome="served") == 1
        assert value(families, "herd_tokens", "_total", node=node, kind="prompt") == 10


async def test_how_long_requests_took_is_measured_and_how_long_they_waited() -> None:
    cancelled = {"outcome": "cancelled", "took_s": None, "total_s": 100.0, "first_token_s": None}
    families = await told({"waited_s": 3.0, "held_s": 2.0}, {"total_s": 0.1, "first_token_s": 0.1}, cancelled)
    assert value(families, "herd_request_duration_seconds", "_sum") == 6.1
    assert value(families, "herd_request_duration_seconds", "_count") == 2
    assert value(families, "herd_request_duration_seconds", "_bucket", le="0.1") == 1
    assert value(families, "herd_request_first_token_seconds", "_sum") == 0.6
    assert value(families, "herd_request_wait_seconds", "_sum", kind="held") == 2
    assert value(families, "herd_request_wait_seconds", "_sum", kind="queued") == 1
    assert value(families, "herd_request_wait_seconds", "_count", kind="queued") == 3


async def test_further_attempts_and_moves_are_counted() -> None:
    families = await told({"attempts": 3, "moves": 1}, {"attempts": 0}, {"moves": 1})
    assert value(families, "herd_request_retries", "_total") == 2
    assert value(families, "herd_request_moves", "_total") == 2


async def test_a_request_that_went_nowhere_fills_no_table_with_a_name_that_its_client_made_up() -> None:
    families = await told({"node": None, "model": "made-up", "outcome": "rejected", "status": 404, "took_s": None})
    assert value(families, "herd_requests", "_total", outcome="rejected") == 1
    assert value(families, "herd_api_requests", "_total", status="4xx") == 1
    assert not families["herd_node_requests"].samples


async def test_what_was_predicted_and_what_came_is_measured_for_each_model_on_each_node() -> None:
    families = await told({}, {"took_s": 2.0}, {"node": "mini"}, {"model": "library/llama3.2:3b"})
    of_studio = {"node": "studio", "model": "llama3.2:3b"}
    assert [value(families, name, "_count", **of_studio) for name in HISTOGRAMS] == [3, 3, 3]
    assert [value(families, name, "_sum", **of_studio) for name in HISTOGRAMS] == [12.0, 14.0, 3.5]
    assert [value(families, name, "_count", node="mini") for name in HISTOGRAMS] == [1, 1, 1]
    assert value(families, HISTOGRAMS[2], "_bucket", le="0.5", **of_studio) == 1
    assert value(families, HISTOGRAMS[2], "_bucket", le="1.5", **of_studio) == 3


async def test_it_is_measured_for_the_model_that_served() -> None:
    families = await told({"model": "gpt-4o", "served_model": "library/qwen3:8b"})
    assert list(pairs(families[HISTOGRAMS[0]])) == [("studio", "qwen3:8b")]


async def test_a_request_that_was_not_predicted_or_has_no_whole_answer_is_only_counted() -> None:
    families = await told({"predicted_s": None}, {"took_s": None}, {"predicted_s": 0.0})
    assert value(families, "herd_requests", "_total", outcome="served") == 3
    assert not any(families[name].samples for name in HISTOGRAMS)


async def test_pairs_beyond_the_bound_are_counted_together(monkeypatch: Any) -> None:
    monkeypatch.setattr(metric_series, "MAX_PAIRS", 2)
    families = await told(*({"node": f"n{number % 5}"} for number in range(10)))
    for name in HISTOGRAMS:
        assert list(pairs(families[name])) == [("n0", "llama3.2:3b"), ("n1", "llama3.2:3b"), (OTHER, OTHER)]
        assert value(families, name, "_count", node=OTHER) == 6


async def test_names_that_strangers_make_up_break_no_line() -> None:
    families = await told({"node": 'a"} 1\nherd_x 2\\', "model": "\ud800m"})
    assert list(pairs(families[HISTOGRAMS[0]])) == [('a"} 1\nherd_x 2\\', "?m:latest")]


async def test_the_process_says_what_it_is() -> None:
    families = await told()
    assert value(families, "herd_build_info", version=herd.__version__) == 1
    assert value(families, "herd_start_time_seconds") > 1.7e9


async def test_two_routers_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    ended(first)
    (_, text), (_, other) = await first.exposition(NOTHING), await second.exposition(NOTHING)
    assert value(read(text), "herd_requests", "_total", outcome="served") == 1
    assert value(read(other), "herd_requests", "_total", outcome="served") == 0


@on_every_loop
async def test_a_router_tells_prometheus_of_its_requests() -> None:
    async with (
        loopback_router("metered") as router,
        peer(router.link_port) as mallory,
        connection(router.http_port) as client,
    ):
        before = read((await client.ask(METRICS % b"")).body)
        await mallory.join()
        mallory.send(encode(FrameType.HEARTBEAT, 0, REPORT))
        while (await client.ask(READY)).status != 200:
            pass
        client.send(CHAT)
        stream = (await mallory.until(FrameType.OPEN))[1]
        mallory.send(frame(FrameType.HEAD, stream, {"status": 200, "headers": []}))
        mallory.send(frame(FrameType.DATA, stream, b"{}"))
        mallory.send(encode(FrameType.END, stream, Usage(Tokens(5), Tokens(7), complete=True)))
        answer = await client.reply()
        hostile = b"Accept: application/openmetrics-text; version=x.y\r\n"
        reply = await client.ask(METRICS % hostile)
        after = read(reply.body)

    assert value(before, "herd_requests", "_total", outcome="served") == 0
    assert (answer.status, reply.status) == (200, 200)
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(after, "herd_requests", "_total", outcome="served") == 1
    for name in HISTOGRAMS:
        assert list(pairs(after[name])) == [("mallory", "m:latest")]
    predicted = int(answer.headers["x-herd-predicted-ms"]) / 1000
    assert abs(value(after, HISTOGRAMS[0], "_sum") - predicted) < 0.001
    assert value(after, HISTOGRAMS[1], "_sum") > 0
    there = {"node": "mallory", "model": "m:latest"}
    assert value(after, "herd_node_requests", "_total", outcome="served", **there) == 1
    assert value(after, "herd_leases_granted", "_total", **there) == 1
    assert value(after, "herd_leases_returned", "_total", **there) == 1
    assert value(after, "herd_queue_running", **there) == 0
    assert value(after, "herd_node_state", node="mallory", state="ready") == 1
    assert value(after, "herd_link_joins", "_total", node="mallory") == 1
    assert value(after, "herd_link_received_bytes", "_total", node="mallory") > len(b"{}")
    assert value(after, "herd_link_sent_bytes", "_total", node="mallory") > len(ASK)
    assert value(after, "herd_actors", **{"class": "ModelQueue"}) == 1
    assert value(after, "herd_actor_handler_seconds", "_count", **{"class": "Scorer"}) > 1
    assert value(after, "herd_actor_handler_seconds", "_sum", **{"class": "Scorer"}) > 0
