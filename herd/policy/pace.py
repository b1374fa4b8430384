"""How long loads, prompts and answers take on a node: from what was seen there, else from its hardware."""

import math
from dataclasses import dataclass, replace

from herd.policy.values import Hardware, MemoryKind, ModelView
from herd.types import Bytes, GiB, MiB, NodeId, Seconds, Tokens

# Decoding reads the active weights once a token, and reaches some 45 to 80 % of the memory's bandwidth in published
# runs of llama.cpp (discussions 4167 and 15013).
DECODE_EFFICIENCY = 0.6
# Prompt tokens for each decoded one: about 3.5 without a GPU, 10 on Apple's, 50 on cards of their own (the same runs).
PREFILL_FACTOR = {MemoryKind.RAM: 3.5, MemoryKind.UNIFIED: 10.0, MemoryKind.VIDEO: 50.0}
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
USUAL_ANSWER = Tokens(256)

HALF_LIFE_S = 7 * 86_400.0  # what was seen a week ago counts half
MOST_WEIGHT = 20.0  # so that a machine that changes is known anew after some tens of requests
TRUSTED = 3.0  # from this weight on a single outlier is cut off
OUTLIER = math.log(2.0)  # beyond twice or half of what is expected
MOST_LOG = math.log(1e12)  # beyond it nothing is a time or a rate: what a server says may be anything

# Shorter ones say more about the request's overheads than about the machine.
LEAST_PROMPT, LEAST_ANSWER, LEAST_LOAD_S = 64, 8, 0.5


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


@dataclass(frozen=True, slots=True)
class Observed:
    """A request that was served whole. Zero where its server does not say."""

    node: NodeId
    model: str  # canonical name
    prompt: Tokens
    completion: Tokens
    load: Seconds
    prefill: Seconds
    decode: Seconds
    at_once: int = 1  # requests that ran on this model when it began, itself included


@dataclass(frozen=True, slots=True)
class Learned:
    """What was seen of one model on one node; rates in tokens/s of one stream, as if it had run alone."""

    load: Estimate | None = None
    prefill: Estimate | None = None
    decode: Estimate | None = None


def learned(before: Learned, one: Observed, now: Seconds) -> Learned:
    """What is known after one more request."""
    after = before
    crowd = 1.0 + CROWDING * (max(1, one.at_once) - 1)
    if one.load >= LEAST_LOAD_S:
        after = replace(after, load=seen(before.load, one.load, now))
    if one.prompt >= LEAST_PROMPT and one.prefill > 0:
        after = replace(after, prefill=seen(before.prefill, one.prompt / one.prefill * crowd, now))
    if one.completion >= LEAST_ANSWER and one.decode > 0:
        after = replace(after, decode=seen(before.decode, one.completion / one.decode * crowd, now))
    return after


@dataclass(frozen=True, slots=True)
class Pace:
    """What to expect of one model on one node: seconds of a load, and tokens/s of a request that runs alone."""

    load: Seconds
    prefill: float
    decode: float


def pace(hardware: Hardware, model: ModelView, known: Learned | None = None) -> Pace:
    """What was learned, and for the rest what the hardware makes likely: bandwidth / bytes read per token.

    A throttled machine is slower than either; loads, which wait for the disk, are not.
    """
    size = model.size or model.size_resident or USUAL_SIZE
    bandwidth = hardware.bandwidth or USUAL_BANDWIDTH
    decode = bandwidth * DECODE_EFFICIENCY / max(size * model.active_share, MiB)
    prefill = decode * PREFILL_FACTOR[hardware.kind]
    load = LOAD_FLOOR_S + size / DISK_RATE
    known = known or Learned()
    share = THROTTLED if hardware.throttled else 1.0
    return Pace(
        Seconds(known.load.value if known.load else load),
        share * (known.prefill.value if known.prefill else prefill),
        share * (known.decode.value if known.decode else decode),
    )
