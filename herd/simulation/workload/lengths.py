"""How long prompts and answers are: quantiles fitted to a trace, and pairs drawn from them.

The fit keeps the quantiles of the prompts, and for every tenth of the prompts (the shortest tenth first) the quantiles
of their answers. So both lengths come out as in the trace, and so does what they have to do with each other, which no
coefficient tells: there, middling prompts have long answers, short and long prompts have short ones.
`benchmarks/workload_fit.py` does the fit again, for any trace.
"""

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from herd.types import Tokens

# Where the quantiles stand: closer where lengths spread out. The last ones keep the longest prompt of a trace from
# weighing on all above the quantile before it.
PROMPT_LEVELS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
ANSWER_LEVELS = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

# Bands of prompts that have answers of their own: enough to tell the kinds of requests in the trace apart.
BANDS = 10

# Requests a fit needs: with fewer, the outer quantiles of a band would be single requests.
LEAST_TO_FIT = 20 * BANDS


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of pairs of lengths.

    Raises:
        ValueError: quantiles fall, or are not as many as the levels.
    """

    prompts: tuple[int, ...]  # tokens, at PROMPT_LEVELS
    answers: tuple[tuple[int, ...], ...]  # tokens, at ANSWER_LEVELS: for every tenth of the prompts

    def __post_init__(self) -> None:
        rows = [(self.prompts, PROMPT_LEVELS), *((band, ANSWER_LEVELS) for band in self.answers)]
        if len(self.answers) != BANDS or any(len(row) != len(levels) for row, levels in rows):
            raise ValueError(f"{len(PROMPT_LEVELS)} prompts and {BANDS} x {len(ANSWER_LEVELS)} answers are needed")
        if any(row[0] < 1 or any(low > high for low, high in pairwise(row)) for row, _ in rows):
            raise ValueError("quantiles are positive and do not fall")

    def draw(self, rng: random.Random) -> tuple[Tokens, Tokens]:
        """A prompt's length and its answer's."""
        level = rng.random()
        prompt = _at(level, PROMPT_LEVELS, self.prompts)
        return prompt, _at(rng.random(), ANSWER_LEVELS, self.answers[int(level * BANDS)])


def fit(pairs: Sequence[tuple[int, int]]) -> Lengths:
    """The distribution of these (prompt, answer) pairs, lengths of zero counted as one.

    Raises:
        ValueError: there are fewer than LEAST_TO_FIT.
    """
    if len(pairs) < LEAST_TO_FIT:
        raise ValueError(f"{len(pairs)} requests are too few to fit lengths to: {LEAST_TO_FIT} are needed")
    counted = [(max(1, prompt), max(1, answer)) for prompt, answer in pairs]
    ordered = sorted(
        counted, key=itemgetter(0)
    )  # by the prompt alone: where many are alike, a tie must not sort answers
    edges = [len(ordered) * band // BANDS for band in range(BANDS + 1)]
    return Lengths(
        quantiles([prompt for prompt, _ in ordered], PROMPT_LEVELS),
        tuple(quantiles([answer for _, answer in ordered[low:high]], ANSWER_LEVELS) for low, high in pairwise(edges)),
    )


def quantiles(values: Sequence[int], levels: Sequence[float]) -> tuple[int, ...]:
    """The values at these levels, by nearest rank. Raises ValueError if there are none."""
    if not values:
        raise ValueError("no values, no quantiles")
    ordered = sorted(values)
    return tuple(ordered[min(len(ordered) - 1, int(level * len(ordered)))] for level in levels)


def _at(level: float, levels: Sequence[float], values: Sequence[int]) -> Tokens:
    """Between two quantiles the logarithm is taken to grow evenly: lengths spread by factors, not by sums."""
    right = bisect.bisect_right(levels, level)
    share = (level - levels[right - 1]) / (levels[right] - levels[right - 1])
    return Tokens(round(math.exp((1 - share) * math.log(values[right - 1]) + share * math.log(values[right]))))


# Fitted to the 19,366 requests of the Azure LLM Inference Trace 2023 (conversation), Azure Public Dataset, CC-BY 4.0.
CONVERSATION = Lengths(
    prompts=(2, 29, 181, 207, 387, 403, 703, 1020, 1071, 1130, 1315, 2735, 4083, 4142, 6212, 14050),
    answers=(
        (11, 16, 66, 112, 161, 189, 217, 217, 296, 1000),
        (7, 18, 18, 59, 76, 99, 162, 188, 217, 436),
        (24, 72, 80, 88, 96, 109, 131, 143, 171, 200),
        (25, 75, 81, 89, 99, 114, 140, 153, 200, 739),
        (10, 57, 81, 121, 395, 415, 448, 516, 609, 921),
        (33, 368, 379, 394, 406, 428, 478, 539, 667, 1000),
        (28, 363, 377, 393, 407, 429, 500, 569, 662, 1000),
        (26, 60, 92, 181, 396, 418, 453, 523, 643, 992),
        (15, 44, 50, 70, 95, 139, 191, 233, 421, 918),
        (17, 30, 35, 43, 58, 87, 132, 154, 261, 757),
    ),
)
