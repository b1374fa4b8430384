"""What holds for a supervised group of three, whatever is done to it, whenever, and whoever's turn is next."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from herd.runtime import (
    ActorDiedError,
    ActorHandle,
    ActorState,
    ActorStatus,
    ActorUnavailableError,
    GetTimeoutError,
    ObjectRef,
    RestartPolicy,
    Strategy,
    Supervisor,
    TaskCancelledError,
    context,
    exit_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime.testing import run_virtual
from tests.runtime.clock import turns

OUTCOMES = (ActorDiedError, ActorUnavailableError, TaskCancelledError, GetTimeoutError)

# Less than UNWIND_S: what takes longer to unwind may meet the next incarnation.
STUBBORN_S = 2.0

Step = tuple[str, int, int]  # what, to which of the three, and how long, or how many, or which


class Boom(Exception):
    """What crashes here."""


@dataclass
class World:
    """What the actors of one run did, written down outside of them."""

    begun: list[tuple[int, str, int]] = field(default_factory=list)  # actor, sender, number of the message
    ended: list[int] = field(default_factory=list)  # numbers
    lives: Counter[int] = field(default_factory=Counter)
    active: Counter[int] = field(default_factory=Counter)  # async handlers, by actor
    wrong: list[str] = field(default_factory=list)
    handles: list[ActorHandle] = field(default_factory=list)


class Recorder:
    """Writes down what it does, and what ought not to be so."""

    def __init__(self, world: World, who: int, serial: bool) -> None:
        world.lives[who] += 1
        self.world = world
        self.who = who
        self.serial = serial
        self.life = world.lives[who]

    def begin(self, sender: str, number: int) -> None:
        world = self.world
        world.begun.append((self.who, sender, number))
        if self.life != world.lives[self.who]:
            world.wrong.append(f"message {number} is begun by an incarnation that has ended")
        status = world.handles[self.who]._cell.status
        if status not in (ActorStatus.ALIVE, ActorStatus.STOPPING):
            world.wrong.append(f"message {number} is begun by an actor that is {status}")

    def quick(self, sender: str, number: int) -> int:
        self.begin(sender, number)
        self.world.ended.append(number)
        return number

    async def slow(self, sender: str, number: int, seconds: float, stubborn: bool) -> int:
        self.begin(sender, number)
        active = self.world.active
        active[self.who] += 1
        if self.serial and active[self.who] > 1:
            self.world.wrong.append(f"message {number} is begun beside another one")
        try:
            await asyncio.sleep(seconds)
        finally:
            try:
                if stubborn:
                    await asyncio.sleep(STUBBORN_S)
            finally:
                active[self.who] -= 1
        self.world.ended.append(number)
        return number

    def crash(self) -> None:
        raise Boom

    async def crash_later(self) -> None:
        await asyncio.sleep(1)
        raise Boom

    def crash_by(self, way: int) -> None:
        match way:
            case 0:
                context(self).after(1, self.crash)
            case 1:
                context(self).spawn(self.crash_later())
            case 2:
                kill(context(self).handle, no_restart=False)
            case _:
                kill(self.world.handles[(self.who + 1) % 3], no_restart=False)

    def leave(self) -> None:
        exit_actor()


class SlowRecorder(Recorder):
    """The same with hooks that take their time."""

    async def on_start(self) -> None:
        await asyncio.sleep(1)

    async def on_stop(self) -> None:
        await asyncio.sleep(1)

    async def on_failure(self, *_what: Any) -> None:
        await asyncio.sleep(1)


class Relay:
    """Another sender."""

    def tell(self, other: ActorHandle, number: int) -> None:
        other.quick.tell("relay", number)

    async def ask(self, other: ActorHandle, number: int) -> int:
        answer: int = await other.quick.remote("relay", number)
        return answer


GENTLE = ["ask", "tell", "slow", "slow tell", "stubborn", "hurried", "relay", "relay ask", "cancel", "turns", "sleep"]
CRASHES = ["crash", "crash later", "crash by", "restart"]
ENDS = ["kill", "stop", "leave"]


def scripts(*whats: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(whats), st.integers(0, 2), st.integers(0, 3)), max_size=25)


@dataclass(frozen=True)
class Group:
    """How the three are kept, and whether chance says whose turn is next."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    kind: type[Recorder] = Recorder
    limit: int = 1000  # max_concurrency
    retries: int = 0
    restarts: int = -1
    shuffle: int | None = None


class Run:
    """One supervised group: what was asked of it, and what came back."""

    def __init__(self, group: Group) -> None:
        policy = RestartPolicy(max_restarts=group.restarts, backoff=1, max_backoff=2, jitter=0.5)
        self.world = World()
        self.supervisor = Supervisor(group.strategy, policy)
        self.relay = remote(Relay).remote()
        actors = remote(group.kind).options(max_concurrency=group.limit, max_task_retries=group.retries)
        self.world.handles = [self.supervisor.start(actors, self.world, who, group.limit == 1) for who in range(3)]
        self.refs: dict[int, ObjectRef[Any]] = {}
        self.cancelled: set[int] = set()
        self.receivers: dict[int, int] = {}
        self.told: list[int] = []
        self.ended: set[int] = set()  # actors that were stopped, killed, or told to leave

    @property
    def cells(self) -> list[Any]:
        return [handle._cell for handle in self.world.handles]

    async def step(self, number: int, what: str, who: int, value: int) -> None:
        other = self.world.handles[who]
        self.receivers[number] = who
        match what:
            case "ask":
                self.refs[number] = other.quick.remote("main", number)
            case "tell":
                other.quick.tell("main", number)
                self.told.append(number)
            case "slow" | "stubborn":
                self.refs[number] = other.slow.remote("main", number, value, what == "stubborn")
            case "slow tell":
                other.slow.tell("main", number, value, stubborn=False)
                self.told.append(number)
            case "hurried":
                self.refs[number] = other.slow.options(timeout=value).remote("main", number, 2.5, stubborn=False)
                self.cancelled.add(number)
            case "relay":
                self.relay.tell.tell(other, number)
                self.told.append(number)
            case "relay ask":
                self.refs[number] = self.relay.ask.remote(other, number)
            case "cancel" if self.refs:
                chosen = list(self.refs)[value % len(self.refs)]
                self.refs[chosen].cancel()
                self.cancelled.add(chosen)
            case "turns":
                await turns(value + who)
            case "sleep":
                await asyncio.sleep(value)
            case _:
                self.harm(what, who, value)

    def harm(self, what: str, who: int, value: int) -> None:
        other = self.world.handles[who]
        match what:
            case "crash":
                other.crash.tell()
            case "crash later":
                other.crash_later.tell()
            case "crash by":
                other.crash_by.tell(value)
            case "restart":
                kill(other, no_restart=False)
            case "kill":
                kill(other)
            case "stop":
                stop(other)
            case "leave":
                other.leave.tell()
        if what in ENDS:
            self.ended.add(who)


def live(script: list[Step], group: Group) -> tuple[Run, dict[int, Any], list[ActorState]]:
    """Returns the run, what its calls ended with, and the states of its living actors before they were stopped."""

    async def main() -> tuple[Run, dict[int, Any], list[ActorState]]:
        run = Run(group)
        for number, step in enumerate(script):
            await run.step(number, *step)
        answers = await asyncio.gather(*run.refs.values(), return_exceptions=True)
        await asyncio.sleep(100)
        states = [cell.state for cell in run.cells if cell.status is not ActorStatus.DEAD]
        handles = [cell.handle for cell in run.cells if cell.status is not ActorStatus.DEAD]
        assert list(run.supervisor.children) == handles
        await run.supervisor.stop()
        await stop(run.relay)
        begun = list(run.world.begun)
        await asyncio.sleep(100)
        assert run.world.begun == begun
        assert run.world.wrong == []
        assert not any(run.world.active.values())
        for state in list_actors():
            assert (state.status, state.pending, state.queued, state.in_flight) == (ActorStatus.DEAD, 0, 0, 0)
        return run, dict(zip(run.refs, answers, strict=True)), states

    return run_virtual(main(), allow_lost=True, shuffle=group.shuffle)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Thousands of crashes, each with its traceback, are no news here."""
    log = logging.getLogger("herd.runtime")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


everything = scripts(*GENTLE, *CRASHES, *ENDS)
all_but_ends = scripts(*GENTLE, *CRASHES)


def groups(
    *,
    limits: tuple[int, ...] = (1, 2, 1000),
    retries: tuple[int, ...] = (0,),
    restarts: tuple[int, ...] = (-1,),
) -> st.SearchStrategy[Group]:
    return st.builds(
        Group,
        strategy=st.sampled_from(list(Strategy)),
        kind=st.sampled_from([Recorder, SlowRecorder]),
        limit=st.sampled_from(limits),
        retries=st.sampled_from(retries),
        restarts=st.sampled_from(restarts),
        shuffle=st.none() | st.integers(0, 1000),
    )


@given(everything, groups(retries=(0, 1, -1), restarts=(0, 2, -1)))
@settings(max_examples=200)
@example([("slow", 0, 3), ("turns", 0, 1), ("restart", 0, 0)], Group())
def test_every_call_ends_once_and_all_accounts_are_empty_at_the_end(script: list[Step], group: Group) -> None:
    run, answers, states = live(script, group)
    for number, answer in answers.items():
        assert answer == number or isinstance(answer, OUTCOMES)
        if answer == number:
            assert number in run.world.ended
    for state in states:
        assert (state.pending, state.queued, state.in_flight) == (0, 0, 0)


@given(everything, groups())
@settings(max_examples=150)
def test_without_retries_no_message_is_begun_twice(script: list[Step], group: Group) -> None:
    run, answers, _ = live(script, group)
    begun = Counter(number for _, _, number in run.world.begun)
    assert not begun or max(begun.values()) == 1
    for number, answer in answers.items():
        if isinstance(answer, ActorUnavailableError) and script[number][0] != "relay ask":
            assert begun[number] == 1  # what had not begun waits for the next incarnation


@given(everything, groups(limits=(1000,)))
@settings(max_examples=150)
def test_messages_of_one_sender_are_begun_in_their_order_across_all_restarts(script: list[Step], group: Group) -> None:
    run, _, _ = live(script, group)
    for who in range(3):
        for sender in ("main", "relay"):
            begun = [number for actor, by, number in run.world.begun if (actor, by) == (who, sender)]
            assert begun == sorted(begun)


@given(everything, groups(limits=(1,), retries=(0, 1, -1)))
@settings(max_examples=150)
def test_async_handlers_of_a_serial_actor_do_not_interleave_not_even_across_a_restart(
    script: list[Step], group: Group
) -> None:
    live(script, group)  # what is wrong is looked at there


@given(all_but_ends, groups())
@settings(max_examples=150)
def test_crashes_lose_no_message_that_has_not_begun_and_keep_the_actors(script: list[Step], group: Group) -> None:
    run, answers, states = live(script, group)
    assert [state.status for state in states] == [ActorStatus.ALIVE] * 3
    begun = Counter(number for _, _, number in run.world.begun)
    for number in run.told:
        assert begun[number] == 1
    for number, answer in answers.items():
        assert not isinstance(answer, ActorDiedError)
        if number not in run.cancelled:
            assert begun[number] == 1


@given(everything, groups())
@settings(max_examples=100)
def test_only_who_is_ended_ends(script: list[Step], group: Group) -> None:
    run, answers, _ = live(script, group)
    for number, answer in answers.items():
        if isinstance(answer, ActorDiedError):
            assert run.receivers[number] in run.ended


@given(all_but_ends, groups(limits=(1000,), retries=(1, 2)))
@settings(max_examples=100)
def test_a_call_is_begun_at_most_once_more_than_it_may_be_retried_and_what_is_told_only_once(
    script: list[Step], group: Group
) -> None:
    run, answers, _ = live(script, group)
    begun = Counter(number for _, _, number in run.world.begun)
    for number, answer in answers.items():
        assert begun[number] <= 1 + group.retries
        if isinstance(answer, ActorUnavailableError) and script[number][0] in ("slow", "stubborn"):
            assert begun[number] == 1 + group.retries
    for number in run.told:
        assert begun[number] == 1


@given(everything, groups())
@settings(max_examples=30)
def test_a_run_repeats_itself(script: list[Step], group: Group) -> None:
    first, second = (live(script, group)[0].world for _ in range(2))
    assert (first.begun, first.ended) == (second.begun, second.ended)
