"""How many run at once, learned from how fast answers come."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.policy.concurrency import (
    COMPARABLE_S,
    DWELL_S,
    FIRST_PAUSE_S,
    LEAST,
    LONGEST_PAUSE_S,
    MOST,
    Concurrency,
    Observation,
    completed,
    disturbed,
    other_work,
)
from herd.policy.occupancy import Occupancy
from herd.types import Seconds, Tokens

HOUR = 3600.0


def batching(streams: int) -> float:
    """Tokens a second of a stream: each further one makes a step a tenth longer."""
    return 50.0 / (1 + 0.1 * (streams - 1))


def one_at_a_time(streams: int) -> float:
    """An Ollama that was told nothing: what it does not run waits inside."""
    return 50.0 / streams


def without_end(streams: int) -> float:
    return 50.0


class Line:
    """A server that always has work for all its leases, one answer of 200 tokens after another."""

    def __init__(self, speed: Callable[[int], float], state: Concurrency | None = None) -> None:
        self.speed = speed
        self.state = state or Concurrency()
        self.now = 0.0
        self.steps: list[tuple[float, int]] = []  # when, and the limit from then on

    def serve(self, *, until: float = float("inf"), count: int = 1_000_000, full: float = 1.0) -> int:
        """Answers end at even distances; the limit after `count` of them, or at `until`."""
        while self.now < until and count:
            limit, count = self.state.limit, count - 1
            life = 200 / self.speed(limit)
            self.now += life / limit
            self.see(200, life, full=full, alone=full if limit == 1 else 0.0)
        return self.state.limit

    def see(self, tokens: int, life: float, *, full: float = 1.0, alone: float = 0.0, load: float = 0.0) -> None:
        before = self.state.limit
        seen = Observation(Tokens(tokens), Seconds(self.now - life), full, alone, Seconds(load))
        self.state = completed(self.state, seen, Seconds(self.now))
        if self.state.limit != before:
            self.steps.append((self.now, self.state.limit))

    def limits(self) -> list[int]:
        return [limit for _, limit in self.steps]


def test_it_begins_with_one_and_tries_two_after_twenty_answers() -> None:
    line = Line(batching)
    assert (line.serve(count=LEAST - 1), line.serve(count=1)) == (1, 2)


def test_twenty_quick_answers_are_not_enough_for_they_must_span_a_minute() -> None:
    line = Line(lambda streams: 1_000.0)
    assert line.serve(until=DWELL_S) == 1
    assert line.serve(until=DWELL_S + 1) == 2


def test_it_climbs_while_the_total_grows_by_five_per_cent_and_stays_there() -> None:
    line = Line(batching)
    line.serve(until=HOUR)
    best = next(k for k in range(1, 99) if (k + 1) * batching(k + 1) <= 1.05 * k * batching(k))
    assert line.limits()[: best + 1] == [*range(2, best + 2), best]
    line.serve(until=4 * HOUR)
    assert set(line.limits()[best:]) == {best, best + 1}


def test_it_does_not_climb_on_a_server_that_runs_one_at_a_time() -> None:
    """Its own decode times are those of a stream alone; but who waits inside it waits, and that is what is measured."""
    line = Line(one_at_a_time)
    line.serve(until=6 * HOUR)
    assert set(line.limits()) == {1, 2}


def test_a_trial_that_failed_is_followed_by_a_pause_that_grows() -> None:
    line = Line(one_at_a_time)
    line.serve(until=16 * HOUR)
    tried = [when for when, limit in line.steps if limit == 2]
    failed = [when for when, limit in line.steps if limit == 1]
    pauses = [again - end for again, end in zip(tried[1:], failed, strict=False)]
    due = [min(FIRST_PAUSE_S * 2**number, LONGEST_PAUSE_S) for number in range(len(pauses))]
    assert pauses[-1] >= LONGEST_PAUSE_S
    assert all(0 <= pause - least < 5 * 60 for pause, least in zip(pauses, due, strict=True))


def test_there_are_never_more_than_sixteen() -> None:
    line = Line(without_end)
    assert line.serve(until=HOUR) == MOST == max(line.limits())


def test_a_limit_goes_down_when_its_streams_fall_below_half_of_one_alone() -> None:
    line = Line(batching)
    line.serve(until=HOUR)
    reached = line.state.limit
    line.speed = lambda streams: 15.0  # something else has the rest of the machine
    line.serve(count=2 * LEAST)
    assert line.state.limit < reached
    assert line.steps[-1][1] == line.steps[-2][1] - 1


def test_only_answers_with_all_leases_in_use_count_and_only_whole_lives() -> None:
    line = Line(batching)
    assert line.serve(count=10 * LEAST, full=0.8) == 1
    assert line.state.counted == ()
    for _ in range(10 * LEAST):  # they say nothing of how many tokens were made
        line.now += 10.0
        line.see(0, 10.0)
    assert line.state.counted == ()
    line.serve(count=LEAST)
    began_before = len(line.state.counted)
    line.see(200, line.now + 1.0)  # with a lease from before the step
    assert (line.state.limit, len(line.state.counted)) == (2, began_before)


def test_nothing_is_learned_while_a_model_loads() -> None:
    line = Line(batching)
    for loads in range(20):
        line.serve(count=LEAST - 1)
        if loads % 2:
            line.state = disturbed(line.state, Seconds(line.now))
        else:
            line.see(200, 4.0, load=5.0)  # its own was loaded for it
        assert (line.state.limit, line.state.counted) == (1, ())
    line.see(200, 4.0, alone=1.0)  # began while it loaded
    assert line.state.counted == ()
    line.now += 4.0
    line.see(200, 4.0, alone=1.0, load=0.05)  # Ollama's word for a model that is there
    assert len(line.state.counted) == 1


@pytest.mark.parametrize("life", [900.0, 0.001], ids=["a client reads slowly", "an answer ends at once"])
def test_one_strange_answer_ends_no_trial(life: float) -> None:
    line = Line(batching)
    line.serve(count=LEAST)
    assert line.state.limit == 2
    line.state = disturbed(line.state, Seconds(0.0))  # so that even the slow one counts
    line.now += 900.0
    line.see(200, life)
    line.serve(until=line.now + 10 * 60)
    assert line.limits()[:2] == [2, 3]


def test_a_measurement_that_took_too_long_to_compare_says_nothing_against_the_limit() -> None:
    line = Line(batching)
    line.serve(count=LEAST)
    line.now += COMPARABLE_S  # nobody asks for anything; then somebody works at the machine
    line.speed = lambda streams: 26.0
    line.serve(until=line.now + 30 * 60)
    assert line.limits()[:2] == [2, 1]
    assert line.limits()[2] == 2
    assert line.steps[2][0] - line.steps[1][0] < FIRST_PAUSE_S


def test_answers_of_two_days_are_not_one_measurement() -> None:
    line = Line(batching)
    for _ in range(3):
        line.serve(count=LEAST - 1)
        line.now += COMPARABLE_S
    assert line.steps == []


PASSED, LIFE, SHARE = st.floats(0.0, 600.0), st.floats(0.0, 600.0), st.sampled_from((0.5, 1.0))


@settings(max_examples=50)
@given(st.lists(st.tuples(PASSED, st.integers(0, 500), LIFE, SHARE, st.booleans()), max_size=30))
def test_whatever_is_seen_steps_are_of_one_and_apart(strange: list[tuple[float, int, float, float, bool]]) -> None:
    line = Line(batching)
    for passed, tokens, life, full, loads in strange:
        line.serve(count=7)
        line.now += passed
        line.see(tokens, life, full=full, alone=full, load=5.0 * loads)
    limits = [1, *line.limits()]
    assert all(abs(after - before) == 1 for before, after in pairwise(limits))
    assert all(1 <= limit <= MOST for limit in limits)
    times = [when for when, _ in line.steps]
    assert all(after - before >= DWELL_S for before, after in pairwise(times))


def test_occupancy_is_clocks_that_run_while_all_leases_are_in_use_while_one_is_and_one_for_each_lease() -> None:
    seen = [Occupancy()]
    for running, limit, at in ((1, 2, 10.0), (2, 2, 13.0), (3, 2, 20.0), (1, 2, 21.0), (1, 1, 25.0), (0, 1, 26.0)):
        seen.append(seen[-1].now(running, limit, Seconds(at)))
    end = seen[-1].now(0, 1, Seconds(99.0))
    assert [(one.full, one.alone, one.streams) for one in (*seen[1:], end)] == [
        (0.0, 0.0, 0.0),
        (0.0, 3.0, 3.0),
        (7.0, 3.0, 17.0),
        (7.0, 3.0, 20.0),
        (7.0, 7.0, 24.0),
        (8.0, 8.0, 25.0),
        (8.0, 8.0, 25.0),
    ]


def test_what_is_counted_in_another_unit_is_compared_with_nothing_before_it() -> None:
    """A frame of sound is no token: else a transcription would look like a hundred answers."""
    line = Line(batching)
    line.serve(count=2 * LEAST)
    assert line.state.limit > 1
    state = other_work(line.state, Seconds(line.now))

    assert (state.limit, state.counted, state.below, state.alone.speed) == (line.state.limit, (), 0.0, 0.0)
    assert state.since == line.now
