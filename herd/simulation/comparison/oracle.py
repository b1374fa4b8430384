"""A greedy router that knows what no router can: how long each answer will be, and how fast each machine is just now.

It ranks as the product's second scorer does, from the machines' true speeds in place of learned ones; clients tell it
the lengths. What waits and might be moved is found as in any router, by learned speeds. It looks no further than the
request at hand: a router that knew all that is to come could do better.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from operator import itemgetter

from herd.policy import completion
from herd.policy.loads import NodeLoad
from herd.policy.pace import MOST_STREAMS, Pace
from herd.policy.prospects import Prospect
from herd.policy.scoring import Moment
from herd.policy.values import Ask, Decision, Eliminated
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.machine.owners import HABITS, OwnerState, speed_left, week
from herd.simulation.runs.run import Scenario, owner_seed
from herd.types import NodeId, Seconds

# What an owner always leaves: speeds are divided by it.
LEAST_LEFT = 0.01


class _Machine:
    """A machine of the run, and what its owner does when."""

    def __init__(self, scenario: Scenario, number: int) -> None:
        self._plan = plan = scenario.nodes[number]
        self._states = list(
            week(
                HABITS[plan.habits],
                plan.machine,
                owner_seed(scenario, number),
                start_slot=scenario.start_slot,
                start_week=scenario.start_week,
                duration=scenario.duration,
            )
        )

    def pace(self, one: Prospect, context: float, now: Seconds) -> Pace:
        """How fast the model is there at this moment, with so many tokens of context on average."""
        machine, model = self._plan.machine, CATALOG[one.model.name]
        place = bisect_right(self._states, now, key=itemgetter(0)) - 1
        left = speed_left(self._states[place][1] if place >= 0 else OwnerState(), machine)
        left = max(left, LEAST_LEFT)
        crowd = tuple([1.0 + machine.batch_cost * more for more in range(MOST_STREAMS)])
        alone = machine.decode_step_s(model, context=context)
        prefill = tuple([float(1 + more) for more in range(MOST_STREAMS)])
        return Pace(machine.load_s(model), left / machine.prefill_s(model, 1.0), left / alone, prefill, crowd)


def oracle(scenario: Scenario) -> Callable[..., Decision]:
    """The ranking for a run of `scenario`."""
    machines = {NodeId(plan.name): _Machine(scenario, number) for number, plan in enumerate(scenario.nodes)}

    def place(
        ask: Ask, looked_at: Iterable[Prospect | Eliminated], loads: Mapping[NodeId, NodeLoad], moment: Moment
    ) -> Decision:
        moment = replace(moment, answer=float(ask.max_tokens or moment.answer))
        context = ask.prompt_tokens + moment.answer / 2
        known = [
            one
            if isinstance(one, Eliminated)
            else replace(one, pace=machines[one.node.id].pace(one, context, moment.now), doubt=0.0)
            for one in looked_at
        ]
        return completion.place(ask, known, loads, moment)

    return place
