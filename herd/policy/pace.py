"""How long loads, prompts and answers take on a node: from what was seen there, else from its hardware."""

import math
from bisect import bisect_left
from dataclasses import dataclass

from herd.policy.calibration import Calibration, calibrated
from herd.policy.values import Hardware, ModelView
from herd.policy.work import LEAST, PREFILL_FACTOR, USUAL, likely_audio_frames, likely_pixel_steps, size_for
from herd.types import Bytes, GiB, MiB, NodeId, Seconds, Tokens, Unit

# Decoding reads the active weights once a token, and reaches some 45 to 80 % of the memory's bandwidth in published
# runs of llama.cpp (discussions 4167 and 15013).
DECODE_EFFICIENCY = 0.6
# Files come from disk at the rate of an SSD, after a server process has begun: assumptions of the usual order.
DISK_RATE = 2e9
LOAD_FLOOR_S = 0.5
# A step takes so much longer for each further stream in it: an assumption of the usual order.
CROWDING = 0.1
# What a throttled machine still gives of its speed: nine tenths when a processor skips some of its boost, half when a
# card or a laptop is at its limit. An assumption between the two; what was learned holds some of such hours already.
THROTTLED = 0.7
# A model of 8 billion weights at 4 bits: for servers that do not say how large theirs is.
USUAL_SIZE = Bytes(5 * GiB)
USUAL_BANDWIDTH = 51e9  # two channels of DDR4-3200: for machines that say nothing of themselves
# Answers of chats are some hundred tokens long; what a model's answers really are is learned at once.
USUAL_ANSWER = USUAL[Unit.TOKEN]

# By how much a rate that follows from data sheets is off, as a standard deviation of its logarithm: by a third. An
# assumption.
UNSURE = 0.3

HALF_LIFE_S = 7 * 86_400.0  # what was seen a week ago counts half
MOST_WEIGHT = 20.0  # so that a machine that changes is known anew after some tens of requests
TRUSTED = 3.0  # from this weight on a single outlier is cut off
OUTLIER = math.log(2.0)  # beyond twice or half of what is expected
MOST_LOG = math.log(1e12)  # beyond it nothing is a time or a rate: what a server says may be anything

# Shorter ones say more about the request's overheads than about the machine.
LEAST_PROMPT, LEAST_LOAD_S = 64, 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive quantity that was seen several times: the mean of its logarithm, decayed by age."""

    log: float
    weight: float
    at: Seconds

    @property
    def value(self) -> float:
        return math.exp(self.log)


def seen(estimate: Estimate | None, value: float, now: Seconds) -> Estimate:
    """The estimate after one more observation of `value` > 0. One outlier among several moves it little."""
    log = min(max(math.log(value), -MOST_LOG), MOST_LOG)
    if estimate is None:
        return Estimate(log, 1.0, now)
    weight = estimate.weight * 0.5 ** (max(0.0, now - estimate.at) / HALF_LIFE_S)
    if weight >= TRUSTED:
        log = min(max(log, estimate.log - OUTLIER), estimate.log + OUTLIER)
    weight = min(weight + 1.0, MOST_WEIGHT)
    return Estimate(estimate.log + (log - estimate.log) / weight, weight, now)


# Streams at once between which a machine's speed is taken to change evenly, and up to how many count for each: for the
# nearest, as ratios go. But who ran alone ran alone for nearly all of the time.
CROWDS = (1, 2, 4, 8, 16)
COUNTS_TO = (1.1, 2.8, 5.7, 11.3)
# Factors are worked out up to here; beyond, each further stream adds what they did on average.
MOST_STREAMS = CROWDS[-1]
# How much is needed to believe that a machine is not like most: as two requests seen.
PRIOR = 2.0


def usual_crowd(streams: float) -> float:
    """How much longer a step takes with so many streams in it, on a machine of which nothing is known."""
    return 1.0 + CROWDING * (streams - 1)


@dataclass(frozen=True, slots=True)
class Rate:
    """Units a second of one stream, by how many ran at once. `rate` makes it: the rest follows from `seen`."""

    seen: tuple[Estimate | None, ...] = (None,) * len(CROWDS)  # for each of `CROWDS`
    alone: float = 0.0  # units/s of a request that runs alone; 0: nothing was seen
    crowd: tuple[float, ...] = ()  # seconds as a multiple of those alone: of 1 stream, of 2, up to `MOST_STREAMS`


USUAL_CROWD = tuple([usual_crowd(streams) for streams in range(1, MOST_STREAMS + 1)])
UNKNOWN = Rate(crowd=USUAL_CROWD)
_LOG_USUAL = tuple([math.log(usual_crowd(streams)) for streams in CROWDS])


def rate(estimates: tuple[Estimate | None, ...]) -> Rate:
    """What the estimates for each of `CROWDS` mean together.

    A request that ran alone says how fast that is. Until enough of them were seen, those that ran beside others say it
    too, as if the machine were like most. How much slower it gets beside others is what was seen, the more so the more
    was seen; where nothing was, each further stream adds as much as at the nearest number that was seen.
    """
    known = [(place, one) for place, one in enumerate(estimates) if one is not None]
    if not known:
        return UNKNOWN
    newest = max([one.at for _, one in known])
    weights = [one.weight * 0.5 ** ((newest - one.at) / HALF_LIFE_S) for _, one in known]
    sure, (first, one) = weights[0], known[0]
    alone = one.log
    if first != 0 or sure < TRUSTED:
        sure = sum(weights)
        alone = sum([w * (one.log + _LOG_USUAL[place]) for w, (place, one) in zip(weights, known, strict=True)]) / sure
    added: list[float | None] = [None] * len(CROWDS)  # by each further stream, where it was seen
    for weight, (place, one) in zip(weights, known, strict=True):
        if place:
            added[place] = _added(place, alone - one.log, min(weight, sure))
    crowd = USUAL_CROWD if known[-1][0] == 0 else _crowd(added)
    return Rate(estimates, math.exp(alone), crowd)


def _added(place: int, ratio: float, weight: float) -> float:
    """What each further stream adds, from the logarithm of how much longer a step took with so many."""
    log = (weight * ratio + PRIOR * _LOG_USUAL[place]) / (weight + PRIOR)
    # No machine does more than it can for one, nor less for many than one after another.
    return min(max(math.exp(min(log, MOST_LOG)) - 1.0, 0.0) / (CROWDS[place] - 1), 1.0)


def _crowd(added: list[float | None]) -> tuple[float, ...]:
    """The factor of every number of streams, from what each further stream adds at some of them."""
    factors, low, at = [1.0], 1.0, 1
    near = next(one for one in added if one is not None)
    for streams, seen_here in zip(CROWDS[1:], added[1:], strict=True):
        near = near if seen_here is None else seen_here
        high = max(low, 1.0 + near * (streams - 1))
        step = (high - low) / (streams - at)
        factors += [low + step * further for further in range(1, streams - at + 1)]
        low, at = high, streams
    return tuple(factors)


def crowded(crowd: tuple[float, ...], streams: int) -> float:
    """The factor for any number of streams from 1 on."""
    if streams <= MOST_STREAMS:
        return crowd[streams - 1]
    return 1.0 + (crowd[-1] - 1.0) * (streams - 1) / (MOST_STREAMS - 1)


@dataclass(frozen=True, slots=True)
class Observed:
    """A request that was served whole. Zero where its server does not say."""

    node: NodeId
    model: str  # canonical name
    prompt: Tokens
    completion: Tokens  # or the work in its own unit
    load: Seconds
    prefill: Seconds
    decode: Seconds
    first_token: Seconds = Seconds(0.0)  # from when it was sent to the node; 0 too for an answer that came in one piece
    at_once: float = 1.0  # requests that ran on this model meanwhile, on average, itself included
    cached: Tokens = Tokens(0)  # of the prompt: these did not have to be read again
    predicted: Seconds = Seconds(0.0)  # when it was placed here, or moved here: until the whole answer; 0: nothing was
    took: Seconds = Seconds(0.0)  # from then on, instead
    unit: Unit = Unit.TOKEN


@dataclass(frozen=True, slots=True)
class Learned:
    """What was seen of one model on one node."""

    load: Estimate | None = None
    prefill: Rate = UNKNOWN
    decode: Rate = UNKNOWN
    first_token: Estimate | None = None  # with the model in memory
    calibration: Calibration | None = None  # of what is predicted from these
    pixel_steps: Rate = UNKNOWN  # kilopixel-steps
    audio_frames: Rate = UNKNOWN
    batches: Estimate | None = None  # of texts for vectors: how many times as long as predicted they took

    def of(self, unit: Unit) -> Rate:
        """How fast it makes answers that are counted in this unit."""
        if unit is Unit.TOKEN:
            return self.decode
        return self.pixel_steps if unit is Unit.PIXEL_STEP else self.audio_frames


def learned(before: Learned, one: Observed, now: Seconds) -> Learned:
    """What is known after one more request."""
    load, prefill, first_token = before.load, before.prefill, before.first_token
    if one.load >= LEAST_LOAD_S:
        load = seen(load, one.load, now)
    elif one.first_token > 0 and one.unit is Unit.TOKEN:
        first_token = seen(first_token, one.first_token, now)
    read = one.prompt - one.cached
    if read >= LEAST_PROMPT and one.prefill > 0:
        prefill = _also(prefill, read / one.prefill, one.at_once, now)
    work = before.of(one.unit)
    if one.completion >= LEAST[one.unit] and one.decode > 0:
        work = _also(work, one.completion / one.decode, one.at_once, now)
    return Learned(
        load,
        prefill,
        work if one.unit is Unit.TOKEN else before.decode,
        first_token,
        calibrated(before.calibration, one.predicted, one.took, now),
        work if one.unit is Unit.PIXEL_STEP else before.pixel_steps,
        work if one.unit is Unit.AUDIO_FRAME else before.audio_frames,
        before.batches,
    )


def _also(before: Rate, value: float, at_once: float, now: Seconds) -> Rate:
    """The rate after one more request, that ran with so many at once, itself included."""
    streams = max(1.0, at_once)
    place = bisect_left(COUNTS_TO, streams)
    value *= usual_crowd(streams) / usual_crowd(CROWDS[place])  # as if there had been as many as those it counts for
    estimates = list(before.seen)
    estimates[place] = seen(estimates[place], value, now)
    return rate(tuple(estimates))


@dataclass(frozen=True, slots=True)
class Pace:
    """What to expect of one model on one node: seconds of a load, and tokens/s of a request that runs alone.

    `prefill_crowd` and `decode_crowd` say how much longer either takes beside others: `crowded(pace.decode_crowd, 3)`
    times as long with three at once.
    """

    load: Seconds
    prefill: float
    decode: float
    prefill_crowd: tuple[float, ...] = USUAL_CROWD
    decode_crowd: tuple[float, ...] = USUAL_CROWD


def doubt(known: Learned | None, unit: Unit = Unit.TOKEN) -> float:
    """The share of a predicted time that may well not be needed, 0 to 1: less, the more answers were seen.

    One standard error of the logarithm of a rate, when what the hardware makes likely counts as one answer.
    """
    seen_so_far = 0.0 if known is None else sum([one.weight for one in known.of(unit).seen if one is not None])
    return 1.0 - math.exp(-UNSURE / math.sqrt(1.0 + seen_so_far))


def pace(hardware: Hardware, model: ModelView, known: Learned | None = None) -> Pace:
    """What was learned, and for the rest what the hardware makes likely: bandwidth / bytes read per token.

    A throttled machine is slower than either; loads, which wait for the disk, are not.
    """
    size = size_for(Unit.TOKEN, model, USUAL_SIZE)
    decode = _likely_decode(hardware, size, model.active_share)
    prefill = decode * PREFILL_FACTOR[hardware.kind]
    load = LOAD_FLOOR_S + size / DISK_RATE
    known = known or Learned()
    share = THROTTLED if hardware.throttled else 1.0
    return Pace(
        Seconds(known.load.value if known.load else load),
        share * (known.prefill.alone or prefill),
        share * (known.decode.alone or decode),
        known.prefill.crowd,
        known.decode.crowd,
    )


def _likely_decode(hardware: Hardware, size: Bytes, active_share: float) -> float:
    """Tokens a second that the memory's bandwidth makes likely."""
    return (hardware.bandwidth or USUAL_BANDWIDTH) * DECODE_EFFICIENCY / max(size * active_share, MiB)


def work_rate(
    hardware: Hardware, model: ModelView, known: Learned | None, unit: Unit
) -> tuple[float, tuple[float, ...]]:
    """Units/s of a request that runs alone, for work that is not counted in tokens; and as in `Pace`, how much longer
    it takes beside others.

    What was learned, else what the hardware makes likely; a throttled machine is slower than either.
    """
    rates = UNKNOWN if known is None else known.of(unit)
    alone = rates.alone
    if not alone and unit is Unit.PIXEL_STEP:
        alone = likely_pixel_steps(hardware, hardware.bandwidth or USUAL_BANDWIDTH)
    elif not alone:
        size = size_for(unit, model, USUAL_SIZE)
        alone = likely_audio_frames(_likely_decode(hardware, size, model.active_share))
    return (THROTTLED if hardware.throttled else 1.0) * alone, rates.crowd
