"""Who asks, for which model, in which conversation, and for how long they wait.

No public trace says so: all of this is drawn, from distributions that are named here.
"""

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from herd.errors import ConfigError
from herd.simulation.machine.catalog import CATALOG
from herd.simulation.workload.requests import BLOCK_TOKENS, embeds
from herd.types import Priority, Tokens

# A person's patience is lognormal: half hang up within three minutes, one in two hundred within half a minute. An
# assumption, below the longest: Open WebUI gives up after 300 s (its AIOHTTP_CLIENT_TIMEOUT), answered in part or not.
PATIENCE_MEDIAN = 180.0
PATIENCE_SPREAD = 0.7
LONGEST_PATIENCE = 300.0

# A message of a few words, with its template: what a conversation grows by at least.
LEAST_MESSAGE = 12

# Blocks of a client's own instructions, which all its conversations begin with: half of the clients have none, for they
# are chats; tools have a page, or two. An assumption.
_SYSTEM_BLOCKS = (0, 0, 0, 0, 0, 1, 1, 1, 1, 2)


def zipf_mix(names: Iterable[str], skew: float = 1.0) -> dict[str, float]:
    """Weights by Zipf's law: the name at rank r, from 1, weighs 1 / r^skew."""
    return {name: rank**-skew for rank, name in enumerate(names, 1)}


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice among names by weight.

    Raises:
        ConfigError: there is no name, or a weight is not a positive number.
    """

    weights: Mapping[str, float]
    names: tuple[str, ...] = field(init=False)
    sums: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        wrong = [name for name, weight in self.weights.items() if not 0 < weight < math.inf]
        if wrong or not self.weights:
            what = (
                f"the weight of {wrong[0]} is {self.weights[wrong[0]]}" if wrong else "there is nothing to choose from"
            )
            raise ConfigError(f"{what}: give at least one name, and every name a weight above 0")
        object.__setattr__(self, "names", tuple(self.weights))
        object.__setattr__(self, "sums", tuple(itertools.accumulate(self.weights.values())))

    def draw(self, rng: random.Random) -> str:
        return rng.choices(self.names, cum_weights=self.sums)[0]


def models_that(models: Mapping[str, float], *, embed: bool) -> dict[str, float]:
    """Of these models those that make vectors, or those that answer.

    Raises:
        ConfigError: the catalogue does not know one of them.
    """
    unknown = [name for name in models if name not in CATALOG]
    if unknown:
        raise ConfigError(f"the simulator has no model {unknown[0]}: take one of {', '.join(CATALOG)}")
    return {name: weight for name, weight in models.items() if embeds(name) is embed}


def clients_of(kind: str, count: int) -> Choice:
    """So many clients of a kind by Zipf's law with exponent 1: a few ask most. An assumption."""
    return Choice(zipf_mix(f"{kind}-{rank}" for rank in range(1, count + 1)))


def patience(rng: random.Random, priority: Priority) -> float:
    """Seconds after which a client hangs up; infinite for a job that nobody waits for."""
    if priority is Priority.BATCH:
        return math.inf
    return min(LONGEST_PATIENCE, rng.lognormvariate(math.log(PATIENCE_MEDIAN), PATIENCE_SPREAD))


def within_context(model: str, prompt: int, completion: int) -> Tokens:
    """The prompt, cut so that prompt and answer fit into the model's context; at least one token."""
    return Tokens(max(1, min(prompt, CATALOG[model].context - completion)))


class Instructions:
    """The system prompts of all clients, as block ids. Ids come from `ids`, in the order in which they are needed."""

    def __init__(self, rng: random.Random, ids: Iterator[int]) -> None:
        self._rng = rng
        self._ids = ids
        self._blocks: dict[str, tuple[int, ...]] = {}

    def of(self, client: str) -> tuple[int, ...]:
        if client not in self._blocks:
            self._blocks[client] = tuple(itertools.islice(self._ids, self._rng.choice(_SYSTEM_BLOCKS)))
        return self._blocks[client]


class Conversation:
    """What a client and a model have said so far: every turn's prompt holds all of it, and begins as the last one's.

    Args:
        name: of the conversation.
        system: blocks that it begins with, and shares with others.
        ids: where the ids of its own blocks come from.
    """

    def __init__(self, name: str, system: tuple[int, ...], ids: Iterator[int]) -> None:
        self.name = name
        self._system = system
        self._blocks: list[int] = []
        self._ids = ids
        self._said = 0

    def fits(self, prompt: int) -> bool:
        """Whether a prompt of this length can be its next turn: all that was said, and a message."""
        return prompt >= self._said + LEAST_MESSAGE

    def turn(self, prompt: int, completion: int) -> tuple[int, ...]:
        """The blocks of the next turn's prompt."""
        if not self._blocks:
            # Instructions that would leave no room for a question were not in this prompt.
            whole = len(self._system) * BLOCK_TOKENS + LEAST_MESSAGE <= prompt
            self._blocks += self._system if whole else ()
        count = math.ceil(prompt / BLOCK_TOKENS)
        self._blocks += itertools.islice(self._ids, max(0, count - len(self._blocks)))
        self._said = prompt + completion
        return tuple(self._blocks[:count])
