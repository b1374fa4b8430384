"""The diary of one request: the flow tells it what happens, and it tells the Traces.

A request that is over before anybody could ask for it costs one message; of a slower one the Traces hear once more for
each stage that lasts.
"""

import asyncio
from types import TracebackType
from typing import Self, TypeVar

from herd.actors.holding_pen import HoldEnd
from herd.actors.ports import Clock, Sink
from herd.actors.sinks import NotedSink
from herd.actors.traces import Told
from herd.actors.tracing import Trail
from herd.actors.watch_ports import Meter
from herd.errors import HerdError
from herd.names import canonical
from herd.policy.calibration import Check, predicted
from herd.policy.values import Candidate, Decision, Lease, Reason, Ticket
from herd.protocols import stories
from herd.protocols.messages import Failure, Usage
from herd.protocols.stories import Event, ReasonGiven, RequestEntry
from herd.runtime import ActorHandle, ActorUnavailableError
from herd.types import Api, Outcome, RequestId, Unit

D = TypeVar("D", bound="Diary")

# Events of a story. An ordinary one has seven; only a request that is placed again and again has more, and then its
# beginning and its end say most.
MAX_EVENTS = 64
# Of one placement: beyond these nobody wants to know by how much a node lost.
MAX_CANDIDATES = 16
MAX_ELIMINATED = 32
# Of all placements of a story together: four of a fleet as large as that. Later ones name the winner alone.
ALL_CANDIDATES = 4 * MAX_CANDIDATES
ALL_ELIMINATED = 4 * MAX_ELIMINATED
MAX_TEXT = 300  # characters: what the link keeps of the text of a failure, and longer than any sentence of the router's
# A person who asks for a request that is under way has seen it wait. Before this nobody is told anything.
TOLD_AFTER_S = 0.25


class Diary:
    """Notes what happens to one request, in order. Use as a context manager: whatever ends the block ends the story.

    Neither the body nor an answer comes near it.

    Args:
        request_id: what the story is asked for by.
        model: as the client named it.
        ticket: names the client, and says when the request arrived.
        clock: the router's.
        traces: the Traces.
        api: what was asked.
        meter: told of its end, too.
        trail: and this, where the request is traced.
    """

    def __init__(
        self,
        request_id: RequestId,
        model: str,
        ticket: Ticket,
        clock: Clock,
        traces: ActorHandle,
        *,
        api: Api,
        meter: Meter,
        trail: Trail | None = None,
    ) -> None:
        self.ticket = ticket
        self._api = api
        self._monotonic, self._began = clock.monotonic, ticket.arrived
        self._traces, self._meter, self._trail = traces, meter, trail
        self._id = request_id
        self._model, self._client = _plain(model), _plain(ticket.client)
        self._arrived = round(clock.wall(), 3)
        self._events: list[Event] = []
        self._left_out = 0
        self._candidates = ALL_CANDIDATES  # that there still is room for
        self._eliminated = ALL_ELIMINATED
        self._waits_since: float | None = None
        self._waited = 0.0
        self._held = 0.0  # of these
        self._moves = 0
        self._first_byte: stories.FirstByte | None = None
        self._usage: Usage | None = None
        self._work: stories.WorkEntry | None = None  # where that is not counted in tokens
        self._placed: Candidate | None = None  # where it was placed last
        self._score: float | None = None  # there
        self._predicted: float | None = None  # seconds from then on
        self._took: float | None = None
        self._attempts = 0
        self._sent = False  # the latest attempt was, to the node
        self._expired = False  # the latest hold lasted until its end
        self._outcome = Outcome.FAILED  # unless it is told otherwise
        self._timer: asyncio.TimerHandle | None = None

    # --- what the flow tells ------------------------------------------------------------------------------------------

    def placed(self, decision: Decision, model: str = "") -> None:
        """The nodes were ranked; for which `model` is said where there are several that may serve the request."""
        if self._waits_since is not None:  # it was moved from queue to queue until the flow had enough of it
            self._waited_until(self._at())
        chosen = decision.chosen
        shown = decision.candidates[: max(1, min(MAX_CANDIDATES, self._candidates))]
        out = decision.eliminated[: min(MAX_ELIMINATED, self._eliminated)]
        self._candidates -= len(shown)
        self._eliminated -= len(out)
        candidates = [_candidate(candidate) for candidate in shown]
        if chosen is not None:
            self._placed_at(chosen, candidates[0])
        event: stories.Placed = {
            "kind": "placed",
            "at": self._at(),
            "node": None if chosen is None else chosen.name,
            "candidates": candidates,
            "eliminated": [{"node": one.name, "reason": _reason(one.reason)} for one in out],
            "candidates_left_out": len(decision.candidates) - len(shown),
            "eliminated_left_out": len(decision.eliminated) - len(out),
        }
        if model:
            event["model"] = _plain(model)
        self._note(event)

    def held(self, wait: float) -> None:
        """It waits for a node, at most so many seconds."""
        event: stories.Held = {"kind": "held", "at": self._waits(), "wait_s": _micro(wait)}
        self._note(event)

    def woken(self, end: HoldEnd) -> None:
        """It waits for a node no longer."""
        self._expired = end is HoldEnd.EXPIRED
        at = self._at()
        waited = self._waited_until(at)
        self._held += waited
        event: stories.Woken = {"kind": "woken", "at": at, "by": end.value, "waited_s": waited}
        self._note(event)

    def queued(self) -> None:
        """It asks for a lease where it was placed."""
        self._expired = False
        if self._placed is not None:
            event: stories.Queued = {"kind": "queued", "at": self._waits(), "node": self._placed.name}
            self._note(event)

    def moved(self, placed: Candidate, queue: str) -> None:
        """The queue that it waited in has sent it to another one: it is placed there from now on."""
        at, candidate = self._at(), _candidate(placed)
        self._placed_at(placed, candidate)
        self._moves += 1
        event: stories.MovedOn = {
            "kind": "moved",
            "at": at,
            "queue": queue.removeprefix("queue:"),
            "candidate": candidate,
            "waited_s": self._waited_until(at),
        }
        self._note(event)
        self._waits()

    def refused(self, node: str, reason: Reason) -> None:
        """The queue has no lease for it."""
        at = self._at()
        waited = self._waited_until(at)
        event: stories.TurnedAway = {
            "kind": "refused",
            "at": at,
            "node": node,
            "reason": _reason(reason),
            "waited_s": waited,
        }
        self._note(event)

    def granted(self, node: str, lease: Lease) -> None:
        """It has a lease."""
        at = self._at()
        self._waited_until(at)
        event: stories.Granted = {"kind": "granted", "at": at, "node": node, "waited_s": _micro(lease.waited)}
        self._note(event)

    def opened(self, node: Candidate, attempt: int) -> None:
        """It is sent to the node."""
        self._attempts, self._sent, self._placed = attempt, True, node
        event: stories.AttemptOpened = {
            "kind": "opened",
            "at": self._at(),
            "node": node.name,
            "attempt": attempt,
            "edits": [{"field": edit.field, "value": _value(edit.value)} for edit in node.edits],
        }
        self._note(event)

    def failed(self, node: str, failure: Failure) -> None:
        """A node failed before the first byte, or could not be reached."""
        attempt, self._sent = self._attempts if self._sent else 0, False
        event: stories.AttemptFailed = {
            "kind": "failed",
            "at": self._at(),
            "node": node,
            "attempt": attempt,
            "reason": {"kind": _plain(failure.kind), "text": _plain(failure.text)},
        }
        self._note(event)

    def served(self, node: str, usage: Usage, outcome: Outcome, check: Check | None = None) -> None:
        """The client has the whole answer; `check`: which had been predicted."""
        self._usage, self._outcome = usage, outcome
        unit = self._api.unit
        self._work = None if unit is Unit.TOKEN else {"unit": unit.value, "amount": usage.completion}
        if check is not None:
            self._took = _micro(check.took)
        event: stories.Served = {
            "kind": "served",
            "at": self._at(),
            "node": node,
            "prompt": usage.prompt,
            "completion": 0 if self._work else usage.completion,
            "load_s": usage.load_s,
            "prefill_s": usage.prefill_s,
            "decode_s": usage.decode_s,
            "complete": usage.complete,
            "failed": usage.failed,
            "predicted_s": None if check is None else self._predicted,
            "took_s": self._took,
        }
        if self._work is not None:
            event["work"] = self._work
        self._note(event)

    def watching(self, sink: Sink) -> Sink:
        """The client's sink; that an answer begins is noted."""
        return NotedSink(sink, self.answers)

    def answers(self, status: int) -> None:
        """An answer begins to go to the client."""
        self._first_byte = {"kind": "first-byte", "at": self._at(), "status": status}
        self._note(self._first_byte)

    # --- its end ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The request is over: tell it, whatever the end."""
        at = self._at()
        if self._waits_since is not None:
            waited = self._waited_until(at)
            self._held += waited if self._events[-1]["kind"] == "held" else 0.0
        outcome, status, text = (self._outcome, None, "") if error is None else self._broken(error)
        if self._first_byte is not None:
            status = self._first_byte["status"]
        event: stories.Ended = {
            "kind": "ended",
            "at": at,
            "outcome": outcome.value,
            "status": status,
            "text": _plain(text),
        }
        self._note(event)
        if self._timer is not None:
            self._timer.cancel()
        line = self._line(at, outcome, status)
        self._tell_end(self._told(line))

    def _tell_end(self, told: Told) -> None:
        self._traces.ended.tell(told)
        self._meter.request_ended(told.request, self._api, held_s=self._held, moves=self._moves)
        if self._trail is not None:
            self._trail.ended(told)

    def _broken(self, error: BaseException) -> tuple[Outcome, int | None, str]:
        """The outcome, the status that the client gets, and the sentence."""
        if not isinstance(error, Exception):  # a CancelledError
            return Outcome.CANCELLED, None, "the client hung up, or the router was stopped"
        if isinstance(error, ConnectionError):
            return Outcome.CANCELLED, None, "the client hung up"
        if isinstance(error, ActorUnavailableError):
            return Outcome.FAILED, 503, "a part of the router crashed"
        if not isinstance(error, HerdError):
            return Outcome.FAILED, 500, "the router failed on this request"
        if self._first_byte is not None or error.status in {500, 502, 504}:
            outcome = Outcome.FAILED
        else:
            outcome = Outcome.EXPIRED if self._expired and error.status == 503 else Outcome.REJECTED
        return outcome, error.status, str(error)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _at(self) -> float:
        """Seconds since the arrival."""
        return int((self._monotonic() - self._began) * 1e6 + 0.5) / 1e6  # `_micro`, which would be a call more

    def _placed_at(self, placed: Candidate, shown: stories.CandidateEntry) -> None:
        self._placed, self._score, self._predicted = placed, shown["score"], shown["predicted_s"]

    def _waits(self) -> float:
        self._waits_since = self._at()
        return self._waits_since

    def _waited_until(self, at: float) -> float:
        """It waits no longer; how long it did, this time."""
        waited = _micro(at - (at if self._waits_since is None else self._waits_since))
        self._waits_since = None
        self._waited += waited
        return waited

    def _note(self, event: Event) -> None:
        events = self._events
        if len(events) == MAX_EVENTS - 1:  # the last one is that which says how many are left out
            del events[MAX_EVENTS // 2]
            self._left_out += 1
        events.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TOLD_AFTER_S, self._tell)

    def _tell(self) -> None:
        """It has been under way for a while since something happened; what happens next begins another while."""
        self._timer = None
        status = None if self._first_byte is None else self._first_byte["status"]
        self._traces.progressed.tell(self._told(self._line(0.0, None, status)))

    def _line(self, total: float, outcome: Outcome | None, status: int | None) -> RequestEntry:
        first, placed = self._first_byte, self._placed
        usage = self._usage if self._work is None else None
        line: RequestEntry = {
            "id": self._id,
            "model": self._model,
            "client": self._client,
            "arrived": self._arrived,
            "node": None if placed is None else placed.name,
            "outcome": None if outcome is None else outcome.value,
            "status": status,
            "waited_s": _micro(self._waited),
            "first_token_s": None if first is None or first["status"] >= 400 else first["at"],
            "total_s": total,
            "attempts": self._attempts,
            "score": self._score,
            "prompt": None if usage is None else usage.prompt,
            "completion": None if usage is None else usage.completion,
            "edited": () if placed is None else tuple([edit.field for edit in placed.edits]),
            "predicted_s": self._predicted,
            "took_s": self._took,
            "served_model": self._served_model(),
        }
        return line if self._work is None else {**line, "work": self._work}

    def _served_model(self) -> str | None:
        if self._placed is None or canonical(self._placed.model) == canonical(self._model):
            return None
        return _plain(self._placed.model)

    def _told(self, request: RequestEntry) -> Told:
        events = tuple(self._events)
        if self._left_out:
            half = MAX_EVENTS // 2
            gap: stories.LeftOut = {"kind": "left-out", "at": events[half - 1]["at"], "events": self._left_out}
            events = (*events[:half], gap, *events[half:])
        return Told(self.ticket.id, self.ticket.arrived, request, events)


def _candidate(candidate: Candidate) -> stories.CandidateEntry:
    signals = {signal.name: signal.points for signal in candidate.signals}
    seconds = predicted(candidate)
    entry: stories.CandidateEntry = {
        "node": candidate.name,
        "score": candidate.score,
        "signals": signals,
        "predicted_s": None if seconds is None else _micro(seconds),
    }
    if candidate.parts:
        entry["seconds"] = candidate.seconds
    return entry


def _micro(seconds: float) -> float:
    """To the microsecond, four times as fast as `round`; nothing here is negative."""
    return int(seconds * 1e6 + 0.5) / 1e6


def _reason(reason: Reason) -> ReasonGiven:
    return {"kind": _plain(reason.kind), "text": _plain(reason.text)}


def _value(value: str | int) -> str | int:
    return _plain(value) if isinstance(value, str) else value


def _plain(text: str) -> str:
    """A stranger's text as JSON can carry it, and not endless."""
    text = text[:MAX_TEXT]
    return text if text.isascii() else text.encode(errors="replace").decode()
