"""What is always so in a house, and an observer that notices when it is not. It has no say in anything.

They are numbered, so that they can be spoken of. What one run cannot show is not here: that the same seed decides the
same (8), and that wall clocks decide nothing (10), show when two runs are compared.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from herd.actors.request import OVER_BUDGET
from herd.names import canonical
from herd.protocols.messages import Report, RequestHead
from herd.runtime import ActorDiedError, ActorUnavailableError, Leases
from herd.runtime.registry import registry
from herd.simulation.chaos.overhearing import Execution, WatchedSink
from herd.simulation.chaos.truth import SETTLED_S, Truth
from herd.simulation.chaos.verdicts import SERVED_BY, is_error, verdict
from herd.simulation.fleet.house import House
from herd.types import LinkId, NodeId, NodeState, Seconds, StreamId

WATCH_S = 1.0  # between two looks at leases and queues: what they are asked takes time of the processor
TURNS = 30  # in which whatever was told has been heard; in virtual time they take none
MOST = 20  # violations that are kept: what is broken once is broken often


class Invariant(StrEnum):
    """By number and name."""

    OUTCOME = "1 (one queue, one outcome)"
    LEASES = "2 (leases within the limit, and back)"
    BYTES = "3 (bytes unchanged, no broken answer ends cleanly)"
    AGAIN = "4 (nothing again after a first byte)"
    MODEL = "5 (only models that the node has)"
    STANDING = "6 (nothing new for a node that takes nothing, and nothing of it cut)"
    CRASH = "7 (no failure of Herd's own)"
    HELD = "9 (nothing forgotten; held, not refused, while a node that can is there)"


@dataclass(slots=True, eq=False)
class Asked:
    """A request, and what became of it."""

    mark: str
    model: str
    path: str
    streamed: bool
    sink: WatchedSink
    began: float = 0.0  # loop time, once it is sent
    leaving: bool = False  # its client hangs up
    executions: list[Execution] = field(default_factory=list)  # at most as many as the router makes attempts


@dataclass(frozen=True, slots=True)
class _Standing:
    """What the router knew of a node from a moment on."""

    at: float
    takes: bool
    models: dict[str, int]  # canonical name -> requests that it runs at once


@dataclass(slots=True)
class _Known:
    """What a router has heard of a node."""

    link: LinkId | None = None
    draining: bool = False
    paused: bool = False
    by_hand: bool = False  # drained or paused, by a person
    reported: bool = False
    models: dict[str, int] = field(default_factory=dict)
    standings: list[_Standing] = field(default_factory=list)  # of this moment, and the last one before

    def changed(self, now: float) -> None:
        """Note how it stands now."""
        takes = self.link is not None and self.reported
        takes = takes and not (self.draining or self.paused or self.by_hand)
        self.standings.append(_Standing(now, takes, self.models))
        self.standings = self.at(now)

    def at(self, now: float) -> list[_Standing]:
        """How it stands, and how it stood within this moment: messages take no time, but turns."""
        before = [standing for standing in self.standings if standing.at < now]
        return before[-1:] + [standing for standing in self.standings if standing.at >= now]


class Observer:
    """Overhears a house (it is the `Ears` of `overhearing`), and notes what is not as it should be.

    Attributes:
        violations: the invariant, the time, and the facts.
        log: what was decided, with times.
        counts: how often what happened.
        truth: how the machines are; kept by whoever does something to them.
    """

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.log: list[str] = []
        self.counts: Counter[str] = Counter()
        self.truth = Truth()
        self._asked: dict[str, Asked] = {}
        self._known: dict[NodeId, _Known] = {}
        self._by_hand: dict[NodeId, None] = {}  # nodes that a person wants nothing sent to
        self._streams: dict[StreamId, tuple[NodeId, Asked]] = {}  # that the router has open
        self._stops: list[float] = []  # when a router began to stop
        self._heard_of: dict[NodeId, dict[str, int]] = {}  # the latest models that servers listed, to any router

    # --- notes --------------------------------------------------------------------------------------------------------

    def note(self, text: str) -> None:
        """A line for the log."""
        self.log.append(f"{_now():.6f} {text}")

    def violated(self, invariant: Invariant, facts: str) -> None:
        """Something is not as it should be."""
        if len(self.violations) < MOST:
            self.violations.append(f"invariant {invariant} at {_now():.3f} s: {facts}")

    def ask(self, mark: str, model: str, path: str, *, streamed: bool) -> Asked:
        """A request is about to be sent: its answer goes into this one's sink."""
        self.counts["requests"] += 1
        sink = WatchedSink(lambda wrong: self.violated(Invariant.OUTCOME, f"{mark} {wrong}"))
        asked = self._asked[mark] = Asked(mark, canonical(model), path, streamed, sink)
        return asked

    # --- what is overheard --------------------------------------------------------------------------------------------

    def router_began(self) -> None:
        self.note("a router begins")
        self._known.clear()

    def router_stops(self) -> None:
        """The router is told to stop: what it has not answered yet is lost."""
        self.note("the router stops")
        self._stops.append(_now())

    def joined(self, link: LinkId, node: NodeId) -> None:
        known = self._known.setdefault(node, _Known())
        known.link, known.draining, known.paused, known.reported = link, False, False, False
        known.by_hand = node in self._by_hand
        known.changed(_now())

    def reported(self, link: LinkId, node: NodeId, report: Report) -> None:
        known = self._known.get(node)
        if known is not None and known.link == link:
            limits = {backend.id: max(1, backend.parallel) for backend in report.backends}
            known.reported, known.paused = True, bool(report.pauses)
            known.models = {canonical(one.name): limits[one.backend] for one in report.models if one.backend in limits}
            known.changed(_now())
            if report.backends:  # else the server is down, and what is on its disk stays
                self._heard_of[node] = known.models

    def draining(self, link: LinkId, node: NodeId) -> None:
        known = self._known.get(node)
        if known is not None and known.link == link:
            known.draining = True
            known.changed(_now())

    def ordered(self, node: NodeId, *, away: bool) -> None:
        """A person wants nothing sent to a node any more, or no more minds."""
        if away:
            self._by_hand[node] = None
        else:
            self._by_hand.pop(node, None)
        if node in self._known:
            self._known[node].by_hand = away
            self._known[node].changed(_now())

    def left(self, link: LinkId, node: NodeId) -> None:
        known = self._known.get(node)
        if known is not None and known.link == link:
            known.link = None
            known.changed(_now())

    def opened(self, node: NodeId, stream: StreamId, head: RequestHead) -> None:
        asked = self._asked.get(head.request_id)
        if asked is None:
            return
        self.note(f"{asked.mark} goes to {node}")
        if asked.sink.started:
            self.violated(Invariant.AGAIN, f"{asked.mark} goes to {node} after its first byte")
        self._check_standing(node, asked)
        for other, one in self._streams.values():
            if one is asked:
                self.violated(Invariant.OUTCOME, f"{asked.mark} goes to {node}, and is at {other} still")
        self._streams[stream] = node, asked
        running = sum(1 for other, one in self._streams.values() if (other, one.model) == (node, asked.model))
        limit = max((one.models.get(asked.model, 0) for one in self._standings(node)), default=0)
        if running > limit > 0:
            self.violated(Invariant.LEASES, f"{node} runs {running} of {limit} requests for {asked.model}")

    def _check_standing(self, node: NodeId, asked: Asked) -> None:
        """The node took requests, and had the model, at a moment that the router may think it is."""
        standings = self._standings(node)
        having = [standing for standing in standings if asked.model in standing.models]
        if not having:
            self.violated(Invariant.MODEL, f"{asked.mark} goes to {node}, which reports no {asked.model}")
        elif not any(standing.takes for standing in having):
            self.violated(Invariant.STANDING, f"{asked.mark} goes to {node}, which takes nothing")

    def _standings(self, node: NodeId) -> list[_Standing]:
        known = self._known.get(node)
        return known.at(_now()) if known is not None else []

    def closed(self, stream: StreamId, *, given_up: bool) -> None:
        node, asked = self._streams.pop(stream, (None, None))
        if asked is not None and given_up and not asked.leaving and not self._stopped_since(asked.began):
            self.violated(Invariant.STANDING, f"the router gives {asked.mark} up, which runs on {node}")

    def executed(self, node: NodeId, mark: str) -> Execution | None:
        asked = self._asked.get(mark)
        if asked is None:
            return None
        now = _now()
        if asked.sink.started:
            self.violated(Invariant.AGAIN, f"{node} executes {mark} after its first byte")
        # Reports that are under way for longer are those of a node in trouble.
        if max(self.truth.lacked_since(node, asked.model), self.truth.well_since(node)) + SETTLED_S < now:
            self.violated(Invariant.MODEL, f"{node} is asked for {asked.model}, which it has not had for long")
        execution = Execution(node, Seconds(now))
        asked.executions.append(execution)
        return execution

    # --- ends ---------------------------------------------------------------------------------------------------------

    def over(self, asked: Asked, task: "asyncio.Task[None]") -> None:
        """The router is done with a request: judge its answer."""
        sink = asked.sink
        outcome = self._outcome(asked, task)
        self.counts[outcome] += 1
        served_by = sink.header(SERVED_BY) or "nobody"
        self.note(f"{asked.mark} {outcome}, {sink.status} by {served_by} after {len(asked.executions)} executions")
        if sink.started:
            complaint = verdict(sink, asked.executions, streamed=asked.streamed)
            if complaint is not None:
                self.violated(Invariant.BYTES, f"the answer to {asked.mark} {complaint}")
        if outcome == "refused" and not self._stopped_since(asked.began):
            self._check_refusal(asked)

    def _check_refusal(self, asked: Asked) -> None:
        why = asked.sink.body[:120].decode(errors="replace")
        if asked.sink.status == 404 and any(asked.model in models for models in self._heard_of.values()):
            self.violated(Invariant.HELD, f"{asked.mark} is told that there never was a {asked.model}: {why}")
        if OVER_BUDGET.encode() in asked.sink.body:
            return  # it was tried, and the fleet cannot afford to try it again
        could = self.truth.who_could(asked.model, asked.began)
        if asked.sink.status in {404, 503} and could is not None:
            self.violated(Invariant.HELD, f"{asked.mark} is refused while {could} could serve {asked.model}: {why}")

    def _outcome(self, asked: Asked, task: "asyncio.Task[None]") -> str:
        sink = asked.sink
        if not task.cancelled() and task.exception() is not None:
            self.violated(Invariant.CRASH, f"{asked.mark} raised {task.exception()!r}")
        if sink.finished or sink.aborted:
            if sink.header(SERVED_BY) is None:
                return "refused"
            return "failed" if is_error(sink, streamed=asked.streamed) else "served"
        if asked.leaving:
            return "hung up"
        if self._stopped_since(asked.began):
            return "cut by the router's stop"
        self.violated(Invariant.OUTCOME, f"{asked.mark} ended without an end of its answer")
        return "lost"

    def never_ended(self, asked: Asked) -> None:
        """A request is there still, though all is well for long."""
        self.violated(
            Invariant.OUTCOME, f"{asked.mark} for {asked.model} does not end; it began at {asked.began:.3f} s"
        )

    def _stopped_since(self, began: float) -> bool:
        return any(stop >= began for stop in self._stops)

    # --- what has to be looked at -------------------------------------------------------------------------------------

    async def watch(self, home: House) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self.look(home)

    async def look(self, home: House) -> None:
        """Look at leases and queues. What is so for some turns only, while messages are under way, does not count."""
        suspected = [*_leases(), *await _waiting(home)]
        if suspected:
            await turns(TURNS)
            confirmed = [*_leases(), *await _waiting(home)]
            for invariant, facts in suspected:
                if (invariant, facts) in confirmed:
                    self.violated(invariant, facts)

    async def check_nothing_is_out(self, home: House) -> None:
        """At the end of everything: nothing is left over."""
        for facts in await left_over(home):
            self.violated(Invariant.LEASES, facts)
        for node, asked in self._streams.values():
            self.violated(Invariant.LEASES, f"{asked.mark} has a stream to {node}")


def _leases() -> list[tuple[Invariant, str]]:
    """Leases over their limit, and tickets in two queues."""
    found: list[tuple[Invariant, str]] = []
    places: Counter[str] = Counter()
    for leases in registry().leaky:
        if isinstance(leases, Leases) and leases.leaks():
            places.update([*leases.held, *leases.waiting])
            if len(leases.held) > leases.limit:
                found.append((Invariant.LEASES, f"{len(leases.held)} leases of {leases.limit} are out"))
    twice = sorted(ticket for ticket, count in places.items() if count > 1)
    return [*sorted(found), *((Invariant.OUTCOME, f"ticket {ticket} is in two queues") for ticket in twice)]


async def _waiting(home: House) -> list[tuple[Invariant, str]]:
    """Requests that wait where nothing is taken."""
    try:
        fleet = await home.fleet() if home.up else ()
    except (ActorDiedError, ActorUnavailableError):  # the router stops
        return []
    return [
        (
            Invariant.STANDING,
            f"{queue.waiting} requests wait for {queue.model} at {status.name}, which is {status.state}",
        )
        for status in fleet
        for queue in status.queues
        if queue.waiting and status.state not in {NodeState.READY, NodeState.DEGRADED}
    ]


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def left_over(home: House) -> list[str]:
    """What is out still, once nobody asks for anything: leases, tickets, requests, streams, work of servers."""
    await turns(TURNS)  # what was told may still be under way; nothing of it takes time
    parts, links = home.router.parts, home.links
    queues = [queue for status in await home.fleet() for queue in status.queues if queue.running or queue.waiting]
    found = [f"{one.running} run and {one.waiting} wait for {one.model} at {one.node}" for one in queues]
    found += [
        f"the ledger has {count} tickets at {node}" for node, count in (await parts.scorer.ledger.remote()).items()
    ]
    if held := await parts.pen.count.remote():
        found.append(f"{held} requests are held")
    if told := await parts.traces.under_way.remote():
        found.append(f"{told} requests are shown as under way")
    if links.router_streams or links.agent_streams:
        found.append(f"streams are open: {links!r}")
    try:
        async with asyncio.timeout(60):  # a model server notices a hang-up when it has a token to write
            for node in home.nodes:
                await node.ollama.until(lambda ollama: ollama.running == 0 and ollama.waiting == 0)
    except TimeoutError:
        found += [f"at work: {node.ollama!r}" for node in home.nodes if node.ollama.running or node.ollama.waiting]
    return found


def _now() -> float:
    return asyncio.get_running_loop().time()
