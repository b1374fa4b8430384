"""What becomes of a call that its caller gives up, and what `wait` does to calls: nothing."""

import asyncio
import contextlib
from typing import Any

import pytest

from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    DeadLetterReason,
    TaskCancelledError,
    cancel,
    dead_letters,
    list_actors,
    remote,
    stop,
    wait,
)
from herd.runtime.testing import virtual_time
from tests.runtime.clock import now, turns


class Link:
    """One of a chain: asks the next, or works for long. Its diary outlives it."""

    def __init__(self, name: str, following: ActorHandle | None, diary: list[str]) -> None:
        self.name = name
        self.following = following
        self.diary = diary

    async def work(self, seconds: float = 100.0) -> str:
        self.diary.append(f"{self.name} begins")
        try:
            if self.following is None:
                await asyncio.sleep(seconds)
                answer = "worked"
            else:
                answer = await self.following.work.remote(seconds)
        except asyncio.CancelledError:
            self.diary.append(f"{self.name} cancelled")
            raise
        self.diary.append(f"{self.name} ends")
        return answer

    async def work_stubbornly(self) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(5)
            self.diary.append(f"{self.name} has tidied up")

    async def cancel_yourself(self, refs: list[Any]) -> str:
        cancel(refs[0])
        self.diary.append(f"{self.name} goes on to its next await")
        await asyncio.sleep(1)
        return "never"

    def note(self) -> str:
        self.diary.append(f"{self.name} notes")
        return "noted"


def chain(names: str, diary: list[str], **options: Any) -> list[ActorHandle]:
    """Actors that ask each other, the first one first."""
    actors: list[ActorHandle] = []
    for name in reversed(names):
        following = actors[0] if actors else None
        actors.insert(0, remote(Link).options(name=name, **options).remote(name, following, diary))
    return actors


async def stop_all(actors: list[ActorHandle]) -> None:
    for actor in actors:
        await stop(actor)


def counted() -> int:
    return sum(dead_letters().values())


# --- Cancelling -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_cancelling_a_ref_cancels_what_its_handler_awaits_three_actors_deep() -> None:
    diary: list[str] = []
    actors = chain("abc", diary)
    ref = actors[0].work.remote()
    await asyncio.sleep(1)
    cancel(ref)
    with pytest.raises(TaskCancelledError, match='Link "a": work was cancelled'):
        await ref
    await stop_all(actors)
    assert now() == 1
    assert sorted(diary) == ["a begins", "a cancelled", "b begins", "b cancelled", "c begins", "c cancelled"]
    assert counted() == 0  # all had begun


@virtual_time
@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("how", ["ref", "task", "timeout"])
async def test_at_whatever_turn_a_chain_is_cancelled_each_link_ends_or_never_begins(how: str, number: int) -> None:
    diary: list[str] = []
    actors = chain("abc", diary)

    async def ask() -> Any:
        return await actors[0].work.remote()

    if how == "task":
        task = asyncio.create_task(ask())
        await turns(number)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    elif how == "ref":
        ref = actors[0].work.remote()
        await turns(number)
        ref.cancel()
        with pytest.raises(TaskCancelledError):
            await ref
    else:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as patience:
                ref = actors[0].work.remote()
                await turns(number)
                patience.reschedule(0)
                await ref
    await asyncio.sleep(1)
    assert all(state.pending == state.in_flight == state.queued == 0 for state in list_actors())
    for name in "abc":
        assert [line for line in diary if line.startswith(name)] in ([], [f"{name} begins", f"{name} cancelled"])
    assert await actors[0].work.remote(1) == "worked"  # all are as before
    await stop_all(actors)


@virtual_time
@pytest.mark.parametrize("number", range(10))
async def test_a_cancelled_call_begins_or_is_one_dead_letter_at_whatever_turn(number: int) -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    ref = actor.work.remote()
    await turns(number)
    ref.cancel()
    with pytest.raises(TaskCancelledError):
        await ref
    await stop(actor)
    assert (diary, dead_letters()[DeadLetterReason.CANCELLED]) in (
        ([], 1),
        (["a begins", "a cancelled"], 0),
    )


@virtual_time
async def test_a_queued_call_that_is_cancelled_never_starts_and_its_neighbours_do() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    refs = [actor.note.remote() for _ in range(3)]
    cancel(refs[1])
    assert await asyncio.gather(*refs, return_exceptions=True) == ["noted", refs[1].exception(), "noted"]
    await stop(actor)
    assert (diary, counted()) == (["a notes", "a notes"], 1)


@virtual_time
async def test_a_call_that_waits_for_room_leaves_the_queue_when_it_is_cancelled() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary, max_concurrency=1)
    first, second, third = (actor.work.remote(1) for _ in range(3))
    await asyncio.sleep(0.5)
    second.cancel()
    assert list(await asyncio.gather(first, third)) == ["worked", "worked"]
    assert now() == 2
    await stop(actor)
    assert diary == ["a begins", "a ends"] * 2
    assert counted() == 1


@virtual_time
async def test_an_ended_call_cannot_be_cancelled() -> None:
    (actor,) = chain("a", [])
    answered, failed = actor.note.remote(), actor.note.remote("too much")
    await asyncio.gather(answered, failed, return_exceptions=True)
    assert (answered.cancel(), failed.cancel()) == (False, False)
    assert await answered == "noted"
    with pytest.raises(TypeError):
        await failed
    await stop(actor)
    assert counted() == 0


@virtual_time
async def test_cancelling_twice_is_cancelling_once() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    ref = actor.work.remote()
    await asyncio.sleep(1)
    ref.cancel()
    ref.cancel()
    await turns(1)
    ref.cancel()
    await stop(actor)
    assert isinstance(ref.exception(), TaskCancelledError)
    assert not ref.cancelled()
    assert diary == ["a begins", "a cancelled"]


@virtual_time
async def test_a_call_to_a_dead_actor_cannot_be_cancelled_any_more() -> None:
    (actor,) = chain("a", [])
    await stop(actor)
    ref = actor.note.remote()
    cancel(ref)
    with pytest.raises(ActorDiedError):
        await ref


@virtual_time
async def test_the_caller_does_not_wait_for_the_tidying_up_but_the_room_is_taken_until_then() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary, max_concurrency=1)
    stubborn, following = actor.work_stubbornly.remote(), actor.work.remote(1)
    await asyncio.sleep(1)
    stubborn.cancel()
    with pytest.raises(TaskCancelledError):
        await stubborn
    assert now() == 1
    assert await following == "worked"
    assert now() == 7
    assert diary == ["a has tidied up", "a begins", "a ends"]
    await stop(actor)


@virtual_time
async def test_a_handler_that_cancels_its_own_call_goes_on_to_its_next_await() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    refs: list[Any] = []
    refs.append(actor.cancel_yourself.remote(refs))
    with pytest.raises(TaskCancelledError):
        await refs[0]
    await stop(actor)
    assert now() == 0
    assert diary == ["a goes on to its next await"]


@virtual_time
async def test_of_two_callers_of_one_actor_the_other_one_is_not_cancelled() -> None:
    diary: list[str] = []
    (worker,) = chain("c", diary)
    first, second = (remote(Link).options(name=name).remote(name, worker, diary) for name in "ab")
    given_up, kept = first.work.remote(5), second.work.remote(5)
    await asyncio.sleep(1)
    given_up.cancel()
    assert await kept == "worked"
    assert now() == 5
    assert diary.count("c cancelled") == 1
    await stop_all([first, second, worker])


@virtual_time
async def test_in_a_task_group_the_failure_of_one_call_cancels_the_work_of_the_others() -> None:
    diary: list[str] = []
    actors = chain("ab", diary)

    async def ask(*wrong: Any) -> None:
        await actors[0].work.remote(*wrong)

    async def ask_all() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(100))
            await asyncio.sleep(1)
            group.create_task(ask("far", "too", "much"))

    with pytest.raises(ExceptionGroup) as failure:
        await ask_all()
    assert failure.group_contains(TypeError)
    await stop_all(actors)
    assert now() == 1
    assert sorted(diary) == ["a begins", "a cancelled", "b begins", "b cancelled"]


@virtual_time
async def test_a_shielded_call_goes_on() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    ref = actor.work.remote(5)

    async def ask() -> Any:
        return await asyncio.shield(ref)

    task = asyncio.create_task(ask())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ref == "worked"
    await stop(actor)


# --- wait -------------------------------------------------------------------------------------------------------------


async def works(*seconds: float) -> tuple[ActorHandle, list[Any]]:
    (actor,) = chain("a", [])
    return actor, [actor.work.remote(each) for each in seconds]


@virtual_time
async def test_wait_gives_the_first_that_ends_and_the_others() -> None:
    actor, (slow, quick, slower) = await works(3, 1, 5)
    assert await wait([slow, quick, slower]) == ([quick], [slow, slower])
    assert now() == 1
    assert await wait([slow, slower]) == ([slow], [slower])
    assert now() == 3
    await stop(actor)


@virtual_time
async def test_wait_gives_as_many_as_asked_for_in_the_order_of_the_refs() -> None:
    actor, refs = await works(4, 1, 3, 2, 9)
    assert await wait(refs, num_returns=3) == ([refs[1], refs[2], refs[3]], [refs[0], refs[4]])
    assert now() == 3
    await stop(actor)


@virtual_time
async def test_wait_gives_no_more_than_asked_for_although_more_have_ended() -> None:
    actor, refs = await works(1, 1, 1)
    await asyncio.gather(*refs)
    assert await wait(refs, num_returns=2) == (refs[:2], refs[2:])
    assert await wait(refs, num_returns=3) == (refs, [])
    await stop(actor)


@virtual_time
async def test_wait_is_over_after_its_timeout_with_those_that_have_ended() -> None:
    actor, refs = await works(5, 1, 9)
    assert await wait(refs, num_returns=3, timeout=6) == (refs[:2], refs[2:])
    assert now() == 6
    assert await wait(refs[2:], timeout=0) == ([], refs[2:])
    assert now() == 6
    await stop(actor)


@virtual_time
async def test_wait_counts_a_call_that_failed_or_was_cancelled_as_ended() -> None:
    actor, (cancelled, other) = await works(5, 9)
    failed = actor.work.remote("too", "much")
    cancelled.cancel()
    assert await wait([cancelled, failed, other], num_returns=2) == ([cancelled, failed], [other])
    await stop(actor)


@virtual_time
async def test_wait_cancels_nothing_neither_in_time_nor_late_nor_cancelled_itself() -> None:
    diary: list[str] = []
    (actor,) = chain("a", diary)
    refs = [actor.work.remote(seconds) for seconds in (2, 4, 6)]
    await wait(refs)
    await wait(refs, num_returns=3, timeout=1)
    waiting = asyncio.create_task(wait(refs, num_returns=3))
    await asyncio.sleep(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.gather(*refs) == ["worked"] * 3
    assert "a cancelled" not in diary
    await stop(actor)


@virtual_time
async def test_two_tasks_may_wait_for_the_same_calls() -> None:
    actor, refs = await works(1, 2)
    first, both = await asyncio.gather(wait(refs), wait(refs, num_returns=2))
    assert first == ([refs[0]], [refs[1]])
    assert both == (refs, [])
    await stop(actor)


@virtual_time
@pytest.mark.parametrize("number", [-1, 0, 3])
async def test_wait_refuses_to_wait_for_more_or_less_than_there_are(number: int) -> None:
    actor, refs = await works(1, 1)
    with pytest.raises(ValueError, match=f"num_returns must be from 1 to 2, the number of refs, not {number}"):
        await wait(refs, num_returns=number)
    with pytest.raises(ValueError, match="a ref is given twice"):
        await wait([refs[0], refs[1], refs[0]])
    assert await wait([]) == ([], [])
    await stop(actor)
