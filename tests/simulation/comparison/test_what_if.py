"""What changes for whom: the figures, what is said of them, and that both sides are the same runs."""

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herd.errors import ConfigError, HerdError
from herd.simulation.comparison import what_if as module
from herd.simulation.comparison.changes import Change, Removed, Setup, change_of
from herd.simulation.comparison.what_if import (
    COMPLETION,
    DISTURBANCE,
    FIRST_TOKEN,
    NOT_SERVED,
    Kind,
    Pair,
    Question,
    Row,
    Word,
    answer,
    compared,
    measured,
    pair,
    paired,
)
from herd.simulation.fleet.station import NodePlan
from herd.simulation.machine.owners import OwnerState
from herd.simulation.machine.profiles import PROFILES
from herd.simulation.runs.households import Household, household
from herd.simulation.runs.measures import Loads, Sample, SampleOutcome
from herd.simulation.runs.run import NodeResult, Result, Scenario
from herd.types import Priority, ScorerKind, Seconds, Tokens

USUAL = ScorerKind.SEVEN_SIGNALS
SIZE = Household(nodes=3, models=3, clients=2, requests=12, days=0.03, start_slot=9)
LLAMA, QWEN = "llama3.2:3b", "qwen3:8b"


def question(*changes: str, size: Household = SIZE) -> Question:
    return Question(size, None, USUAL, tuple(change_of(text) for text in changes))


def by_name(rows: Sequence[Row]) -> dict[tuple[Kind, str], Row]:
    return {(row.kind, row.name): row for row in rows}


# --- Statistics -------------------------------------------------------------------------------------------------------


def test_the_interval_is_students() -> None:
    # By hand: differences -1, -2, -3; mean -2, standard deviation 1, t(2) = 4.303.
    shift = paired([(10.0, 9.0), (20.0, 18.0), (30.0, 27.0)])
    assert (shift.before, shift.after, shift.change) == (20.0, 18.0, -2.0)
    assert (shift.low, shift.high) == pytest.approx((-2 - 4.303 / math.sqrt(3), -2 + 4.303 / math.sqrt(3)))
    assert shift.word is Word.OPEN


@pytest.mark.parametrize(
    ("pairs", "word"),
    [
        ([(5.0, 4.0), (6.0, 5.1), (7.0, 5.9)], Word.BETTER),
        ([(4.0, 5.0), (5.1, 6.0), (5.9, 7.0)], Word.WORSE),
        ([(4.0, 9.0), (9.0, 4.5), (6.0, 6.0)], Word.OPEN),
        ([(4.0, 4.0), (9.0, 9.0)], Word.SAME),
        ([(4.0, 3.0), (9.0, 8.0)], Word.BETTER),  # always by as much
        ([(4.0, 1.0)], Word.OPEN),  # of one house nobody knows
        ([(4.0, 4.0)], Word.SAME),
        ([(None, 1.0), (2.0, None)], Word.OPEN),
        ([], Word.OPEN),
    ],
)
def test_the_word_says_what_is_known(pairs: list[tuple[float | None, float | None]], word: Word) -> None:
    assert paired(pairs).word is word


NUMBERS = st.floats(0, 1e6)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=60))
def test_worse_one_way_is_better_the_other_way(pairs: list[tuple[float, float]]) -> None:
    there, back = paired([*pairs]), paired([(after, before) for before, after in pairs])
    opposite = {Word.BETTER: Word.WORSE, Word.WORSE: Word.BETTER}
    assert back.word is opposite.get(there.word, there.word)
    assert there.low is not None
    assert there.change is not None
    assert there.high is not None
    assert there.low <= there.change <= there.high


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20))
def test_a_seed_in_which_nothing_can_be_said_is_left_out(pairs: list[tuple[float, float]]) -> None:
    assert paired([(None, 1.0), *pairs, (3.0, None)]) == paired([*pairs])


# --- Figures ----------------------------------------------------------------------------------------------------------


def sample(
    first: float = 1.0, *, model: str = LLAMA, outcome: SampleOutcome = SampleOutcome.SERVED, job: bool = False
) -> Sample:
    served = outcome is SampleOutcome.SERVED
    return Sample(
        Seconds(0.0),
        "c",
        model,
        Priority.BATCH if job else Priority.INTERACTIVE,
        outcome,
        first if served else math.inf,
        10 * first if served else math.inf,
        Tokens(1),
        Tokens(1),
    )


STUDIO = NodePlan("studio", PROFILES["mac-studio"], (LLAMA,))
GAMER = NodePlan("gaming-pc", PROFILES["gaming-pc"], (LLAMA,), "gamer")


def ran(samples: Sequence[Sample], *nodes: tuple[NodePlan, float]) -> tuple[Scenario, Result]:
    """A run, in which machines were in their owners' way for so many seconds."""
    owned = ((Seconds(0.0), OwnerState(gpu=0.9)),)
    results = tuple(NodeResult(plan.name, Loads(), ((0.0, seconds),), owned) for plan, seconds in nodes)
    scenario = Scenario(tuple(plan for plan, _ in nodes), (), Seconds(100.0))
    return scenario, Result(tuple(samples), results, "", Seconds(100.0))


REFUSED = sample(outcome=SampleOutcome.REFUSED)


def test_means_are_over_what_was_served_both_times() -> None:
    found = pair(ran([sample(1.0), sample(9.0), sample(5.0)]), ran([sample(2.0), REFUSED, sample(3.0)]))
    assert found.values[Kind.ALL, "everybody"] == {
        FIRST_TOKEN: (3.0, 2.5),
        COMPLETION: (30.0, 25.0),
        NOT_SERVED: (0.0, 1 / 3),
    }
    never = pair(ran([REFUSED]), ran([sample()])).values[Kind.ALL, "everybody"]
    assert never == {FIRST_TOKEN: (None, None), COMPLETION: (None, None), NOT_SERVED: (1.0, 0.0)}


def test_everybody_each_model_people_and_jobs_and_owners_have_rows_in_this_order() -> None:
    samples = [sample(model=QWEN, job=True), sample(), sample(), sample(model=QWEN), sample(model=QWEN)]
    runs = [ran(samples, (STUDIO, 5.0), (GAMER, 7.0)), ran(samples, (STUDIO, 5.0), (GAMER, 4.0))]
    rows = compared([pair(runs[0], runs[1]), pair(runs[0], runs[1])])
    assert [(row.kind.value, row.name, row.requests) for row in rows] == [
        ("all", "everybody", 10),
        ("model", QWEN, 6),
        ("model", LLAMA, 4),
        ("class", "people", 8),
        ("class", "jobs", 2),
        ("owner", "gaming-pc", 0),  # nobody sits at the studio
    ]
    assert rows[-1].document() == {
        "kind": "owner",
        "name": "gaming-pc",
        DISTURBANCE: {"before": 7.0, "after": 4.0, "change": -3.0, "low": -3.0, "high": -3.0, "word": "better"},
    }


def test_a_machine_that_is_gone_is_in_nobodys_way() -> None:
    found = pair(ran([], (STUDIO, 1.0), (GAMER, 7.0)), ran([], (STUDIO, 1.0)))
    assert found.values[Kind.OWNER, "gaming-pc"] == {DISTURBANCE: (7.0, 0.0)}


def test_a_model_that_one_house_does_not_ask_for_is_compared_over_the_others() -> None:
    both, one = (
        pair(ran([sample(), sample(model=QWEN)]), ran([sample(), sample(model=QWEN)])),
        pair(ran([sample()]), ran([sample(2.0)])),
    )
    rows = by_name(compared([both, one]))
    assert rows[Kind.MODEL, QWEN].shifts[FIRST_TOKEN].word is Word.SAME
    assert rows[Kind.MODEL, LLAMA].shifts[FIRST_TOKEN].change == 0.5


# --- Whole questions --------------------------------------------------------------------------------------------------


class Nothing:
    """A change that changes nothing."""

    def changed(self, base: Setup) -> Setup:
        return base


def test_a_change_that_changes_nothing_changes_nothing_for_anybody() -> None:
    nothing: tuple[Change, ...] = (Nothing(),)
    rows = answer(Question(SIZE, None, USUAL, nothing), range(2))
    assert len(rows) > 3
    assert {shift.word for row in rows for shift in row.shifts.values()} == {Word.SAME}
    assert answer(question(f"scorer={USUAL}"), range(2)) == rows


def test_the_answer_is_that_of_each_houses_two_runs() -> None:
    told: list[tuple[int, int]] = []
    rows = answer(question("-air"), range(3, 6), lambda done, of: told.append((done, of)))
    pairs = []
    for seed in range(3, 6):
        before = Setup.of(household(seed, SIZE))
        after = Removed("air").changed(before)
        pairs.append(pair((before.scenario, before.run()), (after.scenario, after.run())))
    assert rows == compared(pairs)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert json.dumps([row.document() for row in rows])
    assert by_name(rows)[Kind.OWNER, "air"].shifts[DISTURBANCE].after == 0.0


# Under pytest-xdist there are threads of its own.
FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@FORKS
def test_processes_find_what_one_alone_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = answer(question("+rtx-4090"), range(3))
    monkeypatch.setattr(module, "FEW_REQUESTS", 0)
    monkeypatch.setattr("herd.simulation.comparison.what_if.os.cpu_count", lambda: 2)
    assert answer(question("+rtx-4090"), range(3)) == alone


def dies(question: Question, seed: int) -> Pair:
    """A run that the system ends."""
    os._exit(9)


def fails(question: Question, seed: int) -> Pair:
    """A run that goes wrong, while another one takes long."""
    if seed:
        raise ConfigError("it goes wrong")
    return measured(replace(question, size=replace(SIZE, requests=100_000)), seed)


@FORKS
@pytest.mark.parametrize(
    ("run", "sentence"), [(dies, "the system ended a run, for want of memory"), (fails, "it goes wrong")]
)
def test_a_run_that_ends_early_ends_the_others_and_is_told(
    run: Callable[[Question, int], Pair], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEW_REQUESTS", 0)
    monkeypatch.setattr("herd.simulation.comparison.what_if.os.cpu_count", lambda: 2)
    monkeypatch.setattr(module, "measured", run)
    before = multiprocessing.active_children()
    with pytest.raises(HerdError, match=sentence):
        answer(question("+rtx-4090"), range(2))
    assert multiprocessing.active_children() == before


def test_a_pair_is_the_same_whenever_it_is_measured() -> None:
    found: Pair = measured(question("+rtx-4090", "-air"), 4)
    assert measured(question("+rtx-4090", "-air"), 4) == found
    assert found.requests[Kind.ALL, "everybody"] > 0


def test_that_nobody_is_served_any_more_is_no_chance_however_few_houses_show_it() -> None:
    whom = (Kind.MODEL, LLAMA)

    def word(*shares: tuple[float | None, float | None]) -> Word:
        pairs = [Pair({whom: 3}, {whom: {NOT_SERVED: share}}) for share in shares]
        return next(row for row in compared(pairs) if (row.kind, row.name) == whom).shifts[NOT_SERVED].word

    assert [word((0.0, 1.0)), word((1.0, 0.0)), word((0.5, 1.0), (0.1, 1.0))] == [Word.WORSE, Word.BETTER, Word.WORSE]
    assert [word((0.0, 0.5)), word((1.0, 1.0))] == [Word.OPEN, Word.SAME]
