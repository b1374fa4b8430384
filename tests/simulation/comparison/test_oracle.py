"""The router that knows too much."""

from dataclasses import replace

import pytest

from herd.policy.pace import Learned, rate, seen
from herd.policy.placement import Ranking
from herd.policy.prospects import Facts, prospect
from herd.policy.values import Ask, Candidate
from herd.simulation.comparison.oracle import oracle
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, speed_left, week
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.run import Scenario, owner_seed
from herd.types import Api, Seconds, Tokens
from tests.policy.views import NOW, model, node

LLAMA = "llama3.2:3b"
ASK = Ask(LLAMA, Api.OLLAMA_CHAT, sent=LLAMA, prompt_tokens=Tokens(1000), max_tokens=Tokens(100))
OWNERS = (("mac-studio", "gamer"), ("mini-pc", "server"))
HOURS = Seconds(4 * 3600.0)
PLANS = [NodePlan(name, PROFILES[name], (LLAMA,), habits) for name, habits in OWNERS]
FLEET = Scenario(
    tuple(PLANS),
    (),
    HOURS,
    seed=3,
    start_slot=18,
)
# What a router has learned of both: that they are as quick.
SAME = Learned(decode=rate((seen(None, 50.0, NOW.now), None, None, None, None)))


def placed(ranking: Ranking, at: float, ask: Ask = ASK) -> dict[str, Candidate]:
    rows = [
        prospect(LLAMA, node(plan.name, model(resident=True, context=4096), trend=10.0), Facts(learned=SAME))
        for plan in FLEET.nodes
    ]
    decision = ranking(ask, rows, {}, replace(NOW, now=Seconds(at)))
    return {candidate.name: candidate for candidate in decision.candidates}


def test_it_knows_how_quick_machines_are_and_how_long_the_answer_will_be() -> None:
    machine, llama = PROFILES["mini-pc"], CATALOG[LLAMA]
    found = placed(oracle(FLEET), at=0.0)["mini-pc"].seconds

    assert found["prefill"] == pytest.approx(machine.prefill_s(llama, 1000))
    assert found["decode"] == pytest.approx(100 * machine.decode_step_s(llama, context=1050))
    twice = placed(oracle(FLEET), at=0.0, ask=replace(ASK, max_tokens=Tokens(200)))["mini-pc"].seconds
    assert 2 * found["decode"] < twice["decode"] < 2.1 * found["decode"]  # each token reads all before it


def test_it_knows_what_owners_take_just_now() -> None:
    ranking, plan = oracle(FLEET), FLEET.nodes[0]
    states = list(week(HABITS["gamer"], plan.machine, owner_seed(FLEET, 0), start_slot=18, duration=HOURS))
    lefts = [(at, speed_left(state, plan.machine)) for at, state in states]
    busy = next((at, left) for at, left in lefts if 0.05 < left < 0.9)
    idle = next((at, left) for at, left in lefts if left == 1.0)

    slow, fast = (placed(ranking, at=at + 0.1)["mac-studio"].completion for at in (busy[0], idle[0]))
    assert slow == pytest.approx(fast / busy[1])


def test_it_tells_nobody_who_is_out_otherwise_than_any_router() -> None:
    rows = [prospect(LLAMA, node("mac-studio"), Facts())]
    decision = oracle(FLEET)(ASK, rows, {}, NOW)

    assert decision.candidates == ()
    assert [out.reason.kind for out in decision.eliminated] == ["no-model"]
