"""What simple routers do, to compare with, over the nodes that can serve.

They know what such routers know: which nodes are up, have the model and speak the dialect, what each of them has been
given, and who failed; some look at what is loaded, or at how long answers took. Of memory and speeds they know nothing,
so they never find that a model does not fit, and never expect a load.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from herd.policy.breaker import breaker_reason
from herd.policy.elimination import unable
from herd.policy.loads import NO_LOAD, NodeLoad
from herd.policy.placement import Ranking
from herd.policy.prospects import Prospect
from herd.policy.scoring import Moment
from herd.policy.values import SIGNALS, Ask, Candidate, Decision, Eliminated
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.types import NodeId, Seconds

_UNSCORED = (0.0,) * len(SIGNALS)


# What a node is sorted by, the least first, from what there is to say of it, its load and the time.
Order = Callable[[Prospect, NodeLoad, Seconds], tuple[Any, ...]]


def round_robin(one: Prospect, held: NodeLoad, now: Seconds) -> tuple[int, ...]:  # noqa: ARG001 - an `Order`
    """The node whose last turn is longest ago: equal ones take turns, whatever is asked of them."""
    return (held.last_chosen,)


def least_connections(one: Prospect, held: NodeLoad, now: Seconds) -> tuple[int, ...]:  # noqa: ARG001 - an `Order`
    """The node with the fewest requests that have not ended; of equal ones the one whose last turn is longest ago."""
    return (held.outstanding, held.last_chosen)


def at_random(seed: int) -> Order:
    """Any node."""
    dice = random.Random(seed)  # noqa: S311 - it is to be repeatable
    return lambda _one, _held, _now: (dice.random(),)


def warm_first(spill: float) -> Order:
    """Nodes that have the model in memory first, by least connections, unless more than `spill` wait for each there."""

    def order(one: Prospect, held: NodeLoad, now: Seconds) -> tuple[int, ...]:  # noqa: ARG001 - an `Order`
        warm = one.model.resident and held.outstanding <= spill
        return (not warm, held.outstanding, held.last_chosen)

    return order


class LatencyAverage:
    """The node on which first tokens came soonest of late: a moving average, times the requests that it has.

    As load balancers weigh latency by load, as Finagle's does (twitter.github.io/finagle, "Clients"; its average jumps
    to peaks at once, this one does not). It decays with the time since it was told of, so that nobody is left out for
    ever. Who was never tried comes first.

    Args:
        half_life: seconds.
        loaded: whether the average is multiplied by the requests that the node has.
    """

    def __init__(self, half_life: float, *, loaded: bool) -> None:
        self._half_life = half_life
        self._loaded = loaded
        self._latest: dict[tuple[str, str], tuple[float, float]] = {}  # by node and model: the average, and its time

    def heard(self, sample: Sample, now: float) -> None:
        """A request has ended for its client."""
        if not sample.node or sample.outcome not in {SampleOutcome.SERVED, SampleOutcome.TIMED_OUT}:
            return
        took = sample.first_token if sample.outcome is SampleOutcome.SERVED else now - sample.at
        key = (sample.node, sample.model)
        before, since = self._latest.get(key, (took, now))
        share = 0.5 ** (max(1.0, now - since) / self._half_life)
        self._latest[key] = (share * before + (1 - share) * took, now)

    def order(self, one: Prospect, held: NodeLoad, now: Seconds) -> tuple[float, ...]:
        """An `Order`: seconds that the next one has to expect, roughly."""
        average, since = self._latest.get((one.node.name, one.model.name), (0.0, now))
        average *= 0.5 ** (max(0.0, now - since) / (10 * self._half_life))
        return (average * (held.outstanding + 1 if self._loaded else 1), held.outstanding, held.last_chosen)


def ranked_by(order: Order) -> Ranking:
    """The ranking of nodes by `order` alone."""

    def place(
        ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
    ) -> Decision:
        rows, eliminated = _able(ask, looked_at, loads, moment)
        ordered = sorted(rows, key=lambda row: (order(row[0], row[1], moment.now), row[0].node.id))
        return Decision(tuple([_candidate(*row) for row in ordered]), eliminated)

    return place


def power_of_two(seed: int, choices: int = 2) -> Ranking:
    """Of so many nodes drawn at random the one with the fewest requests; of the others the same once more."""
    dice = random.Random(seed)  # noqa: S311 - it is to be repeatable

    def place(
        ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
    ) -> Decision:
        rows, eliminated = _able(ask, looked_at, loads, moment)
        left = sorted(rows, key=lambda row: row[0].node.id)
        dice.shuffle(left)
        drawn = sorted(left[:choices], key=lambda row: row[1].outstanding)
        return Decision(tuple([_candidate(*row) for row in (*drawn, *left[choices:])]), eliminated)

    return place


_Row = tuple[Prospect, NodeLoad]


def _able(
    ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
) -> tuple[list[_Row], tuple[Eliminated, ...]]:
    """The nodes that can serve, and those that cannot."""
    rows: list[_Row] = []
    eliminated: list[Eliminated] = []
    for one in looked_at:
        if isinstance(one, Eliminated):
            eliminated.append(one)
            continue
        node, model = one.node, one.model
        reason = unable(ask, node, model)
        if reason is None and node.id in moment.tried:
            reason = breaker_reason(node, model, outstanding=1)
        if reason is not None:
            eliminated.append(Eliminated(node.id, node.name, reason))
        else:
            rows.append((one, loads.get(node.id, NO_LOAD)))
    return rows, tuple(eliminated)


def _candidate(one: Prospect, held: NodeLoad) -> Candidate:
    return Candidate(*one.who, _UNSCORED, 0.0, outstanding=held.outstanding)
