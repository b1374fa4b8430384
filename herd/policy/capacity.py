"""What a machine's owner leaves of it: learned for each hour of the week, and said of the next one.

docs/learning.md explains the formulae and the constants.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from herd.policy.values import TREND_MAX, TREND_UNKNOWN, Reason
from herd.types import Seconds

SLOTS, DAY_HOURS, HOUR_S = 168, 24, 3600.0  # slot 0 is Monday 00:00 in the node's own time
WEEKEND = 5  # the first day of it

HALF_LIFE_S = 3 * 7 * 86_400.0  # three weeks: a new job shows within a month, and one holiday hides nothing

# What other hours of the week say of this one, as a share of what it says itself. Assumptions: people begin and end
# within an hour of their time, one workday is much like another, and any hour says a little of the machine.
NEIGHBOUR, SAME_KIND, OTHER_KIND, ANY_HOUR = 0.5, 0.5, 0.05, 0.005  # kinds of day: workdays and weekends
MOST_FROM_OTHERS = 1.0  # all of them together count as one week of the hour itself, at most
# Hours that count. What was seen so much of is believed whole, and needs nothing from other hours; that much of the
# hour itself must have been seen before a machine is out of service for it. With the half-life above: three weeks.
ENOUGH = 2.0
LEAST_AVAILABILITY = 0.2  # below, a machine is its owner's alone
# An owner who is expected and takes less than half of the machine is not there. People are late by some minutes, and a
# machine that is not needed after so long is not needed today.
FREE_LOAD, ABSENT_S = 0.5, 1200.0
# What an owner does now goes on for a part of the next hour. Meetings last an hour at most, compilers some minutes,
# games the whole of it: half of it is an assumption.
PERSISTENCE = 0.5

# Nearer values are the same to routing: a tie is a difference of 2 points.
TREND_STEP, AVAILABILITY_STEP = 0.5, 0.1


@dataclass(frozen=True, slots=True)
class Slot:
    """What was seen of one hour of the week: the owner's load, 0 to 1, over the time that was covered."""

    mean: float
    spread: float  # standard deviation
    weight: float  # hours, decayed by age
    at: Seconds  # monotonic, of the latest

    def weight_at(self, now: Seconds) -> float:
        """What it counts now."""
        return self.weight * float(0.5 ** (max(0.0, now - self.at) / HALF_LIFE_S))


@dataclass(frozen=True, slots=True)
class Profile:
    """An owner's week, as far as it was seen."""

    slots: tuple[Slot | None, ...] = (None,) * SLOTS
    overall: Slot | None = None  # all hours together


def recalled(slots: Iterable[Slot | None], now: Seconds) -> Profile:
    """The profile that these hours are of."""
    week = tuple(slots)
    seen = [(slot, slot.weight_at(now)) for slot in week if slot is not None]
    weight = math.fsum(counts for _, counts in seen)
    if not weight:
        return Profile(week)
    mean = math.fsum(counts * slot.mean for slot, counts in seen) / weight
    square = math.fsum(counts * (slot.spread**2 + (slot.mean - mean) ** 2) for slot, counts in seen) / weight
    return Profile(week, Slot(mean, math.sqrt(square), weight, now))


def taught(before: Profile, number: int, load: float, lasted: Seconds, now: Seconds) -> Profile:
    """The profile once the owner's load was `load` for `lasted` seconds more in the hour `number`, until `now`."""
    slot = observed(before.slots[number], load, lasted, now)
    slots = (*before.slots[:number], slot, *before.slots[number + 1 :])
    return Profile(slots, observed(before.overall, load, lasted, now))


def observed(before: Slot | None, load: float, lasted: Seconds, now: Seconds) -> Slot:
    """What is known of an hour once the owner's load was `load` for `lasted` seconds more, until `now`.

    Means and variances are integrals over time, so that it does not matter how often somebody looked.
    """
    hours = max(lasted, 0.001) / HOUR_S
    if before is None:
        return Slot(load, 0.0, hours, now)
    old = before.weight_at(now)
    weight = old + hours
    mean = before.mean + (load - before.mean) * hours / weight
    square = (old * (before.spread**2 + (before.mean - mean) ** 2) + hours * (load - mean) ** 2) / weight
    return Slot(mean, math.sqrt(square), weight, max(now, before.at))


@dataclass(frozen=True, slots=True)
class Expected:
    """The owner's load that an hour of the week is expected to have."""

    load: float  # 0 to 1; 0 where nothing is known
    confidence: float  # 0: nothing is known; 1: it is believed whole


def expected(profile: Profile, slot: int, now: Seconds) -> Expected:
    """What is to be expected of an hour: what was seen of it, and where that is little, of others."""
    own = profile.slots[slot]
    weight, load = (own.weight_at(now), own.mean) if own is not None else (0.0, 0.0)
    if weight >= ENOUGH:
        return Expected(load, 1.0)
    others, other_loads = 0.0, 0.0
    for other, counts in [*_related(profile.slots, slot), (profile.overall, ANY_HOUR)]:
        if other is not None:
            share = counts * other.weight_at(now)
            others += share
            other_loads += share * other.mean
    if others > 0.0:
        filled = min(others, MOST_FROM_OTHERS, ENOUGH - weight)
        load = (weight * load + filled * other_loads / others) / (weight + filled)
        weight += filled
    return Expected(load, min(1.0, weight / ENOUGH))


def _related(slots: tuple[Slot | None, ...], slot: int) -> list[tuple[Slot | None, float]]:
    """The hours that say most of another one, and how much."""
    day, hour = divmod(slot, DAY_HOURS)
    days = [
        (slots[other * DAY_HOURS + hour], SAME_KIND if (other < WEEKEND) == (day < WEEKEND) else OTHER_KIND)
        for other in range(SLOTS // DAY_HOURS)
        if other != day
    ]
    return [(slots[slot - 1], NEIGHBOUR), (slots[(slot + 1) % SLOTS], NEIGHBOUR), *days]


# --- what is said of a machine ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Presence:
    """How a machine is now."""

    slot: int  # of the week
    into: Seconds = Seconds(0.0)  # so far into that hour
    load: float | None = None  # of the owner; None: unknown
    free_for: Seconds = Seconds(0.0)  # the load has been below `FREE_LOAD` for so long
    dedicated: bool = False  # nobody but Herd uses it


@dataclass(frozen=True, slots=True)
class Forecast:
    """What routing is told of a machine's owner."""

    availability: float = 1.0  # the share of the machine that is there for requests, 0 to 1; 1 where nothing is known
    trend: float = TREND_UNKNOWN  # points: what the next hour leaves of the machine
    pause: Reason | None = None  # the owner will want the machine: it takes no new request


UNKNOWN = Forecast()
DEDICATED = Forecast(trend=TREND_MAX)


def forecast(profile: Profile, presence: Presence, now: Seconds) -> Forecast:
    """What there is to expect of a machine from now on. `now` and the end of a pause are monotonic."""
    if presence.dedicated:
        return DEDICATED
    week = _Week(profile, now)
    absent = _absent_today(week, presence)
    return Forecast(
        _rounded(_availability(week, presence, absent=absent), AVAILABILITY_STEP),
        _rounded(_trend(week, presence, absent=absent), TREND_STEP),
        None if absent else _pause(week, presence, now),
    )


@dataclass(slots=True)
class _Week:
    """What is expected of each hour, worked out when it is asked for."""

    profile: Profile
    now: Seconds
    known: dict[int, Expected] = field(default_factory=dict)

    def __getitem__(self, slot: int) -> Expected:
        slot %= SLOTS
        if slot not in self.known:
            self.known[slot] = expected(self.profile, slot, self.now)
        return self.known[slot]

    def is_busy(self, slot: int) -> bool:
        """Whether the owner is expected to need the machine in that hour."""
        return self[slot].load >= FREE_LOAD

    def is_owners(self, slot: int) -> bool:
        """Whether that hour surely leaves less than `LEAST_AVAILABILITY`: by a standard error of its mean.

        Weeks are what is independent in it, and an hour that was seen whole weighs one.
        """
        own = self.profile.slots[slot % SLOTS]
        weight = own.weight_at(self.now) if own is not None else 0.0
        if own is None or weight < ENOUGH:
            return False
        return 1.0 - self[slot].load + own.spread / math.sqrt(weight) < LEAST_AVAILABILITY


def _availability(week: _Week, presence: Presence, *, absent: bool) -> float:
    """The share of the machine that its owner leaves: no more than now, nor than is usual at this hour.

    What is not known counts as free: no machine is out of service because it is being learned.
    """
    here = week[presence.slot]
    usual = 0.0 if absent else here.load * here.confidence
    return 1.0 - max(presence.load or 0.0, usual)


def _trend(week: _Week, presence: Presence, *, absent: bool) -> float:
    """Points for what the owner is expected to leave over the next hour: 10 for all of the machine, 5 if unknown.

    A busy machine whose owner is about to leave has more than one whose owner stays, and a free one whose owner is
    about to come has less than one that stays free.
    """
    now, later = presence.load or 0.0, presence.into / HOUR_S
    # An owner who has not come today does not come for the rest of those hours either.
    parts = (presence.slot, presence.slot + 1)  # what the next hour is made of
    hours = [now if absent and week.is_busy(slot) else _doubted(week[slot]) for slot in parts]
    usual = hours[0] * (1.0 - later) + hours[1] * later
    return TREND_MAX * (1.0 - max(usual, PERSISTENCE * now))


def _doubted(hour: Expected) -> float:
    """The expected load, as far as it is believed; for the rest what an unknown machine is taken to bear."""
    return hour.load * hour.confidence + (1.0 - TREND_UNKNOWN / TREND_MAX) * (1.0 - hour.confidence)


def _absent_today(week: _Week, presence: Presence) -> bool:
    """Whether the owner, who is usually there by now, has not come."""
    return (
        presence.load is not None
        and week.is_busy(presence.slot)
        and min(presence.free_for, _expected_for(week, presence)) >= ABSENT_S
    )


def _expected_for(week: _Week, presence: Presence) -> float:
    """Seconds since the owner's hours began; a day's at most."""
    before = 0
    while before < DAY_HOURS and week.is_busy(presence.slot - before - 1):
        before += 1
    return presence.into + before * HOUR_S


def _pause(week: _Week, presence: Presence, now: Seconds) -> Reason | None:
    """Why the machine is its owner's alone at this hour, if that is sure, and until when."""
    if not week.is_owners(presence.slot):
        return None
    hours = 1
    while hours < DAY_HOURS and week.is_owners(presence.slot + hours):
        hours += 1
    ends = now - presence.into + hours * HOUR_S
    if presence.load is not None and presence.free_for > 0.0:
        ends = min(ends, now + ABSENT_S - min(presence.free_for, _expected_for(week, presence)))
    return Reason("availability", "is its owner's alone at this hour of the week", until=Seconds(ends))


def _rounded(value: float, step: float) -> float:
    return round(round(value / step) * step, 2)


def load_of(load: float | None, pauses: Iterable[str]) -> float | None:
    """The owner's load as it is learned: whoever is in a meeting needs the whole machine, whatever its programs take.

    Args:
        load: as the agent says; None: unknown.
        pauses: kinds of the reasons for which the agent pauses the node.
    """
    if "meeting" in pauses:
        return 1.0
    return load if load is not None and 0.0 <= load <= 1.0 else None
