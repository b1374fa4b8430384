"""How well a fleet served, from what its clients saw. Pure: samples in, figures out.

Two rules keep the figures honest. A request that was not served took for ever: it counts as infinite in every
percentile, so that a router which refuses what is slow gains nothing. And a client that hung up of its own choice says
nothing about the fleet: it is counted, and otherwise left out.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

from herd.simulation.machine.owners import OwnerState
from herd.types import Priority, Seconds, Tokens


class SampleOutcome(StrEnum):
    """How a request ended for its client."""

    SERVED = "served"
    FAILED = "failed"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"  # gave up because it took too long
    HUNG_UP = "hung_up"  # left of its own choice


@dataclass(frozen=True, slots=True)
class Sample:
    """One request, as its client saw it."""

    at: Seconds  # when it asked, since the start of the run
    client: str
    model: str
    priority: Priority
    outcome: SampleOutcome
    first_token: float  # seconds from asking; inf unless served
    completion: float  # seconds from asking to the whole answer; inf unless served
    prompt: Tokens
    tokens: Tokens  # of the answer
    node: str = ""  # who served
    queue: float = 0.0  # seconds it waited in a queue
    attempts: int = 1
    predicted: float | None = None  # seconds from its latest placement, or move, to the whole answer; None: nothing
    placed: float = 0.0  # seconds from asking to that placement
    ideal: float = 0.0  # seconds alone on an idle fleet's best machine with the model loaded; 0: nobody worked it out


@dataclass(frozen=True, slots=True)
class Loads:
    """Models loaded during the run."""

    count: int = 0
    seconds: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a request may take to be of use. Seconds from asking."""

    first_token: float
    completion: float


# A person's attention stays with a dialogue for about 10 s (Nielsen, "Response Times: The 3 Important Limits", 1993),
# and common chat pages give an answer up after 300 s, as Open WebUI does. A batch job is one of a night's many: an hour
# for each is an assumption.
LIMITS: Mapping[Priority, Limit] = {
    Priority.INTERACTIVE: Limit(first_token=10.0, completion=300.0),
    Priority.BATCH: Limit(first_token=math.inf, completion=3600.0),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure is distributed over requests. All None when there are none."""

    count: int  # requests, those that were not served included
    not_served: float | None  # share of them
    mean: float | None  # over the served ones alone, so to be read beside `not_served`
    p50: float | None  # over all: infinite when so many were not served
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Goodput:
    """What was served within its class's limit."""

    count: int
    per_second: float
    share: float | None  # of the requests whose clients stayed; None: there were none


@dataclass(frozen=True, slots=True)
class Fairness:
    """How evenly clients were treated. A client's slowdown is its mean of completion / ideal over what was served."""

    clients: int
    slowdown: float | None  # Jain's index over the clients' slowdowns; None: no client has one
    served: float | None  # Jain's index over the clients' served shares
    lightest: str  # who asked for the fewest tokens, prompts and answers together
    lightest_ratio: float | None  # its slowdown over the mean one; infinite when it has none


@dataclass(frozen=True, slots=True)
class PredictionError:
    """|predicted - actual| / actual of what was served, from the latest placement, or move, to the whole answer."""

    count: int
    median: float | None  # None: nothing had been predicted
    p90: float | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests by how they ended, and the tokens that were served."""

    requests: int = 0
    served: int = 0
    failed: int = 0
    refused: int = 0
    timed_out: int = 0
    hung_up: int = 0
    retried: int = 0  # took more than one attempt
    prompt: Tokens = Tokens(0)
    tokens: Tokens = Tokens(0)


@dataclass(frozen=True, slots=True)
class Summary:
    """One run in figures. Seconds, unless a field says otherwise."""

    duration: Seconds
    counts: Counts
    first_token: Spread
    completion: Spread
    queue: Spread  # of the served alone: nobody knows how long the others would have waited
    slowdown: Spread  # completion / ideal, where the ideal is known
    goodput: Goodput
    goodputs: Mapping[Priority, Goodput]  # by class
    fairness: Fairness
    prediction: PredictionError
    loads: Loads
    models: Mapping[str, Counts]  # by name, in its order
    nodes: Mapping[str, Counts]  # by name, in its order; what no node took is left out


def summary(
    samples: Iterable[Sample],
    *,
    limits: Mapping[Priority, Limit] = LIMITS,
    duration: Seconds | None = None,
    loads: Loads = Loads(),
) -> Summary:
    """All figures of one run.

    Args:
        samples: in any order, which the result does not depend on.
        limits: for each class that the samples name.
        duration: of the run, for what is per second. None: until the last request was asked or answered.
        loads: counted by the model servers, and passed on.

    Raises:
        KeyError: a sample's class has no limit.
    """
    told = list(samples)
    stayed = [one for one in told if one.outcome is not SampleOutcome.HUNG_UP]
    served = [one for one in stayed if one.outcome is SampleOutcome.SERVED]
    ends = [one.at for one in told] + [one.at + one.completion for one in served]
    span = Seconds(max(ends, default=0.0)) if duration is None else duration
    good = [one for one in served if _within(one, limits[one.priority])]
    return Summary(
        duration=span,
        counts=counts(told),
        first_token=spread([_or_never(one, one.first_token) for one in stayed]),
        completion=spread([_or_never(one, one.completion) for one in stayed]),
        queue=spread([one.queue for one in served]),
        slowdown=spread([_slowdown(one) for one in stayed if one.ideal > 0]),
        goodput=_goodput(good, stayed, span),
        goodputs={kind: _goodput(_of(kind, good), _of(kind, stayed), span) for kind in Priority if _of(kind, told)},
        fairness=fairness(stayed),
        prediction=prediction_error(served),
        loads=loads,
        models=_by(told, lambda one: one.model),
        nodes=_by([one for one in told if one.node], lambda one: one.node),
    )


def percentile(values: Iterable[float], percent: float) -> float | None:
    """The smallest of the values that at least `percent` of 100 of them do not exceed; None when there are none.

    The nearest-rank method: the value at rank ceil(percent / 100 x n), which is always one of the values. So one value
    is every percentile of itself, and an infinite one needs no arithmetic.

    Raises:
        ValueError: the percent is not above 0 and at most 100.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"a percentile is above 0 and at most 100, not {percent}")
    ordered = sorted(values)
    return ordered[math.ceil(percent * len(ordered) / 100) - 1] if ordered else None


def spread(values: Sequence[float]) -> Spread:
    """How these seconds are distributed; infinite ones are of requests that were not served."""
    finite = [value for value in values if value < math.inf]
    return Spread(
        count=len(values),
        not_served=1 - len(finite) / len(values) if values else None,
        mean=_mean(finite),
        p50=percentile(values, 50),
        p95=percentile(values, 95),
        p99=percentile(values, 99),
    )


def jain_index(shares: Sequence[float]) -> float | None:
    """1.0 when all have the same, 1 / n when one of n has everything; None for nobody.

    (sum x)^2 / (n x sum x^2), after Jain, Chiu and Hawe, "A Quantitative Measure of Fairness and Discrimination for
    Resource Allocation in Shared Computer Systems", DEC-TR-301, 1984. Nobody having anything is even: 1.0.
    """
    if not shares:
        return None
    squares = math.fsum([share * share for share in shares])
    return math.fsum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def fairness(samples: Iterable[Sample]) -> Fairness:
    """Between the clients of these samples; requests that were hung up are to be left out before."""
    clients: dict[str, list[Sample]] = {}
    for one in samples:
        clients.setdefault(one.client, []).append(one)
    # Infinite ones are in the served shares.
    known = {
        name: [s for one in own if one.ideal > 0 and (s := _slowdown(one)) < math.inf] for name, own in clients.items()
    }
    slowdowns = {name: mean for name, own in known.items() if (mean := _mean(own)) is not None}
    mean_slowdown = _mean(list(slowdowns.values()))
    shares = [_mean([float(one.outcome is SampleOutcome.SERVED) for one in own]) or 0.0 for own in clients.values()]
    # By name where two are as light, so that it does not depend on who came first.
    lightest = min(clients, key=lambda name: (sum(one.prompt + one.tokens for one in clients[name]), name), default="")
    return Fairness(
        clients=len(clients),
        slowdown=jain_index(list(slowdowns.values())),
        served=jain_index(shares),
        lightest=lightest,
        lightest_ratio=slowdowns.get(lightest, math.inf) / mean_slowdown if mean_slowdown else None,
    )


def prediction_error(samples: Iterable[Sample]) -> PredictionError:
    """How far the router's predictions were from what happened, over the served ones of these samples."""
    # The wait before a placement is known by then: counted in, it would make every error smaller.
    told = [(one.predicted, one.completion - one.placed) for one in samples if one.outcome is SampleOutcome.SERVED]
    errors = [abs(predicted - took) / took for predicted, took in told if predicted is not None and took > 0]
    return PredictionError(len(errors), percentile(errors, 50), percentile(errors, 90))


def counts(samples: Iterable[Sample]) -> Counts:
    """How these requests ended."""
    told = list(samples)
    served = [one for one in told if one.outcome is SampleOutcome.SERVED]
    ends = {outcome: sum(one.outcome is outcome for one in told) for outcome in SampleOutcome}
    return Counts(
        requests=len(told),
        served=len(served),
        failed=ends[SampleOutcome.FAILED],
        refused=ends[SampleOutcome.REFUSED],
        timed_out=ends[SampleOutcome.TIMED_OUT],
        hung_up=ends[SampleOutcome.HUNG_UP],
        retried=sum(one.attempts > 1 for one in told),
        prompt=Tokens(sum(one.prompt for one in served)),
        tokens=Tokens(sum(one.tokens for one in served)),
    )


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Seconds in which inference ran while the owner was busy: in a meeting, or else in heavy use."""

    meeting: Seconds = Seconds(0.0)
    heavy_use: Seconds = Seconds(0.0)

    @property
    def total(self) -> Seconds:
        return Seconds(self.meeting + self.heavy_use)

    def __add__(self, other: "Disturbance") -> "Disturbance":
        """Of two machines together."""
        return Disturbance(Seconds(self.meeting + other.meeting), Seconds(self.heavy_use + other.heavy_use))


def owner_disturbance(
    running: Iterable[tuple[float, float]], owner: Iterable[tuple[Seconds, OwnerState]]
) -> Disturbance:
    """How long inference was in its owner's way on one machine.

    Args:
        running: from when to when a request ran, in any order; two at once disturb no more than one.
        owner: the owner's state from each time on, in order of time, as `owners.week` gives it; idle before the first,
            and the last one lasts for ever.

    Raises:
        ValueError: something ended before it began.
    """
    spans = _merged(running)
    seconds = {"meeting": 0.0, "heavy_use": 0.0}
    behind = 0  # spans that ended before the state that is looked at
    for since, until, cause in _busy_times(owner):
        while behind < len(spans) and spans[behind][1] <= since:
            behind += 1
        for index in range(behind, len(spans)):
            begin, end = spans[index]
            if begin >= until:
                break
            seconds[cause] += min(end, until) - max(begin, since)
    return Disturbance(Seconds(seconds["meeting"]), Seconds(seconds["heavy_use"]))


def to_json(value: Summary | Disturbance) -> dict[str, Any]:
    """As plain dicts, strings and numbers, ready for any JSON writer and the same byte for byte every time.

    Floats are rounded to 6 digits after the point. JSON has no infinity: it is null, as is a figure that does not
    exist; a spread's `count` tells the two apart.
    """
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _or_never(one: Sample, seconds: float) -> float:
    return seconds if one.outcome is SampleOutcome.SERVED else math.inf


def _within(one: Sample, limit: Limit) -> bool:
    return one.first_token <= limit.first_token and one.completion <= limit.completion


def _slowdown(one: Sample) -> float:
    return _or_never(one, one.completion) / one.ideal


def _mean(values: Sequence[float]) -> float | None:
    """Of exact sums, so that it does not depend on the order."""
    return math.fsum(values) / len(values) if values else None


def _of(kind: Priority, samples: Iterable[Sample]) -> list[Sample]:
    return [one for one in samples if one.priority is kind]


def _goodput(good: Sequence[Sample], stayed: Sequence[Sample], span: Seconds) -> Goodput:
    return Goodput(
        count=len(good),
        per_second=len(good) / span if span > 0 else 0.0,
        share=len(good) / len(stayed) if stayed else None,
    )


def _by(samples: Iterable[Sample], key: Callable[[Sample], str]) -> dict[str, Counts]:
    groups: dict[str, list[Sample]] = {}
    for one in samples:
        groups.setdefault(key(one), []).append(one)
    return {name: counts(groups[name]) for name in sorted(groups)}


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times, in order and without overlap."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if end < begin:
            raise ValueError(f"what ran from {begin} cannot have ended at {end}")
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _busy_times(owner: Iterable[tuple[Seconds, OwnerState]]) -> Iterator[tuple[float, float, str]]:
    """From when to when the owner was busy, and with what."""
    since, state = 0.0, OwnerState()
    for at, following in chain(owner, [(Seconds(math.inf), OwnerState())]):
        if state.busy:
            yield since, at, "meeting" if state.meeting else "heavy_use"
        since, state = at, following
