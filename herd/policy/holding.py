"""Whether a request for which no node qualifies waits for one, how long, and what wakes it."""

from dataclasses import dataclass

from herd.policy.breaker import openness
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
    return Seconds(min(left, TRY_AGAIN_S) if away else left)


def unlocked(before: NodeView | None, after: NodeView) -> tuple[str, ...]:
    """The models that the node can serve after a change, and before could not or only for a trial: canonical names."""
    could, can = _served(before), _served(after)
    return tuple(model for model in can if can[model] > could.get(model, 0))


def _served(view: NodeView | None) -> dict[str, int]:
    """How far a node's breakers let requests for each of its models pass; nothing of a node that takes none."""
    if view is None or view.state not in TAKES_REQUESTS:
        return {}
    return {name: openness(view, model) for name, model in view.models.items()}
