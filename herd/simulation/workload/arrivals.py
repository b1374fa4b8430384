"""When things begin: by the hour of the week, and in bursts.

A Poisson process whose rate is piecewise constant: an hour's weight times the rate of one of two states, calm and busy,
that take turns (a Markov-modulated Poisson process). What begins is a sitting or a job of several requests, and that is
the other half of how bursty the requests are: with few clients by far the greater one.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from herd.types import Seconds

HOUR = 3600.0
SLOTS = 168  # hours of a week; slot 0 is Monday 00:00 local time

# How much a household asks, by the hour of the day: an assumption. A workday has office hours at home with a dip at
# noon, and the evening as its peak; a day off begins late and is even. Nights are quiet, not silent.
_WORKDAY = (
    *(0.3, 0.15, 0.05, 0.05, 0.05, 0.05, 0.2, 0.6, 1.0, 1.5, 1.6, 1.5),
    *(1.0, 1.3, 1.5, 1.5, 1.4, 1.3, 1.2, 1.6, 2.1, 2.1, 1.5, 0.7),
)
_DAY_OFF = (
    *(0.6, 0.3, 0.15, 0.05, 0.05, 0.05, 0.1, 0.2, 0.6, 1.0, 1.4, 1.5),
    *(1.3, 1.4, 1.5, 1.5, 1.5, 1.4, 1.3, 1.6, 1.9, 1.9, 1.5, 0.9),
)
HOUSEHOLD_WEEK: tuple[float, ...] = _WORKDAY * 5 + _DAY_OFF * 2

# When jobs begin that nobody waits for: at night, and now and then by day. An assumption.
_NIGHT = tuple(4.0 if hour in range(1, 5) else 0.2 for hour in range(24))
NIGHTLY_WEEK: tuple[float, ...] = _NIGHT * 7

# The same at any hour: what an hour of a trace is compared with.
EVEN_WEEK: tuple[float, ...] = (1.0,) * SLOTS


@dataclass(frozen=True, slots=True)
class Swing:
    """Two states that take turns: calm at 1 - depth times the mean rate, busy at 1 + depth.

    Fitted to the counts of requests in the Azure LLM Inference Trace 2023 (conversation), Azure Public Dataset, CC-BY
    4.0: their index of dispersion, variance over mean, in windows of 1, 10, 60 and 300 s is 1.4, 3.9, 16 and 62. Thirty
    generated hours at that trace's rate have 1.3, 3.6, 16 and 72 on average; single ones differ by half. The depth is
    more than the counts show, because a sitting spreads what begins together. `benchmarks/workload_fit.py` compares.
    """

    depth: float = 0.4
    dwell: Seconds = Seconds(500.0)  # mean length of a state


@dataclass(frozen=True, slots=True)
class Span:
    """A run, from 0 s to `duration`, and what goes before it."""

    duration: Seconds
    start_slot: int = 0  # hour of the week at 0 s
    lead: Seconds = Seconds(0.0)  # things begin so long before 0 s, at the same rate: a run does not start in silence

    def hours(self, since: float) -> Iterator[tuple[float, float, int]]:
        """Begin, end and slot of every hour from `since` on, the first and the last cut."""
        hour = math.floor(since / HOUR)
        while hour * HOUR < self.duration:
            yield max(since, hour * HOUR), min(self.duration, (hour + 1) * HOUR), (self.start_slot + hour) % SLOTS
            hour += 1


def arrivals(rng: random.Random, expected: float, span: Span, week: Sequence[float], swing: Swing) -> Iterator[Seconds]:
    """Times at which something begins, in order; `expected` of them within the run on average, the lead not counted.

    Args:
        rng: the source of randomness.
        expected: so many in the run; in a run of hours that all weigh nothing there is none.
        span: the run.
        week: weights of the hours of a week.
        swing: of the rate within the hours.
    """
    mass = sum((end - begin) * week[slot] for begin, end, slot in span.hours(0.0))
    if expected <= 0 or mass <= 0:
        return
    left = rng.expovariate(1.0)  # what the integral of the rate must grow by until the next
    for begin, end, slot, state in _pieces(rng, span, swing):
        rate = expected / mass * week[slot] * state
        at = begin
        while left < (end - at) * rate:
            at += left / rate
            yield Seconds(at)
            left = rng.expovariate(1.0)
        left -= (end - at) * rate


def _pieces(rng: random.Random, span: Span, swing: Swing) -> Iterator[tuple[float, float, int, float]]:
    """The run and its lead, cut where an hour ends and where the state changes: begin, end, slot, rate of the state."""
    state = 1 + rng.choice((-1, 1)) * swing.depth
    switch = rng.expovariate(1 / swing.dwell) - span.lead
    for begin, end, slot in span.hours(-span.lead):
        at = begin
        while switch < end:
            yield at, switch, slot, state
            at, state = switch, 2 - state
            switch += rng.expovariate(1 / swing.dwell)
        yield at, end, slot, state
