"""Ends in the middle of other ends: a kill while an actor goes down with its group, and the end of the process."""

import asyncio
import contextlib
import gc
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    DeadLetterReason,
    RestartPolicy,
    Strategy,
    Supervisor,
    context,
    dead_letters,
    exit_actor,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime.testing import virtual_time
from tests.runtime.clock import now, turns

GIVES_UP = RestartPolicy(max_restarts=0)  # at the first crash


class Slow:
    """Takes three seconds to stop, and says when it is done with that."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    async def on_stop(self) -> None:
        self.diary.append("stops")
        await asyncio.sleep(3)
        self.diary.append("has stopped")

    def crash(self) -> None:
        raise ValueError("crash")


@virtual_time
@pytest.mark.parametrize("seconds", [0, 1, 2.9])
async def test_a_healthy_sibling_that_is_killed_in_its_on_stop_does_nothing_more(seconds: float) -> None:
    diary: list[str] = []
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        first, second = (supervisor.start(remote(Slow), diary) for _ in range(2))
        await asyncio.sleep(0.1)
        second.crash.tell()
        await asyncio.sleep(0.1 + seconds)
        assert diary == ["stops"]
        kill(first)
        await asyncio.sleep(10)
        assert diary == ["stops"]
        assert supervisor.children == (second,)
        kill(second)


@virtual_time
async def test_a_healthy_sibling_that_is_stopped_in_its_on_stop_is_not_said_to_restart() -> None:
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        first, second = (supervisor.start(remote(Slow), []) for _ in range(2))
        await asyncio.sleep(0.1)
        second.crash.tell()
        await asyncio.sleep(1)
        assert await stop(first) is True
        with pytest.raises(ActorDiedError, match=r"^Slow #1 is dead$"):
            await first.crash.remote()


@virtual_time
async def test_an_on_stop_that_is_under_way_when_the_group_is_given_up_comes_to_its_end() -> None:
    diary: list[str] = []
    policy = RestartPolicy(max_restarts=1)
    supervisor = Supervisor(Strategy.REST_FOR_ONE, policy)
    first, second, _ = (supervisor.start(remote(Slow), diary) for _ in range(3))
    await asyncio.sleep(0.1)
    second.crash.tell()
    await asyncio.sleep(1)
    first.crash.tell()  # one crash too many, while the third stops
    await asyncio.sleep(10)
    assert diary == ["stops", "has stopped"]
    assert supervisor.children == ()


@virtual_time(allow_lost=True)
async def test_one_that_goes_down_with_its_group_refuses_calls_at_once() -> None:
    diary: list[str] = []
    supervisor = Supervisor(restarts=GIVES_UP)
    slow, other = supervisor.start(remote(Slow), diary), supervisor.start(remote(Busy))
    await asyncio.sleep(1)
    other.crash.tell()
    await asyncio.sleep(1)
    assert diary == ["stops"]
    with pytest.raises(ActorDiedError, match="went down with others"):
        await slow.crash.remote()
    assert now() == 2
    await asyncio.sleep(10)
    assert diary == ["stops", "has stopped"]


class Leaver:
    async def leave_with_others(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(self.leave())

    async def leave(self) -> None:
        exit_actor()

    async def idle(self) -> None:
        await asyncio.sleep(60)


@virtual_time
async def test_exit_actor_in_a_task_group_ends_that_actor_and_no_other() -> None:
    leaver, other = remote(Leaver).remote(), remote(Leaver).remote()
    with pytest.raises(ActorDiedError, match="has left by exit_actor"):
        await leaver.leave_with_others.remote()
    assert await stop(leaver) is False
    assert await stop(other) is True


class Linked:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def wait_for_nothing(self) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    def link(self) -> None:
        self.tasks.append(context(self).spawn(self.wait_for_nothing()))

    def link_and_cancel(self) -> None:
        context(self).spawn(asyncio.sleep(60)).cancel()

    def alive(self) -> bool:
        return True


@virtual_time
async def test_a_linked_task_that_is_cancelled_ends_and_one_that_meets_a_cancellation_is_a_crash() -> None:
    actor = remote(Linked).remote()
    await actor.link_and_cancel.remote()
    await asyncio.sleep(1)
    assert await actor.alive.remote()
    await actor.link.remote()
    await asyncio.sleep(1)
    with pytest.raises(ActorDiedError, match="awaited something that was cancelled"):
        await actor.alive.remote()


class Busy:
    async def work(self) -> None:
        await asyncio.sleep(60)

    def crash(self) -> None:
        raise ValueError("crash")


@virtual_time(allow_lost=True)
async def test_work_of_an_actor_that_stops_while_its_group_is_given_up_is_broken_off_and_accounted_for() -> None:
    supervisor = Supervisor(restarts=GIVES_UP)
    busy, other = (supervisor.start(remote(Busy)) for _ in range(2))
    busy.work.tell()
    asked = busy.work.remote()
    stopped = stop(busy)
    await asyncio.sleep(1)
    other.crash.tell()
    with pytest.raises(ActorDiedError):
        await asked
    assert await stopped
    assert dead_letters()[DeadLetterReason.KILLED] == 1
    await asyncio.sleep(1)
    assert supervisor.children == ()


@virtual_time
async def test_of_a_group_that_is_given_up_all_are_broken_off_before_one_is_waited_for() -> None:
    """One whose last words are a question to another is told at once that nobody answers any more."""

    class Asks(Busy):
        async def ask(self, other: ActorHandle) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                with contextlib.suppress(ActorDiedError):
                    await other.work.remote()

    supervisor = Supervisor(restarts=GIVES_UP)
    asked, asks, crashes = (supervisor.start(remote(kind)) for kind in (Busy, Asks, Busy))
    asks.ask.remote(asked)
    await asyncio.sleep(1)
    crashes.crash.tell()
    await asyncio.sleep(0.5)
    assert supervisor.children == ()


class Odd(BaseException):
    """What no handler is expected to raise."""


class OddStop(Busy):
    def on_stop(self) -> None:
        raise Odd


@virtual_time
async def test_whatever_a_healthy_siblings_on_stop_raises_its_group_comes_back() -> None:
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        first, second = supervisor.start(remote(OddStop)), supervisor.start(remote(Busy))
        second.crash.tell()
        await asyncio.sleep(1)
        assert "alive" in repr(first)
        assert "alive" in repr(second)
        kill(first)


@virtual_time
async def test_children_start_one_after_the_other_as_they_do_when_they_restart() -> None:
    diary: list[str] = []

    class Starts(Busy):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_start(self) -> None:
            diary.append(f"{self.name} begins")
            await asyncio.sleep(1)
            diary.append(f"{self.name} is up")

    in_order = [f"{name} {what}" for name in "abc" for what in ("begins", "is up")]
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        first, _, _ = (supervisor.start(remote(Starts), name) for name in "abc")
        await asyncio.sleep(10)
        assert diary == in_order
        first.crash.tell()
        await asyncio.sleep(10)
        assert diary == in_order * 2


@virtual_time
@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("number", range(8))
async def test_each_life_of_a_child_begins_once_however_early_another_one_crashes(
    strategy: Strategy, number: int
) -> None:
    diary: list[str] = []

    class Starts(Busy):
        def __init__(self, name: str) -> None:
            self.name = name
            diary.append(f"{name} is built")

        def on_start(self) -> None:
            diary.append(f"{self.name} starts")

        def hear(self) -> str:
            return self.name

    async with Supervisor(strategy) as supervisor:
        children = [supervisor.start(remote(Starts), name) for name in "abc"]
        heard = [child.hear.remote() for child in children]
        await turns(number)
        kill(children[0], no_restart=False)
        assert await asyncio.gather(*heard) == ["a", "b", "c"]
        await asyncio.sleep(1)
        for name in "abc":
            assert 1 <= diary.count(f"{name} starts") <= diary.count(f"{name} is built")


class Stubborn(Busy):
    """Takes three seconds to be cancelled."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def on_start(self) -> None:
        self.diary.append("starts")

    async def work(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3)
            self.diary.append("has ended")


@virtual_time
@pytest.mark.parametrize("number", range(10))
async def test_whoever_crashes_while_others_unwind_is_unwound_too(number: int) -> None:
    diary: list[str] = []
    async with Supervisor(Strategy.REST_FOR_ONE) as supervisor:
        first, second = supervisor.start(remote(Stubborn), diary), supervisor.start(remote(Busy))
        work = first.work.remote()
        await asyncio.sleep(1)
        kill(second, no_restart=False)
        await turns(number)
        kill(first, no_restart=False)
        await asyncio.wait([work])
        await asyncio.sleep(10)
        assert diary == ["starts", "has ended", "starts"]


@virtual_time
async def test_an_actor_that_stops_while_its_group_is_given_up_has_time_for_its_on_stop() -> None:
    diary: list[str] = []
    supervisor = Supervisor(restarts=GIVES_UP)
    slow, other = supervisor.start(remote(Slow), diary), supervisor.start(remote(Busy))
    stopped = stop(slow)
    await asyncio.sleep(1)
    other.crash.tell()
    assert await stopped
    assert diary == ["stops", "has stopped"]


class SlowAndBusy(Slow, Busy):
    """Both."""


@virtual_time
async def test_one_that_stops_as_its_group_is_given_up_lets_go_of_its_calls_and_then_runs_its_on_stop() -> None:
    diary: list[str] = []
    supervisor = Supervisor(restarts=GIVES_UP)
    slow = supervisor.start(remote(SlowAndBusy).options(max_concurrency=1), diary)
    other = supervisor.start(remote(Busy))
    running, waiting = slow.work.remote(), slow.work.remote()
    stopped = stop(slow)
    await asyncio.sleep(1)
    other.crash.tell()
    for ref in (running, waiting):
        with pytest.raises(ActorDiedError):
            await ref
    assert now() == 1
    assert await stopped
    assert (diary, now()) == (["stops", "has stopped"], 4)


@virtual_time
@pytest.mark.parametrize("seconds", [0, 0.5, 2.5])
async def test_who_is_stopped_as_it_goes_along_with_its_group_comes_to_the_end_of_its_on_stop(seconds: float) -> None:
    diary: list[str] = []
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        crashes, slow = supervisor.start(remote(Busy)), supervisor.start(remote(Slow), diary)
        await asyncio.sleep(1)
        kill(crashes, no_restart=False)
        await asyncio.sleep(seconds)
        assert await stop(slow)
        assert diary == ["stops", "has stopped"]
        await asyncio.sleep(10)
        assert supervisor.children == (crashes,)


@virtual_time
async def test_one_that_is_stopped_as_it_goes_along_with_its_group_refuses_calls_at_once() -> None:
    async with Supervisor(Strategy.ONE_FOR_ALL) as supervisor:
        crashes, slow = supervisor.start(remote(Busy)), supervisor.start(remote(Slow), [])
        await asyncio.sleep(1)
        kill(crashes, no_restart=False)
        await asyncio.sleep(1)
        stopped = stop(slow)
        with pytest.raises(ActorDiedError):
            await slow.crash.remote()
        assert now() == 2
        assert await stopped


class Crasher(Slow):
    async def on_start(self) -> None:
        context(self).supervisor().start(remote(Slow).options(name="kid"), self.diary)


class Grandparent(Busy):
    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def on_start(self) -> None:
        self.diary.append("begins")
        family = context(self).supervisor(restarts=GIVES_UP)
        family.start(remote(Crasher).options(name="parent"), self.diary)


@virtual_time
async def test_whoever_starts_afresh_after_a_give_up_finds_the_names_of_the_grandchildren_free() -> None:
    diary: list[str] = []
    grandparent = remote(Grandparent).options(max_restarts=1).remote(diary)
    await asyncio.sleep(1)
    get_actor("parent").crash.tell()
    await asyncio.sleep(10)
    assert diary == ["begins", "stops", "has stopped", "begins"]
    assert get_actor("kid") is not None
    await stop(grandparent)


@virtual_time
@pytest.mark.parametrize("end", [stop, kill])
async def test_who_ends_while_it_unwinds_leaves_no_children(end: Callable[[ActorHandle], object]) -> None:
    parent = remote(Crasher).options(max_restarts=3).remote([])
    await asyncio.sleep(1)
    parent.crash.tell()
    await asyncio.sleep(1)
    end(parent)
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match='no actor "kid"'):
        get_actor("kid")


@virtual_time
async def test_a_child_that_ends_its_supervisor_as_it_is_built_ends_too() -> None:
    supervisor = Supervisor()

    class Rebel(Busy):
        def __init__(self) -> None:
            supervisor.kill()

    rebel = supervisor.start(remote(Rebel))
    assert await stop(rebel) is False


@virtual_time
async def test_an_actor_keeps_no_supervisor_that_has_ended() -> None:
    class Parent:
        async def use(self) -> int:
            async with context(self).supervisor() as supervisor:
                supervisor.start(remote(Busy))
            return len(self.actor_inbox.families)  # type: ignore[attr-defined]

    parent = remote(Parent).remote()
    assert await asyncio.gather(*(parent.use.remote() for _ in range(3))) == [0, 0, 0]
    await stop(parent)


class Ends:
    """Wants the process to end, in one of its hooks or handlers."""

    def __init__(self, where: str, diary: list[str]) -> None:
        self.where = where
        self.diary = diary
        self.enter("init")

    def enter(self, place: str) -> None:
        self.diary.append(place)
        if place == self.where and (place not in {"init", "on_start"} or self.diary.count(place) == 2):
            raise SystemExit(7)

    def on_start(self) -> None:
        self.enter("on_start")

    def handler(self) -> None:
        self.enter("handler")

    async def async_handler(self) -> None:
        self.enter("async handler")

    def task(self) -> None:
        context(self).spawn(self.linked())

    async def linked(self) -> None:
        self.enter("task")

    def on_stop(self) -> None:
        self.enter("on_stop")

    def crash(self) -> None:
        raise ValueError("crash")


class Witness:
    def __init__(self, diary: list[str], name: str = "the witness") -> None:
        self.diary = diary
        self.name = name

    def on_stop(self) -> None:
        self.diary.append(f"{self.name} stops")


class Late(Witness):
    """Not up yet when the process is to end."""

    async def on_start(self) -> None:
        await asyncio.sleep(60)


every_loop = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


# The restart's own __init__ and on_start are the second ones.
@every_loop
@pytest.mark.parametrize("where", ["handler", "async handler", "task", "on_stop", "init", "on_start"])
def test_an_actor_may_end_the_process_and_the_others_still_run_their_on_stop(
    where: str, loop: Any, caplog: pytest.LogCaptureFixture
) -> None:
    diary: list[str] = []

    async def main() -> None:
        remote(Witness).remote(diary)
        ends: ActorHandle = remote(Ends).options(max_restarts=1).remote(where, diary)
        if where in {"init", "on_start"}:
            ends.crash.tell()
        elif where == "on_stop":
            stop(ends)
        else:
            getattr(ends, where.replace(" ", "_")).tell()
        await asyncio.sleep(60)

    with pytest.raises(SystemExit) as end, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert end.value.code == 7
    assert diary[-1] == "the witness stops"
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@every_loop
def test_when_the_process_ends_the_last_one_stops_first(loop: Any) -> None:
    diary: list[str] = []

    async def main() -> None:
        for name in "abc":
            remote(Witness).remote(diary, name)
        remote(Ends).remote("handler", []).handler.tell()
        await asyncio.sleep(60)

    with pytest.raises(SystemExit), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert diary == ["c stops", "b stops", "a stops"]


@every_loop
def test_one_that_is_not_yet_up_when_the_process_ends_has_no_on_stop(loop: Any) -> None:
    diary: list[str] = []

    async def main() -> None:
        remote(Late).remote(diary)
        remote(Ends).remote("handler", []).handler.tell()
        await asyncio.sleep(60)

    with pytest.raises(SystemExit), asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    assert diary == []


@virtual_time
async def test_a_supervisor_can_be_stopped_by_a_task_that_is_cancelled_and_stops_all_the_same() -> None:
    diary: list[str] = []
    for number in range(10):
        supervisor = Supervisor()
        child = supervisor.start(remote(Slow), diary)
        stopping = asyncio.create_task(supervisor.stop())
        await turns(number)
        stopping.cancel()
        await asyncio.wait([stopping])
        await supervisor.stop()
        assert await stop(child) is False
    assert diary == ["stops", "has stopped"] * 10
    assert all(state.status == "DEAD" for state in list_actors())
