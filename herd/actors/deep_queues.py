"""Which deep queues the PreWarmer has heard of lately."""

import math

from herd.actors.tables import keep_latest
from herd.policy.loads import NodeLoad
from herd.policy.prewarming import DeepQueue, is_deep
from herd.policy.values import Ask, Decision, NodeView
from herd.types import Seconds

# A deep queue that is told of now need not be told of again for so long: a load takes seconds.
DEEP_EVERY_S = 1.0
MAX_MODELS = 1024  # more than a house uses in a day


class DeepQueues:
    """State of the Scorer, which alone writes it."""

    def __init__(self) -> None:
        self._told: dict[str, Seconds] = {}  # when, by model; the latest last

    def found(self, ask: Ask, decision: Decision, node: NodeView, load: NodeLoad, now: Seconds) -> DeepQueue | None:
        """The queue that a ticket was just placed in, if it is worth telling of.

        It is not while a load is under way there that was ordered for it: a pre-warm is no cause for another.
        """
        model = ask.model
        loading = load.reservations.get(model)
        if not is_deep(decision, load.models[model], node.models[model].limit):
            return None
        if (loading is not None and loading.commanded) or now - self._told.get(model, -math.inf) < DEEP_EVERY_S:
            return None
        self._told.pop(model, None)
        self._told[model] = now
        keep_latest(self._told, MAX_MODELS)
        return DeepQueue(model, node.id, ask.api)
