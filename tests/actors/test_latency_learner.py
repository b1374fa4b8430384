"""The LatencyLearner: what it makes of requests that were served, and whom it tells."""

from typing import Any

import pytest

from herd.actors import latency_learner, names
from herd.actors.latency_learner import LatencyLearner, Lesson
from herd.policy.pace import USUAL_ANSWER, Observed
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import LoopClock
from herd.types import NodeId, Seconds, Tokens


class Pupil:
    """In place of the Scorer."""

    def __init__(self) -> None:
        self._lessons: list[Lesson] = []

    def learned(self, lesson: Lesson) -> None:
        self._lessons.append(lesson)

    def lessons(self) -> list[Lesson]:
        return self._lessons


def served(node: str, model: str = "m", *, tokens: int = 100) -> Observed:
    return Observed(NodeId(node), model, Tokens(500), Tokens(tokens), Seconds(0.0), Seconds(1.0), Seconds(2.0))


async def taught(*observed: Observed) -> tuple[list[Lesson], tuple[Lesson, ...]]:
    """What the Scorer was told, and what the learner knows in the end."""
    pupil: Any = remote(Pupil).options(name=names.SCORER).remote()
    learner: Any = remote(LatencyLearner).remote(LoopClock())
    for one in observed:
        learner.observed.tell(one)
    known = await learner.lessons.remote()
    told = await pupil.lessons.remote()
    await stop(learner)
    await stop(pupil)
    return told, known


@virtual_time
async def test_speeds_are_those_of_a_node_and_lengths_those_of_a_model_on_any() -> None:
    told, known = await taught(served("a", tokens=100), served("b", tokens=400), served("a", "n", tokens=0))

    assert [(lesson.node, lesson.model) for lesson in told] == [("a", "m"), ("b", "m"), ("a", "n")]
    assert told[0].learned.decode.alone == pytest.approx(50.0)
    assert told[1].learned.decode.alone == pytest.approx(200.0)
    assert told[0].answer == pytest.approx(100.0)
    assert told[1].answer == pytest.approx(200.0)  # in the middle, as ratios go
    assert told[2].answer == USUAL_ANSWER
    assert [lesson.answer for lesson in known if lesson.model == "m"] == pytest.approx([200.0, 200.0])


@virtual_time
async def test_it_remembers_so_many_pairs_and_the_latest_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_learner, "MAX_PAIRS", 2)
    _, known = await taught(served("a"), served("b"), served("a"), served("c"))

    assert [lesson.node for lesson in known] == ["a", "c"]
