"""What is kept of a request: from its story to a small row, and back."""

import json
from dataclasses import replace

import pytest

from herd.actors.trace_rows import MAX_COUNT, MAX_NAME, MAX_SCORES, entry_of, events_of, row_of
from herd.policy.values import ALWAYS_SHOWN, PARTS, PARTS_SHOWN, SIGNALS
from herd.protocols.stories import CandidateEntry, Event, Placed, RequestEntry, encode_events, encode_story, read_story

REQUEST: RequestEntry = {
    "id": "r1",
    "model": "llama3.2:3b",
    "client": "10.0.0.7",
    "arrived": 1.8e9,
    "node": "n0",
    "outcome": "served",
    "status": 200,
    "waited_s": 0.5,
    "first_token_s": 0.75,
    "total_s": 2.25,
    "attempts": 1,
    "score": 87.5,
    "prompt": 100,
    "completion": None,
    "edited": ("model", "keep_alive"),
    "predicted_s": 4.25,
    "took_s": 5.0,
    "served_model": None,
}


def candidate(number: int, **more: float) -> CandidateEntry:
    signals = {name: round(50.126 - 10 * place - number, 3) for place, name in enumerate(SIGNALS[:ALWAYS_SHOWN])}
    return {"node": f"n{number}", "score": 90.0 - number, "signals": signals | more, "predicted_s": 4.25 + number}


def placed(candidates: int, eliminated: int = 0, left_out: int = 0) -> Placed:
    shown = [candidate(number) for number in range(candidates)]
    return {
        "kind": "placed",
        "at": 0.25,
        "node": shown[0]["node"] if shown else None,
        "candidates": shown,
        "eliminated": [{"node": "x", "reason": {"kind": "offline", "text": "is offline"}}] * eliminated,
        "candidates_left_out": left_out,
        "eliminated_left_out": 0,
    }


def kept(*events: Event) -> tuple[Event, ...]:
    """What is left of a story."""
    return events_of(row_of(REQUEST, events))


def test_the_line_of_a_request_comes_back_as_it_was() -> None:
    other = {**REQUEST, "served_model": "qwen3:8b"}
    for entry in (REQUEST, other, {**REQUEST, "edited": (), "node": None, "score": None, "first_token_s": None}):
        assert entry_of(row_of(entry, ())) == entry  # type: ignore[arg-type]


def test_who_could_have_served_it_comes_back_the_best_with_every_signal() -> None:
    first, begun, end = kept(placed(3, eliminated=2))
    assert first["kind"] == "placed"
    assert (first["node"], first["candidates_left_out"], first["eliminated_left_out"]) == ("n0", 0, 2)
    assert [(one["node"], one["score"]) for one in first["candidates"]] == [("n0", 90.0), ("n1", 89.0), ("n2", 88.0)]
    assert first["candidates"][0]["signals"] == pytest.approx(candidate(0)["signals"], abs=0.0101)
    assert not any(one["signals"] for one in first["candidates"][1:])
    assert begun == {"kind": "first-byte", "at": 0.75, "status": 200}
    assert end == {"kind": "ended", "at": 2.25, "outcome": "served", "status": 200, "text": ""}


def test_what_was_predicted_is_kept_of_the_request_and_of_whom_it_went_to() -> None:
    row = row_of(REQUEST, (placed(2),))
    first, *_ = events_of(row)
    assert (row.predicted, row.took) == (4.25, 5.0)
    assert first["kind"] == "placed"
    assert [one["predicted_s"] for one in first["candidates"]] == [4.25, None]


def test_the_seconds_that_the_best_one_was_ranked_by_come_back_with_it() -> None:
    ranked = {**dict.fromkeys(PARTS[:PARTS_SHOWN], 0.0), "decode": 2.5, "degraded": 15.0}
    best: CandidateEntry = {**candidate(0), "score": -17.5, "seconds": ranked}
    first, *_ = kept({**placed(2), "candidates": [best, {**candidate(1), "seconds": ranked}]})
    assert first["kind"] == "placed"
    assert first["candidates"][0]["seconds"] == ranked
    assert first["candidates"][0]["score"] == -sum(ranked.values())
    assert "seconds" not in first["candidates"][1]


def test_of_many_candidates_the_best_are_kept_and_the_rest_counted() -> None:
    first, *_ = kept(placed(MAX_SCORES + 3, left_out=5))
    assert first["kind"] == "placed"
    assert (len(first["candidates"]), first["candidates_left_out"]) == (MAX_SCORES, 8)


def test_a_score_beyond_all_bounds_is_kept_as_the_furthest_that_there_is() -> None:
    """An agent may say that a token takes it ages, and that the answers of its models never end."""
    far = candidate(1, overflow=-1e24)
    first, *_ = kept({**placed(0), "node": "n1", "candidates": [far, {**far, "score": -1e24}]})
    assert first["kind"] == "placed"
    assert first["candidates"][0]["signals"]["overflow"] == -MAX_COUNT / 100
    assert first["candidates"][1]["score"] == -MAX_COUNT / 100


def test_the_placement_that_counts_is_the_latest_be_it_a_move() -> None:
    moved: Event = {"kind": "moved", "at": 1.0, "queue": "n7/m", "candidate": candidate(7), "waited_s": 0.5}
    for events, node in (((placed(3), moved), "n7"), ((moved, placed(2)), "n0"), ((placed(2), placed(0, 1)), None)):
        first, *_ = kept(*events)
        assert first["kind"] == "placed"
        assert first["node"] == node


def test_signals_that_are_nothing_are_shown_where_they_are_always_shown_and_cost_no_room() -> None:
    nothing = {**dict.fromkeys(SIGNALS[:ALWAYS_SHOWN], 0.0)}
    flat: CandidateEntry = {"node": "n0", "score": 10.0, "signals": nothing, "predicted_s": None}
    best: CandidateEntry = {**flat, "signals": flat["signals"] | {"thermal": 10.0}}
    row = row_of(REQUEST, [{**placed(1), "candidates": [best]}])
    assert json.loads(row.scores)[0] == [["n0", 1000, [1000]]]
    first, *_ = events_of(row)
    assert first["kind"] == "placed"
    assert first["candidates"][0]["signals"] == best["signals"]


def test_a_request_that_never_was_placed_has_its_end() -> None:
    assert [event["kind"] for event in kept()] == ["first-byte", "ended"]


def test_what_strangers_make_up_takes_no_more_room_than_a_name_and_a_number() -> None:
    row = row_of({**REQUEST, "model": "m" * 300, "client": "c" * 300, "prompt": 2**70, "completion": -(2**70)}, ())
    assert (len(row.model), len(row.client)) == (MAX_NAME, MAX_NAME)
    assert (row.prompt, row.completion) == (MAX_COUNT, -MAX_COUNT)


def test_what_is_kept_is_a_story_to_those_who_read_them() -> None:
    row = row_of(REQUEST, (placed(2, 1),))
    document = json.loads(encode_story(entry_of(row), encode_events(events_of(row))))
    story = read_story(document)
    assert [event["kind"] for event in story.events] == ["placed", "first-byte", "ended"]


@pytest.mark.parametrize("text", ["", "[]", "{", '[[["n",1]],0,0]', "[[],0]"])
def test_scores_that_cannot_be_read_are_left_out(text: str) -> None:
    row = row_of(REQUEST, (placed(1),))
    assert [event["kind"] for event in events_of(replace(row, scores=text))] == ["first-byte", "ended"]
