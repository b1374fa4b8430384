"""The benchmark of batches runs, and both of its ways are what they say. No time is asserted here."""

import json
from pathlib import Path

import pytest

from benchmarks.batches import main


@pytest.mark.slow  # five processes
def test_a_batch_is_measured_in_parts_and_in_one_piece(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"

    assert main(["--smoke", "--json", str(path)]) == 0

    assert "| texts | one machine | two, in parts |" in capsys.readouterr().out
    [row] = json.loads(path.read_bytes())["rows"]
    assert row["inputs"] == 16
    assert min(row["alone_s"], row["split_s"], row["ratio"]) > 0
