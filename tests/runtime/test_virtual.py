import asyncio
import socket
import threading

import pytest

from herd.runtime import ActorHandle, context, kill, remote, stop
from herd.runtime.testing import LeakError, run_virtual
from herd.runtime.virtual import Deadlock, VirtualTimeLoop


def test_hours_pass_at_once_and_in_order() -> None:
    async def main() -> tuple[list[int], float]:
        woken: list[int] = []

        async def sleep(hours: int) -> None:
            await asyncio.sleep(hours * 3600)
            woken.append(hours)

        await asyncio.gather(*(sleep(hours) for hours in (30, 1, 24, 2)))
        return woken, asyncio.get_running_loop().time()

    assert run_virtual(main()) == ([1, 2, 24, 30], 30 * 3600)


def test_a_virtual_day_of_a_five_second_timer_has_17280_ticks() -> None:
    class Clock:
        def __init__(self) -> None:
            self.ticks = 0

        def on_start(self) -> None:
            context(self).every(5, self.tick)

        def tick(self) -> None:
            self.ticks += 1

        def read(self) -> int:
            return self.ticks

    async def main() -> int:
        clock = remote(Clock).remote()
        await asyncio.sleep(24 * 3600 + 1)
        ticks: int = await clock.read.remote()
        await stop(clock)
        return ticks

    assert run_virtual(main()) == 17_280


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    async def main() -> None:
        asyncio.current_task().set_name("the philosopher")  # type: ignore[union-attr]
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="the philosopher"):
        run_virtual(main())


class Waiter:
    async def wait_for(self, other: ActorHandle | None) -> None:
        await (other.wait_for.remote(context(self).handle) if other else asyncio.Event().wait())

    def note(self) -> None: ...


def test_actors_that_wait_for_one_another_for_ever_are_a_deadlock() -> None:
    async def main() -> None:
        await (
            remote(Waiter)
            .options(max_concurrency=1)
            .remote()
            .wait_for.remote(remote(Waiter).options(max_concurrency=1).remote())
        )

    with pytest.raises(Deadlock):
        run_virtual(main())


def test_the_world_outside_is_refused() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="no executor in virtual time"):
            await asyncio.to_thread(print)
        with socket.socket() as sock, pytest.raises(RuntimeError, match="no sockets or pipes"):
            loop.add_reader(sock, print)
        refused: list[RuntimeError] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                refused.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert "no calls from other threads" in str(refused[0])
        called = asyncio.Event()
        loop.call_soon_threadsafe(called.set)  # from its own thread it may
        await called.wait()

    run_virtual(main())


def test_an_actor_left_alive_is_a_leak_unless_that_is_allowed() -> None:
    async def main() -> str:
        await remote(Waiter).options(name="idle").remote().note.remote()
        return "result"

    with pytest.raises(LeakError, match='<ActorHandle Waiter "idle" alive>, which was not stopped'):
        run_virtual(main())
    assert run_virtual(main(), allow_alive=True) == "result"


def test_an_unanswered_call_is_a_leak_always() -> None:
    async def main() -> None:
        remote(Waiter).remote().wait_for.remote(None)
        await asyncio.sleep(1)

    with pytest.raises(LeakError, match="with 1 unanswered calls, 1 running handlers"):
        run_virtual(main(), allow_alive=True)


def test_the_error_of_a_test_is_not_hidden_by_its_leaks() -> None:
    async def main() -> None:
        remote(Waiter).remote()
        raise KeyError("the real error")

    with pytest.raises(KeyError):
        run_virtual(main())


def test_a_killed_actor_is_no_leak() -> None:
    async def main() -> None:
        kill(remote(Waiter).remote())

    run_virtual(main())


def test_a_virtual_loop_can_be_made_and_closed_alone() -> None:
    VirtualTimeLoop().close()
