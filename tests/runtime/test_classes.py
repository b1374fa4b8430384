"""Class by class: how the living stand now, and what all have done that ever lived."""

import asyncio
from dataclasses import replace

import pytest

from herd.runtime import ActorDiedError, ActorHandle, ClassState, cancel, class_states, kill, remote, stop
from herd.runtime.testing import virtual_time
from tests.runtime.clock import pass_time, turns


class Lamp:
    def switch(self, seconds: float = 0.0) -> None:
        pass_time(seconds)

    def fuse(self) -> None:
        raise RuntimeError("blown")


class Door:
    async def knock(self) -> None:
        await asyncio.Event().wait()


def of(name: str, namespace: str | None = None) -> ClassState:
    """Without the seconds, which are measured by the machine's clock."""
    (found,) = [state for state in class_states(namespace) if state.class_name == name]
    return replace(found, seconds=0.0, longest=0.0)


def lamp(**options: int) -> ActorHandle:
    return remote(Lamp).options(**options).remote()  # type: ignore[arg-type]


@virtual_time
async def test_those_of_one_class_are_added_up() -> None:
    assert class_states() == ()
    first, second = lamp(), lamp()
    door = remote(Door).remote()
    await first.switch.remote()
    await second.switch.remote()
    second.switch.tell(3.0)
    second.switch.tell()
    knocking = door.knock.remote()
    await turns(2)

    assert [state.class_name for state in class_states()] == ["Door", "Lamp"]
    assert of("Lamp") == ClassState("Lamp", living=2, processed=4)
    assert of("Door") == ClassState("Door", living=1, in_flight=1)
    cancel(knocking)
    for one in (first, second, door):
        await stop(one)


@virtual_time
async def test_what_waits_is_counted_and_the_age_of_the_oldest() -> None:
    first, second = lamp(), lamp()
    await first.switch.remote()
    await second.switch.remote()
    first.switch.tell()
    pass_time(2.0)
    second.switch.tell()
    second.switch.tell()
    pass_time(1.0)

    assert of("Lamp") == ClassState("Lamp", living=2, queued=3, oldest=3.0, processed=2)
    for one in (first, second):
        await stop(one)


@virtual_time
async def test_what_the_dead_have_done_is_kept_and_how_they_stood_is_not() -> None:
    first = lamp(max_restarts=1)
    await first.switch.remote()
    with pytest.raises(RuntimeError, match="blown"):
        await first.fuse.remote()
    kill(first, no_restart=False)
    await first.switch.remote()
    seconds = [state.seconds for state in class_states()]
    waits = first.switch.remote()
    kill(first)
    with pytest.raises(ActorDiedError):
        await waits
    assert of("Lamp") == ClassState("Lamp", processed=3, failed=1, restarts=1)
    assert [state.seconds for state in class_states()] == seconds
    assert seconds[0] > 0

    second = lamp()
    await second.switch.remote()
    assert of("Lamp") == ClassState("Lamp", living=1, processed=4, failed=1, restarts=1)
    await stop(second)
    assert of("Lamp") == ClassState("Lamp", processed=4, failed=1, restarts=1)


@virtual_time
async def test_each_namespace_is_counted_for_itself() -> None:
    here = lamp()
    there = remote(Lamp).options(namespace="elsewhere").remote()
    await there.switch.remote()
    assert (of("Lamp").processed, of("Lamp", "elsewhere").processed) == (0, 1)
    assert class_states("nowhere") == ()
    await stop(here)
    await stop(there)
