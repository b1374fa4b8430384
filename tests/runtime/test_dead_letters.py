"""No message is lost unseen: each that no handler was started for is counted, once, and said, but not too often."""

import asyncio
import contextlib
import functools
import logging
import traceback
from collections import Counter
from typing import Any

import pykka
import pytest

from herd.runtime import (
    ActorDiedError,
    ActorUnavailableError,
    DeadLetterReason,
    GetTimeoutError,
    PendingCallsLimitExceeded,
    TaskCancelledError,
    context,
    dead_letters,
    exit_actor,
    kill,
    list_actors,
    remote,
    stop,
)
from herd.runtime.dead_letters import LOG_EVERY_S, DeadLetters
from herd.runtime.registry import registry
from herd.runtime.testing import LeakError, run_virtual, virtual_time
from tests.runtime.clock import turns

DEAD, FULL, EXPIRED, CANCELLED, KILLED = DeadLetterReason


def counts() -> dict[DeadLetterReason, int]:
    """Those that are not zero."""
    return {reason: count for reason, count in dead_letters().items() if count}


def lost() -> int:
    return registry().letters.lost


class Desk:
    """Takes letters."""

    def __init__(self, handled: list[Any] | None = None, opens_after: float = 0.0) -> None:
        self.handled = [] if handled is None else handled
        self.opens_after = opens_after

    async def on_start(self) -> None:
        if self.opens_after:
            await asyncio.sleep(self.opens_after)

    def note(self, what: Any = None) -> None:
        self.handled.append(what)

    async def work(self, seconds: float = 100.0, what: Any = None) -> None:
        self.handled.append(what)
        await asyncio.sleep(seconds)

    def crash(self) -> None:
        raise ValueError("crash")

    def leave(self) -> None:
        exit_actor()

    def tick_often(self) -> None:
        context(self).every(1, self.note)


class Reader(Desk):
    def on_receive(self, message: Any) -> None:
        self.handled.append(message)


# --- Every reason -----------------------------------------------------------------------------------------------------


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("end", [stop, kill])
async def test_dead_is_what_comes_after_the_end(end: Any) -> None:
    desk = remote(Desk).remote()
    await desk.note.remote()
    end(desk)
    await asyncio.sleep(1)
    for method in (desk.note, desk.work):
        with pytest.raises(ActorDiedError):
            await method.remote()
        method.tell()
    assert (counts(), lost()) == ({DEAD: 4}, 2)


@virtual_time(allow_lost=True)
async def test_dead_is_what_was_queued_behind_an_ordered_stop_and_what_comes_while_it_lasts() -> None:
    handled: list[Any] = []
    desk = remote(Desk).remote(handled)
    desk.work.remote(10, "before")
    stopped = stop(desk)
    behind = desk.note.remote("behind")
    desk.note.tell("behind too")
    await asyncio.sleep(1)
    during = desk.note.remote("during")
    desk.work.tell(1, "during too")
    await stopped
    for ref in (behind, during):
        assert isinstance(ref.exception(), ActorDiedError)
    assert (handled, counts(), lost()) == (["before"], {DEAD: 4}, 2)


@virtual_time(allow_lost=True)
async def test_dead_is_what_waits_when_an_actor_leaves() -> None:
    handled: list[Any] = []
    desk = remote(Desk).remote(handled)
    leaving, queued = desk.leave.remote(), desk.note.remote("never")
    desk.note.tell("never")
    for ref in (leaving, queued):
        with pytest.raises(ActorDiedError, match="has left by exit_actor"):
            await ref
    await stop(desk)
    assert (handled, counts(), lost()) == ([], {DEAD: 2}, 1)


@virtual_time(allow_lost=True)
async def test_dead_is_what_waits_for_room_when_an_actor_leaves() -> None:
    handled: list[Any] = []
    desk = remote(Desk).options(max_concurrency=1).remote(handled)
    running, waiting = desk.work.remote(10, "runs"), desk.work.remote(10, "waits")
    desk.work.tell(10, "waits too")
    await asyncio.sleep(1)
    desk.leave.tell()
    with pytest.raises(ActorDiedError, match="has left by exit_actor"):
        await waiting
    assert asyncio.get_running_loop().time() == 1
    await running
    await stop(desk)
    assert (handled, counts(), lost()) == (["runs"], {DEAD: 2}, 1)


@virtual_time
async def test_full_is_a_call_beyond_the_limit() -> None:
    desk = remote(Desk).options(max_pending_calls=1).remote()
    work = desk.work.remote(1)
    for _ in range(2):
        with pytest.raises(PendingCallsLimitExceeded):
            await desk.note.remote()
    desk.note.tell()
    await work
    await stop(desk)
    assert (counts(), lost()) == ({FULL: 2}, 0)


@virtual_time
async def test_expired_is_a_call_whose_time_was_over_before_its_turn() -> None:
    handled: list[Any] = []
    desk = remote(Desk).options(max_concurrency=1).remote(handled, 10)
    queued = desk.note.options(timeout=1).remote("never")
    desk.work.remote(10, "work")
    waits = desk.work.options(timeout=11).remote(0, "never")
    for ref in (queued, waits):
        with pytest.raises(GetTimeoutError):
            await ref
    await stop(desk)
    assert (handled, counts(), lost()) == (["work"], {EXPIRED: 2}, 0)


@virtual_time
async def test_cancelled_is_a_call_that_was_given_up_before_its_turn() -> None:
    handled: list[Any] = []
    desk = remote(Desk).options(max_concurrency=1).remote(handled)
    queued = desk.note.remote("never")
    queued.cancel()
    desk.work.remote(10, "work")
    waits = desk.work.remote(10, "never")
    await asyncio.sleep(1)
    waits.cancel()
    for ref in (queued, waits):
        with pytest.raises(TaskCancelledError):
            await ref
    await stop(desk)
    assert (handled, counts(), lost()) == (["work"], {CANCELLED: 2}, 0)


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("crash", [False, True])
async def test_killed_is_what_waits_and_what_was_told_and_runs_when_an_actor_dies(crash: bool) -> None:
    handled: list[Any] = []
    desk = remote(Desk).options(max_concurrency=2).remote(handled)
    running = desk.work.remote(100, "asked and runs")
    desk.work.tell(100, "told and runs")
    room = desk.work.remote(100, "asked and waits for room")
    desk.work.tell(100, "told and waits for room")
    await asyncio.sleep(1)
    if crash:
        desk.crash.tell()
    queued = desk.note.remote("asked and queued")
    desk.note.tell("told and queued")
    if crash:
        await asyncio.sleep(1)
    else:
        kill(desk)
    for ref in (running, room, queued):
        assert isinstance(ref.exception(), ActorDiedError)
    assert (handled, counts(), lost()) == (["asked and runs", "told and runs"], {KILLED: 5}, 3)


@virtual_time(allow_lost=True)
async def test_killed_is_what_a_crash_breaks_off_but_not_what_waits_for_the_next_incarnation() -> None:
    handled: list[Any] = []
    desk = remote(Desk).options(max_restarts=1, max_concurrency=2).remote(handled)
    running = desk.work.remote(100, "asked and runs")
    desk.work.tell(100, "told and runs")
    room = desk.work.remote(1, "asked and waits for room")
    await asyncio.sleep(1)
    desk.crash.tell()
    desk.note.tell("told and queued")
    with pytest.raises(ActorUnavailableError):
        await running
    await room
    await stop(desk)
    assert (counts(), lost()) == ({KILLED: 1}, 1)
    assert Counter(handled) == Counter(
        ["asked and runs", "told and runs", "asked and waits for room", "told and queued"]
    )


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("number", range(10))
async def test_a_call_to_an_actor_that_is_killed_has_begun_or_is_one_dead_letter(number: int) -> None:
    handled: list[Any] = []
    desk = remote(Desk).remote(handled)
    await asyncio.sleep(1)
    ref = desk.work.remote(10, "begun")
    await turns(number)
    kill(desk)
    with pytest.raises(ActorDiedError):
        await ref
    assert (handled, counts()) in (([], {KILLED: 1}), (["begun"], {}))


@virtual_time(allow_lost=True)
@pytest.mark.parametrize("number", range(6))
async def test_a_call_given_up_and_its_actor_killed_in_one_turn_is_one_dead_letter_or_has_begun(number: int) -> None:
    handled: list[Any] = []
    desk = remote(Desk).remote(handled)
    await asyncio.sleep(1)
    ref = desk.work.remote(10, "begun")
    await turns(number)
    ref.cancel()
    kill(desk)
    await asyncio.sleep(1)
    assert (handled, counts()) in (([], {CANCELLED: 1}), (["begun"], {}))


@virtual_time(allow_lost=True)
async def test_a_call_that_was_given_up_before_its_actor_died_is_counted_once_as_given_up() -> None:
    desk = remote(Desk).remote([], 10)
    cancelled, late, kept = desk.note.remote(), desk.note.options(timeout=1).remote(), desk.note.remote()
    cancelled.cancel()
    await asyncio.sleep(2)
    kill(desk)
    await asyncio.gather(cancelled, late, kept, return_exceptions=True)
    assert (counts(), lost()) == ({CANCELLED: 1, EXPIRED: 1, KILLED: 1}, 0)


@virtual_time
async def test_ticks_of_an_ended_actor_are_no_letters() -> None:
    desk = remote(Desk).remote()
    await desk.tick_often.remote()
    await asyncio.sleep(10)
    await stop(desk)
    await asyncio.sleep(10)
    assert counts() == {}


@virtual_time(allow_lost=True)
async def test_a_free_form_message_to_a_dying_actor_is_a_letter_too() -> None:
    reader = remote(Reader).remote()
    reader.actor_ref.tell("handled")
    stopped = stop(reader)
    reader.actor_ref.tell("refused")
    await stopped
    assert (counts(), lost()) == ({DEAD: 1}, 1)
    assert registry().letters.last_lost == "Reader #1: a message of type str"


def test_what_was_told_and_lost_is_a_leak_that_names_actor_and_method() -> None:
    async def main() -> None:
        desk = remote(Desk).options(name="front").remote()
        await stop(desk)
        desk.note.tell("secret")

    with pytest.raises(LeakError) as failure:
        run_virtual(main())
    assert str(failure.value) == ('left over at the end: 1 messages told to the dead, the last one: Desk "front": note')


# --- What is said -----------------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@virtual_time(allow_lost=True)
async def test_a_flood_is_a_line_now_and_then_that_carries_its_number(caplog: pytest.LogCaptureFixture) -> None:
    desk = remote(Desk).options(name="front").remote()
    await stop(desk)
    for _ in range(100):
        desk.note.tell()
    await asyncio.sleep(LOG_EVERY_S - 0.1)
    desk.note.tell()
    assert lines(caplog) == ['dead letter (dead, 1 since the last such line): Desk "front": note']
    await asyncio.sleep(0.2)
    desk.work.tell()
    assert lines(caplog)[1:] == ['dead letter (dead, 101 since the last such line): Desk "front": work']


@virtual_time(allow_lost=True)
async def test_each_reason_has_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    desk = remote(Desk).options(max_pending_calls=1).remote()
    desk.work.remote()
    desk.note.remote()
    desk.work.tell()
    await asyncio.sleep(0.1)
    kill(desk)
    desk.note.tell()
    assert lines(caplog) == [
        "dead letter (full, 1 since the last such line): Desk #1: note",
        "dead letter (killed, 1 since the last such line): Desk #1: work",
        "dead letter (dead, 1 since the last such line): Desk #1: note",
    ]


def test_what_a_caller_knows_is_no_warning_unless_an_actor_is_overrun(caplog: pytest.LogCaptureFixture) -> None:
    letters = DeadLetters(lambda: 0.0)
    for reason in DeadLetterReason:
        letters.add(reason, "Desk #1: note", told=False)
    assert lines(caplog) == ["dead letter (full, 1 since the last such line): Desk #1: note"]
    assert caplog.records[0].levelno == logging.WARNING
    assert set(letters.counts.values()) == {1}
    caplog.set_level(logging.DEBUG)
    letters.add(CANCELLED, "Desk #1: note", told=False)
    assert (caplog.records[-1].levelno, letters.lost) == (logging.DEBUG, 0)
    assert lines(caplog)[-1] == "dead letter (cancelled, 2 since the last such line): Desk #1: note"


def test_a_line_about_calls_keeps_no_warning_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    letters = DeadLetters(lambda: 0.0)
    letters.add(DEAD, "Desk #1: work", told=False)
    letters.add(DEAD, "Desk #1: note", told=True)
    assert [record.levelno for record in caplog.records] == [logging.DEBUG, logging.WARNING]


SECRET = "my-diary-of-1999"


def said(caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged, with the exceptions that go with it, in full."""
    parts = []
    for record in caplog.records:
        parts.append(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            parts.extend(traceback.format_exception(record.exc_info[1]))
            parts.append(repr(record.exc_info[1]))
    return "\n".join(parts)


@virtual_time(allow_lost=True)
async def test_nothing_that_is_logged_or_raised_holds_what_was_in_a_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    asyncio.get_running_loop().set_debug(True)
    errors: list[BaseException | None] = []

    def send(desk: Any) -> None:
        for method in (desk.note, desk.work):
            refs.append(method.remote(what=SECRET))
            refs.append(method.options(timeout=5).remote(what=SECRET))
            method.tell(what=SECRET)
        refs.append(desk.note.remote(SECRET, SECRET, SECRET))  # it does not take so many
        with contextlib.suppress(pykka.ActorDeadError):
            desk.actor_ref.tell(SECRET)
            desk.actor_ref.tell({SECRET: SECRET})
        desk.actor_ref.ask(SECRET, block=False)

    refs: list[Any] = []
    options: list[dict[str, Any]] = [{}, {"max_concurrency": 1, "max_restarts": 1}, {"max_pending_calls": 2}]
    for chosen in options:
        for end in (stop, kill, functools.partial(kill, no_restart=False)):
            desk = remote(Reader).options(**chosen).remote()
            send(desk)
            await asyncio.sleep(1)
            send(desk)
            refs[-1].cancel()
            refs[-2].cancel()
            end(desk)
            send(desk)
            await asyncio.sleep(200)
            kill(desk)
            send(desk)
            errors.extend(ref.exception() for ref in refs)
    assert set(counts()) == set(DeadLetterReason)
    assert len([error for error in errors if error is not None]) > 50
    assert SECRET not in "\n".join(map(repr, [*errors, *refs]))
    assert SECRET not in said(caplog)
    assert SECRET not in repr(list_actors())
    assert SECRET not in registry().letters.last_lost


@virtual_time
async def test_an_unexpected_free_form_message_is_logged_by_its_type_only(caplog: pytest.LogCaptureFixture) -> None:
    desk = remote(Desk).remote()
    desk.actor_ref.tell(SECRET)
    await stop(desk)
    assert SECRET not in said(caplog)


class Scheduler(Desk):
    def plan(self, what: str) -> None:
        context(self).after(1, functools.partial(self.note, what))

    def plan_a_crash(self, what: str) -> None:
        context(self).after(1, functools.partial(self.stumble, what))

    def stumble(self, _what: str) -> None:
        raise ValueError("stumbled")


@virtual_time
async def test_what_a_timer_will_hand_over_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = remote(Scheduler).remote()
    await scheduler.plan.remote(SECRET)
    await asyncio.sleep(2)
    assert SECRET not in repr(list_actors())
    await scheduler.plan_a_crash.remote(SECRET)
    await asyncio.sleep(2)
    assert SECRET not in repr(list_actors())
    assert SECRET not in said(caplog)


@virtual_time
async def test_methods_that_timers_call_are_counted_by_their_names_however_often_they_are_wrapped() -> None:
    scheduler = remote(Scheduler).remote()
    for number in range(20):
        await scheduler.plan.remote(str(number))
    await asyncio.sleep(2)
    (state,) = list_actors()
    assert len(state.methods) <= 3
    await stop(scheduler)


@virtual_time
async def test_counts_are_a_copy() -> None:
    dead_letters()[DEAD] = 7
    assert counts() == {}
