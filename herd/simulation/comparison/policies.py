"""The ways to route that are compared, all on one code path: the router of the product, with another ranking in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from herd.policy.baselines import least_connections, round_robin
from herd.policy.placement import Ranking, place
from herd.simulation.runs.run import Result, Scenario, simulate


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to route."""

    ranking: Callable[[Scenario], Ranking]  # made anew for each run
    what: str  # it does, in a sentence without its name
    pre_warm: bool = False
    homes: bool = False
    rebalance: bool = False
    oracle: bool = False  # it is told how long answers will be

    def run(self, scenario: Scenario) -> Result:
        """The scenario, routed in this way."""
        requests = scenario.requests
        if self.oracle:
            requests = [replace(request, tells_length=True) for request in requests]
        changed = replace(
            scenario, requests=requests, pre_warm=self.pre_warm, homes=self.homes, rebalance=self.rebalance
        )
        return simulate(changed, ranking=self.ranking(scenario))


def _always(ranking: Ranking) -> Callable[[Scenario], Ranking]:
    return lambda _: ranking


# By name, the product's own first. `BASELINES` are those that a simple router could have.
POLICIES: Mapping[str, Policy] = {
    "seven-signals": Policy(
        _always(place), "seven signals, and all that acts ahead", pre_warm=True, homes=True, rebalance=True
    ),
    "round-robin": Policy(_always(round_robin), "nodes take turns"),
    "least-connections": Policy(_always(least_connections), "the node with the fewest requests"),
}
BASELINES = ("round-robin", "least-connections")
