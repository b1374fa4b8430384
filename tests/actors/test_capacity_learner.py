"""The CapacityLearner: what it makes of heartbeats, whom it tells, and what it remembers."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import capacity_learner, names
from herd.actors.capacity_learner import MOST_HELD_S, CapacityLearner, OwnerSeen
from herd.policy.capacity import ENOUGH, UNKNOWN, Forecast
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.store.records import KnownSlot
from herd.types import NodeId, Seconds
from tests.actors.doubles import settled

HOUR, WEEK = 3600.0, 168
LAPTOP = NodeId("laptop")


class Memory:
    """In place of the Store."""

    def __init__(self, *known: KnownSlot) -> None:
        self._known = {(slot.node, slot.slot): slot for slot in known}
        self._told = 0

    def slots(self) -> tuple[KnownSlot, ...]:
        return tuple(self._known.values())

    def record_slots(self, slots: tuple[KnownSlot, ...]) -> None:
        self._known.update({(slot.node, slot.slot): slot for slot in slots})
        self._told += len(slots)

    def told(self) -> int:
        """Slots since it was last asked."""
        told, self._told = self._told, 0
        return told


class Listener:
    """In place of a Node."""

    def __init__(self) -> None:
        self._told: list[Forecast] = []

    def owner_expected(self, forecast: Forecast) -> None:
        self._told.append(forecast)

    def told(self) -> list[Forecast]:
        told, self._told = self._told, []
        return told


class Class:
    """A learner, the store that it remembers in, and the node that it tells."""

    def __init__(self, *known: KnownSlot) -> None:
        self.clock = LoopClock()
        self.store: Any = remote(Memory).options(name=names.STORE).remote(*known)
        self.node: Any = remote(Listener).options(name=names.node(LAPTOP)).remote()
        self.learner: Any = remote(CapacityLearner).remote(self.clock)
        self.knows = UNKNOWN

    async def seen(self, slot: int, load: float | None, **fields: Any) -> list[Forecast]:
        """A heartbeat; what the node is told because of it, and knows from then on."""
        self.learner.reported.tell(OwnerSeen(LAPTOP, slot, load, **fields), self.knows)
        await settled()
        told: list[Forecast] = await self.node.told.remote()
        self.knows = told[-1] if told else self.knows
        return told

    async def hours(self, count: int, every: float = MOST_HELD_S, **loads: float) -> None:
        """So many hours from the present one on, with these loads in some slots."""
        for _ in range(int(count * HOUR / every)):
            slot = int((self.clock.wall() - EPOCH) // HOUR) % WEEK
            await self.seen(slot, loads.get(f"slot_{slot}", 0.0))
            await asyncio.sleep(every)

    async def end(self) -> None:
        for actor in (self.learner, self.store, self.node):
            await stop(actor)


def lived(slot: int, load: float, weight: float = 4.0, *, at: float = EPOCH) -> KnownSlot:
    """An hour that was seen for some weeks."""
    return KnownSlot(LAPTOP, slot, load, 0.0, weight, Seconds(at))


@virtual_time
async def test_a_node_is_told_only_of_another_forecast_than_it_has() -> None:
    class_ = Class(*(lived(slot, 0.0) for slot in range(WEEK)))
    assert [forecast.trend for forecast in await class_.seen(0, 0.0)] == [10.0]
    assert await class_.seen(0, 0.0) == []
    class_.knows = UNKNOWN  # its actor has started anew
    assert [forecast.trend for forecast in await class_.seen(0, 0.0)] == [10.0]
    assert [forecast.availability for forecast in await class_.seen(0, 0.8)] == [0.2]
    await class_.end()


@virtual_time
async def test_what_a_heartbeat_says_holds_until_the_next_but_not_over_a_silence() -> None:
    class_ = Class()
    await class_.seen(5, 0.5)
    await asyncio.sleep(60)
    await class_.seen(5, 0.5)
    await asyncio.sleep(8 * HOUR)  # the lid was closed
    await class_.seen(13, 0.0)
    (known,) = await class_.store.slots.remote()
    assert (known.slot, known.mean) == (5, 0.5)
    assert known.weight * HOUR == pytest.approx(60 + MOST_HELD_S, abs=0.1)
    await class_.end()


@virtual_time
async def test_what_is_unknown_and_what_has_no_owner_teaches_nothing() -> None:
    class_ = Class()
    for load, dedicated in ((None, False), (0.9, True)):
        await class_.seen(5, load, dedicated=dedicated)
        await asyncio.sleep(60)
    assert (await class_.seen(5, 0.9, dedicated=True), class_.knows.trend) == ([], 10.0)
    assert await class_.store.slots.remote() == ()
    await class_.end()


@virtual_time
async def test_a_week_is_learned_and_answered_hour_by_hour() -> None:
    class_ = Class()
    await class_.hours(24, slot_9=1.0)
    week = await class_.learner.week.remote(LAPTOP)
    assert len(week) == WEEK
    assert (week[9].seen.mean, week[9].expected.load) == (pytest.approx(1.0), pytest.approx(0.5, abs=0.2))
    assert (week[33].seen, 0.1 < week[33].expected.load < 0.9) == (None, True)
    assert await class_.learner.availability.remote(LAPTOP, 9) < 0.6
    assert await class_.learner.availability.remote(NodeId("nobody"), 9) == 1.0
    await class_.end()


@virtual_time
async def test_an_owner_who_is_expected_has_the_machine_before_the_load_shows_and_for_so_long() -> None:
    class_ = Class(lived(1, 1.0), *(lived(slot, 0.0) for slot in range(2, WEEK)))
    await class_.hours(1)
    (forecast,) = await class_.seen(1, 0.0)
    assert forecast.pause is not None
    assert forecast.pause.until == EPOCH + HOUR + 1200  # when it is clear that the owner does not come
    (forecast,) = await class_.seen(1, 0.9)
    assert forecast.pause is not None
    assert forecast.pause.until == EPOCH + 2 * HOUR
    await class_.end()


@virtual_time
async def test_a_forecast_follows_the_minutes_though_nothing_else_changes() -> None:
    class_ = Class(lived(1, 1.0), *(lived(slot, 0.0) for slot in (0, *range(2, WEEK))))
    points = []
    for _ in range(60):
        points += [forecast.trend for forecast in await class_.seen(0, 0.0)]
        await asyncio.sleep(60)
    assert points == sorted(points, reverse=True)
    assert (points[0], points[-1], len(points)) == (10.0, 0.0, 21)  # in steps of a half
    await class_.end()


@virtual_time
async def test_hours_that_begin_at_the_half_hour_of_utc_are_found_out_when_one_begins() -> None:
    """As in India."""
    class_ = Class(lived(1, 1.0), *(lived(slot, 0.0) for slot in range(2, WEEK)))
    await asyncio.sleep(1795)
    await class_.seen(0, 0.0)
    await asyncio.sleep(10)
    (forecast,) = await class_.seen(1, 1.0)
    assert forecast.pause is not None
    assert forecast.pause.until == EPOCH + 1800 + HOUR
    await class_.end()


@virtual_time
async def test_what_was_learned_is_remembered_and_the_same_is_said_again() -> None:
    class_ = Class()
    await class_.hours(WEEK, slot_9=1.0)
    told = await class_.learner.week.remote(LAPTOP)
    await stop(class_.learner)
    class_.learner = remote(CapacityLearner).remote(class_.clock)
    again = await class_.learner.week.remote(LAPTOP)
    assert [hour.seen for hour in again] == [hour.seen for hour in told]
    assert [hour.expected.load for hour in again] == pytest.approx([hour.expected.load for hour in told])
    await class_.end()


@virtual_time
async def test_an_hour_is_remembered_when_it_has_become_another_one_and_when_it_or_the_router_ends() -> None:
    class_ = Class()

    async def reports(count: int, slot: int, load: float) -> int:
        """So many heartbeats; how often the store was told of it."""
        for _ in range(count):
            await class_.seen(slot, load)
            await asyncio.sleep(5)
        told: int = await class_.store.told.remote()
        return told

    assert await reports(24, 5, 0.5) == 2  # at once, and after a minute
    assert await reports(2, 5, 1.0) == 1
    assert await reports(1, 6, 0.0) == 1
    assert await reports(2, 6, 0.0) == 1
    assert await reports(1, 6, 0.0) == 0
    await stop(class_.learner)
    assert sorted(slot.weight * HOUR for slot in await class_.store.slots.remote()) == pytest.approx([15, 130], abs=0.1)
    await class_.end()


@virtual_time
async def test_a_time_that_is_yet_to_come_is_taken_for_now_and_an_hour_that_is_none_for_nothing() -> None:
    lost_bits = (lived(WEEK, 1.0), lived(4, 1e300), lived(5, -0.1), lived(6, 0.5, 0.0), lived(7, 0.5, -4.0))
    class_ = Class(lived(3, 1.0, at=EPOCH + 1e9), *lost_bits, replace(lived(8, 0.5), spread=1e300))
    week = await class_.learner.week.remote(LAPTOP)
    assert (week[3].seen.at, week[3].seen.weight) == (0.0, 2 * ENOUGH)  # of this moment
    assert sum(hour.seen is not None for hour in week) == 1
    await class_.end()


@virtual_time
async def test_it_knows_so_many_nodes_and_the_latest_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_learner, "MAX_NODES", 2)
    learner: ActorHandle = remote(CapacityLearner).remote(LoopClock())
    for node in ("a", "b", "c", "b", "d"):
        learner.reported.tell(OwnerSeen(NodeId(node), 0, 1.0), UNKNOWN)
        await asyncio.sleep(10)
        learner.reported.tell(OwnerSeen(NodeId(node), 0, 1.0), UNKNOWN)
    known = [node for node in "abcd" if (await learner.week.remote(NodeId(node)))[0].seen is not None]
    assert known == ["b", "d"]
    await stop(learner)
