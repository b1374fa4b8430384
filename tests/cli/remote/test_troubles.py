"""What is wrong with a fleet, by its status alone."""

from typing import Any

import pytest

from herd.cli.remote.troubles import Trouble, troubles
from tests.cli.statuses import model, node, reason, status

LLAMA = model("llama3.2:3b")
OPEN = {"state": "open", "failures": 3, "since": 1.0, "until": 2.0}


def test_a_fleet_that_serves_has_none() -> None:
    assert troubles(status(node("studio", LLAMA), node("den", LLAMA), pins={"llama3.2:3b": "den"})) == ()


@pytest.mark.parametrize(
    ("document", "grave", "what", "advice"),
    [
        (status(), True, "no node has joined", "start herd-node on a machine with a model server"),
        (status(node("den", LLAMA, state="offline")), True, "no node serves a model now", "is below"),
        (status(node("den", LLAMA), held=1), True, "1 request waits for a node that could serve them", "herd requests"),
        (status(node("den", LLAMA), held=2), True, "2 requests wait for a node", "herd requests"),
        (
            status(node("den", LLAMA), node("attic", model("qwen3:8b"), state="paused")),
            True,
            "no node serves qwen3:8b now: only attic has it",
            "herd pull qwen3:8b fetches it to a node that takes requests",
        ),
        (
            status(node("den", LLAMA, state="offline", reasons=[reason("offline", "has not connected yet")])),
            False,
            "den has not connected yet",
            "herd doctor on that machine",
        ),
        (
            status(node("den", LLAMA, state="degraded", reasons=[reason("no-backend", "has no model server")])),
            False,
            "den has no model server",
            "start Ollama there",
        ),
        (
            status(node("den", LLAMA, state="draining", reasons=[reason("drained", "is drained by hand")])),
            False,
            "den is drained by hand",
            "herd resume den lets it serve again",
        ),
        (
            status(node("den", LLAMA, state="paused", reasons=[reason("manual", "is paused by hand")])),
            False,
            "den is paused by hand",
            "herd resume den",
        ),
        (
            status(node("den", LLAMA, state="paused", reasons=[reason("manual", "is paused by hand", until=9e9)])),
            False,
            "den is paused by hand until ",
            "",  # it ends by itself
        ),
        (
            status(node("den", LLAMA, state="paused", reasons=[reason("meeting", "is in a meeting", since=1.0)])),
            False,
            "den is in a meeting since ",
            "",
        ),
        (status(node("den")), False, "den has no models", "herd pull MODEL --node den fetches one"),
        (
            status(node("den", model("m", breaker=OPEN), LLAMA)),
            False,
            "m on den failed 3 times in a row and is left alone for a while",
            "herd story",
        ),
        (
            status(node("den", model("m", size=2**60), LLAMA)),
            True,
            "m:latest takes 1073741824.0 GiB, more than all the memory of den",
            "--node NAME",
        ),
        (status(node("den", LLAMA, breaker=OPEN)), False, "the link to den failed 3 times in a row", "herd story"),
        (status(node("den", LLAMA), pins={"m:latest": None}), False, "m:latest is pinned, and no node", "herd unpin m"),
        (
            status(node("den", LLAMA, agent_version="0.0.9")),
            False,
            "agents of another version than the router's 0.1.0: den (0.0.9)",
            "update the older",
        ),
        (status(node("den", LLAMA, state="asleep")), False, "den is asleep", ""),  # a newer router's word
    ],
)
def test_each_trouble_is_a_sentence_with_what_to_do(document: Any, grave: bool, what: str, advice: str) -> None:
    (found,) = [each for each in troubles(document) if what in each.what]
    assert found.grave is grave
    assert advice in found.advice
    assert bool(found.advice) is bool(advice)


def test_the_gravest_come_first() -> None:
    paused = node("attic", model("qwen3:8b"), state="paused", reasons=[reason("manual", "is paused by hand")])
    found = troubles(status(node("den", LLAMA), paused, held=1))
    assert [each.grave for each in found] == [True, True, False]


def test_a_breaker_that_only_counts_is_no_trouble() -> None:
    counting = {"state": "closed", "failures": 1, "since": None, "until": None}
    assert troubles(status(node("den", model("m", breaker=counting), breaker=counting))) == ()


def test_a_model_is_not_served_when_every_node_that_has_it_takes_no_requests() -> None:
    fleet = status(
        node("a", model("M"), model("x:1b"), state="offline"),
        node("b", model("m:latest"), state="degraded"),
        node("c", model("x:1b"), state="draining"),
    )
    (found,) = [each.what for each in troubles(fleet) if each.grave]
    assert found == "no node serves x:1b now: only a, c have it"


def test_a_model_that_is_in_memory_fits_and_so_does_one_that_cards_have_room_for() -> None:
    card = {"memory_total": 24 * 2**30, "unified": False}
    large = model("m", size=30 * 2**30)
    assert troubles(status(node("a", large, gpus=[card]))) == ()
    assert troubles(status(node("a", large | {"resident": True}))) == ()
    assert troubles(status(node("a", large), node("b", large, gpus=[card]))) == ()
    (found,) = troubles(status(node("a", large, gpus=[card | {"unified": True}])))
    assert found.grave


def test_strangers_names_are_shown_and_not_obeyed() -> None:
    odd = node("den\x1b[2J", LLAMA, state="paused", reasons=[reason("odd", "is\nodd")])
    assert troubles(status(odd))[-1] == Trouble(False, "den\\x1b[2J is\\nodd")


@pytest.mark.parametrize("document", [{}, {"nodes": 5}, {**status(), "router": None}])
def test_another_document_is_refused(document: Any) -> None:
    with pytest.raises((LookupError, TypeError)):
        troubles(document)
