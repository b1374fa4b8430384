"""What `list_actors` shows of the actors of a loop, and what is logged of those that hold it."""

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.runtime import (
    ActorHandle,
    ActorState,
    ActorStatus,
    MethodState,
    RestartPolicy,
    Supervisor,
    Timer,
    context,
    exit_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime import dispatcher as dispatching
from herd.runtime import tallies as tallying
from herd.runtime.mailbox import BURST
from herd.runtime.registry import registry
from herd.runtime.tallies import HOLD_S, LOG_EVERY_S
from herd.runtime.testing import run_virtual, virtual_time
from tests.runtime.clock import now, pass_time, turns


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def state_of(handle: ActorHandle) -> ActorState:
    name = context_name(handle)
    (found,) = [state for state in list_actors() if str(state.identity) == name]
    return found


def context_name(handle: ActorHandle) -> str:
    return repr(handle).removeprefix("<ActorHandle ").rsplit(" ", 1)[0]


class Worker:
    def __init__(self, starts_after: float = 0.0, stops_after: float = 0.0) -> None:
        self.starts_after = starts_after
        self.stops_after = stops_after

    async def on_start(self) -> None:
        if self.starts_after:
            await asyncio.sleep(self.starts_after)

    async def on_stop(self) -> None:
        if self.stops_after:
            await asyncio.sleep(self.stops_after)

    def note(self) -> None: ...

    async def work(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def fail(self) -> None:
        raise ValueError("fail")

    async def fail_later(self, seconds: float = 1) -> None:
        await asyncio.sleep(seconds)
        raise ValueError("fail later")

    def tell_yourself(self, number: int) -> None:
        for _ in range(number):
            context(self).handle.note.tell()

    def see_yourself(self) -> ActorState:
        return state_of(context(self).handle)

    def kill_yourself(self) -> None:
        kill(context(self).handle)

    def leave(self) -> None:
        exit_actor()

    def tick_often(self) -> None:
        context(self).every(1, self.note)


def method(state: ActorState, name: str) -> MethodState:
    (found,) = [each for each in state.methods if each.name == name]
    return found


# --- Where it is in its life ------------------------------------------------------------------------------------------


@virtual_time
async def test_a_life_passes_through_its_states() -> None:
    supervisor = Supervisor(restarts=RestartPolicy(max_restarts=2, backoff=8, jitter=0))
    worker = supervisor.start(remote(Worker), 2, 3)
    seen = [state_of(worker).status]
    await asyncio.sleep(3)
    seen.append(state_of(worker).status)
    worker.fail.tell()
    await asyncio.sleep(1)
    seen.append(state_of(worker).status)  # its second on_start
    await asyncio.sleep(3)
    worker.fail.tell()
    await asyncio.sleep(4)
    seen.append(state_of(worker).status)  # waits for its third
    await asyncio.sleep(10)
    seen.append(state_of(worker).status)
    stopped = stop(worker)
    await asyncio.sleep(1)
    seen.append(state_of(worker).status)
    await stopped
    seen.append(state_of(worker).status)
    pending, alive, restarting, stopping, dead = ActorStatus
    assert seen == [pending, alive, restarting, restarting, alive, stopping, dead]
    assert state_of(worker).restarts == 2
    await supervisor.stop()


@virtual_time
async def test_messages_and_calls_are_counted_where_they_are() -> None:
    worker = remote(Worker).options(max_concurrency=2).remote(10)
    refs = [worker.work.remote(10) for _ in range(4)]
    worker.work.tell(10)
    worker.note.tell()

    def figures() -> tuple[int, int, int]:
        state = state_of(worker)
        return state.queued, state.in_flight, state.pending

    assert figures() == (6, 0, 4)
    await asyncio.sleep(11)
    assert figures() == (3, 2, 4)
    refs[3].cancel()
    await asyncio.sleep(1)
    assert figures() == (3, 2, 4)  # its place is free when its turn comes
    await asyncio.sleep(9)
    assert figures() == (0, 2, 1)
    await stop(worker)
    assert figures() == (0, 0, 0)


@virtual_time
async def test_an_actor_sees_what_waits_behind_the_message_that_it_handles() -> None:
    worker = remote(Worker).remote()
    await worker.note.remote()
    seeing = worker.see_yourself.remote()
    worker.note.tell()
    last = worker.note.remote()
    state = await seeing
    assert (state.queued, state.in_flight, state.pending) == (2, 0, 2)
    await last
    await stop(worker)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("end", ["stop", "kill", "fail", "leave", "kill_yourself"])
@pytest.mark.parametrize("limit", [1, 1000])
async def test_a_dead_actor_has_nothing_waiting_running_or_unanswered(end: str, limit: int) -> None:
    worker = remote(Worker).options(max_concurrency=limit).remote()
    refs = [worker.work.remote(5) for _ in range(3)]
    await asyncio.sleep(1)
    if end == "stop":
        stop(worker)
    elif end == "kill":
        kill(worker)
    else:
        getattr(worker, end).tell()
    refs += [worker.work.remote(5), worker.note.remote()]
    worker.note.tell()
    await asyncio.sleep(60)
    await asyncio.gather(*refs, return_exceptions=True)
    state = state_of(worker)
    assert (state.status, state.queued, state.in_flight, state.pending, state.oldest) == (ActorStatus.DEAD, 0, 0, 0, 0)


@virtual_time(allow_lost=True)
async def test_while_an_actor_stops_what_it_has_refused_is_not_unanswered() -> None:
    worker = remote(Worker).remote(0, 5)
    running = worker.work.remote(10)
    stop(worker)
    refused = [worker.note.remote() for _ in range(3)]
    await asyncio.sleep(1)
    state = state_of(worker)
    assert (state.status, state.in_flight, state.pending) == (ActorStatus.STOPPING, 1, 1)
    await asyncio.gather(running, *refused, return_exceptions=True)
    await stop(worker)


# --- What waits -------------------------------------------------------------------------------------------------------


@virtual_time
async def test_high_water_is_the_longest_that_the_mailbox_has_been() -> None:
    worker = remote(Worker).remote()
    await worker.note.remote()
    assert state_of(worker).high_water == 1
    for _ in range(2 * BURST):
        worker.note.tell()
    assert state_of(worker).high_water == 2 * BURST
    await asyncio.sleep(1)
    worker.note.tell()
    await worker.note.remote()
    assert (state_of(worker).queued, state_of(worker).high_water) == (0, 2 * BURST)
    await stop(worker)
    assert state_of(worker).high_water == 2 * BURST


@virtual_time
async def test_high_water_counts_what_an_actor_tells_itself_within_one_wake_up() -> None:
    worker = remote(Worker).remote()
    await worker.tell_yourself.remote(BURST // 2)
    await asyncio.sleep(1)
    assert state_of(worker).high_water == BURST // 2
    await stop(worker)


@virtual_time
async def test_oldest_is_exact_while_an_actor_starts() -> None:
    worker = remote(Worker).remote(10)
    await asyncio.sleep(1)
    assert state_of(worker).oldest == 0
    worker.note.tell()
    await asyncio.sleep(3)
    worker.note.tell()
    assert state_of(worker).oldest == 3
    await asyncio.sleep(7)
    assert (state_of(worker).queued, state_of(worker).oldest) == (0, 0)
    await stop(worker)


@virtual_time
async def test_oldest_is_exact_while_an_actor_waits_to_be_restarted() -> None:
    async with Supervisor(restarts=RestartPolicy(backoff=8, jitter=0)) as supervisor:
        worker = supervisor.start(remote(Worker), 1)
        await asyncio.sleep(2)
        for _ in range(2):
            worker.fail.tell()
            await asyncio.sleep(2)
        assert state_of(worker).status is ActorStatus.RESTARTING
        worker.note.tell()
        await asyncio.sleep(2)
        worker.note.tell()
        assert state_of(worker).oldest == 2
        await asyncio.sleep(10)
        assert state_of(worker).oldest == 0


@virtual_time
async def test_oldest_is_that_of_the_call_that_has_waited_for_room_for_the_longest() -> None:
    worker = remote(Worker).options(max_concurrency=1).remote()
    refs = [worker.work.remote(10)]
    for _ in range(2):
        await asyncio.sleep(2)
        refs.append(worker.work.remote(10))
    await asyncio.sleep(1)
    assert (now(), state_of(worker).oldest) == (5, 3)
    await asyncio.sleep(6)
    assert (now(), state_of(worker).oldest) == (11, 7)
    await asyncio.gather(*refs)
    assert state_of(worker).oldest == 0
    await stop(worker)


@virtual_time
async def test_what_waited_for_room_when_its_actor_crashed_is_not_taken_for_younger() -> None:
    async with Supervisor(restarts=RestartPolicy(backoff=8, jitter=0)) as supervisor:
        worker = supervisor.start(remote(Worker).options(max_concurrency=1))
        worker.fail.tell()  # so that the restart after the next crash is not at once
        await asyncio.sleep(1)
        running, waiting = worker.work.remote(100), worker.work.remote(0)
        await asyncio.sleep(4)
        worker.fail.tell()
        await asyncio.sleep(2)
        state = state_of(worker)
        assert (state.status, state.queued) == (ActorStatus.RESTARTING, 1)
        assert state.oldest >= 6
        await asyncio.gather(running, waiting, return_exceptions=True)


class Slow:
    """Each message takes its time, and is taken off the list of those that wait."""

    def __init__(self, came: deque[float]) -> None:
        self.came = came

    def take(self, seconds: float) -> None:
        self.came.popleft()
        pass_time(seconds)

    async def take_later(self, seconds: float) -> None:
        self.take(seconds)


bursts = st.lists(
    st.tuples(st.integers(0, 3 * BURST), st.integers(0, 3), st.booleans(), st.sampled_from([0.0, 0.5])),
    min_size=1,
    max_size=8,
)


@given(bursts)
@settings(max_examples=100)
def test_oldest_is_never_less_than_the_age_of_the_oldest_message(script: list[tuple[int, int, bool, float]]) -> None:
    async def main() -> None:
        came: deque[float] = deque()
        emptied = 0.0  # when the mailbox was empty for the last time
        slow = remote(Slow).remote(came)
        await asyncio.sleep(0)
        for number, rounds, is_async, seconds in script:
            if not state_of(slow).queued:
                emptied = now()
            for _ in range(number):
                came.append(now())
                (slow.take_later if is_async else slow.take).tell(0.01)
            for _ in range(rounds):
                state = state_of(slow)
                if state.queued:  # the others are tasks that have not taken their first step
                    assert now() - came[-state.queued] <= state.oldest <= now() - emptied + 1e-9
                else:
                    assert state.oldest == 0
                await asyncio.sleep(0)
            await asyncio.sleep(seconds)
        await stop(slow)

    run_virtual(main())


@virtual_time
async def test_oldest_of_a_backlog_that_never_ends_is_not_the_age_of_the_backlog() -> None:
    came: deque[float] = deque()
    slow = remote(Slow).remote(came)
    for _ in range(400):  # 64 come as 64 go
        for _ in range(BURST):
            came.append(now())
            slow.take.tell(0.01)
        if now() == 0:
            for _ in range(BURST):
                came.append(now())
                slow.take.tell(0.01)
        await asyncio.sleep(0)
        if came:
            assert now() - came[0] <= state_of(slow).oldest <= 3 * (now() - came[0]) + 3 * BURST * 0.01
    assert now() > 100
    await stop(slow)


# --- What has been done -----------------------------------------------------------------------------------------------


@virtual_time
async def test_handlers_are_counted_by_method_and_by_how_they_ended() -> None:
    worker = remote(Worker).remote()
    refs = [worker.fail.remote(), worker.fail_later.remote(), *(worker.note.remote() for _ in range(3))]
    refs += [worker.work.remote(1), worker.work.remote(100), worker.note.remote("too many")]
    worker.note.tell()
    await asyncio.sleep(10)
    refs[6].cancel()
    never = worker.note.remote()
    never.cancel()
    await asyncio.gather(*refs, return_exceptions=True)
    await worker.tick_often.remote()
    await asyncio.sleep(3.5)
    await stop(worker)
    state = state_of(worker)
    assert {each.name: (each.processed, each.failed) for each in state.methods if each.name != "note"} == {
        "fail": (1, 1),
        "fail_later": (1, 1),
        "work": (2, 0),  # one that was cancelled has ended too
        "tick_often": (1, 0),
    }
    notes = [each for each in state.methods if each.name == "note"]
    assert (sum(each.processed for each in notes), sum(each.failed for each in notes)) == (3 + 1 + 1 + 3, 1)
    assert (state.processed, state.failed) == (13, 3)


class Ticking:
    def __init__(self, timers: list[Timer]) -> None:
        self.timers = timers

    def begin(self, name: str) -> None:
        self.timers.append(context(self).after(0, getattr(self, name)))

    def note(self) -> None: ...

    def tick(self) -> None: ...

    async def tick_later(self) -> None: ...


@virtual_time
@pytest.mark.parametrize("name", ["tick", "tick_later"])
async def test_a_tick_that_is_cancelled_while_it_waits_is_no_handler_that_has_ended(name: str) -> None:
    timers: list[Timer] = []
    actor = remote(Ticking).remote(timers)
    await actor.begin.remote(name)
    for _ in range(5 * BURST):
        actor.note.tell()
    await turns(2)  # the tick waits behind the notes
    timers[0].cancel()
    await stop(actor)
    assert {each.name: each.processed for each in state_of(actor).methods if each.processed} == {
        "begin": 1,
        "note": 5 * BURST,
    }


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("name", ["fail", "fail_later"])
@pytest.mark.parametrize("restarts", [0, 1])
async def test_the_handler_that_an_actor_crashed_of_is_counted_as_ended_and_failed(name: str, restarts: int) -> None:
    worker = remote(Worker).options(max_restarts=restarts).remote()
    getattr(worker, name).tell()
    await asyncio.sleep(5)
    state = state_of(worker)
    assert state.restarts == restarts
    counts = method(state, name)
    assert (counts.processed, counts.failed) == (1, 1)
    await stop(worker)


@virtual_time
async def test_figures_go_on_over_a_restart() -> None:
    worker = remote(Worker).options(max_restarts=1).remote()
    await worker.note.remote()
    worker.fail.tell()
    await worker.note.remote()
    assert (method(state_of(worker), "note").processed, method(state_of(worker), "fail").failed) == (2, 1)
    await stop(worker)


class Spinner:
    """Holds the loop."""

    def briefly(self) -> None:
        spin(0.001)

    def longer(self) -> None:
        spin(0.004)

    async def in_steps(self) -> None:
        spin(0.002)
        await asyncio.sleep(0)
        spin(0.002)

    async def waits(self) -> None:
        await asyncio.sleep(0.005)


async def test_seconds_are_those_for_which_a_method_held_the_loop() -> None:
    spinner = remote(Spinner).remote()
    await asyncio.gather(*(getattr(spinner, name).remote() for name in ("briefly", "longer", "in_steps", "waits")))
    await stop(spinner)
    briefly, longer, in_steps, waits = (
        method(state_of(spinner), name) for name in ("briefly", "longer", "in_steps", "waits")
    )
    assert briefly.seconds >= 0.001
    assert longer.seconds >= 0.004
    assert in_steps.seconds >= 0.004
    assert 0.002 <= in_steps.longest < in_steps.seconds
    assert 0 < waits.seconds < 0.005
    assert longer.longest == pytest.approx(longer.seconds)


# --- What holds the loop ----------------------------------------------------------------------------------------------


class FakeClock:
    """In place of `perf_counter`: only what handlers say takes time."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def pass_ms(self, milliseconds: float) -> None:
        self.seconds += milliseconds / 1000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    for module in (tallying, dispatching):
        monkeypatch.setattr(module, "perf_counter", fake)
    return fake


class Holder:
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    def hold(self, milliseconds: float) -> None:
        self.clock.pass_ms(milliseconds)

    def hold_too(self, milliseconds: float) -> None:
        self.hold(milliseconds)

    async def hold_first(self, milliseconds: float) -> None:
        self.clock.pass_ms(milliseconds)
        await asyncio.sleep(1)

    async def hold_last(self, milliseconds: float) -> None:
        await asyncio.sleep(1)
        self.clock.pass_ms(milliseconds)

    async def hold_as_it_ends(self, milliseconds: float) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1000)
        self.clock.pass_ms(milliseconds)

    async def hold_in_two_steps(self, milliseconds: float) -> None:
        self.clock.pass_ms(milliseconds / 2)
        await asyncio.sleep(0)
        self.clock.pass_ms(milliseconds / 2)

    def hold_and_fail(self, milliseconds: float) -> None:
        self.clock.pass_ms(milliseconds)
        raise ValueError("on purpose")

    def hold_by_timer(self, milliseconds: float) -> None:
        context(self).after(1, self.hold, milliseconds)

    def on_receive(self, milliseconds: float) -> None:
        self.clock.pass_ms(milliseconds)

    def quick(self) -> None: ...


def watch_holds() -> None:
    registry().hold_limit = HOLD_S  # in virtual time it is off


def holds(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "held the loop" in record.getMessage()]


def new_holder(clock: FakeClock) -> ActorHandle:
    return remote(Holder).options(name="h").remote(clock)


@virtual_time
@pytest.mark.parametrize(
    ("called", "logged"),
    [
        ("hold", "hold"),
        ("hold_first", "hold_first"),
        ("hold_last", "hold_last"),
        ("hold_and_fail", "hold_and_fail"),
        ("hold_by_timer", "hold"),
    ],
)
async def test_a_handler_that_holds_the_loop_is_logged_with_its_actor_and_method(
    called: str, logged: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    await asyncio.gather(getattr(holder, called).remote(60), return_exceptions=True)
    await holder.quick.remote()
    await asyncio.sleep(5)
    assert holds(caplog) == [f'Holder "h": {logged} held the loop for 60 ms']
    await stop(holder)


@virtual_time
async def test_a_handler_that_holds_the_loop_as_it_is_cancelled_is_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    ref = holder.hold_as_it_ends.remote(60)
    await asyncio.sleep(1)
    ref.cancel()
    await stop(holder)
    assert holds(caplog) == ['Holder "h": hold_as_it_ends held the loop for 60 ms']


@virtual_time
async def test_a_free_form_message_that_holds_the_loop_is_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    holder.actor_ref.tell(60)
    await stop(holder)
    assert holds(caplog) == ['Holder "h": on_receive held the loop for 60 ms']


@virtual_time
async def test_what_lets_go_of_the_loop_in_time_is_not_logged(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    for name in ("hold", "hold_first", "hold_last", "hold_too", "hold_by_timer"):
        await getattr(holder, name).remote(49)
    await holder.hold_in_two_steps.remote(98)
    await asyncio.gather(*(holder.hold.remote(30) for _ in range(10)))  # others had their turn in between
    await stop(holder)
    assert holds(caplog) == []


@virtual_time
async def test_nobody_is_blamed_for_what_another_handler_took(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    other = remote(Holder).options(name="o").remote(clock)
    refs = [holder.quick.remote(), holder.hold.remote(60), holder.quick.remote(), other.quick.remote()]
    refs += [holder.hold_first.remote(70), other.hold_first.remote(1), holder.quick.remote(), other.quick.remote()]
    await asyncio.gather(*refs)
    assert sorted(holds(caplog)) == [
        'Holder "h": hold held the loop for 60 ms',
        'Holder "h": hold_first held the loop for 70 ms',
    ]
    await stop(holder)
    await stop(other)


@virtual_time
@pytest.mark.parametrize("name", ["hold", "hold_first", "hold_last"])
async def test_a_method_is_logged_once_in_ten_seconds_and_again_after_that(
    name: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    watch_holds()
    holder = new_holder(clock)
    for _ in range(20):
        await getattr(holder, name).remote(90)
    assert len(holds(caplog)) == 1
    await holder.hold_too.remote(80)  # each method has its own line
    assert len(holds(caplog)) == 2
    clock.pass_ms(LOG_EVERY_S * 1000)
    await getattr(holder, name).remote(70)  # it need not be worse than ever to be worth a line
    assert holds(caplog)[2:] == [f'Holder "h": {name} held the loop for 70 ms']
    await stop(holder)


@virtual_time
async def test_in_virtual_time_nobody_is_blamed_for_holding_the_loop(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    holder = new_holder(clock)
    await holder.hold.remote(60)
    await stop(holder)
    assert holds(caplog) == []


async def test_on_a_real_loop_a_busy_handler_is_found_out(caplog: pytest.LogCaptureFixture) -> None:
    registry().hold_limit = 0.003
    spinner = remote(Spinner).options(name="s").remote()
    await spinner.longer.remote()
    await stop(spinner)
    (line,) = [line for line in holds(caplog) if "longer" in line]
    assert line.startswith('Spinner "s": longer held the loop for ')


def test_the_handler_state_is_plain_data() -> None:
    async def main() -> Any:
        worker = remote(Worker).remote()
        await worker.note.remote()
        await stop(worker)
        return list_actors()

    (state,) = run_virtual(main())
    assert hash(state) == hash(state)
    assert state.processed == 1
