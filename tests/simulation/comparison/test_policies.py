"""Ways to route, over one small morning."""

from dataclasses import replace
from functools import cache

import pytest

from herd.simulation.comparison.policies import BASELINES, POLICIES
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import SampleOutcome
from herd.simulation.runs.run import Result, Scenario
from herd.types import ScorerKind

SIZE = Household(nodes=3, models=4, clients=3, requests=40, days=0.03, start_slot=9)


@cache
def morning() -> Scenario:
    return household(4, SIZE)


@cache
def ran(name: str) -> Result:
    return POLICIES[name].run(morning())


@pytest.mark.parametrize("name", POLICIES)
def test_each_gets_the_same_requests_and_answers_them(name: str) -> None:
    result = ran(name)
    asked = [(one.at, one.client, one.model, one.prompt, one.tokens) for one in result.samples]
    assert asked == [(one.at, one.client, one.model, one.prompt, one.completion) for one in morning().requests]
    assert sum(one.outcome is SampleOutcome.SERVED for one in result.samples) > len(asked) / 2


def test_they_decide_each_in_its_own_way() -> None:
    # Nothing is loaded ahead, and nobody is moved, in so short a morning.
    alike = {"without-pre-warm", "without-rebalance"}
    logs = {name: ran(name).decisions for name in POLICIES if name not in alike}
    assert len({*logs.values()}) == len(logs)


@pytest.mark.parametrize("name", ["random", "power-of-two", "latency-average", "oracle"])
def test_what_is_drawn_or_learned_comes_out_again(name: str) -> None:
    assert POLICIES[name].run(morning()).decisions == ran(name).decisions
    assert POLICIES[name].run(replace(morning(), seed=5)).decisions != ran(name).decisions


def test_the_products_own_are_what_the_router_runs() -> None:
    for scorer in ScorerKind:
        assert POLICIES[scorer.value].run(morning()) == ran(scorer.value)
        assert {*BASELINES}.isdisjoint({scorer.value})


def test_only_the_oracle_is_told_how_long_answers_will_be() -> None:
    def off(name: str) -> float:
        known = [one for one in ran(name).samples if one.predicted and one.completion < 1e9 and one.attempts == 1]
        return sorted(abs(one.predicted - one.completion + one.placed) for one in known)[len(known) // 2]  # type: ignore[operator]

    assert off("oracle") < off("completion-time") / 2
