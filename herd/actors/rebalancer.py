"""The Rebalancer: has those that wait for long served elsewhere, where that is clearly sooner."""

import logging
from collections import Counter
from contextlib import suppress

from herd.actors import news
from herd.actors.moves import Rebalanced
from herd.actors.ports import Clock
from herd.names import canonical
from herd.policy.rebalancing import REBALANCE_S
from herd.protocols.happenings import HappeningKind
from herd.runtime import ActorHandle, ActorUnavailableError, Timer, context, get_actor

logger = logging.getLogger(__name__)


class Rebalancer:
    """Owns nothing but a timer: whom to move the Scorer decides, and how the old queue answers is up to that.

    The timer runs while somebody waits; the Scorer says when the first one does. It also tells of nodes that have
    become a place to move to. Of those that are lost, paused or drained this one need not hear: their queues turn
    everybody away at once, and who is turned away is placed again.

    Args:
        scorer: decides, and holds what it moves against the new node at once.
        clock: says when requests were moved, to those who watch.
    """

    def __init__(self, scorer: ActorHandle, clock: Clock) -> None:
        self._scorer = scorer
        self._clock = clock
        self._timer: Timer | None = None

    def on_start(self) -> None:
        """Somebody may wait already."""
        self.watch()

    def watch(self) -> None:
        """Somebody waits: look soon, and again until nobody does."""
        if self._timer is None:
            self._timer = context(self).after(REBALANCE_S, self._again)

    async def _again(self) -> None:
        self._timer = None
        await self.look()

    async def look(self) -> None:
        """Move whoever waits for too long. A ticket that has its lease by now, or has left, stays as it is."""
        try:
            found: Rebalanced = await self._scorer.rebalance.remote()
        except ActorUnavailableError:
            return  # the Scorer is being started again, with an empty ledger
        for move in found.moves:
            with suppress(ValueError):  # the queue is gone, and has turned everybody away
                get_actor(move.queue).move.tell(move.ticket, move.moved)
        if found.moves:
            logger.info("moved %d requests to nodes that serve them sooner", len(found.moves))
            self._tell(found)
        if found.waiting:
            self.watch()

    def _tell(self, found: Rebalanced) -> None:
        """Those who watch: of a model's requests that go to one node once."""
        to = Counter((placed.name, canonical(placed.model)) for placed in (move.moved.placed for move in found.moves))
        for (node, model), number in to.items():
            which = "a request" if number == 1 else f"{number} requests"
            text = f"{which} for {model} moved to {node}, to be served sooner"
            news.happened(HappeningKind.MOVED, self._clock, text, node=node, model=model)
