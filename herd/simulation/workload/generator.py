"""A seeded workload of a household: people who talk, jobs at night, files that are indexed.

What is fitted to a trace: the lengths of prompts and answers (`lengths.CONVERSATION`), how the rate of requests swings
(`arrivals.Swing`) and how many go out side by side (`ALONGSIDE`). What no trace of a household tells is assumed, and
says so where it stands. Times do not wait for answers: a client's next turn comes when it would come on a fleet that
answers at reading pace.
"""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from herd.errors import ConfigError
from herd.simulation.workload.arrivals import HOUSEHOLD_WEEK, NIGHTLY_WEEK, SLOTS, Span, Swing, arrivals
from herd.simulation.workload.clients import (
    Choice,
    Conversation,
    Instructions,
    clients_of,
    models_that,
    patience,
    within_context,
    zipf_mix,
)
from herd.simulation.workload.lengths import CONVERSATION, Lengths
from herd.simulation.workload.requests import SimulatedRequest
from herd.types import Priority, Seconds, Tokens

# Models that people run, the most asked first.
HOUSEHOLD_MODELS: Mapping[str, float] = zipf_mix(
    ("llama3.2:3b", "qwen3:8b", "gemma3:4b", "qwen3:30b", "llama3.3:70b", "nomic-embed-text:latest")
)

# Requests of a person between sitting down and leaving, on average. ShareGPT's conversations have three to four turns,
# and a sitting holds more than one conversation: an assumption.
SITTING = 5.0

# A turn follows when the answer is read and the next message is written. Reading pace: 240 words a minute are 4 a
# second, at 4 tokens for 3 words. The thinking is lognormal, half a minute in the middle: an assumption.
READING_RATE = 5.3
THINKING_MEDIAN = 30.0
THINKING_SPREAD = 1.0

# Share of requests that go out beside the one before and have no part in its conversation: a title for the chat, a
# second tool. Fitted with `Swing`: without them the counts in windows of a few seconds are too even. How soon they come
# is an assumption.
ALONGSIDE = 0.1
ALONGSIDE_S = 0.5

# A job asks one thing after the other, each when the last is answered: an assumption.
JOB = 25.0
JOB_PAUSE = 15.0

# An indexed file is cut into pieces of 1000 letters (Open WebUI's CHUNK_SIZE), sent as fast as vectors come back. How
# long a file is, is an assumption.
PIECES = 20.0
PIECE_TOKENS = 250
PIECE_PAUSE = 0.2

# Sittings and jobs begin so long before the run, so that it does not begin with silence: few last longer.
LEAD = Seconds(2 * 3600.0)


@dataclass(frozen=True, slots=True)
class WorkloadSettings:
    """What to generate.

    Raises:
        ConfigError: a figure makes no sense, or a model is not in the catalogue.
    """

    duration: Seconds
    requests: float  # expected in all
    models: Mapping[str, float] = field(default_factory=lambda: dict(HOUSEHOLD_MODELS))  # weights
    clients: int = 8  # people and their tools; programs that run jobs are half as many
    batch: float = 0.15  # share of requests that belong to jobs
    embedding: float = 0.05  # share of requests that index files; none if no model embeds, all if none answers
    start_slot: int = 0  # hour of the local week at which the run begins; 0 is Monday 00:00
    week: Sequence[float] = HOUSEHOLD_WEEK  # weights of the 168 hours, for people
    lengths: Lengths = CONVERSATION
    swing: Swing = field(default_factory=Swing)

    def __post_init__(self) -> None:
        models_that(self.models, embed=False)
        Choice(self.models)
        rules = (
            (0 < self.duration < math.inf, f"a duration of {self.duration} s", "take seconds above 0"),
            (0 <= self.requests < math.inf, f"{self.requests} requests", "take a number from 0 on"),
            (self.clients >= 1, f"{self.clients} clients", "take at least one"),
            (min(self.batch, self.embedding) >= 0, "a share below 0", "take shares from 0 to 1"),
            (
                self.batch + self.embedding <= 1,
                "jobs and indexing beyond all requests",
                "let their shares be 1 at most",
            ),
            (self.start_slot in range(SLOTS), f"hour {self.start_slot} of the week", f"take 0 to {SLOTS - 1}"),
            (len(self.week) == SLOTS and min(self.week) >= 0, "a strange week", f"take {SLOTS} weights from 0 on"),
        )
        for holds, what, advice in rules:
            if not holds:
                raise ConfigError(f"no workload has {what}: {advice}")


def generate(seed: int, settings: WorkloadSettings) -> list[SimulatedRequest]:
    """The requests of a run, in order of time. The same seed and settings give the same ones."""
    household = _Household(seed, settings)
    answering, indexing = household.answering is not None, household.embedding is not None
    embedding = settings.embedding if answering and indexing else 1.0 if indexing else 0.0
    streams = (
        household.talks((1 - settings.batch - embedding) * settings.requests),
        household.jobs(settings.batch * settings.requests),
        household.indexing(embedding * settings.requests),
    )
    inside = [request for stream in streams for request in stream if 0 <= request.at < settings.duration]
    return sorted(inside, key=lambda request: request.at)


@dataclass(frozen=True, slots=True)
class _Asker:
    client: str
    model: str
    priority: Priority = Priority.INTERACTIVE


class _Household:
    """Every kind of request has a source of randomness of its own: more jobs leave the talks as they are."""

    def __init__(self, seed: int, settings: WorkloadSettings) -> None:
        self._seed = seed
        self._settings = settings
        answering, embedding = (models_that(settings.models, embed=embed) for embed in (False, True))
        self.answering = Choice(answering) if answering else None
        self.embedding = Choice(embedding) if embedding else None
        self._people = clients_of("person", settings.clients)
        self._programs = clients_of("job", max(1, settings.clients // 2))

    def talks(self, expected: float) -> Iterator[SimulatedRequest]:
        """People who sit down and ask."""
        if self.answering is None:
            return
        rng, ids, instructions = self._source("talks", 0)
        numbers = itertools.count(1)
        for start in self._begin(rng, expected / SITTING, self._settings.week):
            asker = _Asker(self._people.draw(rng), self.answering.draw(rng))
            # Drawn first and then put in order: the longer prompts are later turns, and all lengths stay as fitted.
            pairs = sorted(self._settings.lengths.draw(rng) for _ in range(_count(rng, SITTING)))
            conversation = None
            at, pause = start, 0.0
            for prompt, completion in pairs:
                beside = rng.random() < ALONGSIDE
                at = Seconds(at + (rng.expovariate(1 / ALONGSIDE_S) if beside else pause))
                if conversation is None or beside or not conversation.fits(prompt):
                    name = f"{asker.client}/{next(numbers)}"
                    conversation = Conversation(name, instructions.of(asker.client), ids)
                yield _asked(rng, at, asker, (prompt, completion), conversation)
                thinking = rng.lognormvariate(math.log(THINKING_MEDIAN), THINKING_SPREAD)
                pause = completion / READING_RATE + thinking

    def jobs(self, expected: float) -> Iterator[SimulatedRequest]:
        """Programs that go through a list: every request is a prompt of its own after the same instructions."""
        if self.answering is None:
            return
        rng, ids, instructions = self._source("jobs", 1)
        for start in self._begin(rng, expected / JOB, NIGHTLY_WEEK):
            asker = _Asker(self._programs.draw(rng), self.answering.draw(rng), Priority.BATCH)
            at = start
            for _ in range(_count(rng, JOB)):
                alone = Conversation("", instructions.of(asker.client), ids)
                yield _asked(rng, at, asker, self._settings.lengths.draw(rng), alone)
                at = Seconds(at + rng.expovariate(1 / JOB_PAUSE))

    def indexing(self, expected: float) -> Iterator[SimulatedRequest]:
        """Files that people add to what they ask about: a run of short inputs, and somebody waits for its end."""
        if self.embedding is None:
            return
        rng, ids, _ = self._source("indexing", 2)
        for start in self._begin(rng, expected / PIECES, self._settings.week):
            asker = _Asker(self._people.draw(rng), self.embedding.draw(rng))
            count = _count(rng, PIECES)
            at = start
            for number in range(count):
                length = PIECE_TOKENS if number < count - 1 else rng.randint(1, PIECE_TOKENS)
                yield _asked(rng, at, asker, (length, 0), Conversation("", (), ids))
                at = Seconds(at + rng.expovariate(1 / PIECE_PAUSE))

    def _source(self, kind: str, number: int) -> tuple[random.Random, Iterator[int], Instructions]:
        """Randomness, block ids that no other kind has, and instructions."""
        rng = random.Random(f"{self._seed} {kind}")  # noqa: S311 - a workload must come out again, and keeps no secret
        ids = itertools.count(number, 3)
        return rng, ids, Instructions(rng, ids)

    def _begin(self, rng: random.Random, expected: float, week: Sequence[float]) -> Iterator[Seconds]:
        settings = self._settings
        span = Span(settings.duration, settings.start_slot, LEAD)
        return arrivals(rng, expected, span, week, settings.swing)


def _asked(
    rng: random.Random, at: Seconds, asker: _Asker, lengths: tuple[int, int], conversation: Conversation
) -> SimulatedRequest:
    prompt, completion = lengths
    prompt = within_context(asker.model, prompt, completion)
    return SimulatedRequest(
        at,
        asker.client,
        asker.model,
        prompt,
        Tokens(completion),
        asker.priority,
        conversation.name,
        conversation.turn(prompt, completion),
        patience(rng, asker.priority),
    )


def _count(rng: random.Random, mean: float) -> int:
    """At least one, geometric: whoever asked may well ask once more."""
    return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / mean))
