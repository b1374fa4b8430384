"""How far a pull is, on a terminal and on a pipe."""

import io

import pytest
from rich.console import Console

from herd.cli.remote import pull_view
from herd.cli.remote.pull_view import Bars, Lines, amounts_of, what_of


@pytest.mark.parametrize(
    ("line", "what", "amounts"),
    [
        ({"status": "pulling manifest"}, "pulling manifest", (0, 0)),
        (
            {"status": "x", "digest": "sha256:14316704286ddeae", "total": 9, "completed": 4},
            "pulling 14316704286d",
            (4, 9),
        ),
        ({"status": "x", "digest": "sha256:14316704286ddeae", "total": 9}, "pulling 14316704286d", (0, 9)),
        ({"digest": "d", "total": 9, "completed": 99}, "pulling d", (9, 9)),
        ({"digest": "d", "total": 9, "completed": -1}, "pulling d", (0, 9)),
        ({"digest": "d", "total": True, "completed": 1}, "pulling d", (0, 0)),
        ({"digest": 5, "status": None, "total": "9"}, "", (0, 0)),
        ({"status": "a\x1b[2Jb"}, "a\\x1b[2Jb", (0, 0)),
        ({}, "", (0, 0)),
    ],
)
def test_a_line_is_read_however_odd_it_is(line: dict[str, object], what: str, amounts: tuple[int, int]) -> None:
    assert (what_of(line), amounts_of(line)) == (what, amounts)


def test_a_terminal_shows_a_bar_for_each_part() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, no_color=True, legacy_windows=False)
    with Bars(console) as bars:
        bars.show({"status": "pulling manifest"})
        bars.show({"status": "pulling manifest"})
        bars.show({"digest": "sha256:[red]", "total": 4 * 2**20, "completed": 2 * 2**20})
        bars.show({"status": "success"})
    shown = out.getvalue()
    assert shown.count("pulling manifest") == 1
    last = shown.rpartition("pulling [red]")[2]
    assert "2.0/4.0 MiB" in last
    assert "success" in shown


def test_a_server_that_makes_up_parts_without_end_is_shown_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_view, "MAX_PARTS", 3)
    out = io.StringIO()
    with Lines(Console(file=out, width=100)) as lines:
        for number in range(1000):
            lines.show({"status": f"step {number}"})
    assert len(out.getvalue().splitlines()) == 3
    with Bars(Console(file=io.StringIO(), force_terminal=True)) as bars:
        for number in range(1000):
            bars.show({"digest": f"d{number}", "total": 5})
        assert len(bars._tasks) == 3
