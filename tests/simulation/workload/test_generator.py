"""A generated month has the lengths, bursts and hours that it was fitted to, and comes out again from its seed."""

import dataclasses
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import mean, median

import pytest

from benchmarks.workload_fit import dispersion, rank_correlation, variation
from herd.errors import ConfigError
from herd.simulation.workload.arrivals import EVEN_WEEK, HOUR, SLOTS
from herd.simulation.workload.clients import LONGEST_PATIENCE, zipf_mix
from herd.simulation.workload.generator import HOUSEHOLD_MODELS, JOB_PAUSE, READING_RATE, WorkloadSettings, generate
from herd.simulation.workload.lengths import quantiles
from herd.simulation.workload.requests import SimulatedRequest, embeds, prompt_text
from herd.types import Priority, Seconds

DAY = 24 * HOUR
CHAT = {"llama3.2:3b": 1.0}
VECTORS = {"nomic-embed-text:latest": 1.0}


@pytest.fixture(scope="module")
def month() -> Sequence[SimulatedRequest]:
    return generate(1, WorkloadSettings(Seconds(28 * DAY), 20_000))


def answered(requests: Sequence[SimulatedRequest]) -> list[SimulatedRequest]:
    return [request for request in requests if request.completion]


def conversations(requests: Sequence[SimulatedRequest]) -> Iterator[list[SimulatedRequest]]:
    turns: dict[str, list[SimulatedRequest]] = {}
    for request in requests:
        if request.session:
            turns.setdefault(request.session, []).append(request)
    yield from turns.values()


# --- What was fitted --------------------------------------------------------------------------------------------------

# Of the Azure LLM Inference Trace 2023 (conversation).
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
PROMPTS = (181, 207, 396, 1020, 1189, 2735, 4083, 4142)
ANSWERS = (41, 54, 85, 129, 395, 424, 451, 601)


def test_lengths_are_those_of_the_trace_turns_of_conversations_and_jobs_included(
    month: Sequence[SimulatedRequest],
) -> None:
    requests = answered(month)
    assert quantiles([each.prompt for each in requests], LEVELS) == pytest.approx(PROMPTS, rel=0.1)
    assert quantiles([each.completion for each in requests], LEVELS) == pytest.approx(ANSWERS, rel=0.2)
    assert rank_correlation([(each.prompt, each.completion) for each in requests]) == pytest.approx(0.07, abs=0.04)


def test_at_the_traces_rate_the_counts_are_as_uneven_as_there() -> None:
    # An hour of one trace is one draw, and so is a generated one: the mean of some is compared, not too closely.
    service = WorkloadSettings(Seconds(HOUR), 5.53 * HOUR, CHAT, 2000, batch=0.0, embedding=0.0, week=EVEN_WEEK)
    hours = [[request.at for request in generate(seed, service)] for seed in range(3)]
    for window, found_there in ((1, 1.4), (10, 3.9), (60, 16.4)):
        assert mean(dispersion(hour, window) for hour in hours) == pytest.approx(found_there, rel=0.4)
    assert mean(map(variation, hours)) == pytest.approx(1.09, abs=0.06)


def test_a_household_is_far_burstier_than_a_service(month: Sequence[SimulatedRequest]) -> None:
    assert variation([request.at for request in month]) > 2.5


def test_as_many_come_as_expected(month: Sequence[SimulatedRequest]) -> None:
    assert len(month) == pytest.approx(20_000, rel=0.05)
    assert all(0 <= before.at <= after.at < 28 * DAY for before, after in pairwise(month))


# --- The week ---------------------------------------------------------------------------------------------------------


def by_hour(requests: Sequence[SimulatedRequest], start_slot: int = 0) -> Counter[int]:
    return Counter((int(request.at // HOUR) + start_slot) % 24 for request in requests)


def test_people_ask_in_the_evening_and_jobs_run_at_night(month: Sequence[SimulatedRequest]) -> None:
    people = by_hour([request for request in month if request.priority is Priority.INTERACTIVE])
    jobs = by_hour([request for request in month if request.priority is Priority.BATCH])
    assert people[20] > 10 * people[4]
    assert people[10] > 5 * people[6]
    assert jobs[3] > 5 * jobs[15]


def test_the_hour_at_which_a_run_begins_shifts_the_week(month: Sequence[SimulatedRequest]) -> None:
    later = generate(1, WorkloadSettings(Seconds(28 * DAY), 20_000, batch=0.0, start_slot=15))
    shares = [hours[20] / hours.total() for hours in (by_hour(month), by_hour(later, 15))]
    assert shares[0] == pytest.approx(shares[1], rel=0.25)


def test_a_run_does_not_begin_in_silence() -> None:
    first = [generate(seed, WorkloadSettings(Seconds(HOUR), 600, CHAT, start_slot=19)) for seed in range(20)]
    halves = [sum(request.at < HOUR / 2 for request in each) / len(each) for each in first]
    assert mean(halves) == pytest.approx(0.5, abs=0.08)


# --- Who, whom, and what ----------------------------------------------------------------------------------------------


def test_models_and_clients_are_asked_by_their_weights(month: Sequence[SimulatedRequest]) -> None:
    models = Counter(request.model for request in answered(month))
    first = models["llama3.2:3b"]
    assert {name: count / first for name, count in models.items()} == pytest.approx(
        {name: weight for name, weight in HOUSEHOLD_MODELS.items() if not embeds(name)}, abs=0.1
    )
    people = Counter(each.client for each in month if each.priority is Priority.INTERACTIVE)
    assert [people[f"person-{rank}"] / people["person-1"] for rank in (2, 4)] == pytest.approx([1 / 2, 1 / 4], abs=0.1)
    assert len(people) == 8


def test_shares_are_those_that_were_asked_for(month: Sequence[SimulatedRequest]) -> None:
    jobs = [request for request in month if request.priority is Priority.BATCH]
    vectors = [request for request in month if embeds(request.model)]
    assert len(jobs) / len(month) == pytest.approx(0.15, abs=0.03)
    assert len(vectors) / len(month) == pytest.approx(0.05, abs=0.015)


def test_every_turn_of_a_conversation_begins_with_the_whole_one_before(month: Sequence[SimulatedRequest]) -> None:
    followed = 0
    for turns in conversations(month):
        assert len({(turn.client, turn.model) for turn in turns}) == 1
        for before, after in pairwise(turns):
            assert after.prompt > before.prompt + before.completion
            assert prompt_text(after).startswith(prompt_text(before))
            # Nobody answers to what they cannot have read.
            assert after.at - before.at >= before.completion / READING_RATE
            followed += 1
    assert followed > 0.25 * len(month)


def test_what_is_no_conversation_shares_at_most_its_clients_instructions(month: Sequence[SimulatedRequest]) -> None:
    holders: dict[int, dict[str, None]] = {}
    for number, request in enumerate(month):
        for block in request.blocks:
            holders.setdefault(block, {})[request.session or str(number)] = None
    shared = [block for block, talks in holders.items() if len(talks) > 1]
    owners = {block: {each.client for each in month if block in each.blocks[:2]} for block in shared}
    assert shared
    assert all(len(clients) == 1 for clients in owners.values())


def test_files_are_indexed_in_bursts_of_short_inputs(month: Sequence[SimulatedRequest]) -> None:
    vectors = [request for request in month if embeds(request.model)]
    assert all(0 < request.prompt <= 250 and request.completion == 0 for request in vectors)
    gaps = [after.at - before.at for before, after in pairwise(vectors)]
    assert sum(gap < 2 for gap in gaps) > 0.8 * len(gaps)


def test_a_job_asks_every_few_seconds(month: Sequence[SimulatedRequest]) -> None:
    asked = [each.at for each in month if each.client == "job-4" and each.priority is Priority.BATCH]
    gaps = [after - before for before, after in pairwise(asked)]
    assert median(gaps) == pytest.approx(JOB_PAUSE * math.log(2), rel=0.25)


def test_people_hang_up_after_minutes_and_jobs_never(month: Sequence[SimulatedRequest]) -> None:
    for request in month:
        assert (request.patience <= LONGEST_PATIENCE) is (request.priority is Priority.INTERACTIVE)


@pytest.mark.parametrize(
    ("models", "kinds"), [(CHAT, {False}), (VECTORS, {True}), ({**CHAT, **VECTORS}, {False, True})]
)
def test_what_no_model_can_do_is_not_asked_for(models: dict[str, float], kinds: set[bool]) -> None:
    requests = generate(1, WorkloadSettings(Seconds(DAY), 2000, models))
    assert {embeds(request.model) for request in requests} == kinds
    assert len(requests) == pytest.approx(2000, rel=0.5)  # files are few and of many pieces


def test_all_may_be_jobs_and_none_may_come() -> None:
    jobs = generate(1, WorkloadSettings(Seconds(DAY), 500, CHAT, batch=1.0, embedding=0.0))
    assert {request.priority for request in jobs} == {Priority.BATCH}
    assert generate(1, WorkloadSettings(Seconds(DAY), 0)) == []


def test_prompts_are_cut_to_the_context_of_their_model() -> None:
    wide = WorkloadSettings(Seconds(DAY), 2000, zipf_mix(["qwen3:8b"]))
    lengths = dataclasses.replace(wide.lengths, prompts=(*wide.lengths.prompts[:-4], *[10**6] * 4))
    requests = generate(1, dataclasses.replace(wide, lengths=lengths))
    assert max(request.prompt + request.completion for request in requests) == 40_960


# --- The seed ---------------------------------------------------------------------------------------------------------


def test_more_jobs_leave_what_people_ask_as_it_is() -> None:
    few, many = (
        [
            (request.at, request.prompt, request.blocks)
            for request in generate(3, WorkloadSettings(Seconds(DAY), requests, CHAT, batch=batch, embedding=0.0))
            if request.priority is Priority.INTERACTIVE
        ]
        for requests, batch in ((900.0, 0.0), (1000.0, 0.1))
    )
    assert few == many


def test_what_people_ask_and_what_they_index_has_nothing_to_do_with_each_other() -> None:
    # As many sittings as files, in the same hours: from one source of randomness they would begin together.
    week = (0.0,) * 12 + (1.0,) * 12 + (0.0,) * (SLOTS - 24)
    settings = WorkloadSettings(Seconds(DAY), 1000, {**CHAT, **VECTORS}, batch=0.0, embedding=0.8, week=week)
    for seed in range(5):
        requests = generate(seed, settings)
        first = [next(each.at for each in requests if embeds(each.model) is kind) for kind in (False, True)]
        assert abs(first[0] - first[1]) > 1.0


_SCRIPT = """
from herd.simulation.workload.generator import WorkloadSettings, generate
from herd.types import Seconds
print(generate(7, WorkloadSettings(Seconds(3 * 86400.0), 1000)))
"""


def test_the_same_seed_gives_the_same_requests_whatever_pythons_hashes_are() -> None:
    lists = [
        subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert lists[0] == lists[1]
    assert len(lists[0]) > 50_000
    settings = WorkloadSettings(Seconds(3 * DAY), 1000)
    assert f"{generate(7, settings)}\n" == lists[0]
    assert f"{generate(8, settings)}\n" != lists[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"duration": 0.0}, "a duration of 0.0 s: take seconds above 0"),
        ({"duration": float("nan")}, "a duration of nan s"),
        ({"requests": -1.0}, "-1.0 requests"),
        ({"requests": float("inf")}, "inf requests"),
        ({"clients": 0}, "0 clients: take at least one"),
        ({"batch": -0.1}, "a share below 0"),
        ({"batch": 0.6, "embedding": 0.5}, "let their shares be 1 at most"),
        ({"start_slot": SLOTS}, "hour 168 of the week"),
        ({"week": (1.0,)}, "take 168 weights"),
        ({"week": (-1.0,) * SLOTS}, "take 168 weights"),
        ({"models": {}}, "nothing to choose from"),
        ({"models": {"gpt-9": 1.0}}, "no model gpt-9"),
        ({"models": {"qwen3:8b": 0.0}}, "the weight of qwen3:8b is 0.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(WorkloadSettings(Seconds(DAY), 10), **change)  # type: ignore[arg-type]
