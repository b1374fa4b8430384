"""The second scorer: nodes by the seconds until the answer would be there.

To the predicted seconds come those that others lose when models in memory have to go, and those that the owner of the
machine is expected to take. The seven signals are worked out as well, and shown; here they decide nothing.
"""

from collections.abc import Iterable, Mapping

from herd.policy.loads import NodeLoad
from herd.policy.pace import doubt
from herd.policy.placement import Row, best_first, decided, soonest
from herd.policy.prewarming import MAX_LOADED
from herd.policy.prospects import Prospect
from herd.policy.scoring import Moment, Outlook, points
from herd.policy.values import TREND_MAX, Ask, Candidate, Decision, Eliminated, made
from herd.types import Bytes, NodeId, Unit

# Two predictions nearer than this say the same: then the load decides, so that equal nodes share evenly.
TIE = 0.1
# A node that has been silent for 15 s is given up after 15 more if it is gone.
DEGRADED_S = 15.0
# A model that has to be loaded again costs whoever asks for it the load, and those behind him and beside him a part of
# it, for it takes the disk and the memory of all. On simulated mornings (seeds 11 to 16 at 60 and 90 % load) a price of
# twice the load saved an eighth of all loads, and next to no time was lost; with three times whole answers came later.
RELOAD_PRICE = 2.0


def place(
    ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
) -> Decision:
    """Rank nodes for `ask` as `placement.decided` does, by seconds: the fewest first. Scores are minus the seconds."""
    return decided(ask, looked_at, loads, moment, _by_seconds)


def _by_seconds(ask: Ask, found: list[Outlook], moment: Moment) -> tuple[Candidate, ...]:
    """By all parts together. Less than a tenth of the best is no difference."""
    rows: list[Row] = []
    best, second = soonest(found)
    tokens = ask.unit is Unit.TOKEN
    for there in found:
        one, held, _, wait, work, _, _, _, prefill, _, load = there
        loads, reloads = (0.0, 0.0) if load is None else (load.takes, _reloads(one, held, load.need))
        own = one.pace.load if load is not None and load.per_request else 0.0  # of these: it is part of the work
        parts = (
            wait - (loads - own),
            loads,
            prefill,
            work - prefill - own,
            -work * (one.doubt if tokens else doubt(one.facts.learned, ask.unit)),
            RELOAD_PRICE * reloads,
            (wait + work) * (1.0 - one.trend / TREND_MAX),
            DEGRADED_S if one.degraded else 0.0,
        )
        seconds = sum(parts)
        shown = points(ask, there, second if wait + work == best else best, moment.favourite)
        rest = (shown, -seconds, (), held.outstanding, wait, work, load, False, parts)
        rows.append((seconds, wait + work, one.who[0], made(Candidate, one.who + rest), there))
    return best_first(ask, rows, TIE * min(rows)[0])


def _reloads(one: Prospect, held: NodeLoad, need: Bytes) -> float:
    """Seconds of loads that the load of a model is expected to cause, of models that have to go for it.

    Ollama keeps `MAX_LOADED` models, and lets go what is idle; which of those the router does not see. The ones that
    cost least are taken to go, and those that are in use last.
    """
    free = one.budget.free + one.model.size_resident - held.reserved
    too_many = len(one.budget.others) - MAX_LOADED + 1
    if free >= need and too_many <= 0:
        return 0.0
    lost = 0.0
    costs = [(name in held.models, one.facts.reloads.get(name, 0.0), size) for name, size in one.budget.others]
    for _, cost, size in sorted(costs):
        lost, free, too_many = lost + cost, free + size, too_many - 1
        if free >= need and too_many <= 0:
            break
    return lost
