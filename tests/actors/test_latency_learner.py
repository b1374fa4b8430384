"""The LatencyLearner: what it makes of requests that were served, and whom it tells."""

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest

from herd.actors import latency_learner, names
from herd.actors.latency_learner import LatencyLearner, Lesson
from herd.actors.store import Store
from herd.policy.pace import USUAL_ANSWER, Observed
from herd.policy.work import USUAL
from herd.runtime import remote, stop
from herd.runtime.testing import virtual_time
from herd.simulation.clock import EPOCH, LoopClock
from herd.store.database import Database
from herd.store.executor import InlineExecutor
from herd.store.records import KnownCalibration, KnownEstimate
from herd.types import NodeId, Seconds, Tokens, Unit


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


def drawn(node: str, units: int, took: float, *, unit: Unit = Unit.PIXEL_STEP) -> Observed:
    """A picture, or a transcription."""
    nothing = Seconds(0.0)
    return Observed(NodeId(node), "m", Tokens(0), Tokens(units), nothing, nothing, Seconds(took), unit=unit)


@virtual_time
async def test_what_is_counted_otherwise_has_a_rate_and_a_usual_amount_of_its_own() -> None:
    _, (known,) = await taught(served("a"), drawn("a", 4000, 20.0), drawn("a", 6000, 3.0, unit=Unit.AUDIO_FRAME))

    assert known.learned.decode.alone == pytest.approx(50.0)
    assert known.learned.pixel_steps.alone == pytest.approx(200.0)
    assert known.learned.audio_frames.alone == pytest.approx(2000.0)
    assert known.answer == pytest.approx(100.0)
    assert dict(known.amounts) == {Unit.PIXEL_STEP: pytest.approx(4000.0), Unit.AUDIO_FRAME: pytest.approx(6000.0)}


@virtual_time
async def test_work_of_which_nobody_says_how_much_it_was_counts_as_the_usual() -> None:
    """So the seconds of the next one like it are foretold."""
    _, (known,) = await taught(drawn("a", 0, 20.0))
    assert USUAL[Unit.PIXEL_STEP] / known.learned.pixel_steps.alone == pytest.approx(20.0)
    assert known.amounts == ()

    _, (known,) = await taught(drawn("a", 4000, 20.0), drawn("a", 0, 20.0))
    assert known.learned.pixel_steps.alone == pytest.approx(200.0)
    assert dict(known.amounts) == {Unit.PIXEL_STEP: pytest.approx(4000.0)}


@virtual_time
async def test_it_remembers_so_many_pairs_and_the_latest_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency_learner, "MAX_PAIRS", 2)
    _, known = await taught(served("a"), served("b"), served("a"), served("c"))

    assert [lesson.node for lesson in known] == ["a", "c"]


def beside(node: str, at_once: int) -> Observed:
    """One that ran beside others, after a load."""
    return replace(served(node), at_once=at_once, load=Seconds(3.0 * at_once))


async def lives(*lessons: tuple[Observed, ...], file: Database, apart: float, back: float = 0.0) -> list[Any]:
    """What learners know at the end, each of which lives after the one before; so many seconds later.

    Args:
        lessons: of each.
        file: what they remember it in.
        apart: seconds between two lives.
        back: seconds by which the wall clock was set back in between.
    """
    known = []
    clock = LoopClock()
    for told in lessons:
        pupil = remote(Pupil).options(name=names.SCORER).remote()
        store = remote(Store).remote(lambda: file, InlineExecutor(), clock)
        learner = remote(LatencyLearner).remote(clock, store)
        for one in told:
            learner.observed.tell(one)
        known.append({(one.node, one.model): one for one in await learner.lessons.remote()})
        for actor in (learner, store, pupil):
            await stop(actor)
        await asyncio.sleep(apart)
        clock.ahead -= back
    return known


class Kept(Database):
    """It outlives whoever closes it."""

    def __init__(self) -> None:
        super().__init__(None)

    def close(self) -> None:
        pass


ALL = (
    served("a"),
    beside("a", 2),
    beside("a", 7),
    beside("a", 30),
    served("b", "n", tokens=400),
    served("a", tokens=9),
    drawn("a", 4000, 20.0),
    drawn("c", 6000, 3.0, unit=Unit.AUDIO_FRAME),
)
LATER = replace(served("a", tokens=300), first_token=Seconds(0.25))


@virtual_time
async def test_a_learner_that_starts_again_knows_what_the_one_before_knew_and_goes_on_from_there() -> None:
    file, one_life = Kept(), Kept()
    before, again, after = await lives((*ALL, LATER), (), (LATER,), file=file, apart=0.0)
    (straight,) = await lives((*ALL, LATER, LATER), file=one_life, apart=0.0)

    assert before == nearly(again)
    assert after == nearly(straight)
    assert after["a", "m"].learned.first_token is not None
    for database in (file, one_life):
        Database.close(database)


def nearly(lessons: dict[Any, Lesson]) -> Any:
    """Equal, but for the last digits of a time that was a wall clock's in between."""

    class Near:
        def __eq__(self, other: object) -> bool:
            return shown(other) == pytest.approx(shown(lessons), rel=1e-6, abs=1e-5)

        __hash__ = None  # type: ignore[assignment]

    return Near()


def shown(lessons: Any) -> list[float]:
    """Every number in them, in order."""
    numbers: list[float] = []
    for key in sorted(lessons):
        lesson = lessons[key]
        known = lesson.learned
        others = (*known.pixel_steps.seen, *known.audio_frames.seen)
        for one in (known.load, known.first_token, *known.prefill.seen, *known.decode.seen, *others):
            numbers += [-1.0] if one is None else [one.log, one.weight, one.at]
        numbers += [amount for _, amount in lesson.amounts]
        numbers += [lesson.answer, known.prefill.alone, *known.prefill.crowd, known.decode.alone, *known.decode.crowd]
    return numbers


@virtual_time
async def test_the_length_of_answers_is_known_again_though_their_server_says_nothing_of_its_speed() -> None:
    file = Kept()
    untimed = replace(served("a", tokens=9), prefill=Seconds(0.0), decode=Seconds(0.0))
    before, again = await lives((untimed,), (), file=file, apart=0.0)

    assert [lesson.answer for lesson in before.values()] == pytest.approx([9.0])
    assert [(lesson.model, lesson.answer) for lesson in again.values()] == [("m", pytest.approx(9.0))]
    Database.close(file)


@virtual_time
async def test_what_is_no_estimate_is_taken_for_nothing() -> None:
    file = Kept()
    await lives((served("a"),), file=file, apart=0.0)
    lost_bits = (
        ("load", 0, 1e300, 1.0),
        ("first-token", 0, -1e300, 1.0),
        ("prefill", 1, 1.0, 0.0),
        ("decode", 1, 1.0, -1.0),
    )
    for what, streams, log, weight in lost_bits:
        file.save([KnownEstimate(NodeId("b"), "m", what, streams, log, weight, Seconds(EPOCH))])
    (known,) = await lives((), file=file, apart=0.0)
    assert list(known) == [("a", "m")]
    Database.close(file)


@virtual_time
async def test_what_was_learned_ages_while_the_router_is_away() -> None:
    file = Kept()
    await lives((served("a"),) * 4, file=file, apart=7 * 86_400.0)
    (_, known) = await lives((), (served("a"),), file=file, apart=0.0)

    decode = known["a", "m"].learned.decode.seen[0]
    assert decode is not None
    assert decode.weight == pytest.approx(4 / 2 + 1)  # what was seen a week ago counts half
    Database.close(file)


@virtual_time
async def test_what_lies_in_the_future_by_a_clock_that_was_set_back_is_of_now() -> None:
    file = Kept()
    known = await lives((served("a"),) * 4, (), file=file, apart=1.0, back=86_400.0)

    decode = known[1]["a", "m"].learned.decode.seen[0]
    assert decode is not None
    assert decode.at == asyncio.get_running_loop().time() - 1.0
    Database.close(file)


@virtual_time
async def test_only_what_has_changed_is_written() -> None:
    file = Kept()
    await lives(ALL, file=file, apart=10.0)
    await lives((served("a", tokens=5),), file=file, apart=10.0)  # too short an answer to teach a speed of it

    new = {(one.node, one.what, one.streams) for one in file.all(KnownEstimate) if one.at > EPOCH + 5.0}
    assert new == {("a", "prefill", 1), ("", "answer", 0)}
    Database.close(file)


def checked(node: str, ratio: float) -> Observed:
    """One of which nothing is known but that it took so many times as long as predicted."""
    nothing = Observed(NodeId(node), "m", Tokens(0), Tokens(0), Seconds(0.0), Seconds(0.0), Seconds(0.0))
    return replace(nothing, predicted=Seconds(2.0), took=Seconds(2.0 * ratio))


@virtual_time
async def test_how_predictions_come_true_is_told_and_outlives_the_learner() -> None:
    file = Kept()
    told, _ = await taught(checked("a", 3.0), served("a"))
    first, again, then = await lives(
        (checked("a", 3.0), served("a"), served("b")), (), (checked("a", 0.75),), file=file, apart=86_400.0
    )

    assert [lesson.learned.calibration is not None for lesson in told] == [True, True]
    assert first["b", "m"].learned.calibration is None
    calibrations = [known["a", "m"].learned.calibration for known in (first, again, then)]
    assert [(one.ratio, one.weight) for one in calibrations if one is not None] == [
        (pytest.approx(3.0), 1.0),
        (pytest.approx(3.0), 1.0),
        (pytest.approx(3.0**0.2 * 0.75**0.8), pytest.approx(1.25)),  # two days later it counts a quarter
    ]
    assert again["a", "m"].learned.decode.alone > 0  # beside what else is known of the pair
    (row,) = file.all(KnownCalibration)
    assert row.variance == pytest.approx(0.2 * 0.8 * math.log(4.0) ** 2)
    Database.close(file)


@virtual_time
async def test_what_batches_took_is_told_and_outlives_the_learner() -> None:
    file, clock = Kept(), LoopClock()
    pupil: Any = remote(Pupil).options(name=names.SCORER).remote()
    known = []
    for ratios in ((2.0, 2.0), ()):
        store: Any = remote(Store).remote(lambda: file, InlineExecutor(), clock)
        learner: Any = remote(LatencyLearner).remote(clock, store)
        for ratio in ratios:
            learner.batch_served.tell(NodeId("a"), "m", ratio)
        learner.observed.tell(served("a"))  # which says nothing of batches
        known += await learner.lessons.remote()
        await stop(learner)
        await stop(store)
    told = await pupil.lessons.remote()
    await stop(pupil)

    for lesson in (*told, *known):
        assert lesson.learned.batches is not None
        assert lesson.learned.batches.value == pytest.approx(2.0)
    assert [lesson.learned.batches.weight for lesson in known] == [2.0, 2.0]
    assert [lesson.learned.decode.alone > 0 for lesson in told] == [False, False, True, True]
    Database.close(file)


@virtual_time
async def test_a_calibration_that_cannot_be_is_taken_for_nothing() -> None:
    file = Kept()
    good = KnownCalibration(NodeId("a"), "m", 0.5, 0.25, 3.0, Seconds(EPOCH))
    bad: tuple[dict[str, Any], ...] = (
        {"log": 1e300},
        {"log": -9.0},
        {"variance": -1.0},
        {"variance": 1e9},
        {"weight": 0.0},
        {"weight": 1e9},
    )
    file.save([good, *(replace(good, node=NodeId(f"b{place}"), **one) for place, one in enumerate(bad))])
    (known,) = await lives((), file=file, apart=0.0)
    assert list(known) == [("a", "m")]
    Database.close(file)
