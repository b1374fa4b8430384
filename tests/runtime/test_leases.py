"""Leases are conserved: never more out than there are, first come first served, and all back at the end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.runtime import ActorHandle, Leases, PendingCallsLimitExceeded, TaskCancelledError, kill, remote, stop
from herd.runtime.leases import FirstCome, Order, leased
from herd.runtime.testing import LeakError, run_virtual, virtual_time
from herd.runtime.virtual import VirtualTimeLoop
from tests.runtime.clock import turns

AGAIN, TURNED_AWAY, RELEASED = "asked again", "turned away", "released"


class Owner:
    """Gives out leases, and remembers the most that were out."""

    def __init__(self, limit: int, held: tuple[str, ...] = (), order: Order | None = None) -> None:
        self.leases: Leases[str] = Leases(limit, held, order)

    async def acquire(self, ticket: str, claim: int = 0) -> str | None:
        return await self.leases.acquire(ticket, asked_again=AGAIN, claim=claim)

    def release(self, ticket: str) -> None:
        self.leases.release(ticket, RELEASED)

    def turn_away(self, ticket: str) -> None:
        self.leases.turn_away(ticket, TURNED_AWAY)

    def resize(self, limit: int) -> None:
        self.leases.resize(limit)

    def read(self) -> tuple[list[str], list[str]]:
        """The tickets that have a lease, and those that wait."""
        return list(self.leases.held), list(self.leases.waiting)

    def crash(self) -> None:
        raise ValueError("crash")


class Clients:
    """Tasks that hold a lease until they are let go."""

    def __init__(self, owner: ActorHandle) -> None:
        self.owner = owner
        self.doors: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.order: list[str] = []
        self.inside = 0
        self.most = 0

    async def use(self, ticket: str) -> Any:
        async with leased(self.owner, ticket) as answer:
            if answer is not None:
                return answer
            self.order.append(ticket)
            self.inside += 1
            self.most = max(self.most, self.inside)
            try:
                await self.doors[ticket].wait()
            finally:
                self.inside -= 1
            return None

    def start(self, tickets: str) -> None:
        for ticket in tickets:
            self.doors[ticket] = asyncio.Event()
            self.tasks[ticket] = asyncio.create_task(self.use(ticket))

    def let_go(self, tickets: str) -> None:
        for ticket in tickets:
            self.doors[ticket].set()

    async def end(self) -> list[Any]:
        """How each of them ended, in the order of their start."""
        self.let_go("".join(self.doors))
        return await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def new_owner(limit: int = 1) -> ActorHandle:
    return remote(Owner).remote(limit)


# --- The rules --------------------------------------------------------------------------------------------------------


@virtual_time
async def test_as_many_as_there_are_get_a_lease_and_the_rest_wait_in_order() -> None:
    owner = new_owner(2)
    clients = Clients(owner)
    clients.start("abcde")
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["a", "b"], ["c", "d", "e"])
    clients.let_go("b")
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["a", "c"], ["d", "e"])
    assert await clients.end() == [None] * 5
    assert (clients.order, clients.most) == (list("abcde"), 2)
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
async def test_a_release_is_idempotent_and_one_of_a_stranger_changes_nothing() -> None:
    owner = new_owner()
    for ticket in "ab":
        owner.acquire.remote(ticket)
    for _ in range(3):
        owner.release.tell("a")
        owner.release.tell("nobody")
    assert await owner.read.remote() == (["b"], [])
    owner.release.tell("b")
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
async def test_a_release_while_its_ticket_waits_takes_it_out_of_the_queue_with_the_answer() -> None:
    owner = new_owner()
    await owner.acquire.remote("a")
    waiting, behind = owner.acquire.remote("b"), owner.acquire.remote("c")
    owner.release.tell("b")
    assert await waiting == RELEASED
    owner.release.tell("a")
    assert await behind is None
    owner.release.tell("c")
    await stop(owner)


@virtual_time
async def test_a_release_right_behind_its_own_question_gives_the_lease_back() -> None:
    owner = new_owner()
    for ticket in "ab":
        acquired = owner.acquire.remote(ticket)
        owner.release.tell(ticket)  # in the same turn: it must not overtake
        assert await acquired is None
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
async def test_a_release_without_its_question_leaves_nothing_behind() -> None:
    owner = new_owner()
    ref = owner.acquire.remote("a")
    ref.cancel()  # before it arrives
    owner.release.tell("a")
    assert await owner.read.remote() == ([], [])
    assert await owner.acquire.remote("a") is None  # nothing is remembered against it
    owner.release.tell("a")
    await stop(owner)


@virtual_time
async def test_a_ticket_that_has_a_lease_and_asks_again_keeps_that_one() -> None:
    owner = new_owner()
    assert await owner.acquire.remote("a") is None
    assert await owner.acquire.remote("a") is None
    assert await owner.read.remote() == (["a"], [])
    owner.release.tell("a")
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
async def test_a_ticket_that_waits_and_asks_again_keeps_its_place_and_the_latest_call_waits() -> None:
    owner = new_owner()
    await owner.acquire.remote("a")
    first, other, again = (owner.acquire.remote(ticket) for ticket in "bcb")
    assert await first == AGAIN
    assert await owner.read.remote() == (["a"], ["b", "c"])
    owner.release.tell("a")
    assert await again is None
    assert not other.done()
    owner.release.tell("b")
    assert await other is None
    owner.release.tell("c")
    await stop(owner)


@virtual_time
async def test_the_cancellation_of_an_earlier_call_takes_no_place_from_the_later_one() -> None:
    owner = new_owner()
    await owner.acquire.remote("a")
    first, again = owner.acquire.remote("b"), owner.acquire.remote("b")
    first.cancel()
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["a"], ["b"])
    owner.release.tell("a")
    assert await again is None
    owner.release.tell("b")
    await stop(owner)


@virtual_time
async def test_who_is_turned_away_gets_the_answer_and_no_lease() -> None:
    owner = new_owner()
    clients = Clients(owner)
    clients.start("abc")
    await asyncio.sleep(1)
    for ticket in ("b", "a", "nobody"):
        owner.turn_away.tell(ticket)  # one that has its lease is not turned away
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["a"], ["c"])
    assert await clients.end() == [None, TURNED_AWAY, None]
    assert clients.order == ["a", "c"]
    await stop(owner)


@virtual_time
async def test_more_leases_are_handed_out_at_once_and_fewer_as_they_come_back() -> None:
    owner = new_owner(0)
    clients = Clients(owner)
    clients.start("abcde")
    await asyncio.sleep(1)
    assert await owner.read.remote() == ([], list("abcde"))
    owner.resize.tell(3)
    assert await owner.read.remote() == (list("abc"), list("de"))
    owner.resize.tell(1)
    clients.let_go("ab")
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["c"], ["d", "e"])
    clients.let_go("c")
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["d"], ["e"])
    assert await clients.end() == [None] * 5
    assert clients.order == list("abcde")
    await stop(owner)


@virtual_time
async def test_one_who_comes_after_a_resize_does_not_overtake_those_who_wait() -> None:
    owner = new_owner(0)
    first = owner.acquire.remote("a")
    owner.resize.tell(1)
    second = owner.acquire.remote("b")
    assert await first is None
    assert not second.done()
    owner.release.tell("a")
    assert await second is None
    owner.release.tell("b")
    await stop(owner)


@virtual_time
async def test_leases_that_an_owner_finds_in_use_when_it_starts_again_count() -> None:
    owner = remote(Owner).remote(2, ("old", "older", "oldest"))
    waiting = owner.acquire.remote("new")
    assert await owner.acquire.remote("old") is None  # it has one already
    owner.release.tell("old")
    assert await owner.read.remote() == (["older", "oldest"], ["new"])
    owner.release.tell("oldest")
    assert await waiting is None
    assert await owner.read.remote() == (["older", "new"], [])
    owner.release.tell("older")
    owner.release.tell("new")
    await stop(owner)


# --- An order of one's own --------------------------------------------------------------------------------------------


class HighestClaim:
    """The order of an auction. What it is told must be so: nobody comes twice, and nobody leaves who is not there."""

    def __init__(self) -> None:
        self.claims: dict[str, int] = {}
        self.granted: list[str] = []

    def add(self, ticket: str, claim: int) -> None:
        assert ticket not in self.claims
        self.claims[ticket] = claim

    def remove(self, ticket: str, *, granted: bool) -> None:
        del self.claims[ticket]
        if granted:
            self.granted.append(ticket)

    def first(self) -> str:
        return max(self.claims, key=lambda ticket: (self.claims[ticket], ticket))


@virtual_time
async def test_an_order_says_who_is_next_and_only_those_who_had_to_wait_are_its_own() -> None:
    order = HighestClaim()
    owner = remote(Owner).remote(1, (), order)
    refs = {ticket: owner.acquire.remote(ticket, claim) for ticket, claim in (("a", 1), ("b", 2), ("c", 9), ("d", 5))}
    for ticket, served in ("a", "c"), ("c", "d"), ("d", "b"):
        await refs[ticket]
        owner.release.tell(ticket)
        assert await refs[served] is None
    owner.release.tell("b")
    assert await owner.read.remote() == ([], [])
    assert (order.granted, order.claims) == (["c", "d", "b"], {})
    await stop(owner)


@virtual_time
async def test_an_order_knows_nobody_who_was_turned_away_released_or_cancelled_wherever_it_stood() -> None:
    order = HighestClaim()
    owner = remote(Owner).remote(1, ("held",), order)
    refs = {ticket: owner.acquire.remote(ticket, ord(ticket)) for ticket in "abcdef"}
    owner.turn_away.tell("f")
    owner.release.tell("b")
    refs["d"].cancel()
    again = owner.acquire.remote("c", 1_000)  # keeps its place: its former claim
    await asyncio.sleep(1)
    assert (list(order.claims), order.granted) == (["a", "c", "e"], [])
    refs["e"].cancel()
    owner.release.tell("held")  # in the turn of the hang-up: the next one is served
    assert await again is None
    assert (order.claims, order.granted) == ({"a": ord("a")}, ["c"])
    owner.release.tell("c")
    assert await refs["a"] is None
    owner.release.tell("a")
    assert await owner.read.remote() == ([], [])
    await stop(owner)


# --- Cancelled clients ----------------------------------------------------------------------------------------------


@virtual_time
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("cancelled_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2])
async def test_no_lease_is_lost_when_a_waiting_client_is_cancelled_around_its_grant(
    limit: int, cancelled_first: bool, number: int
) -> None:
    owner = new_owner(limit)
    clients = Clients(owner)
    clients.start("abcdef")
    await asyncio.sleep(1)
    victim = "abcdef"[limit]
    steps: list[Callable[[], Any]] = [lambda: clients.let_go("a"), clients.tasks[victim].cancel]
    if cancelled_first:
        steps.reverse()
    steps[0]()
    await turns(number)
    steps[1]()
    await asyncio.sleep(1)
    held, waiting = await owner.read.remote()
    assert len(held) == limit
    assert victim not in (*held, *waiting)
    ended = await clients.end()
    assert [answer for answer in ended if answer is not None] == [ended[limit]]
    assert isinstance(ended[limit], asyncio.CancelledError)
    assert clients.most == limit
    assert [ticket for ticket in clients.order if ticket != victim] == [name for name in "abcdef" if name != victim]
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
@pytest.mark.parametrize("number", range(10))
async def test_no_lease_is_lost_when_a_client_is_cancelled_on_its_way_to_a_free_one(number: int) -> None:
    owner = new_owner()
    clients = Clients(owner)
    clients.start("ab")
    await turns(number)
    clients.tasks["a"].cancel()
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["b"], [])
    await clients.end()
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
@pytest.mark.parametrize("number", range(10))
async def test_no_lease_is_lost_when_all_who_wait_are_cancelled_one_turn_apart(number: int) -> None:
    owner = new_owner()
    clients = Clients(owner)
    clients.start("abcdef")
    await asyncio.sleep(1)
    clients.let_go("a")
    await turns(number)
    for ticket in "bcde":
        clients.tasks[ticket].cancel()
        await turns(1)
    await asyncio.sleep(1)
    assert await owner.read.remote() == (["f"], [])
    await clients.end()
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
@pytest.mark.parametrize("eighths", range(6, 11))
async def test_no_lease_is_lost_when_a_clients_time_is_over_around_its_grant(eighths: int) -> None:
    owner = new_owner()
    clients = Clients(owner)
    clients.start("a")
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(1, clients.let_go, "a")
    ref = owner.acquire.options(timeout=eighths / 8).remote("b")
    await asyncio.gather(ref, return_exceptions=True)
    owner.release.tell("b")
    await asyncio.sleep(1)
    assert await owner.read.remote() == ([], [])
    assert (await clients.end(), clients.most) == ([None], 1)
    await stop(owner)


@virtual_time
async def test_a_lease_comes_back_although_the_work_failed_or_the_owner_refused_the_call() -> None:
    owner = remote(Owner).options(max_pending_calls=1).remote(1)
    clients = Clients(owner)
    with pytest.raises(KeyError):
        async with leased(owner, "a"):
            raise KeyError
    clients.start("abc")
    await asyncio.sleep(1)
    answers = await clients.end()
    assert answers[0] is None
    assert all(isinstance(answer, PendingCallsLimitExceeded) for answer in answers[1:])
    assert await owner.read.remote() == ([], [])
    await stop(owner)


@virtual_time
async def test_a_cancelled_acquire_of_which_the_ref_alone_was_cancelled_leaves_the_queue() -> None:
    owner = new_owner()
    await owner.acquire.remote("a")
    ref = owner.acquire.remote("b")
    await asyncio.sleep(1)
    ref.cancel()
    with pytest.raises(TaskCancelledError):
        await ref
    assert await owner.read.remote() == (["a"], [])
    owner.release.tell("a")
    await stop(owner)


# --- The leak check ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tickets", "leak"), [("a", r"leases held by \['a'\], waited for by \[\]"), ("", "")], ids=["one", "none"]
)
def test_a_lease_that_is_out_at_the_end_is_a_leak(tickets: str, leak: str) -> None:
    async def main() -> None:
        owner = new_owner()
        for ticket in tickets:
            await owner.acquire.remote(ticket)
        await owner.read.remote()

    if leak:
        with pytest.raises(LeakError, match=leak):
            run_virtual(main(), allow_alive=True)
    else:
        run_virtual(main(), allow_alive=True)


def test_a_lease_that_an_owner_found_in_use_as_it_started_and_that_never_comes_back_is_a_leak() -> None:
    async def main() -> None:
        owner = remote(Owner).remote(1, ("old",))
        await owner.read.remote()

    with pytest.raises(LeakError, match=r"leases held by \['old'\]"):
        run_virtual(main(), allow_alive=True)


def test_a_lease_that_a_restarted_owner_has_given_out_is_a_leak() -> None:
    async def main() -> None:
        owner = remote(Owner).options(max_restarts=1).remote(1)
        owner.crash.tell()
        await owner.acquire.remote("a")

    with pytest.raises(LeakError, match=r"leases held by \['a'\]"):
        run_virtual(main(), allow_alive=True)


class Keeping(Owner):
    """Has one lease. What it gives it out of is kept, so that nothing depends on when Python frees it."""

    def __init__(self, kept: list[Leases[str]]) -> None:
        super().__init__(1)
        kept.append(self.leases)


@pytest.mark.parametrize("end", [stop, kill])
def test_a_lease_of_an_owner_that_is_dead_is_no_leak(end: Callable[[ActorHandle], Any]) -> None:
    kept: list[Leases[str]] = []

    async def main() -> None:
        owner = remote(Keeping).remote(kept)
        await owner.acquire.remote("a")
        end(owner)
        await asyncio.sleep(1)

    run_virtual(main())
    assert list(kept[0].held) == ["a"]


def test_a_lease_of_an_incarnation_that_crashed_is_no_leak() -> None:
    kept: list[Leases[str]] = []

    async def main() -> None:
        owner = remote(Keeping).options(max_restarts=1).remote(kept)
        await owner.acquire.remote("a")
        owner.crash.tell()
        assert await owner.read.remote() == ([], [])

    run_virtual(main(), allow_alive=True)
    assert len(kept) == 2


# --- A model ----------------------------------------------------------------------------------------------------------

tickets = st.sampled_from("abcdefgh")


class LeasesMachine(RuleBasedStateMachine):
    """Any calls in any order, against a list of who has a lease and a list of who waits; first come, first served.

    Calls are not let settle between the steps unless a step says so: cancellations meet grants that nobody has seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.order = self.new_order()
        self.leases: Leases[str] = Leases(2, order=self.order)
        self.limit = 2
        self.held: list[str] = []
        self.queue: list[str] = []
        self.calls: dict[str, asyncio.Task[str | None]] = {}  # the latest of each ticket
        self.expected: list[tuple[asyncio.Task[str | None], str | None]] = []  # how calls must end

    def new_order(self) -> Order:
        return FirstCome()

    def next_in_queue(self) -> int:
        return 0

    def wait(self, number: int) -> None:
        self.runner.run(turns(number))

    def grant(self) -> None:
        while self.queue and len(self.held) < self.limit:
            ticket = self.queue.pop(self.next_in_queue())
            self.held.append(ticket)
            self.expected.append((self.calls[ticket], None))

    def settle_one(self, ticket: str, answer: str) -> None:
        self.expected.append((self.calls[ticket], answer))

    @rule(ticket=tickets)
    def acquire(self, ticket: str) -> None:
        self.wait(2)  # calls come to an actor by its mailbox: what was cancelled before has had its turn
        if ticket in self.queue:
            self.settle_one(ticket, AGAIN)
        task = self.runner.get_loop().create_task(self.leases.acquire(ticket, asked_again=AGAIN, claim=0))
        self.calls[ticket] = task
        if ticket in self.held or (len(self.held) < self.limit and not self.queue):
            if ticket not in self.held:
                self.held.append(ticket)
            self.expected.append((task, None))
        elif ticket not in self.queue:
            self.queue.append(ticket)
        self.wait(1)

    @rule(ticket=tickets)
    def release(self, ticket: str) -> None:
        self.leases.release(ticket, RELEASED)
        if ticket in self.held:
            self.held.remove(ticket)
        if ticket in self.queue:
            self.queue.remove(ticket)
            self.settle_one(ticket, RELEASED)
        self.grant()

    @rule(ticket=tickets)
    def turn_away(self, ticket: str) -> None:
        self.leases.turn_away(ticket, TURNED_AWAY)
        if ticket in self.queue:
            self.queue.remove(ticket)
            self.settle_one(ticket, TURNED_AWAY)

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def cancel_one_that_waits(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.queue))
        self.calls[ticket].cancel()
        self.queue.remove(ticket)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancel_one_that_has_just_been_granted(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.held))
        task = self.calls[ticket]
        if task.cancel():  # it has not seen its lease; its caller will tell the release all the same
            self.expected = [(call, answer) for call, answer in self.expected if call is not task]

    @rule(limit=st.integers(0, 4))
    def resize(self, limit: int) -> None:
        self.limit = limit
        self.leases.resize(limit)
        self.grant()

    @rule(number=st.integers(1, 3))
    def take_turns(self, number: int) -> None:
        self.wait(number)

    @invariant()
    def those_have_a_lease_who_should(self) -> None:
        assert list(self.leases.held) == self.held
        assert [ticket for ticket in self.leases.waiting if ticket in self.queue] == self.queue

    def teardown(self) -> None:
        try:
            self.wait(3)
            assert list(self.leases.waiting) == self.queue
            for task, answer in self.expected:
                assert task.result() == answer
            for ticket in [*self.held, *self.queue]:
                self.leases.release(ticket, RELEASED)
            self.wait(3)
            assert not self.leases.leaks()
        finally:
            self.runner.close()


class OrderedLeasesMachine(LeasesMachine):
    """The same, and of those who wait the last by name is first."""

    def new_order(self) -> Order:
        return HighestClaim()

    def next_in_queue(self) -> int:
        return self.queue.index(max(self.queue))

    def teardown(self) -> None:
        super().teardown()
        assert isinstance(self.order, HighestClaim)
        assert self.order.claims == {}


TestLeasesMachine = LeasesMachine.TestCase
TestLeasesMachine.settings = settings(max_examples=50, stateful_step_count=30)
TestOrderedLeasesMachine = OrderedLeasesMachine.TestCase
TestOrderedLeasesMachine.settings = settings(max_examples=25, stateful_step_count=30)


def test_a_limit_is_never_passed_but_by_a_resize() -> None:
    async def main() -> int:
        owner = new_owner(3)
        clients = Clients(owner)
        names = [f"client {number}" for number in range(30)]
        for number, name in enumerate(names):
            clients.doors[name] = asyncio.Event()
            clients.tasks[name] = asyncio.create_task(clients.use(name))
            if number % 3 == 0:
                await turns(number % 7)
            if number % 4 == 0:
                clients.tasks[names[number // 2]].cancel()
            if number % 5 == 0:
                clients.doors[names[number // 3]].set()
        for door in clients.doors.values():
            door.set()
        await asyncio.gather(*clients.tasks.values(), return_exceptions=True)
        assert await owner.read.remote() == ([], [])
        await stop(owner)
        return clients.most

    assert run_virtual(main()) <= 3
