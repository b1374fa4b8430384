"""Lengths are drawn as they were fitted: both of them, and what they have to do with each other."""

import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from herd.simulation.workload.lengths import (
    ANSWER_LEVELS,
    BANDS,
    CONVERSATION,
    LEAST_TO_FIT,
    PROMPT_LEVELS,
    Lengths,
    fit,
    quantiles,
)

FLAT = (1,) * len(ANSWER_LEVELS)
INNER = (0.05, 0.25, 0.5, 0.75, 0.95)


def drawn(lengths: Lengths, count: int = 20_000) -> list[tuple[int, int]]:
    rng = random.Random(1)
    return [lengths.draw(rng) for _ in range(count)]


def answers_of_band(pairs: list[tuple[int, int]], band: int) -> list[int]:
    ordered = sorted(pairs)
    return [answer for _, answer in ordered[band * len(pairs) // BANDS : (band + 1) * len(pairs) // BANDS]]


def test_a_fit_to_what_was_drawn_is_the_fit_that_it_was_drawn_from() -> None:
    again = fit(drawn(CONVERSATION, 50_000))
    inner = [index for index, level in enumerate(PROMPT_LEVELS) if 0.01 <= level <= 0.99]
    assert [again.prompts[at] for at in inner] == pytest.approx([CONVERSATION.prompts[at] for at in inner], rel=0.15)
    medians = ANSWER_LEVELS.index(0.5)
    assert [band[medians] for band in again.answers] == pytest.approx(
        [band[medians] for band in CONVERSATION.answers], rel=0.1
    )


def test_middling_prompts_have_long_answers_and_others_short_ones() -> None:
    pairs = drawn(CONVERSATION)
    short, middling, long = (mean(answers_of_band(pairs, band)) for band in (1, 5, 9))
    assert middling > 3 * short
    assert middling > 3 * long


@settings(max_examples=40)
@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=LEAST_TO_FIT, max_size=LEAST_TO_FIT
    )
)
def test_what_is_drawn_lies_within_what_was_fitted(pairs: list[tuple[int, int]]) -> None:
    lengths = fit(pairs)
    prompts, answers = zip(*drawn(lengths, 200), strict=True)
    for values, seen in ((prompts, [pair[0] for pair in pairs]), (answers, [pair[1] for pair in pairs])):
        assert max(1, min(seen)) <= min(values)
        assert max(values) <= max(1, *seen)


def test_prompts_that_are_alike_are_not_put_in_order_of_their_answers() -> None:
    bands = fit([(5, (10, 1000)[number % 2]) for number in range(2 * LEAST_TO_FIT)]).answers
    assert [(band[0], band[-1]) for band in bands] == [(10, 1000)] * BANDS


def test_too_few_requests_are_no_distribution() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit([(1, 1)] * (LEAST_TO_FIT - 1))


@pytest.mark.parametrize(
    ("prompts", "answers"),
    [
        ((1, 2), (FLAT,) * BANDS),
        ((1,) * len(PROMPT_LEVELS), (FLAT,)),
        ((0,) * len(PROMPT_LEVELS), (FLAT,) * BANDS),
        ((2, *(1,) * (len(PROMPT_LEVELS) - 1)), (FLAT,) * BANDS),
        ((1,) * len(PROMPT_LEVELS), ((1, 2),) * BANDS),
    ],
)
def test_quantiles_that_are_none_are_refused(prompts: tuple[int, ...], answers: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"needed|do not fall"):
        Lengths(prompts, answers)


def test_quantiles_are_values_that_occur() -> None:
    assert quantiles([5, 1, 3], (0.0, 0.5, 1.0)) == (1, 3, 5)
    with pytest.raises(ValueError, match="no quantiles"):
        quantiles([], (0.5,))
