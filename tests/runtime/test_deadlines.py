"""Deadlines travel with calls, only shrink, and stay with the call that they are of."""

import asyncio
import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime import (
    ActorHandle,
    DeadLetterReason,
    GetTimeoutError,
    ObjectRef,
    Terminated,
    context,
    dead_letters,
    deadline,
    exit_actor,
    kill,
    remote,
    stop,
)
from herd.runtime.deadlines import due
from herd.runtime.testing import run_virtual, virtual_time
from tests.runtime.clock import now, pass_time, turns


class Worker:
    """Writes down when its handlers start and end, in a list that outlives it."""

    def __init__(self, diary: list[str], starts_after: float = 0.0) -> None:
        self.diary = diary
        self.starts_after = starts_after

    async def on_start(self) -> None:
        await asyncio.sleep(self.starts_after)

    def quick(self) -> None:
        self.diary.append(f"quick at {now():g}")

    async def slow(self, seconds: float = 100.0) -> str:
        self.diary.append(f"slow at {now():g}")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.diary.append(f"cancelled at {now():g}")
            raise
        return "done"

    def hold(self, seconds: float) -> None:
        pass_time(seconds)


class Middle:
    """Asks on, with what is left."""

    def __init__(self, worker: ActorHandle) -> None:
        self.worker = worker
        self.refs: list[Any] = []

    async def ask(self, seconds: float, timeout: float | None = None) -> Any:
        return await self.worker.slow.options(timeout=timeout).remote(seconds)

    async def ask_within(self, seconds: float, patience: float) -> Any:
        with deadline(patience):
            return await self.worker.slow.remote(seconds)

    def ask_and_leave(self, seconds: float) -> None:
        self.refs.append(self.worker.slow.remote(seconds))

    def hold_and_ask(self, seconds: float) -> None:
        pass_time(seconds)
        self.refs.append(self.worker.slow.remote(1))

    async def outcome(self) -> str:
        try:
            return str(await self.refs[-1])
        except GetTimeoutError as error:
            return str(error)


# --- They travel, and shrink ------------------------------------------------------------------------------------------


@virtual_time
async def test_a_call_within_a_deadline_block_ends_in_time() -> None:
    worker = remote(Worker).remote([])
    with deadline(3):
        assert await worker.slow.remote(2) == "done"
        with pytest.raises(GetTimeoutError, match="Worker #1: slow did not end within 1 s"):
            await worker.slow.remote()
    assert now() == 3
    assert await worker.slow.remote() == "done"
    await stop(worker)


@virtual_time
@pytest.mark.parametrize(
    ("outer", "inner", "end"), [(3, 5, 3), (5, 3, 3), (4, 4, 4), (5, None, 5)], ids=["outer", "inner", "same", "none"]
)
async def test_of_a_block_in_a_block_and_of_a_timeout_in_a_block_the_sooner_holds(
    outer: float, inner: float | None, end: float
) -> None:
    worker = remote(Worker).remote([])
    with deadline(outer), pytest.raises(GetTimeoutError):
        await worker.slow.options(timeout=inner).remote()
    assert now() == end
    with deadline(outer), deadline(math.inf if inner is None else inner), pytest.raises(GetTimeoutError):
        await worker.slow.remote()
    assert now() == 2 * end
    await stop(worker)


@virtual_time
async def test_a_deadline_block_ends_although_its_body_raised() -> None:
    worker = remote(Worker).remote([])
    with pytest.raises(KeyError), deadline(1):
        raise KeyError
    assert await worker.slow.remote() == "done"
    await stop(worker)


@virtual_time
async def test_what_a_handler_asks_for_ends_with_what_it_was_asked_for_itself() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    middle = remote(Middle).remote(worker)
    with pytest.raises(GetTimeoutError, match="Middle #2: ask did not end within 3 s"):
        await middle.ask.options(timeout=3).remote(60)
    await asyncio.sleep(1)
    assert diary == ["slow at 0", "cancelled at 3"]
    await stop(middle)
    await stop(worker)


@virtual_time
async def test_a_def_handler_hands_its_deadline_on_to_calls_that_outlive_it() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    middle = remote(Middle).remote(worker)
    await middle.ask_and_leave.options(timeout=3).remote(60)
    assert await middle.outcome.remote() == "Worker #1: slow did not end within 3 s"
    assert diary == ["slow at 0", "cancelled at 3"]
    await stop(middle)
    await stop(worker)


@virtual_time
async def test_a_handlers_own_shorter_patience_ends_its_question_only() -> None:
    worker = remote(Worker).remote([])
    middle = remote(Middle).remote(worker)
    for ref in (middle.ask.options(timeout=9).remote(60, 2), middle.ask_within.options(timeout=9).remote(60, 2)):
        with pytest.raises(GetTimeoutError, match="Worker #1: slow did not end within 2 s"):
            await ref
    assert now() == 2
    await stop(middle)
    await stop(worker)


class Hop:
    """One hop of a chain: waits, and calls the next."""

    def __init__(self, following: ActorHandle | None, seen: list[float]) -> None:
        self.following = following
        self.seen = seen

    def at_once(self, _delay: float, plan: list[tuple[str, float | None, str, float]]) -> None:
        self.note()
        if plan and self.following is not None:
            call(self.following, plan)

    async def later(self, delay: float, plan: list[tuple[str, float | None, str, float]]) -> None:
        self.note()
        await asyncio.sleep(delay)
        if plan and self.following is not None:
            await call(self.following, plan)

    def note(self) -> None:
        at = due.get()
        self.seen.append(math.inf if at is None else at)


def call(hop: ActorHandle, plan: list[tuple[str, float | None, str, float]]) -> Any:
    (way, timeout, method, delay), *rest = plan
    if way == "block" and timeout is not None:
        with deadline(timeout):
            return getattr(hop, method).remote(delay, rest)
    return getattr(hop, method).options(timeout=timeout).remote(delay, rest)


def foreseen(plan: list[tuple[str, float | None, str, float]]) -> list[float]:
    """The deadline at each hop that is reached."""
    at, end = 0.0, math.inf
    ends = []
    for _, timeout, method, delay in plan:
        end = min(end, math.inf if timeout is None else at + timeout)
        ends.append(end)
        at += delay if method == "later" else 0.0
        if at >= end:
            break
    return ends


hops = st.tuples(
    st.sampled_from(["options", "block"]),
    st.none() | st.integers(1, 9),
    st.sampled_from(["at_once", "later"]),
    st.integers(0, 5),
)


@given(st.lists(hops, min_size=1, max_size=6))
@settings(max_examples=150)
def test_the_deadline_at_each_hop_of_a_chain_is_the_earliest_so_far(
    drawn: list[tuple[str, float | None, str, float]],
) -> None:
    # Each wait has a fraction of its own, so that none ends in the very moment of a deadline.
    plan = [(way, limit, method, delay + (n + 1) / 64) for n, (way, limit, method, delay) in enumerate(drawn)]

    async def main() -> list[float]:
        seen: list[float] = []
        chain: list[ActorHandle] = []
        for _ in plan:
            chain.append(remote(Hop).remote(chain[-1] if chain else None, seen))
        await asyncio.gather(call(chain[-1], plan), return_exceptions=True)
        await asyncio.sleep(100)
        for hop in chain:
            await stop(hop)
        return seen

    assert run_virtual(main()) == foreseen(plan)


# --- They do not leak -------------------------------------------------------------------------------------------------


class Child:
    """Sleeps for long, by way of another actor, as it starts, and when it is told to."""

    def __init__(self, worker: ActorHandle, slept: list[str]) -> None:
        self.worker = worker
        self.slept = slept

    async def on_start(self) -> None:
        await self.nap()

    async def nap(self) -> None:
        try:
            self.slept.append(await self.worker.slow.remote(10))
        except GetTimeoutError as error:
            self.slept.append(str(error))


class Phoenix(Child):
    """Does so at its second start only."""

    def __init__(self, worker: ActorHandle, slept: list[str], starts: list[float]) -> None:
        super().__init__(worker, slept)
        self.starts = starts

    async def on_start(self) -> None:
        self.starts.append(now())
        if len(self.starts) > 1:
            await self.nap()


class Leaver(Child):
    async def on_start(self) -> None: ...

    async def on_stop(self) -> None:
        await self.nap()

    def leave(self) -> None:
        exit_actor()

    def stop_in_order(self) -> None:
        stop(context(self).handle)


class Origin(Child):
    """Begins, in the time that a call has, what has all the time in the world."""

    def __init__(self, worker: ActorHandle, slept: list[str]) -> None:
        super().__init__(worker, slept)
        self.children: list[ActorHandle] = []

    def on_start(self) -> None:  # type: ignore[override] # the runtime takes either
        self.fragile = context(self).supervisor().start(remote(Phoenix), self.worker, self.slept, [])
        self.mortal = remote(Worker).remote([])

    def begin(self, way: str) -> None:
        getattr(self, f"by_{way}")()

    async def begin_later(self, way: str) -> None:
        await asyncio.sleep(0)
        self.begin(way)

    def by_tell(self) -> None:
        context(self).handle.nap.tell()

    def by_after(self) -> None:
        context(self).after(0.5, self.nap)

    def by_every(self) -> None:
        context(self).every(15, self.nap)

    def by_watch(self) -> None:
        context(self).watch(self.mortal, self.bereaved)
        kill(self.mortal)

    async def bereaved(self, _terminated: Terminated) -> None:
        await self.nap()

    def by_spawn(self) -> None:
        context(self).spawn(self.nap())

    def by_child(self) -> None:
        self.children.append(remote(Child).remote(self.worker, self.slept))

    def by_restart(self) -> None:
        kill(self.fragile, no_restart=False)

    def by_supervised_child(self) -> None:
        context(self).supervisor().start(remote(Child), self.worker, self.slept)

    def fail(self) -> None:
        raise ValueError("on purpose")

    async def on_stop(self) -> None:
        kill(self.mortal)
        for child in self.children:
            await stop(child)


@virtual_time
@pytest.mark.parametrize("begin", ["begin", "begin_later"])
@pytest.mark.parametrize(
    "way", ["tell", "after", "every", "watch", "spawn", "child", "restart", "supervised_child"], ids=str
)
async def test_a_deadline_does_not_leak_out_of_its_call_by(way: str, begin: str) -> None:
    slept: list[str] = []
    worker = remote(Worker).remote([])
    origin = remote(Origin).remote(worker, slept)
    await asyncio.sleep(1)
    await getattr(origin, begin).options(timeout=1).remote(way)
    await asyncio.sleep(29)
    assert slept == ["done"]
    await stop(origin)
    await stop(worker)


@virtual_time
@pytest.mark.parametrize("method", ["leave", "stop_in_order"])
async def test_an_actor_that_ends_within_a_call_has_its_own_time_to_stop(method: str) -> None:
    slept: list[str] = []
    worker = remote(Worker).remote([])
    leaver = remote(Leaver).remote(worker, slept)
    await asyncio.gather(getattr(leaver, method).options(timeout=1).remote(), return_exceptions=True)
    await stop(leaver)
    assert slept == ["done"]
    await stop(worker)


@virtual_time
@pytest.mark.parametrize("before", ["by_tell", "fail"])
async def test_a_deadline_does_not_leak_into_later_messages_of_the_actor(before: str) -> None:
    slept: list[str] = []
    worker = remote(Worker).remote([])
    origin = remote(Origin).remote(worker, slept)
    hurried = getattr(origin, before).options(timeout=1).remote()
    later = origin.nap.remote()  # in the same burst
    await asyncio.gather(hurried, later, return_exceptions=True)
    assert set(slept) == {"done"}
    await stop(origin)
    await stop(worker)


@virtual_time
async def test_a_deadline_block_does_not_bound_what_is_told_in_it() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    with deadline(1):
        worker.slow.tell(10)
    await stop(worker)
    assert now() == 10
    assert diary == ["slow at 0"]


# --- What is late is dropped before it starts -------------------------------------------------------------------------


def expired() -> int:
    return dead_letters()[DeadLetterReason.EXPIRED]


@virtual_time
@pytest.mark.parametrize("method", ["quick", "slow"])
async def test_a_call_that_expires_while_its_actor_starts_is_dropped_and_counted(method: str) -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary, 10)
    with pytest.raises(GetTimeoutError, match=f"Worker #1: {method} did not end within 3 s"):
        await getattr(worker, method).options(timeout=3).remote()
    assert now() == 3
    assert expired() == 0  # it waits where it is until its turn comes
    await stop(worker)
    assert (diary, expired()) == ([], 1)


@virtual_time
async def test_a_call_that_expires_while_it_waits_for_room_is_dropped_and_counted() -> None:
    diary: list[str] = []
    worker = remote(Worker).options(max_concurrency=1).remote(diary)
    first = worker.slow.remote(10)
    with pytest.raises(GetTimeoutError):
        await worker.slow.options(timeout=3).remote()
    await first
    await stop(worker)
    assert (diary, expired()) == (["slow at 0"], 1)


@virtual_time
@pytest.mark.parametrize("timeout", [0, -1])
@pytest.mark.parametrize("method", ["quick", "slow"])
async def test_a_call_without_any_time_never_starts(method: str, timeout: float) -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    with pytest.raises(GetTimeoutError):
        await getattr(worker, method).options(timeout=timeout).remote()
    await stop(worker)
    assert (diary, expired()) == ([], 1)


@virtual_time
@pytest.mark.parametrize("method", ["quick", "slow"])
@pytest.mark.parametrize("seconds", [3, 5])
async def test_a_call_is_late_by_the_clock_although_the_loop_has_not_come_to_its_timer(
    method: str, seconds: float
) -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    holding = worker.hold.remote(seconds)
    late, in_time = (getattr(worker, method).options(timeout=limit).remote() for limit in (3, 300))
    with pytest.raises(GetTimeoutError, match="came too late for its caller's deadline"):
        await late
    await asyncio.gather(holding, in_time)
    assert (diary, expired()) == ([f"{method} at {seconds}"], 1)
    await stop(worker)


@virtual_time
async def test_a_call_that_waits_for_room_is_late_by_the_clock_too() -> None:
    diary: list[str] = []
    worker = remote(Worker).options(max_concurrency=1).remote(diary)
    first = worker.slow.remote(2)
    late = worker.slow.options(timeout=3).remote()
    await asyncio.sleep(1)
    # In the moment in which the first one ends and makes room, the loop is held up.
    asyncio.get_running_loop().call_at(2, pass_time, 5)
    with pytest.raises(GetTimeoutError):
        await late
    await first
    await stop(worker)
    assert (diary, expired()) == (["slow at 0"], 1)


async def never_late(worker: ActorHandle, diary: list[str], late: ObjectRef[Any]) -> None:
    """The call, whose time is over at 4, does not begin, or at 1, and is then cancelled as soon as the loop can."""
    with pytest.raises(GetTimeoutError):
        await late
    await stop(worker)
    assert (diary, expired()) in (([], 1), (["slow at 1", "cancelled at 6"], 0))


@virtual_time
@pytest.mark.parametrize("number", range(5))
async def test_an_async_handler_does_not_start_late_whoever_holds_up_the_loop_and_whenever(number: int) -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    await asyncio.sleep(1)
    late = worker.slow.options(timeout=3).remote()
    await turns(number)
    pass_time(5)
    await never_late(worker, diary, late)


@virtual_time
async def test_another_actor_that_holds_up_the_loop_makes_no_async_handler_start_late() -> None:
    diary: list[str] = []
    worker, holder = remote(Worker).remote(diary), remote(Worker).remote([])
    await asyncio.sleep(1)
    late = worker.slow.options(timeout=3).remote()
    holding = holder.hold.remote(5)  # in the same turn of the loop, after the worker's burst
    await never_late(worker, diary, late)
    await holding
    await stop(holder)


@virtual_time
async def test_what_a_handler_asks_for_after_its_time_never_starts() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    middle = remote(Middle).remote(worker)
    await asyncio.gather(middle.hold_and_ask.options(timeout=3).remote(5), return_exceptions=True)
    assert await middle.outcome.remote() == "Worker #1: slow came too late for its caller's deadline"
    await stop(middle)
    await stop(worker)
    assert (diary, expired()) == ([], 1)


async def test_a_blocked_real_loop_starts_nothing_late() -> None:
    started: list[str] = []

    class Busy:
        def spin(self, seconds: float) -> None:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass

        def note(self) -> None:
            started.append("note")

    busy = remote(Busy).remote()
    spinning = busy.spin.remote(0.004)
    with pytest.raises(GetTimeoutError):
        await busy.note.options(timeout=0.002).remote()
    await spinning
    await stop(busy)
    assert (started, expired()) == ([], 1)


# --- Who waits for whom -----------------------------------------------------------------------------------------------


class Asker:
    """Serial: while it waits for another one, nobody can ask it anything."""

    async def ask(self, others: list[ActorHandle], timeout: float | None = None) -> None:
        if others:
            await others[0].ask.options(timeout=timeout).remote(others[1:])
        else:
            await asyncio.sleep(100)

    async def ask_all(self, ways: list[list[ActorHandle]], timeout: float | None = None) -> None:
        await asyncio.gather(*(way[0].ask.options(timeout=timeout).remote(way[1:]) for way in ways))


def askers(names: str) -> dict[str, ActorHandle]:
    return {name: remote(Asker).options(name=name, max_concurrency=1).remote() for name in names}


async def reason(names: str, timeout: float = 3, actors: dict[str, ActorHandle] | None = None) -> str:
    """Why the first one's question failed, when each has asked the next."""
    asked = askers("".join(sorted(set(names)))) if actors is None else actors
    first, *others = (asked[name] for name in names)
    try:
        await first.ask.remote(others, timeout)
    except GetTimeoutError as error:
        return str(error)
    else:
        return ""
    finally:
        for actor in asked.values() if actors is None else ():
            await stop(actor)


def cycle_in(text: str) -> str:
    """The names of the cycle, from the first in the alphabet on: it does not matter where one begins to tell it."""
    names = re.findall('Asker "(.)"', text.partition("one another: ")[2])[:-1]
    at = names.index(min(names)) if names else 0
    return "".join([*names[at:], *names[:at], *names[at : at + 1]])


@virtual_time
@pytest.mark.parametrize(
    "names",
    ["aa", "aba", "abca"],
    ids=["itself", "two", "three"],
)
async def test_a_late_call_names_the_actors_that_wait_for_one_another(names: str) -> None:
    text = await reason(names)
    assert text.startswith(f'Asker "{names[1]}": ask did not end within 3 s: these wait for one another: ')
    assert cycle_in(text) == names


@virtual_time
@pytest.mark.parametrize("others", range(1, 9))
async def test_the_one_who_set_the_deadline_is_told_of_the_cycle_whatever_else_the_loop_waits_for(others: int) -> None:
    for seconds in range(others):
        asyncio.get_running_loop().call_later(seconds / 10, now)
    assert cycle_in(await reason("abca")) == "abca"


@virtual_time
@pytest.mark.parametrize("names", ["ab", "abc"])
async def test_no_cycle_is_named_where_there_is_none(names: str) -> None:
    text = await reason(names)
    assert text == 'Asker "b": ask did not end within 3 s'


@virtual_time
async def test_a_ring_of_calls_that_are_all_worked_on_is_not_called_a_cycle() -> None:
    a, b = (remote(Asker).options(name=name).remote() for name in "ab")
    with pytest.raises(GetTimeoutError) as failure:
        await a.ask.options(timeout=3).remote([b, a])
    assert str(failure.value) == 'Asker "a": ask did not end within 3 s'
    for actor in (a, b):
        await stop(actor)


@virtual_time
async def test_a_stranger_is_told_of_the_cycle_that_it_waits_for() -> None:
    actors = askers("ab")
    with pytest.raises(GetTimeoutError) as failure:
        await actors["a"].ask.options(timeout=3).remote([actors["b"], actors["a"]])
    waits = 'Asker "a" -> Asker "b" -> Asker "a"'
    assert str(failure.value) == f'Asker "a": ask did not end within 3 s: these wait for one another: {waits}'
    for actor in actors.values():
        await stop(actor)


@virtual_time
async def test_one_who_waits_for_one_in_a_cycle_is_told_of_the_cycle() -> None:
    actors = askers("abx")
    a, b, x = actors.values()
    with pytest.raises(GetTimeoutError) as failure:
        await x.ask.options(timeout=3).remote([a, b, a])
    text = str(failure.value)
    assert text.startswith('Asker "x": ask did not end within 3 s: these wait for one another: ')
    assert cycle_in(text) == "aba"
    for actor in actors.values():
        await stop(actor)


@virtual_time
async def test_of_cycles_that_expire_within_a_second_one_is_named() -> None:
    first, second, third, fourth = [askers(names) for names in ("ab", "cd", "ef", "gh")]
    texts = await asyncio.gather(
        reason("aba", 3, first), reason("cdc", 3, second), reason("efe", 3.9, third), reason("ghg", 4, fourth)
    )
    assert ["wait for one another" in text for text in texts] == [True, False, False, True]
    for actor in (*first.values(), *second.values(), *third.values(), *fourth.values()):
        await stop(actor)


@virtual_time
@pytest.mark.parametrize("slow_first", [False, True])
async def test_who_waits_for_a_slow_one_is_told_of_no_cycle_although_one_in_a_cycle_waits_for_it_too(
    slow_first: bool,
) -> None:
    actors = askers("cabx" if slow_first else "abcx")  # who is looked at first depends on who was started first
    a, b, slow, x = (actors[name] for name in "abcx")
    cycle = a.ask.remote([b], 3)
    asking = b.ask_all.remote([[slow], [a]])
    waiting = x.ask.remote([slow], 3)
    texts = await asyncio.gather(cycle, waiting, return_exceptions=True)
    assert cycle_in(str(texts[0])) == "aba"
    assert str(texts[1]) == 'Asker "c": ask did not end within 3 s'
    asking.cancel()
    for actor in actors.values():
        await stop(actor)
