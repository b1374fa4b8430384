"""The OwnerWatch: looks at what the owner of this machine does with it, for the agent."""

import asyncio
import logging
from dataclasses import dataclass, replace

from herd.actors.desk import AgentDesk, HandPause
from herd.actors.ports import Clock
from herd.actors.sensor_ports import OwnerProbe
from herd.policy.orders import Orders
from herd.policy.owner import Owner, OwnerSample, Terms, Watched, paused_by_hand, watch, with_pause
from herd.policy.values import Reason
from herd.protocols.messages import Pause, Report
from herd.runtime import ActorHandle, context
from herd.types import Seconds

logger = logging.getLogger(__name__)

LOOK_S = 3.0  # a meeting pauses the node within 5 s: a look may take the rest
# A probe has time-outs of its own for each of its tools. What takes longer hangs, and what it would say is unknown.
LONGEST_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class OwnerPorts:
    """What the OwnerWatch needs of the outside world."""

    clock: Clock
    probe: OwnerProbe | None = None  # None: nothing can be said of the owner
    desk: AgentDesk | None = None  # None: nobody asks for pauses on the machine itself


class OwnerWatch:
    """Owns what is known of this machine's owner.

    Args:
        ports: the sensors, and what people have asked for.
        terms: what does not change.
        agent: the Agent, told of what changes.
    """

    def __init__(self, ports: OwnerPorts, terms: Terms, agent: ActorHandle) -> None:
        self._ports = ports
        self._terms = terms
        self._agent = agent
        self._watched = Watched()
        self._asked: HandPause | None = None  # what lay on the desk
        self._by_hand = Orders()  # what became of it
        self._told = Owner()
        self._looks: dict[str, asyncio.Task[None]] = {}  # under way, one of each kind

    def on_start(self) -> None:
        """A first look at once, then one every 3 s. After a crash nothing is known any more."""
        if context(self).restarts:
            self.introduce()
        self._look()
        context(self).every(LOOK_S, self._look)

    def introduce(self) -> None:
        """Tell the Agent, which has lost what it knew."""
        self._agent.owner_changed.tell(self._told)

    def _look(self) -> None:
        """Look at the desk and at the owner, each unless the look before has not ended: a probe that hangs delays no
        pause by hand.
        """
        ports = self._ports
        if ports.desk is not None and self._idle("desk"):
            self._looks["desk"] = context(self).spawn(self._see_desk(ports.desk), name="look at the desk")
        if ports.probe is not None and self._idle("owner"):
            self._looks["owner"] = context(self).spawn(self._see_owner(ports.probe), name="look at the owner")

    def _idle(self, kind: str) -> bool:
        return kind not in self._looks or self._looks[kind].done()

    async def _see_desk(self, desk: AgentDesk) -> None:
        asked = await desk.pause()
        if asked != self._asked:
            self._asked = asked
            self._by_hand = Orders() if asked is None else Orders(paused=asked.since, until=asked.until)
        self._by_hand = self._by_hand.begun_by(self._ports.clock.wall())
        self._tell()

    async def _see_owner(self, probe: OwnerProbe) -> None:
        try:
            async with asyncio.timeout(LONGEST_LOOK_S):
                sample = await probe.sample()
        except TimeoutError:
            sample = OwnerSample()
        clock = self._ports.clock
        self._watched = watch(self._watched, sample, self._terms, clock.monotonic(), clock.wall())
        self._tell()

    def _tell(self) -> None:
        by_hand = paused_by_hand(self._by_hand, self._ports.clock.wall())
        before, self._told = self._told, with_pause(self._watched.owner, by_hand)
        if self._told != before:
            _log(before.pauses, self._told.pauses)
            self._agent.owner_changed.tell(self._told)


def with_owner(report: Report, owner: Owner) -> Report:
    """The report, with what there is to say of the owner."""
    return replace(
        report,
        pauses=tuple(Pause(one.kind, one.text, one.since or Seconds(0.0), one.until) for one in owner.pauses),
        workload=owner.workload or "",
        owner_load=owner.load,
        thermal=owner.thermal or "",
    )


def _log(before: tuple[Reason, ...], now: tuple[Reason, ...]) -> None:
    """Each pause that begins or ends, for whoever reads the agent's log."""
    old, new = ({pause.kind: pause.text for pause in pauses} for pauses in (before, now))
    for kind, text in new.items():
        if kind not in old:
            logger.info("a pause begins: this machine %s", text)
    for kind in old:
        if kind not in new:
            logger.info("a pause is over (%s)", kind)
