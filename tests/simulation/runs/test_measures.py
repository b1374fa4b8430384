import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.simulation.machine.owners import OwnerState
from herd.simulation.runs.measures import (
    LIMITS,
    Counts,
    Disturbance,
    Fairness,
    Goodput,
    Limit,
    Loads,
    PredictionError,
    Sample,
    SampleOutcome,
    Spread,
    fairness,
    jain_index,
    owner_disturbance,
    percentile,
    prediction_error,
    spread,
    summary,
    to_json,
)
from herd.types import Priority, Seconds, Tokens

FAILED, REFUSED, TIMED_OUT, HUNG_UP = (
    SampleOutcome.FAILED,
    SampleOutcome.REFUSED,
    SampleOutcome.TIMED_OUT,
    SampleOutcome.HUNG_UP,
)
NOTHING = Spread(0, None, None, None, None, None)
SERVED = Sample(
    Seconds(0.0),
    "anna",
    "qwen3:8b",
    Priority.INTERACTIVE,
    SampleOutcome.SERVED,
    first_token=1.0,
    completion=10.0,
    prompt=Tokens(100),
    tokens=Tokens(50),
    node="studio",
)


def took(completion: float, *, client: str = "anna", at: float = 0.0, ideal: float = 0.0) -> Sample:
    return replace(SERVED, at=Seconds(at), client=client, completion=completion, ideal=ideal)


def unserved(outcome: SampleOutcome, *, client: str = "anna", ideal: float = 0.0) -> Sample:
    return replace(
        SERVED,
        client=client,
        outcome=outcome,
        first_token=math.inf,
        completion=math.inf,
        node="",
        ideal=ideal,
    )


# --- Percentiles ---


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ([], 50, None),
        ([7.0], 1, 7.0),
        ([7.0], 100, 7.0),
        ([1.0, 2.0], 50, 1.0),  # one of the values, never between two
        ([1.0, 2.0], 51, 2.0),
        ([5.0, 1.0, 3.0], 50, 3.0),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 30, 20.0),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 40, 20.0),
        ([float(value) for value in range(1, 101)], 95, 95.0),
        ([float(value) for value in range(1, 101)], 99, 99.0),
        ([1.0, math.inf], 50, 1.0),
        ([1.0, math.inf], 95, math.inf),
        ([math.inf], 50, math.inf),
    ],
)
def test_a_percentile_is_the_value_at_the_nearest_rank(
    values: list[float], percent: float, found: float | None
) -> None:
    assert percentile(values, percent) == found


@given(st.lists(st.floats(0, allow_nan=False), min_size=1), st.floats(0.01, 100))
def test_a_percentile_is_the_smallest_that_enough_values_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


@pytest.mark.parametrize("percent", [0, -1, 100.1, math.nan])
def test_there_is_no_such_percentile(percent: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 100"):
        percentile([1.0], percent)


def test_a_spread_has_its_mean_of_the_served_and_its_percentiles_of_all() -> None:
    assert spread([]) == NOTHING
    assert spread([3.0]) == Spread(1, 0.0, 3.0, 3.0, 3.0, 3.0)
    assert spread([1.0, 2.0, 3.0, math.inf]) == Spread(4, 0.25, 2.0, 2.0, math.inf, math.inf)
    assert spread([math.inf]) == Spread(1, 1.0, None, math.inf, math.inf, math.inf)


# --- Latency ---


@pytest.mark.parametrize("outcome", [FAILED, REFUSED, TIMED_OUT])
def test_what_was_not_served_took_for_ever(outcome: SampleOutcome) -> None:
    found = summary([took(10.0), unserved(outcome)])
    assert found.completion == Spread(2, 0.5, 10.0, 10.0, math.inf, math.inf)
    assert found.first_token == Spread(2, 0.5, 1.0, 1.0, math.inf, math.inf)


def test_a_first_token_does_not_help_an_answer_that_broke_off() -> None:
    broken = replace(unserved(FAILED), first_token=0.5, completion=2.0)
    assert summary([broken]).first_token.p50 == math.inf
    assert summary([broken]).completion.p50 == math.inf


def test_who_hung_up_of_its_own_choice_is_counted_and_left_out() -> None:
    found = summary([took(10.0), unserved(HUNG_UP)])
    assert found.counts.hung_up == 1
    assert found.completion == spread([10.0])
    assert found.goodput.share == 1.0
    assert found.fairness.served == 1.0


def test_a_slowdown_is_over_what_it_takes_alone() -> None:
    found = summary([took(10.0, ideal=5.0), took(10.0), unserved(FAILED, ideal=5.0)])
    assert found.slowdown == spread([2.0, math.inf])


def test_only_the_served_know_how_long_they_queued() -> None:
    assert summary([replace(SERVED, queue=3.0), unserved(TIMED_OUT)]).queue == spread([3.0])


def test_a_run_without_requests_has_no_figures() -> None:
    found = summary([])
    assert found.duration == 0.0
    assert found.counts == Counts()
    assert found.completion == found.first_token == found.queue == found.slowdown == NOTHING
    assert found.goodput == Goodput(0, 0.0, None)
    assert found.fairness == Fairness(0, None, None, "", None)
    assert found.prediction == PredictionError(0, None, None)
    assert found.goodputs == {}
    assert found.models == found.nodes == {}


def test_a_run_lasts_until_its_last_answer_unless_somebody_knows_better() -> None:
    samples = [took(10.0, at=100.0), replace(unserved(FAILED), at=Seconds(105.0))]
    assert summary(samples).duration == 110.0
    assert summary(samples, duration=Seconds(3600.0)).duration == 3600.0


# --- Goodput ---


def test_goodput_is_what_was_served_within_the_limit_of_its_class() -> None:
    limits = {Priority.INTERACTIVE: Limit(2.0, 20.0), Priority.BATCH: Limit(math.inf, 100.0)}
    batch = replace(SERVED, priority=Priority.BATCH, first_token=50.0)
    samples = [
        took(20.0),  # at the limit
        took(20.1),
        replace(SERVED, first_token=2.1),
        replace(batch, completion=99.0),
        replace(batch, completion=101.0),
        unserved(REFUSED),
    ]
    found = summary(samples, limits=limits, duration=Seconds(0.5))
    assert found.goodput == Goodput(2, 4.0, 2 / 6)
    assert found.goodputs == {Priority.INTERACTIVE: Goodput(1, 2.0, 1 / 4), Priority.BATCH: Goodput(1, 2.0, 1 / 2)}


def test_every_class_has_a_limit() -> None:
    assert list(LIMITS) == list(Priority)


# --- Fairness ---


@pytest.mark.parametrize(
    ("shares", "index"),
    [
        ([], None),
        ([5.0], 1.0),
        ([2.0, 2.0, 2.0], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 0.25),
        ([1.0, 3.0], 0.8),
        ([0.0, 0.0], 1.0),
    ],
)
def test_the_index_of_jain(shares: list[float], index: float | None) -> None:
    assert jain_index(shares) == (index if index is None else pytest.approx(index))


@given(st.lists(st.floats(0.001, 1000), min_size=1), st.floats(0.001, 1000))
def test_the_index_of_jain_knows_no_unit(shares: list[float], unit: float) -> None:
    index = jain_index(shares)
    assert index is not None
    assert 1 / len(shares) - 1e-9 <= index <= 1 + 1e-9
    assert jain_index([share * unit for share in shares]) == pytest.approx(index)


def test_fairness_is_between_clients_and_not_between_requests() -> None:
    found = fairness([*[took(10.0, ideal=10.0)] * 9, took(30.0, client="bert", ideal=10.0)])
    assert found == Fairness(2, 0.8, 1.0, "bert", 1.5)


def test_a_client_without_an_answer_shows_in_the_served_shares() -> None:
    found = fairness([took(10.0, ideal=5.0), took(10.0, ideal=5.0), unserved(REFUSED, client="bert", ideal=5.0)])
    assert found == Fairness(2, 1.0, 0.5, "bert", math.inf)


def test_the_lightest_asked_for_the_fewest_tokens() -> None:
    heavy = replace(took(10.0, client="anna", ideal=10.0), prompt=Tokens(5000), tokens=Tokens(1))
    light = [replace(took(20.0, client="bert", ideal=10.0), prompt=Tokens(100), tokens=Tokens(50))] * 10
    assert fairness([heavy, *light]).lightest == "bert"
    assert fairness([heavy, *light]).lightest_ratio == pytest.approx(2 / 1.5)
    assert (
        fairness([took(1.0, client="dora"), took(1.0, client="cleo")]).lightest == "cleo"
    )  # by name, if all are alike


def test_without_an_ideal_there_is_no_slowdown() -> None:
    assert fairness([took(10.0)]) == Fairness(1, None, 1.0, "anna", None)


# --- Predictions ---


def test_a_prediction_is_measured_by_what_came() -> None:
    predicted = [replace(took(10.0), predicted=value) for value in (10.0, 11.0, 0.0, 30.0)]
    assert prediction_error(predicted) == PredictionError(4, 0.1, 2.0)


def test_what_a_request_waited_before_it_was_placed_was_no_prediction() -> None:
    assert prediction_error([replace(took(10.0), placed=6.0, predicted=5.0)]) == PredictionError(1, 0.25, 0.25)


def test_nobody_knows_how_wrong_a_prediction_was_that_came_to_nothing() -> None:
    samples = [took(10.0), replace(unserved(TIMED_OUT), predicted=5.0), replace(took(0.0), predicted=1.0)]
    assert prediction_error(samples) == PredictionError(0, None, None)


# --- Counts ---


def test_requests_are_counted_by_model_and_by_node() -> None:
    samples = [
        replace(SERVED, attempts=2),
        replace(SERVED, node="attic", model="llama3.2:3b"),
        unserved(REFUSED),
        replace(unserved(FAILED), node="studio"),
        replace(unserved(TIMED_OUT), model="gemma3:4b"),
        unserved(HUNG_UP),
    ]
    found = summary(samples)
    assert found.counts == Counts(6, 2, 1, 1, 1, 1, retried=1, prompt=Tokens(200), tokens=Tokens(100))
    assert list(found.models) == ["gemma3:4b", "llama3.2:3b", "qwen3:8b"]
    assert list(found.nodes) == ["attic", "studio"]
    assert found.models["qwen3:8b"].requests == 4
    assert found.nodes["studio"] == Counts(2, 1, failed=1, retried=1, prompt=Tokens(100), tokens=Tokens(50))


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(dice: random.Random) -> None:
    samples = [
        replace(took(0.1 * number, client=f"c{number % 7}", ideal=0.07, at=float(number)), predicted=0.3)
        for number in range(1, 60)
    ]
    mixed = list(samples)
    dice.shuffle(mixed)
    assert summary(mixed) == summary(samples)


# --- Disturbance ---

IDLE, MEETING, GAME = OwnerState(), OwnerState(meeting=True), OwnerState(gpu=0.9)


def at(*states: tuple[float, OwnerState]) -> list[tuple[Seconds, OwnerState]]:
    return [(Seconds(since), state) for since, state in states]


@pytest.mark.parametrize(
    ("running", "owner", "meeting", "heavy_use"),
    [
        ([], at((0, MEETING)), 0, 0),
        ([(0, 10)], [], 0, 0),
        ([(0, 10)], at((0, IDLE)), 0, 0),
        ([(0, 10)], at((4, MEETING)), 6, 0),  # the last state lasts
        ([(0, 10)], at((0, IDLE), (2, MEETING), (5, GAME), (9, IDLE)), 3, 4),
        ([(0, 3), (4, 6), (8, 20)], at((0, IDLE), (2, GAME), (10, IDLE)), 0, 1 + 2 + 2),
        ([(0, 100)], at((10, MEETING), (20, IDLE), (30, MEETING), (40, IDLE)), 20, 0),
        ([(5, 9), (0, 6), (1, 2)], at((0, GAME)), 0, 9),  # two at once disturb no more than one
        ([(0, 10)], at((0, OwnerState(cpu=0.9, meeting=True))), 10, 0),  # a meeting goes first
        ([(0, 10)], at((0, OwnerState(meeting=True, asleep=True))), 0, 0),
        ([(0, 5)], at((5, GAME)), 0, 0),
        ([(5, 5)], at((0, GAME)), 0, 0),
    ],
)
def test_inference_disturbs_while_the_owner_is_busy(
    running: list[tuple[float, float]], owner: list[tuple[Seconds, OwnerState]], meeting: float, heavy_use: float
) -> None:
    found = owner_disturbance(running, owner)
    assert found == Disturbance(Seconds(meeting), Seconds(heavy_use))
    assert found.total == meeting + heavy_use


TIMES = st.lists(st.integers(0, 200), max_size=12).map(sorted)


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), max_size=12),
    TIMES,
    st.lists(st.sampled_from([IDLE, MEETING, GAME]), min_size=12, max_size=12),
)
def test_disturbance_is_the_seconds_in_which_both_hold(
    spans: list[tuple[int, int]], times: list[int], states: list[OwnerState]
) -> None:
    running = [(float(begin), float(begin + length)) for begin, length in spans]
    owner = at(*zip(map(float, times), states, strict=False))
    expected = {"meeting": 0, "heavy": 0}
    for second in range(250):
        state = next((state for since, state in reversed(owner) if since <= second), IDLE)
        if any(begin <= second < end for begin, end in running) and state.busy:
            expected["meeting" if state.meeting else "heavy"] += 1
    assert owner_disturbance(running, owner) == Disturbance(Seconds(expected["meeting"]), Seconds(expected["heavy"]))


def test_disturbances_of_machines_add_up() -> None:
    assert sum([Disturbance(Seconds(1.0)), Disturbance(Seconds(2.0), Seconds(4.0))], Disturbance()) == Disturbance(
        Seconds(3.0), Seconds(4.0)
    )


def test_nothing_ends_before_it_begins() -> None:
    with pytest.raises(ValueError, match=r"from 5\.0 cannot have ended at 4\.0"):
        owner_disturbance([(5.0, 4.0)], at((0, GAME)))


# --- As JSON ---


def test_a_summary_is_valid_json_with_null_for_what_is_infinite() -> None:
    found = summary([took(1 / 3), unserved(FAILED)], loads=Loads(2, Seconds(12.5)), duration=Seconds(60.0))
    told = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert told["completion"] == {
        "count": 2,
        "not_served": 0.5,
        "mean": 0.333333,
        "p50": 0.333333,
        "p95": None,
        "p99": None,
    }
    assert told["loads"] == {"count": 2, "seconds": 12.5}
    assert told["goodputs"] == {"interactive": {"count": 1, "per_second": 0.016667, "share": 0.5}}
    assert told["models"]["qwen3:8b"]["failed"] == 1
    assert list(told) == [
        *("duration", "counts", "first_token", "completion", "queue", "slowdown", "goodput", "goodputs", "fairness"),
        *("prediction", "loads", "models", "nodes"),
    ]


def test_a_disturbance_is_json_too() -> None:
    assert to_json(Disturbance(Seconds(1.0), Seconds(2.00000049))) == {"meeting": 1.0, "heavy_use": 2.0}


@pytest.mark.parametrize(
    ("first_token", "completion", "good"),
    [(10.0, 300.0, 1), (10.001, 300.0, 0), (10.0, 300.001, 0)],
)
def test_what_comes_at_the_last_moment_of_its_limit_is_of_use(first_token: float, completion: float, good: int) -> None:
    assert summary([replace(SERVED, first_token=first_token, completion=completion)]).goodput.count == good


def test_a_client_that_only_hangs_up_is_in_no_figure_but_the_counts() -> None:
    left = replace(unserved(HUNG_UP, client="bert"), priority=Priority.BATCH)
    figures = summary([SERVED, left])
    assert (figures.counts.requests, figures.counts.hung_up, figures.fairness.clients) == (2, 1, 1)
    assert figures.goodputs[Priority.BATCH] == Goodput(0, 0.0, None)
