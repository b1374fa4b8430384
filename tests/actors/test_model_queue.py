import asyncio
import random
from dataclasses import replace
from itertools import cycle

import pytest

from herd.actors import model_queue, names
from herd.actors.model_queue import Completion, ModelQueue
from herd.policy.concurrency import LEAST
from herd.policy.pace import Observed
from herd.policy.values import Candidate, Lease, Moved, Reason, Refused, Ticket
from herd.runtime import ActorHandle, remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import BackendId, ModelName, NodeId, NodeName, Priority, Seconds, Tokens, Unit
from tests.actors.doubles import Witness, settled, ticket

PAUSED = Reason("meeting", "is in a meeting")


def queue(limit: int = 1) -> ModelQueue:
    return ModelQueue(NodeName("studio"), "llama3.3:70b", limit, LoopClock())


def answer_of(tokens: int, load: float = 0.0) -> Observed:
    """One that was served whole."""
    return Observed(NodeId("studio"), "m", Tokens(0), Tokens(tokens), Seconds(load), Seconds(0.0), Seconds(0.0))


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


class Learner:
    """In place of the LatencyLearner."""

    def __init__(self) -> None:
        self._seen: list[Observed] = []

    def observed(self, one: Observed) -> None:
        self._seen.append(one)

    def seen(self) -> list[Observed]:
        return self._seen


@virtual_time
async def test_of_an_answer_it_is_learned_how_many_ran_beside_it_on_average() -> None:
    learner = remote(Learner).options(name=names.LATENCY_LEARNER).remote()
    two = queue(2)
    await two.acquire(ticket(1))
    await asyncio.sleep(6.0)  # alone
    await two.acquire(ticket(2))
    await asyncio.sleep(2.0)  # beside the other
    for number, tokens in ((1, 100), (2, 200)):
        two.completed(Completion(ticket(number).id, answer_of(tokens)))
        two.completed(Completion(ticket(3).id, answer_of(300)))  # which has no lease
        two.release(ticket(number).id)
    seen = await learner.seen.remote()
    assert [(one.completion, one.at_once) for one in seen] == [(100, 1.25), (200, 2.0)]
    await stop(learner)


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
async def test_a_ticket_that_is_moved_here_passes_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_queue, "MAX_WAITING", 2)
    full = queue()
    tasks = [asyncio.create_task(full.acquire(ticket(number))) for number in range(3)]
    await settled()
    moved = asyncio.create_task(full.acquire(ticket(9), moved=True))
    await settled()
    assert (full.status().waiting, moved.done()) == (3, False)
    full.turn_away(PAUSED)
    await asyncio.wait([*tasks, moved])


@virtual_time
async def test_it_tells_how_it_stands() -> None:
    full = queue(2)
    tasks = [asyncio.create_task(full.acquire(ticket(number))) for number in range(5)]
    await settled()
    assert repr(full) == "<ModelQueue llama3.3:70b@studio [2/2 running, 3 waiting]>"
    full.turn_away(PAUSED)
    await asyncio.wait(tasks)


# --- Whose turn it is -------------------------------------------------------------------------------------------------


async def order_of(*waiting: Ticket) -> list[int]:
    """The numbers of tickets that come in this order while one runs, in the order in which they are granted."""
    one = queue()
    await one.acquire(ticket(0))
    granted = [0]

    async def take(mine: Ticket) -> None:
        await one.acquire(mine)
        granted.append(int(mine.id[1:]))

    tasks = [asyncio.create_task(take(each)) for each in waiting]
    await settled()
    for _ in waiting:
        one.release(ticket(granted[-1]).id)
        await settled()
    await asyncio.gather(*tasks)
    return granted[1:]


@virtual_time
async def test_a_client_with_100_waiting_does_not_delay_anothers_one() -> None:
    many = [ticket(number, "busy", arrived=number) for number in range(1, 101)]
    order = await order_of(*many, ticket(101, "other", arrived=101))
    assert order[:3] == [1, 101, 2]


@virtual_time
async def test_batch_is_not_starved() -> None:
    batch = ticket(1, "night", priority=Priority.BATCH)
    order = await order_of(batch, *(ticket(number, f"client {number % 3}") for number in range(2, 32)))
    assert order.index(1) == 7


@virtual_time
async def test_within_a_client_by_original_arrival() -> None:
    """The last to come was moved here, and has waited longest."""
    order = await order_of(ticket(1, arrived=5.0), ticket(2, arrived=7.0), ticket(3, arrived=2.0))
    assert order == [3, 1, 2]


@virtual_time
async def test_who_hangs_up_in_the_middle_of_a_clients_line_leaves_at_once_and_nothing_is_kept_of_it() -> None:
    full = queue()
    await full.acquire(ticket(0))
    waiting = [asyncio.create_task(full.acquire(ticket(number, client))) for number, client in enumerate("aaab", 1)]
    await settled()
    for number in (1, 3):  # the second of a's line; b's only one
        waiting[number].cancel()
        await asyncio.wait([waiting[number]])
    assert full.status().waiting == 2
    for number in (0, 1):
        full.release(ticket(number).id)
        await settled()
    assert waiting[2].done()
    full.release(ticket(3).id)
    turns = full._leases._order
    assert [*turns._lines[Priority.INTERACTIVE], *turns._places, *full._began] == []  # type: ignore[attr-defined]


@virtual_time
async def test_a_thousand_clients_hang_up_at_random_moments_and_no_slot_is_missing() -> None:
    """Before their call arrives, in line, in the turn of their grant, with a lease; the limit moves all the while."""
    dice = random.Random(7)
    owner = remote(ModelQueue).options(max_concurrency=model_queue.MAX_ACQUIRES)
    one = owner.remote(NodeName("studio"), "m", 3, LoopClock())
    served: list[str] = []

    async def comes(number: int) -> None:
        await asyncio.sleep(dice.uniform(0, 50))
        mine = ticket(number, f"client {number % 17}", priority=dice.choice(list(Priority)))
        try:
            answer = await one.acquire.remote(mine)
            assert isinstance(answer, Lease)
            await asyncio.sleep(dice.uniform(0, 0.5))
            served.append(mine.id)
        finally:
            one.release.tell(mine.id)

    async def hangs_up(task: "asyncio.Task[None]") -> None:
        await asyncio.sleep(dice.uniform(0, 60))
        for _ in range(dice.randint(0, 5)):
            await asyncio.sleep(0)
        task.cancel()

    tasks = [asyncio.create_task(comes(number)) for number in range(1_000)]
    leaving = [asyncio.create_task(hangs_up(task)) for task in tasks]
    for _ in range(50):
        await asyncio.sleep(1)
        status = await one.status.remote()
        assert status.running <= 4
        assert status.waiting == 0 or status.running >= status.limit
        one.set_limit.tell(dice.randint(1, 4))
    await asyncio.wait([*tasks, *leaving])
    assert not [task for task in tasks if not task.cancelled() and task.exception()]
    assert 100 < len(served) < 900
    status = await one.status.remote()
    assert (status.running, status.waiting) == (0, 0)
    one.set_limit.tell(1)
    assert isinstance(await one.acquire.remote(ticket(9_999)), Lease)
    one.release.tell(ticket(9_999).id)
    await stop(one)


# --- How many run at once ---------------------------------------------------------------------------------------------


class Learning:
    """A queue whose limit is not declared, and clients that always want an answer of 100 tokens."""

    def __init__(self, listener: ActorHandle) -> None:
        self.queue = ModelQueue(NodeName("studio"), "m", 0, LoopClock(), listener)
        self.life = 5.0  # seconds of an answer
        self.load = 0.0
        self.units = cycle([Unit.TOKEN])  # of one answer after the other
        self.served = 0
        self.tasks = [asyncio.create_task(self._ask(number)) for number in range(8)]

    async def _ask(self, client: int) -> None:
        number = client
        while True:
            number += 1_000
            mine = ticket(number, f"client {client}")
            try:
                assert isinstance(await self.queue.acquire(mine), Lease)
                await asyncio.sleep(self.life)
                self.served += 1
                answer = replace(answer_of(100, self.load), unit=next(self.units))
                self.queue.completed(Completion(mine.id, answer))
            finally:
                self.queue.release(mine.id)

    async def until(self, served: int) -> int:
        """The limit after so many answers."""
        async with asyncio.timeout(10_000):
            while self.served < served:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1)
        await settled()
        return self.queue.status().limit

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)


@virtual_time
async def test_where_nothing_is_declared_it_begins_with_one_and_a_limit_that_rises_lets_the_next_in_at_once() -> None:
    node = remote(Witness).remote()
    line = Learning(node)
    assert await line.until(LEAST - 1) == 1
    assert await line.until(LEAST) == 2
    assert line.queue.status().running == 2
    assert await node.heard.remote() == [("limit_changed", ("m", 2))]
    await line.end()
    await stop(node)


@virtual_time
async def test_more_streams_that_only_take_longer_are_not_kept() -> None:
    node = remote(Witness).remote()
    line = Learning(node)
    await line.until(LEAST - 1)
    line.life = 10.0
    assert await line.until(LEAST + 1) == 2
    assert await line.until(2 * LEAST + 4) == 1
    assert await node.heard.remote() == [("limit_changed", ("m", 2)), ("limit_changed", ("m", 1))]
    await line.end()
    await stop(node)


@virtual_time
async def test_of_work_in_several_units_nothing_is_compared_and_of_one_it_is_whatever_that_is() -> None:
    node = remote(Witness).remote()
    line = Learning(node)
    line.units = cycle([Unit.TOKEN, Unit.AUDIO_FRAME])
    assert await line.until(3 * LEAST) == 1
    line.units = cycle([Unit.AUDIO_FRAME])
    assert await line.until(4 * LEAST + 1) == 2
    await line.end()
    await stop(node)


@virtual_time
async def test_a_declared_limit_wins_at_once_and_when_it_is_gone_what_was_learned_holds_again() -> None:
    node = remote(Witness).remote()
    line = Learning(node)
    await line.until(LEAST)
    line.queue.set_limit(4)
    await settled()
    assert line.queue.status().running == 4
    assert await line.until(6 * LEAST) == 4  # nothing is learned
    line.queue.set_limit(0)
    assert line.queue.status().limit == 2
    assert len(await node.heard.remote()) == 1
    await line.end()
    await stop(node)


@pytest.mark.parametrize("whose", ["its own", "another's"])
@virtual_time
async def test_a_load_on_the_machine_puts_off_the_step(whose: str) -> None:
    node = remote(Witness).remote()
    line = Learning(node)
    for _ in range(5):
        await line.until(line.served + LEAST - 2)
        if whose == "another's":
            line.queue.model_loaded()
        else:
            line.load = 3.0
            await line.until(line.served + 1)
            line.load = 0.0
    assert line.queue.status().limit == 1
    assert await line.until(line.served + LEAST + 2) == 2
    await line.end()
    await stop(node)


@virtual_time
async def test_nothing_is_kept_of_a_ticket_that_is_released_in_the_turn_of_its_grant() -> None:
    full = queue()
    await full.acquire(ticket(1))
    second = asyncio.create_task(full.acquire(ticket(2)))
    await settled()
    for number in (1, 2):
        full.release(ticket(number).id)
    assert isinstance(await second, Lease)
    assert (full.status().running, full._began) == (0, {})


@virtual_time
async def test_an_answer_whose_ticket_has_no_lease_any_more_teaches_nothing() -> None:
    one = queue(0)
    one.completed(Completion(ticket(1).id, answer_of(100)))
    await one.acquire(ticket(1))
    one.completed(Completion(ticket(1).id, answer_of(100)))  # it took no time
    one.release(ticket(1).id)
    assert (one.status().limit, one._learned.counted) == (1, ())
