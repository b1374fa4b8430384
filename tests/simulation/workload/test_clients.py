"""Who asks, how long they wait, and how a conversation grows."""

import itertools
import math
import random
from statistics import median

import pytest

from herd.errors import ConfigError
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.workload.clients import (
    LEAST_MESSAGE,
    LONGEST_PATIENCE,
    PATIENCE_MEDIAN,
    Choice,
    Conversation,
    Instructions,
    clients_of,
    models_that,
    patience,
    within_context,
    zipf_mix,
)
from herd.types import Priority


def test_zipfs_law_gives_the_second_half_as_much_as_the_first() -> None:
    assert zipf_mix(["a", "b", "c"]) == {"a": 1.0, "b": 1 / 2, "c": 1 / 3}
    assert zipf_mix(["a", "b"], skew=2.0) == {"a": 1.0, "b": 1 / 4}


def test_a_choice_is_drawn_by_weight() -> None:
    rng = random.Random(1)
    drawn = [Choice({"often": 3.0, "seldom": 1.0}).draw(rng) for _ in range(4000)]
    assert drawn.count("often") == pytest.approx(3000, rel=0.05)
    assert {*drawn} == {"often", "seldom"}


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_weight_is_a_number_above_zero(weight: float) -> None:
    with pytest.raises(ConfigError, match="the weight of b is"):
        Choice({"a": 1.0, "b": weight})


def test_there_is_no_choice_among_nothing() -> None:
    with pytest.raises(ConfigError, match="nothing to choose from"):
        Choice({})


def test_clients_are_numbered_by_how_much_they_ask() -> None:
    assert clients_of("job", 3).names == ("job-1", "job-2", "job-3")


def test_models_are_told_apart_by_what_they_make() -> None:
    models = {"nomic-embed-text:latest": 2.0, "qwen3:8b": 1.0}
    assert models_that(models, embed=True) == {"nomic-embed-text:latest": 2.0}
    assert models_that(models, embed=False) == {"qwen3:8b": 1.0}
    with pytest.raises(ConfigError, match=r"no model gpt-9: take one of llama3\.2:3b"):
        models_that({"gpt-9": 1.0}, embed=False)


def test_people_wait_minutes_and_jobs_for_ever() -> None:
    rng = random.Random(1)
    waits = [patience(rng, Priority.INTERACTIVE) for _ in range(2000)]
    assert median(waits) == pytest.approx(PATIENCE_MEDIAN, rel=0.1)
    assert max(waits) == LONGEST_PATIENCE
    assert sum(wait < 30 for wait in waits) < 0.02 * len(waits)
    assert patience(rng, Priority.BATCH) == math.inf


@pytest.mark.parametrize(
    ("prompt", "completion", "left"),
    [(100, 50, 100), (10**6, 1000, 40_960 - 1000), (10, 10**6, 1), (0, 5, 1)],
)
def test_prompt_and_answer_fit_into_the_context(prompt: int, completion: int, left: int) -> None:
    assert CATALOG["qwen3:8b"].context == 40_960
    assert within_context("qwen3:8b", prompt, completion) == left


def test_a_turn_begins_with_the_blocks_of_the_one_before() -> None:
    talk = Conversation("a/1", (), itertools.count(10))
    assert talk.turn(600, 100) == (10, 11)
    assert talk.turn(1024, 100) == (10, 11)
    assert talk.turn(1025, 100) == (10, 11, 12)


def test_a_turn_that_was_cut_has_the_first_blocks_only() -> None:
    talk = Conversation("a/1", (), itertools.count(10))
    assert talk.turn(2000, 100) == (10, 11, 12, 13)
    assert talk.turn(600, 100) == (10, 11)


def test_a_prompt_fits_that_holds_what_was_said_and_a_message() -> None:
    talk = Conversation("a/1", (), itertools.count())
    assert talk.fits(LEAST_MESSAGE)
    talk.turn(600, 100)
    assert talk.fits(700 + LEAST_MESSAGE)
    assert not talk.fits(699 + LEAST_MESSAGE)


def test_instructions_lead_where_there_is_room_for_a_question_after_them() -> None:
    ids = itertools.count(10)
    assert Conversation("a/1", (1, 2), ids).turn(1024 + LEAST_MESSAGE, 5) == (1, 2, 10)
    short = Conversation("a/2", (1, 2), ids)
    assert short.turn(1024, 5) == (11, 12)
    assert short.turn(2000, 5) == (11, 12, 13, 14)


def test_a_clients_instructions_stay_and_are_its_own() -> None:
    instructions = Instructions(random.Random(1), itertools.count())
    first = {name: instructions.of(name) for name in map(str, range(40))}
    assert {name: instructions.of(name) for name in reversed(first)} == first
    blocks = [block for own in first.values() for block in own]
    assert len({*blocks}) == len(blocks) > 0
    assert () in first.values()
