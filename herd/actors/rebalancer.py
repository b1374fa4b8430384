"""The Rebalancer: has those that wait for long served elsewhere, where that is clearly sooner."""

import logging
from contextlib import suppress

from herd.actors.moves import Move
from herd.policy.rebalancing import REBALANCE_S
from herd.runtime import ActorHandle, ActorUnavailableError, context, get_actor

logger = logging.getLogger(__name__)


class Rebalancer:
    """Owns nothing but a timer: whom to move the Scorer decides, and how the old queue answers is up to that.

    The Scorer tells it of nodes that have become a place to move to. Of those that are lost, paused or drained it need
    not hear: their queues turn everybody away at once, and who is turned away is placed again.

    Args:
        scorer: decides, and holds what it moves against the new node at once.
    """

    def __init__(self, scorer: ActorHandle) -> None:
        self._scorer = scorer

    def on_start(self) -> None:
        """Begin to look, now and then."""
        context(self).every(REBALANCE_S, self.look)

    async def look(self) -> None:
        """Move whoever waits for too long. A ticket that has its lease by now, or has left, stays as it is."""
        try:
            moves: tuple[Move, ...] = await self._scorer.rebalance.remote()
        except ActorUnavailableError:
            return  # the Scorer is being started again, with an empty ledger
        for move in moves:
            with suppress(ValueError):  # the queue is gone, and has turned everybody away
                get_actor(move.queue).move.tell(move.ticket, move.moved)
        if moves:
            logger.info("moved %d requests to nodes that serve them sooner", len(moves))
