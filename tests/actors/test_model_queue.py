import asyncio

import pytest

from herd.actors import model_queue
from herd.actors.model_queue import ModelQueue
from herd.policy.values import Candidate, Lease, Moved, Reason, Refused
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, NodeId, NodeName, Seconds
from tests.actors.doubles import settled, ticket

PAUSED = Reason("meeting", "is in a meeting")


def queue(limit: int = 1) -> ModelQueue:
    return ModelQueue(NodeName("studio"), "llama3.3:70b", limit, LoopClock())


@virtual_time
async def test_a_free_lease_is_granted_at_once() -> None:
    assert await queue().acquire(ticket(1)) == Lease(ticket(1).id, Seconds(0.0))


@virtual_time
async def test_who_waits_is_told_how_long_it_took() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await asyncio.sleep(2.5)
    full.release(ticket(1).id)
    assert await second == Lease(ticket(2).id, Seconds(2.5))


@virtual_time
async def test_a_newcomer_does_not_overtake_who_was_just_granted_room() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    full.release(ticket(1).id)
    third = asyncio.create_task(full.acquire(ticket(3)))  # before the second has run again
    await settled()
    assert (second.done(), third.done()) == (True, False)
    full.release(ticket(2).id)
    await third


@virtual_time
async def test_release_is_idempotent_and_harmless_for_a_stranger() -> None:
    one = queue()
    await one.acquire(ticket(1))
    for number in (1, 1, 99):
        one.release(ticket(number).id)
    await one.acquire(ticket(2))
    assert (one.status().running, one.status().waiting) == (1, 0)


@virtual_time
async def test_a_waiter_that_is_released_gets_an_answer() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    full.release(ticket(2).id)
    assert isinstance(await second, Refused)


@virtual_time
async def test_a_ticket_that_comes_back_at_once_keeps_its_new_place() -> None:
    full = queue()
    await full.acquire(ticket(1))
    first_stay = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    second_stay = asyncio.create_task(full.acquire(ticket(2)))
    full.release(ticket(2).id)
    await settled()  # the second stay begins before the first has ended
    assert isinstance(await first_stay, Refused)
    full.release(ticket(1).id)
    assert isinstance(await second_stay, Lease)


@virtual_time
async def test_a_ticket_that_has_a_lease_and_asks_again_does_not_wait_for_itself() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    assert isinstance(await full.acquire(ticket(1)), Lease)
    full.release(ticket(1).id)  # once is enough
    assert isinstance(await second, Lease)


@virtual_time
async def test_a_ticket_that_waits_and_asks_again_keeps_its_place_and_its_first_call_is_answered() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second, third = (asyncio.create_task(full.acquire(ticket(number))) for number in (2, 3))
    await settled()
    again = asyncio.create_task(full.acquire(ticket(2)))
    refused = await second
    assert isinstance(refused, Refused)
    assert refused.reason.kind == "asked-again"
    full.release(ticket(1).id)
    assert isinstance(await again, Lease)
    assert not third.done()
    full.release(ticket(2).id)
    await third


@virtual_time
async def test_a_client_that_hangs_up_in_the_turn_of_its_grant_gives_the_lease_back_by_its_release() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    full.release(ticket(1).id)
    second.cancel()
    await asyncio.wait([second])
    assert full.status().running == 1
    full.release(ticket(2).id)
    assert full.status().running == 0


@virtual_time
async def test_a_waiter_that_hung_up_in_this_turn_is_passed_over() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second, third = (asyncio.create_task(full.acquire(ticket(number))) for number in (2, 3))
    await settled()
    second.cancel()
    full.release(ticket(1).id)
    assert isinstance(await third, Lease)
    assert (full.status().running, full.status().waiting) == (1, 0)


@virtual_time
async def test_turning_away_refuses_waiters_and_newcomers_and_lets_the_running_end() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    full.turn_away(PAUSED)
    assert await second == await full.acquire(ticket(3)) == Refused(PAUSED)
    assert (full.status().running, full.status().waiting) == (1, 0)
    full.welcome_back()
    full.release(ticket(1).id)
    assert isinstance(await full.acquire(ticket(4)), Lease)


@virtual_time
async def test_a_higher_limit_lets_waiters_in_and_a_lower_one_lets_the_running_end() -> None:
    grown = queue()
    tasks = [asyncio.create_task(grown.acquire(ticket(number))) for number in range(5)]
    await settled()
    grown.set_limit(3)
    await settled()
    assert [task.done() for task in tasks] == [True] * 3 + [False] * 2
    grown.set_limit(1)
    for number in (0, 1):
        grown.release(ticket(number).id)
        await settled()
        assert not tasks[3].done()
    grown.release(ticket(2).id)
    await tasks[3]
    grown.release(ticket(3).id)
    await tasks[4]


@virtual_time
async def test_who_waits_is_sent_to_another_queue_and_who_has_a_lease_or_has_left_is_not() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second, third = (asyncio.create_task(full.acquire(ticket(number))) for number in (2, 3))
    await settled()
    there = Moved("queue:b/m", Candidate(NodeId("b"), NodeName("b"), ModelName("m"), BackendId("o"), (), 0.0))
    for number in (2, 2, 1, 99):
        full.move(ticket(number).id, there)
    assert await second == there
    assert (full.status().running, full.status().waiting) == (1, 1)
    full.release(ticket(2).id)  # as whoever was moved tells it
    full.release(ticket(1).id)
    assert isinstance(await third, Lease)


@virtual_time
async def test_whoever_is_moved_in_the_turn_of_its_grant_keeps_the_lease() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    full.release(ticket(1).id)
    full.move(ticket(2).id, Moved("q", Candidate(NodeId("b"), NodeName("b"), ModelName("m"), BackendId("o"), (), 0.0)))
    assert isinstance(await second, Lease)


@virtual_time
async def test_the_bound_is_not_for_whoever_is_moved_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_queue, "MAX_WAITING", 1)
    full = queue()
    tasks = [asyncio.create_task(full.acquire(ticket(number), moved=number == 2)) for number in range(3)]
    await settled()
    assert full.status().waiting == 2
    for number in range(3):
        full.release(ticket(number).id)
        await settled()
    assert all(isinstance(task.result(), Lease) for task in tasks)


@virtual_time
async def test_a_queue_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_queue, "MAX_WAITING", 2)
    full = queue()
    tasks = [asyncio.create_task(full.acquire(ticket(number))) for number in range(3)]
    await settled()
    refused = await full.acquire(ticket(9))
    assert isinstance(refused, Refused)
    assert refused.reason.kind == "queue-full"
    for number in range(3):
        full.release(ticket(number).id)
        await settled()
    assert all(task.done() for task in tasks)


@virtual_time
async def test_it_tells_how_it_stands() -> None:
    full = queue(2)
    tasks = [asyncio.create_task(full.acquire(ticket(number))) for number in range(5)]
    await settled()
    assert repr(full) == "<ModelQueue llama3.3:70b@studio [2/2 running, 3 waiting]>"
    full.turn_away(PAUSED)
    await asyncio.wait(tasks)
