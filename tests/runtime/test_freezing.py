"""Nothing that blocks may be called on the loop's thread; from other threads everything works, as long as there is a
loop.
"""

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from herd.runtime import ActorDiedError, ActorHandle, context, kill, remote, stop
from herd.runtime.mailbox import BURST
from tests.runtime.clock import turns

# For what other threads do. None of it takes long; it is how long a defect may hang.
PATIENCE_S = 5.0


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.seen: list[Any] = []
        self.held = asyncio.Event()

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    async def hold(self) -> None:
        self.held.set()
        await asyncio.Event().wait()

    async def wait_for_a_holder(self) -> None:
        await self.held.wait()

    def note(self, thread: int, number: int) -> None:
        self.seen.append((thread, number))

    def read(self) -> list[Any]:
        return self.seen

    def ask_yourself(self) -> Any:
        return context(self).handle.actor_ref.ask("deadlock")

    async def ask_yourself_later(self) -> Any:
        return context(self).handle.actor_ref.proxy().add(1).get()

    def on_receive(self, message: Any) -> str:
        return f"got {message}"


class Beginner(Counter):
    async def on_start(self) -> None:
        await asyncio.Event().wait()


class Thread:
    """Runs `work` beside the loop, and keeps what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.outcome: Any = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self._work()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.outcome = error

    def join(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it hangs"
        return self.outcome


async def beside(work: Callable[[], Any]) -> Any:
    """What `work` gives in another thread, without holding the loop."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.to_thread(work)


# --- On the loop's thread ---------------------------------------------------------------------------------------------

FREEZING: dict[str, Callable[[ActorHandle], Any]] = {
    "get": lambda actor: actor.actor_ref.proxy().add(1).get(),
    "get_with_timeout": lambda actor: actor.actor_ref.proxy().add(1).get(timeout=0),
    "get_of_a_mapped_future": lambda actor: actor.actor_ref.proxy().add(1).map(lambda n: n + 1).get(),
    "get_of_joined_futures": lambda actor: (
        actor.actor_ref.proxy().add(1).join(actor.actor_ref.ask("hello", block=False)).get()
    ),
    "get_all": lambda actor: pykka.get_all([actor.actor_ref.ask("hello", block=False)]),
    "get_of_an_attribute": lambda actor: actor.actor_ref.proxy().total.get(),
    "ask": lambda actor: actor.actor_ref.ask("hello"),
    "ask_with_timeout": lambda actor: actor.actor_ref.ask("hello", timeout=0),
    "stop": lambda actor: actor.actor_ref.stop(),
    "stop_with_timeout": lambda actor: actor.actor_ref.stop(timeout=0),
    "setting_an_attribute": lambda actor: setattr(actor.actor_ref.proxy(), "total", 7),
    "actor_stopped.wait": lambda actor: actor.actor_ref.actor_stopped.wait(),
    "actor_stopped.wait_with_timeout": lambda actor: actor.actor_ref.actor_stopped.wait(0),
    "stop_all": lambda actor: pykka.ActorRegistry.stop_all(),
    "stop_all_block": lambda actor: pykka.ActorRegistry.stop_all(block=True, timeout=0),
}


@pytest.mark.parametrize("call", FREEZING.values(), ids=FREEZING)
async def test_on_the_loop_it_raises_at_once(call: Callable[[ActorHandle], Any]) -> None:
    counter = remote(Counter).remote()
    with pytest.raises(RuntimeError, match="would freeze the event loop of this thread: await "):
        call(counter)
    await counter.add.remote(0)
    assert counter.actor_ref.is_alive()
    await stop(counter)


async def test_awaiting_an_unfinished_pykka_future_raises_at_once() -> None:
    counter = remote(Counter).remote()
    future = counter.actor_ref.ask("hello", block=False)
    with pytest.raises(RuntimeError, match="awaiting an unfinished Pykka future would freeze the event loop"):
        await future
    await counter.add.remote(0)
    await asyncio.sleep(0)
    assert await future == "got hello"
    await stop(counter)


async def test_what_a_finished_future_holds_can_be_taken_on_the_loop() -> None:
    counter = remote(Counter).remote()
    answered, failed = counter.actor_ref.proxy().add(3), counter.actor_ref.proxy().add("x")
    with pytest.raises(TypeError):
        await counter.add.remote("x")
    await asyncio.sleep(0)
    assert answered.get() == 3
    assert answered.map(lambda n: n + 1).get() == 4
    assert answered.get(timeout=0) == 3  # more than once
    with pytest.raises(TypeError):
        failed.get()
    await stop(counter)


async def test_in_a_handler_it_is_the_handlers_error_and_the_actor_lives_on() -> None:
    counter = remote(Counter).remote()
    for method in (counter.ask_yourself, counter.ask_yourself_later):
        with pytest.raises(RuntimeError, match="would freeze"):
            await method.remote()
    assert await counter.add.remote(0) == 1  # the proxy's call was on its way
    await stop(counter)


async def test_what_does_not_block_may_be_called_on_the_loop() -> None:
    counter = remote(Counter).remote()
    ref = counter.actor_ref
    ref.tell("hello")
    proxy = ref.proxy()
    proxy.add.defer(2)
    total = proxy.total
    stopped = ref.stop(block=False)
    again = ref.stop(block=False)
    await stop(counter)
    late = ref.stop(block=False)
    await asyncio.sleep(0)
    assert (total.get(), stopped.get(), again.get(), late.get()) == (2, True, True, False)
    assert ref.actor_stopped.is_set()
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("hello", block=False).get()


async def test_stop_all_without_blocking_stops_all() -> None:
    counters = [remote(Counter).remote() for _ in range(3)]
    pykka.ActorRegistry.stop_all(block=False)
    assert await asyncio.gather(*map(stop, counters)) == [True] * 3
    assert not any(counter.actor_ref.is_alive() for counter in counters)


async def test_nothing_is_sent_when_a_call_is_refused() -> None:
    counter = remote(Counter).remote()
    with pytest.raises(RuntimeError):
        counter.actor_ref.stop()
    with pytest.raises(RuntimeError):
        counter.actor_ref.proxy().total = 7
    assert await counter.add.remote(0) == 0
    await stop(counter)


# --- From other threads -----------------------------------------------------------------------------------------------


async def test_tells_of_many_threads_all_arrive_each_threads_in_its_order() -> None:
    counter = remote(Counter).remote()

    def tell_all(thread: int) -> None:
        for number in range(100):
            counter.note.tell(thread, number)

    for running in [Thread(functools.partial(tell_all, thread)) for thread in range(4)]:
        await beside(running.join)
    seen = await counter.read.remote()
    assert len(seen) == 400
    for thread in range(4):
        assert [number for teller, number in seen if teller == thread] == list(range(100))
    await stop(counter)


async def test_asks_of_many_threads_all_are_answered() -> None:
    counter = remote(Counter).remote()
    proxy = counter.actor_ref.proxy()
    threads = [Thread(lambda: [proxy.add(1).get(timeout=PATIENCE_S) for _ in range(20)]) for _ in range(4)]
    answers = [answer for thread in threads for answer in await beside(thread.join)]
    assert sorted(answers) == list(range(1, 81))
    await stop(counter)


async def test_another_thread_may_wait_for_the_end_of_an_actor() -> None:
    counter = remote(Counter).remote()
    flag = counter.actor_ref.actor_stopped
    assert await beside(lambda: flag.wait(0.001)) is False
    waiting = Thread(lambda: flag.wait(PATIENCE_S))
    assert await beside(lambda: counter.actor_ref.stop(timeout=PATIENCE_S)) is True
    assert await beside(waiting.join) is True
    assert await beside(flag.wait) is True
    assert await beside(lambda: counter.actor_ref.stop()) is False


async def test_another_thread_that_asks_of_a_dying_actor_is_told() -> None:
    counter = remote(Counter).remote()
    asking = Thread(lambda: counter.actor_ref.proxy().hold().get(timeout=PATIENCE_S))
    await counter.wait_for_a_holder.remote()
    kill(counter)
    assert isinstance(await beside(asking.join), ActorDiedError)


async def test_the_timeout_of_another_thread_is_its_own_and_ends_nothing() -> None:
    counter = remote(Counter).remote()

    def impatient() -> Any:
        return counter.actor_ref.proxy().hold().get(timeout=0.001)

    with pytest.raises(pykka.Timeout):
        await beside(impatient)
    assert counter._cell.pending == 1
    kill(counter)


# --- When the loop is gone --------------------------------------------------------------------------------------------

SENDING: dict[str, Callable[[ActorHandle], Any]] = {
    "tell": lambda actor: actor.add.tell(1),
    "pykka_tell": lambda actor: actor.actor_ref.tell("hello"),
    "ask": lambda actor: actor.actor_ref.ask("hello", timeout=0.2),
    "ask_without_blocking": lambda actor: actor.actor_ref.ask("hello", block=False).get(timeout=0.2),
    "stop": lambda actor: actor.actor_ref.stop(timeout=0.2),
    "proxy": lambda actor: actor.actor_ref.proxy().add(1).get(timeout=0.2),
}


def left_alive(kind: type, begin: Callable[[ActorHandle], Any] | None) -> ActorHandle:
    """An actor whose loop has been closed, after `begin` in its last turn."""
    loop = asyncio.new_event_loop()

    async def main() -> ActorHandle:
        handle = remote(kind).remote()
        await turns(3)
        if begin is not None:
            begin(handle)
        return handle

    try:
        return loop.run_until_complete(main())
    finally:
        loop.close()


def flood(actor: ActorHandle) -> None:
    """More than one wake-up will handle."""
    for _ in range(3 * BURST):
        actor.add.tell(1)


LAST_TURNS: dict[str, Callable[[ActorHandle], Any] | None] = {
    "idle": None,
    "with_mail": flood,
}


@pytest.mark.parametrize("last_turn", LAST_TURNS.values(), ids=LAST_TURNS)
@pytest.mark.parametrize("send", SENDING.values(), ids=SENDING)
@pytest.mark.parametrize("same_thread", [False, True], ids=["other_thread", "same_thread"])
def test_after_the_loop_is_closed_a_message_is_a_clear_error_and_nothing_hangs(
    same_thread: bool, send: Callable[[ActorHandle], Any], last_turn: Callable[[ActorHandle], Any] | None
) -> None:
    actor = left_alive(Counter, last_turn)
    if same_thread and last_turn is not None and send is SENDING["tell"]:
        return  # where nobody waits, to ask the loop with each message would cost more than it tells
    if same_thread:
        with pytest.raises((RuntimeError, pykka.ActorDeadError), match=r"closed|dead|not found"):
            send(actor)
        return
    outcome = Thread(lambda: send(actor)).join()
    assert isinstance(outcome, RuntimeError | pykka.ActorDeadError)
    assert not isinstance(outcome, pykka.Timeout)


@pytest.mark.parametrize("kind", [Counter, Beginner], ids=["runs", "waits"])
def test_another_thread_that_asks_is_told_when_asyncio_run_ends(kind: type) -> None:
    threads: list[Thread] = []

    async def main() -> None:
        actor = remote(kind).remote()
        loop, came = asyncio.get_running_loop(), asyncio.Event()

        def ask() -> Any:
            future = actor.actor_ref.proxy().hold()
            loop.call_soon_threadsafe(came.set)  # behind the call
            return future.get(timeout=PATIENCE_S)

        threads.append(Thread(ask))
        await came.wait()

    asyncio.run(main())
    outcome = threads[0].join()
    assert isinstance(outcome, Exception)
    assert not isinstance(outcome, pykka.Timeout)


def test_a_blocking_ask_on_the_loops_thread_is_an_error_while_the_loop_does_not_run() -> None:
    loop = asyncio.new_event_loop()

    async def main() -> ActorHandle:
        return remote(Counter).remote()

    try:
        actor = loop.run_until_complete(main())
        with pytest.raises(RuntimeError, match="loop"):
            actor.actor_ref.ask("nobody would ever answer", timeout=0.05)
        loop.run_until_complete(asyncio.wait_for(_stopped(actor), PATIENCE_S))
    finally:
        loop.close()


async def _stopped(actor: ActorHandle) -> None:
    await stop(actor)
