"""What the owner of a machine does with it, and what follows for the models beside: from a few sensors, without knowing
which programs run.

Every sign has two times, how long looks must agree before it counts and before it ends: what flickers pauses nobody.
What no sensor can say counts as it was said last for a moment, and then as not so: "unknown" is never "in use".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from herd.policy.memory import MEMORY_PRESSURE
from herd.policy.orders import PAUSED, Orders
from herd.policy.values import Reason
from herd.types import Bytes, Pressure, Seconds, Thermal, Workload

MEETING, OWNER_LOAD, TOO_HOT = "meeting", "owner-load", "thermal"  # kinds of pauses

# For so long what was said last counts for a sensor that cannot say: several looks, of which one may hang for 10 s.
UNKNOWN_S = 15.0

# The product's promise: over this for two minutes the machine is its owner's alone. It is given back well below, or a
# load at the limit would pause and resume it every other minute.
BUSY, BUSY_NO_MORE = 0.85, 0.6

# Below so much of what makes a class it ends: a load at its limit is to change nothing.
FALLS_BELOW = 0.8


@dataclass(frozen=True, slots=True)
class OwnerSample:
    """What the owner does with the machine, and how it bears that: None is what no sensor can say.

    Loads are those of everything but the model servers beside the agent and Herd itself.
    """

    camera: bool | None = None  # in use
    microphone: bool | None = None
    cpu: float | None = None  # share of all cores, 0 to 1
    gpu: float | None = None  # share of the busiest GPU, 0 to 1
    memory: Bytes | None = None
    network: float | None = None  # bytes/s, both directions together
    thermal: Thermal | None = None
    pressure: Pressure | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What does not change while an agent runs."""

    dedicated: bool = False  # there is no owner: only what the machine itself bears counts
    memory: Bytes = Bytes(0)  # of the machine; 0: unknown


@dataclass(frozen=True, slots=True)
class Owner:
    """What there is to say of an owner. None: nobody can."""

    pauses: tuple[Reason, ...] = ()
    workload: Workload | None = None
    load: float | None = None  # share of the machine that the owner takes, 0 to 1
    thermal: Thermal | None = None


class Sign(StrEnum):
    """What looks at a machine may say of it, each yes, no, or nothing."""

    CAMERA = "camera"
    MICROPHONE = "microphone"
    BUSY = "busy"  # the owner's own load
    SHORT = "short"  # of memory
    HOT = "hot"  # about to protect itself
    SLOWED = "slowed"  # by its heat
    LIGHT = "light"  # at least; as are the next two
    MODERATE = "moderate"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class Rule:
    """For how many seconds looks must agree before a sign counts, and before it ends.

    Contrary looks for less than `lapse` seconds in between do not make them begin anew.
    """

    begins: float
    ends: float
    lapse: float = 0.0


# A meeting counts at once, for it pauses the machine within 5 s; who changes the camera has both off for one look. A
# class costs loads elsewhere and models that are let go: a page that opens is none, and who reads is still there. What
# is freed of memory is mostly taken again, and a machine that has cooled down for a moment is hot again as soon.
_MEETING, _CLASS = Rule(0.0, 2.0), Rule(15.0, 120.0)
RULES: dict[Sign, Rule] = {
    Sign.CAMERA: _MEETING,
    Sign.MICROPHONE: _MEETING,
    Sign.BUSY: Rule(120.0, 60.0, lapse=10.0),  # a build links, or waits for a file, now and then
    Sign.SHORT: Rule(0.0, 30.0),
    Sign.HOT: Rule(0.0, 60.0),
    Sign.SLOWED: Rule(5.0, 30.0),
    Sign.LIGHT: _CLASS,
    Sign.MODERATE: _CLASS,
    Sign.HEAVY: _CLASS,
}


@dataclass(frozen=True, slots=True)
class Level:
    """What makes a workload at least of a class: any of these."""

    cpu: float
    gpu: float
    memory: float = math.inf  # share of the machine's
    network: float = math.inf  # bytes/s


# Assumptions of the usual order. A desktop at rest takes 1 to 3 % of its cores and some of its GPU for the screen; a
# browser or a film some 5 to 20 %, and a film's stream comes at 5 Mbit/s and more. From a quarter of the machine on
# inference would be felt; a program that takes more than half of it is one that its owner waits for, a compiler or a
# game. Memory that programs hold is not free anyway, so it says only that somebody will want it back; and no network
# traffic competes with inference, but it shows that somebody is there.
LEVELS: dict[Sign, Level] = {
    Sign.LIGHT: Level(cpu=0.05, gpu=0.1, memory=0.5, network=500_000.0),
    Sign.MODERATE: Level(cpu=0.25, gpu=0.3, memory=0.75),
    Sign.HEAVY: Level(cpu=0.55, gpu=0.55),
}


@dataclass(frozen=True, slots=True)
class Spell:
    """How a sign stands. Times are monotonic."""

    on: bool = False
    said: bool = False  # by the latest look that could tell
    told: Seconds = Seconds(-math.inf)  # when that was
    turned: Seconds | None = None  # since when looks have said the contrary of `on`
    lapsed: Seconds | None = None  # and since when they do so no more, for a moment


NEVER = Spell()


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known after some looks."""

    spells: Mapping[Sign, Spell] = field(default_factory=dict)
    owner: Owner = Owner()


def watch(before: Watched, sample: OwnerSample, terms: Terms, now: Seconds, wall: Seconds) -> Watched:
    """What is known after one look more.

    Args:
        before: what was known.
        sample: the look.
        terms: what does not change.
        now: monotonic.
        wall: the same on the wall clock, for people.
    """
    if terms.dedicated:
        sample = OwnerSample(thermal=sample.thermal, pressure=sample.pressure)
    said = _said(sample, terms, before.spells)
    spells = {sign: _after(before.spells.get(sign, NEVER), said[sign], rule, now) for sign, rule in RULES.items()}
    owner = Owner(
        _pauses(spells, before.owner.pauses, wall), _workload(spells, now), _load(sample), _thermal(spells, now)
    )
    return Watched(spells, owner)


def turns_in(watched: Watched, now: Seconds) -> Seconds | None:
    """Seconds until something changes if looks go on to say the same; None: nothing does."""
    turning = [(sign, spell, spell.turned) for sign, spell in watched.spells.items() if spell.lapsed is None]
    left = [
        turned + (RULES[sign].ends if spell.on else RULES[sign].begins) - now
        for sign, spell, turned in turning
        if turned is not None
    ]
    return Seconds(max(0.0, min(left))) if left else None


def paused_by_hand(orders: Orders, wall: Seconds) -> Reason | None:
    """The pause that a person at the machine itself has asked for, until its time is over."""
    if orders.paused is None or orders.left(wall) == 0.0:
        return None
    return Reason(PAUSED, "is paused by hand on the machine itself", orders.paused, orders.until)


def with_pause(owner: Owner, pause: Reason | None) -> Owner:
    """The owner with one pause more, before the others."""
    return owner if pause is None else replace(owner, pauses=(pause, *owner.pauses))


def _after(spell: Spell, says: bool | None, rule: Rule, now: Seconds) -> Spell:
    """How a sign stands after one look more."""
    told = spell.told if says is None else now
    if says is None:
        says = spell.said and now - spell.told <= UNKNOWN_S
    if says is spell.on:
        lapsed = now if spell.lapsed is None else spell.lapsed
        if spell.turned is None or now - lapsed >= rule.lapse:
            return Spell(spell.on, says, told)
        return Spell(spell.on, says, told, spell.turned, lapsed)
    turned = now if spell.turned is None else spell.turned
    if now - turned >= (rule.ends if spell.on else rule.begins):
        return Spell(says, says, told)
    return Spell(spell.on, says, told, turned)


def _said(sample: OwnerSample, terms: Terms, spells: Mapping[Sign, Spell]) -> dict[Sign, bool | None]:
    """What a look says of each sign; None: nothing."""
    thermal, pressure = sample.thermal, sample.pressure
    on = {sign: spells.get(sign, NEVER).on for sign in Sign}
    busy = BUSY_NO_MORE if on[Sign.BUSY] else BUSY
    levels = {sign: _reaches(level, sample, terms, FALLS_BELOW if on[sign] else 1.0) for sign, level in LEVELS.items()}
    return {
        Sign.CAMERA: sample.camera,
        Sign.MICROPHONE: sample.microphone,
        Sign.BUSY: _any(sample, *(load is not None and load > busy for load in (sample.cpu, sample.gpu))),
        Sign.SHORT: None if pressure is None else pressure is Pressure.CRITICAL,
        Sign.HOT: None if thermal is None else thermal is Thermal.CRITICAL,
        Sign.SLOWED: None if thermal is None else thermal is not Thermal.NOMINAL,
        **levels,
    }


def _reaches(level: Level, sample: OwnerSample, terms: Terms, share: float) -> bool | None:
    memory = sample.memory / terms.memory if sample.memory is not None and terms.memory else None
    pairs = (
        (sample.cpu, level.cpu),
        (sample.gpu, level.gpu),
        (memory, level.memory),
        (sample.network, level.network),
    )
    return _any(sample, *(value is not None and value >= least * share for value, least in pairs))


def _any(sample: OwnerSample, *reached: bool) -> bool | None:
    """Whether any of it is so. Nobody can say that none is without the processor's load, in which most work shows."""
    return any(reached) or (None if sample.cpu is None else False)


def _load(sample: OwnerSample) -> float | None:
    if sample.cpu is None:
        return None
    return round(min(max(0.0, sample.cpu, sample.gpu or 0.0), 1.0), 3)


def _pauses(spells: Mapping[Sign, Spell], before: tuple[Reason, ...], wall: Seconds) -> tuple[Reason, ...]:
    """Each pause that is in force, since it began."""
    texts: dict[str, str] = {}
    sources = [f"its {sign.value}" for sign in (Sign.CAMERA, Sign.MICROPHONE) if spells[sign].on]
    if sources:
        texts[MEETING] = f"is in a meeting: {' and '.join(sources)} {'is' if len(sources) == 1 else 'are'} in use"
    if spells[Sign.BUSY].on:
        texts[OWNER_LOAD] = f"is used by its owner, who took over {BUSY:.0%} of it for {RULES[Sign.BUSY].begins:.0f} s"
    if spells[Sign.HOT].on:
        texts[TOO_HOT] = "is so hot that it is about to protect itself"
    if spells[Sign.SHORT].on:
        texts[MEMORY_PRESSURE] = "is short of memory: it serves what is loaded, and loads nothing"
    since = {pause.kind: pause.since for pause in before}
    return tuple(Reason(kind, text, since.get(kind, wall)) for kind, text in texts.items())


def _workload(spells: Mapping[Sign, Spell], now: Seconds) -> Workload | None:
    for sign, workload in (
        (Sign.HEAVY, Workload.HEAVY),
        (Sign.MODERATE, Workload.MODERATE),
        (Sign.LIGHT, Workload.LIGHT),
    ):
        if spells[sign].on:
            return workload
    return Workload.IDLE if now - spells[Sign.LIGHT].told <= UNKNOWN_S else None


def _thermal(spells: Mapping[Sign, Spell], now: Seconds) -> Thermal | None:
    if spells[Sign.HOT].on:
        return Thermal.CRITICAL
    if spells[Sign.SLOWED].on:
        return Thermal.THROTTLED
    return Thermal.NOMINAL if now - spells[Sign.SLOWED].told <= UNKNOWN_S else None
