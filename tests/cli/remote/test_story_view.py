"""A story as a person reads it."""

import io
import time
from typing import Any

import pytest
from rich.console import Console, RenderableType

from herd.cli.remote import story_view
from herd.protocols.stories import Event, Placed, RequestEntry, StoryDocument

REQUEST: RequestEntry = {
    "id": "req_1",
    "model": "llama3.2:3b",
    "client": "10.0.0.7",
    "arrived": 86_400.0,
    "node": "mini",
    "outcome": "served",
    "status": 200,
    "waited_s": 4.5,
    "first_token_s": 5.25,
    "total_s": 8.0,
    "attempts": 2,
    "score": 22.5,
    "prompt": 12,
    "completion": 50,
    "edited": ("model",),
    "predicted_s": 4.25,
    "took_s": 3.25,
    "served_model": None,
}
WHEN = time.strftime("%m-%d %H:%M:%S", time.localtime(REQUEST["arrived"]))  # where the reader is
GONE: Any = {"kind": "offline", "text": "is offline: the link was lost"}
PLACED: Placed = {
    "kind": "placed",
    "at": 0.0,
    "node": "studio",
    "candidates": [
        {
            "node": "studio",
            "score": 57.5,
            "signals": {"thermal": 50.0, "queue_depth": -2.5, "moon_phase": 10.0},
            "predicted_s": 3.5,
        },
        {
            "node": "twin",
            "score": 56.9,
            "signals": {"thermal": 50.0, "queue_depth": -3.1, "moon_phase": 10.0},
            "predicted_s": 2.5,
        },
        {
            "node": "mini",
            "score": 22.5,
            "signals": {"thermal": 10.0, "queue_depth": -0.0, "moon_phase": 12.5},
            "predicted_s": None,
        },
    ],
    "eliminated": [{"node": name, "reason": GONE} for name in ("attic", "cellar")],
    "candidates_left_out": 4,
    "eliminated_left_out": 30,
}
EVENTS: tuple[Event, ...] = (
    {**PLACED, "node": None, "candidates": [], "candidates_left_out": 0, "eliminated_left_out": 0},
    {"kind": "held", "at": 0.0, "wait_s": 30.0},
    {"kind": "woken", "at": 4.0, "by": "unlocked", "waited_s": 4.0},
    {**PLACED, "at": 4.0},
    {"kind": "queued", "at": 4.0, "node": "studio"},
    {"kind": "granted", "at": 4.5, "node": "studio", "waited_s": 0.5},
    {"kind": "opened", "at": 4.5, "node": "studio", "attempt": 1, "edits": []},
    {"kind": "failed", "at": 4.75, "node": "studio", "attempt": 1, "reason": {"kind": "status", "text": "it said 503"}},
    {"kind": "queued", "at": 4.75, "node": "mini"},
    {"kind": "granted", "at": 4.75, "node": "mini", "waited_s": 0.0},
    {
        "kind": "opened",
        "at": 4.75,
        "node": "mini",
        "attempt": 2,
        "edits": [{"field": "model", "value": "llama3.2:3b-q4"}],
    },
    {"kind": "first-byte", "at": 5.25, "status": 200},
    {
        "kind": "served",
        "at": 8.0,
        "node": "mini",
        "prompt": 12,
        "completion": 50,
        "load_s": 0.0,
        "prefill_s": 0.125,
        "decode_s": 2.5,
        "complete": True,
        "failed": False,
        "predicted_s": 4.25,
        "took_s": 3.25,
    },
    {"kind": "ended", "at": 8.0, "outcome": "served", "status": 200, "text": ""},
)

TEXT = f"""\
req_1: llama3.2:3b for 10.0.0.7, {WHEN}
served by mini in 8.00 s (waited 4.50 s, first token after 5.25 s, 2 attempts); 12 tokens in, 50 out at 20.0 tokens/s

0.000 s  2 machines were looked at: none can serve it now
         attic, cellar  out  is offline: the link was lost
0.000 s  waits for a machine that can serve it, for at most 30.00 s
4.000 s  after 4.00 s the fleet has changed in a way that may help: looks again
4.000 s  39 machines were looked at: studio is the best
         machine        score  made of
         studio          57.5  predicted 3.50 s; readiness of the model +50.0, work there already -2.5, moon phase +10.0
         twin            56.9  predicted 2.50 s; readiness of the model +50.0, work there already -3.1, moon phase +10.0
                               a tie with studio: the one with less to do, then the one that waited longer, is taken
         mini            22.5  readiness of the model +10.0, moon phase +12.5
                               35.0 behind studio: readiness of the model (10.0 against 50.0)
         ...                   and 4 more that scored less
         attic, cellar    out  is offline: the link was lost
         ...              out  30 more
4.500 s  its turn at studio, after 0.500 s in its queue
4.500 s  attempt 1: sent to studio
4.750 s  studio: attempt 1 failed: it said 503 (status)
4.750 s  its turn at mini, at once
4.750 s  attempt 2: sent to mini; its model set to llama3.2:3b-q4 (the model that serves it, as its server spells it)
5.250 s  the answer begins to reach the client (HTTP 200)
8.000 s  the answer of mini is whole: 12 tokens in, 50 out; by its own clock 0.125 s to read the prompt, 2.50 s to write

from its placement at mini: predicted 4.25 s, took 3.25 s
"""


def shown(part: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined] # it is the StringIO
    return "\n".join(line.rstrip() for line in text.splitlines())


def story(*events: Event, **fields: Any) -> str:
    request: Any = REQUEST | fields
    return shown(story_view.story(StoryDocument(request, events)))


def test_a_story_reads_like_an_explanation() -> None:
    assert story(*EVENTS) + "\n" == TEXT


def test_a_request_that_another_model_served_says_so_wherever_it_is_shown() -> None:
    first, second = {**PLACED, "node": None, "candidates": [], "model": "qwen3:8b"}, {**PLACED, "model": "llama3.2:3b"}
    served = {"model": "gpt-4o", "served_model": "llama3.2:3b"}
    text = story(first, second, **served)  # type: ignore[arg-type] # they are events
    assert "req_1: gpt-4o, by llama3.2:3b for 10.0.0.7" in text
    assert "looked at for qwen3:8b: none can serve it now" in text
    assert "looked at for llama3.2:3b: studio is the best" in text
    entry: Any = REQUEST | served
    for width in (60, 160):
        assert "gpt-4o, by llama3.2:3b" in shown(story_view.requests([entry], width), width)


@pytest.mark.parametrize("width", [36, 50, 80])
def test_a_narrow_terminal_breaks_words_and_loses_no_figure(width: int) -> None:
    lines = shown(story_view.story(StoryDocument(REQUEST, EVENTS)), width)
    assert max(len(line) for line in lines.splitlines()) <= width
    for figure in (
        "57.5",
        "56.9",
        "22.5",
        "+50.0",
        "-2.5",
        "35.0",
        "4.500 s",
        "8.000 s",
        "0.125",
        "503",
        "20.0",
        "4.25 s",
    ):
        assert figure in lines


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        ({"kind": "held", "at": 0.0, "wait_s": 30.0}, "now: it waits for a machine that can serve it"),
        ({"kind": "queued", "at": 0.0, "node": "mini"}, "now: it waits for its turn at mini"),
        ({"kind": "opened", "at": 0.0, "node": "mini", "attempt": 1, "edits": []}, "now: mini has it"),
        ({"kind": "first-byte", "at": 0.0, "status": 200}, "now: the answer is coming"),
        (
            {"kind": "part", "at": 0.0, "id": "r/1", "part": 1, "node": "a", "status": 200, "attempts": 1},
            "now: parts of it are under way",
        ),
    ],
)
def test_a_request_under_way_says_what_it_waits_for(event: Event, sentence: str) -> None:
    text = story(event, outcome=None, prompt=None, completion=None)
    assert "under way at mini for 8.00 s" in text
    assert sentence in text


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            {"kind": "woken", "at": 0.0, "by": "expired", "waited_s": 3.0},
            "nothing has changed in 3.00 s: looks once more",
        ),
        ({"kind": "woken", "at": 0.0, "by": "full", "waited_s": 0.0}, "the router holds as many requests as it may"),
        ({"kind": "woken", "at": 0.0, "by": "closed", "waited_s": 1.0}, "the router is shutting down"),
        (
            {"kind": "moved", "at": 0.0, "queue": "n1/m", "candidate": PLACED["candidates"][2], "waited_s": 90.0},
            "after 1 min 30 s moved to mini, which serves it sooner",
        ),
        (
            {"kind": "refused", "at": 0.0, "node": "mini", "reason": {"kind": "x", "text": "is gone"}, "waited_s": 2.0},
            "not taken, after 2.00 s: mini is gone",
        ),
        (
            {"kind": "failed", "at": 0.0, "node": "mini", "attempt": 0, "reason": {"kind": "link", "text": "no link"}},
            "mini: could not be reached: no link (link)",
        ),
        ({"kind": "left-out", "at": 0.0, "events": 9}, "9 events are left out here"),
        (
            {
                "kind": "split",
                "at": 0.0,
                "parts": [{"id": "r/1", "node": "mini", "inputs": 30}, {"id": "r/2", "node": "nas", "inputs": 10}],
                "predicted_s": 1.5,
                "alone_s": 2.0,
            },
            "in 2 parts, of its inputs 30 to mini, 10 to nas; predicted: 1.50 s, in one piece 2.00 s",
        ),
        (
            {"kind": "part", "at": 0.0, "id": "r/2", "part": 2, "node": "nas", "status": 400, "attempts": 1},
            "r/2 answered by nas (HTTP 400)",
        ),
        ({"kind": "unsplit", "at": 0.0, "text": "no node can"}, "begun again in one piece: no node can"),
        (
            {"kind": "ended", "at": 0.0, "outcome": "rejected", "status": 404, "text": "model 'm' not found"},
            "over: refused: model 'm' not found",
        ),
        (
            {**PLACED, "candidates": [PLACED["candidates"][0]], "candidates_left_out": 0},
            "is the only one that can serve it",
        ),
        (
            {
                **PLACED,
                "node": None,
                "candidates": [],
                "eliminated": [],
                "candidates_left_out": 0,
                "eliminated_left_out": 0,
            },
            "0 machines were looked at: none has joined",
        ),
    ],
)
def test_each_event_is_a_sentence(event: Event, sentence: str) -> None:
    assert sentence in story(event)


def test_control_characters_of_strangers_reach_no_terminal() -> None:
    evil = "\x1b[31mred\x07[bold]"
    event: Event = {"kind": "queued", "at": 0.0, "node": evil}
    text = story(event, id=evil, model=evil, client=evil, node=evil, outcome=evil)
    line: Any = REQUEST | {"id": evil, "model": evil, "client": evil, "node": evil, "outcome": evil}
    for width in (80, 200):
        text += shown(story_view.requests([line], width), width)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"\x1b[31mred\x07[bold]" in text


def test_requests_are_a_table_where_there_is_room_and_two_lines_each_where_there_is_not() -> None:
    waiting: Any = REQUEST | {
        "id": "req_2",
        "outcome": None,
        "node": None,
        "first_token_s": None,
        "prompt": None,
        "completion": None,
    }
    wide = [" ".join(line.split()) for line in shown(story_view.requests([waiting, REQUEST], 120)).splitlines()]
    assert wide[1] == "when outcome machine model client waited first total in out id"
    assert wide[3] == f"{WHEN} under way - llama3.2:3b 10.0.0.7 4.50 s - 8.00 s - - req_2"
    assert wide[4] == f"{WHEN} served mini llama3.2:3b 10.0.0.7 4.50 s 5.25 s 8.00 s 12 50 req_1"
    narrow = shown(story_view.requests([waiting, REQUEST], 60), 60)
    for words in ("served by mini", "under way", "4.50 s", "5.25 s", "8.00 s", "12", "50", "req_1", "req_2"):
        assert words in narrow
    assert shown(story_view.requests([], 80)) == "no requests since the router started"


def test_where_seconds_decide_they_come_first_and_say_for_what_a_machine_lost() -> None:
    signals = {"thermal": 50.0}
    ranked: Placed = {
        **PLACED,
        "candidates": [
            {"node": "studio", "score": -2.0, "signals": signals, "predicted_s": 2.0, "seconds": {"decode": 2.0}},
            {
                "node": "twin",
                "score": -2.1,
                "signals": signals,
                "predicted_s": 2.3,
                "seconds": {"decode": 2.3, "doubt": -0.2},
            },
            {
                "node": "mini",
                "score": -9.0,
                "signals": {"thermal": 10.0},
                "predicted_s": 9.0,
                "seconds": {"load": 6.5, "decode": 2.5, "wait": 0.001},
            },
        ],
    }
    told = " ".join(story(ranked).split())
    assert "studio -2.00 predicted 2.00 s; answering 2.00 s the signals, which decide nothing here: readiness" in told
    assert "twin -2.10 predicted 2.30 s; answering 2.30 s, benefit of the doubt -0.20 s" in told
    assert "a tie with studio" in told
    assert "mini -9.00 predicted 9.00 s; loading 6.50 s, answering 2.50 s the signals" in told
    assert "7.00 s behind studio: loading (6.5 against 0.0)" in told


def test_a_picture_is_counted_in_its_own_unit() -> None:
    *_, served, end = EVENTS
    drawn: Any = {"unit": "kilopixel-step", "amount": 4195}
    event: Any = {**served, "prompt": 0, "completion": 0, "load_s": 6.5, "prefill_s": 0.0, "work": drawn}
    text = " ".join(story(event, end, prompt=None, completion=None, work=drawn).split())

    assert "; 4.2 megapixel-steps at 0.60 s per megapixel-step " in text
    assert "is whole: 4.2 megapixel-steps; by its own clock 6.50 s to load the model, 2.50 s to work" in text
    assert "tokens" not in text
    unsaid: Any = {**event, "work": {**drawn, "amount": 0}}
    assert "is whole: nobody says how much work it was" in story(unsaid, end, prompt=None, completion=None)
