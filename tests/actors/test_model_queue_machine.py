"""The ModelQueue against a model of it, through any order of acquires, releases, hang-ups, limits and pauses.

The model's order is written as routing words it, by looking at everybody who waits: batch's share of the grants, then
the client that has waited longest for its turn, then age.
"""

import asyncio
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.actors.model_queue import ModelQueue
from herd.policy.turns import BATCH_SHARE
from herd.policy.values import Lease, Moved, Reason, Refused, Ticket
from herd.runtime.virtual import VirtualTimeLoop
from herd.types import NodeName, Priority, Seconds
from tests.actors.doubles import settled, ticket

PICK = st.integers(0, 1_000)
COMER = st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(Priority))  # client, arrival, class


class StoppedClock:
    """Nothing here depends on how long it takes."""

    def monotonic(self) -> Seconds:
        return Seconds(0.0)

    def wall(self) -> Seconds:
        return Seconds(0.0)


class Turn:
    """Whose turn it is among the tickets of a list, in the order in which they came."""

    def __init__(self) -> None:
        self.rotation: list[tuple[Priority, str]] = []  # classes' clients that wait, by who waits longest for a turn
        self.passed_by = 0  # grants to interactive since batch's last, while batch waited

    def seen(self, waiting: list[Ticket]) -> None:
        """Somebody came or went."""
        present = [(one.priority, one.client) for one in waiting]
        self.rotation = [entry for entry in self.rotation if entry in present]
        self.rotation += [entry for entry in dict.fromkeys(present) if entry not in self.rotation]

    def next(self, waiting: list[Ticket]) -> Ticket:
        classes = {priority for priority, _ in self.rotation}
        batch = Priority.BATCH in classes and (len(classes) == 1 or self.passed_by == BATCH_SHARE - 1)
        turn = next(entry for entry in self.rotation if (entry[0] is Priority.BATCH) is batch)
        return min((one for one in waiting if (one.priority, one.client) == turn), key=lambda one: one.arrived)

    def granted(self, lucky: Ticket, waiting: list[Ticket]) -> None:
        self.rotation.remove((lucky.priority, lucky.client))
        self.seen(waiting)
        if lucky.priority is Priority.BATCH:
            self.passed_by = 0
        elif any(one.priority is Priority.BATCH for one in waiting):
            self.passed_by += 1


class QueueMachine(RuleBasedStateMachine):
    """`leases`, `waiting` and `refused` are what ought to be; tasks are the callers."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.queue = ModelQueue(NodeName("studio"), "m", 2, StoppedClock())
        self.limit = 2
        self.closed = False
        self.last = 0
        self.tasks: dict[int, asyncio.Task[Lease | Moved | Refused]] = {}
        self.leases: list[int] = []
        self.waiting: list[int] = []  # in the order in which they came
        self.tickets: dict[int, Ticket] = {0: ticket(0)}
        self.turn = Turn()
        self.contended, self.to_batch = 0, 0  # grants while both classes waited; all of batch's

    def teardown(self) -> None:
        self.runner.close()

    def settle(self) -> None:
        self.runner.run(settled())

    def grant(self) -> None:
        while self.waiting and len(self.leases) < self.limit:
            self.grant_next()

    def grant_next(self) -> None:
        lucky = self.next_in_turn()
        self.contended += len({one.priority for one in self.those_waiting()}) == 2
        self.to_batch += self.tickets[lucky].priority is Priority.BATCH
        self.waiting.remove(lucky)
        self.leases.append(lucky)
        self.turn.granted(self.tickets[lucky], self.those_waiting())

    def next_in_turn(self) -> int:
        lucky = self.turn.next(self.those_waiting())
        return next(number for number in self.waiting if self.tickets[number] is lucky)

    def those_waiting(self) -> list[Ticket]:
        return [self.tickets[number] for number in self.waiting]

    def leave(self, number: int) -> None:
        self.waiting.remove(number)
        self.turn.seen(self.those_waiting())

    def begin(self, number: int) -> None:
        self.tasks[number] = self.runner.get_loop().create_task(self.queue.acquire(self.tickets[number]))

    def expect_new(self, number: int) -> None:
        if not self.closed:
            if len(self.leases) < self.limit:  # then nobody waits, and it is nobody's turn
                self.leases.append(number)
            else:
                self.waiting.append(number)
                self.turn.seen(self.those_waiting())

    @rule(comers=st.lists(COMER, min_size=1, max_size=4))
    def acquire(self, comers: list[tuple[str, int, Priority]]) -> None:
        for client, arrived, priority in comers:
            self.last += 1
            self.tickets[self.last] = ticket(self.last, client, arrived=arrived, priority=priority)
            self.begin(self.last)
            self.expect_new(self.last)
        self.settle()

    @precondition(lambda self: self.last > 0)
    @rule(pick=PICK, again=st.booleans())
    def release(self, pick: int, again: bool) -> None:
        """Any ticket, whatever became of it; perhaps it comes back before its first stay has ended."""
        number = pick % self.last + 1
        old = self.tasks[number]
        if again:
            self.begin(number)  # it takes its first step after the release
        if number in self.leases:
            self.leases.remove(number)
        if number in self.waiting:
            self.leave(number)
        self.queue.release(ticket(number).id)
        self.grant()
        if again:
            self.expect_new(number)
            self.runner.run(self._ended(old))
        self.settle()

    @precondition(lambda self: bool(self.waiting))
    @rule(pick=PICK)
    def hang_up_while_waiting(self, pick: int) -> None:
        number = self.waiting[pick % len(self.waiting)]
        self.leave(number)
        self.tasks[number].cancel()
        self.settle()

    @precondition(lambda self: self.leases and self.waiting and len(self.leases) <= self.limit)
    @rule(pick=PICK, before=st.booleans())
    def hang_up_in_the_turn_of_the_grant(self, pick: int, before: bool) -> None:
        """After the grant: the lease is the ticket's until it is released, though nobody heard. Before: the next's."""
        leaving = self.leases.pop(pick % len(self.leases))
        number = self.next_in_turn()
        lucky = self.tasks[number]
        if before:
            self.leave(number)
            lucky.cancel()
        self.queue.release(ticket(leaving).id)
        self.grant()
        lucky.cancel()
        self.settle()

    @precondition(lambda self: not self.closed and (self.leases or self.waiting))
    @rule(pick=PICK)
    def acquire_again(self, pick: int) -> None:
        """Without a release: the ticket keeps its lease or its place, and the earlier call is answered."""
        known = [*self.leases, *self.waiting]
        number = known[pick % len(known)]
        earlier = self.tasks[number]
        self.begin(number)
        self.settle()
        assert earlier.done()

    @rule()
    def release_a_stranger(self) -> None:
        self.queue.release(ticket(0).id)
        self.settle()

    @rule(limit=st.integers(1, 4))
    def set_limit(self, limit: int) -> None:
        self.limit = limit
        self.queue.set_limit(limit)
        self.grant()
        self.settle()

    @rule()
    def turn_away(self) -> None:
        self.closed = True
        self.queue.turn_away(Reason("meeting", "is in a meeting"))
        self.settle()
        turned_away = [self.tasks[number] for number in self.waiting]
        self.waiting.clear()
        self.turn.seen([])
        assert all(isinstance(task.result(), Refused) for task in turned_away)

    @rule()
    def welcome_back(self) -> None:
        self.closed = False
        self.queue.welcome_back()

    @invariant()
    def it_is_as_it_ought_to_be(self) -> None:
        assert self.queue._leases.held == {ticket(number).id for number in self.leases}
        assert list(self.queue._leases.waiting) == [ticket(number).id for number in self.waiting]  # in order of coming
        assert not set(self.leases) & set(self.waiting)

    @invariant()
    def batch_has_its_share(self) -> None:
        assert self.to_batch >= self.contended // BATCH_SHARE

    @invariant()
    def every_caller_has_the_answer_that_is_due(self) -> None:
        for number, task in self.tasks.items():
            assert task.done() == (number not in self.waiting)
            if number in self.leases and not task.cancelled():
                assert isinstance(task.result(), Lease)

    @invariant()
    def no_lease_lies_idle_while_somebody_waits(self) -> None:
        assert not self.waiting or len(self.leases) >= self.limit

    async def _ended(self, task: "asyncio.Task[Lease | Moved | Refused]") -> None:
        await settled()
        with suppress(asyncio.CancelledError):
            assert task.done()
            await task


TestModelQueue = QueueMachine.TestCase
TestModelQueue.settings = settings(max_examples=60, stateful_step_count=30)
