"""The ModelQueue against a model of it, through any order of acquires, releases, hang-ups, limits and pauses."""

import asyncio
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.actors.model_queue import ModelQueue
from herd.policy.values import Lease, Moved, Reason, Refused
from herd.runtime.virtual import VirtualTimeLoop
from herd.simulation.clock import LoopClock
from herd.types import NodeName
from tests.actors.doubles import settled, ticket

PICK = st.integers(0, 1_000)


class QueueMachine(RuleBasedStateMachine):
    """`leases`, `waiting` and `refused` are what ought to be; tasks are the callers."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.queue = ModelQueue(NodeName("studio"), "m", 2, LoopClock())
        self.limit = 2
        self.closed = False
        self.last = 0
        self.tasks: dict[int, asyncio.Task[Lease | Moved | Refused]] = {}
        self.leases: list[int] = []
        self.waiting: list[int] = []

    def teardown(self) -> None:
        self.runner.close()

    def settle(self) -> None:
        self.runner.run(settled())

    def grant(self) -> None:
        while self.waiting and len(self.leases) < self.limit:
            self.leases.append(self.waiting.pop(0))

    def begin(self, number: int) -> None:
        self.tasks[number] = self.runner.get_loop().create_task(self.queue.acquire(ticket(number)))

    def expect_new(self, number: int) -> None:
        if not self.closed:
            self.waiting.append(number)
            self.grant()

    @rule(count=st.integers(1, 3))
    def acquire(self, count: int) -> None:
        for _ in range(count):
            self.last += 1
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
        for place in (self.leases, self.waiting):
            if number in place:
                place.remove(number)
        self.queue.release(ticket(number).id)
        self.grant()
        if again:
            self.expect_new(number)
            self.runner.run(self._ended(old))
        self.settle()

    @precondition(lambda self: bool(self.waiting))
    @rule(pick=PICK)
    def hang_up_while_waiting(self, pick: int) -> None:
        number = self.waiting.pop(pick % len(self.waiting))
        self.tasks[number].cancel()
        self.settle()

    @precondition(lambda self: self.leases and self.waiting and len(self.leases) <= self.limit)
    @rule(pick=PICK, before=st.booleans())
    def hang_up_in_the_turn_of_the_grant(self, pick: int, before: bool) -> None:
        """After the grant: the lease is the ticket's until it is released, though nobody heard. Before: the next's."""
        leaving = self.leases.pop(pick % len(self.leases))
        lucky = self.tasks[self.waiting[0]]
        if before:
            self.waiting.pop(0)
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
        assert all(isinstance(task.result(), Refused) for task in turned_away)

    @rule()
    def welcome_back(self) -> None:
        self.closed = False
        self.queue.welcome_back()

    @invariant()
    def it_is_as_it_ought_to_be(self) -> None:
        assert self.queue._leases.held == {ticket(number).id for number in self.leases}
        assert list(self.queue._leases.waiting) == [ticket(number).id for number in self.waiting]  # in order of arrival
        assert not set(self.leases) & set(self.waiting)

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
