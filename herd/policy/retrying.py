"""What a failed attempt means for the next one."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from herd.types import Seconds

MAX_ATTEMPTS = 3  # a request that broke three nodes is not sent to a fourth
# Placements of one request between two holds, retries and moves included. Each needs a change of the fleet in between;
# more than this mean that two actors disagree for good, and an error is better than a spin.
MAX_PLACEMENTS = 32
# The server itself says that it cannot serve now, or no longer has the model: another node may. A 500 may be the
# request's fault; that shows when the others say it too.
RETRIED_STATUSES = (404, 500, 502, 503, 504)


class Blame(StrEnum):
    """Why a node is left out of a request's next placement."""

    AWAY = "away"  # it could not be reached: not again before the fleet has changed, or some time has passed
    BROKE = "broke"  # it broke on this request, which may be the request's fault: again only when nobody else can


def blame(failure_kind: str) -> Blame:
    """Where the fault of an attempt lies, by the kind of its failure (`protocols.messages.Failure`)."""
    return Blame.AWAY if failure_kind in {"connect", "link", "no-backend"} else Blame.BROKE


# Retries cost a fleet in trouble what it has least of. Ten a minute help a quiet house over a machine that goes away;
# a fifth of the traffic is what a fleet that is not overloaded has to spare.
FREE_RETRIES = 10
FREE_FOR_S = 60.0  # seconds after which a free retry may be used again
REQUESTS_PER_RETRY = 5
# What an hour of calm saved must not pay for a storm: the traffic of about the last minute counts.
LAPSE_S = 60.0


def costs(failure_kind: str, status: int = 0) -> bool:
    """Whether it costs something to send a request again after an attempt that failed so.

    It does when a model server may have worked on it, or said that it has too much to do.

    Args:
        failure_kind: of the failure (`protocols.messages.Failure`).
        status: of the model server's answer, if there was one.
    """
    return failure_kind not in {"connect", "no-backend"} and status != 404


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries the fleet can afford: two buckets of tokens, one token each. All times are monotonic.

    The first has ten tokens, and each is back a minute after it was taken: so there are never more than ten a minute
    from it. In the second five requests make a token; what lies there lapses with a time constant of a minute, so that
    it holds a fifth of about the last minute's traffic. The second is used first.
    """

    taken: tuple[Seconds, ...] = ()  # when, the oldest first; at most FREE_RETRIES
    saved: float = 0.0  # requests that have paid for no retry yet, at `at`
    at: Seconds = Seconds(0.0)

    def placed(self, now: Seconds, *, retry: bool, first: bool) -> "RetryBudget | None":
        """The budget after a placement, or None when that is a retry for which nothing is left.

        Args:
            now: the time.
            retry: an attempt that may have cost a model server work has failed.
            first: it is the request's first.
        """
        if retry:
            return self.retried(now)
        return self.requested(now) if first else self

    def requested(self, now: Seconds) -> "RetryBudget":
        """A request was placed for the first time."""
        return replace(self, saved=self._left(now) + 1.0, at=now)

    def retried(self, now: Seconds) -> "RetryBudget | None":
        """The budget after one more retry, or None when there is nothing left for it."""
        left = self._left(now)
        if left >= REQUESTS_PER_RETRY:
            return replace(self, saved=left - REQUESTS_PER_RETRY, at=now)
        taken = tuple(time for time in self.taken if now - time < FREE_FOR_S)
        return replace(self, taken=(*taken, now)) if len(taken) < FREE_RETRIES else None

    def _left(self, now: Seconds) -> float:
        return self.saved * math.exp((self.at - now) / LAPSE_S)
