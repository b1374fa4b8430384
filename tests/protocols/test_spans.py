"""A story as spans: which there are, when they begin and end, whose children they are, and what they say."""

from typing import Any

import pytest

from herd.protocols.spans import FIRST_PART, Call, Span, SpanKind, Trace, attempt_context, told, untold
from herd.protocols.stories import Event, RequestEntry
from herd.protocols.trace_context import TraceContext
from herd.types import Api

RECEIVED, READ_S = 1.8e9, 0.5
CALL = Call(TraceContext(7, 1000), 99, "POST", Api.OLLAMA_CHAT, "r1", RECEIVED)
REQUEST: RequestEntry = {
    "id": "r1",
    "model": "fast",
    "client": "10.0.0.7",
    "arrived": RECEIVED,
    "node": "studio",
    "outcome": "served",
    "status": 200,
    "waited_s": 2.0,
    "first_token_s": 4.0,
    "total_s": 9.0,
    "attempts": 1,
    "score": 90.0,
    "prompt": 10,
    "completion": 20,
    "edited": ("model",),
    "predicted_s": None,
    "took_s": None,
    "served_model": "qwen3:8b",
}
REASON = {"kind": "status", "text": "the model server answered 503"}


def event(kind: str, at: float, **fields: Any) -> Event:
    made: Any = {"kind": kind, "at": at, **fields}
    return made  # type: ignore[no-any-return]


def placed(at: float, node: str | None = "studio") -> Event:
    shown = [{"node": node, "score": 90.0, "signals": {}, "predicted_s": None}] if node else []
    out = [{"node": "mini", "reason": {"kind": "offline", "text": "is offline"}}]
    return event(
        "placed", at, node=node, candidates=shown, eliminated=out, candidates_left_out=0, eliminated_left_out=3
    )


def ended(at: float, outcome: str = "served", status: int | None = 200, text: str = "") -> Event:
    return event("ended", at, outcome=outcome, status=status, text=text)


SERVED = event(
    "served",
    9.0,
    node="studio",
    prompt=10,
    completion=20,
    load_s=1.0,
    prefill_s=0.5,
    decode_s=5.0,
    complete=True,
    failed=False,
    predicted_s=None,
    took_s=None,
)


def trace(*events: Event, **changes: Any) -> Trace:
    request: Any = {**REQUEST, **changes}
    return told(CALL, request, events, READ_S, 123)


def stages(found: Trace) -> list[tuple[str, float, float]]:
    """Names and times, in the story's time."""
    arrived = RECEIVED + READ_S
    return [(span.name, round(span.start - arrived, 3), round(span.end - arrived, 3)) for span in found.spans]


def named(found: Trace, name: str) -> Span:
    [span] = [span for span in found.spans if span.name == name]
    return span


def test_an_ordinary_request() -> None:
    found = trace(
        placed(0.25),
        event("queued", 0.25, node="studio"),
        event("granted", 2.25, node="studio", waited_s=2.0),
        event("opened", 2.5, node="studio", attempt=1, edits=[]),
        event("first-byte", 4.0, status=200),
        SERVED,
        ended(9.0),
    )
    assert stages(found) == [
        ("POST /api/chat", -0.5, 9.0),
        ("read body", -0.5, 0.0),
        ("place", 0.0, 0.25),
        ("queue", 0.25, 2.25),
        ("chat fast", 2.25, 9.0),
        ("open", 2.25, 2.5),
        ("first byte", 2.5, 4.0),
        ("stream", 4.0, 9.0),
    ]
    root, attempt = found.spans[0], named(found, "chat fast")
    assert (root.kind, root.id, root.parent, root.failed) == (SpanKind.SERVER, 1000, 99, False)
    assert root.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/chat",
        "url.path": "/api/chat",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "fast",
        "gen_ai.response.model": "qwen3:8b",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "herd.request_id": "r1",
        "herd.client": "10.0.0.7",
        "herd.attempts": 1,
        "herd.waited_s": 2.0,
        "herd.outcome": "served",
        "herd.node": "studio",
        "herd.score": 90.0,
        "herd.edited": "model",
    }
    assert (attempt.kind, attempt.id) == (SpanKind.CLIENT, attempt_context(CALL.context, 1).span)
    assert attempt.attributes["gen_ai.usage.output_tokens"] == 20
    assert named(found, "read body").attributes == {"http.request.body.size": 123}
    assert named(found, "place").attributes == {
        "herd.candidates": 1,
        "herd.eliminated": 4,
        "herd.node": "studio",
        "herd.score": 90.0,
    }
    assert named(found, "stream").attributes == {"herd.load_s": 1.0, "herd.prefill_s": 0.5, "herd.decode_s": 5.0}
    below = {"open", "first byte", "stream"}
    assert {span.name for span in found.spans if span.parent == attempt.id} == below
    assert all(span.parent == root.id for span in found.spans[1:] if span.name not in below)
    assert len({span.id for span in found.spans}) == len(found.spans)
    assert all(0 < span.id < 2**64 for span in found.spans)


def test_a_request_that_waits_fails_moves_and_is_served_in_the_end() -> None:
    found = trace(
        placed(0.0, None),
        event("held", 0.0, wait_s=30.0),
        event("woken", 1.0, by="unlocked", waited_s=1.0),
        placed(1.0),
        event("queued", 1.0, node="studio"),
        event("moved", 2.0, queue="q", candidate={"node": "mini", "score": 1.0}, waited_s=1.0),
        event("granted", 3.0, node="mini", waited_s=1.0),
        event("opened", 3.0, node="mini", attempt=1, edits=[]),
        event("failed", 4.0, node="mini", attempt=1, reason=REASON),
        placed(4.0),
        event("queued", 4.0, node="studio"),
        event("refused", 4.5, node="studio", reason={"kind": "queue-full", "text": "is full"}, waited_s=0.5),
        placed(4.5),
        event("queued", 4.5, node="studio"),
        event("granted", 5.0, node="studio", waited_s=0.5),
        event("failed", 5.5, node="studio", attempt=0, reason={"kind": "link", "text": "the link is gone"}),
        placed(5.5),
        event("queued", 5.5, node="studio"),
        event("granted", 6.0, node="studio", waited_s=0.5),
        event("opened", 6.0, node="studio", attempt=2, edits=[]),
        event("first-byte", 7.0, status=200),
        SERVED,
        ended(9.0),
        attempts=2,
    )
    assert stages(found)[1:] == [
        ("read body", -0.5, 0.0),
        ("place", 0.0, 0.0),
        ("hold", 0.0, 1.0),
        ("place", 1.0, 1.0),
        ("queue", 1.0, 2.0),
        ("queue", 2.0, 3.0),
        ("chat fast", 3.0, 4.0),
        ("open", 3.0, 3.0),
        ("first byte", 3.0, 4.0),
        ("place", 4.0, 4.0),
        ("queue", 4.0, 4.5),
        ("place", 4.5, 4.5),
        ("queue", 4.5, 5.0),
        ("open", 5.0, 5.5),
        ("place", 5.5, 5.5),
        ("queue", 5.5, 6.0),
        ("chat fast", 6.0, 9.0),
        ("open", 6.0, 6.0),
        ("first byte", 6.0, 7.0),
        ("stream", 7.0, 9.0),
    ]
    waits = [span.attributes for span in found.spans if span.name in {"hold", "queue"}]
    assert [wait["herd.ended_by"] for wait in waits] == [
        "unlocked",
        "moved",
        "granted",
        "queue-full",
        "granted",
        "granted",
    ]
    assert [wait.get("herd.node") for wait in waits] == [None, "studio", "mini", "studio", "studio", "studio"]
    failed = [span for span in found.spans if span.failed]
    assert [(span.name, span.attributes["error.type"], span.why) for span in failed] == [
        ("chat fast", "status", REASON["text"]),
        ("open", "link", "the link is gone"),
    ]
    assert [span.id for span in found.spans if span.kind is SpanKind.CLIENT] == [1001, 1002]
    assert "gen_ai.usage.output_tokens" not in failed[0].attributes
    assert len({span.id for span in found.spans}) == len(found.spans)


@pytest.mark.parametrize(
    ("outcome", "status", "failed", "error"),
    [
        ("served", 200, False, None),
        ("served", 400, False, "400"),
        ("rejected", 404, False, "404"),
        ("rejected", 503, True, "503"),
        ("expired", 503, True, "503"),
        ("failed", 502, True, "502"),
        ("failed", 200, True, "failed"),
        ("cancelled", None, False, "cancelled"),
    ],
)
def test_how_it_ended_is_said_of_the_whole(outcome: str, status: int | None, failed: bool, error: str | None) -> None:
    root = trace(placed(0.0, None), ended(1.0, outcome, status, "why"), outcome=outcome, status=status).spans[0]
    assert (root.failed, root.attributes.get("error.type"), root.why) == (failed, error, "why" if failed else "")


def test_whatever_is_under_way_ends_with_the_request() -> None:
    held = trace(placed(0.0, None), event("held", 0.0, wait_s=30.0), ended(3.0, "cancelled", None), outcome="cancelled")
    assert stages(held)[-1] == ("hold", 0.0, 3.0)
    assert named(held, "hold").attributes["herd.ended_by"] == "cancelled"
    start = (
        placed(0.0),
        event("granted", 0.0, node="studio"),
        event("opened", 0.0, node="studio", attempt=1, edits=[]),
    )
    hung_up = trace(*start, event("first-byte", 1.0, status=200), ended(3.0, "cancelled", None), outcome="cancelled")
    assert stages(hung_up)[-1] == ("stream", 1.0, 3.0)
    assert not named(hung_up, "chat fast").failed
    broke = trace(*start, event("first-byte", 1.0, status=200), ended(3.0, "failed", 200, "it broke"), outcome="failed")
    assert (named(broke, "chat fast").failed, named(broke, "chat fast").why) == (True, "it broke")


def test_the_words_of_a_node_that_failed_are_an_answer_without_an_attempt() -> None:
    found = trace(
        placed(0.0),
        event("granted", 0.0, node="studio"),
        event("opened", 0.0, node="studio", attempt=1, edits=[]),
        event("failed", 1.0, node="studio", attempt=1, reason=REASON),
        event("first-byte", 2.0, status=503),
        ended(3.0, "failed", 503),
        outcome="failed",
        status=503,
    )
    assert stages(found)[-1] == ("answer", 2.0, 3.0)


def test_a_gap_and_an_event_that_is_not_known_end_no_story() -> None:
    found = trace(placed(0.0), event("left-out", 1.0, events=40), event("danced", 2.0), placed(3.0), ended(4.0))
    assert stages(found)[2:] == [("place", 0.0, 0.0), ("place", 2.0, 3.0)]


def test_each_part_of_a_batch_is_a_call_of_its_own_under_the_requests() -> None:
    def part(number: int, at: float, node: str, status: int = 200) -> Event:
        return event("part", at, id=f"r1/{number}", part=number, node=node, status=status, attempts=1)

    planned = event("split", 0.5, parts=[], predicted_s=1.0, alone_s=2.0)
    found = trace(planned, part(2, 2.0, "mini", 500), part(1, 3.0, "studio"), ended(3.5), served_model=None)
    assert stages(found) == [
        ("POST /api/chat", -0.5, 3.5),
        ("read body", -0.5, 0.0),
        ("chat fast", 0.5, 2.0),
        ("chat fast", 0.5, 3.0),
    ]
    mini, studio = found.spans[2:]
    assert [one.id for one in (studio, mini)] == [
        attempt_context(CALL.context, FIRST_PART + number).span for number in (1, 2)
    ]
    assert (studio.parent, studio.kind, studio.failed, mini.failed) == (1000, SpanKind.CLIENT, False, True)
    assert studio.attributes["herd.node"] == "studio"
    assert studio.attributes["herd.request_id"] == "r1/1"


def test_a_call_without_a_story() -> None:
    [root] = untold(CALL, RECEIVED + 1.0, 413, "the body is too long").spans
    assert (root.name, root.end, root.failed, root.why) == ("POST /api/chat", RECEIVED + 1.0, False, "")
    assert root.attributes["http.response.status_code"] == 413
    assert root.attributes["error.type"] == "413"
    [root] = untold(CALL, RECEIVED, 500, "the router failed on this request").spans
    assert (root.failed, root.why) == (True, "the router failed on this request")
    [root] = untold(CALL, RECEIVED, None, "the client hung up").spans
    assert (root.failed, root.attributes["error.type"]) == (False, "cancelled")
    assert "http.response.status_code" not in root.attributes
    [root] = untold(CALL, RECEIVED, 200, "").spans
    assert "error.type" not in root.attributes
