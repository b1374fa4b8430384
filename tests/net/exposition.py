"""Reads what a router exposes as Prometheus would, and finds fault with it as `promtool check metrics` would."""

import re
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\]|\\.)*",?)+)\})? (?:[\d.e+-]+|NaN)')
# What a name must not end with, or have within: what is no base unit, or says what its type or its labels are to say.
UNITS = re.compile(r"(milliseconds|_ms|minutes|hours|percent|kilobytes|_mb|_kb)(_|$)")
TYPES = re.compile(r"_(gauge|counter|histogram|summary)(_|$)")
# The process collector's own, as every Prometheus client has them.
FOREIGN = "process_"


def read(text: bytes) -> dict[str, Metric]:
    """By name, of counters without their `_total`; what is no exposition of the format fails here."""
    lint(text.decode())
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def names(text: bytes) -> set[str]:
    """As they stand in the text."""
    return set(re.findall(r"^# TYPE (\S+) ", text.decode(), flags=re.MULTILINE))


def lint(text: str) -> None:
    """What Prometheus' own `promtool check metrics` asks for."""
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    samples: set[str] = set()
    assert text.endswith("\n")
    for line in text.splitlines():
        word, name, *rest = line.removeprefix("# ").split(" ", 2) if line.startswith("#") else ("", line)
        if word == "HELP":
            assert name not in helped, name
            assert rest[0].strip()
            helped.add(name)
        elif word == "TYPE":
            assert name in helped, name
            assert name not in kinds, name
            kinds[name] = rest[0]
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample is not None, line
            series = line.rpartition(" ")[0]
            assert series not in samples, f"twice: {series}"
            samples.add(series)
            family = re.sub(r"_(bucket|sum|count)$", "", sample[1])
            assert sample[1] in kinds or kinds.get(family) in {"histogram", "summary"}, line
    for name, kind in kinds.items():
        assert name.startswith(("herd_", FOREIGN)), name
        assert (kind == "counter") == name.endswith("_total"), name
        assert not UNITS.search(name), name
        assert not TYPES.search(name), name
        assert not name.endswith(("_count", "_sum", "_bucket", "_created")), name
        if kind in {"histogram", "summary"}:
            assert name.endswith(("_seconds", "_bytes", "_ratio")), f"{name} says no unit"


def value(families: dict[str, Metric], family: str, suffix: str = "", **labels: str) -> float:
    """Of the one sample that has these labels."""
    found = [
        one.value
        for one in families[family].samples
        if one.name == family + suffix and labels.items() <= one.labels.items()
    ]
    assert len(found) == 1, (family, labels, families[family].samples)
    return found[0]


def pairs(family: Metric) -> Iterable[tuple[str, str]]:
    """The nodes and models of a histogram, in order."""
    return [(one.labels["node"], one.labels["model"]) for one in family.samples if one.name.endswith("_count")]
