"""Traces of requests put on a small fleet: their clock stretched, and what they do not tell drawn from one seed.

- Who asks: people by Zipf's law with exponent 1, and for a share of the conversations programs that nobody waits for.
- For which model: by weight, for a whole conversation.
- Conversations of a trace that has blocks: rows whose prompts begin alike beyond what a great part of all rows begins
  with. They have one client and one model, and keep their blocks.
- Conversations of a trace that has none: a row is the next turn of its client's conversation with a chance of
  `CONTINUES`, if the prompt is long enough to hold what was said and the last answer can have been read by then.

Rows that tell their client and model keep them: a client has a conversation with each of its models, and nobody knows
which of its requests were a program's, so all are a person's.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from herd.errors import ConfigError
from herd.simulation.workload.clients import (
    Choice,
    Conversation,
    Instructions,
    clients_of,
    models_that,
    patience,
    within_context,
)
from herd.simulation.workload.generator import READING_RATE
from herd.simulation.workload.requests import BLOCK_TOKENS, SimulatedRequest
from herd.simulation.workload.trace_files import MOST_ROWS, TraceRow, read_azure, read_mooncake, read_trace
from herd.types import Priority, Seconds, Tokens

__all__ = ["TraceRow", "read_azure", "read_mooncake", "read_trace", "requests_of", "stretched"]

# Chance that a client goes on with its conversation where it can. An assumption.
CONTINUES = 0.6

# A block that more rows than this share begin with is a service's instructions, not a conversation. And no conversation
# has more turns than this: an assumption.
COMMON_SHARE = 0.05
MOST_TURNS = 50


def stretched(
    rows: Sequence[TraceRow],
    *,
    rate: float,
    start: Seconds = Seconds(0.0),
    duration: float = math.inf,
    limit: int = MOST_ROWS,
) -> list[TraceRow]:
    """The rows from `start` of the trace's clock on, that clock stretched so that they come `rate` a second on average.

    How many requests a burst has and how it stands out stays as it was (the coefficient of variation of the gaps, and
    the dispersion of counts in windows that hold as many requests); how many seconds it takes does not: ten requests
    in one second of a trace of five a second come in 100 s at 0.05 a second. An hour of a service becomes days, and
    its hour of the day means nothing any more. Rows with the same time are spread evenly until the next time, for a
    clock that ticks every few seconds is no burst.

    Args:
        rows: in order of time.
        rate: requests a second, over all rows from `start` on.
        start: seconds of the trace's own clock that are left out.
        duration: seconds of the stretched clock after which rows are left out.
        limit: so many rows at most.

    Raises:
        ConfigError: the rate is no positive number, or no row is left.
    """
    if not 0 < rate < math.inf:
        raise ConfigError(f"a trace cannot be stretched to {rate:g} requests a second: give a number above 0")
    taken = [row for row in rows if row.at >= start]
    if not taken:
        raise ConfigError(f"the trace has no request after {start:g} s: start earlier")
    times = _spread([row.at for row in taken])
    # The last request has a gap after it like the others: n requests a second are n gaps.
    factor = len(taken) / rate / (times[-1] - times[0] + _mean_gap(times))
    if not math.isfinite(factor * (times[-1] - times[0])):
        raise ConfigError(f"a trace cannot be stretched to {rate:g} requests a second: give a greater number")
    moved = (replace(row, at=Seconds((at - times[0]) * factor)) for row, at in zip(taken, times, strict=True))
    return list(itertools.islice(itertools.takewhile(lambda row: row.at < duration, moved), limit))


def _mean_gap(times: Sequence[float]) -> float:
    """Seconds between two, on average; 1 for a single one, whose clock cannot be told."""
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 1.0


def _spread(times: Sequence[Seconds]) -> list[float]:
    """Equal times are spread until the next one; the last of them as far as the mean tick, or over a second."""
    counts = [(at, len(list(group))) for at, group in itertools.groupby(times)]
    ends = [at for at, _ in counts[1:]] + [counts[-1][0] + _mean_gap([at for at, _ in counts])]
    return [
        at + (end - at) * number / count
        for (at, count), end in zip(counts, ends, strict=True)
        for number in range(count)
    ]


# --- Requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asker:
    client: str
    model: str
    priority: Priority


class _Askers:
    """Draws who asks, and whom.

    Args:
        rng: source of randomness.
        models: weights.
        clients: number of people; there are half as many programs.
        batch: share of conversations that are a program's.
    """

    def __init__(self, rng: random.Random, models: Mapping[str, float], clients: int, batch: float) -> None:
        answering = models_that(models, embed=False)
        if not answering:
            raise ConfigError("a trace of answers needs a model that answers: name one beside those for vectors")
        if clients < 1 or not 0 <= batch <= 1:
            raise ConfigError(
                f"{clients} clients with a share of {batch} for jobs: take at least 1, and a share of 0 to 1"
            )
        self._rng = rng
        self._models = Choice(answering)
        self._people = clients_of("person", clients)
        self._programs = clients_of("job", max(1, clients // 2))
        self._batch = batch

    def client(self) -> tuple[str, Priority]:
        if self._rng.random() < self._batch:
            return self._programs.draw(self._rng), Priority.BATCH
        return self._people.draw(self._rng), Priority.INTERACTIVE

    def model(self) -> str:
        return self._models.draw(self._rng)


def requests_of(
    rows: Sequence[TraceRow], *, seed: int, models: Mapping[str, float], clients: int = 8, batch: float = 0.15
) -> list[SimulatedRequest]:
    """The rows as requests, in their order.

    A prompt that would not fit into the model's context together with its answer is cut to what does, and so are its
    blocks; a prompt or an answer of no token has one. Models that make vectors are left out: traces are of answers.
    What is drawn is drawn for rows that do not tell it.

    Args:
        rows: in order of time, on the clock of the run (see `stretched`).
        seed: of all that is drawn.
        models: weights of the catalogue's models.
        clients: number of people; there are half as many programs.
        batch: share of conversations (of rows, where a trace has no blocks) that are a program's, with priority batch.

    Raises:
        ConfigError: a model is unknown or none answers, a weight, a count or a share makes no sense.
    """
    rng = random.Random(f"{seed} replay")  # noqa: S311 - a workload must come out again, and keeps no secret
    askers = _Askers(rng, models, clients, batch)
    if any(row.blocks for row in rows):
        return list(_told(rng, rows, askers))
    return list(_threaded(rng, rows, askers))


def _told(rng: random.Random, rows: Sequence[TraceRow], askers: _Askers) -> Iterator[SimulatedRequest]:
    """The blocks tell the conversations."""
    holders = Counter(block for row in rows for block in dict.fromkeys(row.blocks))
    common = max(MOST_TURNS, COMMON_SHARE * len(rows))
    known: dict[int, tuple[_Asker, str]] = {}
    for number, row in enumerate(rows, 1):
        own = [block for block in row.blocks if holders[block] <= common]
        talk = known.get(own[0]) if own else None
        if talk is None:
            client, priority = askers.client()
            talk = _Asker(client, askers.model(), priority), f"{client}/{number}"
            if own:
                known[own[0]] = talk
        yield _request(rng, row, *talk, row.blocks)


def _threaded(rng: random.Random, rows: Sequence[TraceRow], askers: _Askers) -> Iterator[SimulatedRequest]:
    """Conversations are threaded through the rows, and their blocks made up."""
    ids = itertools.count()
    instructions = Instructions(rng, ids)
    # By client, and its model where the row tells it: with the time it can go on at.
    open_talks: dict[tuple[str, str], tuple[_Asker, Conversation, float]] = {}
    for number, row in enumerate(rows, 1):
        client, priority = (row.client, Priority.INTERACTIVE) if row.client else askers.client()
        goes_on = rng.random() < CONTINUES
        talk = open_talks.get((client, row.model))
        if talk is None or not goes_on or row.at < talk[2] or not talk[1].fits(row.prompt):
            name = f"{client}/{number}"
            asker = _Asker(client, row.model or askers.model(), priority)
            talk = asker, Conversation(name, instructions.of(client), ids), 0.0
        asker, conversation, _ = talk
        prompt, completion = _fitting(row, asker.model)
        open_talks[client, row.model] = asker, conversation, row.at + completion / READING_RATE
        yield _request(rng, row, asker, conversation.name, conversation.turn(prompt, completion))


def _fitting(row: TraceRow, model: str) -> tuple[Tokens, Tokens]:
    completion = Tokens(max(1, row.completion))
    return within_context(model, row.prompt, completion), completion


def _request(
    rng: random.Random, row: TraceRow, asker: _Asker, session: str, blocks: tuple[int, ...]
) -> SimulatedRequest:
    prompt, completion = _fitting(row, asker.model)
    return SimulatedRequest(
        Seconds(row.at),
        asker.client,
        asker.model,
        prompt,
        completion,
        asker.priority,
        session,
        blocks[: math.ceil(prompt / BLOCK_TOKENS)],
        patience(rng, asker.priority),
    )
