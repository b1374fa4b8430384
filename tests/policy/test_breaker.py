"""When a node is left alone, for how long, and what brings it back."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from herd.policy.breaker import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    OPENS_AFTER,
    AttemptEnd,
    Breaker,
    Lesson,
    breaker_reason,
    lesson_of,
    link_heeds,
    model_heeds,
    openness,
)
from herd.policy.elimination import absent
from herd.policy.values import BreakerState, Circuit, Reason
from herd.types import NodeState, Seconds
from tests.policy.views import ASK, NOW, decide, model, node

WALL = Seconds(1000.0)
OPEN = BreakerState(Circuit.OPEN, 3, WALL, Seconds(1005.0))
HALF_OPEN = replace(OPEN, circuit=Circuit.HALF_OPEN)


def after(breaker: Breaker, *lessons: Lesson, now: float = 10.0) -> Breaker:
    """A model's breaker after attempts that began and ended at `now`."""
    for lesson in lessons:
        breaker = model_heeds(breaker, AttemptEnd(lesson, Seconds(now)), Seconds(now), WALL)
    return breaker


def opened(now: float = 10.0) -> Breaker:
    return after(Breaker(), *[Lesson.FAILED] * OPENS_AFTER, now=now)


@pytest.mark.parametrize(
    ("kind", "status", "lesson"),
    [
        ("status", 502, Lesson.FAILED),
        ("status", 503, Lesson.FAILED),
        ("status", 504, Lesson.FAILED),
        ("status", 500, Lesson.DOUBTFUL),
        ("status", 404, Lesson.ANSWERED),
        ("reset", 0, Lesson.FAILED),
        ("timeout", 0, Lesson.FAILED),
        ("incomplete", 0, Lesson.FAILED),
        ("connect", 0, Lesson.FAILED),
        ("link", 0, Lesson.CUT),
        ("no-backend", 0, Lesson.ANSWERED),
        ("internal", 0, Lesson.DOUBTFUL),
        ("of a newer agent", 0, Lesson.DOUBTFUL),
    ],
)
def test_what_a_failure_says_of_its_node(kind: str, status: int, lesson: Lesson) -> None:
    assert lesson_of(kind, status) is lesson


def test_three_failures_in_a_row_open_it_and_a_success_between_them_does_not_let_them_add_up() -> None:
    breaker = after(Breaker(), Lesson.FAILED, Lesson.FAILED)
    assert breaker.circuit is Circuit.CLOSED
    assert after(breaker, Lesson.WORKED, Lesson.FAILED, Lesson.FAILED).circuit is Circuit.CLOSED
    assert after(breaker, Lesson.ANSWERED, Lesson.FAILED).circuit is Circuit.OPEN
    assert after(breaker, Lesson.FAILED).state == OPEN


def test_what_may_be_the_requests_own_fault_does_not_open_it() -> None:
    assert after(Breaker(), *[Lesson.DOUBTFUL, Lesson.ANSWERED, Lesson.CUT] * 5) == Breaker()


def test_the_pause_doubles_with_each_trial_that_fails_up_to_half_a_minute() -> None:
    breaker, pauses, now = opened(), [], 10.0
    for _ in range(5):
        pauses.append(breaker.pause)
        now += breaker.pause
        breaker = breaker.pause_over(breaker.since)
        assert breaker.circuit is Circuit.HALF_OPEN
        breaker = after(breaker, Lesson.FAILED, now=now)
    now += breaker.pause
    assert pauses == [5.0, 10.0, 20.0, 30.0, 30.0]
    breaker = after(breaker.pause_over(breaker.since), Lesson.WORKED, now=now)
    assert (breaker.circuit, breaker.failures) == (Circuit.CLOSED, 0)
    assert after(breaker, *[Lesson.FAILED] * 3, now=now + 1.0).pause == 5.0


@pytest.mark.parametrize(
    ("lesson", "circuit"),
    [
        (Lesson.WORKED, Circuit.CLOSED),
        (Lesson.ANSWERED, Circuit.CLOSED),
        (Lesson.DOUBTFUL, Circuit.OPEN),
        (Lesson.FAILED, Circuit.OPEN),
        (Lesson.CUT, Circuit.HALF_OPEN),
    ],
)
def test_how_a_trial_ends(lesson: Lesson, circuit: Circuit) -> None:
    breaker = opened()
    assert after(breaker.pause_over(breaker.since), lesson, now=15.0).circuit is circuit


def test_until_a_request_was_served_after_a_trial_one_failure_opens_it_again_and_for_longer() -> None:
    breaker = opened()
    answering = after(breaker.pause_over(breaker.since), Lesson.ANSWERED, now=15.0)
    again = after(answering, Lesson.FAILED, now=16.0)
    assert (again.circuit, again.pause) == (Circuit.OPEN, 10.0)
    assert after(answering, Lesson.WORKED, now=16.0) == Breaker(since=breaker.since)


@pytest.mark.parametrize("lesson", list(Lesson))
def test_what_began_before_it_opened_says_nothing_of_now(lesson: Lesson) -> None:
    breaker = opened(now=10.0)
    half_open = breaker.pause_over(breaker.since)
    for began in (9.0, 10.0):
        early = AttemptEnd(lesson, Seconds(began))
        assert model_heeds(breaker, early, Seconds(12.0), WALL) == breaker
        assert model_heeds(half_open, early, Seconds(16.0), WALL) == half_open


def test_only_the_latest_pause_ends_it() -> None:
    breaker = opened()
    assert breaker.pause_over(Seconds(9.0)) == breaker
    assert Breaker().pause_over(Breaker().since) == Breaker()


def test_a_server_that_was_away_and_is_back_is_tried_at_once_but_not_again_and_again() -> None:
    half_open = opened().returned()
    assert half_open.circuit is Circuit.HALF_OPEN
    again = after(half_open, Lesson.FAILED, now=11.0)
    assert again.returned() == again
    assert Breaker().returned() == Breaker()


def test_a_links_breaker_heeds_what_cut_it_and_whatever_came_over_it() -> None:
    def link(breaker: Breaker, *lessons: Lesson) -> Breaker:
        for lesson in lessons:
            breaker = link_heeds(breaker, AttemptEnd(lesson, Seconds(1.0)), Seconds(1.0), WALL)
        return breaker

    assert link(Breaker(), *[Lesson.CUT] * 3).circuit is Circuit.OPEN
    for lesson in (Lesson.WORKED, Lesson.ANSWERED, Lesson.DOUBTFUL, Lesson.FAILED):
        assert link(Breaker(), Lesson.CUT, Lesson.CUT, lesson, Lesson.CUT, Lesson.CUT).circuit is Circuit.CLOSED


def test_an_open_breaker_keeps_requests_away_and_says_until_when() -> None:
    studio = node("studio", replace(model(), breaker=OPEN))
    reason = Reason(
        "breaker",
        "failed 3 times in a row with llama3.2:3b; it is tried again after 5 s",
        since=WALL,
        until=Seconds(1005.0),
    )
    assert absent(ASK.model, studio) == reason
    assert absent(ASK.model, replace(node("studio", model()), breaker=OPEN)) == replace(
        reason, text="could not be reached 3 times in a row; it is tried again after 5 s"
    )
    assert openness(studio, studio.models[ASK.model]) == 0


def test_a_half_open_breaker_lets_one_request_pass() -> None:
    for studio in (node("studio", replace(model(), breaker=HALF_OPEN)), replace(node("s", model()), breaker=HALF_OPEN)):
        assert decide(ASK, [studio]).chosen is not None
        (out,) = decide(ASK, [studio], moment=replace(NOW, tried=(studio.id,))).eliminated
        assert (out.reason.kind, out.reason.text.rpartition("; ")[2]) == ("breaker", "a request is trying it now")
        assert openness(studio, studio.models[ASK.model]) == 1


def test_a_state_that_keeps_everybody_away_is_named_before_the_breaker() -> None:
    away = node("studio", replace(model(), breaker=OPEN), state=NodeState.OFFLINE)
    reason = absent(ASK.model, away)
    assert reason is not None
    assert reason.kind == "offline"


class BreakerMachine(RuleBasedStateMachine):
    """Requests come, run side by side and end in any way and order; timers say when a pause is over."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.breaker = Breaker()
        self.running: list[tuple[float, bool]] = []  # when each began, and whether it was placed as a trial
        self.timers: list[tuple[float, float]] = []  # when each is due, and the opening it belongs to

    @property
    def trials(self) -> int:
        """Those under way that were placed since it became half-open."""
        return sum(trial for _, trial in self.running) if self.breaker.circuit is Circuit.HALF_OPEN else 0

    @rule()
    def ask(self) -> None:
        view = replace(model(), breaker=self.breaker.state)
        if breaker_reason(node("studio", view), view, self.trials) is None:
            self.running.append((self.now, self.breaker.circuit is Circuit.HALF_OPEN))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100), lesson=st.sampled_from([Lesson.FAILED, *Lesson]))
    def end(self, which: int, lesson: Lesson) -> None:
        began, trial = self.running.pop(which % len(self.running))
        before = self.breaker
        self.breaker = model_heeds(before, AttemptEnd(lesson, Seconds(began)), Seconds(self.now), WALL)
        if self.breaker.circuit is Circuit.OPEN and self.breaker != before:
            assert before.circuit is Circuit.CLOSED or trial, "only a trial opens a half-open one again"
            self.running = [(began, False) for began, _ in self.running]
            self.timers.append((self.now + self.breaker.pause, self.breaker.since))

    @rule(seconds=st.floats(0.1, 12.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer[0] <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for _, since in due:
            self.breaker = self.breaker.pause_over(Seconds(since))

    @invariant()
    def never_two_trials_at_once(self) -> None:
        assert self.trials <= 1

    @invariant()
    def an_open_one_always_becomes_half_open(self) -> None:
        if self.breaker.circuit is Circuit.OPEN:
            assert FIRST_PAUSE_S <= self.breaker.pause <= LONGEST_PAUSE_S
            assert [since for due, since in self.timers if due <= self.now + LONGEST_PAUSE_S][-1] == self.breaker.since

    @invariant()
    def it_is_open_only_after_three_failures(self) -> None:
        assert self.breaker.circuit is Circuit.CLOSED or self.breaker.failures >= OPENS_AFTER


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=40, stateful_step_count=40)
