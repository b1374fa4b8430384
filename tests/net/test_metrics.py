"""What a router counts and measures: the figures, their bounds, and that Prometheus can read them."""

import re
from collections.abc import Iterable
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from herd.cli.loopback import loopback_router
from herd.net import metrics
from herd.net.metrics import OTHER, Metrics
from herd.protocols.framing import encode
from herd.protocols.messages import BackendInfo, FrameType, ModelInfo, Report, Usage
from herd.protocols.stories import RequestEntry
from herd.types import BackendId, ModelName, Outcome, Tokens
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
HISTOGRAMS = (
    "herd_request_predicted_seconds",
    "herd_request_actual_seconds",
    "herd_request_actual_predicted_ratio",
)


async def told(*changes: dict[str, Any]) -> dict[str, Metric]:
    """What is exposed after requests that differ so from the one above."""
    meter = Metrics()
    for change in changes:
        meter.request_ended({**REQUEST, **change})  # type: ignore[typeddict-item]
    content_type, text = await meter.exposition()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    return read(text)


def read(text: bytes) -> dict[str, Metric]:
    """By name; what is no exposition of the format fails here."""
    lint(text.decode())
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def lint(text: str) -> None:
    """What Prometheus' own `promtool check metrics` asks for."""
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        word, name, *rest = line.lstrip("# ").split(" ", 2) if line.startswith("#") else ("", line)
        if word == "HELP":
            assert name not in helped
            assert rest[0].strip()
            helped.add(name)
        elif word == "TYPE":
            assert name in helped
            assert name not in kinds
            kinds[name] = rest[0]
        else:
            sample = re.fullmatch(r'([a-z_]+)(?:\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)+\})? [\d.e+-]+', line)
            assert sample is not None, line
            family = re.sub(r"_(bucket|sum|count)$", "", sample[1])
            assert sample[1] in kinds or kinds.get(family) == "histogram", line
    for name, kind in kinds.items():
        assert name.startswith("herd_")
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"(milliseconds|_ms|minutes|percent)", name)


def value(families: dict[str, Metric], family: str, suffix: str, **labels: str) -> float:
    (found,) = [
        one.value
        for one in families[family].samples
        if one.name == family + suffix and labels.items() <= one.labels.items()
    ]
    return found


def pairs(family: Metric) -> Iterable[tuple[str, str]]:
    return [(one.labels["node"], one.labels["model"]) for one in family.samples if one.name.endswith("_count")]


async def test_requests_are_counted_by_how_they_ended_from_nought_on() -> None:
    families = await told({}, {"outcome": "failed", "took_s": None}, {}, {"outcome": None})
    counts = {outcome: value(families, "herd_requests", "_total", outcome=outcome) for outcome in Outcome}
    assert counts == {"served": 2, "failed": 1, "cancelled": 0, "expired": 0, "rejected": 0}


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
    monkeypatch.setattr(metrics, "MAX_PAIRS", 2)
    families = await told(*({"node": f"n{number % 5}"} for number in range(10)))
    for name in HISTOGRAMS:
        assert list(pairs(families[name])) == [("n0", "llama3.2:3b"), ("n1", "llama3.2:3b"), (OTHER, OTHER)]
        assert value(families, name, "_count", node=OTHER) == 6


async def test_names_that_strangers_make_up_break_no_line() -> None:
    families = await told({"node": 'a"} 1\nherd_x 2\\', "model": "\ud800m"})
    assert list(pairs(families[HISTOGRAMS[0]])) == [('a"} 1\nherd_x 2\\', "?m:latest")]


async def test_two_routers_in_one_process_count_for_themselves() -> None:
    first, second = Metrics(), Metrics()
    first.request_ended(REQUEST)
    (_, text), (_, other) = await first.exposition(), await second.exposition()
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
