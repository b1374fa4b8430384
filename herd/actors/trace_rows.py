"""From what became of a request to the row that is kept of it, and back. A row is small: there are many of them."""

from collections.abc import Iterable, Sequence

from herd.policy.values import ALWAYS_SHOWN, PARTS, PARTS_SHOWN, SIGNALS
from herd.protocols.stories import (
    CandidateEntry,
    Ended,
    Event,
    Placed,
    RequestEntry,
    ScoreRow,
    Scores,
    decode_scores,
    encode_scores,
)
from herd.store.records import KnownTrace
from herd.types import Seconds

# Nodes whose scores are kept, the best ones: whom it went to, and who was next.
MAX_SCORES = 4
# Characters of the names that clients make up. Longer ones are nobody's, and would fill the disk.
MAX_NAME = 80
# Nothing that is counted of a request, and no score, has more digits than SQLite and JSON have room for, but what an
# agent says may, and what is made out of that.
MAX_COUNT = 1 << 53


def row_of(request: RequestEntry, events: Iterable[Event]) -> KnownTrace:
    """The row of a request that has ended."""
    return KnownTrace(
        id=request["id"],
        arrived=Seconds(request["arrived"]),
        model=request["model"][:MAX_NAME],
        client=request["client"][:MAX_NAME],
        node=request["node"],
        outcome=request["outcome"] or "",
        status=request["status"],
        waited=request["waited_s"],
        first_token=request["first_token_s"],
        total=request["total_s"],
        attempts=request["attempts"],
        score=request["score"],
        prompt=_bounded(request["prompt"]),
        completion=_bounded(request["completion"]),
        edited=",".join(request["edited"]),
        scores=_scores(events),
        predicted=request["predicted_s"],
        took=request["took_s"],
        served_model=served[:MAX_NAME] if (served := request["served_model"]) is not None else None,
    )


def _bounded(count: int | None) -> int | None:
    return None if count is None else min(max(count, -MAX_COUNT), MAX_COUNT)


def _hundredths(points: float) -> int:
    return int(min(max(100.0 * points, -MAX_COUNT), MAX_COUNT))


def _scores(events: Iterable[Event]) -> str:
    """Those of its latest placement."""
    candidates: list[CandidateEntry] = []
    left_out = eliminated = 0
    for event in events:
        if event["kind"] == "placed":
            candidates, left_out = event["candidates"], event["candidates_left_out"]
            eliminated = len(event["eliminated"]) + event["eliminated_left_out"]
        elif event["kind"] == "moved":
            candidates, left_out, eliminated = [event["candidate"]], 0, 0
    rows: list[ScoreRow] = [
        (one["node"], _hundredths(one["score"]), [] if place else _listed(one["signals"], SIGNALS))
        for place, one in enumerate(candidates[:MAX_SCORES])
    ]
    seconds = _listed(candidates[0].get("seconds", {}), PARTS) if candidates else []
    return encode_scores(Scores(rows, left_out + max(0, len(candidates) - MAX_SCORES), eliminated, seconds))


def _listed(values: dict[str, float], names: Sequence[str]) -> list[int]:
    """Hundredths, in the order of the names, which may grow at their end alone: rows are read by them."""
    found = [_hundredths(values.get(name, 0.0)) for name in names]
    while found and not found[-1]:
        found.pop()
    return found


def _named(values: list[int], names: Sequence[str], always: int) -> dict[str, float]:
    """By name, the first ones whatever they are."""
    padded = (*values, *[0] * (always - len(values)))
    named = enumerate(zip(names, padded, strict=False))
    return {name: value / 100 for place, (name, value) in named if value or place < always}


def entry_of(row: KnownTrace) -> RequestEntry:
    """The request in a line."""
    return {
        "id": row.id,
        "model": row.model,
        "client": row.client,
        "arrived": row.arrived,
        "node": row.node,
        "outcome": row.outcome,
        "status": row.status,
        "waited_s": row.waited,
        "first_token_s": row.first_token,
        "total_s": row.total,
        "attempts": row.attempts,
        "score": row.score,
        "prompt": row.prompt,
        "completion": row.completion,
        "edited": tuple(row.edited.split(",")) if row.edited else (),
        "predicted_s": row.predicted,
        "took_s": row.took,
        "served_model": row.served_model,
    }


def events_of(row: KnownTrace) -> tuple[Event, ...]:
    """What is kept of its story: who could have served it, the first byte, and the end."""
    scores = decode_scores(row.scores)
    events: list[Event] = []
    if scores.rows or scores.eliminated:
        candidates: list[CandidateEntry] = [
            {
                "node": node,
                "score": score / 100,
                "signals": _named(points, SIGNALS, ALWAYS_SHOWN) if points else {},
                "predicted_s": None if place else row.predicted,
            }
            for place, (node, score, points) in enumerate(scores.rows)
        ]
        if candidates and scores.seconds:
            candidates[0]["seconds"] = _named(scores.seconds, PARTS, PARTS_SHOWN)
        placed: Placed = {
            "kind": "placed",
            "at": 0.0,
            "node": candidates[0]["node"] if candidates else None,
            "candidates": candidates,
            "eliminated": [],
            "candidates_left_out": scores.left_out,
            "eliminated_left_out": scores.eliminated,
        }
        events.append(placed)
    if row.first_token is not None and row.status is not None:
        events.append({"kind": "first-byte", "at": row.first_token, "status": row.status})
    ended: Ended = {"kind": "ended", "at": row.total, "outcome": row.outcome, "status": row.status, "text": ""}
    return (*events, ended)
