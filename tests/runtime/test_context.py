import asyncio

import pytest

from herd.runtime import ActorDiedError, ActorHandle, Timer, context, get_actor, remote, stop
from herd.runtime.testing import run_virtual, virtual_time
from herd.runtime.virtual import Deadlock
from tests.runtime.clock import now


class Clock:
    def __init__(self, period: float, slowness: float = 0.0) -> None:
        self.period = period
        self.slowness = slowness
        self.ticks: list[float] = []
        self.timer: Timer | None = None

    def on_start(self) -> None:
        method = self.tick_slowly if self.slowness else self.tick
        self.timer = context(self).every(self.period, method)

    def tick(self) -> None:
        self.ticks.append(now())

    async def tick_slowly(self) -> None:
        self.tick()
        await asyncio.sleep(self.slowness)

    def read(self) -> list[float]:
        return list(self.ticks)

    def cancel_timer(self) -> None:
        assert self.timer is not None
        self.timer.cancel()

    def later(self, seconds: float) -> None:
        context(self).after(seconds, self.ticks.append, -1.0)


@virtual_time
async def test_every_ticks_without_drift() -> None:
    clock = remote(Clock).remote(0.1)
    await asyncio.sleep(1000.05)
    ticks = await clock.read.remote()
    assert ticks == pytest.approx([n * 0.1 for n in range(1, 10_001)])
    await stop(clock)


@virtual_time
async def test_ticks_do_not_pile_up_while_a_handler_runs() -> None:
    clock = remote(Clock).remote(10, slowness=25)
    await asyncio.sleep(101)
    assert await clock.read.remote() == [10, 40, 70, 100]
    await stop(clock)


@virtual_time
async def test_a_tick_that_waits_in_the_mailbox_is_not_handled_once_its_timer_is_cancelled() -> None:
    clock = remote(Clock).remote(10)
    await asyncio.sleep(0)
    # Both fall due at the same moment: the loop puts the tick into the mailbox behind this cancellation.
    asyncio.get_running_loop().call_at(10, clock.cancel_timer.tell)
    await asyncio.sleep(50)
    ticks = await clock.read.remote()
    assert ticks in ([], [10])
    await stop(clock)


@virtual_time
async def test_after_ticks_once() -> None:
    clock = remote(Clock).remote(1000)
    clock.later.tell(7)
    await asyncio.sleep(6.9)
    assert await clock.read.remote() == []
    await asyncio.sleep(100)
    assert await clock.read.remote() == [-1.0]
    await stop(clock)


def test_a_timer_ends_with_its_actor() -> None:
    async def main() -> None:
        clock = remote(Clock).remote(1)
        await asyncio.sleep(1.5)
        await stop(clock)
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):  # nothing is left that could happen
        run_virtual(main())


@virtual_time
async def test_a_timer_handler_that_raises_is_the_death_of_the_actor() -> None:
    class Fragile:
        def on_start(self) -> None:
            context(self).after(1, self.crash)

        def crash(self) -> None:
            raise ValueError("tick")

        async def wait(self) -> None:
            await asyncio.sleep(60)

    with pytest.raises(ActorDiedError, match="died of ValueError"):
        await remote(Fragile).remote().wait.remote()


@virtual_time
async def test_a_period_must_be_positive() -> None:
    clock = remote(Clock).remote(0)
    with pytest.raises(ActorDiedError, match="more than 0 seconds"):
        await clock.read.remote()


class Parent:
    def __init__(self) -> None:
        self.log: list[str] = []

    async def child(self, seconds: float, crash: bool) -> None:
        try:
            await asyncio.sleep(seconds)
            if crash:
                raise ValueError("child")
            self.log.append("child done")
        except asyncio.CancelledError:
            self.log.append("child cancelled")
            raise

    def spawn(self, seconds: float, crash: bool = False) -> str:
        return context(self).spawn(self.child(seconds, crash), name="child").get_name()

    def read(self) -> list[str]:
        return self.log


@virtual_time
async def test_a_spawned_task_runs_beside_the_handlers_and_is_cancelled_with_the_actor() -> None:
    parent = remote(Parent).remote()
    assert await parent.spawn.remote(1) == "child"
    await parent.spawn.remote(60)
    await asyncio.sleep(2)
    log = await parent.read.remote()
    await stop(parent)
    assert log == ["child done", "child cancelled"]


@virtual_time
async def test_a_crash_of_a_spawned_task_is_the_crash_of_its_actor() -> None:
    parent = remote(Parent).remote()
    await parent.spawn.remote(1, crash=True)
    await asyncio.sleep(2)
    with pytest.raises(ActorDiedError, match="died of ValueError"):
        await parent.read.remote()


class Inner:
    def me(self) -> tuple[ActorHandle, str | None, str]:
        return context(self).handle, context(self).name, context(self).namespace


class Outer:
    def start_inner(self) -> ActorHandle:
        return remote(Inner).options(name="inner").remote()

    def find_inner(self) -> ActorHandle:
        return get_actor("inner")


@virtual_time
async def test_an_actor_knows_its_handle_and_inherits_the_namespace_of_its_parent() -> None:
    outer = remote(Outer).options(namespace="fleet-2").remote()
    inner = await outer.start_inner.remote()
    assert await inner.me.remote() == (inner, "inner", "fleet-2")
    assert await outer.find_inner.remote() is inner
    with pytest.raises(ValueError, match='no actor "inner"'):
        get_actor("inner")
    assert get_actor("inner", namespace="fleet-2") is inner
    await stop(inner)
    await stop(outer)


@virtual_time
async def test_a_dead_actor_gets_no_timers_and_no_tasks() -> None:
    kept = []

    class Keeper:
        def on_start(self) -> None:
            kept.append(context(self))

        async def idle(self) -> None: ...

    keeper = remote(Keeper).remote()
    await stop(keeper)
    with pytest.raises(ActorDiedError):
        kept[0].after(1, print)
    with pytest.raises(ActorDiedError):
        kept[0].spawn(Keeper().idle())


def test_a_plain_instance_has_no_context() -> None:
    with pytest.raises(TypeError, match="does not run as an actor"):
        context(Inner())
