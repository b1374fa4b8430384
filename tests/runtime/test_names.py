import asyncio
import copy
import gc
import pickle
import weakref
from typing import Any

import pykka
import pytest

from herd.runtime import ActorStatus, Identity, get_actor, kill, list_actors, remote, stop
from herd.runtime.probe import Probe
from herd.runtime.registry import REMEMBERED_DEAD
from herd.runtime.testing import virtual_time


class ModelQueue:
    async def hold(self) -> None:
        await asyncio.Event().wait()

    def note(self) -> None: ...


@virtual_time
async def test_a_handle_says_what_it_is() -> None:
    queue = remote(ModelQueue).options(name="queue:studio/llama3").remote()
    await queue.note.remote()
    assert repr(queue) == '<ActorHandle ModelQueue "queue:studio/llama3" alive>'
    assert repr(queue.note) == '<ActorMethod note of ModelQueue "queue:studio/llama3">'
    stopped = stop(queue)
    await stopped
    assert repr(queue) == '<ActorHandle ModelQueue "queue:studio/llama3" dead>'
    assert repr(remote(ModelQueue)) == "<ActorClass ModelQueue>"


@virtual_time
async def test_the_repr_of_the_plain_class_is_kept() -> None:
    class Named:
        def __repr__(self) -> str:
            return "<Named llama3>"

        def me(self) -> tuple[str, str]:
            return repr(self), str(self)

    named = remote(Named).remote()
    assert await named.me.remote() == ("<Named llama3>", "<Named llama3>")
    await stop(named)


@virtual_time
async def test_a_name_belongs_to_one_living_actor_of_a_namespace() -> None:
    first = remote(ModelQueue).options(name="q").remote()
    with pytest.raises(ValueError, match='there is an actor "q"'):
        remote(ModelQueue).options(name="q").remote()
    other = remote(ModelQueue).options(name="q", namespace="elsewhere").remote()
    assert get_actor("q") is first
    assert get_actor("q", "elsewhere") is other
    assert remote(ModelQueue).options(name="q", get_if_exists=True).remote() is first
    kill(first)
    again = remote(ModelQueue).options(name="q", get_if_exists=True).remote()
    assert again is not first
    assert get_actor("q") is again
    await asyncio.gather(stop(again), stop(other))
    with pytest.raises(ValueError, match='there is no actor "q"'):
        get_actor("q")


def test_each_event_loop_has_its_own_names() -> None:
    async def start() -> None:
        remote(ModelQueue).options(name="q").remote()

    asyncio.run(start())
    asyncio.run(start())


@virtual_time
async def test_list_actors_shows_the_living_and_the_last_dead() -> None:
    queue = remote(ModelQueue).options(name="q", max_concurrency=1).remote()
    refs = [queue.hold.remote(), queue.hold.remote()]
    await asyncio.sleep(0.1)
    queue.note.tell()
    (state,) = list_actors()
    assert state.identity == Identity("ModelQueue", "q", "default", 1)
    assert (state.status, state.queued, state.in_flight, state.pending) == (ActorStatus.ALIVE, 2, 1, 2)
    for ref in refs:
        ref.cancel()
    await stop(queue)
    for _ in range(REMEMBERED_DEAD + 1):
        kill(remote(ModelQueue).remote())
    assert [state.status for state in list_actors()] == [ActorStatus.DEAD] * REMEMBERED_DEAD


@pytest.mark.parametrize(
    "options", [{"max_concurrency": 0}, {"max_pending_calls": 0}, {"max_pending_calls": -2}, {"get_if_exists": True}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        remote(ModelQueue).options(**options)  # type: ignore[arg-type]


def test_an_actor_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        remote(ModelQueue).remote()


def test_only_handles_can_be_stopped_and_killed() -> None:
    with pytest.raises(TypeError, match="expected an ActorHandle"):
        kill("queue")  # type: ignore[arg-type]


def test_options_add_up() -> None:
    chosen = remote(ModelQueue, max_restarts=3).options(name="q").options(max_concurrency=2).chosen
    assert (chosen.max_restarts, chosen.name, chosen.max_concurrency) == (3, "q", 2)
    with pytest.raises(TypeError, match="patience"):
        remote(ModelQueue).options(patience=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="a name must have at least one character"):
        remote(ModelQueue).options(name="")


def test_actors_are_made_of_plain_classes() -> None:
    actors: Any = remote(ModelQueue)
    with pytest.raises(TypeError, match=r"subclass ModelQueue\.plain"):

        class Special(actors):  # type: ignore[misc]
            pass

    wrong: dict[str, Any] = {"is an actor class already": actors, "is no class": print, "another": pykka.ThreadingActor}
    for why, given in wrong.items():
        with pytest.raises(TypeError, match=why):
            remote(given)
        with pytest.raises(TypeError, match=why):
            Probe(given)


@virtual_time
async def test_a_class_without_an_init_takes_no_arguments() -> None:
    with pytest.raises(TypeError, match=r"ModelQueue\.__init__\(\) takes 1 positional argument but 2"):
        remote(ModelQueue).remote("surplus")


@virtual_time
async def test_a_copied_handle_is_the_handle_and_none_leaves_its_process() -> None:
    queue = remote(ModelQueue).options(name="q").remote()
    assert copy.copy(queue) is copy.deepcopy([queue])[0] is queue
    with pytest.raises(TypeError, match='ModelQueue "q" starting> cannot leave its process'):
        pickle.dumps(queue)
    with pytest.raises(ValueError, match='no actor "p" in the namespace "default"'):
        get_actor("p")
    await stop(queue)


@virtual_time
async def test_the_class_of_a_probe_is_forgotten_with_it() -> None:
    probe = Probe(ModelQueue)
    kind = weakref.ref(probe.handle.actor_ref.actor_class)
    await probe.stop()
    del probe
    await asyncio.sleep(0)
    gc.collect()
    assert kind() is None
