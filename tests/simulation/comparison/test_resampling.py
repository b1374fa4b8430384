"""Bootstrap intervals: on figures whose distribution is known."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.simulation.comparison.resampling import FEWEST, Estimate, Verdict, mean, ratio

FEW = 200  # resamples, where only the rules of an interval are looked at


def drawn(seed: int, count: int) -> tuple[list[float], list[float]]:
    """Two policies over fleets that differ much from each other; the first takes 0.8 of what the second does."""
    dice = random.Random(seed)
    fleets = [dice.lognormvariate(1.0, 0.8) for _ in range(count)]
    # Noise of mean 1, so that the ratio of the expected values is 0.8 exactly.
    noise = [[dice.lognormvariate(-0.02, 0.2) for _ in range(count)] for _ in range(2)]
    pairs = [
        [share * fleet * one for fleet, one in zip(fleets, own, strict=True)]
        for share, own in zip((0.8, 1), noise, strict=True)
    ]
    return pairs[0], pairs[1]


def test_about_19_of_20_intervals_hold_the_true_ratio() -> None:
    found = [ratio(*drawn(seed, 20), resamples=400) for seed in range(300)]

    held = sum(one is not None and one.low <= 0.8 <= one.high for one in found)
    # With twenty values of a skewed distribution a bootstrap misses a little more than it says.
    assert 0.9 <= held / len(found) <= 0.985


def test_about_19_of_20_intervals_hold_the_true_mean() -> None:
    dice = random.Random(5)
    found = [mean([dice.gauss(10.0, 3.0) for _ in range(20)], resamples=400) for _ in range(300)]

    assert 0.9 <= sum(one.low <= 10.0 <= one.high for one in found) / len(found) <= 0.985


def test_pairs_are_kept_so_fleets_that_differ_make_no_difference() -> None:
    own, other = drawn(1, 20)
    turned = [*own[7:], *own[:7]]  # as if the policies had met fleets of their own

    paired, unpaired = ratio(own, other), ratio(turned, other)

    assert paired is not None
    assert unpaired is not None
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 3


def test_the_same_values_have_the_same_interval() -> None:
    assert ratio(*drawn(2, 20)) == ratio(*drawn(2, 20))


def test_a_ratio_that_is_the_same_for_every_seed_is_certain() -> None:
    values = [1.0, 10.0, 100.0, 3.0, 7.0, 5.0]
    assert ratio(values, [2 * value for value in values]) == Estimate(0.5, 0.5, 0.5)
    assert ratio(values, values) == Estimate(1.0, 1.0, 1.0)


@pytest.mark.parametrize("count", range(1, FEWEST))
def test_a_few_seeds_say_nothing_of_others(count: int) -> None:
    assert ratio([1.0] * count, [2.0] * count) == Estimate(0.5, -math.inf, math.inf)
    assert mean([3.0] * count) == Estimate(3.0, -math.inf, math.inf)


def test_there_is_no_ratio_to_nothing() -> None:
    assert ratio([1.0, 2.0], [0.0, 0.0]) is None
    # Draws that catch nothing but zeros of the other are without end.
    some = ratio([0.0, 1.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    assert some is not None
    assert (some.value, some.low < some.value, some.high) == (0.75, True, math.inf)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.8, 0.99, Verdict.BETTER),
        (1.01, 3.0, Verdict.WORSE),
        (0.9, 1.1, Verdict.OPEN),
        (1.0, 1.0, Verdict.OPEN),
        (-math.inf, math.inf, Verdict.OPEN),
    ],
)
def test_what_holds_one_is_open(low: float, high: float, verdict: Verdict) -> None:
    assert Estimate((low + high) / 2, low, high).verdict is verdict


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e6)), min_size=FEWEST, max_size=25),
    st.floats(0.01, 100),
)
def test_an_interval_is_made_of_ratios_that_could_be_and_knows_no_unit(
    pairs: list[tuple[float, float]], unit: float
) -> None:
    own, other = [one for one, _ in pairs], [two for _, two in pairs]
    found = ratio(own, other, resamples=FEW)
    assert found is not None

    each = [one / two for one, two in pairs]
    assert min(each) * (1 - 1e-9) <= found.low <= found.high <= max(each) * (1 + 1e-9)
    scaled = ratio([one * unit for one in own], [two * unit for two in other], resamples=FEW)
    assert scaled is not None
    assert scaled.value == pytest.approx(found.value)
