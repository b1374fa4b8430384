"""Whether a request for which no node qualifies waits for one, how long, and what wakes it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from herd.policy.breaker import openness
from herd.policy.elimination import TAKES_REQUESTS
from herd.policy.memory import pressure, roomier
from herd.policy.placement import hopeless
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
        # Rounding would have it ask a hair too early, and again at once.
        left = min(left, max(decision.retry_in, WORTH_HOLDING_S))
    return Seconds(left)


def worth_waiting_for(decisions: Sequence[Decision]) -> Decision | None:
    """What there is to wait for, when any of several models would do: that of those which a change could help, as one.

    None when no change would help any of them.

    Args:
        decisions: one for each model, all of them without a candidate.
    """
    left = [decision for decision in decisions if hopeless(decision) is None]
    if len(left) < 2:
        return left[0] if left else None
    return Decision(
        (),
        tuple(out for decision in left for out in decision.eliminated),
        known=any(decision.known for decision in left),
        complete=all(decision.complete for decision in left),
        version=min(decision.version for decision in left),
        retry_in=min((one.retry_in for one in left if one.retry_in is not None), default=None),
    )


def unlocked(before: NodeView | None, after: NodeView, wanted: Iterable[str]) -> dict[str, int]:
    """Which of the wanted models the node may serve after a change and could not before, and how many requests.

    A model that came, whose breaker lets more pass, that is in memory now, or that has more memory to come into: what
    is free of it, or what the owner leaves.
    Whether a request then finds it good enough shows when it is placed again.

    Args:
        before: the node as it was; None when it is new.
        after: the node as it is.
        wanted: canonical names of models for which requests found no node.
    """
    more = before is None or roomier(before, after)
    found = {}
    for name in wanted:
        can, could = _passes(after, name), _passes(before, name)
        if can > could or (can and (after.models[name].resident or more)):
            found[name] = after.models[name].limit
    return found


def may_wait_for_memory(view: NodeView, model: str) -> bool:
    """Whether a request that is held for the model may wait for memory on the node.

    For a model that is in memory it may, too: for that of a larger context; unless it waits for a breaker to close.
    """
    seen = view.models.get(model)
    return seen is not None and (not seen.resident or openness(view, seen) == 2)


def _passes(view: NodeView | None, name: str) -> int:
    """How far requests for a model are let pass (as `openness` has it); 0 where there is none, or none are taken."""
    if view is None or view.state not in TAKES_REQUESTS or name not in view.models:
        return 0
    model = view.models[name]
    return 0 if pressure(view) is not None and not model.resident else openness(view, model)
