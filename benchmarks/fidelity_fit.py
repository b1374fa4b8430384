"""From what a real server was measured to do, to a profile that the simulator can run. Pure: figures in, figures out.

All robust, for other programs take their turns on the same machine: medians of what was repeated, slopes by Theil and
Sen (the median of the slopes of all pairs), and no step in which one bad figure decides.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.machine.pace import MachineProfile
from herd.types import Bytes, Capability, GiB, Seconds, Tokens

# SmolLM2-135M: 30 layers, 3 KV heads of 64 (its config.json); a key and a value of 2 bytes a number.
KV_PER_TOKEN = Bytes(2 * 30 * 3 * 64 * 2)
CONTEXT = Tokens(8192)  # what it was trained for

# Shorter prompts say more of what a request costs at all than of what a token of a prompt does.
LEAST_PROMPT = 64


@dataclass(frozen=True, slots=True)
class Prefill:
    """A prompt, alone on the server."""

    prompt: int
    seconds: float  # from asking to the first token


@dataclass(frozen=True, slots=True)
class Decode:
    """Steps in which so many requests got a token each."""

    batch: int
    context: float  # tokens of keys and values that all of them together held, on average
    seconds: float  # of a step, the mean: what a request takes is a sum of them


@dataclass(slots=True)
class Calibration:
    """All that was measured of a server."""

    load_s: Seconds = Seconds(0.0)  # from the start of its process until it listens, its file in the page cache
    prefills: list[Prefill] = field(default_factory=list)
    decodes: list[Decode] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fit:
    """What a step takes: `step_s x (1 + batch_cost x (batch - 1)) + context_s x context`, and a prompt before it."""

    load_s: Seconds
    step_s: float  # one token of one request, without context
    context_s: float  # more for each token of context
    batch_cost: float
    prompt_s: float  # a token of a prompt

    def alone_s(self, prompt: int, answer: int) -> float:
        """Seconds of a request that has the server for itself."""
        return prompt * self.prompt_s + answer * (self.step_s + self.context_s * (prompt + answer / 2))

    def context_cost(self, model_size: int) -> float:
        """How many times as long a byte of keys and values takes as a byte of the weights."""
        return self.context_s / (self.step_s * KV_PER_TOKEN / model_size)

    def machine(self, model_size: int) -> MachineProfile:
        """The profile. Of bandwidth and efficiency only the product is known, so the efficiency is 1."""
        return MachineProfile(
            name="measured",
            chip="measured",
            memory=Bytes(64 * GiB),  # more than any test of it takes
            model_memory=Bytes(64 * GiB),
            gpu=False,
            bandwidth=model_size / self.step_s,
            decode_efficiency=1.0,
            prefill_batch=self.step_s / self.prompt_s,
            disk_rate=float("inf"),  # one file says nothing of a rate: the floor has all of its load
            load_floor=self.load_s,
            batch_cost=self.batch_cost,
        )


def fit(found: Calibration) -> Fit:
    """The figures that come nearest to what was found.

    - `context_s`: the Theil-Sen slope of lone steps over their contexts; `step_s`: the median of what is left of them;
    - `batch_cost`: the median over steps of two and more of (step - its context's part) / `step_s` - 1, for each
      request beyond the first;
    - `prompt_s`: the median over prompts of `LEAST_PROMPT` and more of (seconds - one step) / prompt, for the first
      token takes a step of its own in `herd.simulation.ollama.engine`.

    Raises:
        ValueError: there are no two contexts, no batch or no prompt among them.
    """
    alone = [one for one in found.decodes if one.batch == 1]
    context_s = max(0.0, slope([(one.context, one.seconds) for one in alone]))
    step_s = median(one.seconds - context_s * one.context for one in alone)
    together = [one for one in found.decodes if one.batch > 1]
    prompts = [one for one in found.prefills if one.prompt >= LEAST_PROMPT]
    if not together or not prompts:
        raise ValueError("a fit needs steps of more than one request, and prompts that are not short")
    cost = median(((one.seconds - context_s * one.context) / step_s - 1) / (one.batch - 1) for one in together)
    prompt_s = median((one.seconds - step_s - context_s * one.prompt) / one.prompt for one in prompts)
    return Fit(found.load_s, step_s, context_s, max(0.0, cost), prompt_s)


def simulated(name: str, size: int, context_cost: float = 1.0) -> SimulatedModel:
    """The model. Where keys and values cost more than their bytes, it is given more of them."""
    kv = Bytes(round(KV_PER_TOKEN * context_cost))
    return SimulatedModel(name, Bytes(size), "134.52M", "Q4_1", "llama", CONTEXT, (Capability.COMPLETION,), kv)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By Theil and Sen. Raises ValueError without two different x."""
    slopes = [(one[1] - other[1]) / (one[0] - other[0]) for one, other in combinations(points, 2) if one[0] != other[0]]
    if not slopes:
        raise ValueError("a slope needs two different x")
    return median(slopes)


# --- How far off ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Error:
    """|told - true| / true over requests, and how it leans."""

    count: int
    median: float
    p90: float
    lean: float  # median of (told - true) / true: above 0 when what is told is too long


def error(pairs: Iterable[tuple[float, float]]) -> Error:
    """Of pairs (told, true). Raises ValueError when there are none, or one of the true ones is not above 0."""
    shares = [_share(told, true) for told, true in pairs]
    if not shares:
        raise ValueError("an error needs something that happened")
    sizes = [abs(share) for share in shares]
    return Error(len(shares), median(sizes), quantile(sizes, 0.9), median(shares))


def quantile(values: Iterable[float], level: float) -> float:
    """The value below which that share of them lies, interpolated."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _share(told: float, true: float) -> float:
    if true <= 0:
        raise ValueError(f"{true} s is no time that a request takes")
    return (told - true) / true
