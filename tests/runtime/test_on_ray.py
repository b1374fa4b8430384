"""The same code on this loop and on a real Ray cluster of this machine, with the same outcome."""

import asyncio
import importlib.util
import runpy
import threading
from collections.abc import Awaitable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    ActorStatus,
    ActorUnavailableError,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    TaskCancelledError,
    cancel,
    context,
    dead_letters,
    get_actor,
    kill,
    list_actors,
    remote,
    stop,
    wait,
)
from herd.runtime.dead_letters import DeadLetterReason
from herd.runtime.engine import Engine, LocalEngine, using

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "on_ray.py"

RAY = [pytest.mark.ray, pytest.mark.slow]
if importlib.util.find_spec("ray") is None:
    RAY.append(pytest.mark.skip(reason="needs Ray: pip install -e '.[ray]'"))


@pytest.fixture(scope="module")
def started_cluster() -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        on_ray = importlib.import_module("herd.runtime.on_ray")
        with on_ray.local_cluster() as engine:
            yield engine


@pytest.fixture(params=[pytest.param("ray", marks=RAY)])
def cluster(request: pytest.FixtureRequest) -> Engine:
    """For tests that are about Ray."""
    engine: Engine = request.getfixturevalue("started_cluster")
    return engine


@pytest.fixture(params=["local", pytest.param("ray", marks=RAY)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """For tests that have the same outcome on both."""
    chosen = LocalEngine() if request.param == "local" else request.getfixturevalue("started_cluster")
    with using(chosen):
        yield chosen


@pytest.fixture(scope="module")
def shared_worker(started_cluster: Engine, tmp_path_factory: pytest.TempPathFactory) -> ActorHandle:
    with using(started_cluster):
        return remote(Worker).remote(Diary(tmp_path_factory.mktemp("worker") / "diary"))


@pytest.fixture
def on_ray(cluster: Engine, request: pytest.FixtureRequest) -> ActorHandle:
    """A worker there, for tests that leave it as it is."""
    worker: ActorHandle = request.getfixturevalue("shared_worker")
    return worker


class Diary:
    """What actors write down, in whatever process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{line}\n")

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    async def has(self, line: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while self.lines.count(line) < times:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    return Diary(tmp_path / "diary")


class OutOfCoffee(LookupError):
    pass


class Worker:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.ready = False

    async def on_start(self) -> None:
        await asyncio.sleep(0.05)
        self.ready = True
        self.note("on_start")

    async def on_stop(self) -> None:
        await asyncio.sleep(0.05)
        self.note("on_stop")

    def note(self, line: str) -> None:
        self.diary.note(line)

    def is_ready(self) -> bool:
        return self.ready

    async def work(self, seconds: float, what: str = "work") -> str:
        self.note(f"{what} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.note(f"{what} is cancelled")
            raise
        self.note(f"{what} ends")
        return what

    async def fail(self) -> None:
        raise OutOfCoffee("none left", 3)

    async def have_work_done(self, other: Any, seconds: float) -> tuple[str, Any]:
        return await other.work.remote(seconds), other

    async def have_stopped(self, name: str) -> bool:
        return await stop(get_actor(name))

    async def threads(self) -> int:
        return threading.active_count()

    async def see_yourself(self) -> Any:
        return context(self)


async def awaited(ref: Awaitable[str]) -> str:
    return await ref


async def letters(count: int) -> None:
    async with asyncio.timeout(20):
        while sum(dead_letters().values()) < count:  # noqa: ASYNC110 - they come from another process
            await asyncio.sleep(0.01)


async def called_until_dead(worker: ActorHandle) -> None:
    while True:
        await worker.is_ready.remote()


async def test_a_queue_and_its_callers_are_the_same_on_both(cluster: Engine, tmp_path: Path) -> None:
    story = runpy.run_path(str(EXAMPLE))["story"]
    said = {}
    for engine in LocalEngine(), cluster:
        folder = tmp_path / type(engine).__name__
        folder.mkdir()
        with using(engine):
            said[type(engine).__name__] = await story(str(folder))

    assert said["LocalEngine"] == said["RayEngine"]
    assert said["RayEngine"][0] == "took job 0, job 1, job 2, job 3, job 4, job 5"


async def test_the_first_message_comes_after_on_start(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)

    assert await worker.is_ready.remote()
    await stop(worker)


async def test_a_stop_lets_what_runs_end_and_is_once_only(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(name="once").remote(diary)
    running = worker.work.remote(0.2)
    await diary.has("work begins")

    ends = stop(worker), stop(worker)

    assert [await end for end in ends] == [True, True]
    assert await running == "work"
    assert diary.lines == ["on_start", "work begins", "work ends", "on_stop"]
    assert not await stop(worker)
    with pytest.raises(ActorDiedError):
        await worker.is_ready.remote()
    with pytest.raises(ValueError, match="once"):
        get_actor("once")


async def test_names(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(name="known").remote(diary)

    assert get_actor("known") == worker
    assert remote(Worker).options(name="known", get_if_exists=True).remote(diary) == worker
    with pytest.raises(ValueError, match="known"):
        remote(Worker).options(name="known").remote(diary)
    with pytest.raises(ValueError, match="known"):
        get_actor("known", namespace="elsewhere")
    await stop(worker)
    successor = remote(Worker).options(name="known").remote(diary)
    assert successor != worker
    assert await successor.is_ready.remote()
    await stop(successor)


async def test_a_handler_s_exception_is_raised_as_it_is(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)

    with pytest.raises(OutOfCoffee) as caught:
        await worker.fail.remote()

    assert type(caught.value) is OutOfCoffee
    assert caught.value.args == ("none left", 3)
    assert await worker.is_ready.remote()
    await stop(worker)


async def test_a_kill_ends_what_runs(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(max_restarts=3).remote(diary)
    running = worker.work.remote(30)
    await diary.has("work begins")

    kill(worker)

    with pytest.raises(ActorDiedError):
        await running
    assert not await stop(worker)
    kill(worker)
    assert "on_stop" not in diary.lines


async def test_a_crash_interrupts_calls_that_may_not_be_retried(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(max_restarts=1).remote(diary)
    running = worker.work.remote(30)
    await diary.has("work begins")

    kill(worker, no_restart=False)

    with pytest.raises(ActorUnavailableError):
        await running
    kill(worker)


async def test_a_told_message_that_raises_crashes_its_actor(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(max_restarts=1, max_task_retries=3).remote(diary)
    worker.note.tell("told")
    await diary.has("told")

    worker.fail.tell()
    await diary.has("on_start", times=2)
    assert await worker.is_ready.remote()
    worker.fail.tell()
    with pytest.raises(ActorDiedError):
        await called_until_dead(worker)


async def test_cancelling_a_call_cancels_its_work(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)
    running = worker.work.remote(30)
    waiter = asyncio.create_task(awaited(worker.work.remote(30, "awaited")))
    await diary.has("work begins")
    await diary.has("awaited begins")

    cancel(running)
    waiter.cancel()

    with pytest.raises(TaskCancelledError, match="work was cancelled"):
        await running
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await diary.has("work is cancelled")
    await diary.has("awaited is cancelled")
    await stop(worker)


async def test_a_deadline_ends_the_call_and_those_that_it_led_to(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)
    boss = remote(Worker).remote(diary)
    await boss.have_work_done.remote(worker, 0)

    with pytest.raises(GetTimeoutError, match=r"have_work_done did not end within 0\.\d+ s"):
        await boss.have_work_done.options(timeout=0.3).remote(worker, 30)

    await diary.has("work is cancelled")
    assert await boss.is_ready.options(timeout=20).remote()
    await asyncio.gather(stop(boss), stop(worker))


async def test_wait(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)
    slow, quick = worker.work.remote(30), worker.work.remote(0)

    assert await wait([slow, quick]) == ([quick], [slow])
    assert await wait([slow], timeout=0.01) == ([], [slow])
    kill(worker)


async def test_actors_hold_handles_of_others_and_find_them(engine: Engine, diary: Diary) -> None:
    boss = remote(Worker).remote(diary)
    worker = remote(Worker).options(name="sent").remote(diary)

    assert await boss.have_work_done.remote(worker, 0) == ("work", worker)
    assert await boss.have_stopped.remote("sent")
    assert not await stop(worker)
    await stop(boss)


async def test_more_pending_calls_than_may_be_are_refused(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(max_pending_calls=2).remote(diary)
    taken = [worker.work.remote(30), worker.work.remote(30)]

    with pytest.raises(PendingCallsLimitExceeded):
        await worker.work.remote(0)

    kill(worker)
    await asyncio.gather(*taken, return_exceptions=True)


async def test_list_actors(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).options(name="listed").remote(diary)
    await worker.is_ready.remote()

    *_, last = list_actors()
    assert (last.identity.class_name, last.identity.name, last.status) == ("Worker", "listed", ActorStatus.ALIVE)

    await stop(worker)
    state = next(state for state in list_actors() if state.identity.name == "listed")
    assert state.status is ActorStatus.DEAD


async def test_what_is_misused_says_so(engine: Engine, diary: Diary) -> None:
    worker = remote(Worker).remote(diary)

    with pytest.raises(AttributeError, match="no method 'dance'"):
        worker.dance  # noqa: B018
    with pytest.raises(TypeError, match=r"use \.remote"):
        worker.is_ready()
    await stop(worker)


# --- On Ray only -----------------------------------------------------------------------------------------------------


async def test_a_handler_s_exception_has_the_other_process_s_traceback(on_ray: ActorHandle) -> None:
    with pytest.raises(OutOfCoffee) as caught:
        await on_ray.fail.remote()

    assert 'raise OutOfCoffee("none left", 3)' in str(caught.value.__cause__)


async def test_an_actor_that_cannot_start_is_dead_and_says_why(cluster: Engine, diary: Diary) -> None:
    with using(cluster):
        worker = remote(Worker).remote(diary, "one argument too many")

        with pytest.raises(ActorDiedError, match="positional argument"):
            await worker.is_ready.remote()
        assert not await stop(worker)


async def test_what_cannot_be_sent_is_refused(on_ray: ActorHandle) -> None:
    with pytest.raises(TypeError, match="pickle"):
        on_ray.note.remote(threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        on_ray.note.tell(threading.Lock())


async def test_handles_are_for_their_own_engine(cluster: Engine, on_ray: ActorHandle, diary: Diary) -> None:
    local = remote(Worker).remote(diary)

    with using(cluster), pytest.raises(TypeError, match="on Ray, not <ActorHandle"):
        stop(local)
    with pytest.raises(TypeError, match="an ActorHandle, not <RayHandle"):
        stop(on_ray)
    await stop(local)


async def test_told_messages_that_come_to_nothing_are_dead_letters(cluster: Engine, diary: Diary) -> None:
    with using(cluster):
        worker = remote(Worker).options(max_pending_calls=1).remote(diary)
        worker.work.tell(30)
        worker.note.tell("one too many")
        await diary.has("work begins")
        kill(worker)
        await letters(2)
        worker.note.tell("to the dead")
        await letters(3)

    assert dead_letters()[DeadLetterReason.FULL] == 1


async def test_concurrent_handlers_are_tasks_and_not_threads(on_ray: ActorHandle) -> None:
    assert await on_ray.threads.remote() < 100


async def test_there_is_no_context_on_ray(on_ray: ActorHandle) -> None:
    with pytest.raises(TypeError, match="runs on Ray"):
        await on_ray.see_yourself.remote()


def test_other_machines_do_not_reach_the_cluster(on_ray: ActorHandle) -> None:
    process, listening = psutil.Process(), set()
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # an idle worker may just have ended
            connections = member.net_connections("tcp")
            listening |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}

    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
