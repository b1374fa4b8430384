"""The JSON of stories: what the router writes, others can read; what is none is refused in a sentence."""

from typing import Any

import orjson
import pytest

from herd.errors import ProtocolError, RequestError
from herd.protocols.stories import (
    Event,
    RequestEntry,
    encode_events,
    encode_requests,
    encode_story,
    limit_of,
    read_requests,
    read_story,
)

REQUEST: RequestEntry = {
    "id": "a/b:7",
    "model": "m",
    "client": "10.0.0.7",
    "arrived": 1.5,
    "node": None,
    "outcome": "served",
    "status": 200,
    "waited_s": 0.0,
    "first_token_s": None,
    "total_s": 1.0,
    "attempts": 1,
    "score": 50.0,
    "prompt": 5,
    "completion": 6,
    "edited": ("model",),
    "predicted_s": 4.25,
    "took_s": 5.0,
    "served_model": None,
}
REASON: Any = {"kind": "no-model", "text": "does not have m on disk"}
PLACED: Event = {
    "kind": "placed",
    "at": 0.0,
    "node": "studio",
    "candidates": [
        {"node": "studio", "score": 40.0, "signals": {"thermal": 50.0, "queue_depth": -10.0}, "predicted_s": 4.25}
    ],
    "eliminated": [{"node": "attic", "reason": REASON}],
    "candidates_left_out": 0,
    "eliminated_left_out": 2,
}
OPENED: Event = {
    "kind": "opened",
    "at": 0.25,
    "node": "studio",
    "attempt": 1,
    "edits": [{"field": "options.num_ctx", "value": 8192}, {"field": "model", "value": "m:q4"}],
}
ENDED: Event = {"kind": "ended", "at": 1.0, "outcome": "served", "status": None, "text": ""}
EVENTS = (PLACED, OPENED, ENDED)


def written(*events: Any) -> Any:
    """What whoever asks for a story gets."""
    return orjson.loads(encode_story(REQUEST, encode_events(events)))


def test_a_story_is_its_request_and_its_events() -> None:
    document = written(*EVENTS)
    assert document == {**REQUEST, "edited": ["model"], "events": list(EVENTS)}
    story = read_story(document)
    assert (story.request, story.events) == (REQUEST, EVENTS)


def test_a_list_of_requests_is_read_as_it_was_written() -> None:
    assert read_requests(orjson.loads(encode_requests([REQUEST, REQUEST]))) == (REQUEST, REQUEST)


def test_what_a_newer_router_says_beyond_that_is_passed_over() -> None:
    document = written({"kind": "teleported", "at": 0.1}, {**ENDED, "mood": "good"}) | {"more": 1}
    assert read_story(document).events == (ENDED,)


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"requests": {}},
        written() | {"events": None},
        written() | {"attempts": "one"},
        written({"kind": "placed", "at": 0.0}),
        written({"kind": "ended", "at": "soon", "outcome": "served", "status": None, "text": ""}),
    ],
)
def test_what_is_no_story_is_refused(document: Any) -> None:
    with pytest.raises(ProtocolError, match="this is no story"):
        read_story(document)
    with pytest.raises(ProtocolError, match="this is no story"):
        read_requests(document)


@pytest.mark.parametrize(
    ("query", "limit"), [("", 100), ("limit=1", 1), ("limit=1000", 1000), ("x=y&limit=7", 7), ("limit=007", 7)]
)
def test_so_many_requests_are_asked_for(query: str, limit: int) -> None:
    assert limit_of(query) == limit


@pytest.mark.parametrize("limit", ["", "0", "1001", "-1", "1.5", "abc", "%FF", "1e3", "٣", "9" * 5000])
def test_a_limit_that_is_none_is_refused_in_a_sentence(limit: str) -> None:
    with pytest.raises(RequestError, match="limit must be a whole number from 1 to 1000, not") as caught:
        limit_of(f"limit={limit}")
    assert caught.value.status == 400
    assert len(str(caught.value)) < 120
