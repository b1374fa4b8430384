import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.actors import holding_pen
from herd.actors.holding_pen import MAX_HELD_BYTES, Hold, HoldEnd, HoldingPen
from herd.policy.values import Ticket
from herd.runtime.testing import run_virtual, virtual_time
from herd.types import Bytes, Seconds, TicketId
from tests.actors.doubles import settled


def hold(
    number: int = 1, *models: str, version: int = 0, size: int = 10, wait: float = 30.0, arrived: float = 0.0
) -> Hold:
    return Hold(
        Ticket(TicketId(f"t{number}"), "client", Seconds(arrived)),
        models or ("m",),
        version,
        Bytes(size),
        Seconds(wait),
    )


@virtual_time
async def test_a_change_wakes_those_who_wait_for_its_models_and_nobody_else() -> None:
    pen = HoldingPen()
    m, n = asyncio.create_task(pen.hold(hold(1, "m"))), asyncio.create_task(pen.hold(hold(2, "n")))
    await settled()
    pen.unlocked((("m", 1), ("other", 1)), 1)
    assert await m is HoldEnd.UNLOCKED
    assert not n.done()
    assert pen.count() == 1
    assert await n is HoldEnd.EXPIRED
    assert asyncio.get_running_loop().time() == 30.0


@virtual_time
async def test_a_pen_that_is_closed_lets_everybody_go_at_once() -> None:
    pen = HoldingPen()
    held = [asyncio.create_task(pen.hold(hold(number, f"m{number % 2}"))) for number in range(4)]
    await settled()
    pen.unlocked((("m0", 9),), 1)
    pen.close()
    assert await asyncio.gather(*held) == [HoldEnd.UNLOCKED, HoldEnd.CLOSED] * 2
    assert await pen.hold(hold(9)) is HoldEnd.CLOSED
    assert (pen.count(), asyncio.get_running_loop().time()) == (0, 0.0)


@virtual_time
async def test_they_are_woken_in_order_of_arrival() -> None:
    pen = HoldingPen()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await pen.hold(hold(number))
        woken.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await settled()
    pen.unlocked((("m", 9),), 1)
    await asyncio.wait(tasks)
    assert woken == [0, 1, 2, 3, 4]


@virtual_time
async def test_no_more_are_woken_than_there_is_room_for_and_the_next_ones_when_there_is_more() -> None:
    pen = HoldingPen()
    tasks = [asyncio.create_task(pen.hold(hold(number))) for number in range(5)]
    await settled()
    for count, woken in ((2, [0, 1]), (1, [0, 1, 2]), (9, [0, 1, 2, 3, 4])):
        pen.unlocked((("m", count),), count)
        await settled()
        assert [number for number, task in enumerate(tasks) if task.done()] == woken


@virtual_time
async def test_who_was_woken_in_vain_has_its_old_place_again_and_the_next_one_has_its_turn() -> None:
    pen = HoldingPen()
    first, second, third = (asyncio.create_task(pen.hold(hold(number, arrived=number))) for number in (1, 2, 3))
    await settled()
    pen.unlocked((("m", 1),), 1)
    assert await first is HoldEnd.UNLOCKED
    again = asyncio.create_task(pen.hold(hold(1, version=1, arrived=1.0)))
    assert await second is HoldEnd.UNLOCKED
    assert pen.held() == {"m": 2}
    pen.unlocked((("m", 1),), 2)
    assert await again is HoldEnd.UNLOCKED
    assert await third is HoldEnd.EXPIRED


@virtual_time
async def test_a_place_is_offered_to_each_who_waits_once_and_to_no_more_than_it_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pen = HoldingPen()
    tries: list[int] = []

    async def in_vain(number: int) -> None:
        while await pen.hold(hold(number, version=9)) is HoldEnd.UNLOCKED:
            tries.append(number)

    tasks = [asyncio.create_task(in_vain(number)) for number in range(5)]
    await settled()
    pen.unlocked((("m", 1),), 1)
    await asyncio.sleep(1)
    assert tries == [0, 1, 2, 3, 4]
    monkeypatch.setattr(holding_pen, "MAX_OFFERS", 2)
    pen.unlocked((("m", 1),), 2)
    await asyncio.sleep(1)
    assert tries[5:] == [0, 1]
    await asyncio.wait(tasks)


@virtual_time
async def test_who_leaves_when_it_was_woken_leaves_its_turn_to_the_next() -> None:
    pen = HoldingPen()
    first, second = (asyncio.create_task(pen.hold(hold(number, arrived=number))) for number in (1, 2))
    await settled()
    pen.passed(TicketId("t1"))  # it sleeps still, so there is nothing to pass on
    pen.unlocked((("m", 1),), 1)
    assert await first is HoldEnd.UNLOCKED
    assert not second.done()
    for _ in range(2):
        pen.passed(TicketId("t1"))
    assert await second is HoldEnd.UNLOCKED


@virtual_time
async def test_a_change_that_came_while_the_hold_was_under_way_is_not_missed() -> None:
    pen = HoldingPen()
    pen.unlocked((("m", 9),), 5)
    assert await pen.hold(hold(version=4)) is HoldEnd.UNLOCKED
    assert await pen.hold(hold(version=5)) is HoldEnd.EXPIRED  # its placement knew of that change
    assert await pen.hold(hold(1, "n", version=4)) is HoldEnd.EXPIRED


@given(seen=st.integers(0, 6), unlocked=st.lists(st.integers(1, 6), unique=True).map(sorted), arrives=st.integers(0, 6))
@settings(max_examples=60)
def test_no_wake_up_is_lost_wherever_the_hold_arrives_among_the_changes(
    seen: int, unlocked: list[int], arrives: int
) -> None:
    """Whoever was placed at version `seen` is woken if and only if a later change unlocked its model."""

    async def story() -> None:
        pen = HoldingPen()
        before, after = unlocked[:arrives], unlocked[arrives:]
        for version in before:
            pen.unlocked((("m", 9),), version)
        held = asyncio.create_task(pen.hold(hold(version=seen)))
        await settled()
        for version in after:
            pen.unlocked((("m", 9),), version)
        end = await held
        assert (end is HoldEnd.UNLOCKED) == (bool(after) or any(version > seen for version in before))
        assert pen.count() == 0

    run_virtual(story())


@virtual_time
async def test_who_gives_up_leaves_no_trace() -> None:
    pen = HoldingPen()
    task = asyncio.create_task(pen.hold(hold()))
    await settled()
    task.cancel()
    await asyncio.wait([task])
    assert (pen.count(), pen._bytes, pen._held) == (0, 0, {})
    pen.unlocked((("m", 9),), 1)


@virtual_time
async def test_who_gives_up_in_the_turn_in_which_it_is_woken_leaves_no_trace() -> None:
    pen = HoldingPen()
    task = asyncio.create_task(pen.hold(hold()))
    await settled()
    pen.unlocked((("m", 9),), 1)
    task.cancel()
    await asyncio.wait([task])
    assert (pen.count(), pen._bytes, pen._held) == (0, 0, {})


@virtual_time
async def test_there_is_room_for_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding_pen, "MAX_HELD", 2)
    pen = HoldingPen()
    tasks = [asyncio.create_task(pen.hold(hold(number))) for number in range(2)]
    await settled()
    assert await pen.hold(hold(3)) is HoldEnd.FULL
    await asyncio.wait(tasks)
    assert await pen.hold(hold(4, wait=1.0)) is HoldEnd.EXPIRED


@virtual_time
async def test_there_is_room_for_so_many_bytes() -> None:
    pen = HoldingPen()
    task = asyncio.create_task(pen.hold(hold(1, size=MAX_HELD_BYTES - 5)))
    await settled()
    assert await pen.hold(hold(2, size=6)) is HoldEnd.FULL
    assert await pen.hold(hold(3, size=5, wait=1.0)) is HoldEnd.EXPIRED
    task.cancel()
    await asyncio.wait([task])
    assert await pen.hold(hold(4, size=6, wait=1.0)) is HoldEnd.EXPIRED


@virtual_time
async def test_one_that_several_models_would_do_for_is_woken_by_any_of_them_and_once() -> None:
    for model in ("m", "n"):
        pen = HoldingPen()
        either, other = asyncio.create_task(pen.hold(hold(1, "m", "n"))), asyncio.create_task(pen.hold(hold(2, model)))
        await settled()
        assert (pen.count(), pen.held()) == (2, {"m": 1, "n": 1} | {model: 2})
        pen.unlocked(((model, 1),), 1)
        pen.unlocked((("m", 1), ("n", 1)), 2)
        assert await either is await other is HoldEnd.UNLOCKED
        assert (pen.count(), pen._bytes, pen._held) == (0, 0, {})


@virtual_time
async def test_one_that_several_models_would_do_for_misses_no_change_of_any() -> None:
    pen = HoldingPen()
    pen.unlocked((("n", 9),), 5)
    assert await pen.hold(hold(1, "m", "n", version=4)) is HoldEnd.UNLOCKED
    assert await pen.hold(hold(1, "m", "n", version=5, wait=1.0)) is HoldEnd.EXPIRED


@virtual_time
async def test_who_takes_another_model_than_that_which_woke_it_leaves_its_turn_to_the_next() -> None:
    for taken, woken in (("n", True), ("m", False)):
        pen = HoldingPen()
        first = asyncio.create_task(pen.hold(hold(1, "m", "n", arrived=1.0)))
        second = asyncio.create_task(pen.hold(hold(2, "m", arrived=2.0, wait=1.0)))
        await settled()
        pen.unlocked((("m", 1),), 1)
        assert await first is HoldEnd.UNLOCKED
        pen.passed(TicketId("t1"), taken)
        assert (await second is HoldEnd.UNLOCKED) == woken


@given(st.data())
@settings(max_examples=60)
def test_whatever_waits_for_whatever_leaves_no_trace(data: st.DataObject) -> None:
    """Requests for any of a few models come, are woken, give up or are closed out in any order."""

    async def story() -> None:
        pen = HoldingPen()
        tasks: dict[int, asyncio.Task[HoldEnd]] = {}
        for number in range(data.draw(st.integers(1, 20))):
            match data.draw(st.sampled_from(("hold", "unlock", "leave", "pass"))):
                case "hold":
                    models = data.draw(st.lists(st.sampled_from("mno"), min_size=1, unique=True))
                    arrived = data.draw(st.integers(0, 5))
                    held = hold(number, *models, version=number, arrived=arrived)
                    tasks[number] = asyncio.create_task(pen.hold(held))
                case "unlock":
                    pen.unlocked(((data.draw(st.sampled_from("mno")), data.draw(st.integers(1, 3))),), number)
                case "leave" if tasks:
                    tasks[data.draw(st.sampled_from(sorted(tasks)))].cancel()
                case "pass" if tasks:
                    left = data.draw(st.sampled_from(sorted(tasks)))
                    pen.passed(TicketId(f"t{left}"), data.draw(st.sampled_from(("", "m", "n"))))
            await settled()
            waiting = sum(not task.done() for task in tasks.values())
            assert (pen.count(), pen._bytes) == (waiting, 10 * waiting)
            assert (pen.held() == {}) == (waiting == 0)
        pen.close()
        await settled()
        assert (pen.count(), pen._bytes, pen._held) == (0, 0, {})

    run_virtual(story())
