"""Supervisors, and actors that start again: what stays, what ends, in which order, and when."""

import asyncio
import gc
import inspect
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    ActorStatus,
    ActorUnavailableError,
    DeadLetterReason,
    RestartLimitExceeded,
    RestartPolicy,
    Strategy,
    Supervisor,
    TaskCancelledError,
    Terminated,
    context,
    dead_letters,
    exit_actor,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime._pykka import ActorRegistry
from herd.runtime.incarnation import UNWIND_S
from herd.runtime.testing import run_virtual, virtual_time
from tests.runtime.clock import now, turns

Act = Callable[[Any], Any]  # what one hook of a Part does, given the Part

# The first restart at once, then after 1, 2, 4... seconds, and often enough.
STEADY = RestartPolicy(max_restarts=20, backoff=1, jitter=0)

FOREVER_S = 1e6  # longer than any test


class Boom(Exception):
    """What crashes here."""


async def refuse(seconds: float) -> None:
    """Sleep, whoever cancels."""
    end = now() + seconds
    while now() < end:
        try:
            await asyncio.sleep(end - now())
        except asyncio.CancelledError:
            continue


class Part:
    """Writes its life down, with the time, in a diary that outlives it.

    Args:
        tag: its name in the diary.
        diary: lines like "a.on_start".
        acts: what its hooks do beside that: for each hook, one for each time that it is called.
    """

    def __init__(self, tag: str, diary: "Diary", **acts: list[Act | None]) -> None:
        self.tag = tag
        self.diary = diary
        self.acts = acts
        self.enter("init")

    def enter(self, hook: str) -> Any:
        self.diary.add(f"{self.tag}.{hook}")
        planned = self.acts.get(hook)
        act = planned.pop(0) if planned else None
        return None if act is None else act(self)

    def on_start(self) -> None:
        self.enter("on_start")

    def on_stop(self) -> None:
        self.enter("on_stop")

    def on_failure(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        self.enter("on_failure")

    def note(self, what: str) -> str:
        self.diary.add(f"{self.tag}.{what}")
        return what

    def fail(self) -> None:
        raise Boom(self.tag)

    async def fail_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        raise Boom(self.tag)

    async def work(self, seconds: float, what: str = "work") -> str:
        self.diary.add(f"{self.tag}.{what} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.diary.add(f"{self.tag}.{what} is cancelled")
            raise
        self.diary.add(f"{self.tag}.{what} ends")
        return what

    async def refuse(self, seconds: float) -> str:
        await refuse(seconds)
        self.diary.add(f"{self.tag}.refuse ends")
        return "refused"

    def do(self, act: Act) -> Any:
        return act(self)

    async def do_later(self, act: Act) -> Any:
        return await act(self)


class SlowPart(Part):
    """The same with coroutines for hooks. An act may be one too."""

    async def on_start(self) -> None:  # type: ignore[override]
        await self.enter_slowly("on_start")

    async def on_stop(self) -> None:  # type: ignore[override]
        await self.enter_slowly("on_stop")

    async def on_failure(self, kind: type[BaseException], error: BaseException, traceback: Any) -> None:  # type: ignore[override]
        await self.enter_slowly("on_failure")

    async def enter_slowly(self, hook: str) -> None:
        done = self.enter(hook)
        if inspect.isawaitable(done):
            await done
        self.diary.add(f"{self.tag}.{hook} ends")


class Diary:
    """Lines, and when they were written."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, float]] = []

    def add(self, line: str) -> None:
        self.entries.append((line, now()))

    @property
    def lines(self) -> list[str]:
        return [line for line, _ in self.entries]

    def times(self, line: str) -> list[float]:
        return [when for entry, when in self.entries if entry == line]

    def count(self, line: str) -> int:
        return self.lines.count(line)

    def take(self) -> list[str]:
        lines = self.lines
        self.entries.clear()
        return lines


def sleep_for(seconds: float) -> Act:
    return lambda _part: asyncio.sleep(seconds)


def refuse_for(seconds: float) -> Act:
    return lambda _part: refuse(seconds)


def boom(part: Any) -> None:
    raise Boom(part.tag)


def leave(_part: Any) -> None:
    exit_actor()


def leave_after(seconds: float) -> Act:
    async def act(_part: Any) -> None:
        await asyncio.sleep(seconds)
        exit_actor()

    return act


def kill_me(part: Any) -> None:
    kill(context(part).handle)


def restart_me(part: Any) -> None:
    kill(context(part).handle, no_restart=False)


def stop_me(part: Any) -> None:
    stop(context(part).handle)


def look_into_a_cancelled_future(_part: Any) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


async def await_a_task_that_it_has_cancelled(_part: Any) -> None:
    task = asyncio.create_task(asyncio.sleep(FOREVER_S))
    await asyncio.sleep(0)
    task.cancel()
    await task


def status(handle: ActorHandle) -> ActorStatus:
    return handle._cell.status


class Trio:
    """Three parts under one supervisor, started and idle: a, b, c."""

    def __init__(
        self,
        strategy: Strategy,
        *,
        restarts: RestartPolicy = STEADY,
        kind: type[Part] = Part,
        give_up: Callable[[RestartLimitExceeded], None] | None = None,
        options: dict[str, Any] | None = None,
        **acts: dict[str, list[Act | None]],
    ) -> None:
        self.diary = Diary()
        self.supervisor = Supervisor(strategy, restarts, give_up=give_up)
        self.a, self.b, self.c = (
            self.supervisor.start(
                remote(kind).options(name=tag, **(options or {})), tag, self.diary, **acts.get(tag, {})
            )
            for tag in "abc"
        )

    @classmethod
    async def started(cls, *args: Any, **kwargs: Any) -> "Trio":
        trio = cls(*args, **kwargs)
        await asyncio.sleep(0.5)
        trio.diary.take()
        return trio

    @property
    def all(self) -> tuple[ActorHandle, ...]:
        return self.a, self.b, self.c


@pytest.fixture(autouse=True)
def _no_complaint_of_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing comes out of a callback, or is found in a task that nobody looked at."""
    yield
    gc.collect(1)
    complaints = [record for record in caplog.get_records("call") if record.name == "asyncio"]
    assert [(record.getMessage(), record.exc_info and record.exc_info[1]) for record in complaints] == []


every_strategy = pytest.mark.parametrize("strategy", list(Strategy))
every_kind = pytest.mark.parametrize("kind", [Part, SlowPart], ids=["def hooks", "async hooks"])

# Ways of a crash, from outside of the actor.
CRASHES: dict[str, Callable[[ActorHandle], None]] = {
    "told def": lambda handle: handle.fail.tell(),
    "told async": lambda handle: handle.fail_after.tell(0),
    "kill": lambda handle: kill(handle, no_restart=False),
    "timer": lambda handle: handle.do.tell(lambda part: context(part).after(0, part.fail)),
    "async timer": lambda handle: handle.do.tell(lambda part: context(part).after(0, part.fail_after, 0)),
    "task": lambda handle: handle.do.tell(lambda part: context(part).spawn(part.fail_after(0))),
    "in its own handler": lambda handle: handle.do.tell(restart_me),
}
every_crash = pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())


# --- What stays, and what ends ----------------------------------------------------------------------------------------


@virtual_time
@every_crash
async def test_an_actor_that_crashes_keeps_its_handle_its_name_and_its_mailbox_in_order(
    crash: Callable[[ActorHandle], None],
) -> None:
    diary = Diary()
    part = remote(Part).options(name="part", max_restarts=3).remote("p", diary)
    await part.note.remote("before")
    urn = part.actor_ref.actor_urn
    crash(part)
    answers: list[Awaitable[str]] = []
    while status(part) is not ActorStatus.RESTARTING:
        answers.append(part.note.remote(f"{len(answers)}"))
        await asyncio.sleep(0)
    during = [part.note.remote(f"during {n}") for n in range(3)]
    part.note.tell("told")
    assert get_actor("part") is part
    assert part.actor_ref.is_alive()
    assert part.actor_ref in ActorRegistry.get_all()
    assert await asyncio.gather(*answers) == [f"{n}" for n in range(len(answers))]
    assert await asyncio.gather(*during) == ["during 0", "during 1", "during 2"]
    assert diary.lines.count("p.init") == diary.lines.count("p.on_start") == 2
    assert diary.lines[-4:] == ["p.during 0", "p.during 1", "p.during 2", "p.told"]
    assert "p.on_stop" not in diary.lines
    assert get_actor("part") is part
    assert part.actor_ref.actor_urn == urn
    assert list_actors()[-1].restarts == 1
    await stop(part)
    assert ActorRegistry.get_all() == []


@virtual_time
async def test_the_state_of_an_actor_ends_with_its_crash_and_its_counters_go_on() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.total = start

        def add(self, n: int) -> int:
            self.total += n
            return self.total

        def fail(self) -> None:
            raise Boom

    counter = remote(Counter).options(max_restarts=1).remote(40)
    assert await counter.add.remote(2) == 42
    counter.fail.tell()
    assert await counter.add.remote(1) == 41
    assert {method.name: (method.processed, method.failed) for method in list_actors()[0].methods} == {
        "add": (2, 0),
        "fail": (1, 1),
    }
    await stop(counter)


@virtual_time(allow_lost=True)
async def test_a_call_in_flight_ends_with_actor_unavailable_error_and_those_that_waited_are_served() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=1, max_concurrency=2).remote("p", diary)
    running = [part.work.remote(60, f"run {n}") for n in range(2)]
    waiting = [part.work.remote(1, f"wait {n}") for n in range(2)]
    await asyncio.sleep(1)
    part.fail.tell()
    behind = part.note.remote("behind")
    for ref in running:
        with pytest.raises(ActorUnavailableError, match=r"Part #1 crashed of Boom\('p'\), and starts again") as caught:
            await ref
        assert isinstance(caught.value.__cause__, Boom)
        assert not isinstance(caught.value, ActorDiedError)
    assert await asyncio.gather(*waiting, behind) == ["wait 0", "wait 1", "behind"]
    assert diary.lines.count("p.run 0 is cancelled") == 1
    (state,) = list_actors()
    assert (state.pending, state.queued, state.in_flight) == (0, 0, 0)
    await stop(part)


@virtual_time
@pytest.mark.parametrize("call", ["do", "do_later"])
async def test_a_call_that_crashes_its_own_actor_ends_unavailable_and_with_the_cause(call: str) -> None:
    async def restart_me_later(part: Any) -> None:
        restart_me(part)

    part = remote(Part).options(max_restarts=1).remote("p", Diary())
    with pytest.raises(ActorUnavailableError) as caught:
        await getattr(part, call).remote(restart_me if call == "do" else restart_me_later)
    assert str(caught.value.__cause__) == "killed, as if it had crashed"
    await stop(part)


@virtual_time(allow_lost=True)
async def test_told_work_that_a_crash_breaks_off_is_a_dead_letter_and_told_work_that_waits_is_done() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=1, max_concurrency=1).remote("p", diary)
    part.work.tell(60, "first")
    part.work.tell(1, "second")
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    assert dead_letters()[DeadLetterReason.KILLED] == 1
    await asyncio.sleep(5)
    assert diary.count("p.second ends") == 1
    assert diary.count("p.first begins") == 1
    await stop(part)


@virtual_time(allow_lost=True)
async def test_a_message_whose_handler_has_not_begun_is_not_lost_with_the_crash() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=-1).remote("p", diary)
    for count in range(6):
        part.work.tell(0, f"told {count}")
        asked = part.work.remote(0, f"asked {count}")
        await turns(count)
        begun = set(diary.lines)
        kill(part, no_restart=False)
        await asyncio.sleep(60)
        assert diary.count(f"p.told {count} begins") == 1
        assert f"p.asked {count} begins" in begun or await asked == f"asked {count}"
    await stop(part)


@virtual_time
async def test_a_cancelled_call_and_a_late_one_are_not_begun_after_the_restart() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=2).remote("p", diary)
    await part.note.remote("up")
    for _ in range(2):  # the second restart comes after a wait
        kill(part, no_restart=False)
    cancelled, late = part.note.remote("cancelled"), part.note.options(timeout=0).remote("late")
    cancelled.cancel()
    with pytest.raises(TaskCancelledError):
        await cancelled
    with pytest.raises(TimeoutError):
        await late
    await part.note.remote("after")
    assert "p.cancelled" not in diary.lines
    assert "p.late" not in diary.lines
    await stop(part)


@virtual_time
async def test_the_bound_on_pending_calls_holds_while_the_actor_is_down_and_its_room_comes_back() -> None:
    part = remote(Part).options(max_restarts=-1, max_pending_calls=3).remote("p", Diary())
    running = part.work.remote(60)
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    waiting = [part.note.remote("x") for _ in range(3)]
    refused = part.note.remote("y")
    answers = await asyncio.gather(running, *waiting, refused, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == [
        "ActorUnavailableError",
        *["str"] * 3,
        "PendingCallsLimitExceeded",
    ]
    assert await asyncio.gather(*(part.note.remote("z") for _ in range(3))) == ["z"] * 3
    await stop(part)


@virtual_time
async def test_timers_tasks_and_watches_end_with_their_incarnation() -> None:
    diary = Diary()

    def begin(part: Part) -> None:
        mine = context(part)
        mine.every(1, part.note, "tick")
        mine.after(30, part.note, "late")
        mine.spawn(part.work(30, "task"))
        mine.watch(other, lambda _terminated: part.note("terminated"))

    other = remote(Part).remote("o", Diary())
    part = remote(Part).options(max_restarts=1).remote("p", diary, on_start=[begin])
    await asyncio.sleep(2.5)
    assert diary.count("p.tick") == 2
    part.fail.tell()
    await asyncio.sleep(1)
    diary.take()
    await stop(other)
    await asyncio.sleep(60)
    assert diary.lines == []
    assert not part._cell.jobs
    assert not part._cell.spawned
    await stop(part)


@virtual_time
async def test_a_tick_that_waits_when_its_actor_crashes_is_not_handled_by_the_next_incarnation() -> None:
    diary = Diary()
    other = remote(Part).remote("o", Diary())

    def begin(part: Part) -> None:
        context(part).after(1, part.note, "def tick")
        context(part).after(1, part.work, 0, "async tick")
        context(part).watch(other, lambda _terminated: part.note("terminated"))

    part = remote(Part).options(max_restarts=1).remote("p", diary, on_start=[begin])
    loop = asyncio.get_running_loop()
    loop.call_at(1, kill, other)
    loop.call_at(1, lambda: kill(part, no_restart=False))  # in this turn all of it has come to the mailbox, no more
    await asyncio.sleep(60)
    assert [line for line in diary.lines if "tick" in line or "terminated" in line] == []
    await stop(part)


@virtual_time
async def test_the_context_of_an_incarnation_ends_with_it() -> None:
    kept: list[Any] = []
    part = remote(Part).options(max_restarts=1).remote("p", Diary(), on_start=[kept.append, kept.append])
    await part.note.remote("up")
    kill(part, no_restart=False)
    with pytest.raises(ActorDiedError):
        context(kept[0]).after(1, print)
    await part.note.remote("up again")
    for begin in (
        lambda old: context(old).every(1, print),
        lambda old: context(old).spawn(asyncio.sleep(1)),
        lambda old: context(old).watch(part, print),
        lambda old: context(old).supervisor(),
    ):
        with pytest.raises(ActorDiedError):
            begin(kept[0])
    assert context(kept[0]).handle is context(kept[1]).handle is part
    await stop(part)


@virtual_time
async def test_the_instance_of_an_incarnation_that_has_ended_is_let_go_of() -> None:
    class Mortal:
        def me(self) -> "weakref.ref[Any]":
            return weakref.ref(self)

    handle = remote(Mortal).options(max_restarts=2).remote()
    seen = await handle.me.remote()
    kill(handle, no_restart=False)
    again = await handle.me.remote()
    gc.collect()
    assert seen() is None
    assert again() is not None
    await stop(handle)
    await asyncio.sleep(0)
    gc.collect()
    assert again() is None


@virtual_time
@pytest.mark.parametrize("count", range(10))
async def test_a_caller_that_is_cancelled_at_any_turn_of_a_restart_leaves_nothing(count: int) -> None:
    part = remote(Part).options(max_restarts=-1, max_concurrency=1).remote("p", Diary())

    async def call() -> None:
        await part.work.remote(1)

    callers = [asyncio.create_task(call()) for _ in range(3)]
    asyncio.get_running_loop().call_soon(lambda: kill(part, no_restart=False))
    await turns(count)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    await asyncio.sleep(10)
    (state,) = list_actors()
    assert (state.status, state.pending, state.queued, state.in_flight) == (ActorStatus.ALIVE, 0, 0, 0)
    await stop(part)


# --- Retries ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_call_that_a_crash_interrupts_is_begun_anew_as_often_as_max_task_retries_says_and_in_its_order() -> (
    None
):
    diary = Diary()
    part = remote(Part).options(max_restarts=-1, max_task_retries=1, max_concurrency=2).remote("p", diary)
    calls = [part.work.remote(10, f"{n}") for n in range(3)]
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    await asyncio.sleep(1)
    assert [line for line in diary.take() if line.endswith("begins")] == [
        "p.0 begins",
        "p.1 begins",
        "p.0 begins",
        "p.1 begins",
    ]
    kill(part, no_restart=False)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers[:2]] == [ActorUnavailableError] * 2
    assert answers[2] == "2"  # it had never begun
    assert list_actors()[0].pending == 0
    await stop(part)


@virtual_time
async def test_without_a_limit_of_retries_a_call_outlives_any_number_of_crashes() -> None:
    part = remote(Part).options(max_restarts=-1, max_task_retries=-1).remote("p", Diary())
    call = part.work.remote(10, "long")
    for _ in range(30):
        await asyncio.sleep(0.5)
        kill(part, no_restart=False)
    assert await call == "long"
    await stop(part)


@virtual_time(allow_lost=True)
async def test_what_was_told_and_what_has_ended_is_not_tried_again() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=1, max_task_retries=5).remote("p", diary)
    cancelled = part.refuse.remote(3)
    part.work.tell(10, "told")
    await asyncio.sleep(1)
    cancelled.cancel()
    kill(part, no_restart=False)
    await asyncio.sleep(30)
    assert diary.count("p.refuse ends") == 1
    assert diary.count("p.told begins") == 1
    assert {reason: count for reason, count in dead_letters().items() if count} == {DeadLetterReason.KILLED: 1}
    await stop(part)


@virtual_time
async def test_retries_do_not_outlive_the_actor() -> None:
    part = remote(Part).options(max_restarts=1, max_task_retries=-1).remote("p", Diary())
    call = part.work.remote(10)
    for _ in range(2):
        await asyncio.sleep(1)
        kill(part, no_restart=False)
    with pytest.raises(ActorDiedError):
        await call
    assert now() == 2


@virtual_time
async def test_a_retried_call_keeps_its_deadline() -> None:
    part = remote(Part).options(max_restarts=1, max_task_retries=-1).remote("p", Diary())
    call = part.work.options(timeout=5).remote(10)
    await asyncio.sleep(2)
    kill(part, no_restart=False)
    with pytest.raises(TimeoutError):
        await call
    assert now() == 5
    await stop(part)


@virtual_time
async def test_a_retried_call_of_a_serial_actor_does_not_run_beside_its_first_attempt() -> None:
    active: list[int] = []

    class Serial:
        async def work(self) -> int:
            active.append(1)
            most = len(active)
            try:
                await asyncio.sleep(2)
            finally:
                await refuse(3)
                active.pop()
            return most

    serial = remote(Serial).options(max_restarts=1, max_task_retries=1, max_concurrency=1).remote()
    call = serial.work.remote()
    await asyncio.sleep(1)
    kill(serial, no_restart=False)
    assert await call == 1
    assert now() == 1 + 3 + 2 + 3
    await stop(serial)


# --- When -------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_the_first_restart_comes_at_once_and_each_further_one_waits_twice_as_long() -> None:
    diary = Diary()
    async with Supervisor(restarts=RestartPolicy(max_restarts=-1, backoff=1, max_backoff=4, jitter=0)) as supervisor:
        supervisor.start(remote(Part), "p", diary, on_start=[boom] * 6)
        await asyncio.sleep(60)
    assert diary.times("p.on_start") == [0, 0, 1, 3, 7, 11, 15]


@virtual_time
async def test_what_is_logged_of_a_crash_says_when_the_actor_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with Supervisor(restarts=RestartPolicy(backoff=2, jitter=0)) as supervisor:
        part = supervisor.start(remote(Part).options(name="p"), "p", Diary())
        for _ in range(2):
            kill(part, no_restart=False)
            await asyncio.sleep(10)
    said = [record.getMessage() for record in caplog.records if "starts again" in record.getMessage()]
    assert said == ['Part "p" crashed and starts again', 'Part "p" crashed and starts again in 2 s']


def test_waits_are_jittered_within_their_share_and_repeatable() -> None:
    async def main() -> list[float]:
        diary = Diary()
        async with Supervisor(restarts=RestartPolicy(max_restarts=-1, backoff=1, jitter=0.5)) as supervisor:
            for tag in "ab":
                supervisor.start(remote(Part), tag, diary, on_start=[boom] * 2)
            await asyncio.sleep(60)
        return [diary.times(f"{tag}.on_start")[-1] for tag in "ab"]

    a, b = run_virtual(main())
    assert 0.5 <= a <= 1
    assert 0.5 <= b <= 1
    assert a != b
    assert run_virtual(main()) == [a, b]
    assert run_virtual(main(), shuffle=1) != [a, b]


@virtual_time
async def test_after_a_quiet_time_a_restart_comes_at_once_again() -> None:
    diary = Diary()
    policy = RestartPolicy(max_restarts=-1, backoff=1, jitter=0, reset_after=10)
    async with Supervisor(restarts=policy) as supervisor:
        part = supervisor.start(remote(Part), "p", diary)
        for pause in (5, 5, 20):
            await asyncio.sleep(pause)
            part.fail.tell()
        await asyncio.sleep(5)
    assert diary.times("p.on_start") == [0, 5, 11, 30]


@virtual_time
async def test_max_restarts_is_counted_over_the_whole_life() -> None:
    part = remote(Part).options(max_restarts=2).remote("p", Diary())
    for _ in range(3):
        await asyncio.sleep(1e5)
        part.fail.tell()
    await asyncio.sleep(1)
    with pytest.raises(ActorDiedError, match="died of Boom"):
        await part.note.remote("x")
    assert list_actors()[-1].restarts == 2


@virtual_time
async def test_without_a_limit_an_actor_always_comes_back() -> None:
    part = remote(Part).options(max_restarts=-1).remote("p", Diary())
    for _ in range(200):
        part.fail.tell()
    await asyncio.sleep(1e5)
    assert await part.note.remote("still here") == "still here"
    assert list_actors()[0].restarts == 200
    await stop(part)


# --- Strategies and order ---------------------------------------------------------------------------------------------

AFFECTED = {
    (Strategy.ONE_FOR_ONE, "a"): "a",
    (Strategy.ONE_FOR_ONE, "b"): "b",
    (Strategy.ONE_FOR_ONE, "c"): "c",
    (Strategy.REST_FOR_ONE, "a"): "abc",
    (Strategy.REST_FOR_ONE, "b"): "bc",
    (Strategy.REST_FOR_ONE, "c"): "c",
    (Strategy.ONE_FOR_ALL, "a"): "abc",
    (Strategy.ONE_FOR_ALL, "b"): "abc",
    (Strategy.ONE_FOR_ALL, "c"): "abc",
}


@virtual_time
@every_kind
@pytest.mark.parametrize(("strategy", "crashed"), AFFECTED)
async def test_the_strategy_says_who_restarts_and_the_healthy_stop_in_reverse_before_all_start_in_order(
    strategy: Strategy, crashed: str, kind: type[Part]
) -> None:
    trio = await Trio.started(strategy, kind=kind)
    getattr(trio, crashed).fail.tell()
    await asyncio.sleep(1)
    affected = AFFECTED[strategy, crashed]
    lines = [line for line in trio.diary.take() if not line.endswith(" ends")]
    stops = [f"{tag}.on_stop" for tag in reversed(affected) if tag != crashed]
    starts = [line for tag in affected for line in (f"{tag}.init", f"{tag}.on_start")]
    lines.remove(f"{crashed}.on_failure")
    assert lines == stops + starts
    await trio.supervisor.stop()
    assert [line for line in trio.diary.lines if not line.endswith(" ends")] == ["c.on_stop", "b.on_stop", "a.on_stop"]


@virtual_time
async def test_an_async_on_start_of_one_is_waited_for_before_the_next_starts_again() -> None:
    trio = await Trio.started(
        Strategy.ONE_FOR_ALL,
        kind=SlowPart,
        a={"on_start": [None, sleep_for(10)]},
        b={"on_start": [None, sleep_for(10)], "on_stop": [sleep_for(2)]},
        c={"on_start": [None, sleep_for(10)], "on_stop": [sleep_for(2)]},
    )
    trio.a.fail.tell()
    await asyncio.sleep(60)
    assert [trio.diary.times(f"{tag}.on_start ends") for tag in "abc"] == [[14.5], [24.5], [34.5]]
    await trio.supervisor.stop()


@virtual_time
async def test_an_on_start_that_is_under_way_is_not_begun_again_when_the_next_in_line_ends() -> None:
    diary = Diary()
    async with Supervisor() as supervisor:
        first = supervisor.start(remote(SlowPart), "a", diary, on_start=[sleep_for(10)])
        second = supervisor.start(remote(SlowPart), "b", diary)
        await asyncio.sleep(1)
        kill(second)
        assert await first.note.remote("up") == "up"
        assert diary.count("a.on_start") == 1


@virtual_time
async def test_calls_of_a_healthy_sibling_end_unavailable_too_and_its_mailbox_is_served_after() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, options={"max_concurrency": 1})
    running, waiting = trio.c.work.remote(60, "runs"), trio.c.work.remote(1, "waits")
    await asyncio.sleep(0.5)
    trio.a.fail.tell()
    with pytest.raises(ActorUnavailableError, match="restarts with its group, of which one crashed of Boom"):
        await running
    assert await waiting == "waits"
    await trio.supervisor.stop()


@virtual_time
async def test_children_start_in_order_and_the_supervisor_stops_them_in_reverse_each_after_its_work() -> None:
    diary = Diary()
    async with Supervisor() as supervisor:
        handles = [supervisor.start(remote(SlowPart), tag, diary, on_stop=[sleep_for(1)]) for tag in "abc"]
        assert supervisor.children == tuple(handles)
        work = handles[2].work.remote(5)
    assert supervisor.children == ()
    assert await work == "work"
    stops = [(line, when) for line, when in diary.entries if "on_stop" in line]
    assert stops == [
        ("c.on_stop", 5),
        ("c.on_stop ends", 6),
        ("b.on_stop", 6),
        ("b.on_stop ends", 7),
        ("a.on_stop", 7),
        ("a.on_stop ends", 8),
    ]


@virtual_time
@every_strategy
@pytest.mark.parametrize("end", [stop, kill, lambda handle: handle.do.tell(leave)], ids=["stop", "kill", "exit_actor"])
async def test_a_child_that_is_stopped_killed_or_leaves_is_gone_for_good_and_its_siblings_live_on(
    strategy: Strategy, end: Callable[[ActorHandle], Any]
) -> None:
    trio = await Trio.started(strategy)
    end(trio.b)
    await asyncio.sleep(1)
    assert trio.supervisor.children == (trio.a, trio.c)
    assert [line for line in trio.diary.take() if "on_start" in line] == []
    trio.a.fail.tell()
    await asyncio.sleep(60)
    assert trio.diary.count("b.init") == 0
    assert trio.diary.count("c.init") == (strategy is not Strategy.ONE_FOR_ONE)
    with pytest.raises(ValueError, match="no actor"):
        get_actor("b")
    await trio.supervisor.stop()


@virtual_time
async def test_a_child_that_is_stopping_does_not_restart_with_its_group() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    work = trio.b.work.remote(10)
    stopped = stop(trio.b)
    await asyncio.sleep(1)
    trio.a.fail.tell()
    assert await work == "work"
    assert await stopped is True
    assert trio.diary.count("b.on_stop") == 1
    assert trio.diary.count("b.init") == 0
    assert trio.diary.count("c.init") == 1
    await trio.supervisor.stop()


@virtual_time
async def test_a_crash_while_stopping_in_order_is_the_death_of_the_child_and_no_restart() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.b.fail_after.tell(5)
    assert await stop(trio.b) is True
    await asyncio.sleep(10)
    assert trio.supervisor.children == (trio.a, trio.c)
    assert [line for line in trio.diary.lines if line.endswith("init")] == []
    await trio.supervisor.stop()


@virtual_time
async def test_options_that_only_a_lone_actor_can_have_are_refused() -> None:
    async with Supervisor() as supervisor:
        for options in ({"max_restarts": 1}, {"name": "x", "get_if_exists": True}):
            with pytest.raises(ValueError, match="their supervisor decides"):
                supervisor.start(remote(Part).options(**options), "p", Diary())
        with pytest.raises(TypeError):
            supervisor.start(remote(Part))
        with pytest.raises(TypeError, match="a supervisor starts what remote"):
            supervisor.start(Part, "p", Diary())
        with pytest.raises(Boom):
            supervisor.start(remote(Part).options(name="x"), "p", Diary(), init=[boom])
        supervisor.start(remote(Part).options(name="x"), "p", Diary())
        with pytest.raises(ValueError, match="there is an actor"):
            supervisor.start(remote(Part).options(name="x"), "p", Diary())
        assert len(supervisor.children) == 1
    with pytest.raises(RuntimeError, match="has stopped"):
        supervisor.start(remote(Part), "p", Diary())


@virtual_time
async def test_a_child_started_while_its_group_is_down_starts_at_once_and_belongs_to_the_group() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.a.fail.tell()
    await asyncio.sleep(0.5)
    trio.a.fail.tell()
    await asyncio.sleep(0.5)
    trio.diary.take()
    late = trio.supervisor.start(remote(Part), "d", trio.diary)
    assert await late.note.remote("up") == "up"
    assert status(trio.a) is ActorStatus.RESTARTING
    await asyncio.sleep(10)
    assert trio.diary.take() == [
        "d.init",
        "d.on_start",
        "d.up",
        *(f"{t}.{h}" for t in "abc" for h in ("init", "on_start")),
    ]
    late.fail.tell()
    await asyncio.sleep(10)
    assert [line for line in trio.diary.lines if line.endswith("init")] == ["a.init", "b.init", "c.init", "d.init"]
    await trio.supervisor.stop()


@virtual_time
async def test_a_child_that_starts_a_sibling_as_it_starts_again() -> None:
    diary = Diary()
    supervisor = Supervisor(Strategy.ONE_FOR_ALL, STEADY)
    start_sibling: Act = lambda part: supervisor.start(remote(Part), "sibling", diary)  # noqa: E731
    supervisor.start(remote(Part), "a", diary, init=[None, start_sibling])
    b = supervisor.start(remote(Part), "b", diary)
    b.fail.tell()
    await asyncio.sleep(5)
    assert [line for line in diary.lines if line.endswith("on_start")] == [
        "a.on_start",
        "b.on_start",
        "a.on_start",
        "b.on_start",
        "sibling.on_start",
    ]
    await supervisor.stop()


# --- Crashes within hooks ---------------------------------------------------------------------------------------------


@virtual_time
@every_strategy
@pytest.mark.parametrize("hook", ["init", "on_start"])
async def test_a_restart_that_fails_in_init_or_on_start_is_a_further_crash(strategy: Strategy, hook: str) -> None:
    trio = await Trio.started(strategy, b={hook: [None, boom, boom]})
    trio.b.fail.tell()
    assert await trio.b.note.remote("served") == "served"
    assert now() == 0.5 + 0 + 1 + 2
    await asyncio.sleep(1)
    starts = [line for line in trio.diary.lines if line.endswith("on_start")]
    assert starts[-1] == ("b.on_start" if strategy is Strategy.ONE_FOR_ONE else "c.on_start")
    await trio.supervisor.stop()


@virtual_time
@every_strategy
async def test_a_restart_that_fails_in_an_async_on_start_is_a_further_crash(strategy: Strategy) -> None:
    async def fail_late(part: Part) -> None:
        await asyncio.sleep(10)
        raise Boom(part.tag)

    trio = await Trio.started(strategy, kind=SlowPart, b={"on_start": [None, fail_late, fail_late]})
    trio.b.fail.tell()
    assert await trio.b.note.remote("served") == "served"
    assert now() == 0.5 + 10 + 1 + 10 + 2
    assert trio.diary.count("b.on_start") == 3
    assert trio.diary.count("b.on_failure") == 1  # a hook's own failure is not told to another hook
    await asyncio.sleep(1)
    await trio.supervisor.stop()
    assert trio.diary.count("a.on_stop") == {Strategy.ONE_FOR_ALL: 4}.get(strategy, 1)
    assert trio.diary.count("c.on_stop") == (1 if strategy is Strategy.ONE_FOR_ONE else 2)


@virtual_time
async def test_a_first_start_that_fails_in_on_start_is_a_crash_too() -> None:
    diary = Diary()
    async with Supervisor(restarts=STEADY) as supervisor:
        part = supervisor.start(remote(Part), "p", diary, on_start=[boom])
        assert await part.note.remote("served") == "served"


@virtual_time
@every_kind
async def test_on_failure_is_told_once_for_each_crash_and_a_failure_of_its_own_changes_nothing(
    kind: type[Part],
) -> None:
    diary = Diary()
    acts: list[Act | None] = [boom, boom]
    async with Supervisor(restarts=STEADY) as supervisor:
        part = supervisor.start(remote(kind), "p", diary, on_failure=acts)
        for _ in range(3):
            part.fail.tell()
        assert await part.note.remote("served") == "served"
        assert diary.count("p.on_failure") == 3


@virtual_time
@every_kind
async def test_a_failure_of_on_stop_is_not_told_to_on_failure(kind: type[Part]) -> None:
    diary = Diary()
    part = remote(kind).remote("p", diary, on_stop=[boom])
    await part.note.remote("up")
    assert await stop(part)
    assert "p.on_failure" not in diary.lines


@virtual_time
@every_kind
async def test_on_failure_runs_as_its_actor_whoever_has_crashed_it(kind: type[Part]) -> None:
    found: list[ActorHandle] = []
    look: Act = lambda _part: found.append(get_actor("friend"))  # noqa: E731
    friend = remote(Part).options(name="friend", namespace="home").remote("f", Diary())
    part = remote(kind).options(namespace="home", max_restarts=1).remote("p", Diary(), on_failure=[look])
    await part.note.remote("up")
    kill(part, no_restart=False)
    await part.note.remote("up again")
    assert found == [friend]
    await stop(part)
    await stop(friend)


@virtual_time
async def test_the_next_incarnation_waits_for_an_async_on_failure_but_not_for_ever() -> None:
    diary = Diary()
    acts: list[Act | None] = [sleep_for(3), sleep_for(FOREVER_S)]
    async with Supervisor(restarts=STEADY) as supervisor:
        part = supervisor.start(remote(SlowPart), "p", diary, on_failure=acts)
        await asyncio.sleep(1)
        part.fail.tell()
        await asyncio.sleep(9)
        part.fail.tell()
        await asyncio.sleep(60)
    assert diary.times("p.on_start") == [0, 4, 10 + UNWIND_S + 1]


@virtual_time
async def test_an_on_failure_that_leaves_after_the_next_incarnation_has_begun_ends_nothing() -> None:
    late = leave_after(UNWIND_S + 5)
    part = remote(SlowPart).options(max_restarts=1).remote("p", Diary(), on_failure=[late])
    await part.note.remote("up")
    kill(part, no_restart=False)
    await asyncio.sleep(60)
    assert await asyncio.wait_for(part.note.remote("served"), 60) == "served"
    await stop(part)


@virtual_time
@every_kind
@pytest.mark.parametrize(
    "act", [kill_me, stop_me, restart_me, leave], ids=["kills itself", "stops itself", "restarts itself", "leaves"]
)
async def test_on_failure_may_end_its_own_actor(act: Act, kind: type[Part]) -> None:
    diary = Diary()
    supervisor = Supervisor(restarts=STEADY)
    part = supervisor.start(remote(kind), "p", diary, on_failure=[act])
    await part.note.remote("up")
    part.fail.tell()
    call = part.note.remote("served")
    if act is restart_me:  # it is between two lives anyway
        assert await call == "served"
    else:
        with pytest.raises(ActorDiedError):
            await asyncio.wait_for(call, 60)
        assert supervisor.children == ()
    await supervisor.stop()


@virtual_time
async def test_the_on_failure_of_a_lone_actor_may_leave_although_it_is_dead_already() -> None:
    part = remote(Part).remote("p", Diary(), on_failure=[leave])
    await part.note.remote("up")
    part.fail.tell()
    with pytest.raises(ActorDiedError, match="died of Boom"):
        await part.note.remote("x")


@virtual_time
@every_kind
@pytest.mark.parametrize("act", [boom, look_into_a_cancelled_future, leave, kill_me, restart_me])
async def test_whatever_comes_out_of_the_on_stop_of_a_healthy_sibling_the_group_comes_back(
    act: Act, kind: type[Part]
) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=kind, c={"on_stop": [act]})
    trio.a.fail.tell()
    assert await asyncio.wait_for(trio.a.note.remote("served"), 60) == "served"
    assert await asyncio.wait_for(trio.b.note.remote("served"), 60) == "served"
    await trio.supervisor.stop()


@virtual_time
@every_kind
async def test_a_healthy_sibling_that_leaves_in_its_on_stop_is_gone_for_good(kind: type[Part]) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=kind, c={"on_stop": [leave]})
    trio.a.fail.tell()
    assert await trio.b.note.remote("served") == "served"
    assert trio.supervisor.children == (trio.a, trio.b)
    await trio.supervisor.stop()


@virtual_time
async def test_a_kill_in_the_on_stop_of_a_healthy_sibling_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, c={"on_stop": [sleep_for(3)]})
    caplog.set_level(logging.ERROR)
    kill(trio.a, no_restart=False)
    await asyncio.sleep(1)
    caplog.clear()
    kill(trio.c)
    await asyncio.sleep(10)
    assert caplog.records == []
    await trio.supervisor.stop()


@virtual_time
async def test_a_healthy_sibling_that_awaits_a_task_it_has_cancelled_in_its_on_stop_holds_nobody_up() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, c={"on_stop": [await_a_task_that_it_has_cancelled]})
    trio.a.fail.tell()
    assert await asyncio.wait_for(trio.c.note.remote("served"), 60) == "served"
    await trio.supervisor.stop()


@virtual_time
@pytest.mark.parametrize("act", [sleep_for(FOREVER_S), refuse_for(100)], ids=["sleeps", "refuses cancellation"])
async def test_the_on_stop_of_a_healthy_sibling_is_bounded(act: Act) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, c={"on_stop": [act]})
    trio.a.fail.tell()
    assert await trio.a.note.remote("served") == "served"
    assert now() == 0.5 + UNWIND_S
    await asyncio.sleep(200)
    await trio.supervisor.stop()


@virtual_time
async def test_an_on_stop_of_a_healthy_sibling_that_takes_too_long_is_cancelled() -> None:
    async def endless(_part: Any) -> None:
        try:
            await asyncio.sleep(FOREVER_S)
        finally:
            diary.add("cancelled")

    diary = Diary()
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, c={"on_stop": [endless]})
    trio.a.fail.tell()
    await asyncio.sleep(60)
    assert diary.times("cancelled") == [0.5 + UNWIND_S]
    await trio.supervisor.stop()


@virtual_time
async def test_a_healthy_sibling_that_is_killed_before_its_on_stop_has_none() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.c.refuse.remote(3)
    await asyncio.sleep(0.5)
    trio.a.fail.tell()
    await asyncio.sleep(1)
    kill(trio.c)
    await asyncio.sleep(30)
    assert "c.on_stop" not in trio.diary.lines
    await trio.supervisor.stop()


@virtual_time
@every_kind
@pytest.mark.parametrize("hook", ["init", "on_start"])
@pytest.mark.parametrize(
    ("act", "lives"),
    [(kill_me, False), (leave, False), (restart_me, True), (stop_me, False), (look_into_a_cancelled_future, True)],
    ids=["kill", "exit_actor", "kill with restart", "stop", "cancelled future"],
)
@every_strategy
async def test_a_hook_of_a_restart_may_end_its_own_actor_and_its_siblings_come_back(
    strategy: Strategy, act: Act, lives: bool, hook: str, kind: type[Part]
) -> None:
    trio = await Trio.started(strategy, kind=kind, b={hook: [None, act]})
    trio.b.fail.tell()
    await asyncio.sleep(30)
    for sibling in (trio.a, trio.c):
        assert await asyncio.wait_for(sibling.note.remote("served"), 60) == "served"
    late = asyncio.wait_for(trio.b.note.remote("late"), 60)
    if lives:
        assert await late == "late"
    else:
        with pytest.raises(ActorDiedError):
            await late
    assert trio.supervisor.children == (trio.all if lives else (trio.a, trio.c))
    await trio.supervisor.stop()


@virtual_time
@every_kind
@pytest.mark.parametrize(
    ("act", "lives"),
    [(kill_me, False), (leave, False), (restart_me, True), (stop_me, False), (look_into_a_cancelled_future, True)],
    ids=["kill", "exit_actor", "kill with restart", "stop", "cancelled future"],
)
async def test_the_first_on_start_may_end_its_own_actor(act: Act, lives: bool, kind: type[Part]) -> None:
    supervisor = Supervisor(Strategy.ONE_FOR_ALL, STEADY)
    part = supervisor.start(remote(kind), "p", Diary(), on_start=[act])
    other = supervisor.start(remote(kind), "o", Diary())
    await asyncio.sleep(30)
    assert await asyncio.wait_for(other.note.remote("served"), 60) == "served"
    late = asyncio.wait_for(part.note.remote("late"), 60)
    if lives:
        assert await late == "late"
    else:
        with pytest.raises(ActorDiedError):
            await late
    await supervisor.stop()


@virtual_time
@every_kind
@pytest.mark.parametrize("hook", ["init", "on_start"])
@pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])
async def test_a_hook_that_crashes_a_sibling_and_with_it_its_own_group_does_not_leave_a_zombie(
    strategy: Strategy, hook: str, kind: type[Part]
) -> None:
    crash_a: Act = lambda _part: kill(get_actor("a"), no_restart=False)  # noqa: E731
    trio = await Trio.started(strategy, kind=kind, c={hook: [None, crash_a]})
    trio.c.fail.tell()
    await asyncio.sleep(30)
    for handle in trio.all:
        assert status(handle) is ActorStatus.ALIVE
        assert await asyncio.wait_for(handle.note.remote("served"), 60) == "served"
    await trio.supervisor.stop()


@virtual_time
@pytest.mark.parametrize("act", [kill_me, restart_me], ids=["kill", "kill with restart"])
async def test_a_child_that_ends_itself_in_its_first_init_is_no_child_and_not_in_pykkas_registry(act: Act) -> None:
    supervisor = Supervisor()
    part = supervisor.start(remote(Part), "p", Diary(), init=[act])
    await asyncio.sleep(5)
    alive = status(part) is not ActorStatus.DEAD
    assert supervisor.children == ((part,) if alive else ())  # else stop() would never end
    assert (part.actor_ref in ActorRegistry.get_all()) is alive
    await supervisor.stop()
    assert ActorRegistry.get_all() == []


# --- While it is down -------------------------------------------------------------------------------------------------


async def down_for_a_second(**settings: Any) -> "tuple[ActorHandle, Supervisor, Diary]":
    """An actor that waits for its second restart."""
    diary = Diary()
    supervisor = Supervisor(restarts=STEADY)
    part = supervisor.start(remote(Part).options(name="p", **settings), "p", diary)
    for _ in range(2):
        await part.note.remote("up")
        kill(part, no_restart=False)
    await asyncio.sleep(0.5)
    assert status(part) is ActorStatus.RESTARTING
    diary.take()
    return part, supervisor, diary


@virtual_time(allow_lost=True)
async def test_a_stop_while_the_actor_is_down_ends_it_at_once_and_for_good() -> None:
    part, supervisor, diary = await down_for_a_second()
    call = part.note.remote("x")
    part.note.tell("y")
    assert await stop(part) is True
    assert now() == 0.5
    with pytest.raises(ActorDiedError, match="is dead"):
        await call
    assert dead_letters()[DeadLetterReason.KILLED] == 2
    await asyncio.sleep(60)
    assert diary.lines == []
    assert supervisor.children == ()
    assert await stop(part) is False


@virtual_time
async def test_a_kill_while_the_actor_is_down_ends_it_for_good_and_frees_its_name() -> None:
    part, supervisor, diary = await down_for_a_second()
    call = part.note.remote("x")
    kill(part)
    with pytest.raises(ActorDiedError):
        await call
    again = supervisor.start(remote(Part).options(name="p"), "again", diary)
    await asyncio.sleep(60)
    assert [line for line in diary.lines if line.startswith("p.")] == []
    assert get_actor("p") is again
    await supervisor.stop()


@virtual_time
async def test_a_further_crash_while_the_actor_is_down_changes_nothing() -> None:
    part, supervisor, diary = await down_for_a_second()
    for _ in range(50):
        kill(part, no_restart=False)
    assert await part.note.remote("x") == "x"
    assert now() == 1
    assert diary.count("p.init") == 1
    await supervisor.stop()


@virtual_time
@every_kind
@pytest.mark.parametrize("count", range(10))
@pytest.mark.parametrize("end", ["stop", "kill", "restart", "supervisor"])
async def test_an_end_at_any_turn_of_a_restart_is_clean(end: str, count: int, kind: type[Part]) -> None:
    trio = await Trio.started(
        Strategy.ONE_FOR_ALL, kind=kind, options={"max_concurrency": 1}, **{t: {"on_start": [None]} for t in "abc"}
    )
    calls = [handle.work.remote(1) for handle in trio.all for _ in range(2)]
    trio.a.fail.tell()
    await turns(count)
    ended: list[Awaitable[Any]] = []
    match end:
        case "stop":
            ended.append(stop(trio.b))
        case "kill":
            kill(trio.b)
        case "restart":
            kill(trio.b, no_restart=False)
        case "supervisor":
            ended.append(trio.supervisor.stop())
    await asyncio.wait_for(asyncio.gather(*ended, *calls, return_exceptions=True), 60)
    await asyncio.sleep(30)
    expected = {"stop": "ac", "kill": "ac", "restart": "abc", "supervisor": ""}[end]
    assert [handle._cell.identity.name for handle in trio.supervisor.children] == list(expected)
    for handle in trio.supervisor.children:
        assert await asyncio.wait_for(handle.note.remote("served"), 60) == "served"
    await trio.supervisor.stop()
    lives = {tag: (trio.diary.count(f"{tag}.init"), trio.diary.count(f"{tag}.on_start")) for tag in "abc"}
    assert all(inits == starts for inits, starts in lives.values())


@virtual_time
@pytest.mark.parametrize("end", ["stop", "kill", "restart"])
async def test_an_end_during_the_async_on_start_of_a_restart(end: str) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, b={"on_start": [None, sleep_for(10)]})
    trio.a.fail.tell()
    await asyncio.sleep(5)
    match end:
        case "stop":
            assert await stop(trio.b) is True
            assert trio.diary.count("b.on_start ends") == trio.diary.count("b.on_stop ends") - 1 == 1
        case "kill":
            kill(trio.b)
        case "restart":
            kill(trio.b, no_restart=False)
    assert await asyncio.wait_for(trio.c.note.remote("served"), 60) == "served"
    assert await trio.a.note.remote("served") == "served"
    assert len(trio.supervisor.children) == 2 + (end == "restart")
    await trio.supervisor.stop()


@virtual_time
@pytest.mark.parametrize("end", [stop, kill])
async def test_who_is_ended_while_one_before_it_starts_again_is_not_started(end: Callable[[ActorHandle], Any]) -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, a={"on_start": [None, sleep_for(10)]})
    trio.b.fail.tell()
    await asyncio.sleep(5)
    end(trio.c)
    await asyncio.sleep(30)
    assert trio.supervisor.children == (trio.a, trio.b)
    assert trio.diary.count("c.init") == 0
    await trio.supervisor.stop()


@virtual_time
async def test_an_actor_that_crashes_while_a_stop_waits_in_its_mailbox_is_not_started_again() -> None:
    diary = Diary()
    supervisor = Supervisor(restarts=STEADY)
    part = supervisor.start(remote(Part), "p", diary)
    part.fail.tell()
    call = part.note.remote("not served")
    assert await stop(part) is True
    with pytest.raises(ActorDiedError):
        await call
    await asyncio.sleep(60)
    assert diary.count("p.init") == 1
    assert supervisor.children == ()


@virtual_time
async def test_a_second_crash_while_the_group_comes_back_starts_it_afresh() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, b={"on_start": [None, sleep_for(10)]})
    trio.c.fail.tell()
    await asyncio.sleep(5)
    assert [status(handle) for handle in trio.all] == [
        ActorStatus.ALIVE,
        ActorStatus.RESTARTING,
        ActorStatus.RESTARTING,
    ]
    trio.a.fail.tell()
    assert await trio.c.note.remote("served") == "served"
    assert now() == 0.5 + 5 + 1
    assert [trio.diary.count(f"{tag}.on_start") for tag in "abc"] == [2, 2, 1]
    await trio.supervisor.stop()


@virtual_time
async def test_the_on_stop_of_an_actor_that_was_broken_off_in_its_on_start_is_not_called() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, b={"on_start": [None, sleep_for(10)]})
    trio.c.fail.tell()
    await asyncio.sleep(5)
    trio.diary.take()
    trio.a.fail.tell()
    await asyncio.sleep(5)
    assert "b.on_stop" not in trio.diary.lines
    await trio.supervisor.stop()


# --- What will not be cancelled ---------------------------------------------------------------------------------------


@virtual_time
async def test_a_handler_that_refuses_cancellation_delays_the_restart_only_so_long() -> None:
    diary = Diary()
    part = remote(Part).options(max_restarts=-1).remote("p", diary)
    short, long = part.refuse.remote(3), part.refuse.remote(100)
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    for ref in (short, long):
        with pytest.raises(ActorUnavailableError):
            await ref
    assert now() == 1
    assert await part.note.remote("served") == "served"
    assert now() == 1 + UNWIND_S
    await asyncio.sleep(200)  # the old handler ends, and nobody hears of it
    assert diary.count("p.refuse ends") == 2
    (state,) = list_actors()
    assert (state.status, state.pending, state.in_flight) == (ActorStatus.ALIVE, 0, 0)
    await stop(part)


@virtual_time
async def test_a_group_unwinds_together_not_one_after_the_other() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    for handle in trio.all:
        handle.refuse.remote(100)
    await asyncio.sleep(0.5)
    trio.a.fail.tell()
    assert await trio.a.note.remote("served") == "served"
    assert now() == 1 + UNWIND_S
    await asyncio.sleep(200)
    await trio.supervisor.stop()


@virtual_time
async def test_a_crash_while_others_unwind_adds_no_wait_to_its_own() -> None:
    trio = await Trio.started(Strategy.REST_FOR_ONE)
    trio.c.refuse.remote(3)
    for handle in (trio.c, trio.a):
        await asyncio.sleep(0.5)
        handle.fail.tell()
    await asyncio.sleep(30)
    assert trio.diary.times("a.on_start") == [0.5 + 3 + 1]
    await trio.supervisor.stop()


@virtual_time
async def test_an_on_start_that_refuses_cancellation_delays_the_group_only_so_long() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, b={"on_start": [None, refuse_for(100)]})
    trio.c.fail.tell()
    await asyncio.sleep(1.5)
    kill(trio.a, no_restart=False)
    assert await trio.c.note.remote("served") == "served"
    assert now() <= 2 + UNWIND_S + 1
    await asyncio.sleep(200)
    await trio.supervisor.stop()


@virtual_time
async def test_a_sibling_killed_in_an_on_start_that_refuses_cancellation_does_not_hold_its_group_up() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, kind=SlowPart, b={"on_start": [None, refuse_for(100)]})
    trio.a.fail.tell()
    await asyncio.sleep(1.5)
    kill(trio.b)
    assert await trio.c.note.remote("served") == "served"
    assert now() <= 2 + UNWIND_S
    await asyncio.sleep(200)
    await trio.supervisor.stop()


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("method", ["exit", "raise"])
async def test_what_a_stubborn_handler_or_on_start_of_an_old_incarnation_raises_does_not_touch_the_next(
    method: str,
) -> None:
    async def stubborn(part: Part) -> None:
        await refuse(100)
        if method == "exit":
            exit_actor()
        raise Boom

    diary = Diary()
    part = remote(SlowPart).options(max_restarts=-1).remote("p", diary, on_start=[stubborn])
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    await part.note.remote("up")
    part.do_later.tell(stubborn)
    part.do.tell(lambda part: context(part).spawn(stubborn(part)))
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    await asyncio.sleep(500)
    assert await part.note.remote("served") == "served"
    assert list_actors()[0].restarts == 2
    await stop(part)


@virtual_time(allow_lost=True)
async def test_what_fails_of_an_old_incarnation_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def stubborn(part: Part) -> None:
        await refuse(100)
        raise Boom(part.tag)

    caplog.set_level(logging.WARNING)
    part = remote(Part).options(max_restarts=1).remote("p", Diary())
    part.do_later.tell(stubborn)
    part.do.tell(lambda part: context(part).spawn(stubborn(part), name="linked"))
    await asyncio.sleep(1)
    kill(part, no_restart=False)
    await asyncio.sleep(200)
    failures = [record for record in caplog.records if record.exc_info and isinstance(record.exc_info[1], Boom)]
    assert sorted(record.getMessage() for record in failures) == [
        "Part #1: do_later failed after its call had ended",
        "Part #1: task linked failed after its actor had ended",
    ]
    await stop(part)


# --- Giving up, and escalation ----------------------------------------------------------------------------------------

ONCE = RestartPolicy(max_restarts=1, backoff=1, jitter=0)


@virtual_time
@every_strategy
async def test_a_supervisor_that_gives_up_stops_all_in_reverse_and_says_so_once(strategy: Strategy) -> None:
    failures: list[RestartLimitExceeded] = []
    trio = await Trio.started(strategy, restarts=ONCE, give_up=failures.append)
    for _ in range(2):
        trio.b.fail.tell()
        await asyncio.sleep(5)
    assert trio.supervisor.children == ()
    (failure,) = failures
    assert str(failure) == "Part \"b\" crashed of Boom('b'), after 1 restart within 60 s"
    assert isinstance(failure.__cause__, Boom)
    assert trio.diary.lines[-2:] == ["c.on_stop", "a.on_stop"]
    with pytest.raises(RuntimeError, match="has stopped"):
        trio.supervisor.start(remote(Part), "d", trio.diary)
    with pytest.raises(ActorDiedError, match="died of Boom"):
        await trio.b.note.remote("x")
    with pytest.raises(ActorDiedError):
        await trio.a.note.remote("x")


@virtual_time
async def test_two_children_that_crash_too_often_in_one_turn_are_given_up_on_once() -> None:
    failures: list[RestartLimitExceeded] = []
    trio = await Trio.started(Strategy.ONE_FOR_ONE, restarts=RestartPolicy(max_restarts=0), give_up=failures.append)
    for handle in trio.all:
        kill(handle, no_restart=False)
    await asyncio.sleep(5)
    assert len(failures) == 1


@virtual_time
async def test_nobody_is_started_again_by_a_supervisor_that_has_given_up() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, restarts=ONCE, a={"on_start": [None, boom]})
    trio.c.fail.tell()
    await asyncio.sleep(60)
    assert trio.supervisor.children == ()
    assert [trio.diary.count(f"{tag}.on_start") for tag in "abc"] == [1, 0, 0]


@virtual_time
async def test_one_that_is_not_yet_up_when_its_group_is_given_up_has_no_on_stop() -> None:
    gives_up = RestartPolicy(max_restarts=0)
    trio = Trio(Strategy.ONE_FOR_ONE, restarts=gives_up, kind=SlowPart, c={"on_start": [sleep_for(10)]})
    await asyncio.sleep(1)
    kill(trio.a, no_restart=False)
    await asyncio.sleep(30)
    assert [line for line in trio.diary.lines if line.endswith("on_stop")] == ["b.on_stop"]


@virtual_time
async def test_children_are_counted_one_by_one_or_as_a_group() -> None:
    for strategy, lives in ((Strategy.ONE_FOR_ONE, True), (Strategy.ONE_FOR_ALL, False)):
        trio = await Trio.started(strategy, restarts=ONCE)
        for handle in (trio.a, trio.b):
            await asyncio.sleep(5)
            handle.fail.tell()
        await asyncio.sleep(5)
        assert bool(trio.supervisor.children) is lives
        await trio.supervisor.stop()


class Owner(Part):
    """Has a supervisor of its own, with what it starts in its __init__."""

    def __init__(
        self,
        tag: str,
        diary: Diary,
        begin: Callable[[Any, Supervisor], Any],
        restarts: RestartPolicy = ONCE,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        **acts: list[Act | None],
    ) -> None:
        super().__init__(tag, diary, **acts)
        self.supervisor = context(self).supervisor(strategy, restarts)
        begin(self, self.supervisor)


def child(tag: str, **acts: list[Act | None]) -> Callable[[Any, Supervisor], Any]:
    return lambda owner, supervisor: supervisor.start(remote(Part).options(name=tag), tag, owner.diary, **acts)


@virtual_time
async def test_children_stop_with_their_owner_after_its_on_stop() -> None:
    diary = Diary()
    owner = remote(Owner).remote("o", diary, child("p"))
    await owner.note.remote("up")
    await stop(owner)
    assert diary.lines[-2:] == ["o.on_stop", "p.on_stop"]


@virtual_time
async def test_children_end_at_once_when_their_owner_is_killed() -> None:
    diary = Diary()
    owner = remote(Owner).remote("o", diary, child("p"))
    await owner.note.remote("up")
    part = get_actor("p")
    kill(owner)
    assert status(part) is ActorStatus.DEAD
    assert "p.on_stop" not in diary.lines


@virtual_time
async def test_children_of_one_that_is_killed_end_the_last_one_first() -> None:
    def begin(owner: Any, supervisor: Supervisor) -> None:
        for tag in "pq":
            child(tag)(owner, supervisor)
        child("r")(owner, context(owner).supervisor())

    owner = remote(Owner).options(name="o").remote("o", Diary(), begin)
    await owner.note.remote("up")
    kill(owner)
    assert [state.identity.name for state in list_actors()] == ["r", "q", "p", "o"]


@virtual_time
async def test_the_children_of_one_that_dies_of_a_crash_run_their_on_stop() -> None:
    diary = Diary()
    owner = remote(Owner).remote("o", diary, child("p"))
    await owner.note.remote("up")
    owner.fail.tell()
    await asyncio.sleep(1)
    assert status(owner) is ActorStatus.DEAD
    assert diary.count("p.on_stop") == 1


@virtual_time
@pytest.mark.parametrize("end", ["stop", "crash", "go along", "crash for good"])
async def test_of_the_supervisors_of_one_actor_the_last_one_ends_first(end: str) -> None:
    def begin(owner: Any, supervisor: Supervisor) -> None:
        child("p")(owner, supervisor)
        child("q")(owner, context(owner).supervisor())

    diary = Diary()
    restarts = RestartPolicy(max_restarts=0) if end == "crash for good" else STEADY
    supervisor = Supervisor(Strategy.ONE_FOR_ALL, restarts)
    owner = supervisor.start(remote(Owner), "o", diary, begin)
    other = supervisor.start(remote(Part), "x", diary)
    await asyncio.sleep(1)
    if end == "stop":
        await stop(owner)
    else:
        kill(other if end == "go along" else owner, no_restart=False)
    await asyncio.sleep(1)
    assert [line for line in diary.lines if line in ("p.on_stop", "q.on_stop")] == ["q.on_stop", "p.on_stop"]
    await supervisor.stop()


@virtual_time
async def test_the_children_of_an_owner_that_crashes_are_stopped_and_the_next_incarnation_starts_its_own() -> None:
    diary = Diary()
    owner = remote(Owner).options(max_restarts=1).remote("o", diary, child("p"))
    await owner.note.remote("up")
    before = get_actor("p")
    diary.take()
    owner.fail.tell()
    await owner.note.remote("up")
    assert diary.take() == ["o.on_failure", "p.on_stop", "o.init", "p.init", "o.on_start", "p.on_start", "o.up"]
    assert get_actor("p") is not before
    await stop(owner)


@virtual_time
@pytest.mark.parametrize("method", ["work", "refuse"])
async def test_a_busy_child_does_not_keep_its_name_from_the_next_incarnation_of_its_owner(method: str) -> None:
    diary = Diary()
    owner = remote(Owner).options(max_restarts=1).remote("o", diary, child("p"))
    await owner.note.remote("up")
    busy = getattr(get_actor("p"), method).remote(100)
    await asyncio.sleep(1)
    owner.fail.tell()
    assert await owner.note.remote("up") == "up"
    assert now() == 1 + (UNWIND_S if method == "refuse" else 0)
    with pytest.raises(ActorDiedError):
        await busy
    assert diary.count("o.init") == 2
    await asyncio.sleep(200)
    await stop(owner)


@virtual_time
async def test_a_child_that_takes_long_to_unwind_and_to_stop_does_not_keep_its_name_from_the_next_incarnation() -> None:
    def begin(owner: Any, supervisor: Supervisor) -> None:
        slow = remote(SlowPart).options(name="p")
        supervisor.start(slow, "p", owner.diary, on_stop=[sleep_for(UNWIND_S)])

    owner = remote(Owner).options(max_restarts=1).remote("o", Diary(), begin)
    await owner.note.remote("up")
    get_actor("p").refuse.remote(100)
    await asyncio.sleep(1)
    owner.fail.tell()
    assert await owner.note.remote("up") == "up"
    assert now() == 1 + UNWIND_S
    await asyncio.sleep(200)
    await stop(owner)


@virtual_time
async def test_an_owner_that_restarts_in_health_stops_as_it_always_does_its_on_stop_before_its_children() -> None:
    diary = Diary()
    async with Supervisor(Strategy.ONE_FOR_ALL, STEADY) as supervisor:
        part = supervisor.start(remote(Part), "x", diary)
        supervisor.start(remote(Owner), "o", diary, child("p"))
        await asyncio.sleep(1)
        diary.take()
        part.fail.tell()
        await asyncio.sleep(1)
        assert [line for line in diary.lines if line.endswith("on_stop")] == ["o.on_stop", "p.on_stop"]


@virtual_time
@pytest.mark.parametrize("seconds", [0.1, 1, 2.9])
async def test_an_owner_that_is_killed_as_its_children_go_along_holds_nobody_up(seconds: float) -> None:
    def begin(owner: Any, supervisor: Supervisor) -> None:
        supervisor.start(remote(SlowPart), "p", owner.diary, on_stop=[sleep_for(3)])

    diary = Diary()
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        crashes = supervisor.start(remote(Part), "x", diary)
        owner = supervisor.start(remote(Owner), "o", diary, begin)
        await asyncio.sleep(1)
        kill(crashes, no_restart=False)
        await asyncio.sleep(seconds)
        assert diary.lines[-1] == "p.on_stop"
        kill(owner)
        assert await asyncio.wait_for(crashes.note.remote("served"), 60) == "served"
        assert supervisor.children == (crashes,)


@virtual_time
async def test_a_supervisor_that_gives_up_is_the_crash_of_its_owner_three_deep() -> None:
    diary = Diary()
    twice = RestartPolicy(max_restarts=1, window=1e9, backoff=0, jitter=0)

    def middle(owner: Any, supervisor: Supervisor) -> Any:
        return supervisor.start(remote(Owner).options(name="middle"), "middle", owner.diary, child("leaf"), twice)

    def top(owner: Any, supervisor: Supervisor) -> Any:
        return supervisor.start(remote(Owner).options(name="top"), "top", owner.diary, middle, twice)

    failures: list[RestartLimitExceeded] = []
    root = Supervisor(restarts=twice, give_up=failures.append)
    root.start(remote(Owner).options(name="root"), "root", diary, top, twice)
    crashes = 0
    while not failures:
        await asyncio.sleep(10)
        try:
            get_actor("leaf").fail.tell()
        except ValueError:
            break
        crashes += 1
    assert crashes == 2**4
    assert [diary.count(f"{tag}.init") for tag in ("leaf", "middle", "top", "root")] == [16, 8, 4, 2]
    (failure,) = failures
    causes = []
    error: BaseException | None = failure
    while error is not None:
        causes.append(type(error))
        error = error.__cause__
    assert causes == [RestartLimitExceeded] * 4 + [Boom]
    assert diary.count("top.on_failure") == 4


@virtual_time
async def test_a_crash_of_the_owner_while_its_children_are_down_starts_all_afresh_once() -> None:
    diary = Diary()
    owner = remote(Owner).options(max_restarts=1).remote("o", diary, child("p", on_start=[boom, boom, None]), STEADY)
    await asyncio.sleep(0.5)  # the child waits for its second restart
    diary.take()
    owner.fail.tell()
    await asyncio.sleep(30)
    assert diary.count("p.init") == 1
    assert await get_actor("p").note.remote("x") == "x"
    await stop(owner)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("end", [kill, restart_me, stop], ids=["kill", "crash", "stop"])
@pytest.mark.parametrize("count", range(8))
async def test_an_owner_that_ends_as_its_supervisor_gives_up_ends_cleanly(
    end: Callable[[Any], Any], count: int
) -> None:
    diary = Diary()
    supervisor = Supervisor(restarts=STEADY)
    owner = supervisor.start(remote(Owner), "o", diary, child("p"), RestartPolicy(max_restarts=0))
    await owner.note.remote("up")
    get_actor("p").fail.tell()
    await turns(count)
    if end is restart_me:
        kill(owner, no_restart=False)
    else:
        end(owner)
    await asyncio.sleep(30)
    assert bool(supervisor.children) is (end is restart_me)
    await supervisor.stop()
    assert list_actors() == [state for state in list_actors() if state.status is ActorStatus.DEAD]


@virtual_time
async def test_the_supervisor_of_a_dead_or_crashed_incarnation_starts_nobody() -> None:
    supervisors: list[Supervisor] = []
    diary = Diary()
    keep = lambda _owner, supervisor: supervisors.append(supervisor)  # noqa: E731
    owner = remote(Owner).options(max_restarts=1).remote("o", diary, keep)
    await owner.note.remote("up")
    kill(owner, no_restart=False)
    await owner.note.remote("up")
    kill(owner)
    for supervisor in supervisors:
        with pytest.raises(RuntimeError, match="has stopped"):
            supervisor.start(remote(Part), "late", diary)


# --- Supervisor.stop --------------------------------------------------------------------------------------------------


@virtual_time
async def test_stopping_twice_waits_for_one_end_and_a_cancelled_stop_goes_on() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL, c={"on_stop": [None]})
    work = trio.c.work.remote(5)
    first, second = asyncio.create_task(trio.supervisor.stop()), asyncio.create_task(trio.supervisor.stop())
    await asyncio.sleep(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert now() == 0.5 + 5
    assert work.done()
    assert trio.diary.lines[-3:] == ["c.on_stop", "b.on_stop", "a.on_stop"]
    await trio.supervisor.stop()


@virtual_time
async def test_the_block_of_a_supervisor_ends_with_its_children_even_when_it_raises() -> None:
    diary = Diary()

    async def block() -> None:
        async with Supervisor() as supervisor:
            supervisor.start(remote(Part), "p", diary)
            raise KeyError

    with pytest.raises(KeyError):
        await block()
    assert diary.lines == ["p.init", "p.on_start", "p.on_stop"]


@virtual_time
async def test_a_supervisor_that_stops_starts_nobody_again_however_long_the_last_child_takes() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ONE)
    trio.c.work.remote(60)
    kill(trio.a, no_restart=False)
    kill(trio.b, no_restart=False)
    await trio.supervisor.stop()
    assert trio.diary.count("a.init") == trio.diary.count("b.init") == 0


@virtual_time
async def test_a_crash_while_the_supervisor_stops_is_a_death() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.c.work.remote(60)
    trio.a.fail_after.tell(5)
    trio.b.fail_after.tell(5)
    await trio.supervisor.stop()
    assert now() == 60.5
    assert [line for line in trio.diary.lines if line.endswith("init")] == []
    assert [line for line in trio.diary.lines if line.endswith("on_stop")] == ["c.on_stop"]


@virtual_time
async def test_a_child_that_crashes_while_its_supervisor_stops_dies_of_that() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.c.work.remote(60)
    trio.a.fail_after.tell(5)
    await trio.supervisor.stop()
    with pytest.raises(ActorDiedError, match=r"died of Boom\('a'\)"):
        await trio.a.note.remote("x")


@virtual_time
async def test_a_stop_of_the_supervisor_lets_a_healthy_sibling_on_its_way_down_run_its_on_stop() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    trio.c.refuse.remote(3)
    await asyncio.sleep(0.5)
    trio.a.fail.tell()
    await asyncio.sleep(1)
    assert [line for line in trio.diary.lines if line.endswith("on_stop")] == []
    await trio.supervisor.stop()
    await asyncio.sleep(60)
    assert [line for line in trio.diary.lines if line.endswith("on_stop")] == ["c.on_stop", "b.on_stop"]
    assert [line for line in trio.diary.lines if line.endswith("init")] == []


@virtual_time
async def test_a_child_may_have_its_own_supervisor_stopped_as_long_as_it_does_not_wait_for_its_own_end() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ONE)
    trio.b.do.tell(lambda part: context(part).spawn(trio.supervisor.stop()))
    await asyncio.sleep(5)
    assert trio.supervisor.children == ()
    assert [line for line in trio.diary.lines if line.endswith("on_stop")] == ["c.on_stop", "b.on_stop", "a.on_stop"]


@virtual_time
async def test_a_child_that_is_killed_while_the_supervisor_waits_for_it_does_not_hold_up_the_others() -> None:
    trio = await Trio.started(Strategy.ONE_FOR_ONE, kind=SlowPart, c={"on_stop": [sleep_for(FOREVER_S)]})
    stopping = asyncio.create_task(trio.supervisor.stop())
    await asyncio.sleep(1)
    kill(trio.c)
    await stopping
    assert now() == 1.5


# --- Re-entrancy ------------------------------------------------------------------------------------------------------


@virtual_time
@every_strategy
@pytest.mark.parametrize("method", ["do", "do_later"])
async def test_a_handler_may_crash_a_sibling_and_itself_and_go_on(strategy: Strategy, method: str) -> None:
    def crash_both(part: Part) -> Any:
        kill(get_actor("a"), no_restart=False)
        kill(context(part).handle, no_restart=False)
        part.note("goes on")
        return asyncio.sleep(0) if method == "do_later" else None

    trio = await Trio.started(strategy)
    with pytest.raises(ActorUnavailableError):
        await getattr(trio.c, method).remote(crash_both)
    for handle in trio.all:
        assert await handle.note.remote("served") == "served"
    assert trio.diary.count("c.goes on") == 1
    await trio.supervisor.stop()


@virtual_time
async def test_a_handler_that_kills_its_own_actor_after_it_crashed_it_ends_it_for_good() -> None:
    def both(part: Part) -> None:
        mine = context(part).handle
        kill(mine, no_restart=False)
        kill(mine)

    trio = await Trio.started(Strategy.ONE_FOR_ALL)
    with pytest.raises(ActorDiedError):
        await trio.b.do.remote(both)
    await asyncio.sleep(5)
    assert trio.supervisor.children == (trio.a, trio.c)
    assert await trio.c.note.remote("served") == "served"
    await trio.supervisor.stop()


@virtual_time
@pytest.mark.parametrize("where", ["def", "async", "timer", "async timer", "task", "on_start", "async on_start"])
@every_strategy
async def test_exit_actor_is_for_good_wherever_it_is_called(where: str, strategy: Strategy) -> None:
    async def leave_later(_part: Any) -> None:
        exit_actor()

    ways: dict[str, Act] = {
        "timer": lambda part: context(part).after(1, leave, part),
        "async timer": lambda part: context(part).after(1, leave_later, part),
        "task": lambda part: context(part).spawn(leave_later(part)),
    }
    kind = SlowPart if where == "async on_start" else Part
    acts: list[Act | None] = [None, leave] if "on_start" in where else []
    trio = await Trio.started(strategy, kind=kind, b={"on_start": acts})
    if where in ("def", "async"):
        with pytest.raises(ActorDiedError, match="has left by exit_actor"):
            await (trio.b.do.remote(leave) if where == "def" else trio.b.do_later.remote(leave_later))
    elif where in ways:
        trio.b.do.tell(ways[where])
    else:
        trio.b.fail.tell()
    await asyncio.sleep(5)
    assert trio.supervisor.children == (trio.a, trio.c)
    with pytest.raises(ActorDiedError, match="has left by exit_actor"):
        await trio.b.note.remote("x")
    await trio.supervisor.stop()


@virtual_time
@pytest.mark.parametrize("stubborn", [False, True])
async def test_an_on_start_that_a_task_of_its_own_overtakes_with_exit_actor_is_cancelled(stubborn: bool) -> None:
    async def begin(part: Any) -> None:
        context(part).spawn(leave_after(1)(part))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            diary.add("cancelled")
            if not stubborn:
                raise

    diary = Diary()
    part = remote(SlowPart).remote("p", diary, on_start=[begin], on_stop=[sleep_for(1)])
    with pytest.raises(ActorDiedError, match="has left by exit_actor"):
        await part.note.remote("x")
    await asyncio.sleep(0.5)
    assert status(part) is ActorStatus.STOPPING
    await asyncio.sleep(5)
    assert status(part) is ActorStatus.DEAD
    assert diary.times("cancelled") == [1]
    assert diary.times("p.on_stop ends") == [2]


@virtual_time
async def test_an_actor_that_leaves_twice_stops_once_and_in_order() -> None:
    diary = Diary()
    part = remote(Part).remote("p", diary)
    leaving = [part.do_later.remote(leave_after(seconds)) for seconds in (1, 2)]
    for ref in leaving:
        with pytest.raises(ActorDiedError, match="has left by exit_actor"):
            await ref
    await stop(part)
    assert diary.times("p.on_stop") == [2]


@virtual_time
async def test_calls_that_wait_for_room_end_when_the_actor_leaves_and_what_runs_may_end() -> None:
    diary = Diary()
    part = remote(Part).options(max_concurrency=2).remote("p", diary)
    running = part.work.remote(10, "runs")
    leaving = part.do_later.remote(leave_after(1))
    waiting = part.work.remote(10, "waits")
    for ref in (leaving, waiting):
        with pytest.raises(ActorDiedError, match="has left by exit_actor"):
            await ref
    assert await running == "runs"
    assert now() == 10
    assert "p.waits begins" not in diary.lines
    await stop(part)


# --- Watching ---------------------------------------------------------------------------------------------------------


class Watcher:
    def __init__(self) -> None:
        self.heard: list[Terminated] = []
        self.watch: Any = None

    def begin(self, other: ActorHandle) -> None:
        self.watch = context(self).watch(other, self.hear)

    def hear(self, terminated: Terminated) -> None:
        self.heard.append(terminated)

    def end(self) -> None:
        self.watch.cancel()

    def read(self) -> list[Terminated]:
        return self.heard


async def in_state(state: str) -> "tuple[ActorHandle, Supervisor]":
    supervisor = Supervisor(restarts=STEADY)
    acts: dict[str, list[Act | None]] = {"on_start": [], "on_stop": [], "init": []}
    match state:
        case "pending":
            acts["on_start"] = [sleep_for(10)]
        case "restarting":
            acts["on_start"] = [None, sleep_for(10)]
        case "stopping":
            acts["on_stop"] = [sleep_for(10)]
    part = supervisor.start(remote(SlowPart).options(name="p"), "p", Diary(), **acts)
    await asyncio.sleep(1)
    match state:
        case "down":
            kill(part, no_restart=False)
            await asyncio.sleep(0.5)
            kill(part, no_restart=False)
        case "restarting":
            kill(part, no_restart=False)
        case "up again":
            kill(part, no_restart=False)
        case "stopping":
            stop(part)
        case "dead":
            kill(part)
    await asyncio.sleep(0.25)
    return part, supervisor


every_state = pytest.mark.parametrize(
    "state", ["pending", "alive", "down", "restarting", "up again", "stopping", "dead"]
)


@virtual_time
@every_state
async def test_a_watch_tells_of_the_death_once_whatever_state_it_was_begun_in_and_of_no_restart(state: str) -> None:
    part, supervisor = await in_state(state)
    watcher = remote(Watcher).remote()
    await watcher.begin.remote(part)
    if state not in ("stopping", "dead"):
        assert await watcher.read.remote() == []
        kill(part, no_restart=False)
        await asyncio.sleep(20)
        assert await watcher.read.remote() == []
    await supervisor.stop()
    await asyncio.sleep(20)
    (terminated,) = await watcher.read.remote()
    assert terminated.handle is part
    assert terminated.crashed is False
    assert "Boom" not in terminated.reason
    assert "crashed" not in terminated.reason
    await stop(watcher)


@virtual_time
@every_state
async def test_a_watch_that_is_cancelled_tells_nothing_whatever_state_it_was_cancelled_in(state: str) -> None:
    part, supervisor = await in_state(state)
    watcher = remote(Watcher).remote()
    watcher.begin.tell(part)
    watcher.end.tell()
    watcher.end.tell()
    await asyncio.sleep(1)
    await supervisor.stop()
    await asyncio.sleep(1)
    assert await watcher.read.remote() == []
    assert not watcher._cell.jobs
    await stop(watcher)


@virtual_time
async def test_a_death_by_too_many_crashes_is_told_as_a_crash_whenever_the_watch_began() -> None:
    supervisor = Supervisor(restarts=RestartPolicy(max_restarts=0))
    part = supervisor.start(remote(Part), "p", Diary())
    watcher = remote(Watcher).remote()
    await watcher.begin.remote(part)
    part.fail.tell()
    await asyncio.sleep(1)
    await watcher.begin.remote(part)
    await asyncio.sleep(1)
    heard = await watcher.read.remote()
    assert [(told.reason, told.crashed) for told in heard] == [("died of Boom('p')", True)] * 2
    await stop(watcher)


@virtual_time
async def test_a_watcher_that_crashes_watches_no_more_and_one_that_died_is_not_told() -> None:
    other = remote(Part).remote("o", Diary())
    watcher = remote(Watcher).options(max_restarts=1).remote()
    await watcher.begin.remote(other)
    kill(watcher, no_restart=False)
    await watcher.read.remote()
    assert not other._cell._watches
    await watcher.begin.remote(other)
    kill(watcher)
    await stop(other)
    assert not other._cell._watches


@virtual_time
@pytest.mark.parametrize("end", ["stop", "kill", "stop while down"])
async def test_what_is_said_of_a_dead_actor_is_how_it_died_not_how_it_once_crashed(end: str) -> None:
    part = remote(Part).options(max_restarts=-1).remote("p", Diary())
    part.fail.tell()
    await part.note.remote("up")
    if end == "stop while down":
        kill(part, no_restart=False)
    if end == "kill":
        kill(part)
    else:
        await stop(part)
    with pytest.raises(ActorDiedError) as caught:
        await part.note.remote("x")
    assert str(caught.value) == "Part #1 is dead"


# --- Accounts ---------------------------------------------------------------------------------------------------------


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("end", ["kill", "kill while down", "stop while down", "exit_actor", "kills itself", "give up"])
async def test_a_dead_actor_has_no_pending_calls(end: str) -> None:
    part = remote(Part).options(max_concurrency=1, max_restarts=1).remote("p", Diary())
    await part.note.remote("up")
    first = {"exit_actor": leave, "kills itself": kill_me}.get(end)
    calls = [part.do.remote(first)] if first else [part.work.remote(10), part.work.remote(10)]
    calls += [part.note.remote("x"), part.work.remote(10)]
    await asyncio.sleep(0 if first else 1)
    if end in ("kill while down", "stop while down", "give up"):
        kill(part, no_restart=False)
    if end.startswith("kill") and first is None:
        kill(part)
    elif end == "stop while down":
        await stop(part)
    elif end == "give up":
        await asyncio.sleep(5)
        kill(part, no_restart=False)
    await asyncio.gather(*calls, return_exceptions=True)
    await asyncio.sleep(30)
    state = list_actors()[-1]
    assert (state.status, state.pending, state.queued, state.in_flight) == (ActorStatus.DEAD, 0, 0, 0)


@virtual_time
async def test_the_age_of_the_oldest_message_is_not_made_less_by_a_crash() -> None:
    part = remote(Part).options(max_concurrency=1, max_restarts=-1).remote("p", Diary())
    part.work.remote(FOREVER_S)
    await asyncio.sleep(1)
    waiting = part.work.remote(1)
    await asyncio.sleep(50)
    later = part.note.remote("x")
    await later
    kill(part, no_restart=False)
    assert list_actors()[0].oldest >= 50
    assert await waiting == "work"
    await stop(part)


@virtual_time
async def test_a_kill_of_a_dead_actor_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    part = remote(Part).options(max_restarts=1).remote("p", Diary())
    await stop(part)
    kill(part)
    kill(part, no_restart=False)
    assert caplog.records == []


# --- Many -------------------------------------------------------------------------------------------------------------


@virtual_time
async def test_a_thousand_children_crash_and_come_back_together() -> None:
    class Small:
        def fail(self) -> None:
            raise Boom

        def me(self) -> ActorHandle:
            return context(self).handle

    supervisor = Supervisor(Strategy.ONE_FOR_ALL, STEADY)
    children = [supervisor.start(remote(Small)) for _ in range(1000)]
    await asyncio.sleep(1)
    children[500].fail.tell()
    assert await asyncio.gather(*(child.me.remote() for child in children)) == children
    assert {state.restarts for state in list_actors()} <= {0, 1}
    await asyncio.sleep(1)
    assert {state.restarts for state in list_actors()} == {1}
    await supervisor.stop()
    assert supervisor.children == ()


@virtual_time
@every_strategy
async def test_a_storm_of_crashes_ends_in_order(strategy: Strategy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    trio = await Trio.started(strategy, restarts=RestartPolicy(max_restarts=-1, backoff=0.1, max_backoff=0.1, jitter=0))
    for n in range(100):
        for handle in trio.all:
            handle.fail.tell()
            kill(handle, no_restart=False)
        await (asyncio.sleep(0.05) if n % 3 else turns(n % 7))
    assert await asyncio.gather(*(handle.note.remote("served") for handle in trio.all)) == ["served"] * 3
    await asyncio.sleep(60)
    for handle in trio.all:
        assert (handle._cell.pending, status(handle)) == (0, ActorStatus.ALIVE)
    await trio.supervisor.stop()
