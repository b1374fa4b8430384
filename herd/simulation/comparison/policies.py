"""The ways to route that are compared, all on one code path: the router of the product, with another ranking in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from herd.policy.placement import Ranking
from herd.policy.scorers import SCORERS
from herd.simulation.comparison.baselines import (
    LatencyAverage,
    Order,
    at_random,
    least_connections,
    power_of_two,
    ranked_by,
    round_robin,
    warm_first,
)
from herd.simulation.comparison.oracle import oracle
from herd.simulation.runs.measures import Sample
from herd.simulation.runs.run import Result, Scenario, simulate
from herd.types import ScorerKind

Heard = Callable[[Sample, float], object]  # a request has ended for its client, at this time
Rival = Ranking | tuple[Ranking, Heard]


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to route."""

    what: str  # it does, in a few words
    rival: Callable[[Scenario], Rival]  # made anew for each run
    pre_warm: bool = False
    homes: bool = False
    rebalance: bool = False
    edits: bool = False
    oracle: bool = False  # it is told how long answers will be

    def run(self, scenario: Scenario) -> Result:
        """The scenario, routed in this way."""
        requests = scenario.requests
        if self.oracle:
            requests = [replace(request, tells_length=True) for request in requests]
        changed = replace(
            scenario,
            requests=requests,
            pre_warm=self.pre_warm,
            homes=self.homes,
            rebalance=self.rebalance,
            edits=self.edits,
        )
        rival = self.rival(scenario)
        ranking, heard = rival if isinstance(rival, tuple) else (rival, None)
        return simulate(changed, ranking=ranking, heard=heard)


def _by(order: Order) -> Callable[[Scenario], Rival]:
    return lambda _: ranked_by(order)


def _latency(half_life: float, *, loaded: bool) -> Callable[[Scenario], Rival]:
    def rival(_: Scenario) -> Rival:
        average = LatencyAverage(half_life, loaded=loaded)
        return ranked_by(average.order), average.heard

    return rival


def _herd(what: str, ranking: Callable[[Scenario], Ranking], without: str = "") -> Policy:
    """The product's router, as it is or without one of its parts."""
    on = {part: without not in {part, "all"} for part in ("pre_warm", "homes", "rebalance")}
    return Policy(what, ranking, **on, edits=True)


def _seven(_: Scenario) -> Ranking:
    return SCORERS[ScorerKind.SEVEN_SIGNALS]


def _seconds(_: Scenario) -> Ranking:
    return SCORERS[ScorerKind.COMPLETION_TIME]


# Settings of baselines are the best of some, for people's mean time to the first token at 60 % load on the seeds 11 to
# 16: of 0, 1, 2, 4, 8 and any number of requests at which the next one for a loaded model goes elsewhere the first; of
# half-lives from 10 s to two hours that of 600 s, and times the requests that a node has.
POLICIES: Mapping[str, Policy] = {
    "seven-signals": _herd("seven signals, and all that acts ahead", _seven),
    "without-pre-warm": _herd("seven signals, nothing is loaded ahead", _seven, "pre_warm"),
    "without-homes": _herd("seven signals, nothing is kept loaded", _seven, "homes"),
    "without-rebalance": _herd("seven signals, nothing that waits is moved", _seven, "rebalance"),
    "signals-alone": _herd("seven signals, and none of these", _seven, "all"),
    "completion-time": _herd("predicted seconds, and all that acts ahead", _seconds),
    "oracle": replace(_herd("predicted seconds from true speeds and lengths", oracle), oracle=True),
    "random": Policy("any node", lambda scenario: ranked_by(at_random(scenario.seed))),
    "round-robin": Policy("nodes take turns", _by(round_robin)),
    "power-of-two": Policy("the less loaded of two drawn", lambda scenario: power_of_two(scenario.seed)),
    "least-connections": Policy("the node with the fewest requests", _by(least_connections)),
    "warm-first": Policy("idle nodes that have the model loaded, else the fewest requests", _by(warm_first(0))),
    "latency-average": Policy("the node that answered soonest of late", _latency(600.0, loaded=True)),
}
# What a simple router could have.
BASELINES = ("random", "round-robin", "power-of-two", "least-connections", "warm-first", "latency-average")
