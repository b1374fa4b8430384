import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from herd.runtime import (
    ActorDiedError,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    TaskCancelledError,
    cancel,
    context,
    deadline,
    remote,
    stop,
    wait,
)
from herd.runtime.mailbox import BURST
from herd.runtime.testing import run_virtual, virtual_time
from herd.runtime.virtual import Deadlock
from tests.runtime.clock import turns


class Counter:
    def __init__(self, total: int = 0) -> None:
        self.total = total

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    def divide(self, n: int) -> int:
        return self.total // n

    def stop_iteration(self) -> None:
        raise StopIteration


class Gate:
    """Async handlers that wait until the gate is open, and a diary of what happened in which order."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.diary: list[str] = []

    async def enter(self, who: str) -> str:
        self.diary.append(f"{who} waits")
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.diary.append(f"{who} is sent away")
            raise
        self.diary.append(f"{who} is in")
        return who

    def note(self, what: str) -> None:
        self.diary.append(what)

    def open(self) -> None:
        self.opened.set()

    def read(self) -> list[str]:
        return list(self.diary)

    async def fail(self) -> None:
        raise ValueError("no such door")


@virtual_time
async def test_a_call_gives_an_answer_that_can_be_awaited_more_than_once() -> None:
    counter = remote(Counter).remote(40)
    ref = counter.add.remote(2)
    assert repr(ref) == "<ObjectRef Counter #1: add pending>"
    assert await ref == 42
    assert await ref == 42
    assert repr(ref) == "<ObjectRef Counter #1: add done>"
    await stop(counter)


@virtual_time
async def test_remote_is_a_decorator_too_and_keeps_the_plain_class_for_unit_tests() -> None:
    @remote
    class Doubler:
        def double(self, n: int) -> int:
            return 2 * n

    # Type checkers do not follow a class decorator that gives something else than a class.
    actors: Any = Doubler
    assert actors.plain().double(4) == 8
    with pytest.raises(TypeError, match=r"start it with Doubler.remote"):
        actors()
    doubler = actors.remote()
    assert await doubler.double.remote(4) == 8
    await stop(doubler)


@virtual_time
async def test_an_exception_goes_to_the_caller_and_the_actor_lives_on() -> None:
    counter = remote(Counter).remote(1)
    with pytest.raises(ZeroDivisionError):
        await counter.divide.remote(0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await counter.stop_iteration.remote()
    with pytest.raises(TypeError):
        await counter.add.remote("too", "many")
    assert await counter.divide.remote(1) == 1
    await stop(counter)


@virtual_time
async def test_an_exception_of_an_async_handler_goes_to_the_caller() -> None:
    gate = remote(Gate).remote()
    with pytest.raises(ValueError, match="no such door"):
        await gate.fail.remote()
    await stop(gate)


@virtual_time
async def test_a_failed_call_that_nobody_awaits_is_not_complained_about(caplog: pytest.LogCaptureFixture) -> None:
    counter = remote(Counter).remote(1)
    counter.divide.remote(0)
    assert await counter.add.remote(1) == 2
    await stop(counter)
    assert caplog.records == []


@virtual_time
async def test_only_public_methods_can_be_called_and_only_through_messages() -> None:
    counter = remote(Counter).remote()
    with pytest.raises(AttributeError, match="Counter has no method 'subtract'"):
        counter.subtract.remote(1)
    with pytest.raises(AttributeError):
        _ = counter._secret
    with pytest.raises(TypeError, match=r"use .remote"):
        counter.add(1)
    await stop(counter)


@virtual_time
async def test_handlers_start_in_the_order_of_their_messages_async_or_not() -> None:
    gate = remote(Gate).remote()
    first = gate.enter.remote("first")
    gate.note.tell("a note")
    second = gate.enter.remote("second")
    gate.note.tell("another")
    gate.open.tell()
    await asyncio.gather(first, second)
    diary = await gate.read.remote()
    assert diary[:4] == ["first waits", "a note", "second waits", "another"]
    await stop(gate)


@virtual_time
async def test_a_burst_gives_the_loop_its_turn() -> None:
    counter = remote(Counter).remote()
    await counter.add.remote(0)
    refs = [counter.add.remote(1) for _ in range(3 * BURST)]
    await asyncio.sleep(0)
    assert sum(ref.done() for ref in refs) == BURST
    await asyncio.gather(*refs)
    await stop(counter)


@virtual_time
async def test_beyond_max_concurrency_async_calls_wait_while_def_handlers_go_on() -> None:
    gate = remote(Gate).options(max_concurrency=1).remote()
    first, second, third = (gate.enter.remote(who) for who in ("first", "second", "third"))
    assert await gate.read.remote() == ["first waits"]
    second.cancel()  # one that waits for room never starts
    await gate.open.remote()
    assert await first == "first"
    assert await third == "third"
    assert await gate.read.remote() == ["first waits", "first is in", "third waits", "third is in"]
    await stop(gate)


@virtual_time
async def test_calls_beyond_max_pending_calls_fail_but_tells_and_stop_pass() -> None:
    gate = remote(Gate).options(max_pending_calls=2).remote()
    waiting = [gate.enter.remote("a"), gate.enter.remote("b")]
    with pytest.raises(PendingCallsLimitExceeded, match="Gate #1 has 2 unanswered calls"):
        await gate.read.remote()
    gate.note.tell("told")
    gate.open.tell()
    assert await asyncio.gather(*waiting) == ["a", "b"]
    assert "told" in await gate.read.remote()
    await stop(gate)


@virtual_time
async def test_a_cancelled_call_never_starts() -> None:
    counter = remote(Counter).remote()
    cancel(counter.add.remote(1))
    assert await counter.add.remote(0) == 0
    await stop(counter)


@virtual_time
@pytest.mark.parametrize("number", range(5))
async def test_a_cancelled_async_call_ends_at_its_await_or_never_starts(number: int) -> None:
    gate = remote(Gate).remote()
    ref = gate.enter.remote("guest")
    await turns(number)
    ref.cancel()
    with pytest.raises(TaskCancelledError, match="Gate #1: enter was cancelled"):
        await ref
    assert await gate.read.remote() in ([], ["guest waits", "guest is sent away"])
    await stop(gate)


@virtual_time
@pytest.mark.parametrize("together", [False, True])
async def test_cancelling_the_task_that_awaits_a_call_cancels_the_work(together: bool) -> None:
    gate = remote(Gate).remote()

    async def call() -> Any:
        return await (asyncio.gather(gate.enter.remote("guest")) if together else gate.enter.remote("guest"))

    caller = asyncio.create_task(call())
    await asyncio.sleep(1)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await gate.read.remote() == ["guest waits", "guest is sent away"]
    await stop(gate)


@virtual_time
async def test_of_two_tasks_that_await_a_call_the_cancelled_one_sees_its_own_cancellation_only() -> None:
    gate = remote(Gate).remote()
    ref = gate.enter.remote("guest")

    async def wait() -> Any:
        return await ref

    cancelled, bystander = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(1)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(TaskCancelledError):
        await bystander
    await stop(gate)


@virtual_time
async def test_asyncio_timeout_around_a_call_cancels_the_work() -> None:
    gate = remote(Gate).remote()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await gate.enter.remote("guest")
    assert await gate.read.remote() == ["guest waits", "guest is sent away"]
    await stop(gate)


@virtual_time
async def test_a_call_with_a_timeout_ends_in_time_and_its_work_is_cancelled() -> None:
    gate = remote(Gate).remote()
    hurried = gate.enter.options(timeout=3)
    with pytest.raises(GetTimeoutError, match=r"Gate #1: enter did not end within 3 s"):
        await hurried.remote("guest")
    assert asyncio.get_running_loop().time() == 3
    assert await gate.read.remote() == ["guest waits", "guest is sent away"]
    await gate.open.remote()
    assert await hurried.remote("quick") == "quick"
    await stop(gate)
    assert issubclass(GetTimeoutError, TimeoutError)


class Impatient:
    async def wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    def look(self) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        future.result()

    async def idle(self) -> None:
        await asyncio.sleep(60)


@virtual_time
async def test_a_handler_whose_own_wait_was_cancelled_ends_its_call() -> None:
    actor = remote(Impatient).remote()
    for method in (actor.wait, actor.look):
        with pytest.raises(TaskCancelledError):
            await method.remote()
    await stop(actor)


@virtual_time
@pytest.mark.parametrize("method", ["wait", "look"])
async def test_a_told_handler_whose_own_wait_was_cancelled_is_a_crash(method: str) -> None:
    actor = remote(Impatient).remote()
    getattr(actor, method).tell()
    with pytest.raises(ActorDiedError, match="awaited something that was cancelled"):
        await actor.idle.remote()


async def test_a_tell_from_another_thread_arrives() -> None:
    counter = remote(Counter).remote()
    await asyncio.to_thread(counter.add.tell, 5)
    assert await counter.add.remote(0) == 5
    await stop(counter)


def logged(method: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator as people write them: a `def` around whatever it wraps."""

    @functools.wraps(method)
    def wrapper(*args: Any) -> Any:
        return method(*args)

    return wrapper


class Wrapped:
    def __init__(self) -> None:
        self.done: list[str] = []

    @logged
    async def slow(self, what: str) -> str:
        await asyncio.sleep(1)
        self.done.append(what)
        return what

    def on_start(self) -> None:
        context(self).after(0.5, functools.partial(self.slow, "timed"))

    @logged
    def quick(self, what: str) -> str:
        self.done.append(what)
        return what

    def read(self) -> list[str]:
        return self.done


@virtual_time
async def test_a_handler_may_be_wrapped() -> None:
    wrapped = remote(Wrapped).remote()
    wrapped.slow.tell("told")
    both: list[str] = await asyncio.gather(wrapped.slow.remote("asked"), wrapped.quick.remote("quick"))
    assert both == ["asked", "quick"]
    assert await wrapped.read.remote() == ["quick", "told", "asked"]
    await asyncio.sleep(1)
    assert (await wrapped.read.remote())[3:] == ["timed"]
    await stop(wrapped)


@virtual_time
async def test_wait_takes_its_time_for_thousands() -> None:
    gate = remote(Gate).options(max_pending_calls=-1, max_concurrency=3000).remote()
    refs = [gate.enter.remote(str(number)) for number in range(3000)]
    opening = asyncio.get_running_loop().call_later(5, gate.open.tell)
    ready, others = await wait(refs, num_returns=3000)
    assert (len(ready), others, opening.cancelled()) == (3000, [], False)
    with pytest.raises(TypeError, match="takes a list of refs"):
        await wait(refs[0])  # type: ignore[arg-type]
    await stop(gate)


@pytest.mark.parametrize("timeout", [math.inf, None])
def test_a_call_without_an_end_to_its_patience_is_seen_to_wait_for_ever(timeout: float | None) -> None:
    async def main() -> None:
        await remote(Gate).remote().enter.options(timeout=timeout).remote("guest")

    with pytest.raises(Deadlock):
        run_virtual(main())


@virtual_time
async def test_no_number_is_no_timeout() -> None:
    gate = remote(Gate).remote()
    with pytest.raises(ValueError, match="a timeout must be a number"):
        gate.enter.options(timeout=math.nan)
    with pytest.raises(ValueError, match="a timeout must be a number"), deadline(math.nan):
        pass
    await stop(gate)
