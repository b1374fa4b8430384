"""The Node: what the router knows of one machine, and the queues of its models."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace

from herd.actors import names, news
from herd.actors.breakers import Breakers
from herd.actors.capacity_learner import OwnerSeen
from herd.actors.herald import Herald
from herd.actors.model_queue import MAX_ACQUIRES, ModelQueue, QueueStatus
from herd.actors.node_views import context_of, hardware_of, media_of, memory_of, models_of, workload_of
from herd.actors.ports import Clock
from herd.actors.sightings import Sight, Sightings
from herd.actors.week_telling import WeekTelling
from herd.policy.breaker import AttemptEnd, Breaker, breaker_reason
from herd.policy.capacity import SLOTS, UNKNOWN, Forecast, load_of
from herd.policy.concurrency import MOST
from herd.policy.elimination import TAKES_REQUESTS, UNSERVED
from herd.policy.memory import MEMORY_PRESSURE, pressure
from herd.policy.node_state import Standing, node_state
from herd.policy.orders import NO_ORDERS, Order, Orders
from herd.policy.values import NodeView, Reason
from herd.protocols.happenings import LoadCause
from herd.protocols.messages import Machine, Report
from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    ActorUnavailableError,
    RestartPolicy,
    Supervisor,
    Timer,
    context,
    get_actor,
    kill,
    remote,
)
from herd.store.records import KnownLimit, KnownOrders, NodeMemory
from herd.types import NodeId, NodeName, NodeState, Seconds

logger = logging.getLogger(__name__)

# A queue that crashes takes its node's actors with it, and so its link: whatever ran there ends on both sides, and no
# lease is lost sight of.
WITH_THE_NODE = RestartPolicy(max_restarts=0)

NO_LINK = Reason("offline", "has not connected yet")


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node, for people and for the merged lists."""

    id: NodeId
    name: NodeName
    state: NodeState
    reasons: tuple[Reason, ...]
    machine: Machine
    agent_version: str
    report: Report
    queues: tuple[QueueStatus, ...]
    link: Breaker = field(default_factory=Breaker)
    breakers: dict[str, Breaker] = field(default_factory=dict)  # of models that have failed, by canonical name
    forecast: Forecast = UNKNOWN  # of its owner


class Node:
    """Owns a node's last report, its standing, its breakers, and one ModelQueue per model that it has.

    Args:
        node_id: who it is.
        scorer: told of every change that matters to routing.
        clock: wall times of the reasons; the queues measure waits with it.
    """

    def __init__(self, node_id: NodeId, scorer: ActorHandle, clock: Clock) -> None:
        self._id = node_id
        self._name = NodeName(node_id)
        self._scorer = scorer
        self._clock = clock
        self._store: ActorHandle | None = None  # keeps what people told the node
        self._learner: ActorHandle | None = None  # of its owner's habits
        self._forecast = UNKNOWN  # what it expects of the owner
        self._week = WeekTelling(node_id, clock)
        self._machine = Machine()
        self._agent_version = ""
        self._report = Report()
        self._standing = Standing(offline=NO_LINK)
        self._orders = NO_ORDERS  # by hand; they are in force over every link
        self._pause_ends: Timer | None = None
        self._breakers = Breakers()
        self._queues: dict[str, ActorHandle] = {}
        self._declared: dict[str, int] = {}  # what each queue was last told of its limit; 0: to be learned
        self._used: set[str] = set()  # models whose queue has had a ticket
        self._learned: dict[str, int] = {}  # limits that queues have found out, in this life or in an earlier one
        self._open: dict[str, bool] = {}  # whether the queue was last told that it may grant leases
        self._view = NodeView(node_id, self._name, NodeState.OFFLINE)
        self._sightings = Sightings()
        self._dropping = False
        self._supervisor: Supervisor | None = None  # of the queues
        self._herald: Herald | None = None

    async def on_start(self) -> None:
        """After a crash the node is as good as offline, until its agent has joined anew."""
        self._supervisor = context(self).supervisor(restarts=WITH_THE_NODE)
        self._herald = Herald(self._clock, context(self).after)
        if context(self).restarts:
            self._scorer.node_changed.tell(self._view)
        with suppress(ValueError):  # there is none, or the router stops
            self._learner = get_actor(names.CAPACITY_LEARNER)
        with suppress(ValueError, ActorDiedError, ActorUnavailableError):  # the same
            self._store = get_actor(names.STORE)
            self._recall(await self._store.node.remote(self._id))

    # --- what the link says -------------------------------------------------------------------------------------------

    def link_up(self, name: NodeName, machine: Machine, agent_version: str, *, shows_week: bool = False) -> None:
        """The node has (re)connected under this name; until its first report it is joining.

        Args:
            name: its own.
            machine: what does not change.
            agent_version: as the agent says.
            shows_week: the agent shows people what was learned of the machine's owner.
        """
        self._name, self._machine, self._agent_version = name, machine, agent_version
        self._week.joined(wanted=shows_week)
        self._stands_anew()
        self._breakers.joined(self._clock.monotonic())
        self._changed()

    def link_down(self, why: str) -> None:
        """The node is gone."""
        self._stands_anew(self._now("offline", f"is offline: {why}"))
        self._changed()

    def silence(self, state: NodeState) -> None:
        """The link fell silent, or speaks again."""
        silent = self._now("silent", "has fallen silent") if state is NodeState.DEGRADED else None
        self._standing = replace(self._standing, silent=silent)
        self._changed()

    def draining(self) -> None:
        """The agent is about to leave."""
        self._standing = replace(self._standing, draining=self._now("draining", "is shutting down"))
        self._changed()

    def reported(self, report: Report) -> None:
        """A heartbeat: the node as it is now."""
        self._report = report
        said = [Reason(pause.kind, pause.text, pause.since, pause.until) for pause in report.pauses]
        pauses = tuple(reason for reason in said if reason.kind != MEMORY_PRESSURE)
        pressed = next((reason for reason in said if reason.kind == MEMORY_PRESSURE), None)
        unserved = self._standing.unserved
        if report.backends:
            unserved = None
        elif unserved is None:
            unserved = self._now(UNSERVED, "has no model server that answers")
        self._standing = replace(self._standing, reported=True, pauses=pauses, pressed=pressed, unserved=unserved)
        servers = [backend.id for backend in report.backends]
        self._breakers.reported(self._view.models, models_of(report), servers)
        self._changed()
        if self._learner is not None:
            load = load_of(report.owner_load, [pause.kind for pause in report.pauses])
            seen = OwnerSeen(self._id, report.week_slot % SLOTS, load, report.dedicated)
            self._learner.reported.tell(seen, self._forecast)
            self._week.reported(context(self), seen.slot)
        if not self._dropping and self._gone():
            self._dropping = True
            context(self).spawn(self._drop_gone(), name="drop queues of models that are gone")

    def owner_expected(self, forecast: Forecast) -> None:
        """By what was learned of the owner's habits this is to be expected from now on."""
        self._forecast = forecast
        owners, before = forecast.pause, self._standing.owners
        if owners is not None:
            owners = replace(owners, since=before.since if before is not None else Seconds(self._clock.wall()))
        self._standing = replace(self._standing, owners=owners)
        self._changed()

    # --- what people say ----------------------------------------------------------------------------------------------

    def ordered(self, order: Order, lasts: Seconds | None = None) -> None:
        """Take nothing new from now on, or take requests again; a pause may end by itself after so many seconds."""
        self._obey(self._orders.given(order, Seconds(self._clock.wall()), lasts))

    def _recall(self, known: NodeMemory) -> None:
        """What was found out in an earlier life is so still, and what was told is in force."""
        self._learned = {one.model: min(max(1, one.limit), MOST) for one in known.limits}
        if known.orders is not None:
            self._obey(Orders(known.orders.drained, known.orders.paused, known.orders.until))

    def _obey(self, orders: Orders) -> None:
        now = Seconds(self._clock.wall())
        left = orders.left(now)
        if self._pause_ends is not None:
            self._pause_ends.cancel()
        self._pause_ends = context(self).after(left, self._hand_lifted) if left is not None else None
        self._orders = orders
        drained, paused = orders.reasons()
        self._standing = replace(self._standing, drained=drained, paused=paused)
        self._changed()
        if self._store is not None:
            self._store.record_orders.tell(KnownOrders(self._id, now, orders.drained, orders.paused, orders.until))

    def _hand_lifted(self) -> None:
        """The time of a pause by hand is over."""
        self._obey(self._orders.pause_over())

    def _stands_anew(self, offline: Reason | None = None) -> None:
        """What was known of the link before counts no more."""
        drained, paused = self._orders.reasons()
        owners = self._standing.owners
        self._standing = Standing(offline=offline, drained=drained, paused=paused, owners=owners)

    # --- what its queues say ------------------------------------------------------------------------------------------

    def queue_used(self, model: str) -> None:
        """The queue of a model has got its first ticket."""
        self._used.add(model)

    def limit_changed(self, model: str, limit: int) -> None:
        """The model's queue has learned to run so many at once."""
        if model in self._queues:
            self._learned[model] = limit
            if self._store is not None:
                self._store.record.tell(KnownLimit(self._id, model, limit, Seconds(self._clock.wall())))
            self._changed()

    # --- what the PreWarmer says --------------------------------------------------------------------------------------

    def load_ordered(self, model: str, cause: LoadCause) -> None:
        """The node is asked to have a model (by canonical name) in memory."""
        seen = self._view.models.get(model)
        if self._herald is not None and seen is not None and not seen.resident:
            self._herald.load_ordered(model, cause)

    def load_failed(self, model: str, text: str) -> None:
        """The node has not done as it was asked."""
        if self._herald is not None:
            self._herald.load_failed(model, text, self._view)

    # --- what requests say --------------------------------------------------------------------------------------------

    def attempted(self, model: str, end: AttemptEnd) -> None:
        """An attempt to have a model (by canonical name) answer here has ended."""
        view, clock, before = self._view.models.get(model), self._clock, self._breakers.standing(model)
        for pause in self._breakers.heed(model, view, end, clock.monotonic(), clock.wall()):
            what = pause.model or "its link"
            logger.warning("%s fails again and again: %s is left alone for %.0f s", self._name, what, pause.lasts)
            context(self).after(pause.lasts, self._pause_over, pause.model, pause.since)
        if self._breakers.standing(model) != before:
            self._changed()

    def _pause_over(self, model: str, since: Seconds) -> None:
        """What failed was left alone for long enough."""
        self._breakers.pause_over(model, since)
        self._changed()

    # --- questions ----------------------------------------------------------------------------------------------------

    def view(self) -> NodeView:
        """The node, as routing sees it."""
        return self._view

    async def sighted(self, model: str, sight: Sight) -> bool:
        """Wait until the node reports a model (by canonical name) so; False when it has not within the time for it."""
        return await self._sightings.wait(self._view, model, sight)

    async def status(self) -> NodeStatus:
        """The node and its queues."""
        queues = await self._queue_statuses()
        return NodeStatus(
            self._id,
            self._name,
            self._view.state,
            self._view.reasons,
            self._machine,
            self._agent_version,
            self._report,
            tuple(
                queue if queue.node == self._name else replace(queue, node=self._name)
                for queue in queues
                if queue.model in self._view.models or queue.running
            ),
            self._breakers.link,
            self._breakers.models(),
            self._forecast,
        )

    async def _queue_statuses(self) -> list[QueueStatus]:
        """How the queues stand. Most models on a disk are hardly ever asked for, and those queues need not be asked."""
        asked = {model: queue.status.remote() for model, queue in self._queues.items() if model in self._used}
        answers = dict(zip(asked, await asyncio.gather(*asked.values(), return_exceptions=True), strict=True))
        limits = {model: limit or self._learned.get(model, 1) for model, limit in self._declared.items()}
        found = (answers.get(model, QueueStatus(self._name, model, 0, 0, limit)) for model, limit in limits.items())
        return [status for status in found if isinstance(status, QueueStatus)]  # one that died has none to show

    def on_stop(self) -> None:
        """Turn away whoever waits; the queues then end with this actor. It may be long until the agent joins anew."""
        for queue in self._queues.values():
            queue.turn_away.tell(Reason("stopped", "is gone: the router is shutting down"))
        if not context(self).restarting:  # else the next incarnation says so
            gone = self._now("offline", "is offline: it has not joined since a part of the router started anew")
            self._scorer.node_changed.tell(replace(self._view, state=NodeState.OFFLINE, reasons=(gone,)))

    # --- inside -------------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Bring view and queues in line with what is known, and tell the Scorer if that makes a difference."""
        state, reasons = node_state(self._standing)
        report = self._report
        view = NodeView(
            self._id,
            self._name,
            state,
            self._breakers.shown(models_of(report, self._learned)),
            reasons,
            memory_of(report),
            hardware_of(self._machine, report),
            context_of(report),
            breaker=self._breakers.link.state,
            workload=workload_of(report),
            availability=self._forecast.availability,
            trend=self._forecast.trend,
            media=media_of(report),
        )
        before, self._view = self._view, view
        self._match_queues()
        news.changed()
        if view != before:
            self._tell_of_loads(before)
            self._scorer.node_changed.tell(view)
            self._sightings.changed(view)
            if self._herald is not None:
                self._herald.changed(before, view)

    def _match_queues(self) -> None:
        """One queue per model that the node has had. Those it cannot serve now turn their waiters away at once."""
        view = self._view
        takes = view.state in TAKES_REQUESTS
        parallel = {backend.id: backend.parallel for backend in self._report.backends}
        for model, seen in view.models.items():
            declared = parallel[seen.backend]
            if model not in self._queues:
                self._queues[model] = self._new_queue(model, declared)
                self._open[model] = True
            elif self._declared[model] != declared:
                self._queues[model].set_limit.tell(declared)
            self._declared[model] = declared
        for model, queue in self._queues.items():
            reason = self._closing(model) if takes else view.reasons[0]
            if reason is None and not self._open[model]:
                queue.welcome_back.tell()
            elif reason is not None and self._open[model]:
                queue.turn_away.tell(reason)
            self._open[model] = reason is None

    def _closing(self, model: str) -> Reason | None:
        """Why the queue of a model takes nobody, though the node does; None when it does."""
        seen = self._view.models.get(model)
        if seen is None:
            return Reason("no-model", f"does not have {model} on disk any more")
        return breaker_reason(self._view, seen, outstanding=0) or (None if seen.resident else pressure(self._view))

    def _new_queue(self, model: str, declared: int) -> ActorHandle:
        assert self._supervisor is not None  # noqa: S101 - made by on_start
        kind = remote(ModelQueue).options(name=names.model_queue(self._id, model), max_concurrency=MAX_ACQUIRES)
        before = self._learned.get(model, 1)
        return self._supervisor.start(kind, self._name, model, declared, self._clock, context(self).handle, before)

    def _tell_of_loads(self, before: NodeView) -> None:
        """A model has come into memory: what ran beside its load was slowed down."""
        resident = [model for model, seen in self._view.models.items() if seen.resident]
        if any(model not in before.models or not before.models[model].resident for model in resident):
            for model in resident:  # nothing runs of the others
                self._queues[model].model_loaded.tell()

    def _gone(self) -> list[str]:
        return [model for model in self._queues if model not in self._view.models]

    async def _drop_gone(self) -> None:
        """End the queues of models that the node has no more, unless a request still runs there: names are many."""
        for model in self._gone():
            try:
                status: QueueStatus = await self._queues[model].status.remote()
            except ActorDiedError:
                status = QueueStatus(self._name, model, 0, 0, 0)
            if not status.running and model not in self._view.models:
                kill(self._queues.pop(model))
                del self._declared[model], self._open[model]
                self._learned.pop(model, None)
                self._used.discard(model)
        self._dropping = False

    def _now(self, kind: str, text: str) -> Reason:
        return Reason(kind, text, since=Seconds(self._clock.wall()))
