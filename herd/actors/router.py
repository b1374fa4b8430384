"""The router process on one screen: every actor started in order, supervised, and stopped in reverse."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from herd.actors import names
from herd.actors.capacity_learner import CapacityLearner
from herd.actors.discovery import Discovery
from herd.actors.feed import Feed
from herd.actors.fleet import Fleet, FleetEvents, RouterIdentity
from herd.actors.gateway import Gateway
from herd.actors.holding_pen import HoldingPen
from herd.actors.ids import Ids
from herd.actors.latency_learner import LatencyLearner
from herd.actors.metering import NoLog, NoMeter
from herd.actors.ports import Advertiser, Clock, HttpServer, LinkListener, Links, Streams
from herd.actors.pre_warmer import PreWarmer
from herd.actors.rebalancer import Rebalancer
from herd.actors.request import RouterParts
from herd.actors.scorer import Scorer
from herd.actors.store import Store
from herd.actors.surface import Surface, SurfaceSettings
from herd.actors.traces import Traces
from herd.actors.tracing import NoTracer, Tracer
from herd.actors.watch_ports import LogBook, Meter
from herd.names import Names
from herd.policy.liveness import HEARTBEAT_S
from herd.policy.placement import Ranking
from herd.policy.scorers import SCORERS
from herd.protocols.access import Access
from herd.protocols.discovery import RouterAddress
from herd.protocols.herd_api import InfoDocument
from herd.protocols.messages import PROTOCOL_VERSIONS
from herd.runtime import ActorHandle, RestartLimitExceeded, RestartPolicy, Supervisor, get_actor, remote, stop
from herd.store.database import Database
from herd.store.executor import Executor, InlineExecutor
from herd.types import Bytes, ScorerKind, Seconds

logger = logging.getLogger(__name__)

# Agents re-dial within 3 s and report at once: while nodes that the router knows are missing, a model that nobody seems
# to have may be theirs.
JOIN_GRACE_S = Seconds(10.0)

# What the fleet can do without is tried for ever: the network that mDNS needs may come back tomorrow, and no request
# depends on the Traces, nor on being moved.
FOR_EVER = RestartPolicy(max_restarts=-1, max_backoff=30.0)


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """What a router is told."""

    identity: RouterIdentity
    seed: int  # of its request ids
    hold_timeout: Seconds
    json_limit: Bytes
    join_grace: Seconds = JOIN_GRACE_S
    heartbeat: Seconds = HEARTBEAT_S  # of its nodes; three that are missed degrade a node
    scorer: ScorerKind = ScorerKind.SEVEN_SIGNALS
    ranking: Ranking | None = None  # in place of the scorer's, in simulations that compare
    edits: bool = True  # False in simulations of routers that have none
    pre_warm: bool = True  # load models ahead; False only to measure what that is worth, as is
    homes: bool = True  # keep models loaded where they live
    rebalance: bool = True  # move what waits
    access: Access = field(default_factory=Access)  # who may do what; by default what needs no key
    link_tls: bool = False  # agents have to speak TLS
    join_token: bool = False  # agents have to prove one
    names: Names = field(default_factory=Names)  # what models are called, and which stand in for which


def in_memory() -> Database:
    """A database that ends with the process: for demos and simulations."""
    return Database(None)


@dataclass(frozen=True, slots=True)
class RouterPorts:
    """What a router needs of the outside world. `links`, `streams` and `listener` are mostly one object."""

    clock: Clock
    http: HttpServer
    listener: LinkListener
    links: Links
    streams: Streams
    advertiser: Advertiser | None  # None: mDNS is off
    open_store: Callable[[], Database] = in_memory
    executor: Executor = field(default_factory=InlineExecutor)
    meter: Meter = field(default_factory=NoMeter)
    tracer: Tracer = field(default_factory=NoTracer)
    log: LogBook = field(default_factory=NoLog)


@dataclass(frozen=True, slots=True)
class RunningRouter:
    """A router that is up. `failed` is done when an actor that it cannot do without crashes again and again."""

    http_port: int
    link_port: int
    fleet: ActorHandle
    parts: RouterParts
    failed: "asyncio.Future[RestartLimitExceeded]"


@asynccontextmanager
async def running_router(options: RouterOptions, ports: RouterPorts) -> AsyncIterator[RunningRouter]:
    """Run a router until the block ends.

    Raises:
        ConfigError: a port cannot be had.
        StoreError: the database cannot be opened.
    """
    namespace = names.router(options.identity.id)
    failed: asyncio.Future[RestartLimitExceeded] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ports.tracer.close)  # last of all: requests end until then
        vital = Supervisor(give_up=failed.set_result)
        optional = Supervisor(restarts=FOR_EVER)

        def start(supervisor: Supervisor, kind: type[Any], name: str, *args: Any, **named: Any) -> ActorHandle:
            # Calls that wait for an answer are questions: whoever asks while an actor crashes is answered by its next
            # incarnation. Only what is held in the pen is placed again, for its time runs.
            retries = 0 if kind is HoldingPen else 1
            options = remote(kind).options(name=name, namespace=namespace, max_task_retries=retries)
            actor = supervisor.start(options, *args, **named)
            stack.push_async_callback(stop, actor)
            return actor

        identity, tls = options.identity, options.link_tls

        def info() -> InfoDocument:
            port, token = ports.listener.port, options.join_token
            return InfoDocument(identity.id, identity.version, port, PROTOCOL_VERSIONS, tls, token)

        # All that follow tell it what they do, to their end.
        feed = start(optional, Feed, names.FEED, info, ports.clock, ports.meter, ports.log)
        store = start(vital, Store, names.STORE, ports.open_store, ports.executor, ports.clock)
        known = await store.load.remote()
        learner = start(vital, LatencyLearner, names.LATENCY_LEARNER, ports.clock, store)
        start(vital, CapacityLearner, names.CAPACITY_LEARNER, ports.clock)
        pen = start(vital, HoldingPen, names.HOLDING_PEN)
        traces = start(optional, Traces, names.TRACES, ports.clock, store)
        warmer = start(optional, PreWarmer, names.PRE_WARMER, ports.clock, options.homes)
        hears = warmer if options.pre_warm else None
        scores = {"ranking": options.ranking or SCORERS[options.scorer], "edits": options.edits}
        scorer = start(vital, Scorer, names.SCORER, pen, ports.clock, store, known, hears, **scores)
        fleet = start(vital, Fleet, names.FLEET, options.identity, ports.links, scorer, ports.clock, options.heartbeat)
        if options.rebalance:
            start(optional, Rebalancer, names.REBALANCER, scorer, ports.clock)
        await ports.listener.start(FleetEvents(fleet))
        stack.push_async_callback(ports.listener.stop)

        parts = RouterParts(
            scorer=scorer,
            pen=pen,
            learner=learner,
            traces=traces,
            find=partial(get_actor, namespace=namespace),
            streams=ports.streams,
            clock=ports.clock,
            ids=Ids(options.seed),
            meter=ports.meter,
            tracer=ports.tracer,
            hold_timeout=options.hold_timeout,
            grace_until=Seconds(ports.clock.monotonic() + options.join_grace),
            names=options.names,
        )
        surface = Surface(SurfaceSettings(info(), options.json_limit, options.access, ports.log), parts, fleet)
        stack.push_async_callback(ports.http.stop)  # if the Gateway is dead by then; else it has stopped it
        gateway = start(vital, Gateway, names.GATEWAY, ports.http, surface.handle)
        await gateway.listen.remote()
        stack.callback(pen.close.tell)  # first of all when the router stops: the Gateway waits for whoever is held
        stack.callback(feed.close.tell)  # and for whoever watches
        if ports.advertiser is not None:
            address = RouterAddress((), ports.http.port, ports.listener.port, identity.id, PROTOCOL_VERSIONS, tls)
            start(optional, Discovery, names.DISCOVERY, ports.advertiser, address)
        yield RunningRouter(ports.http.port, ports.listener.port, fleet, parts, failed)
