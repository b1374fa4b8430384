import asyncio

import pytest

from herd.runtime import ActorStatus, Identity, get_actor, kill, list_actors, remote, stop
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
