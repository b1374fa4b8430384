"""The CapacityLearner: when the owners of the machines want them, hour by hour of their week."""

from contextlib import suppress
from dataclasses import dataclass, replace

from herd.actors import names, times
from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.policy.capacity import (
    FREE_LOAD,
    HOUR_S,
    SLOTS,
    UNKNOWN,
    Expected,
    Forecast,
    Presence,
    Profile,
    Slot,
    expected,
    forecast,
    recalled,
    taught,
)
from herd.runtime import ActorDiedError, ActorHandle, ActorUnavailableError, get_actor
from herd.store.database import MAX_NODES
from herd.store.records import KnownSlot
from herd.types import NodeId, Seconds

# What an agent said of its owner holds until it speaks again, but for no longer than this: a simulated one may report
# every 300 s, and one that says nothing for longer has been away.
MOST_HELD_S = 300.0
# So often a forecast is made anew without any cause but the time: the hour goes on.
LOOK_EVERY_S = 60.0
LOAD_STEP = 0.05  # a load that changes by less is no cause

# An hour is remembered anew when its mean has changed by so much, or after so long. Ten machines say something of
# themselves twice a second: to write that down each time would wear out memory cards, and say nothing new.
MEAN_STEP, TELL_EVERY_S = 0.01, 60.0

# Local time differs from UTC by whole quarters of an hour, wherever people live.
QUARTER_S = 900.0


@dataclass(frozen=True, slots=True)
class OwnerSeen:
    """What a heartbeat says of a machine's owner."""

    node: NodeId
    slot: int  # of the week, in the node's own time
    load: float | None = None  # of the owner, 0 to 1; None: unknown
    dedicated: bool = False  # nobody but Herd uses it


@dataclass(frozen=True, slots=True)
class LearnedHour:
    """What is known of one hour of a machine's week. The owner's loads are shares of the machine, 0 to 1."""

    expected: Expected  # filled up from other hours
    seen: Slot | None = None  # in that hour itself


@dataclass(slots=True)
class _Machine:
    """One node's owner, as known and as last seen. Times are monotonic."""

    profile: Profile
    last: OwnerSeen | None = None
    at: Seconds = Seconds(0.0)
    free_since: Seconds | None = None  # the owner's load has been low since then
    quarter: float = 0.0  # seconds by which the node's hours begin after those of UTC
    told: Slot | None = None  # the Store, of the hour that was seen last
    forecast: Forecast = UNKNOWN
    looked: tuple[Seconds, OwnerSeen] | None = None  # when, and at what, the forecast was made


class CapacityLearner:
    """Owns what was learned of the owners; tells a Node what to expect of its own.

    Args:
        clock: durations, and wall times of what is remembered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._machines: dict[NodeId, _Machine] = {}  # the latest last
        self._store: ActorHandle | None = None

    async def on_start(self) -> None:
        """Know what was learned before."""
        with suppress(ValueError, ActorDiedError, ActorUnavailableError):  # there is none, or the router stops
            self._store = get_actor(names.STORE)
            self._recall(await self._store.slots.remote())

    def _recall(self, known: tuple[KnownSlot, ...]) -> None:
        weeks: dict[NodeId, list[Slot | None]] = {}
        for one in known:
            if 0 <= one.slot < SLOTS and 0 <= one.mean <= 1 and 0 <= one.spread <= 1 and one.weight > 0:
                week = weeks.setdefault(one.node, [None] * SLOTS)
                week[one.slot] = Slot(one.mean, one.spread, one.weight, times.recalled(self._clock, one.at))
        now = self._clock.monotonic()
        self._machines.update({node: _Machine(recalled(week, now)) for node, week in weeks.items()})
        keep_latest(self._machines, MAX_NODES)

    def on_stop(self) -> None:
        """Have remembered what was not worth a word yet."""
        for machine in self._machines.values():
            if machine.last is not None:
                self._tell(machine, machine.last)

    # --- what the nodes say -------------------------------------------------------------------------------------------

    def reported(self, seen: OwnerSeen, knows: Forecast) -> None:
        """A heartbeat came in.

        Args:
            seen: what it says of the owner.
            knows: the forecast that the node has: it is told of another one.
        """
        now, wall = self._clock.monotonic(), Seconds(self._clock.wall())
        machine = self._machines.pop(seen.node, None) or _Machine(Profile())
        self._learn(machine, now)
        if machine.last is not None and machine.last.slot != seen.slot:  # that hour is over
            self._tell(machine, machine.last)
            machine.told = None
        _take_in(machine, seen, now, wall)
        if _worth_a_look(machine, seen, now):
            machine.forecast = self._told(forecast(machine.profile, _presence(machine, seen, now, wall), now))
            machine.looked = (now, seen)
        self._machines[seen.node] = machine  # the latest last
        keep_latest(self._machines, MAX_NODES)
        if machine.forecast != knows:
            with suppress(ValueError):  # the router stops
                get_actor(names.node(seen.node)).owner_expected.tell(machine.forecast)

    def _told(self, found: Forecast) -> Forecast:
        """The forecast with its times as people have them."""
        pause = found.pause
        if pause is None or pause.until is None:
            return found
        ends = times.stored(self._clock, pause.until)
        until = Seconds(round(ends / 60.0) * 60.0)  # in minutes: the same from look to look
        return replace(found, pause=replace(pause, until=until))

    def _learn(self, machine: _Machine, now: Seconds) -> None:
        """What the last heartbeat said held until now, or for as long as it may."""
        last, gone = machine.last, now - machine.at
        lasted = Seconds(min(gone, MOST_HELD_S))
        if last is None or last.load is None or last.dedicated or lasted <= 0:
            return
        until = Seconds(now - gone + lasted)
        machine.profile = taught(machine.profile, last.slot, last.load, lasted, until)
        slot = machine.profile.slots[last.slot]
        if slot is not None and (machine.told is None or _worth_a_word(machine.told, slot)):
            self._tell(machine, last)

    def _tell(self, machine: _Machine, last: OwnerSeen) -> None:
        """Have the hour that was seen last remembered as it is now."""
        slot = machine.profile.slots[last.slot]
        if self._store is not None and slot is not None and slot != machine.told:
            at = times.stored(self._clock, slot.at)
            known = KnownSlot(last.node, last.slot, slot.mean, slot.spread, slot.weight, at)
            self._store.record_slots.tell((known,))
            machine.told = slot

    # --- questions ----------------------------------------------------------------------------------------------------

    def availability(self, node: NodeId, slot: int) -> float:
        """The share of a machine that its owner is expected to leave in an hour of the week; 1.0 if unknown."""
        machine = self._machines.get(node)
        if machine is None:
            return 1.0
        hour = expected(machine.profile, slot, self._clock.monotonic())
        return 1.0 - hour.load * hour.confidence

    def week(self, node: NodeId) -> tuple[LearnedHour, ...]:
        """What is known of each hour of a machine's week."""
        machine = self._machines.get(node)
        profile, now = machine.profile if machine is not None else Profile(), self._clock.monotonic()
        return tuple(LearnedHour(expected(profile, slot, now), profile.slots[slot]) for slot in range(SLOTS))


def _take_in(machine: _Machine, seen: OwnerSeen, now: Seconds, wall: Seconds) -> None:
    """Note how the machine is now; what is learned of it shows with the next heartbeat."""
    last = machine.last
    present = last is not None and now - machine.at <= MOST_HELD_S
    if present and last is not None and seen.slot == (last.slot + 1) % SLOTS:  # its hour has just begun
        machine.quarter = round(wall % HOUR_S / QUARTER_S) * QUARTER_S % HOUR_S
    if seen.load is None or seen.load >= FREE_LOAD:
        machine.free_since = None
    elif machine.free_since is None or not present:
        machine.free_since = now
    machine.last, machine.at = seen, now


def _worth_a_word(told: Slot, slot: Slot) -> bool:
    """Whether an hour has become another one, so that the Store shall hear of it."""
    return abs(slot.mean - told.mean) >= MEAN_STEP or slot.at - told.at >= TELL_EVERY_S


def _worth_a_look(machine: _Machine, seen: OwnerSeen, now: Seconds) -> bool:
    """Whether the forecast may be another one by now."""
    if machine.looked is None or now - machine.looked[0] >= LOOK_EVERY_S:
        return True
    before = machine.looked[1]
    if (before.slot, before.dedicated, before.load is None) != (seen.slot, seen.dedicated, seen.load is None):
        return True
    return abs((before.load or 0.0) - (seen.load or 0.0)) >= LOAD_STEP


def _presence(machine: _Machine, seen: OwnerSeen, now: Seconds, wall: Seconds) -> Presence:
    return Presence(
        seen.slot,
        Seconds((wall - machine.quarter) % HOUR_S),
        seen.load,
        Seconds(now - machine.free_since if machine.free_since is not None else 0.0),
        seen.dedicated,
    )
