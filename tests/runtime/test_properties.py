"""What holds for an actor whatever its callers do, and whenever they do it."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime import ActorDiedError, GetTimeoutError, ObjectRef, TaskCancelledError, kill, remote, stop
from herd.runtime.testing import run_virtual
from tests.runtime.clock import turns


class Recorder:
    """Records every start and end of a handler."""

    def __init__(self, log: list[tuple[str, int]]) -> None:
        self.log = log

    def quick(self, number: int) -> int:
        self.log.append(("start", number))
        self.log.append(("end", number))
        return number

    async def slow(self, number: int, seconds: float) -> int:
        self.log.append(("start", number))
        try:
            await asyncio.sleep(seconds)
        finally:
            self.log.append(("end", number))
        return number


scripts = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["ask", "tell"]), st.just(0)),
        st.tuples(st.just("slow"), st.integers(0, 3)),  # seconds of work
        st.tuples(st.just("hurried"), st.integers(1, 3)),  # seconds of patience
        st.tuples(st.just("cancel"), st.integers(0, 20)),  # which call
        st.tuples(st.sampled_from(["turns", "sleep"]), st.integers(1, 3)),
    ),
    max_size=25,
)
endings = st.sampled_from(["stop", "kill"])
limits = st.sampled_from([1, 2, 1000])

OUTCOMES = (ActorDiedError, TaskCancelledError, GetTimeoutError)


class Run:
    """One life of a Recorder: what was asked of it, what came back, and what it did."""

    def __init__(self, limit: int) -> None:
        self.log: list[tuple[str, int]] = []
        self.actor = remote(Recorder).options(max_concurrency=limit).remote(self.log)
        self.refs: dict[int, ObjectRef[Any]] = {}
        self.told: list[int] = []
        self.answers: list[Any] = []

    async def step(self, number: int, what: str, value: Any) -> None:
        match what:
            case "ask":
                self.refs[number] = self.actor.quick.remote(number)
            case "tell":
                self.actor.quick.tell(number)
                self.told.append(number)
            case "slow":
                self.refs[number] = self.actor.slow.remote(number, value)
            case "hurried":
                self.refs[number] = self.actor.slow.options(timeout=value).remote(number, 2.5)
            case "cancel" if self.refs:
                list(self.refs.values())[value % len(self.refs)].cancel()
            case "turns":
                await turns(value)
            case "sleep":
                await asyncio.sleep(value)

    async def end(self, ending: str) -> None:
        if ending == "stop":
            await stop(self.actor)
        else:
            kill(self.actor)
        self.answers = await asyncio.gather(*self.refs.values(), return_exceptions=True)
        await asyncio.sleep(0)  # handlers that were cancelled run their last step

    def numbers(self, what: str) -> list[int]:
        return [number for entry, number in self.log if entry == what]


async def live(script: list[tuple[str, int]], ending: str, limit: int) -> Run:
    run = Run(limit)
    for number, (what, value) in enumerate(script):
        await run.step(number, what, value)
    await run.end(ending)
    return run


@given(scripts, endings, limits)
@settings(max_examples=100)
def test_every_call_has_one_outcome_and_nothing_runs_twice_or_after_the_end(
    script: list[tuple[str, int]], ending: str, limit: int
) -> None:
    run = run_virtual(live(script, ending, limit), allow_lost=ending == "kill")
    for number, answer in zip(run.refs, run.answers, strict=True):
        assert answer == number or isinstance(answer, OUTCOMES)
    started = run.numbers("start")
    assert len(started) == len(set(started))
    assert sorted(started) == sorted(run.numbers("end"))


@given(scripts, limits)
@settings(max_examples=100)
def test_an_ordered_stop_loses_nothing_that_came_before_it(script: list[tuple[str, int]], limit: int) -> None:
    run = run_virtual(live(script, "stop", limit))
    assert set(run.told) <= set(run.numbers("end"))
    assert not any(isinstance(answer, ActorDiedError) for answer in run.answers)


@given(scripts, endings)
@settings(max_examples=100)
def test_handlers_start_in_the_order_of_their_messages(script: list[tuple[str, int]], ending: str) -> None:
    started = run_virtual(live(script, ending, 1000), allow_lost=ending == "kill").numbers("start")
    assert started == sorted(started)


@given(scripts, endings)
@settings(max_examples=100)
def test_async_handlers_of_a_serial_actor_do_not_interleave(script: list[tuple[str, int]], ending: str) -> None:
    log = run_virtual(live(script, ending, 1), allow_lost=ending == "kill").log
    slow = [(what, number) for what, number in log if script[number][0] in ("slow", "hurried")]
    assert [what for what, _ in slow] == ["start", "end"] * (len(slow) // 2)
    assert [number for _, number in slow[::2]] == [number for _, number in slow[1::2]]
