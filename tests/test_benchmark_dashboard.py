"""The benchmark of the dashboard: its figures, and a run of it. No time is asserted here."""

import json
from pathlib import Path

import pytest

from benchmarks.dashboard import Row, Window, document, main, table

WITHOUT = Window(seconds=2.0, requests=100, router=1.0)


def row() -> Row:
    """Three rounds, of which one was disturbed."""
    watched = [Window(2.0, 100, 1.01, view=0.2), Window(2.0, 50, 0.51, view=0.1), Window(2.0, 100, 3.0, view=0.4)]
    idle = [Window(2.0, 0, 0.1, view=0.02)] * 3
    found = Row(3, [(WITHOUT, each) for each in watched], [(Window(2.0, 0, 0.06), each) for each in idle])
    found.shown = 12_340.0
    return found


def test_the_figures_are_those_of_the_middle_round_each_against_the_one_before_it() -> None:
    found = row()
    assert found.more == pytest.approx(0.02)
    assert found.more_idle == pytest.approx(0.02)
    assert found.view(found.asked) == pytest.approx(0.1)
    assert found.view(found.idle) == pytest.approx(0.01)


def test_the_tables_show_them() -> None:
    shown = "\n".join(table([row()]))
    assert "| 3 | 50 | 10.00 ms | 10.20 ms | +2.0% | +2.0% |" in shown
    assert "| 3 | 10.0% | 1.0% | 12.3 |" in shown
    told = document(row())
    assert (told["nodes"], told["more"], told["view"], len(told["asked"])) == (3, 0.02, 0.1, 3)


@pytest.mark.slow  # a router, three nodes and two views
def test_it_runs_once_its_view_has_drawn_something(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    assert main(["--smoke", "--json", str(file)]) == 0
    assert "| 3 |" in capsys.readouterr().out
    (found,) = json.loads(file.read_bytes())["rows"]
    ((without, watched),) = found["asked"]
    assert min(without["requests"], watched["requests"]) > 0
