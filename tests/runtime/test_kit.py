"""The kit for tests of actors: does it find what it is there to find, and nothing else?"""

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime import ActorHandle, context, get_actor, kill, remote, stop
from herd.runtime.mailbox import BURST
from herd.runtime.probe import Heard, Probe
from herd.runtime.registry import registry
from herd.runtime.testing import LeakError, run_virtual, serialize_messages, shuffled, virtual_time
from herd.runtime.virtual import NAMED_TASKS, Deadlock
from tests.runtime.clock import now


@dataclass(frozen=True)
class Parcel:
    """Something that can travel."""

    content: list[int]
    label: tuple[str, ...] = ()


class Socket:
    """Something that is alive and cannot."""


class Depot:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def keep(self, thing: Any) -> None:
        self.kept.append(thing)

    async def keep_later(self, thing: Any) -> None:
        await asyncio.sleep(0)
        self.kept.append(thing)

    def echo(self, thing: Any) -> Any:
        return thing

    def read(self) -> list[Any]:
        return self.kept

    def alive(self) -> Any:
        return Socket()

    async def alive_later(self) -> Any:
        return Socket()

    def me(self) -> ActorHandle:
        return context(self).handle

    async def hold(self, seconds: float = 1000) -> None:
        await asyncio.sleep(seconds)


# --- Messages that travel ---------------------------------------------------------------------------------------------


@virtual_time
async def test_without_the_kit_a_message_is_handed_over_as_it_is() -> None:
    depot = remote(Depot).remote()
    socket = Socket()
    assert await depot.echo.remote(socket) is socket
    await stop(depot)


@virtual_time(serialize_messages=True)
async def test_what_travels_arrives_equal_but_is_not_shared() -> None:
    depot = remote(Depot).remote()
    parcel = Parcel([1, 2], ("fragile",))
    depot.keep.tell(parcel)
    sent = depot.keep_later.remote(thing=parcel)
    parcel.content.append(3)
    await sent
    kept = await depot.read.remote()
    assert kept == [Parcel([1, 2], ("fragile",))] * 2
    kept.clear()
    assert len(await depot.read.remote()) == 2
    await stop(depot)


@virtual_time(serialize_messages=True)
async def test_handles_travel_as_themselves_even_those_of_the_dead() -> None:
    depot = remote(Depot).remote()
    assert await depot.me.remote() is depot
    assert await depot.echo.remote({"here": [depot]}) == {"here": [depot]}
    dead = remote(Depot).remote()
    kill(dead)
    assert await depot.echo.remote([dead]) == [dead]
    await stop(depot)


@virtual_time(serialize_messages=True)
async def test_an_argument_that_cannot_travel_is_an_error_of_the_call_and_a_reply_one_of_the_ref() -> None:
    depot = remote(Depot).remote()
    for send in (depot.keep.remote, depot.keep.tell, depot.keep_later.remote, depot.keep_later.tell):
        with pytest.raises(TypeError, match="Socket"):
            send(Socket())
        with pytest.raises(TypeError, match="Socket"):
            send(thing=[Socket()])
    for method in (depot.alive, depot.alive_later):
        with pytest.raises(TypeError, match="Socket"):
            await method.remote()
    assert await depot.read.remote() == []  # it lives on
    await stop(depot)


@virtual_time
async def test_the_round_trip_is_made_as_long_as_the_block_lasts() -> None:
    depot = remote(Depot).remote()
    socket = Socket()
    with serialize_messages():
        with serialize_messages(), pytest.raises(TypeError):
            depot.echo.remote(socket)
        with pytest.raises(TypeError):
            depot.echo.remote(socket)
    assert await depot.echo.remote(socket) is socket
    await stop(depot)


# --- Turns that are shuffled ------------------------------------------------------------------------------------------


class Scribe:
    """One of several who write into the same book."""

    def __init__(self, name: str, book: list[str]) -> None:
        self.name = name
        self.book = book

    def write(self, number: int) -> None:
        self.book.append(f"{self.name}{number}")

    async def write_later(self, number: int) -> None:
        self.write(number)


async def write_all(names: str, methods: Sequence[str]) -> list[str]:
    """What is in the book when all have written their numbers into it, each number by its method."""
    book: list[str] = []
    scribes = [remote(Scribe).remote(name, book) for name in names]
    for number, method in enumerate(methods):
        for scribe in scribes:
            getattr(scribe, method).tell(number)
    for scribe in scribes:
        await stop(scribe)
    return book


@pytest.mark.parametrize("method", ["write", "write_later"])
def test_the_same_seed_gives_the_same_order_and_others_give_others(method: str) -> None:
    books = [tuple(run_virtual(write_all("abc", [method] * 3), shuffle=seed)) for seed in range(30)]
    again = [tuple(run_virtual(write_all("abc", [method] * 3), shuffle=seed)) for seed in range(30)]
    assert books == again
    assert len(set(books)) > 20
    plain = {tuple(run_virtual(write_all("abc", [method] * 3))) for _ in range(5)}
    assert len(plain) == 1


@given(st.integers(0, 2**32), st.integers(1, 4), st.lists(st.sampled_from(["write", "write_later"]), max_size=8))
@settings(max_examples=100)
def test_whatever_the_seed_messages_to_one_actor_keep_their_order_and_none_is_lost(
    seed: int, actors: int, methods: list[str]
) -> None:
    names = "abcd"[:actors]
    book = run_virtual(write_all(names, methods), shuffle=seed)
    for name in names:
        assert [entry for entry in book if entry.startswith(name)] == [f"{name}{n}" for n in range(len(methods))]


class Account:
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, what: str) -> None:
        self.told.append(what)

    def read(self) -> list[str]:
        return self.told


class Courier:
    """Passes on what it is given."""

    def __init__(self, account: ActorHandle) -> None:
        self.account = account

    def carry(self, what: str) -> None:
        self.account.note.tell(what)


async def race() -> list[str]:
    """Wrong: it takes for granted that two couriers arrive in the order in which they were sent."""
    account = remote(Account).remote()
    first, second = (remote(Courier).remote(account) for _ in range(2))
    first.carry.tell("open")
    second.carry.tell("close")
    for actor in (first, second):
        await stop(actor)
    told: list[str] = await account.read.remote()
    await stop(account)
    return told


def test_shuffling_finds_a_race_that_taking_turns_hides() -> None:
    assert all(run_virtual(race()) == ["open", "close"] for _ in range(10))
    outcomes = {tuple(run_virtual(race(), shuffle=seed)) for seed in range(20)}
    assert outcomes == {("open", "close"), ("close", "open")}


@pytest.mark.parametrize("seed", range(10))
def test_an_actor_that_dies_before_its_turn_takes_it_from_nobody(seed: int) -> None:
    async def main() -> list[str]:
        book: list[str] = []
        scribes = [remote(Scribe).remote(name, book) for name in "abcd"]
        await asyncio.sleep(1)
        for scribe in scribes:
            scribe.write.tell(1)
        kill(scribes[1])
        kill(scribes[2])
        for scribe in (scribes[0], scribes[3]):
            await stop(scribe)
        return book

    assert sorted(run_virtual(main(), shuffle=seed, allow_lost=True)) == ["a1", "d1"]


@virtual_time
async def test_turns_are_shuffled_as_long_as_the_block_lasts() -> None:
    book: list[str] = []
    scribes = [remote(Scribe).remote(name, book) for name in "ab"]
    await asyncio.sleep(1)
    home = registry()
    with shuffled(3):
        with shuffled(4):
            assert home.burst == 1
        assert (home.burst, home.schedule is None) == (1, False)
        for scribe in scribes:
            scribe.write.tell(0)  # these turns are drawn when the block has ended
    assert (home.burst, home.schedule is None) == (BURST, True)
    for scribe in scribes:
        scribe.write.tell(1)
    await asyncio.sleep(1)
    assert sorted(book) == ["a0", "a1", "b0", "b1"]
    for scribe in scribes:
        await stop(scribe)


class Finder:
    def find(self, name: str) -> ActorHandle:
        return get_actor(name)


@virtual_time(shuffle=1)
async def test_shuffled_handlers_run_as_their_actors() -> None:
    friend = remote(Finder).options(name="friend", namespace="home").remote()
    finder = remote(Finder).options(namespace="home").remote()
    for _ in range(2):  # at the second the sender, not its own start, has woken it
        assert await finder.find.remote("friend") is friend
        await asyncio.sleep(1)
    await stop(finder)
    await stop(friend)


# --- The probe --------------------------------------------------------------------------------------------------------


class Scorer:
    def on_start(self) -> None:
        raise AssertionError("a probe has none of the code of its class")

    def on_receive(self, _message: Any) -> None:
        raise AssertionError("likewise")

    def node_changed(self, _view: str) -> None:
        raise AssertionError("likewise")

    async def place(self, _request: str, *, urgent: bool = False) -> str:
        raise AssertionError(f"likewise {urgent}")

    def _private(self) -> None: ...


@virtual_time
async def test_a_probe_keeps_what_it_is_sent_in_order() -> None:
    probe = Probe(Scorer)
    probe.handle.node_changed.tell("a view")
    calling = probe.handle.place.remote("a request", urgent=True)
    assert await probe.heard() == Heard("node_changed", ("a view",))
    assert await probe.heard() == Heard("place", ("a request",), (("urgent", True),))
    assert await calling is None
    assert probe.so_far() == []
    for number in range(3):
        probe.handle.node_changed.tell(number)
    await asyncio.sleep(1)
    assert probe.so_far() == [Heard("node_changed", (number,)) for number in range(3)]
    assert probe.so_far() == []
    await probe.stop()


@virtual_time
async def test_a_probe_answers_by_method_and_in_order_a_value_an_error_or_when_a_future_is_done() -> None:
    probe = Probe(Scorer)
    later: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    probe.answer("place", "first", KeyError("second"))
    probe.answer("place", later)
    probe.answer("node_changed", "of another method")
    assert await probe.handle.place.remote("a") == "first"
    with pytest.raises(KeyError, match="second"):
        await probe.handle.place.remote("b")
    third, fourth = probe.handle.place.remote("c"), probe.handle.place.remote("d")
    assert await fourth is None
    assert not third.done()
    later.set_result("third")
    assert await third == "third"
    assert await probe.handle.node_changed.remote("v") == "of another method"
    await probe.stop()


@virtual_time
async def test_a_test_that_waits_for_a_probe_hears_as_soon_as_there_is_something() -> None:
    probe = Probe(Scorer, name="scorer")
    assert repr(probe.handle) == '<ActorHandle Scorer "scorer" starting>'
    asyncio.get_running_loop().call_later(7, probe.handle.node_changed.tell, "late")
    assert await probe.heard() == Heard("node_changed", ("late",))
    assert asyncio.get_running_loop().time() == 7
    await probe.stop()


@virtual_time
async def test_a_probe_has_the_public_methods_of_its_class_and_no_other() -> None:
    probe = Probe(Scorer)
    for name in ("_private", "unknown", "on_start"):
        with pytest.raises(AttributeError):
            getattr(probe.handle, name).remote()
    await probe.stop()


def test_a_message_that_never_comes_to_a_probe_is_a_deadlock() -> None:
    async def main() -> None:
        await Probe(Scorer).heard()

    with pytest.raises(Deadlock):
        run_virtual(main())


# --- Leaks ------------------------------------------------------------------------------------------------------------


def test_a_message_told_to_the_dead_is_a_leak_unless_that_is_allowed() -> None:
    async def main() -> str:
        depot = remote(Depot).options(name="d").remote()
        kill(depot)
        depot.keep.tell(1)
        depot.hold.tell()
        return "result"

    with pytest.raises(LeakError, match='2 messages told to the dead, the last one: Depot "d": hold'):
        run_virtual(main())
    assert run_virtual(main(), allow_lost=True) == "result"


def test_a_refused_call_is_no_leak_for_its_caller_knows() -> None:
    async def main() -> None:
        depot = remote(Depot).remote()
        kill(depot)
        depot.keep.remote(1)

    run_virtual(main())


def test_what_was_told_and_runs_or_waits_is_a_leak_although_actors_may_live() -> None:
    async def running() -> None:
        remote(Depot).remote().hold.tell()
        await asyncio.sleep(1)

    async def waiting() -> None:
        depot = remote(Depot).remote()
        await depot.read.remote()
        depot.keep.tell(1)

    with pytest.raises(LeakError, match="0 unanswered calls, 1 running handlers"):
        run_virtual(running(), allow_alive=True)
    with pytest.raises(LeakError, match=r"<ActorHandle Depot #1 alive> with .* 1 messages waiting"):
        run_virtual(waiting(), allow_alive=True)


def test_all_leaks_are_named_at_once() -> None:
    async def main() -> None:
        first, second = (remote(Depot).options(name=name).remote() for name in ("first", "second"))
        first.hold.remote()
        await second.read.remote()
        dead = remote(Depot).options(name="third").remote()
        kill(dead)
        dead.keep.tell(1)

    with pytest.raises(LeakError) as failure:
        run_virtual(main())
    for part in ('Depot "first"', "1 unanswered calls", 'Depot "second"', "not stopped", 'Depot "third": keep'):
        assert part in str(failure.value)


def test_a_call_that_was_answered_or_given_up_before_the_end_is_no_leak() -> None:
    async def main() -> None:
        depot = remote(Depot).remote()
        depot.hold.remote(1).cancel()
        await depot.echo.remote(1)

    run_virtual(main(), allow_alive=True)


def test_what_is_left_over_ends_with_the_run() -> None:
    ended: list[str] = []

    class Stubborn:
        async def hold(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("hold")

    async def main() -> ActorHandle:
        stubborn = remote(Stubborn).remote()
        stubborn.hold.remote()
        await asyncio.sleep(1)
        handles.append(stubborn)
        raise KeyError("of the test")

    handles: list[ActorHandle] = []
    with pytest.raises(KeyError):
        run_virtual(main())
    assert ended == ["hold"]
    assert repr(handles[0]) == "<ActorHandle Stubborn #1 dead>"


# --- Deadlocks --------------------------------------------------------------------------------------------------------


def test_a_deadlock_names_some_of_the_tasks_that_wait_and_how_many_more_do() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(NAMED_TASKS + 2):
                group.create_task(asyncio.Event().wait(), name=f"a philosopher {number:02}")

    with pytest.raises(Deadlock, match=r"a philosopher 00, .*a philosopher 08 and 3 more") as failure:
        run_virtual(main())
    assert str(failure.value).count(",") == NAMED_TASKS - 1


def test_after_a_deadlock_the_next_run_is_as_if_nothing_had_been() -> None:
    async def main() -> None:
        depot = remote(Depot).options(name="d").remote()
        await depot.read.remote()
        await asyncio.Event().wait()

    for _ in range(2):
        with pytest.raises(Deadlock):
            run_virtual(main())


def test_a_call_to_an_actor_that_never_answers_is_a_deadlock() -> None:
    class Silent:
        async def answer(self) -> None:
            await asyncio.Event().wait()

    async def main() -> None:
        await remote(Silent).remote().answer.remote()

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_a_timer_that_ticks_for_ever_is_no_deadlock() -> None:
    class Clock:
        def __init__(self, done: asyncio.Future[float]) -> None:
            self.done = done
            self.ticks = 0

        def on_start(self) -> None:
            context(self).every(1, self.tick)

        def tick(self) -> None:
            self.ticks += 1
            if self.ticks == 3600:
                self.done.set_result(now())

    async def main() -> float:
        done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        remote(Clock).remote(done)
        return await done

    assert run_virtual(main(), allow_alive=True) == 3600


def test_the_decorator_keeps_the_name_and_the_parameters_of_the_test() -> None:
    @virtual_time(allow_alive=True)
    async def test_something(number: int, *, word: str = "x") -> str:
        """What it is for."""
        remote(Depot).remote()
        return word * number

    assert (test_something.__name__, test_something.__doc__) == ("test_something", "What it is for.")
    assert list(inspect.signature(test_something).parameters) == ["number", "word"]
    assert test_something(3, word="y") == "yyy"
