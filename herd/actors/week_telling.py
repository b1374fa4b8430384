"""Telling an agent what was learned of its owner's week: people at the machine see it there."""

import asyncio
import logging

from herd.actors import names
from herd.actors.capacity_learner import LearnedHour
from herd.actors.commands import WEEK
from herd.actors.ports import Clock
from herd.protocols.messages import Result
from herd.runtime import ActorContext, ActorDiedError, ActorUnavailableError, get_actor
from herd.types import NodeId, Seconds

logger = logging.getLogger(__name__)

LEAST_S = 60.0  # between two: a link that flaps is no reason to tell the same again and again


class WeekTelling:
    """State of a Node.

    Args:
        node: which one.
        clock: durations.
    """

    def __init__(self, node: NodeId, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._wanted = False
        self._hour: int | None = None  # of the week, when the agent was told last since it joined
        self._told_at: Seconds | None = None
        self._telling: asyncio.Task[None] | None = None

    def joined(self, *, wanted: bool) -> None:
        """The agent has (re)connected, perhaps as another process. `wanted`: it asks to be told."""
        self._wanted, self._hour = wanted, None

    def reported(self, context: ActorContext, hour: int) -> None:
        """The agent is in this hour of the week: tell it what is known when it has just joined, or an hour has ended.

        Where that is too soon after the last time, one of its next reports will be the occasion.
        """
        now = self._clock.monotonic()
        early = self._told_at is not None and now - self._told_at < LEAST_S
        under_way = self._telling is not None and not self._telling.done()
        if self._wanted and hour != self._hour and not early and not under_way:
            self._hour, self._told_at = hour, now
            self._telling = context.spawn(self._tell(), name="tell of the owner's week")

    async def _tell(self) -> None:
        try:
            week: tuple[LearnedHour, ...] = await get_actor(names.CAPACITY_LEARNER).week.remote(self._node)
            result: Result = await get_actor(names.node_proxy(self._node)).command.remote(WEEK, told(week))
        except (ValueError, ActorDiedError, ActorUnavailableError):  # the router stops, or a part of it starts anew
            return
        if not result.ok:
            logger.debug("%s does not take its owner's week: %s", self._node, result.text)


def told(week: tuple[LearnedHour, ...]) -> dict[str, list[float | None]]:
    """The arguments of the command."""
    hours = [hour.expected for hour in week]
    return {
        "load": [round(hour.load, 3) if hour.confidence else None for hour in hours],
        "confidence": [round(hour.confidence, 3) for hour in hours],
    }
