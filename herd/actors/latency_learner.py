"""The LatencyLearner: how fast each model runs on each node, from the requests that were served whole."""

from dataclasses import dataclass, field

from herd.actors import names
from herd.actors.ports import Clock
from herd.actors.tables import keep_latest
from herd.policy.pace import USUAL_ANSWER, Estimate, Learned, Observed, learned, seen
from herd.runtime import get_actor
from herd.types import NodeId

# Pairs of node and model that are remembered: a thousand nodes with sixty models each.
MAX_PAIRS = 65_536


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is known of one model on one node, and of its answers on any node."""

    node: NodeId
    model: str
    learned: Learned
    answer: float = field(default=float(USUAL_ANSWER))  # tokens


class LatencyLearner:
    """Owns the learned speeds; tells the Scorer of each change.

    Args:
        clock: how old an observation is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[NodeId, str], Learned] = {}
        self._answers: dict[str, Estimate] = {}

    def observed(self, one: Observed) -> None:
        """A request was served whole."""
        now = self._clock.monotonic()
        key = (one.node, one.model)
        known = learned(self._known.pop(key, Learned()), one, now)
        self._known[key] = known  # the latest last
        if one.completion > 0:
            answers = seen(self._answers.pop(one.model, None), one.completion, now)
            self._answers[one.model] = answers
            keep_latest(self._answers, MAX_PAIRS)
        keep_latest(self._known, MAX_PAIRS)
        get_actor(names.SCORER).learned.tell(self._lesson(key, known))

    def lessons(self) -> tuple[Lesson, ...]:
        """All that is known."""
        return tuple(self._lesson(key, known) for key, known in self._known.items())

    def _lesson(self, key: tuple[NodeId, str], known: Learned) -> Lesson:
        answers = self._answers.get(key[1])
        return Lesson(*key, known, answers.value if answers is not None else float(USUAL_ANSWER))
