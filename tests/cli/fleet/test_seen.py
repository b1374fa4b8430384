"""What a dashboard makes of a router's documents, of this version and of others."""

import dataclasses
from typing import Any

import orjson
import pytest

from herd.cli.fleet.seen import KEPT_HAPPENINGS, Connection, Seen, connected, heard, lost
from herd.errors import HerdError
from herd.protocols.herd_api import (
    GpuEntry,
    ModelEntry,
    NodeEntry,
    QueueEntry,
    ReasonEntry,
    RouterEntry,
    StatusDocument,
    TotalsEntry,
    encode,
)
from herd.protocols.messages import BackendInfo, Machine
from herd.types import BackendId
from tests.cli.fleets import HOUSE, NOW, REQUESTS, happenings, status_of


def told(seen: Seen, *numbers: int) -> Seen:
    return heard(seen, "happenings", {"happenings": [{"number": number, "text": f"{number}"} for number in numbers]})


def numbers(seen: Seen) -> list[int]:
    return [one.number for one in seen.happenings]


def test_what_a_router_encodes_is_read_field_by_field() -> None:
    model = ModelEntry("llama3.2:3b", resident=True, limit=2, backend="ollama-11434", size=2, pinned=True)
    entry: dict[str, Any] = {
        "id": "n1",
        "name": "studio",
        "state": "paused",
        "reasons": (ReasonEntry("meeting", "is in a meeting", NOW, None),),
        "breaker": None,
        "models": (model,),
        "running": 1,
        "waiting": 2,
        "cpu": 0.5,
        "memory_total": 16,
        "memory_free": 8,
        "machine": Machine("linux", "x86_64", "Some CPU", 8),
        "backends": (BackendInfo(BackendId("ollama-11434"), "ollama"),),
        "agent_version": "0.1.0",
        "gpus": (GpuEntry("0", "RTX 4090", "nvidia", 24, 2, unified=False),),
    }
    # Whatever a node of the status has besides in this version: here its value need not be right.
    needed = [item.name for item in dataclasses.fields(NodeEntry) if item.default is dataclasses.MISSING]
    entry = {**dict.fromkeys(needed, 0.5), **entry}
    document = StatusDocument(
        RouterEntry("r", "0.1.0", 11436, (1,), {}),
        (NodeEntry(**entry),),
        (QueueEntry("studio", "llama3.2:3b", 1, 2, 2),),
        TotalsEntry(1, 1, 1, 1, 2, 0),
    )
    seen = heard(Seen(), "status", orjson.loads(encode(document)))
    assert seen.status is not None
    (node,) = seen.nodes
    assert (node.name, node.state, node.running, node.waiting) == ("studio", "paused", 1, 2)
    assert (node.memory_total, node.memory_free, node.machine.cpu, node.gpus[0].name) == (16, 8, "Some CPU", "RTX 4090")
    assert (node.reasons[0].text, node.reasons[0].since) == ("is in a meeting", NOW)
    assert (node.models[0].name, node.models[0].resident, node.models[0].pinned) == ("llama3.2:3b", True, True)
    assert (seen.status.router.version, seen.status.totals.serving, seen.status.queues[0].limit) == ("0.1.0", 1, 2)
    assert seen.entries["studio"]["backends"][0]["kind"] == "ollama"


def test_what_a_router_does_not_say_is_unknown_and_what_it_says_besides_is_passed_over() -> None:
    seen = heard(Seen(), "status", {"nodes": [{"name": "studio", "mood": "good"}], "weather": "fine"})
    (node,) = seen.nodes
    assert (node.state, node.running, node.tokens_per_s, node.availability) == ("", None, None, None)
    assert heard(Seen(), "requests", {}).requests == ()
    assert heard(seen, "some-new-topic", {"x": 1}) is seen


@pytest.mark.parametrize(
    ("topic", "document"),
    [
        ("status", []),
        ("status", None),
        ("status", {"nodes": {}}),
        ("status", {"nodes": None}),
        ("status", {"nodes": [{"name": 7}]}),
        ("status", {"nodes": [{"name": "x", "running": "many"}]}),
        ("status", {"nodes": [{"name": "x", "memory_free": -1}]}),
        ("status", {"nodes": [{"name": "x", "memory_free": 10**40}]}),
        ("status", {"nodes": [{"name": "x", "reasons": ["\x1b[2J"]}]}),
        ("requests", {"requests": [{"total_s": "long"}]}),
        ("happenings", {"happenings": [{"number": "first"}]}),
        ("node", []),
        ("node", {"name": "x", "models": 3}),
    ],
)
def test_a_field_of_another_type_is_told_in_one_sentence(topic: str, document: Any) -> None:
    seen = heard(Seen(), "status", status_of(HOUSE))
    with pytest.raises(HerdError, match=f"what the router says of {topic} cannot be read .*another version") as caught:
        heard(seen, topic, document)
    assert str(caught.value).isprintable()
    assert len(seen.nodes) == len(HOUSE)


def test_happenings_are_kept_up_to_a_bound_and_taken_anew_after_a_break() -> None:
    seen = told(connected(Seen(), NOW), 1, 2, 3)
    seen = told(seen, 4)
    assert numbers(seen) == [1, 2, 3, 4]
    seen = connected(lost(seen, "it is away", NOW), NOW)
    assert numbers(seen) == [1, 2, 3, 4]  # until the router says what it keeps
    seen = told(seen, 1, 2)
    assert numbers(seen) == [1, 2]
    seen = told(seen, *range(3, 1000))
    assert numbers(seen) == list(range(1000 - KEPT_HAPPENINGS, 1000))


def test_since_when_a_router_is_lost_is_kept_over_further_attempts() -> None:
    seen = connected(Seen(), NOW)
    assert (seen.connection, seen.since) == (Connection.LIVE, NOW)
    seen = lost(lost(seen, "it is away", NOW + 5.0), "it is still away", NOW + 9.0)
    assert (seen.connection, seen.since, seen.why) == (Connection.LOST, NOW + 5.0, "it is still away")
    assert connected(seen, NOW + 11.0).why == ""


def test_from_the_21st_node_on_a_fleet_is_a_crowd() -> None:
    few = status_of([{**HOUSE[0], "name": f"node-{number}"} for number in range(20)])
    assert not heard(Seen(), "status", few).crowded
    assert heard(Seen(), "status", status_of([*few["nodes"], HOUSE[1]])).crowded


def test_requests_and_happenings_are_as_they_came() -> None:
    seen = heard(heard(Seen(), "requests", {"requests": REQUESTS}), "happenings", happenings())
    assert [one.id for one in seen.requests] == [one["id"] for one in REQUESTS]
    assert [one.text for one in seen.happenings] == [one["text"] for one in happenings()["happenings"]]
