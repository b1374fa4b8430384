"""Circuit breakers: whoever failed several times in a row is left alone for a while, then tried with one request.

Each model of a node has one, for what its server does, and each node one, for what its link does.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from herd.policy.values import BreakerState, Circuit, ModelView, NodeView, Reason
from herd.types import Seconds

OPENS_AFTER = 3  # failures in a row: one may be an accident, and two of one request its own fault
FIRST_PAUSE_S = Seconds(5.0)  # a model server that was only restarted is back by then
LONGEST_PAUSE_S = Seconds(30.0)  # as long as requests are held: whoever waits sees one trial at least

BREAKER = "breaker"  # kind of the reason of a node that is left alone

# What says of a model server that it cannot serve now, however fast it said so.
BAD_STATUSES = (502, 503, 504)


class Lesson(StrEnum):
    """What the end of an attempt says of the node."""

    WORKED = "worked"  # the whole answer came
    ANSWERED = "answered"  # in order, but that does not show that the model works: a 400, a 404, an answer that begins
    DOUBTFUL = "doubtful"  # a 500: the request's fault, until another node answers it with less
    FAILED = "failed"  # the model server cannot serve
    CUT = "cut"  # the link did not carry it


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An attempt at a node has ended."""

    lesson: Lesson
    began: Seconds  # monotonic


def lesson_of(kind: str, status: int = 0) -> Lesson:
    """What a failed attempt says.

    Args:
        kind: of its failure (`protocols.messages.Failure`).
        status: of the model server's answer where the kind is "status".
    """
    if kind == "status":
        if status in BAD_STATUSES:
            return Lesson.FAILED
        return Lesson.DOUBTFUL if status >= 500 else Lesson.ANSWERED
    if kind == "link":
        return Lesson.CUT
    if kind == "no-backend":  # the next report says which ones there are
        return Lesson.ANSWERED
    # An agent that failed may have failed because of the request; so may whatever a newer agent has a word for.
    return Lesson.FAILED if kind in {"connect", "reset", "timeout", "incomplete"} else Lesson.DOUBTFUL


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker. Its owner says when a pause is over."""

    circuit: Circuit = Circuit.CLOSED
    failures: int = 0  # in a row
    pause: Seconds = Seconds(0.0)  # the latest one since a request was served
    since: Seconds = Seconds(-math.inf)  # monotonic; what began before says nothing of now
    opened: Seconds = Seconds(0.0)  # wall clock, for people

    def worked(self, began: Seconds) -> "Breaker":
        """An attempt that began then served its request."""
        return self if self._passed_by(began) else Breaker(since=self.since)

    def answered(self, began: Seconds) -> "Breaker":
        """An attempt was answered in order: enough for a trial, too little to forget what failed before.

        Trials last as long as it takes to begin an answer; who comes behind one need not wait for its end. But until a
        request was served, one more failure opens the breaker again, for longer.
        """
        if self.circuit is not Circuit.HALF_OPEN or self._passed_by(began):
            return self
        return replace(self, circuit=Circuit.CLOSED, failures=OPENS_AFTER - 1)

    def doubted(self, began: Seconds, now: Seconds, wall: Seconds) -> "Breaker":
        """An attempt failed, perhaps because of its request; but a trial has to show that all is well."""
        return self.failed(began, now, wall) if self.circuit is Circuit.HALF_OPEN else self

    def failed(self, began: Seconds, now: Seconds, wall: Seconds) -> "Breaker":
        """An attempt failed.

        Args:
            began: when it began.
            now: when it ended.
            wall: the same on the wall clock.
        """
        if self._passed_by(began):
            return self
        failures = self.failures + 1
        if self.circuit is Circuit.CLOSED and failures < OPENS_AFTER:
            return replace(self, failures=failures)
        pause = Seconds(min(2 * self.pause, LONGEST_PAUSE_S)) if self.pause else FIRST_PAUSE_S
        return Breaker(Circuit.OPEN, failures, pause, now, wall)

    def pause_over(self, since: Seconds) -> "Breaker":
        """The pause that began then is over: one request may try. Nothing if another one has begun since."""
        return self._half_open() if self.since == since else self

    def returned(self) -> "Breaker":
        """The model server was away and is back: tried at once, unless a trial has failed already."""
        return self._half_open() if self.pause == FIRST_PAUSE_S else self

    def _half_open(self) -> "Breaker":
        return replace(self, circuit=Circuit.HALF_OPEN) if self.circuit is Circuit.OPEN else self

    def _passed_by(self, began: Seconds) -> bool:
        """An attempt that began before the breaker opened, or slipped through in the moment in which it did."""
        return began <= self.since or self.circuit is Circuit.OPEN

    @property
    def state(self) -> BreakerState:
        """How it stands for routing; a closed one has no failures there, or each would be a change of the fleet."""
        if self.circuit is Circuit.CLOSED:
            return BreakerState()
        return BreakerState(self.circuit, self.failures, self.opened, Seconds(self.opened + self.pause))


def link_heeds(breaker: Breaker, end: AttemptEnd, now: Seconds, wall: Seconds) -> Breaker:
    """The breaker of a node's link after the end of an attempt: whatever came over it shows that it carries."""
    return breaker.failed(end.began, now, wall) if end.lesson is Lesson.CUT else breaker.worked(end.began)


def model_heeds(breaker: Breaker, end: AttemptEnd, now: Seconds, wall: Seconds) -> Breaker:
    """The breaker of a node's model after the end of an attempt at it."""
    if end.lesson is Lesson.FAILED:
        return breaker.failed(end.began, now, wall)
    if end.lesson is Lesson.DOUBTFUL:
        return breaker.doubted(end.began, now, wall)
    if end.lesson is Lesson.WORKED:
        return breaker.worked(end.began)
    return breaker.answered(end.began) if end.lesson is Lesson.ANSWERED else breaker


def openness(view: NodeView, model: ModelView) -> int:
    """How far a node's breakers let requests for a model pass: 0 not at all, 1 one as a trial, 2 freely."""
    return min(_PASSES[view.breaker.circuit], _PASSES[model.breaker.circuit])


_PASSES = {Circuit.OPEN: 0, Circuit.HALF_OPEN: 1, Circuit.CLOSED: 2}


def breaker_reason(view: NodeView, model: ModelView, outstanding: int) -> Reason | None:
    """Why a breaker keeps a request for a model from a node, or None when it does not.

    Args:
        view: the node.
        model: one of its models.
        outstanding: requests under way that were placed there as trials.
    """
    for state, failed in (
        (view.breaker, "could not be reached {} times in a row"),
        (model.breaker, f"failed {{}} times in a row with {model.name}"),
    ):
        what = failed.format(state.failures)
        if state.circuit is Circuit.OPEN:
            pause = (state.until or 0.0) - (state.since or 0.0)
            return Reason(BREAKER, f"{what}; it is tried again after {pause:.0f} s", state.since, state.until)
        if state.circuit is Circuit.HALF_OPEN and outstanding:
            return Reason(BREAKER, f"{what}; a request is trying it now", state.since)
    return None
