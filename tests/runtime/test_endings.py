"""Ends in the middle of other ends: a kill while an actor goes down with its group, and the end of the process."""

import asyncio

import pytest

from herd.runtime import ActorHandle, RestartPolicy, Strategy, Supervisor, kill, list_actors, remote, stop
from herd.runtime.testing import virtual_time


class Slow:
    """Takes ten seconds to stop, and says when it is done with that."""

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


class Ends:
    """Wants the process to end, in one of its hooks or handlers."""

    def __init__(self, where: str, diary: list[str]) -> None:
        self.where = where
        self.diary = diary
        self.enter("init")

    def enter(self, place: str) -> None:
        self.diary.append(place)
        if place == self.where and (place in {"handler", "async handler"} or self.diary.count(place) == 2):
            raise SystemExit(7)

    def on_start(self) -> None:
        self.enter("on_start")

    def handler(self) -> None:
        self.enter("handler")

    async def async_handler(self) -> None:
        self.enter("async handler")

    def crash(self) -> None:
        raise ValueError("crash")


class Witness:
    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    def on_stop(self) -> None:
        self.diary.append("the witness stops")


# The restart's own __init__ and on_start are the second ones.
@pytest.mark.parametrize("where", ["handler", "async handler", "init", "on_start"])
def test_an_actor_may_end_the_process_and_the_others_still_stop_in_order(where: str) -> None:
    diary: list[str] = []

    async def main() -> None:
        remote(Witness).remote(diary)
        ends: ActorHandle = remote(Ends).options(max_restarts=1).remote(where, diary)
        if where in {"init", "on_start"}:
            ends.crash.tell()
        else:
            getattr(ends, where.replace(" ", "_")).tell()
        await asyncio.sleep(60)

    with pytest.raises(SystemExit) as end:
        asyncio.run(main())
    assert end.value.code == 7
    assert diary[-1] == "the witness stops"


@virtual_time
async def test_a_supervisor_can_be_stopped_by_a_task_that_is_cancelled_and_stops_all_the_same() -> None:
    diary: list[str] = []
    for turns in range(10):
        supervisor = Supervisor()
        child = supervisor.start(remote(Slow), diary)
        stopping = asyncio.create_task(supervisor.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait([stopping])
        await supervisor.stop()
        assert await stop(child) is False
    assert diary == ["stops", "has stopped"] * 10
    assert all(state.status == "DEAD" for state in list_actors())
