"""The fit of the workload runs on a trace of either format, and says no to what is too short."""

import json
from pathlib import Path

import pytest

from benchmarks.workload_fit import Load, best_swing, dispersion, load, main, rank_correlation, variation
from herd.simulation.workload.arrivals import EVEN_WEEK, Swing
from herd.simulation.workload.generator import WorkloadSettings, generate
from herd.simulation.workload.lengths import CONVERSATION
from herd.types import Seconds


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Ten minutes as the generator makes them, as a file of Mooncake's."""
    settings = WorkloadSettings(Seconds(600.0), 900, {"llama3.2:3b": 1.0}, 500, 0.0, 0.0, week=EVEN_WEEK)
    lines = [
        {"timestamp": request.at * 1000, "input_length": request.prompt, "output_length": request.completion}
        for request in generate(1, settings)
    ]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_trace_is_compared_with_what_is_generated_and_its_own_fit_printed(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(trace), "--runs", "2"]) == 0
    out, _ = capsys.readouterr()
    assert "| prompt, 50% | " in out
    assert "| dispersion of counts, 5 a window | " in out
    assert "lengths that fit: Lengths(prompts=(" in out


def test_a_trace_that_is_too_short_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1,2\n")
    assert main([str(path)]) == 2
    assert "too few" in capsys.readouterr().err


@pytest.mark.slow
def test_the_swing_of_a_load_is_found_again(monkeypatch: pytest.MonkeyPatch, trace: Path) -> None:
    candidates = (Swing(0.0, Seconds(500.0)), Swing(0.9, Seconds(100.0)))
    monkeypatch.setattr("benchmarks.workload_fit.SWINGS", candidates)
    wild = WorkloadSettings(
        Seconds(2000.0), 6000, {"llama3.2:3b": 1.0}, 500, 0.0, 0.0, week=EVEN_WEEK, swing=candidates[1]
    )
    requests = generate(5, wild)
    found = Load([each.at for each in requests], [(each.prompt, each.completion) for each in requests])
    assert best_swing(found, CONVERSATION, 2) == candidates[1]


def test_the_measures_are_those_of_the_textbook(trace: Path) -> None:
    assert dispersion([0.5, 1.5, 1.6, 1.7, 3.0], 1.0) == pytest.approx(7 / 3 / (4 / 3))
    assert variation([0.0, 1.0, 2.0, 3.0]) == 0.0
    assert rank_correlation([(1, 10), (2, 300), (3, 4000)]) == pytest.approx(1.0)
    assert rank_correlation([(1, 3), (2, 2), (3, 1)]) == pytest.approx(-1.0)
    compared = load(trace)
    assert compared.rate == pytest.approx(len(compared.times) / 600, rel=0.05)
    assert min(map(min, compared.lengths)) >= 1
