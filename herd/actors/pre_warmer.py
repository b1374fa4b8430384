"""The PreWarmer: has models loaded before requests have to wait for it."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from herd.actors import names
from herd.actors.commands import LOAD
from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.policy.prewarming import DeepQueue, LoadOrder, again_after
from herd.protocols.happenings import LoadCause
from herd.protocols.messages import Result
from herd.runtime import ActorDiedError, ActorUnavailableError, context, get_actor
from herd.types import NodeId, Seconds

logger = logging.getLogger(__name__)

# How much models are asked for changes in minutes, and whatever else moves homes can wait as long: no request does.
HOMES_EVERY_S = 30.0
# A queue that was helped shows within so long whether that was enough; till then it is one and the same cause.
REST_S = Seconds(60.0)
# A fleet that has no room for a load has none a moment later, mostly, and looking costs as much as a placement.
NO_ROOM_S = Seconds(5.0)
MAX_RESTS = 1024  # models, and models on nodes, that are left alone for a while: more than a house has


@dataclass(frozen=True, slots=True)
class _Failures:
    """Loads of one model that one node has failed, in a row."""

    count: int
    until: Seconds  # monotonic; until then it is not asked again


class PreWarmer:
    """Owns the loads under way that the router has asked for by itself: one for each node at a time.

    Args:
        clock: durations.
        homes: models have homes; False only to measure what those are worth.
    """

    def __init__(self, clock: Clock, homes: bool = True) -> None:
        self._clock = clock
        self._homes = homes
        self._under_way: dict[str, NodeId | None] = {}  # by model; None while the node is being looked for
        self._homed: dict[NodeId, str] = {}  # nodes that are being asked to keep a model, or to let it go
        self._rests: dict[str, Seconds] = {}  # models that are left alone, until when; the latest last
        self._failures: dict[tuple[str, NodeId], _Failures] = {}  # the latest last
        self._homing: asyncio.Task[None] | None = None

    def on_start(self) -> None:
        """See to the homes of models from now on."""
        if self._homes:
            context(self).every(HOMES_EVERY_S, self.see_to_homes)

    def queue_deep(self, cause: DeepQueue) -> None:
        """A placement has found a deep queue. Once for each cause: not while it is seen to, nor for a while after."""
        if cause.model in self._under_way or cause.model in self._homed.values():
            return
        if self._clock.monotonic() < self._rests.get(cause.model, 0.0):
            return
        self._under_way[cause.model] = None
        context(self).spawn(self._warm(cause), name=f"pre-warm {cause.model}")

    async def _warm(self, cause: DeepQueue) -> None:
        try:
            order = await self._order(cause)
            if order is None:
                self._rest(cause.model, NO_ROOM_S)
                return
            self._under_way[cause.model] = order.node
            self._ended(order, await _load(order, LoadCause.QUEUE))
            self._rest(cause.model, REST_S)
        finally:
            del self._under_way[cause.model]

    def see_to_homes(self) -> None:
        """Have models kept loaded where they live; one look at a time."""
        if self._homing is None or self._homing.done():
            self._homing = context(self).spawn(self._home(), name="see to homes")

    async def _home(self) -> None:
        now = self._clock.monotonic()
        avoid = [key for key, seen in self._failures.items() if now < seen.until]
        avoid += [("", node) for node in self._busy()]
        try:
            orders: tuple[LoadOrder, ...] = await get_actor(names.SCORER).order_homes.remote(tuple(avoid))
        except (ActorDiedError, ActorUnavailableError, ValueError):  # it starts, or starts anew
            return
        for order in orders:
            self._homed[order.node] = order.key
            context(self).spawn(self._carry_out(order), name=f"keep {order.model}")

    async def _carry_out(self, order: LoadOrder) -> None:
        """What a home, or what was one, is asked for."""
        try:
            self._ended(order, await _load(order, LoadCause.HOME))
        finally:
            del self._homed[order.node]

    def _busy(self) -> tuple[NodeId, ...]:
        """Nodes that do what they were asked to."""
        return (*[node for node in self._under_way.values() if node is not None], *self._homed)

    async def _order(self, cause: DeepQueue) -> LoadOrder | None:
        """The load to ask for, with its memory reserved."""
        now = self._clock.monotonic()
        failed = [node for (model, node), seen in self._failures.items() if model == cause.model and now < seen.until]
        try:
            order: LoadOrder | None = await get_actor(names.SCORER).order_load.remote(cause, (*failed, *self._busy()))
        except (ValueError, ActorDiedError, ActorUnavailableError):  # it starts anew, or the router stops
            return None
        return order

    def _ended(self, order: LoadOrder, result: Result) -> None:
        with suppress(ValueError):  # the router stops
            get_actor(names.SCORER).load_ended.tell(order, result.ok)
        failures = self._failures.pop((order.key, order.node), None)
        if result.ok:
            stays = "and stays" if order.keep_alive < 0 else f"for {order.keep_alive} s from its last request on"
            logger.info("%s is loaded on %s %s", order.model, order.name or order.node, stays)
            return
        count = failures.count + 1 if failures is not None else 1
        pause = again_after(count)
        logger.warning(
            "%s did not load %s: %s; it is not asked again for %.0f s",
            order.name or order.node,
            order.model,
            result.text,
            pause,
        )
        with suppress(ValueError):  # the same
            get_actor(names.node(order.node)).load_failed.tell(order.key, result.text)
        self._failures[order.key, order.node] = _Failures(count, Seconds(self._clock.monotonic() + pause))
        keep_latest(self._failures, MAX_RESTS)

    def _rest(self, model: str, pause: Seconds) -> None:
        self._rests.pop(model, None)
        self._rests[model] = Seconds(self._clock.monotonic() + pause)
        keep_latest(self._rests, MAX_RESTS)


async def _load(order: LoadOrder, cause: LoadCause) -> Result:
    """Have the node load the model; how that ended."""
    args: dict[str, Any] = {"backend": order.backend, "model": order.model, "keep_alive": order.keep_alive}
    if order.num_ctx is not None:
        args["num_ctx"] = order.num_ctx
    with suppress(ValueError):  # the node is gone
        get_actor(names.node(order.node)).load_ordered.tell(order.key, cause)
    try:
        result: Result = await get_actor(names.node_proxy(order.node)).command.remote(LOAD, args)
    except (ValueError, ActorDiedError, ActorUnavailableError):
        return Result(0, False, text="the node is gone")
    return result
