"""What metrics are made of: histograms that count as the library's own do, and how many series there may be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from herd.net import metric_series
from herd.net.metric_series import OTHER, Buckets, Series, counter, gauge, histogram
from tests.net.exposition import read, value

BOUNDS = (0.1, 1.0, 10.0)


class Once:
    """A collector of one metric."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def collect(self) -> list[Any]:
        return [self._metric]


def written(metric: Any) -> bytes:
    registry = CollectorRegistry()
    registry.register(Once(metric))
    return generate_latest(registry)


@given(st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS), min_size=1, max_size=20))
def test_a_histogram_is_written_as_the_librarys_own_is(observed: list[float]) -> None:
    registry = CollectorRegistry()
    theirs = Histogram("herd_x_seconds", "X.", ("node",), registry=registry, buckets=BOUNDS)
    ours = Buckets(BOUNDS)
    for one in observed:
        theirs.labels("a").observe(one)
        ours.observe(one)

    text = generate_latest(registry).decode()
    expected = "".join(line for line in text.splitlines(keepends=True) if "_created" not in line)
    assert written(histogram("herd_x_seconds", "X.", ("node",), [(("a",), ours)])).decode() == expected


def test_a_histogram_of_nothing_has_no_series() -> None:
    families = read(written(histogram("herd_x_seconds", "X.", ("node",), [(("a",), Buckets(BOUNDS))])))
    assert not families["herd_x_seconds"].samples


@pytest.mark.parametrize(("make", "suffix"), [(gauge, ""), (counter, "_total")])
def test_what_has_the_same_labels_is_added_up(make: Any, suffix: str) -> None:
    families = read(written(make("herd_x", "X.", ("node",), [(("a",), 1), (("b",), 2), (("a",), 3)])))
    assert value(families, "herd_x", suffix, node="a") == 4
    assert value(families, "herd_x", suffix, node="b") == 2


def test_the_first_pairs_and_nodes_have_series_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_series, "MAX_PAIRS", 2)
    monkeypatch.setattr(metric_series, "MAX_NODES", 1)
    series = Series()
    assert series.pair("a", "m") == ("a", "m")
    assert series.pair("a", "n") == ("a", "n")
    assert series.pair("b", "m") == (OTHER, OTHER)
    assert series.pair("a", "n") == ("a", "n")
    assert [series.node(name) for name in ("a", "b", "a")] == ["a", OTHER, "a"]


def test_names_are_such_as_utf_8_can_carry() -> None:
    assert Series().pair("\ud800", "m\udfff") == ("?", "m?")
    assert Series().node("\ud800") == "?"
