"""What the owners of the machines do, week after week, and what that leaves to inference.

An owner is a person of some kind (`HABITS`) with hours of their own, drawn from a seed: when they sit down, which
meetings they are in, on which evenings they play. Those hours come back every week, with a little jitter and a day off
now and then. Only short things, as a compiler's runs, come at other times each day.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from herd.simulation.machine.pace import MachineProfile
from herd.types import Bytes, GiB, Seconds

HOUR, DAY, SLOTS = 3600, 24 * 3600, 168  # seconds, seconds, hours of a week

# A program that takes half the machine is one that its owner waits for, a compiler or a game; below that, what is left
# of the machine hides inference. An assumption.
HEAVY_USE = 0.5

# Schedulers of processors and of GPUs starve nobody: something is left beside the hungriest program. An assumption.
LEAST_SPEED = 0.1
# Apple's processor cores and GPU share the memory's bandwidth, which decoding lives on; busy cores take a part of it,
# but are not made to take all. An assumption.
UNIFIED_CPU_COST = 0.3
# A game that keeps a GPU busy fills more than half of its memory: about 8 of 12 GB. An assumption.
GAME_VIDEO_MEMORY = 0.6
# What a system keeps of the memory that it shares with models: as `profiles` has it for the small machines.
SYSTEM_MEMORY = 1 / 8
# Programs make do with what there is: on a small machine they take at most this share of its memory. An assumption.
MOST_MEMORY = 0.75

# How true people are to their hours. All assumptions: not every appointment takes place, nobody is on time to the
# minute, and now and then a whole day is a holiday.
KEPT, LATE_MINUTES, LONGER, AWAY = 0.92, 12.0, 0.15, 0.04
# Calendars offer the hour and the half hour, and meetings of these lengths in minutes.
CALENDAR_HOURS, MEETING_MINUTES = 0.5, (25.0, 55.0)

_WEEKDAYS, _WEEKEND, _DAILY = (0, 1, 2, 3, 4), (5, 6), (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class OwnerState:
    """What the owner's programs take at one moment."""

    cpu: float = 0.0  # share of all cores, 0 to 1
    gpu: float = 0.0  # share of the GPU, 0 to 1
    memory: Bytes = Bytes(0)  # of the machine's memory
    meeting: bool = False  # camera or microphone in use
    asleep: bool = False  # lid closed: the machine does nothing

    @property
    def heavy(self) -> bool:
        """The owner's programs want much of the machine."""
        return max(self.cpu, self.gpu) >= HEAVY_USE

    @property
    def busy(self) -> bool:
        """The owner would notice inference: in a meeting, where fans and stutter disturb, or in heavy use."""
        return not self.asleep and (self.meeting or self.heavy)


@dataclass(frozen=True, slots=True)
class Session:
    """Something that an owner does on some days of the week."""

    days: tuple[int, ...]  # 0 is Monday
    hours: tuple[float, float]  # it begins between these hours of the day; 25 is one o'clock of the night after
    minutes: tuple[float, float]  # it lasts
    cpu: float = 0.0
    gpu: float = 0.0
    memory: Bytes = Bytes(0)
    meeting: bool = False  # it begins at the hour or the half hour
    carried: bool = False  # the lid is closed while it lasts
    times: int = 1  # at most, on each of its days
    chance: float = 1.0  # of each of these times: in this owner's life if `regular`, else on one day
    regular: bool = True  # each owner has hours of their own for it; else it comes at other times every day


@dataclass(frozen=True, slots=True)
class Habits:
    """One kind of owner."""

    name: str
    sessions: tuple[Session, ...] = ()
    lid: bool = False  # the machine sleeps whenever nothing is done with it


# What people do, and what programs take, is assumed throughout: browsers and chat programs take a twelfth of the cores
# and 5 GiB, a compiler nearly all cores, a game the GPU and a third of the cores.
HABITS: dict[str, Habits] = {
    habits.name: habits
    for habits in (
        Habits("server"),
        Habits(
            "office laptop",
            lid=True,
            sessions=(
                Session(_WEEKDAYS, (8.25, 9.25), (180, 215), cpu=0.08, memory=Bytes(5 * GiB)),
                Session(_WEEKDAYS, (13.0, 13.5), (210, 270), cpu=0.08, memory=Bytes(5 * GiB)),
                Session(
                    _WEEKDAYS, (9, 16.5), MEETING_MINUTES, 0.2, 0.1, Bytes(1 * GiB), meeting=True, times=4, chance=0.6
                ),
                # From desk to meeting room, and home on the train.
                Session(_WEEKDAYS, (9.25, 17), (2, 8), carried=True, times=4, chance=0.6, regular=False),
                Session((0, 1, 2, 3, 6), (20, 21.5), (30, 90), cpu=0.08, memory=Bytes(4 * GiB), chance=0.3),
            ),
        ),
        Habits(
            "developer workstation",
            sessions=(
                Session(_WEEKDAYS, (9, 10), (180, 210), cpu=0.1, memory=Bytes(8 * GiB)),
                Session(_WEEKDAYS, (13, 14), (240, 300), cpu=0.1, memory=Bytes(8 * GiB)),
                Session(
                    _WEEKDAYS, (10, 16.5), MEETING_MINUTES, 0.15, 0.1, Bytes(1 * GiB), meeting=True, times=2, chance=0.6
                ),
                # The compiler, after a change or two; and the whole test suite.
                Session(
                    _WEEKDAYS, (9.5, 18), (1, 6), cpu=0.85, memory=Bytes(4 * GiB), times=24, chance=0.7, regular=False
                ),
                Session(_WEEKDAYS, (10, 17), (15, 35), cpu=0.9, memory=Bytes(6 * GiB), times=2, chance=0.8),
                Session((1, 3, 5), (20.5, 21.5), (60, 150), cpu=0.3, memory=Bytes(8 * GiB), chance=0.7),
            ),
        ),
        Habits(
            "gamer",
            sessions=(
                Session(_DAILY, (17, 19), (30, 90), cpu=0.08, gpu=0.05, memory=Bytes(4 * GiB), chance=0.7),
                Session(_DAILY, (19, 21), (90, 240), cpu=0.35, gpu=0.9, memory=Bytes(10 * GiB), chance=0.75),
                Session(_WEEKEND, (13, 16), (120, 240), cpu=0.35, gpu=0.9, memory=Bytes(10 * GiB), chance=0.8),
            ),
        ),
        Habits(
            "family mac",
            sessions=(
                Session(_DAILY, (6.75, 8), (15, 40), cpu=0.06, memory=Bytes(3 * GiB), chance=0.8),
                Session(_WEEKDAYS, (15, 16.5), (60, 120), cpu=0.12, memory=Bytes(5 * GiB), chance=0.9),  # homework
                Session(_DAILY, (20, 20.5), (90, 130), cpu=0.1, gpu=0.15, memory=Bytes(3 * GiB), chance=0.6),  # a film
                Session((6,), (16, 18), MEETING_MINUTES, 0.15, 0.1, Bytes(1 * GiB), meeting=True),  # the grandparents
                Session(_WEEKEND, (10, 11.5), (60, 150), cpu=0.6, gpu=0.5, memory=Bytes(6 * GiB), chance=0.7),  # photos
            ),
        ),
        Habits(
            "night owl",
            lid=True,
            sessions=(
                Session(_DAILY, (13, 15), (200, 280), cpu=0.08, memory=Bytes(5 * GiB)),
                Session(_DAILY, (20.5, 22), (270, 360), cpu=0.1, memory=Bytes(6 * GiB)),
                Session(_DAILY, (22, 26), (2, 10), cpu=0.85, memory=Bytes(4 * GiB), times=8, chance=0.7, regular=False),
                Session(_DAILY, (23, 24.5), (60, 120), cpu=0.35, gpu=0.9, memory=Bytes(6 * GiB), chance=0.4),
                Session((1, 3), (14, 16), MEETING_MINUTES, 0.2, 0.1, Bytes(1 * GiB), meeting=True, chance=0.7),
            ),
        ),
    )
}


def week(
    habits: Habits, machine: MachineProfile, seed: int, *, start_slot: int = 0, start_week: int = 0, duration: Seconds
) -> Iterator[tuple[Seconds, OwnerState]]:
    """What one owner does to a machine, change by change; two days are held in memory, however long it goes on.

    Args:
        habits: the kind of owner.
        machine: whose memory bounds what programs take.
        seed: of the owner: who has the same one has the same hours.
        start_slot: hour of the local week at which time 0 is; 0 is Monday 00:00.
        start_week: number of that week in the owner's life. The hours are the same in all, the jitter is not.
        duration: seconds; changes come before it. It may be infinite.

    Returns:
        Seconds since time 0 and the state from then on. The first is at 0.0, times only grow, and every state differs
        from the one before.

    Raises:
        ValueError: no such hour of a week, or a duration that is not above 0.
    """
    if not 0 <= start_slot < SLOTS or not duration > 0:
        raise ValueError(f"a week has the hours 0 to 167, and time goes on: {start_slot=} {duration=}")
    return _changes(_Person(habits, seed), machine, float((start_week * SLOTS + start_slot) * HOUR), duration)


def speed_left(state: OwnerState, machine: MachineProfile) -> float:
    """The share of the machine's speed that inference gets beside its owner, 0 to 1; 0.0 only while it sleeps.

    Models on a card lose what a game takes of it, models on the processor what programs take of that. Apple's machines
    lose both: the GPU's share, and some bandwidth to the cores.
    """
    if state.asleep:
        return 0.0
    if not machine.gpu:
        left = 1.0 - state.cpu
    elif machine.own_video_memory:
        left = 1.0 - state.gpu
    else:
        left = (1.0 - state.gpu) * (1.0 - UNIFIED_CPU_COST * state.cpu)
    return max(LEAST_SPEED, left)


def memory_left(state: OwnerState, machine: MachineProfile) -> Bytes:
    """How many bytes runners may take beside the owner's programs: at most `model_memory`, at least 0.

    Where models share the memory with the programs, they get what those and the system leave. A card has its own, of
    which games take a part.
    """
    if machine.own_video_memory:
        return Bytes(int(machine.model_memory * (1.0 - GAME_VIDEO_MEMORY * state.gpu)))
    free = int(machine.memory * (1 - SYSTEM_MEMORY)) - state.memory
    return Bytes(max(0, min(machine.model_memory, free)))


@dataclass(frozen=True, slots=True)
class _Hours:
    """When one owner does a regular thing, and for how long."""

    hour: float
    minutes: float


@dataclass(frozen=True, slots=True)
class _Event:
    """A session of one date. Times are seconds since the first Monday, 00:00."""

    start: float
    end: float
    session: Session


class _Person:
    """One owner: the regular hours, and from them every date's events."""

    def __init__(self, habits: Habits, seed: int) -> None:
        self.habits = habits
        self._seed = f"{habits.name}/{seed}"
        own = random.Random(self._seed)  # noqa: S311 - a simulation is to be repeatable
        self._hours = [[_hours_of(session, own) for _ in session.days] for session in habits.sessions]

    def events(self, date: int) -> list[_Event]:
        """What begins on one date, in days since the first Monday; dates before it are negative."""
        dice = random.Random(f"{self._seed}/{date}")  # noqa: S311 - a simulation is to be repeatable
        away = dice.random() < AWAY
        found: list[_Event] = []
        for session, hours in zip(self.habits.sessions, self._hours, strict=True):
            if not away and date % 7 in session.days:
                own = hours[session.days.index(date % 7)]
                found += [_event(date, session, *slot) for slot in _slots_of(session, own, dice)]
        return found


def _hours_of(session: Session, own: random.Random) -> tuple[_Hours, ...]:
    """The hours that one owner keeps for a session on one day of the week."""
    if not session.regular:
        return ()
    drawn = [(own.random(), own.uniform(*session.hours), own.uniform(*session.minutes)) for _ in range(session.times)]
    if session.meeting:
        drawn = [(luck, round(hour / CALENDAR_HOURS) * CALENDAR_HOURS, minutes) for luck, hour, minutes in drawn]
    return tuple(_Hours(hour, minutes) for luck, hour, minutes in drawn if luck < session.chance)


def _slots_of(session: Session, own: tuple[_Hours, ...], dice: random.Random) -> list[tuple[float, float]]:
    """Hour and minutes of each time that it happens on one date."""
    if not session.regular:
        return [
            (dice.uniform(*session.hours), dice.uniform(*session.minutes))
            for _ in range(session.times)
            if dice.random() < session.chance
        ]
    slots = []
    for usual in own:
        kept = dice.random() < KEPT
        late = 0.0 if session.meeting else dice.uniform(-LATE_MINUTES, LATE_MINUTES)
        minutes = usual.minutes * dice.uniform(1 - LONGER, 1 + LONGER)
        if session.meeting:
            minutes = min(max(minutes, session.minutes[0]), session.minutes[1])
        if kept:
            slots.append((usual.hour + late / 60, minutes))
    return slots


def _event(date: int, session: Session, hour: float, minutes: float) -> _Event:
    """Times are whole seconds, so that they look the same wherever they are written."""
    start = float(date * DAY + round(hour * HOUR))
    return _Event(start, start + round(minutes * 60), session)


def _changes(
    person: _Person, machine: MachineProfile, begin: float, duration: float
) -> Iterator[tuple[Seconds, OwnerState]]:
    last: OwnerState | None = None
    for date in count(int(begin // DAY)):
        low, high = max(begin, date * DAY), min((date + 1) * DAY, begin + duration)
        if low >= high:
            return
        events = [*person.events(date - 1), *person.events(date)]  # no session lasts beyond the next day's end
        edges = [edge for event in events for edge in (event.start, event.end) if low < edge < high]
        for edge in sorted(dict.fromkeys([low, *edges])):
            state = _state([one.session for one in events if one.start <= edge < one.end], person.habits, machine)
            if state != last:
                last = state
                yield Seconds(edge - begin), state


def _state(active: list[Session], habits: Habits, machine: MachineProfile) -> OwnerState:
    """All that the owner does at one moment, together."""
    if any(one.carried for one in active) or (habits.lid and not active):
        return OwnerState(asleep=True)
    return OwnerState(
        cpu=_share([one.cpu for one in active]),
        gpu=_share([one.gpu for one in active]),
        memory=Bytes(min(sum(one.memory for one in active), int(machine.memory * MOST_MEMORY))),
        meeting=any(one.meeting for one in active),
    )


def _share(parts: list[float]) -> float:
    """Rounded, because the same parts in another order are to give the same state."""
    return round(min(1.0, sum(parts)), 2)
