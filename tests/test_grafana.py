"""The dashboard for Grafana and the table of metrics in the contracts name what a router exposes, and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from herd.actors.figures import Figures, LeaseCount
from herd.net.link_traffic import LinkTraffic
from herd.net.metrics import Metrics
from herd.protocols.happenings import Happening, HappeningKind
from herd.protocols.herd_api import QueueEntry
from herd.runtime import ClassState
from herd.types import NodeId
from tests.net.exposition import FOREIGN, names, read
from tests.net.test_metered_state import GPU, node, status
from tests.net.test_metrics import NOTHING, ended

DOCS = Path(__file__).parent.parent / "docs"
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
TABLE = (DOCS / "contracts.md").read_text(encoding="utf-8").partition("### Metrics")[2].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", TABLE, flags=re.MULTILINE))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"], target["legendFormat"]) for panel in PANELS for target in panel["targets"]]


def asked_for(expression: str) -> set[str]:
    """The metrics of a query; of histograms and summaries without what their series' names have more."""
    found = re.findall(r"\b(?:herd|process)_\w+", expression)
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def labels(row: str) -> set[str]:
    """Those that a metric has, by its row; a histogram's buckets have one more."""
    kind, _, named = row.partition(" | ")
    return {*re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", named)), *(["le"] if "histogram" in kind else [])}


async def exposed() -> set[str]:
    return names((await Metrics().exposition(NOTHING))[1])


async def busy() -> bytes:
    """Of a router of which there is something to say everywhere."""
    meter = Metrics(lambda: (LinkTraffic(NodeId("id-studio"), 1, 1, 1, 1),))
    ended(meter)
    for kind in HappeningKind:
        meter.happened(Happening(kind, 1.8e9, "studio", "m:latest", "text", "cause"))
    queue = QueueEntry("studio", "m:latest", 1, 0, 2)
    document = status(node(gpus=(GPU,), owner_load=0.5), queues=(queue,))
    leases, actors = (LeaseCount("studio", "m:latest", 2, 1),), (ClassState("Scorer"),)
    return (await meter.exposition(Figures(document, leases, actors, {"dead": 1})))[1]


async def test_every_metric_is_in_the_contracts_and_nothing_else_is() -> None:
    own = {name for name in await exposed() if not name.startswith(FOREIGN)}
    assert own == {name for name in ROWS if not name.startswith(FOREIGN)}


async def test_every_metric_has_the_labels_that_the_contracts_say_and_no_others() -> None:
    families = read(await busy())
    there = {name: families[name.removesuffix("_total")] for name in ROWS if not name.startswith(FOREIGN)}
    found = {
        name: {label for sample in family.samples for label in sample.labels if label not in {"le", "quantile"}}
        for name, family in there.items()
        if family.samples
    }
    assert found == {name: labels(ROWS[name]) - {"le"} for name in found}
    assert there.keys() - found.keys() == {"herd_event_loop_lag_seconds"}  # the first who reads it sees nothing


async def test_every_metric_that_the_dashboard_asks_for_is_exposed_and_every_one_of_ours_is_asked_for() -> None:
    asked = set().union(*(asked_for(query) for _, query, _ in QUERIES))
    there = await exposed()
    assert {name for name in asked - there if not name.startswith(FOREIGN)} == set()
    assert {name for name in there - asked if not name.startswith(FOREIGN)} == set()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="prometheus-client reads it there alone")
async def test_the_process_tells_of_itself() -> None:
    asked = set().union(*(asked_for(query) for _, query, _ in QUERIES))
    there = await exposed()
    assert {name for name in asked if name.startswith(FOREIGN)} <= there
    assert {name for name in ROWS if name.startswith(FOREIGN)} <= there


@pytest.mark.parametrize(("title", "query", "legend"), QUERIES, ids=[title for title, *_ in QUERIES])
def test_a_query_asks_for_labels_that_its_metrics_have(title: str, query: str, legend: str) -> None:
    known = set.intersection(*(labels(ROWS[name]) for name in asked_for(query) if name in ROWS))
    if "group_left" in query:
        known = set().union(*(labels(ROWS[name]) for name in asked_for(query)))
    grouped = re.findall(r"(?:by|on|group_left) \(([^)]*)\)", query)
    used = {name.strip() for names_ in grouped for name in names_.split(",") if name.strip()}
    used |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!)", query)) | set(re.findall(r"\{\{(\w+)\}\}", legend))
    assert used <= known, f"{title}: {used - known}"
    assert query.count("(") == query.count(")")


def test_the_dashboard_can_be_imported_anywhere() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    own = {"type": "prometheus", "uid": "${datasource}"}
    assert all(part["datasource"] == own for panel in PANELS for part in (panel, *panel["targets"]))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert "id" not in DASHBOARD  # else an import would replace what has the number there


def test_no_panel_lies_on_another_or_outside() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
