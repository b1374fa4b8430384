"""The LatencyLearner: how fast each model runs on each node, and how far predictions of it come true.

From the requests that were served whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from herd.actors import names
from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.actors.times import recalled, stored
from herd.policy.calibration import FURTHEST, MOST_WEIGHT, Calibration
from herd.policy.pace import CROWDS, MOST_LOG, USUAL_ANSWER, Estimate, Learned, Observed, Rate, learned, rate, seen
from herd.policy.work import USUAL
from herd.runtime import ActorHandle, get_actor
from herd.store.records import KnownCalibration, KnownEstimate, Record
from herd.types import NodeId, Tokens, Unit

# Pairs of node and model that are remembered: a thousand nodes with sixty models each.
MAX_PAIRS = 65_536

# What the Store knows the quantities by.
LOAD, FIRST_TOKEN, PREFILL, DECODE, ANSWER = "load", "first-token", "prefill", "decode", "answer"
BATCHES = "batches"
# Of work that is not counted in tokens its unit says what: rates by its name, and what is usually asked for.
OTHERS = (Unit.PIXEL_STEP, Unit.AUDIO_FRAME)
RATES = {Unit.TOKEN: DECODE} | {unit: unit.value for unit in OTHERS}
ANSWERS = {Unit.TOKEN: ANSWER} | {unit: f"{ANSWER} {unit.value}" for unit in OTHERS}
_UNITS = {what: unit for unit, what in ANSWERS.items()}
ANYWHERE = NodeId("")

Key = tuple[NodeId, str]  # a node, and a model by canonical name
Seen = dict[tuple[str, int], Estimate]  # by quantity, and how many streams ran at once where that matters, else 0


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is known of one model on one node, and of its answers on any node."""

    node: NodeId
    model: str
    learned: Learned
    answer: float = field(default=float(USUAL_ANSWER))  # tokens
    amounts: tuple[tuple[Unit, float], ...] = ()  # of other work, by its unit: what was usually asked for


class LatencyLearner:
    """Owns the learned speeds; tells the Scorer of each change, and the Store.

    Args:
        clock: how old an observation is.
        store: the Store; None to begin with nothing and to remember nothing.
    """

    def __init__(self, clock: Clock, store: ActorHandle | None = None) -> None:
        self._clock = clock
        self._store = store
        self._known: dict[Key, Learned] = {}
        self._answers: dict[tuple[str, Unit], Estimate] = {}  # by model

    async def on_start(self) -> None:
        """Know what was known before."""
        if self._store is not None:
            self._recall(await self._store.estimates.remote())
            self._recall_calibrations(await self._store.calibrations.remote())

    def observed(self, observed: Observed) -> None:
        """A request was served whole."""
        now = self._clock.monotonic()
        at = stored(self._clock, now)  # of all that changes
        key, unit = (observed.node, observed.model), observed.unit
        before = self._known.pop(key, Learned())
        one = observed if observed.completion or unit is Unit.TOKEN else self._measured_by_the_usual(observed)
        known = self._known[key] = learned(before, one, now)  # the latest last
        keep_latest(self._known, MAX_PAIRS)
        news: list[Record] = [
            KnownEstimate(*key, *what, one.log, one.weight, at) for what, one in _changed(before, known)
        ]
        sure = known.calibration
        if sure is not None and sure is not before.calibration:
            news.append(KnownCalibration(*key, sure.log, sure.variance, sure.weight, at))
        if observed.completion > 0:
            answers = seen(self._answers.pop((observed.model, unit), None), observed.completion, now)
            self._answers[observed.model, unit] = answers
            keep_latest(self._answers, MAX_PAIRS)
            news.append(KnownEstimate(ANYWHERE, observed.model, ANSWERS[unit], 0, answers.log, answers.weight, at))
        get_actor(names.SCORER).learned.tell(self._lesson(key, known))
        if self._store is not None and news:
            self._store.record.tell(*news)

    def batch_served(self, node: NodeId, model: str, ratio: float) -> None:
        """A batch of texts, or a share of one, took so many times as long on a node as was predicted."""
        now, key = self._clock.monotonic(), (node, model)
        before = self._known.pop(key, Learned())
        batches = seen(before.batches, ratio, now)
        known = self._known[key] = replace(before, batches=batches)  # the latest last
        keep_latest(self._known, MAX_PAIRS)
        get_actor(names.SCORER).learned.tell(self._lesson(key, known))
        if self._store is not None:
            at = stored(self._clock, now)
            self._store.record.tell(KnownEstimate(*key, BATCHES, 0, batches.log, batches.weight, at))

    def _measured_by_the_usual(self, observed: Observed) -> Observed:
        """Nobody says how much work it was: it counts as what is usual, as it did when it was placed. So the seconds of
        the next one like it are foretold well, whatever the figure.
        """
        answers = self._answers.get((observed.model, observed.unit))
        usual = USUAL[observed.unit] if answers is None else answers.value
        return replace(observed, completion=Tokens(round(usual)))

    def lessons(self) -> tuple[Lesson, ...]:
        """All that is known."""
        # Of a model whose servers say no more than how many tokens they sent, its answers are known and no speed.
        timed = {model for _, model in self._known}
        models = dict.fromkeys(model for model, _ in self._answers)
        answers = [self._lesson((ANYWHERE, model), Learned()) for model in models if model not in timed]
        return (*answers, *(self._lesson(key, known) for key, known in self._known.items()))

    def _lesson(self, key: Key, known: Learned) -> Lesson:
        answers = self._answers.get((key[1], Unit.TOKEN))
        others = [(unit, self._answers.get((key[1], unit))) for unit in OTHERS]
        return Lesson(
            *key,
            known,
            answers.value if answers is not None else float(USUAL_ANSWER),
            tuple([(unit, one.value) for unit, one in others if one is not None]),
        )

    def _recall(self, known: Iterable[KnownEstimate]) -> None:
        pairs: dict[Key, Seen] = {}
        for one in known:  # the latest last
            if not (abs(one.log) <= MOST_LOG and one.weight > 0):
                continue  # no estimate: the disk has lost a bit
            estimate = Estimate(one.log, one.weight, recalled(self._clock, one.at))
            if one.what in _UNITS:
                self._answers[one.model, _UNITS[one.what]] = estimate
            else:
                pair = pairs.pop((one.node, one.model), {})
                pairs[one.node, one.model] = pair
                pair[one.what, one.streams] = estimate
        self._known = {key: _together(pair) for key, pair in pairs.items()}

    def _recall_calibrations(self, known: Iterable[KnownCalibration]) -> None:
        for one in known:
            if not (abs(one.log) <= FURTHEST and 0 <= one.variance <= FURTHEST**2 and 0 < one.weight <= MOST_WEIGHT):
                continue  # none: the disk has lost a bit
            calibration = Calibration(one.log, one.variance, one.weight, recalled(self._clock, one.at))
            key = (one.node, one.model)
            self._known[key] = replace(self._known.get(key, Learned()), calibration=calibration)
        keep_latest(self._known, MAX_PAIRS)


def _changed(before: Learned, after: Learned) -> Iterator[tuple[tuple[str, int], Estimate]]:
    """The estimates that are others now."""
    for what, former, one in (
        (LOAD, before.load, after.load),
        (FIRST_TOKEN, before.first_token, after.first_token),
    ):
        if one is not None and one is not former:
            yield (what, 0), one
    made = [(what, before.of(unit), after.of(unit)) for unit, what in RATES.items()]
    for what, rates_before, rates in ((PREFILL, before.prefill, after.prefill), *made):
        if rates is not rates_before:
            for streams, former, one in zip(CROWDS, rates_before.seen, rates.seen, strict=True):
                if one is not None and one is not former:
                    yield (what, streams), one


def _together(seen_before: Seen) -> Learned:
    """What was learned of a pair, from its estimates."""

    def rates(what: str) -> Rate:
        return rate(tuple([seen_before.get((what, streams)) for streams in CROWDS]))

    return Learned(
        seen_before.get((LOAD, 0)),
        rates(PREFILL),
        rates(DECODE),
        seen_before.get((FIRST_TOKEN, 0)),
        pixel_steps=rates(RATES[Unit.PIXEL_STEP]),
        audio_frames=rates(RATES[Unit.AUDIO_FRAME]),
        batches=seen_before.get((BATCHES, 0)),
    )
