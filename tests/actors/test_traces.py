"""The Traces: the latest stories, bounded, and the requests that are under way."""

import asyncio
from typing import Any

from herd.actors import traces
from herd.actors.traces import Told, Traces
from herd.protocols.stories import KEPT, Event, RequestEntry
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.store.records import KnownTrace
from herd.types import Seconds, TicketId

ENDED: Event = {"kind": "ended", "at": 1.0, "outcome": "served", "status": 200, "text": ""}
QUEUED: Event = {"kind": "queued", "at": 1.0, "node": "studio"}
BEGUN: Event = {"kind": "first-byte", "at": 1.0, "status": 200}


def told(number: int, request_id: str = "", event: Event = ENDED) -> Told:
    """The request of ticket `number`, that arrived when the clock began; its latest event."""
    request: RequestEntry = {
        "id": request_id or f"r{number}",
        "model": "m",
        "client": "10.0.0.7",
        "arrived": float(number),
        "node": "studio",
        "outcome": "served" if event is ENDED else None,
        "status": 200,
        "waited_s": 0.5,
        "first_token_s": None,
        "total_s": 1.0,
        "attempts": 1,
        "score": 50.0,
        "prompt": None,
        "completion": None,
        "edited": (),
        "predicted_s": None,
        "took_s": None,
        "served_model": None,
    }
    return Told(TicketId(f"t{number}"), Seconds(0.0), request, (event,))


def arrivals(found: tuple[RequestEntry, ...]) -> list[float]:
    return [entry["arrived"] for entry in found]


@virtual_time
async def test_those_under_way_come_first_then_those_that_ended_the_latest_first() -> None:
    kept = Traces(LoopClock())
    for number in (1, 2, 3, 4):
        kept.progressed(told(number, event=QUEUED))
    kept.ended(told(2))
    kept.ended(told(1))
    assert arrivals(kept.recent(10)) == [4, 3, 1, 2]
    assert arrivals(kept.recent(3)) == [4, 3, 1]
    assert kept.under_way() == 2


@virtual_time
async def test_so_many_are_kept_and_no_more() -> None:
    kept = Traces(LoopClock())
    for number in range(KEPT + 5):
        kept.ended(told(number))
    assert len(kept.recent(10 * KEPT)) == KEPT
    assert await kept.story("r4") is None
    assert await kept.story("r5") is not None
    assert len(kept._latest) == KEPT


@virtual_time
async def test_of_requests_with_one_id_each_has_its_line_and_the_latest_its_story() -> None:
    kept = Traces(LoopClock())
    for number in range(KEPT):
        kept.ended(told(number, "same" if number in {0, 7} else ""))
    found = await kept.story("same")
    assert found is not None
    assert found.request["arrived"] == 7
    assert [entry["id"] for entry in kept.recent(KEPT)].count("same") == 2
    kept.ended(told(KEPT))  # the older one of the two has to go
    found = await kept.story("same")
    assert found is not None
    assert found.request["arrived"] == 7
    kept.progressed(told(KEPT + 1, "same", BEGUN))
    found = await kept.story("same")
    assert found is not None
    assert found.request["outcome"] is None


@virtual_time
async def test_a_request_under_way_says_for_how_long_and_for_how_long_it_has_waited_so_far() -> None:
    kept = Traces(LoopClock())
    kept.progressed(told(1, event=QUEUED))
    kept.progressed(told(2, event=BEGUN))
    await asyncio.sleep(10)
    found = {entry["id"]: (entry["total_s"], entry["waited_s"]) for entry in kept.recent(2)}
    assert found == {"r1": (10.0, 9.5), "r2": (10.0, 0.5)}


@virtual_time
async def test_of_those_under_way_only_so_many_are_known() -> None:
    kept = Traces(LoopClock())
    for number in range(traces.MAX_UNDER_WAY + 3):
        kept.progressed(told(number, event=QUEUED))
    assert kept.under_way() == traces.MAX_UNDER_WAY
    kept.ended(told(0))  # one that was forgotten
    assert await kept.story("r0") is not None
    assert await kept.story("r1") is None


class Rows:
    """In place of the Store: rows, the latest last."""

    def __init__(self, rows: list[KnownTrace]) -> None:
        self._rows = rows

    def record(self, row: KnownTrace) -> None:
        self._rows.append(row)

    def traces(self, limit: int) -> tuple[KnownTrace, ...]:
        return tuple(self._rows[-limit:])

    def trace(self, request_id: str) -> KnownTrace | None:
        return next((row for row in reversed(self._rows) if row.id == request_id), None)


@virtual_time
async def test_a_router_that_starts_again_knows_the_latest_and_finds_older_ones() -> None:
    rows: list[KnownTrace] = []
    store = remote(Rows).remote(rows)
    first: Any = remote(Traces).remote(LoopClock(), store)
    for number in range(KEPT + 5):
        first.ended.tell(told(number, "same" if number in {1, KEPT} else ""))
    listed = await first.recent.remote(KEPT)
    await stop(first)
    assert len(rows) == KEPT + 5

    second: Any = remote(Traces).remote(LoopClock(), store)
    assert await second.recent.remote(KEPT) == listed
    for request_id, arrived in (("r0", 0.0), ("same", float(KEPT)), ("r9", 9.0)):
        found = await second.story.remote(request_id)
        assert found.request["arrived"] == arrived
    assert await second.story.remote("never") is None
    second.ended.tell(told(KEPT + 9))
    assert arrivals(await second.recent.remote(2)) == [KEPT + 9, KEPT + 4]
    for actor in (second, store):
        await stop(actor)
