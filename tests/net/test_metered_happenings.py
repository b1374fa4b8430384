"""What has happened to a fleet, in numbers."""

from prometheus_client import CollectorRegistry, Metric, generate_latest

from herd.net.metered_happenings import HappeningMetrics
from herd.net.metric_series import OTHER, Series
from herd.protocols.happenings import Happening, HappeningKind, LoadCause
from tests.net.exposition import read, value


def happening(kind: HappeningKind, node: str = "studio", model: str = "", cause: str = "") -> Happening:
    return Happening(kind, 1.8e9, node, model, "text", cause)


def told(*happenings: Happening) -> dict[str, Metric]:
    metrics = HappeningMetrics(Series())
    for one in happenings:
        metrics.happened(one)
    registry = CollectorRegistry()
    registry.register(metrics)
    return read(generate_latest(registry))


def test_all_kinds_are_counted_from_nought_on() -> None:
    families = told(happening(HappeningKind.JOINED), happening(HappeningKind.JOINED))
    counts = {kind: value(families, "herd_happenings", "_total", kind=kind) for kind in HappeningKind}
    assert counts == {kind: 2 if kind is HappeningKind.JOINED else 0 for kind in HappeningKind}


def test_loads_are_counted_by_their_causes_and_what_failed_and_left() -> None:
    families = told(
        happening(HappeningKind.LOADED, model="m:latest", cause=LoadCause.REQUEST),
        happening(HappeningKind.LOADED, model="m:latest", cause=LoadCause.REQUEST),
        happening(HappeningKind.PRE_WARMED, model="m:latest", cause=LoadCause.QUEUE),
        happening(HappeningKind.PRE_WARMED, model="m:latest", cause=LoadCause.HOME),
        happening(HappeningKind.LOAD_FAILED, model="m:latest"),
        happening(HappeningKind.EVICTED, model="n:latest"),
    )
    there = {"node": "studio", "model": "m:latest"}
    loads = [value(families, "herd_model_loads", "_total", cause=cause, **there) for cause in LoadCause]
    assert loads == [2, 1, 1]
    assert value(families, "herd_model_load_failures", "_total", **there) == 1
    assert value(families, "herd_model_evictions", "_total", node="studio", model="n:latest") == 1


def test_pauses_are_counted_by_the_kind_of_their_reason() -> None:
    paused = HappeningKind.PAUSED
    families = told(*(happening(paused, cause=cause) for cause in ("meeting", "meeting", "made-up-1", "made-up-2")))
    assert value(families, "herd_node_pauses", "_total", node="studio", reason="meeting") == 2
    assert value(families, "herd_node_pauses", "_total", node="studio", reason=OTHER) == 2


def test_breakers_that_open_are_counted_by_whose_they_are() -> None:
    opened = HappeningKind.BREAKER_OPENED
    families = told(happening(opened), happening(opened, model="m:latest"), happening(opened, model="n:latest"))
    assert value(families, "herd_breaker_openings", "_total", node="studio", scope="link") == 1
    assert value(families, "herd_breaker_openings", "_total", node="studio", scope="model") == 2
