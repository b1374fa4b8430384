import asyncio
import gc
import logging
import weakref
from types import TracebackType
from typing import Any

import pykka
import pytest

from herd.runtime import (
    ActorDiedError,
    ActorStatus,
    TaskCancelledError,
    context,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime.testing import virtual_time


class Worker:
    """Writes down its life in a list that outlives it."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def on_start(self) -> None:
        self.diary.append("on_start")

    def on_stop(self) -> None:
        self.diary.append("on_stop")

    def on_failure(self, kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        assert traceback is not None
        self.diary.append(f"on_failure {kind.__name__} {value}")

    def note(self, what: str) -> None:
        self.diary.append(what)

    async def work(self, seconds: float) -> str:
        self.diary.append("work begins")
        try:
            await asyncio.sleep(seconds)
        finally:
            self.diary.append("work ends")
        return "done"

    def crash(self) -> None:
        raise ValueError("crash")

    async def crash_later(self) -> None:
        await asyncio.sleep(1)
        raise ValueError("crash later")

    def kill_yourself(self) -> None:
        kill(context(self).handle)

    def stop_yourself(self) -> None:
        stop(context(self).handle)


class SlowWorker:
    """All hooks are coroutines."""

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    async def on_start(self) -> None:
        await asyncio.sleep(10)
        self.diary.append("on_start")

    async def on_stop(self) -> None:
        await asyncio.sleep(10)
        self.diary.append("on_stop")

    async def on_failure(self, kind: type[BaseException], value: BaseException, traceback: Any) -> None:
        await asyncio.sleep(10)
        self.diary.append(f"on_failure {value}")

    async def on_receive(self, message: Any) -> None:
        await asyncio.sleep(10)
        self.diary.append(f"on_receive {message}")

    def note(self, what: str) -> None:
        self.diary.append(what)

    def crash(self) -> None:
        raise ValueError("crash")


@virtual_time(allow_lost=True)
async def test_an_ordered_stop_ends_what_came_before_it_and_refuses_what_comes_after() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    work = worker.work.remote(60)
    worker.note.tell("before")
    stopped = stop(worker)
    late = worker.work.remote(1)
    worker.note.tell("after")
    assert await stopped is True
    assert await work == "done"
    with pytest.raises(ActorDiedError):
        await late
    assert diary == ["on_start", "work begins", "before", "work ends", "on_stop"]
    assert await stop(worker) is False


@virtual_time
async def test_a_stop_waits_for_async_calls_that_wait_for_room() -> None:
    diary: list[str] = []
    worker = remote(Worker).options(max_concurrency=1).remote(diary)
    calls = [worker.work.remote(1) for _ in range(3)]
    given_up = worker.work.remote(1)
    assert await asyncio.gather(stop(worker), stop(worker), *calls[:2]) == [True, True, "done", "done"]
    assert await calls[2] == "done"
    assert await given_up == "done"
    assert diary.count("work ends") == 4


@virtual_time
async def test_a_stop_ends_although_the_calls_that_waited_for_room_were_cancelled() -> None:
    worker = remote(Worker).options(max_concurrency=1).remote([])
    worker.work.remote(5)
    waiting = worker.work.remote(5)
    stopped = stop(worker)
    await asyncio.sleep(1)
    waiting.cancel()
    assert await stopped is True
    assert asyncio.get_running_loop().time() == 5


class Tidy(Worker):
    """Has a task that takes three seconds to be cancelled."""

    def on_start(self) -> None:
        context(self).spawn(self.tidy())

    async def tidy(self) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3)
            self.diary.append("tidied")


@virtual_time
async def test_a_stop_waits_for_what_a_linked_task_does_as_it_is_cancelled() -> None:
    diary: list[str] = []
    worker = remote(Tidy).remote(diary)
    await worker.note.remote("up")
    await stop(worker)
    assert diary == ["up", "on_stop", "tidied"]
    assert asyncio.get_running_loop().time() == 3


@virtual_time
async def test_nobody_needs_to_await_a_stop() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    stop(worker).cancel()
    await asyncio.sleep(1)
    assert diary == ["on_start", "on_stop"]


@virtual_time
async def test_kill_ends_an_actor_at_once() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    work = worker.work.remote(60)
    await asyncio.sleep(1)
    fresh, queued = worker.work.remote(1), worker.note.remote("never")
    kill(worker)
    kill(worker)
    for ref in (work, fresh, queued):
        with pytest.raises(ActorDiedError):
            await ref
    await asyncio.sleep(0)
    assert diary == ["on_start", "work begins", "work ends"]
    assert asyncio.get_running_loop().time() == 1


@virtual_time
async def test_a_handler_may_end_its_own_actor() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    with pytest.raises(ActorDiedError):
        await worker.kill_yourself.remote()
    worker = remote(Worker).remote(diary)
    await worker.stop_yourself.remote()
    await stop(worker)
    assert diary == ["on_start", "on_start", "on_stop"]


@virtual_time
@pytest.mark.parametrize("method", ["crash", "crash_later"])
async def test_an_exception_in_a_told_handler_is_the_death_of_the_actor(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    work = worker.work.remote(60)
    getattr(worker, method).tell()
    with pytest.raises(ActorDiedError, match=r"Worker #1 died of ValueError") as failure:
        await work
    assert isinstance(failure.value.__cause__, ValueError)
    assert isinstance(failure.value, pykka.ActorDeadError)
    assert diary[:2] == ["on_start", "work begins"]
    assert f"on_failure ValueError {failure.value.__cause__}" in diary
    assert "on_stop" not in diary
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith("Unhandled exception in Worker #1 (urn:uuid:")
    assert record.exc_info is not None


@virtual_time
async def test_a_crash_during_an_ordered_stop_ends_the_stop_too() -> None:
    diary: list[str] = []
    worker = remote(Worker).remote(diary)
    worker.crash_later.tell()
    worker.work.remote(60)
    assert await stop(worker) is True
    assert asyncio.get_running_loop().time() == 1
    assert "on_failure ValueError crash later" in diary
    assert "on_stop" not in diary


@virtual_time
async def test_messages_wait_for_an_async_on_start() -> None:
    diary: list[str] = []
    worker = remote(SlowWorker).remote(diary)
    worker.note.tell("a note")
    await asyncio.sleep(9)
    assert (diary, repr(worker)) == ([], "<ActorHandle SlowWorker #1 starting>")
    await stop(worker)
    assert diary == ["on_start", "a note", "on_stop"]
    assert asyncio.get_running_loop().time() == 20


@virtual_time
async def test_an_actor_can_be_killed_while_it_starts_and_while_it_stops() -> None:
    diary: list[str] = []
    unborn, starting, stopping = (remote(SlowWorker).remote(diary) for _ in range(3))
    kill(unborn)
    await asyncio.sleep(5)
    kill(starting)
    stopped = stop(stopping)
    await asyncio.sleep(10)
    kill(stopping)
    assert await stopped is True
    await asyncio.sleep(60)
    assert diary == ["on_start"]


@virtual_time
async def test_on_failure_and_on_receive_may_be_coroutines() -> None:
    diary: list[str] = []
    worker = remote(SlowWorker).remote(diary)
    worker.actor_ref.tell("hello")
    await asyncio.sleep(30)
    worker.crash.tell()
    await asyncio.sleep(60)
    assert diary == ["on_start", "on_receive hello", "on_failure crash"]


@virtual_time
@pytest.mark.parametrize("hook", ["on_start", "on_stop", "on_failure"])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_hook_that_raises_is_logged_and_the_actor_is_dead(
    hook: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Any, *args: Any) -> None:
        raise OSError("broken hook")

    async def broken_later(self: Any, *args: Any) -> None:
        raise OSError("broken hook")

    def crash(self: Any) -> None:
        raise ValueError("crash")

    plain = type("Broken", (), {hook: broken_later if is_async else broken, "crash": crash})
    actor = remote(plain).remote()
    if hook == "on_failure":
        actor.crash.tell()
    await stop(actor)
    await asyncio.sleep(1)
    assert list_actors()[-1].status is ActorStatus.DEAD
    assert any("broken hook" in str(record.exc_info and record.exc_info[1]) for record in caplog.records)


@virtual_time
async def test_an_exception_in_init_comes_out_of_remote_and_leaves_nothing() -> None:
    class Stillborn:
        def __init__(self) -> None:
            context(self).after(1, self.never)
            raise ValueError("no")

        def never(self) -> None: ...

    with pytest.raises(ValueError, match="no"):
        remote(Stillborn).options(name="it").remote()
    with pytest.raises(ValueError, match="there is no actor"):
        get_actor("it")


@virtual_time
async def test_a_handler_that_fails_while_it_is_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy:
        async def work(self) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise OSError("stumbled")

    clumsy = remote(Clumsy).remote()
    ref = clumsy.work.remote()
    await asyncio.sleep(1)
    ref.cancel()
    with pytest.raises(TaskCancelledError):
        await ref
    await stop(clumsy)
    assert [record.getMessage() for record in caplog.records] == ["Clumsy #1: work failed after its call had ended"]


@virtual_time
async def test_a_dead_actor_is_let_go_of_although_its_handle_is_kept() -> None:
    class Mortal:
        def me(self) -> "weakref.ref[Any]":
            return weakref.ref(self)

    handle = remote(Mortal).remote()
    seen = await handle.me.remote()
    await stop(handle)
    await asyncio.sleep(0)
    gc.collect()
    assert seen() is None
