"""Whether predictions come true: how long answers took beside what was predicted of them, learned online.

What is held against what happened is the prediction as it was computed, from waits and paces. Nobody corrects a
prediction by what is learned here: what is learned of a corrected one would say nothing about the paces any more, and a
node that one slow client, or one bad hour, has given a bad name would get no request by which to lose it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from herd.policy.values import Candidate
from herd.types import Seconds

# A day: this says what a machine is like today, while paces, which hold for a week, say what it is like at all. It is
# an owner's work, a warm room or a new driver that makes the two differ, and they are mostly gone the day after.
HALF_LIFE_S = 86_400.0
# The mean of a hundred answers is known to a tenth of their spread. With more, a busy machine that changes would be
# known anew only the day after.
MOST_WEIGHT = 100.0
# What took 32 times as long as predicted, or as little, says no more than that something else happened: a laptop that
# slept, a client that read nothing, an answer of one word. Lengths of answers alone make for ten times.
FURTHEST = math.log(32.0)


class Prediction(NamedTuple):
    """What a placement, or a move to another queue, expects of a request."""

    seconds: Seconds  # from then on until the whole answer
    at: Seconds  # monotonic: then


class Check(NamedTuple):
    """A prediction, and what happened. Both count from the same moment to the whole answer."""

    predicted: Seconds
    took: Seconds


def predicted(candidate: Candidate) -> Seconds | None:
    """Seconds until the whole answer, where the candidate says; None for rankings that work nothing out."""
    seconds = candidate.wait + candidate.work
    return Seconds(seconds) if 0.0 < seconds < math.inf else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """log(took / predicted) of the answers of one model on one node, decayed by age."""

    log: float  # mean
    variance: float
    weight: float  # answers that count
    at: Seconds  # monotonic; of the latest one, or as of when the weight is

    @property
    def ratio(self) -> float:
        """How many times as long as predicted answers take: their geometric mean."""
        return math.exp(self.log)

    @property
    def spread(self) -> float:
        """Standard deviation of the logarithm."""
        return math.sqrt(self.variance)


def calibrated(before: Calibration | None, predicted: float, took: float, now: Seconds) -> Calibration | None:
    """What is known after one more answer; as before if there was no prediction, or no time passed.

    Mean and variance are updated as of weighted observations of which the latest has weight 1 (D. H. D. West, "Updating
    mean and variance estimates: an improved method", Communications of the ACM 22, 1979).
    """
    if not (0.0 < predicted < math.inf and 0.0 < took < math.inf):
        return before
    log = _bounded(math.log(took) - math.log(predicted))
    if before is None:
        return Calibration(log, 0.0, 1.0, now)
    former = min(_left(before, now), MOST_WEIGHT - 1.0)
    weight = former + 1.0
    off = log - before.log
    variance = former * (before.variance + off * off / weight) / weight
    return Calibration(_bounded(before.log + off / weight), min(variance, FURTHEST**2), weight, now)


def _bounded(log: float) -> float:
    return min(max(log, -FURTHEST), FURTHEST)


def aged(one: Calibration, now: Seconds) -> Calibration:
    """The same as of now: what was seen a day ago counts half."""
    return Calibration(one.log, one.variance, _left(one, now), now)


def _left(one: Calibration, now: Seconds) -> float:
    share: float = 0.5 ** (max(0.0, now - one.at) / HALF_LIFE_S)
    return one.weight * share


def together(several: Iterable[Calibration], now: Seconds) -> Calibration | None:
    """Of all answers of several models, as if they were one's; None when there are none."""
    known = [one for one in [aged(each, now) for each in several] if one.weight > 0.0]
    if not known:
        return None
    weight = math.fsum([one.weight for one in known])
    mean = math.fsum([one.weight * one.log for one in known]) / weight
    variance = math.fsum([one.weight * (one.variance + (one.log - mean) ** 2) for one in known]) / weight
    return Calibration(mean, variance, weight, now)
