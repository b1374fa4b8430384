"""Whether a request for which no node qualifies waits for one, how long, and what wakes it."""

from collections.abc import Iterable
from dataclasses import dataclass

from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.values import Decision, NodeView
from herd.types import Seconds

# A node that could not be reached was away for a moment only if by now nothing else was heard of it: its agent looks at
# the server at once and every 2 s.
TRY_AGAIN_S = Seconds(3.0)
WORTH_HOLDING_S = 0.01  # less is what rounding leaves of a wait that is over


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may wait. All times are monotonic."""

    until: Seconds  # its own deadline
    grace_until: Seconds  # for models nobody has had, while known nodes are missing


def hold_for(decision: Decision, patience: Patience, now: Seconds, *, away: bool) -> Seconds:
    """Seconds for which the request waits before it is placed again; 0 when there is no point in waiting.

    Args:
        decision: one without a candidate.
        patience: how long it may wait.
        now: the time.
        away: a node was left out because it could not be reached; it may be back without any change being told.
    """
    until = patience.until
    if not decision.known:
        until = now if decision.complete else min(until, patience.grace_until)
    left = until - now
    if left < WORTH_HOLDING_S:
        return Seconds(0.0)
    if away:
        left = min(left, TRY_AGAIN_S)
    if decision.retry_in is not None:
        left = min(
            left, max(decision.retry_in, WORTH_HOLDING_S)
        )  # else rounding lets it ask in vain, at once and again
    return Seconds(left)


def unlocked(before: NodeView | None, after: NodeView, wanted: Iterable[str]) -> dict[str, int]:
    """Which of the wanted models the node may serve after a change and could not before, and how many requests.

    A model that came, is in memory now, or has more memory to come into. Whether a request then finds it good enough
    shows when it is placed again.

    Args:
        before: the node as it was; None when it is new.
        after: the node as it is.
        wanted: canonical names of models for which requests found no node.
    """
    can = after.models if after.state in TAKES_REQUESTS else {}
    could = before.models if before is not None and before.state in TAKES_REQUESTS else {}
    roomier = before is None or after.memory.free > before.memory.free
    found = {}
    for name in wanted:
        now, then = can.get(name), could.get(name)
        if now is not None and (then is None or now.resident or roomier):
            found[name] = now.limit
    return found
