"""These actors are Pykka actors: what Pykka offers works on them, from other threads as it always does."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from herd.runtime import remote, stop
from herd.runtime._pykka import LoopActorRef, LoopFuture
from herd.runtime.actor import AsyncioActor


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.seen: list[Any] = []

    def add(self, n: int) -> int:
        self.total += n
        return self.total

    async def add_later(self, n: int) -> int:
        await asyncio.sleep(0)
        return self.add(n)

    def crash(self) -> None:
        raise ValueError("crash")

    def on_receive(self, message: Any) -> str:
        self.seen.append(message)
        return f"got {message}"

    def read(self) -> list[Any]:
        return self.seen


async def test_a_pykka_proxy_works_from_another_thread() -> None:
    counter = remote(Counter).remote()

    def use() -> None:
        proxy = counter.actor_ref.proxy()
        assert proxy.add(2).get() == 2
        assert proxy.add_later(3).get(timeout=5) == 5
        assert proxy.total.get() == 5
        proxy.total = 40
        proxy.add.defer(2)
        assert proxy.add(0).get() == 42
        assert pykka.get_all([proxy.add(0), proxy.total.map(lambda n: n + 1)]) == [42, 43]
        with pytest.raises(ValueError, match="crash"):
            proxy.crash().get()
        assert counter.actor_ref.ask("hello") == "got hello"
        assert counter.actor_ref.stop() is True
        assert counter.actor_ref.stop() is False
        assert not counter.actor_ref.is_alive()
        with pytest.raises(pykka.ActorDeadError):
            counter.actor_ref.tell("too late")
        with pytest.raises(pykka.ActorDeadError):
            counter.actor_ref.ask("too late")

    await asyncio.to_thread(use)


async def test_pykkas_registry_knows_the_living() -> None:
    counter = remote(Counter).remote()
    assert counter.actor_ref in pykka.ActorRegistry.get_by_class_name("Counter")
    assert counter.actor_ref in pykka.ActorRegistry.get_by_class(Counter)  # type: ignore[type-var]
    await stop(counter)
    assert counter.actor_ref not in pykka.ActorRegistry.get_all()


async def test_calls_that_would_freeze_the_loop_raise_at_once() -> None:
    counter = remote(Counter).remote()
    proxy = counter.actor_ref.proxy()
    answer = proxy.add(1)
    with pytest.raises(RuntimeError, match=r"Future.get\(\) on an unfinished future would freeze"):
        answer.get()
    with pytest.raises(RuntimeError, match=r"a blocking ask\(\) would freeze"):
        proxy.total = 7
    with pytest.raises(RuntimeError, match=r"a blocking stop\(\) would freeze"):
        counter.actor_ref.stop()
    assert await counter.add.remote(0) == 1
    await asyncio.sleep(0)
    assert answer.get() == 1
    await stop(counter)


async def test_a_message_that_is_no_call_goes_to_on_receive() -> None:
    counter = remote(Counter).remote()
    counter.actor_ref.tell({"free": "form"})
    assert await counter.read.remote() == [{"free": "form"}]
    await stop(counter)
    assert counter.actor_ref.actor_stopped.is_set()


class Classic(AsyncioActor):
    """Written as a Pykka actor, and started as one."""

    def __init__(self, stopped: asyncio.Event) -> None:
        super().__init__()
        self.stopped = stopped

    def on_stop(self) -> None:
        self.stopped.set()

    def finish(self) -> None:
        self.stop()


async def test_a_pykka_style_class_starts_with_pykkas_start() -> None:
    stopped = asyncio.Event()
    Classic.start(stopped).proxy().finish()
    await stopped.wait()


def decorated(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(method)
    def inner(self: Any) -> Any:
        return method(self)

    return inner


async def test_a_method_of_a_traversable_attribute_can_be_called() -> None:
    class Part:
        pykka_traversable = True

        def greet(self) -> str:
            return "hello"

        async def greet_later(self) -> str:
            return "hello later"

        @decorated
        async def greet_much_later(self) -> str:
            return "hello much later"

    class Whole:
        def __init__(self) -> None:
            self.part = Part()

    whole = remote(Whole).remote()

    def use() -> None:
        proxy = whole.actor_ref.proxy()
        assert proxy.part.greet().get() == "hello"
        assert proxy.part.greet_later().get() == "hello later"
        assert proxy.part.greet_much_later().get() == "hello much later"
        with pytest.raises(AttributeError):
            whole.actor_ref.ask(pykka.messages.ProxyCall(("part", "sing"), (), {}))

    await asyncio.to_thread(use)
    await stop(whole)


def test_of_pykkas_private_names_only_the_three_hooks_for_new_kinds_of_actors_are_used() -> None:
    hooks = {"_create_actor_inbox", "_create_future", "_start_actor_loop"}
    for ours, theirs in (
        (AsyncioActor, pykka.Actor),
        (LoopActorRef, pykka.ActorRef),
        (LoopFuture, pykka.ThreadingFuture),
    ):
        bases = [kind for kind in theirs.__mro__ if kind.__module__.startswith("pykka")]
        names = {name for kind in bases for name in (*vars(kind), *_names_in(kind)) if not name.startswith("__")}
        private = {name for name in names if name.startswith("_")} - {
            "_abc_impl"
        }  # that one is of the standard library
        assert private & {*vars(ours), *_names_in(ours)} <= hooks, ours


def _names_in(kind: type) -> set[str]:
    """Every attribute that the code of a class names."""
    functions = [member for member in vars(kind).values() if hasattr(member, "__code__")]
    return {name for function in functions for name in function.__code__.co_names}
