"""The shape of the traffic that a router has seen, as rows of a trace: when, how long, for which model, by whom.

No text is in it, for a router keeps none; clients become numbers, and models become those that the simulator has. What
a router does not keep, as what prompts share and which requests are a program's, is drawn or assumed as for any trace
(`traces`).
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from herd.errors import ConfigError
from herd.names import canonical
from herd.simulation.machine.catalog import SimulatedModel
from herd.simulation.workload.requests import embeds
from herd.simulation.workload.trace_files import MOST_TOKENS, TraceRow
from herd.store.history import AskedRequest, History
from herd.store.records import KnownResidency
from herd.types import Outcome, Seconds, Tokens

# Lengths where a history tells none of any request: the medians of the Azure LLM Inference Trace 2023 (conversation).
USUAL_PROMPT, USUAL_ANSWER = Tokens(1020), Tokens(129)

# Models that a remark names: a house has about as many, and the rest is in the JSON.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a router's history becomes, and what was made of it on the way."""

    began: Seconds  # wall clock, of the first row
    rows: tuple[TraceRow, ...]
    played: Mapping[str, str]  # models that the simulator does not have, by the one that plays each, most asked first
    assumed: int  # rows of which a length was not known
    unknown: int  # requests left out: no node ever had their model
    vectors: int  # and these: of a model that makes vectors

    def remarks(self) -> Iterator[str]:
        """What whoever reads the figures has to know, in sentences."""
        if self.played:
            others = [f"{own} by {other}" for own, other in self.played.items()]
            more = f", and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            yield (
                "models that the simulator does not have are played by others, the nearest in size where "
                f"that is known: {', '.join(others[:SHOWN])}{more}"
            )
        for count, what in (
            (self.assumed, "as long as those of their model in the middle, for nobody knows their length"),
            (self.unknown, "left out: for models that no machine has had"),
            (self.vectors, "left out: for vectors, which no simulated fleet is asked for"),
        ):
            if count:
                yield f"requests {what}: {count}"
        yield "which requests belong to a conversation, and how long their clients wait, no router keeps: it is drawn"

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "requests": len(self.rows),
            "clients": len(dict.fromkeys(row.client for row in self.rows)),
            "played": dict(self.played),
            "assumed_lengths": self.assumed,
            "left_out": {"unknown_model": self.unknown, "vectors": self.vectors},
        }


def recorded(history: History, playable: Sequence[SimulatedModel]) -> Recorded:
    """The rows of a history, in order of time. What failed, was refused or given up was asked for too.

    Args:
        history: of a router.
        playable: the models that may be asked for, the most usual one first; at least one.

    Raises:
        ConfigError: nothing is left to be asked.
    """
    answering = [one for one in history.requests if not embeds(canonical(one.model))]
    asked = [one for one in answering if not (one.outcome == Outcome.REJECTED and one.status == 404)]
    if not asked:
        raise ConfigError("nothing that was asked of the router can be asked again: take requests from --trace instead")
    players = _players(asked, history.residencies, playable)
    clients = {name: f"client-{rank}" for rank, (name, _) in enumerate(_most(one.client for one in asked), 1)}
    prompts = _Lengths([(one.model, _prompt(one)) for one in asked], USUAL_PROMPT)
    answers = _Lengths([(one.model, _answer(one)) for one in asked], USUAL_ANSWER)
    began = asked[0].arrived
    rows = tuple(
        TraceRow(
            Seconds(one.arrived - began),
            prompts.of(one.model, _prompt(one)),
            answers.of(one.model, _answer(one)),
            client=clients[one.client],
            model=players[canonical(one.model)],
        )
        for one in asked
    )
    return Recorded(
        began,
        rows,
        {name: player for name, player in players.items() if name != player},
        sum(_prompt(one) is None or _answer(one) is None for one in asked),
        len(answering) - len(asked),
        len(history.requests) - len(answering),
    )


def _most(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names with how often they come: the most frequent first, of equal ones the first."""
    return Counter(names).most_common()


def _players(
    asked: Sequence[AskedRequest], residencies: Sequence[KnownResidency], playable: Sequence[SimulatedModel]
) -> dict[str, str]:
    """By a model's canonical name the one of `playable` that stands for it; the most asked first."""
    sizes = {one.model: one for one in residencies if min(one.size, one.context, one.slots) > 0}
    own = {model.name: model.name for model in playable}
    return {
        name: own.get(name) or _nearest(sizes.get(name), playable)
        for name, _ in _most(canonical(one.model) for one in asked)
    }


def _nearest(seen: KnownResidency | None, playable: Sequence[SimulatedModel]) -> str:
    """The model that takes most nearly what was seen of one, with the same context; the first if that is unknown."""
    if seen is None:
        return playable[0].name

    def far(model: SimulatedModel) -> float:
        context = Tokens(min(seen.context, model.context))
        return abs(math.log(model.resident(context, seen.slots) / seen.size))

    return min(playable, key=far).name


def _prompt(one: AskedRequest) -> int | None:
    """Tokens of a prompt; a model server that does not count them says 0."""
    return _counted(one.prompt)


def _answer(one: AskedRequest) -> int | None:
    """Tokens of an answer that came to its end."""
    return _counted(one.completion) if one.outcome == Outcome.SERVED else None


def _counted(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 < tokens <= MOST_TOKENS else None


class _Lengths:
    """Lengths of requests, those that are not known included.

    Args:
        known: models, each with a length where one is known.
        usual: what is assumed where none at all is.
    """

    def __init__(self, known: Sequence[tuple[str, int | None]], usual: Tokens) -> None:
        by_model: dict[str, list[int]] = {}
        for model, length in known:
            if length is not None:
                by_model.setdefault(canonical(model), []).append(length)
        self._middles = {model: median_low(lengths) for model, lengths in by_model.items()}
        every = [length for lengths in by_model.values() for length in lengths]
        self._middle = median_low(every) if every else usual

    def of(self, model: str, length: int | None) -> Tokens:
        """The length, or its model's median, or that of all."""
        return Tokens(length if length is not None else self._middles.get(canonical(model), self._middle))
