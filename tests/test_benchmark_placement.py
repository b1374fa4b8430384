"""The benchmark of placements runs, over fleets that are what it says. No time is asserted here."""

import json
from pathlib import Path

import pytest

from benchmarks.placement import MEASURES, main


def test_a_fleet_is_measured_with_models_in_memory_being_loaded_and_on_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"

    assert main(["--smoke", "--only", "10", "--only", "50", "--json", str(path)]) == 0

    out, _ = capsys.readouterr()
    assert "| nodes | bare loop | place |" in out
    assert "aim: under 200 µs for 50 nodes" in out
    small, large = json.loads(path.read_bytes())["fleets"]
    assert (small["nodes"], large["nodes"]) == (10, 50)
    assert min(large["candidates"][where] for where in ("resident", "loading", "cold", "out")) > 0
    for name in MEASURES:
        assert 0 < large[name]["min_us"] <= large[name]["median_us"]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--smoke", "--json", str(tmp_path)])

    assert "cannot be written" in capsys.readouterr().err
