"""Stage 4: how many requests a model server runs at once, learned where nobody says: one step at a time, from 1.

What is compared is tokens a second, as whoever waits for them sees it: those of the answers, over the seconds from the
grant of each lease to the end of its answer. The server's own figures will not do. An Ollama without
OLLAMA_NUM_PARALLEL runs one request of a model and lets a second wait inside: its decode time for both is that of one
alone, and two streams of that speed would look like twice the work. Seen from outside each takes twice as long, so the
total stays what it was, no step up is kept, and the second request waits here, where it can be moved and has its turn.
A prompt that holds up the streams beside it is in that figure too, as it should be.

A step up is a trial, for nobody knows the total at a limit that was never run: at k with all leases in use it is
measured, then at k + 1. Where that is not `GAIN` times as much, or a stream runs at less than half the speed of one
alone, the trial ends, and the next one is after a pause, which doubles from trial to trial that fails. A limit that was
kept goes down again when its streams fall below half.
"""

import math
from dataclasses import dataclass, replace

from herd.types import Seconds, Tokens

# A further stream takes memory, and slows down the others: for less than this it is not worth it. Where requests are
# batched at all, the second stream brings most of a stream's speed.
GAIN = 1.05
# Of the speed of a stream alone. Below, whoever reads along sees that others are served.
SLOWEST = 0.5
# Completions at full occupancy for a step, and the time that these span at least: a burst of short answers is no
# measurement.
LEAST = 20
DWELL_S = Seconds(60.0)

# With a tenth more time a step for each further stream, which is the order that batched decoding costs, streams run at
# half speed from the 11th. And each takes memory for its context. A server for more than this has somebody who set it
# up, and can say so with --parallel.
MOST = 16

# Completions of one measurement that are kept, the latest: two a second over the dwell.
KEPT = 120
# Share of them that is left out at either end: an answer whose client reads slowly, or one that ended at its first
# token, says nothing of the server.
TRIMMED = 0.1

# Two measurements further apart compare an evening with an afternoon. Twenty answers of six minutes each fit in it.
COMPARABLE_S = Seconds(7200.0)

# Standard errors. A measurement nearer than this to the line on which the step depends goes on, until `KEPT` are there.
# With prompts and answers as unlike each other as those of people who chat, twenty of them are off by 7 per cent.
SURE = 2.0

# How long no trial follows one that failed. A trial in vain costs little: one request waits in the server in place of
# the router. After the longest pause a server that was set up anew in between is found out within half a day.
FIRST_PAUSE_S = Seconds(600.0)
LONGEST_PAUSE_S = Seconds(4 * 3600.0)

# Of its life a request must have spent so much at an occupancy to teach about it: between two requests of one client
# there are moments in which a lease is free.
STEADY = 0.9

# Seconds. Ollama reports a few hundredths as the load time of a model that is in memory.
LOADED_S = Seconds(0.5)


@dataclass(frozen=True, slots=True)
class Observation:
    """One answer that was served whole."""

    tokens: Tokens  # that were made
    began: Seconds  # when its lease was granted, monotonic
    full: float  # share of its life in which all leases were in use
    alone: float  # share of its life in which it ran alone
    load_s: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens, and the seconds they took, summed over streams."""

    tokens: float = 0.0
    seconds: float = 0.0

    @property
    def speed(self) -> float:
        """Tokens a second of one stream; 0 when nothing is known."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The limit, and what is known that the next step depends on. Times are monotonic."""

    limit: int = 1
    stepped: Seconds = Seconds(float("-inf"))  # when the limit last changed
    since: Seconds = Seconds(float("-inf"))  # what began earlier is not counted
    counted: tuple[Pace, ...] = ()  # completions at full occupancy since then, each for itself, latest last
    first: Seconds = Seconds(0.0)  # when the first of them ended
    alone: Pace = Pace()  # streams that ran alone, lately
    below: float = 0.0  # total tokens/s at the limit one lower, while this one is on trial; else 0
    pause: Seconds = FIRST_PAUSE_S  # after the next trial that fails
    until: Seconds = Seconds(float("-inf"))  # no trial before


def completed(state: Concurrency, seen: Observation, now: Seconds) -> Concurrency:
    """One more answer is whole; perhaps the limit is another now, by one."""
    seconds = now - seen.began
    if seen.load_s >= LOADED_S:
        return disturbed(state, now)
    if not seen.tokens or seconds <= 0 or seen.began < state.since:
        return state
    pace = Pace(seen.tokens, seconds)
    if seen.alone >= STEADY:
        state = replace(state, alone=_blended(state.alone, pace))
    if seen.full < STEADY:
        return state
    if not state.counted or now - state.first > COMPARABLE_S:
        state = replace(state, counted=(pace,), first=now)
    else:
        state = replace(state, counted=(*state.counted[1 - KEPT :], pace))
    if len(state.counted) < LEAST or now - state.first < DWELL_S:
        return state
    return _weighed(state, now)


def disturbed(state: Concurrency, now: Seconds) -> Concurrency:
    """A model was loaded on the machine, or something else makes what runs now useless for comparing: count anew."""
    return replace(state, since=now, counted=())


def other_work(state: Concurrency, now: Seconds) -> Concurrency:
    """What follows is counted in another unit than what came before: nothing of that can be compared with it."""
    return replace(disturbed(state, now), alone=Pace(), below=0.0)


def _weighed(state: Concurrency, now: Seconds) -> Concurrency:
    """Enough may have been seen at this limit: keep it, leave it, or try the next."""
    speed, error = _measured(state.counted)
    slowest = SLOWEST * state.alone.speed if state.limit > 1 else 0.0
    least = max(slowest, GAIN * state.below / state.limit)  # of one stream, for the limit to stay
    if len(state.counted) < KEPT and abs(speed - least) < SURE * error:
        return state  # too close to call: look on
    if state.below and now - state.stepped > COMPARABLE_S:
        return _step(state, -1, now)  # below what is long ago; to be measured and tried again
    if speed < least:
        longer = Seconds(min(2 * state.pause, LONGEST_PAUSE_S))
        return replace(_step(state, -1, now), until=Seconds(now + state.pause), pause=longer)
    if state.below:
        state = replace(state, below=0.0, pause=FIRST_PAUSE_S)
    if state.limit < MOST and now >= state.until:
        return replace(_step(state, +1, now), below=speed * state.limit)
    return replace(state, counted=())


def _step(state: Concurrency, by: int, now: Seconds) -> Concurrency:
    return replace(state, limit=state.limit + by, stepped=now, since=now, counted=(), below=0.0)


def _measured(paces: tuple[Pace, ...]) -> tuple[float, float]:
    """Tokens a second of a stream, without the slowest and the quickest; and the standard error of that ratio."""
    cut = int(len(paces) * TRIMMED)
    kept = sorted(paces, key=lambda pace: pace.speed)[cut : len(paces) - cut]
    seconds = sum([pace.seconds for pace in kept])
    speed = sum([pace.tokens for pace in kept]) / seconds
    error = math.sqrt(sum([(pace.tokens - speed * pace.seconds) ** 2 for pace in kept])) / seconds
    return speed, error


def _blended(former: Pace, pace: Pace) -> Pace:
    """One more, in a sum that forgets: about as many count as a step takes."""
    keep = 1 - 1 / KEPT
    return Pace(keep * former.tokens + pace.tokens, keep * former.seconds + pace.seconds)
