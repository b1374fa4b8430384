"""The diary of one request: what it keeps, in which order, and when it tells anybody."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from herd.actors.holding_pen import HoldEnd
from herd.actors.metering import NoMeter
from herd.actors.story import ALL_CANDIDATES, MAX_CANDIDATES, MAX_ELIMINATED, MAX_EVENTS, MAX_TEXT, TOLD_AFTER_S, Diary
from herd.actors.traces import Told
from herd.actors.watch_ports import Meter
from herd.errors import LinkClosed, RequestError, StreamFailed
from herd.policy.calibration import Check
from herd.policy.values import ALWAYS_SHOWN, SIGNALS, Candidate, Decision, Edit, Eliminated, Lease, Reason, Ticket
from herd.protocols.framing import UnsendableError
from herd.protocols.messages import Failure, Usage
from herd.protocols.stories import RequestEntry, encode_events
from herd.runtime import ActorUnavailableError
from herd.runtime.testing import run_virtual, virtual_time
from herd.simulation.clock import LoopClock
from herd.simulation.http import RecordingSink
from herd.types import Api, BackendId, ModelName, NodeId, NodeName, Outcome, RequestId, Seconds, TicketId, Tokens


class Listener:
    """In place of the handle of the Traces: keeps what is told."""

    def __init__(self) -> None:
        self.so_far: list[Told] = []
        self.whole: list[Told] = []
        self.progressed = Hears(self.so_far)
        self.ended = Hears(self.whole)


class Hears:
    def __init__(self, heard: list[Told]) -> None:
        self._heard = heard

    def tell(self, told: Told) -> None:
        self._heard.append(told)


class Counts(NoMeter):
    """In place of what measures."""

    def __init__(self) -> None:
        self.ended: list[RequestEntry] = []
        self.measured: tuple[Api, float, int] | None = None  # of the latest

    def request_ended(self, request: RequestEntry, api: Api, *, held_s: float, moves: int) -> None:
        self.ended.append(request)
        self.measured = api, held_s, moves


def candidate(name: str = "studio", *edits: Edit, wait: float = 0.0, work: float = 0.0, **signals: float) -> Candidate:
    points = tuple(signals.get(signal, 0.0) for signal in SIGNALS)
    who = (NodeId(name), NodeName(name), ModelName("m:latest"), BackendId("ollama"))
    return Candidate(*who, points, sum(points), edits, wait=wait, work=work)


def shown(**signals: float) -> dict[str, float]:
    """The signals of a candidate as a story has them."""
    return {name: signals.get(name, 0.0) for name in SIGNALS[:ALWAYS_SHOWN]}


def decision(candidates: int = 1, eliminated: int = 0) -> Decision:
    reason = Reason("no-model", "does not have m:latest on disk")
    return Decision(
        tuple(candidate(f"node-{number}", thermal=50.0 - number) for number in range(candidates)),
        tuple(Eliminated(NodeId(f"out-{number}"), NodeName(f"out-{number}"), reason) for number in range(eliminated)),
    )


def diary(
    listener: Listener,
    *,
    model: str = "m",
    client: str = "10.0.0.7",
    meter: Meter | None = None,
    api: Api = Api.CHAT,
) -> Diary:
    clock: Any = LoopClock()
    ticket = Ticket(TicketId("t1"), client, clock.monotonic())
    return Diary(RequestId("r1"), model, ticket, clock, listener, api=api, meter=meter or NoMeter())  # type: ignore[arg-type]


def kinds(told: Told) -> list[str]:
    return [event["kind"] for event in told.events]


@virtual_time
async def test_what_happens_is_kept_in_order_with_its_time() -> None:
    listener, winner = Listener(), candidate("studio", Edit("model", "m:q4"), thermal=50.0, queue_depth=-10.0)
    with diary(listener) as story:
        story.placed(Decision((winner, candidate("mini", thermal=10.0)), decision(0, 1).eliminated))
        story.queued()
        await asyncio.sleep(2)
        story.granted("studio", Lease(TicketId("t1"), Seconds(2.0)))
        story.opened(winner, 1)
        await asyncio.sleep(1)
        await story.watching(RecordingSink()).start(200, ())
        await asyncio.sleep(3)
        story.served("studio", Usage(Tokens(7), Tokens(30), decode_s=Seconds(2.5), complete=True), Outcome.SERVED)
    [told] = listener.whole
    assert [(event["kind"], event["at"]) for event in told.events] == [
        ("placed", 0.0),
        ("queued", 0.0),
        ("granted", 2.0),
        ("opened", 2.0),
        ("first-byte", 3.0),
        ("served", 6.0),
        ("ended", 6.0),
    ]
    placed, opened = told.events[0], told.events[3]
    assert placed["kind"] == "placed"
    assert placed["candidates"] == [
        {"node": "studio", "score": 40.0, "signals": shown(thermal=50.0, queue_depth=-10.0), "predicted_s": None},
        {"node": "mini", "score": 10.0, "signals": shown(thermal=10.0), "predicted_s": None},
    ]
    reason = {"kind": "no-model", "text": "does not have m:latest on disk"}
    assert placed["eliminated"] == [{"node": "out-0", "reason": reason}]
    assert opened["kind"] == "opened"
    assert opened["edits"] == [{"field": "model", "value": "m:q4"}]
    assert told.request == {
        "id": "r1",
        "model": "m",
        "client": "10.0.0.7",
        "arrived": told.request["arrived"],
        "node": "studio",
        "outcome": "served",
        "status": 200,
        "waited_s": 2.0,
        "first_token_s": 3.0,
        "total_s": 6.0,
        "attempts": 1,
        "score": 40.0,
        "prompt": 7,
        "completion": 30,
        "edited": ("model",),
        "predicted_s": None,
        "took_s": None,
        "served_model": None,
    }


@virtual_time
async def test_what_is_not_counted_in_tokens_is_none_of_them() -> None:
    listener = Listener()
    with diary(listener, api=Api.IMAGES) as story:
        story.placed(decision())
        story.opened(candidate(), 1)
        story.served("studio", Usage(completion=Tokens(4195), decode_s=Seconds(2.5), complete=True), Outcome.SERVED)
    [told] = listener.whole
    work = {"unit": "kilopixel-step", "amount": 4195}
    served = told.events[-2]
    assert served["kind"] == "served"
    assert (served["work"], served["prompt"], served["completion"]) == (work, 0, 0)
    assert (told.request["work"], told.request["prompt"], told.request["completion"]) == (work, None, None)


@virtual_time
async def test_a_quick_request_costs_one_message_and_a_slow_one_a_message_for_each_stage_that_lasts() -> None:
    quick, slow = Listener(), Listener()
    with diary(quick) as story:
        story.placed(decision())
        await asyncio.sleep(TOLD_AFTER_S / 2)
    with diary(slow) as story:
        story.placed(decision())
        story.queued()
        await asyncio.sleep(60)
        story.granted("node-0", Lease(TicketId("t1"), Seconds(60.0)))
        story.opened(candidate("node-0"), 1)
        await asyncio.sleep(60)
    await asyncio.sleep(60)
    assert (len(quick.so_far), len(quick.whole)) == (0, 1)
    assert [kinds(told)[-1] for told in slow.so_far] == ["queued", "opened"]
    assert [told.request["outcome"] for told in (*slow.so_far, *slow.whole)] == [None, None, "failed"]


@virtual_time
async def test_every_wait_counts_wherever_it_was_and_also_one_that_never_ended() -> None:
    listener = Listener()
    with suppress(asyncio.CancelledError), diary(listener) as story:
        story.placed(decision(0, 1))
        story.held(30.0)
        await asyncio.sleep(1)
        story.woken(HoldEnd.UNLOCKED)
        story.placed(decision())
        story.queued()
        await asyncio.sleep(2)
        story.moved(candidate("node-1", thermal=50.0), "queue:node-1/m")
        await asyncio.sleep(4)
        story.refused("node-1", Reason("stopped", "is gone"))
        story.placed(decision())
        story.queued()
        await asyncio.sleep(8)
        raise asyncio.CancelledError
    [told] = listener.whole
    assert kinds(told) == [
        "placed",
        "held",
        "woken",
        "placed",
        "queued",
        "moved",
        "refused",
        "placed",
        "queued",
        "ended",
    ]
    moved = told.events[5]
    assert moved["kind"] == "moved"
    assert (moved["queue"], moved["candidate"]["node"], moved["candidate"]["score"]) == ("node-1/m", "node-1", 50.0)
    waits = [event.get("waited_s") for event in told.events if event.get("waited_s") is not None]
    assert (waits, told.request["waited_s"], told.request["outcome"]) == ([1.0, 2.0, 4.0], 15.0, "cancelled")


@virtual_time
async def test_a_request_that_is_placed_anew_out_of_a_queue_asks_at_the_next_one_and_is_not_moved_there() -> None:
    listener = Listener()
    with diary(listener) as story:
        for _ in range(2):
            story.placed(decision())
            story.queued()
            await asyncio.sleep(1)
    [told] = listener.whole
    assert kinds(told) == ["placed", "queued", "placed", "queued", "ended"]
    assert told.request["waited_s"] == 2.0


@pytest.mark.parametrize(
    ("error", "outcome", "status", "text"),
    [
        (asyncio.CancelledError(), "cancelled", None, "the client hung up, or the router was stopped"),
        (ConnectionResetError("of the client"), "cancelled", None, "the client hung up"),
        (RequestError("model 'm' not found", status=404), "rejected", 404, "model 'm' not found"),
        (RequestError("server busy", status=503), "rejected", 503, "server busy"),
        (RequestError("it failed on 3 attempts", status=502), "failed", 502, "it failed on 3 attempts"),
        (UnsendableError("too long a head"), "rejected", 431, "too long a head"),
        (LinkClosed("gone"), "failed", 502, "gone"),
        (ActorUnavailableError("the scorer"), "failed", 503, "a part of the router crashed"),
        (ValueError("a secret of the inside"), "failed", 500, "the router failed on this request"),
    ],
)
def test_whatever_ends_the_flow_ends_the_story(
    error: BaseException, outcome: str, status: int | None, text: str
) -> None:
    async def story() -> Listener:
        listener = Listener()
        with suppress(type(error)), diary(listener) as kept:
            kept.placed(decision())
            raise error
        return listener

    [told] = run_virtual(story()).whole
    assert told.events[-1] == {"kind": "ended", "at": 0.0, "outcome": outcome, "status": status, "text": text}


@virtual_time
async def test_an_answer_that_breaks_after_its_first_byte_failed_with_the_status_that_the_client_saw() -> None:
    listener = Listener()
    with suppress(StreamFailed), diary(listener) as story:
        await story.watching(RecordingSink()).start(200, ())
        raise StreamFailed("the link was lost")
    [told] = listener.whole
    assert (told.request["outcome"], told.request["status"]) == ("failed", 200)


@virtual_time
async def test_a_request_that_was_held_until_its_time_was_over_has_expired() -> None:
    listener = Listener()
    with suppress(RequestError), diary(listener) as story:
        story.placed(decision(0, 1))
        story.held(30.0)
        await asyncio.sleep(30)
        story.woken(HoldEnd.EXPIRED)
        story.placed(decision(0, 1))
        raise RequestError("no node can serve m now", status=503)
    assert listener.whole[0].request["outcome"] == "expired"


@virtual_time
async def test_a_node_that_was_not_reached_is_no_attempt() -> None:
    listener = Listener()
    with diary(listener) as story:
        story.placed(decision())
        story.failed("node-0", Failure("link", "the link is gone"))
        story.placed(decision())
        story.opened(candidate("node-0"), 1)
        story.failed("node-0", Failure("status", "the model server answered 503"))
        story.failed("node-0", Failure("link", "the link is gone"))
    attempts = [event["attempt"] for event in listener.whole[0].events if event["kind"] == "failed"]
    assert attempts == [0, 1, 0]


@virtual_time
async def test_of_a_story_without_end_its_beginning_and_its_end_are_kept() -> None:
    listener, rounds = Listener(), 1000
    with diary(listener) as story:
        for number in range(rounds):
            story.failed(f"node-{number}", Failure("link", "gone"))
    [told] = listener.whole
    gap = kinds(told).index("left-out")
    names = [event["node"] for event in told.events if event["kind"] == "failed"]
    assert len(told.events) == MAX_EVENTS
    assert told.events[gap]["events"] == rounds + 1 - (MAX_EVENTS - 1)  # type: ignore[typeddict-item]
    assert (gap, names[0], names[gap - 1], names[-1]) == (MAX_EVENTS // 2, "node-0", f"node-{gap - 1}", "node-999")


@virtual_time
async def test_of_a_large_fleet_the_best_and_the_first_are_kept_and_of_many_placements_the_winners() -> None:
    listener, placements = Listener(), 8
    with diary(listener) as story:
        for _ in range(placements):
            story.placed(decision(40, 50))
    placed = [event for event in listener.whole[0].events if event["kind"] == "placed"]
    shown = [(len(event["candidates"]), len(event["eliminated"])) for event in placed]
    assert shown == [(MAX_CANDIDATES, MAX_ELIMINATED)] * 4 + [(1, 0)] * 4
    assert sum(candidates for candidates, _ in shown) <= ALL_CANDIDATES + placements
    assert all(len(event["candidates"]) + event["candidates_left_out"] == 40 for event in placed)
    assert all(len(event["eliminated"]) + event["eliminated_left_out"] == 50 for event in placed)
    assert {event["candidates"][0]["node"] for event in placed} == {"node-0"}


@virtual_time
async def test_what_strangers_say_is_cut_and_can_be_written_as_json() -> None:
    listener = Listener()
    with diary(listener, model="m\udce9" * 1000, client="c" * 100_000) as story:
        story.failed("studio", Failure("\ud800reset" * 1000, "\ud800 broke" * 1000))
        story.refused("studio", Reason("\ud800pause" * 1000, "\ud800 is away" * 1000))
    [told] = listener.whole
    assert (len(told.request["client"]), len(told.request["model"])) == (MAX_TEXT, MAX_TEXT)
    assert len(encode_events(told.events)) < 5 * MAX_TEXT


@virtual_time
async def test_a_request_that_was_moved_is_that_of_the_node_to_which_it_went() -> None:
    """Failure 1: moved requests counted, and named in headers, for the queue they left."""
    listener = Listener()
    with diary(listener) as story:
        story.placed(decision())
        story.queued()
        there = candidate("node-1", Edit("model", "m:q4"), thermal=50.0)
        story.moved(there, "queue:node-1/m")
        await asyncio.sleep(TOLD_AFTER_S)
        story.granted("node-1", Lease(TicketId("t1"), Seconds(0.0)))
    shown_at_once = listener.so_far[0].request
    for line in (shown_at_once, listener.whole[0].request):
        assert (line["node"], line["score"], line["edited"]) == ("node-1", 50.0, ("model",))


@virtual_time
async def test_what_measures_is_told_how_long_it_was_held_and_how_often_it_was_moved() -> None:
    counts = Counts()
    with diary(Listener(), meter=counts) as story:
        story.held(30.0)
        await asyncio.sleep(2.0)
        story.woken(HoldEnd.UNLOCKED)
        story.placed(decision())
        story.queued()
        await asyncio.sleep(3.0)
        story.moved(candidate("node-1"), "queue:node-1/m")
        await asyncio.sleep(0.5)
        story.granted("node-1", Lease(TicketId("t1"), Seconds(0.5)))
    assert counts.measured == (Api.CHAT, 2.0, 1)
    assert counts.ended[0]["waited_s"] == 5.5


@pytest.mark.parametrize(("waits", "held_s"), [("held", 2.0), ("queued", 0.0)])
@virtual_time
async def test_a_client_that_hangs_up_while_it_waits_has_waited_there(waits: str, held_s: float) -> None:
    counts = Counts()
    with suppress(asyncio.CancelledError), diary(Listener(), meter=counts) as story:
        story.placed(decision())
        story.held(30.0) if waits == "held" else story.queued()
        await asyncio.sleep(2.0)
        raise asyncio.CancelledError
    assert counts.measured == (Api.CHAT, held_s, 0)
    assert counts.ended[0]["waited_s"] == 2.0


WHOLE = Usage(Tokens(7), Tokens(30), complete=True)


@virtual_time
async def test_what_was_predicted_is_what_the_latest_placement_or_move_said() -> None:
    listener, counts = Listener(), Counts()
    slow, quick = candidate("slow", wait=3.0, work=4.0), candidate("quick", work=2.5)
    with diary(listener, meter=counts) as story:
        story.placed(Decision((slow, candidate("unknown")), ()))
        story.moved(quick, "queue:quick/m")
        story.served("quick", WHOLE, Outcome.SERVED, Check(Seconds(2.5), Seconds(3.25)))
    [told] = listener.whole
    placed, moved, served, _ = told.events
    assert placed["kind"] == "placed"
    assert [one["predicted_s"] for one in placed["candidates"]] == [7.0, None]
    assert moved["kind"] == "moved"
    assert moved["candidate"]["predicted_s"] == 2.5
    assert served["kind"] == "served"
    assert (served["predicted_s"], served["took_s"]) == (2.5, 3.25)
    assert (told.request["predicted_s"], told.request["took_s"]) == (2.5, 3.25)
    assert counts.ended == [told.request]


@virtual_time
async def test_what_is_not_whole_says_what_was_predicted_and_not_what_it_took() -> None:
    listener, counts = Listener(), Counts()
    with suppress(LinkClosed), diary(listener, meter=counts) as story:
        story.placed(Decision((candidate(work=2.5),), ()))
        raise LinkClosed("gone")
    with diary(listener, meter=counts) as story:
        story.placed(Decision((candidate(work=2.5),), ()))
        story.served("studio", Usage(failed=True), Outcome.FAILED)
    for told in listener.whole:
        assert (told.request["predicted_s"], told.request["took_s"]) == (2.5, None)
    served = listener.whole[1].events[-2]
    assert served["kind"] == "served"
    assert (served["predicted_s"], served["took_s"]) == (None, None)
    assert [one["outcome"] for one in counts.ended] == ["failed", "failed"]


@pytest.mark.parametrize("error", [None, asyncio.CancelledError(), RequestError("no", status=404), ValueError("ours")])
@virtual_time
async def test_whatever_its_end_a_request_is_measured_once(error: BaseException | None) -> None:
    listener, counts = Listener(), Counts()
    with suppress(asyncio.CancelledError, RequestError, ValueError), diary(listener, meter=counts):
        if error is not None:
            raise error
    assert counts.ended == [told.request for told in listener.whole]
    assert len(counts.ended) == 1
